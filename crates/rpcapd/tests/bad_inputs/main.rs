//! Hostile, broken and odd peers against the real daemon, over real sockets.
//!
//! Tests are named after the row that they stand for: `d5_065_…` is row 65, of the section on
//! STARTCAP and filters. In every test the daemon must go on to serve others, say what happened
//! in one line of its log, and end in order when asked: [`daemon::Daemon::finish`] sees to that.
//!
//! No privileges are needed, but for the system's accounts: the daemon captures from a savefile. Rows
//! that need an interface are with the end-to-end tests.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "helpers of tests may fail as tests do")]

mod accounts;
mod d1;
mod d1_tls;
mod d2;
mod d3;
mod d3_pam;
mod d3_users;
mod d4;
mod d5;
mod d5_data;
mod d6;
mod d7;
mod d9;
mod daemon;
mod data;
mod message;
mod peer;
mod process;
mod savefile;
mod sealed;
mod streams;
mod suite;
mod tls_peer;
mod tls_streams;
