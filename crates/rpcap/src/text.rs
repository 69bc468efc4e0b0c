//! Text for people: what strangers sent made harmless, and numbers made readable.

use std::fmt;

/// Bytes from elsewhere as one line that can be shown on a terminal: control characters, what
/// would rearrange the line, and what is not UTF-8 are escaped.
///
/// Backslashes stay as they are, or every device of Windows would look wrong.
pub fn harmless(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                c if !is_harmful(c) => text.push(c),
                c if is_format(c) => text.extend(c.escape_unicode()),
                c => text.extend(c.escape_debug()),
            }
        }
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text
}

/// The same for a text of several lines, which become one with spaces between them.
pub fn harmless_line(text: &str) -> String {
    harmless(text.replace('\n', " ").as_bytes())
}

/// JSON that means the same and can be shown on a terminal: what [`harmless`] escapes is escaped in strings, the only
/// place where it can stand. Line breaks between values stay.
pub fn harmless_json(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            c if c != '\n' && is_harmful(c) => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    text.push_str(&format!("\\u{unit:04x}"));
                }
            }
            c => text.push(c),
        }
    }
    text
}

/// Characters that are not shown as they are.
fn is_harmful(c: char) -> bool {
    let plain = matches!(c, '\\' | '\'' | '"');
    !plain && (is_format(c) || c.escape_debug().len() > 1)
}

/// Characters that are not seen but change what is: marks and overrides of direction, joiners.
fn is_format(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// A number with its thousands set apart.
#[derive(Clone, Copy, Debug)]
pub struct Count(pub u64);

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.0.to_string();
        let mut text = String::with_capacity(digits.len() + digits.len() / 3);
        for (i, digit) in digits.chars().enumerate() {
            if i > 0 && (digits.len() - i).is_multiple_of(3) {
                text.push(',');
            }
            text.push(digit);
        }
        f.pad_integral(true, "", &text)
    }
}

/// A number of something, in the form that grammar asks for.
pub fn plural(n: u64, one: &str, many: &str) -> String {
    format!("{} {}", Count(n), if n == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_what_moves_the_cursor_and_keeps_names_readable() {
        assert_eq!(harmless(br"\Device\NPF_{1}"), r"\Device\NPF_{1}");
        assert_eq!(harmless(b"a\x1b[2J\n\xff"), "a\\u{1b}[2J\\n\\xff");
        assert_eq!(harmless("a\u{202e}b".as_bytes()), "a\\u{202e}b");
        assert_eq!(harmless("Büro".as_bytes()), "Büro");
    }

    #[test]
    fn json_keeps_its_meaning() {
        let name = "e\u{9b}2J\u{7f}\u{202e}\u{e0001}\"\\\n\t\u{301}ü'";
        let json = format!("[\n  {}\n]", serde_json::to_string(name).unwrap());
        let text = harmless_json(&json);
        let escaped = r#""e\u009b2J\u007f\u202e\udb40\udc01\"\\\n\t\u0301ü'""#;
        assert_eq!(text, format!("[\n  {escaped}\n]"));
        assert_eq!(serde_json::from_str::<[String; 1]>(&text).unwrap(), [name]);
    }

    #[test]
    fn sets_thousands_apart() {
        for (n, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (12_345_678, "12,345,678")] {
            assert_eq!(Count(n).to_string(), text);
        }
        assert_eq!(format!("{:>6}|", Count(1000)), " 1,000|");
    }
}
