//! Messages between Wireshark's toolbar and a capture, as its README.extcap describes them: `T`,
//! a length of 3 bytes that counts what follows it, the control's number, a command, a payload.

use std::io::{self, Read};

/// The longest payload, in bytes.
pub const PAYLOAD_MAX: usize = 65_535;

const SYNC: u8 = b'T';

/// What a message is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Command {
    /// The toolbar has sent what its controls were set to before the capture.
    Initialized = 0,
    /// Set the control.
    Set = 1,
    /// Add a line to a log.
    Add = 2,
    /// Show a text in the status bar.
    StatusBar = 6,
    /// Show a warning in a dialog of its own.
    Warning = 8,
}

/// A message from the toolbar. Other commands than those here are of no concern to a capture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The control's number.
    pub control: u8,
    /// The number of the command, see [`Command`].
    pub command: u8,
    /// The value, possibly empty.
    pub payload: Vec<u8>,
}

/// A message as bytes. What is too long is cut off, at a character.
pub fn encode(control: u8, command: Command, payload: &str) -> Vec<u8> {
    let mut end = payload.len().min(PAYLOAD_MAX);
    while !payload.is_char_boundary(end) {
        end -= 1;
    }
    let payload = &payload[..end];
    let length = payload.len() + 2;
    let mut bytes = vec![SYNC, (length >> 16) as u8, (length >> 8) as u8, length as u8];
    bytes.extend([control, command as u8]);
    bytes.extend_from_slice(payload.as_bytes());
    bytes
}

/// Reads a message; `None` at the end of the pipe. After an error there is no way back into the
/// stream.
pub fn read(from: &mut impl Read) -> io::Result<Option<Message>> {
    let mut head = [0; 6];
    match from.read_exact(&mut head) {
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    }
    let [sync, a, b, c, control, command] = head;
    let length = u32::from_be_bytes([0, a, b, c]) as usize;
    if sync != SYNC || !(2..=PAYLOAD_MAX + 2).contains(&length) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "this is no toolbar's message"));
    }
    let mut payload = vec![0; length - 2];
    from.read_exact(&mut payload)?;
    Ok(Some(Message { control, command, payload }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_there_and_back() {
        let mut bytes = encode(1, Command::Set, "tcp port 80");
        assert_eq!(bytes[..6], [b'T', 0, 0, 13, 1, 1]);
        bytes.extend(encode(0, Command::Initialized, ""));
        let mut from = bytes.as_slice();
        let first = read(&mut from).unwrap().unwrap();
        assert_eq!(first, Message { control: 1, command: 1, payload: b"tcp port 80".to_vec() });
        assert_eq!(read(&mut from).unwrap().unwrap().command, 0);
        assert_eq!(read(&mut from).unwrap(), None);
        let long = encode(0, Command::Add, &"ü".repeat(40_000));
        assert_eq!(read(&mut long.as_slice()).unwrap().unwrap().payload.len(), PAYLOAD_MAX - 1);
    }

    #[test]
    fn what_is_no_message_is_refused() {
        for bytes in
            [&b"X\0\0\x02\0\0"[..], b"T\0\0\x01\0\0", b"T\xff\xff\xff\0\0", b"T\0\0\x03\0\0"]
        {
            assert!(read(&mut &*bytes).is_err(), "{bytes:?}");
        }
    }
}
