//! The receiving end of RPCAP: talks to a packet forwarder and takes what it captures.
//!
//! * [`url`]: where a device is.
//! * [`client`]: the control connection, one method per request.
//! * [`data`]: the data connection, by TCP or UDP, into a [`sink::Sink`].
//! * [`running`]: the two together: a capture that runs, is watched, and is ended so that nothing
//!   of it is missed.
//! * [`collector`]: many daemons at once, that connect by themselves.
//! * [`output`]: where packets go, each place with a queue and a thread of its own.
//! * [`web`]: the collector's page and API, over HTTP.
//! * [`extcap`]: what Wireshark asks of programs that capture for it.
//! * [`tls`]: which daemons are trusted, where connections are encrypted.
//! * [`repair`]: checksums and segments as the wire has them.
//! * [`ledger`]: what became of every packet; [`clock`]: how far the daemon's clock is from this one's.
//! * [`keeper`], [`mod@file`], [`mod@print`]: what packets are turned into.
//!
//! Threads and blocking sockets; every wait for a daemon has a deadline. What a daemon says is
//! taken for what it is, the word of a stranger: lengths make no room, texts are escaped before
//! they are shown.

pub mod client;
pub mod clock;
pub mod collector;
pub mod data;
pub mod extcap;
pub mod file;
pub mod filter;
pub mod find;
pub mod journal;
pub mod keeper;
pub mod ledger;
pub mod linktype;
mod locked;
pub mod output;
pub mod print;
pub mod repair;
pub mod running;
pub mod sink;
mod stream;
pub mod text;
pub mod tls;
pub mod url;
pub mod values;
pub mod web;
