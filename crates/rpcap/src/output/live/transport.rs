use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};

use rustls::ServerConnection;

use super::readers::GLANCE;

/// Where a reader is. Nothing here waits for longer than a glance.
#[derive(Debug)]
pub(super) enum Transport {
    Tcp(TcpStream),
    Tls(Box<ServerConnection>, TcpStream),
    #[cfg(unix)]
    Pipe(super::pipe::End),
}

impl Transport {
    pub(super) fn tcp(stream: TcpStream) -> io::Result<Self> {
        limit(&stream)?;
        Ok(Self::Tcp(stream))
    }

    pub(super) fn tls(connection: ServerConnection, stream: TcpStream) -> io::Result<Self> {
        limit(&stream)?;
        Ok(Self::Tls(Box::new(connection), stream))
    }

    /// Writes some of it, perhaps nothing.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => some(stream.write(bytes)),
            Self::Tls(tls, stream) => {
                // What is encrypted already goes first: rustls keeps no more than that.
                while tls.wants_write() {
                    if some(tls.write_tls(stream))? == 0 {
                        return Ok(0);
                    }
                }
                if tls.is_handshaking() {
                    read(tls, stream)?;
                    return Ok(0);
                }
                tls.writer().write(bytes)
            }
            #[cfg(unix)]
            Self::Pipe(end) => end.write(bytes, GLANCE),
        }
    }

    /// Fails if the reader has gone. What it says is of no interest.
    pub(super) fn check(&mut self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => match some(stream.read(&mut [0; 1024])) {
                // It may have finished sending, and still read: the next write tells.
                Ok(_) => Ok(()),
                Err(error) => Err(error),
            },
            Self::Tls(tls, stream) => {
                self::read(tls, stream)?;
                while tls.wants_write() && some(tls.write_tls(stream))? > 0 {}
                Ok(())
            }
            #[cfg(unix)]
            Self::Pipe(end) => end.check(),
        }
    }

    /// Nothing more comes.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Self::Tls(tls, stream) => {
                tls.send_close_notify();
                while tls.wants_write() && some(tls.write_tls(stream))? > 0 {}
                stream.shutdown(Shutdown::Write)
            }
            #[cfg(unix)]
            Self::Pipe(_) => Ok(()),
        }
    }
}

fn limit(stream: &TcpStream) -> io::Result<()> {
    stream.set_write_timeout(Some(GLANCE))?;
    // Reads only look whether the other end is still there.
    stream.set_read_timeout(Some(std::time::Duration::from_millis(1)))
}

/// Nothing, if it would have taken longer.
fn some(result: io::Result<usize>) -> io::Result<usize> {
    use io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
    match result {
        Err(e) if matches!(e.kind(), WouldBlock | TimedOut | Interrupted) => Ok(0),
        other => other,
    }
}

fn read(tls: &mut ServerConnection, stream: &mut TcpStream) -> io::Result<()> {
    use io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
    match tls.read_tls(stream) {
        Ok(0) => return Err(io::ErrorKind::ConnectionReset.into()),
        Ok(_) => {}
        Err(e) if matches!(e.kind(), WouldBlock | TimedOut | Interrupted) => return Ok(()),
        Err(e) => return Err(e),
    }
    let state = tls.process_new_packets().map_err(io::Error::other)?;
    let mut unread = state.plaintext_bytes_to_read();
    while unread > 0 {
        let n = tls.reader().read(&mut [0; 1024])?;
        unread = unread.saturating_sub(n.max(1));
    }
    match state.peer_has_closed() {
        true => Err(io::ErrorKind::ConnectionReset.into()),
        false => Ok(()),
    }
}
