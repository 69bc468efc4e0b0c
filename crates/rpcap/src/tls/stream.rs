use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rpcap_proto::sealed::{Cipher, Secret};
use rustls::ClientConnection;
use rustls::pki_types::{CertificateDer, ServerName};

use super::{Tls, TlsFailure};
use crate::client::is_timeout;

/// The first bytes of records: change of cipher, alert, handshake, data.
const RECORDS: std::ops::RangeInclusive<u8> = 20..=23;

/// An encrypted connection on a blocking socket.
///
/// Dropping it tells the daemon that nothing more comes.
#[derive(Debug)]
pub struct TlsStream {
    connection: Box<ClientConnection>,
    socket: TcpStream,
    /// What came from the socket, and where in it the rest begins that was not looked at yet.
    raw: Vec<u8>,
    rest: Range<usize>,
    /// What came is no TLS any more. The library remembers why.
    broken: bool,
}

impl TlsStream {
    /// Greets the daemon, which has to be done within `time`. Then up to `room` bytes are taken
    /// from the socket at a time.
    pub(crate) fn connect(
        tls: &Tls,
        name: ServerName<'static>,
        socket: TcpStream,
        time: Duration,
        room: usize,
    ) -> Result<Self, TlsFailure> {
        let connection = Box::new(ClientConnection::new(Arc::clone(tls.config()), name)?);
        let raw = vec![0; room];
        let mut stream = Self { connection, socket, raw, rest: 0..0, broken: false };
        stream.socket.set_write_timeout(Some(time.max(Duration::from_millis(1))))?;
        stream.greet(time)?;
        stream.socket.set_read_timeout(None)?;
        Ok(stream)
    }

    fn greet(&mut self, time: Duration) -> Result<(), TlsFailure> {
        let deadline = Instant::now() + time;
        let mut first = true;
        loop {
            self.flush()?;
            if !self.connection.is_handshaking() {
                return Ok(());
            }
            // A byte now and then does not push the deadline on.
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(TlsFailure::TimedOut(time));
            }
            self.socket.set_read_timeout(Some(left))?;
            match self.fill() {
                Ok(0) => return Err(TlsFailure::Ended),
                Ok(_) if first && !RECORDS.contains(&self.raw[0]) => {
                    return Err(TlsFailure::plain(&self.raw[self.rest.clone()]));
                }
                Ok(_) => first = false,
                Err(e) if is_timeout(&e) => return Err(TlsFailure::TimedOut(time)),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(e.into()),
            }
            while self.connection.is_handshaking() && !self.rest.is_empty() {
                self.step()?;
            }
        }
    }

    /// Reads what is there, waiting for it as long as the socket does. 0 is the end, as the daemon
    /// wants it; `None` that something came, but nothing that is for the reader.
    ///
    /// A connection that ends without saying so is an error, `UnexpectedEof`.
    pub(crate) fn read(&mut self, to: &mut [u8]) -> io::Result<Option<usize>> {
        let (mut n, mut waited) = (0, false);
        while n < to.len() {
            match self.connection.reader().read(&mut to[n..]) {
                Ok(0) => break,
                Ok(more) => {
                    n += more;
                    continue;
                }
                // Whatever it is, it is met again.
                Err(_) if n > 0 && (self.broken || self.rest.is_empty()) => break,
                // What was good is read by now.
                Err(_) if self.broken => return Err(self.failure()),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => {
                    return Err(TlsFailure::CutOff.into());
                }
                Err(e) => return Err(e),
            }
            if self.rest.is_empty() {
                if waited {
                    return Ok(None);
                }
                self.fill()?;
                waited = true;
            }
            self.broken = self.step().is_err();
        }
        Ok(Some(n))
    }

    /// Why nothing more can be read.
    fn failure(&mut self) -> io::Error {
        let failure = match self.connection.process_new_packets() {
            Err(error) => error.into(),
            Ok(_) => TlsFailure::CutOff,
        };
        failure.into()
    }

    /// Sends all of these bytes.
    pub(crate) fn write_all(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let taken = self.connection.writer().write(bytes)?;
            bytes = &bytes[taken..];
            self.flush()?;
        }
        Ok(())
    }

    /// The socket below.
    pub(crate) fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// The daemon's own certificate.
    pub(crate) fn certificate(&self) -> Option<&CertificateDer<'static>> {
        self.connection.peer_certificates().and_then(|all| all.first())
    }

    /// See [`super::seal`].
    pub(crate) fn seal(&self, capture: u32) -> Option<(Secret, Cipher)> {
        super::seal(&self.connection, capture)
    }

    /// Reads from the socket, after all that came before was looked at.
    fn fill(&mut self) -> io::Result<usize> {
        let n = self.socket.read(&mut self.raw)?;
        self.rest = 0..n;
        Ok(n)
    }

    /// Looks at some of what came; of nothing, that it is the end.
    fn step(&mut self) -> Result<(), TlsFailure> {
        let n = self.connection.read_tls(&mut &self.raw[self.rest.clone()])?;
        self.rest.start += n;
        let result = self.connection.process_new_packets();
        if self.connection.wants_write() {
            // What is not taken now goes with what is written next.
            let _ = self.connection.write_tls(&mut self.socket);
        }
        result.map(drop).map_err(TlsFailure::from)
    }

    fn flush(&mut self) -> io::Result<()> {
        while self.connection.wants_write() {
            match self.connection.write_tls(&mut self.socket) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Err(e) if e.kind() != io::ErrorKind::Interrupted => return Err(e),
                _ => {}
            }
        }
        Ok(())
    }
}

impl Drop for TlsStream {
    fn drop(&mut self) {
        self.connection.send_close_notify();
        let _ = self.flush();
    }
}
