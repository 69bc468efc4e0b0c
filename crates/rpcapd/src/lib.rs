//! The daemon's rooms; `main.rs` only opens the door.
//!
//! [`config`] reads what the operator wants. [`server`] accepts connections, [`active`] makes them,
//! [`session`] serves each on a thread of its own, and a capture runs on yet another ([`pump`]), which
//! is the hot loop: blocks of packets from the kernel, framed into a batch, given to a [`transport`].
//! [`report`] tells what all of them do, to those who ask ([`local`]). `DESIGN.md` tells why it is so.

pub mod active;
pub mod allow;
pub mod auth;
#[cfg(unix)]
pub mod background;
pub mod cli;
pub mod config;
pub mod control;
pub mod devices;
mod files;
mod gate;
pub mod inetd;
pub mod ledger;
pub mod limits;
pub mod listeners;
pub mod local;
mod locked;
pub mod logging;
pub mod notify;
pub mod own;
pub mod peers;
#[cfg(unix)]
mod pid_file;
pub mod preselect;
#[cfg(target_os = "linux")]
mod privileges;
pub mod pump;
pub mod reload;
pub mod report;
pub mod sampler;
pub mod sandbox;
pub mod server;
#[cfg(windows)]
pub mod service;
pub mod session;
pub mod sessions;
pub mod settings;
#[cfg_attr(windows, path = "signals_windows.rs")]
mod signals;
pub mod system;
pub mod tls;
pub mod totals;
pub mod transport;
