//! `pcap-over-ip-connect:HOST:PORT`: a program that waits for the savefile is called.

use std::io;
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::readers::Readers;
use super::transport::Transport;
use super::{Pauses, Work};
use crate::client::prepare as keep_alive;

/// How long a call may take.
const CALL: Duration = Duration::from_secs(5);

pub(super) fn prepare(place: &str, readers: &Arc<Readers>) -> Work {
    let (place, readers) = (place.to_owned(), Arc::clone(readers));
    Box::new(move || {
        let mut pauses = Pauses::default();
        // Whether it was said that nobody is there.
        let mut told = false;
        loop {
            let called = Instant::now();
            match call(&place) {
                Ok(mut transport) => {
                    told = false;
                    readers.serve(&place, &mut transport);
                    pauses.after(called);
                }
                Err(error) if !told => {
                    told = true;
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
                keep_alive(&stream);
                return Transport::tcp(stream);
            }
            Err(error) => failure = error,
        }
    }
    Err(failure)
}
