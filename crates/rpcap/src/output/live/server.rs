//! `pcap-over-ip:ADDRESS:PORT`: whoever connects is given the savefile.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;

use rustls::{ServerConfig, ServerConnection};

use super::readers::{GLANCE, Readers};
use super::transport::Transport;
use super::{keep_alive, spawn};
use crate::tls::server_config;

pub(super) fn start(
    address: SocketAddr,
    tls: Option<&(PathBuf, PathBuf)>,
    readers: &Arc<Readers>,
) -> io::Result<JoinHandle<()>> {
    let config = tls.map(|(cert, key)| server_config(cert, key).map(Arc::new));
    let config = config.transpose().map_err(io::Error::other)?;
    let listener = TcpListener::bind(address)?;
    let address = listener.local_addr()?;
    // Threads look now and then whether it is over.
    listener.set_nonblocking(true)?;
    readers.say(&format!("readers may connect to {address}"));
    let readers = Arc::clone(readers);
    spawn(move || accept(&listener, config.as_ref(), &readers))
}

fn accept(listener: &TcpListener, config: Option<&Arc<ServerConfig>>, readers: &Arc<Readers>) {
    let mut threads: Vec<JoinHandle<()>> = Vec::new();
    loop {
        let (stream, peer) = match listener.accept() {
            Ok(accepted) => accepted,
            // Nobody there, or no descriptor left: it is tried again.
            Err(_) if readers.wait(GLANCE) => continue,
            Err(_) => break,
        };
        threads.retain(|thread| !thread.is_finished());
        let (served, config) = (Arc::clone(readers), config.cloned());
        let thread = spawn(move || {
            let who = peer.to_string();
            match greet(stream, config) {
                Ok(mut transport) => {
                    if !served.serve(&who, &mut transport) {
                        served.warn(&format!("{who} turned away: too many read already"));
                    }
                }
                Err(error) => served.warn(&format!("{who}: {error}")),
            }
        });
        match thread {
            Ok(thread) => threads.push(thread),
            Err(error) => readers.warn(&format!("{peer}: no thread for it: {error}")),
        }
    }
    for thread in threads {
        // If it panicked, that was said.
        let _ = thread.join();
    }
}

fn greet(stream: TcpStream, config: Option<Arc<ServerConfig>>) -> io::Result<Transport> {
    stream.set_nonblocking(false)?;
    keep_alive(&stream)?;
    match config {
        None => Transport::tcp(stream),
        Some(config) => {
            let connection = ServerConnection::new(config).map_err(io::Error::other)?;
            Transport::tls(connection, stream)
        }
    }
}
