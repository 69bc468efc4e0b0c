//! `pcap-over-ip-connect:HOST:PORT`: a program that waits for the savefile is called.

use std::io;
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::readers::Readers;
use super::transport::Transport;
use super::{Pauses, keep_alive, spawn};

/// How long a call may take.
const CALL: Duration = Duration::from_secs(5);

pub(super) fn start(place: &str, readers: &Arc<Readers>) -> io::Result<JoinHandle<()>> {
    let (place, readers) = (place.to_owned(), Arc::clone(readers));
    spawn(move || {
        let mut pauses = Pauses::default();
        loop {
            let called = Instant::now();
            match call(&place) {
                Ok(mut transport) => {
                    readers.serve(&place, &mut transport);
                    pauses.after(called);
                }
                Err(error) if pauses.is_first() => {
                    readers.warn(&format!("cannot connect: {error}; it is tried again"));
                }
                Err(_) => {}
            }
            if !readers.wait(pauses.next()) {
                return;
            }
        }
    })
}

fn call(place: &str) -> io::Result<Transport> {
    let mut failure = io::Error::other("the name has no address");
    for address in place.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, CALL) {
            Ok(stream) => {
                keep_alive(&stream)?;
                return Transport::tcp(stream);
            }
            Err(error) => failure = error,
        }
    }
    Err(failure)
}
