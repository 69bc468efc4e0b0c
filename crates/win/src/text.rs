//! Texts as Windows takes them.

/// Zero-terminated UTF-16. A zero within `text` ends it: callers refuse those where it matters.
pub(crate) fn wide(text: &str) -> Vec<u16> {
    text.encode_utf16().chain([0]).collect()
}

/// What is before the first zero.
pub(crate) fn narrow(text: &[u16]) -> String {
    let end = text.iter().position(|&unit| unit == 0).unwrap_or(text.len());
    String::from_utf16_lossy(&text[..end])
}
