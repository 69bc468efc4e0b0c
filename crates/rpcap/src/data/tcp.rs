use std::io::{self, Read};
use std::net::{Shutdown, TcpStream};

use rpcap_proto::wire::PacketMessage;

use super::{DataError, Inlet};
use crate::sink::Sink;

/// Room for at least four of the longest packets, and for hundreds of the usual ones per read.
const BUFFER: usize = 1024 * 1024;

/// A stream of packets.
#[derive(Debug)]
pub struct TcpReceiver {
    stream: TcpStream,
    snaplen: u32,
}

/// Ends a [`TcpReceiver`] that another thread runs.
#[derive(Debug)]
pub struct TcpStopper(TcpStream);

impl TcpStopper {
    /// Ends the connection.
    pub fn stop(&self) {
        // It fails if the peer did it first.
        let _ = self.0.shutdown(Shutdown::Both);
    }
}

impl TcpReceiver {
    /// A stream whose packets have at most `snaplen` bytes.
    ///
    /// The socket's receive buffer is left alone: the kernel sizes it better than any fixed
    /// number, and stops doing so once it is told one.
    pub fn new(stream: TcpStream, snaplen: u32) -> Self {
        Self { stream, snaplen }
    }

    /// What ends [`Self::run`] from another thread.
    pub fn stopper(&self) -> io::Result<TcpStopper> {
        self.stream.try_clone().map(TcpStopper)
    }

    /// Receives until the daemon ends the stream or the stopper is used.
    pub fn run<S: Sink>(&mut self, inlet: &mut Inlet<'_, S>) -> Result<(), DataError> {
        let mut buffer = vec![0; BUFFER];
        // What is in the buffer and not taken yet.
        let (mut start, mut end) = (0, 0);
        loop {
            let n = match self.stream.read(&mut buffer[end..]) {
                Ok(0) if start == end => return Ok(()),
                Ok(0) => return Err(DataError::Cut),
                Ok(n) => n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
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
