//! Keeps an event on one line and free of what terminals obey.

use std::borrow::Cow;
use std::io::{self, Write};

use tracing::Metadata;
use tracing_subscriber::fmt::MakeWriter;

/// Writes events, each as one line.
#[derive(Debug)]
pub(super) struct OneLine<M> {
    pub(super) to: M,
    /// Whether the line is coloured: then escape characters are the formatter's own, which escapes
    /// those of values itself.
    pub(super) ansi: bool,
}

impl<'a, M: MakeWriter<'a>> MakeWriter<'a> for OneLine<M> {
    type Writer = Line<M::Writer>;

    fn make_writer(&'a self) -> Self::Writer {
        Line { to: self.to.make_writer(), ansi: self.ansi }
    }

    fn make_writer_for(&'a self, meta: &Metadata<'_>) -> Self::Writer {
        Line { to: self.to.make_writer_for(meta), ansi: self.ansi }
    }
}

/// One event's way out. The formatter writes the whole event with one call.
#[derive(Debug)]
pub(super) struct Line<W> {
    to: W,
    ansi: bool,
}

impl<W: Write> Write for Line<W> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(buf);
        let line = text.strip_suffix('\n').unwrap_or(&text);
        match escaped(line, self.ansi) {
            Cow::Borrowed(_) => self.to.write_all(buf)?,
            Cow::Owned(line) => self.to.write_all((line + "\n").as_bytes())?,
        }
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// A line without control characters, but for the escape sequences of colours if it has `ansi`.
pub(crate) fn escaped(line: &str, ansi: bool) -> Cow<'_, str> {
    let bad = |c: char| c.is_control() && !(ansi && c == '\x1b');
    if !line.contains(bad) {
        return line.into();
    }
    let mut text = String::with_capacity(line.len() + 8);
    for c in line.chars() {
        if bad(c) { text.extend(c.escape_debug()) } else { text.push(c) }
    }
    text.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_stays_on_one_line_whatever_is_in_it() {
        let mut to = Vec::new();
        let mut line = Line { to: &mut to, ansi: false };
        line.write_all("a\nb\r\x1b[2J\u{9b}c \"é\"\n".as_bytes()).unwrap();
        assert_eq!(String::from_utf8(to).unwrap(), "a\\nb\\r\\u{1b}[2J\\u{9b}c \"é\"\n");
        assert_eq!(escaped("\x1b[1ma\n", true), "\x1b[1ma\\n");
    }
}
