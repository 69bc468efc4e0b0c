use super::{HEADER_LEN, Header, MessageType};

/// Most bytes of text that an error carries (docs/protocol.md, "ERROR").
pub const ERROR_TEXT_MAX: usize = 256;

/// The code in an error's header (docs/protocol.md, "Error codes").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u16)]
#[expect(missing_docs, reason = "the names are the protocol's own")]
pub enum ErrorCode {
    Network = 1,
    InitTimeout = 2,
    Auth = 3,
    FindAllIf = 4,
    NoRemoteIf = 5,
    Open = 6,
    UpdateFilter = 7,
    GetStats = 8,
    Read = 9,
    HostNotAllowed = 10,
    RemoteAccept = 11,
    StartCapture = 12,
    EndCapture = 13,
    RuntimeTimeout = 14,
    SetSampling = 15,
    WrongMessage = 16,
    WrongVersion = 17,
    AuthFailed = 18,
    TlsRequired = 19,
    AuthTypeNotSupported = 20,
}

/// Appends an error message, its text cut at a character boundary within [`ERROR_TEXT_MAX`].
///
/// `version` is 0 except when a peer's own unacceptable version is echoed to it.
pub fn write_error(out: &mut Vec<u8>, version: u8, code: ErrorCode, text: &str) {
    let mut end = text.len().min(ERROR_TEXT_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let text = &text[..end];
    let header =
        Header { version, kind: MessageType::Error, value: code as u16, len: text.len() as u32 };
    out.reserve(HEADER_LEN + text.len());
    out.extend_from_slice(&header.to_bytes());
    out.extend_from_slice(text.as_bytes());
}

/// The text of a received error as one line: cut to what a peer may send, every control character
/// and every byte that is not UTF-8 escaped, so that it can be logged or shown as it is.
pub fn error_text(payload: &[u8]) -> String {
    let kept = &payload[..payload.len().min(ERROR_TEXT_MAX)];
    let mut text = String::with_capacity(kept.len());
    for chunk in kept.utf8_chunks() {
        text.extend(chunk.valid().chars().flat_map(escape));
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text
}

fn escape(c: char) -> impl Iterator<Item = char> {
    // Harmless in a line, and common in peers' texts: quotes, and backslashes in what Windows calls
    // devices and users.
    let plain = matches!(c, '\'' | '"' | '\\').then_some(c);
    let escaped = plain.is_none().then(|| c.escape_debug());
    plain.into_iter().chain(escaped.into_iter().flatten())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_cut_between_characters() {
        let mut out = Vec::new();
        write_error(&mut out, 0, ErrorCode::Open, &"é".repeat(200));
        assert_eq!(out.len(), HEADER_LEN + 256);
        out.clear();
        write_error(&mut out, 0, ErrorCode::Open, &format!("x{}", "é".repeat(200)));
        assert_eq!(out.len(), HEADER_LEN + 255);
    }

    #[test]
    fn hostile_text_becomes_one_harmless_line() {
        let text = error_text(b"a\x1b[2J\r\n\0\xff%n%s 'q' \\Device");
        assert_eq!(text, "a\\u{1b}[2J\\r\\n\\0\\xff%n%s 'q' \\Device");
        assert_eq!(error_text(&[b'a'; 70_000]).len(), ERROR_TEXT_MAX);
    }
}
