use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

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

    /// Shakes hands, unless that takes too long.
    pub(super) fn tls(
        connection: ServerConnection,
        mut stream: TcpStream,
        too_long: impl Fn() -> bool,
    ) -> io::Result<Self> {
        let mut tls = Box::new(connection);
        stream.set_write_timeout(Some(GLANCE))?;
        stream.set_read_timeout(Some(GLANCE))?;
        while tls.is_handshaking() {
            if too_long() {
                return Err(io::Error::other("it does not shake hands: does it speak TLS?"));
            }
            let read = read(&mut tls, &mut stream);
            // If it failed, the reader is told why.
            send(&mut tls, &mut stream)?;
            read?;
        }
        limit(&stream)?;
        Ok(Self::Tls(tls, stream))
    }

    /// Writes some of it, perhaps nothing.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => some(stream.write(bytes)),
            Self::Tls(tls, stream) => {
                // It takes no more than 64 KiB that have not left yet.
                let taken = tls.writer().write(bytes)?;
                send(tls, stream)?;
                Ok(taken)
            }
            #[cfg(unix)]
            Self::Pipe(end) => end.write(bytes, GLANCE),
        }
    }

    /// Fails if the reader has gone. What it says is of no interest.
    pub(super) fn check(&mut self) -> io::Result<()> {
        match self {
            // It may have finished sending, and still read: the next write tells.
            Self::Tcp(stream) => some(stream.read(&mut [0; 1024])).map(drop),
            Self::Tls(tls, stream) => {
                read(tls, stream)?;
                send(tls, stream)
            }
            #[cfg(unix)]
            Self::Pipe(end) => end.check(),
        }
    }

    /// Nothing more comes; whether all has left.
    pub(super) fn finish(&mut self) -> io::Result<bool> {
        match self {
            Self::Tcp(stream) => stream.shutdown(Shutdown::Write)?,
            Self::Tls(tls, stream) => {
                tls.send_close_notify();
                send(tls, stream)?;
                if tls.wants_write() {
                    return Ok(false);
                }
                stream.shutdown(Shutdown::Write)?;
            }
            #[cfg(unix)]
            Self::Pipe(_) => {}
        }
        Ok(true)
    }
}

fn limit(stream: &TcpStream) -> io::Result<()> {
    stream.set_write_timeout(Some(GLANCE))?;
    // Reads only look whether the other end is still there.
    stream.set_read_timeout(Some(Duration::from_millis(1)))
}

/// Whether it would only have taken longer.
fn is_slow(error: &io::Error) -> bool {
    use io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
    matches!(error.kind(), WouldBlock | TimedOut | Interrupted)
}

/// Nothing, if it would have taken longer.
fn some(result: io::Result<usize>) -> io::Result<usize> {
    result.or_else(|error| if is_slow(&error) { Ok(0) } else { Err(error) })
}

/// Sends what is encrypted already, as far as there is room.
fn send(tls: &mut ServerConnection, stream: &mut TcpStream) -> io::Result<()> {
    while tls.wants_write() && some(tls.write_tls(stream))? > 0 {}
    Ok(())
}

fn read(tls: &mut ServerConnection, stream: &mut TcpStream) -> io::Result<()> {
    match tls.read_tls(stream) {
        Ok(0) => return Err(io::ErrorKind::ConnectionReset.into()),
        Ok(_) => {}
        Err(error) if is_slow(&error) => return Ok(()),
        Err(error) => return Err(error),
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
