//! What Wireshark's interface for capture programs (extcap) is told, and what it tells.
//!
//! * [`hosts`]: the hosts that the user knows, from a file.
//! * [`cache`]: the devices that they had when they were last asked.
//! * [`interfaces`]: what Wireshark lists.
//! * [`sentences`]: how it is told of interfaces, options and controls.
//! * [`control`]: messages between its toolbar and a capture.
//! * [`folders`]: where it looks for programs.
//!
//! No function here waits for a host: Wireshark asks at each of its starts, and everybody waits
//! for that.

pub mod cache;
pub mod control;
pub mod folders;
pub mod hosts;
pub mod interfaces;
pub mod places;
pub mod sentences;
