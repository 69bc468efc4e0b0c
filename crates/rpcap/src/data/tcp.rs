use std::io;
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use rpcap_proto::wire::PacketMessage;

use super::{DataError, Inlet};
use crate::sink::Sink;
use crate::stream::Stream;

/// Room for at least four of the longest packets, and for hundreds of the usual ones per read.
const BUFFER: usize = 1024 * 1024;

/// A stream of packets.
#[derive(Debug)]
pub struct TcpReceiver {
    stream: Stream,
    snaplen: u32,
    stopped: Arc<AtomicBool>,
}

/// Ends a [`TcpReceiver`] that another thread runs.
#[derive(Debug)]
pub struct TcpStopper {
    socket: TcpStream,
    stopped: Arc<AtomicBool>,
}

impl TcpStopper {
    /// Ends the connection.
    pub fn stop(&self) {
        self.stopped.store(true, Relaxed);
        // It fails if the peer did it first.
        let _ = self.socket.shutdown(Shutdown::Both);
    }
}

impl TcpReceiver {
    /// A stream whose packets have at most `snaplen` bytes.
    ///
    /// The socket's receive buffer is left alone: the kernel sizes it better than any fixed
    /// number, and stops doing so once it is told one.
    pub fn new(stream: TcpStream, snaplen: u32) -> Self {
        Self::over(Stream::Plain(stream), snaplen)
    }

    pub(crate) fn over(stream: Stream, snaplen: u32) -> Self {
        Self { stream, snaplen, stopped: Arc::default() }
    }

    /// What ends [`Self::run`] from another thread.
    pub fn stopper(&self) -> io::Result<TcpStopper> {
        let socket = self.stream.socket().try_clone()?;
        Ok(TcpStopper { socket, stopped: Arc::clone(&self.stopped) })
    }

    /// Receives until the daemon ends the stream or the stopper is used.
    pub fn run<S: Sink>(&mut self, inlet: &mut Inlet<'_, S>) -> Result<(), DataError> {
        let mut buffer = vec![0; BUFFER];
        // What is in the buffer and not taken yet.
        let (mut start, mut end) = (0, 0);
        loop {
            let n = match self.stream.read(&mut buffer[end..]) {
                Ok(Some(0)) if start == end => return Ok(()),
                Ok(Some(0)) => return Err(DataError::Cut),
                Ok(Some(n)) => n,
                Ok(None) => continue,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                // Cut off by this end.
                Err(e) if is_cut(&e) && self.stopped.load(Relaxed) && start == end => {
                    return Ok(());
                }
                Err(e) if is_cut(&e) => return Err(DataError::CutOff),
                Err(e) => return Err(e.into()),
            };
            end += n;
            let emptied = end < buffer.len();
            while let Some(message) = PacketMessage::read(&buffer[start..end], self.snaplen)? {
                start += message.size;
                inlet.packet(&message.header, message.data);
            }
            match emptied {
                // There was room for more, so there was no more.
                true => inlet.pause(),
                false => inlet.show(),
            }
            // At most one packet is incomplete. It is moved once, and then the room behind it is
            // enough for the rest of it.
            if start > 0 {
                buffer.copy_within(start..end, 0);
                (start, end) = (0, end - start);
            }
        }
    }
}

/// What the end of an encrypted connection is that nobody announced.
fn is_cut(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::UnexpectedEof
}
