//! What the fuzz targets do with their input, as plain functions.
//!
//! Nothing here knows of libFuzzer: `fuzz/` makes programs of these functions, and
//! `tests/corpus.rs` runs the inputs that are kept under `fuzz/corpus` through them, on every test
//! run.
//!
//! An input is read from the front by `Input`, so that one can be written by hand: the layout is told
//! at each target.

mod client;
mod config;
mod daemon;
mod files;
mod filter;
mod input;
#[cfg(target_os = "linux")]
mod kernel;
mod listen;
mod local;
mod messages;
mod options;
mod packets;
mod program;
#[cfg(target_os = "linux")]
mod savefile;
mod sealed;
mod stream;
mod switchboard;
mod udpstr;

pub use client::client_session;
pub use config::{config_ini, config_toml};
pub use daemon::daemon_session;
pub use files::{collector_policy, users};
pub use filter::filter;
#[cfg(target_os = "linux")]
pub use kernel::{Compared, compare_runs, compare_verdicts, filter_kernel, filter_run};
pub use listen::listen_control;
pub use local::local_request;
pub use options::{client_values, daemon_options};
pub use packets::{flow, framer, print, repair};
#[cfg(target_os = "linux")]
pub use savefile::{file_writer, savefile, savefile_reader};
pub use sealed::sealed;
pub use stream::{deframer, devices, packet};
pub use switchboard::switchboard;
pub use udpstr::udpstr_unpack;

/// The name of a binary and its corpus, and what it does.
pub type Target = (&'static str, fn(&[u8]));

/// Every target, by name.
pub const TARGETS: &[Target] = &[
    ("client_session", client_session),
    ("client_values", client_values),
    ("collector_policy", collector_policy),
    ("config_ini", config_ini),
    ("config_toml", config_toml),
    ("daemon_options", daemon_options),
    ("daemon_session", daemon_session),
    ("deframer", deframer),
    ("devices", devices),
    #[cfg(target_os = "linux")]
    ("file_writer", file_writer),
    ("filter", filter),
    #[cfg(target_os = "linux")]
    ("filter_kernel", filter_kernel),
    #[cfg(target_os = "linux")]
    ("filter_run", filter_run),
    ("flow", flow),
    ("framer", framer),
    ("listen_control", listen_control),
    ("local_request", local_request),
    ("packet", packet),
    ("print", print),
    ("repair", repair),
    #[cfg(target_os = "linux")]
    ("savefile", savefile),
    #[cfg(target_os = "linux")]
    ("savefile_reader", savefile_reader),
    ("sealed", sealed),
    ("switchboard", switchboard),
    ("udpstr_unpack", udpstr_unpack),
    ("users", users),
];
