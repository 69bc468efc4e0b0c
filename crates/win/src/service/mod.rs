//! A service: this process as one ([`run`]), and services as those see them who manage them
//! ([`manage`]).

pub mod manage;
mod running;

use std::io;

pub use running::{Control, State, heed, is_one, run, tell};

/// An error of the `windows-service` crate as the system's.
fn system(e: windows_service::Error) -> io::Error {
    match e {
        windows_service::Error::Winapi(e) => e,
        other => io::Error::other(other),
    }
}
