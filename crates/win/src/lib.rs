//! What Windows has for a daemon: a service and its manager, the event log, accounts and their
//! passwords, directories that only some may use,
//! sockets and threads. Nothing on other systems.
#![cfg(windows)]

pub mod accounts;
pub mod event_log;
pub mod npcap;
pub mod rights;
pub mod service;
mod text;
pub mod thread;
pub mod udp;
