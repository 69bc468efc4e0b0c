//! `pcap-over-ip:ADDRESS:PORT`: whoever connects is given the savefile.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustls::{ServerConfig, ServerConnection};

use super::readers::{GLANCE, Readers};
use super::transport::Transport;
use super::{Work, spawn};
use crate::client::prepare as keep_alive;
use crate::tls::server_config;

/// Most readers at a time, those among them that have not shaken hands yet.
pub(super) const MOST: usize = 64;
/// How long shaking hands may take.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// The files that readers are shown a certificate from, and what was in them at the beginning.
type Identity = ((PathBuf, PathBuf), Arc<ServerConfig>);

/// What TLS needs, read and checked.
pub(super) fn identity(files: &(PathBuf, PathBuf)) -> io::Result<Identity> {
    let config = server_config(&files.0, &files.1).map_err(io::Error::other)?;
    Ok((files.clone(), Arc::new(config)))
}

pub(super) fn prepare(
    address: SocketAddr,
    tls: Option<&(PathBuf, PathBuf)>,
    readers: &Arc<Readers>,
) -> io::Result<Work> {
    let identity = tls.map(identity).transpose()?;
    let listener = TcpListener::bind(address)?;
    let address = listener.local_addr()?;
    // The thread looks now and then whether it is over.
    listener.set_nonblocking(true)?;
    if !address.ip().is_loopback() {
        readers.warn(&format!("whoever can reach {address} may read along: nobody is asked"));
    }
    readers.say(&format!("readers may connect to {address}"));
    let readers = Arc::clone(readers);
    Ok(Box::new(move || accept(&listener, identity.as_ref(), &readers)))
}

fn accept(listener: &TcpListener, identity: Option<&Identity>, readers: &Arc<Readers>) {
    let mut threads: Vec<JoinHandle<()>> = Vec::new();
    while !readers.is_ending() {
        let Ok((stream, peer)) = listener.accept() else {
            // Nobody there, or no descriptor left: it is tried again.
            readers.wait(GLANCE);
            continue;
        };
        threads.retain(|thread| !thread.is_finished());
        if threads.len() >= MOST {
            readers.warn(&format!("{peer} turned away: {MOST} read already"));
            continue;
        }
        let thread = {
            let (readers, identity) = (Arc::clone(readers), identity.cloned());
            spawn(move || match greet(stream, identity, &readers) {
                Ok(mut transport) => readers.serve(&peer.to_string(), &mut transport),
                Err(error) => readers.warn(&format!("{peer} turned away: {error}")),
            })
        };
        match thread {
            Ok(thread) => threads.push(thread),
            Err(error) => readers.warn(&format!("{peer} turned away: no thread for it: {error}")),
        }
    }
    for thread in threads {
        // If it panicked, that was said.
        let _ = thread.join();
    }
}

fn greet(stream: TcpStream, tls: Option<Identity>, readers: &Readers) -> io::Result<Transport> {
    stream.set_nonblocking(false)?;
    keep_alive(&stream);
    let Some((files, first)) = tls else { return Transport::tcp(stream) };
    // A certificate that was renewed; half of one that is just being written is none.
    let config = server_config(&files.0, &files.1).map_or(first, Arc::new);
    let connection = ServerConnection::new(config).map_err(io::Error::other)?;
    let until = Instant::now() + HANDSHAKE;
    Transport::tls(connection, stream, || Instant::now() > until || readers.is_ending())
}
