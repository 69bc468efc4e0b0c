//! What the tests of the protocol share: bytes, and a program for the daemon's session to serve.
#![allow(dead_code, reason = "every test takes what it needs of this")]

pub(crate) mod host;

use rpcap_proto::deframe::{Deframer, Frame};
use rpcap_proto::wire::{Header, MessageType, write_message};

/// The AUTH of a client without a name.
pub(crate) const NULL_AUTH: [u8; 16] = [0, 8, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0];

/// Room for anything that a test may get.
const ANY_PAYLOAD: u32 = 1 << 24;

/// Bytes from hex digits; everything else is for the reader.
pub(crate) fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.chars().filter_map(|c| c.to_digit(16)).map(|d| d as u8).collect();
    assert_eq!(digits.len() % 2, 0, "half a byte: {text}");
    digits.chunks(2).map(|d| d[0] << 4 | d[1]).collect()
}

/// A message of version 0 and value 0.
pub(crate) fn message(kind: MessageType, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    write_message(&mut out, kind, 0, |b| b.extend_from_slice(payload));
    out
}

/// A message whose header claims `len` bytes of payload, whatever follows.
pub(crate) fn claiming(kind: u8, len: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![0, kind, 0, 0];
    out.extend_from_slice(&len.to_be_bytes());
    out.extend_from_slice(payload);
    out
}

/// The whole messages in `bytes`, of which nothing may be left over.
pub(crate) fn messages(bytes: &[u8]) -> Vec<(Header, Vec<u8>)> {
    let mut deframer = Deframer::new(ANY_PAYLOAD);
    deframer.push(bytes);
    let mut messages = Vec::new();
    loop {
        match deframer.next_frame() {
            Frame::Message(header, payload) => messages.push((header, payload.to_vec())),
            Frame::Incomplete { started: false, .. } => return messages,
            rest => panic!("not a whole message: {rest:?}"),
        }
    }
}
