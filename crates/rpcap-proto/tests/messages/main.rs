//! Every message: from value to bytes and back, any bytes to a value or a refusal, and the
//! examples of `docs/protocol.md` byte for byte.

mod any_bytes;
mod golden;
mod round_trip;
#[path = "../support/mod.rs"]
mod support;
mod values;
