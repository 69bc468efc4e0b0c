//! One datagram in each system call.

use std::io;

use mio::net::UdpSocket;

use super::{Message, Received};

/// Most datagrams at a time.
const MESSAGES: usize = 64;

/// What is particular to this way.
#[derive(Debug)]
pub(super) struct Single {
    /// Bytes that a datagram has room for.
    longest: usize,
}

impl Single {
    pub(super) fn new(longest: usize) -> (Self, Received) {
        // They lie end to end, so that short ones stay in the processor's cache.
        (Self { longest }, Received::new(MESSAGES, 4 * longest))
    }

    pub(super) fn look(&self, socket: &UdpSocket, received: &mut Received) -> io::Result<()> {
        let Received { buffer, messages, emptied, counts } = received;
        let mut start = 0;
        while messages.len() < MESSAGES {
            let Some(room) = buffer.get_mut(start..start + self.longest) else { break };
            match socket.recv_from(room) {
                Ok((len, from)) => {
                    counts.calls += 1;
                    // No datagram is that long: what fills its buffer was cut.
                    if len == self.longest {
                        counts.truncated += 1;
                        continue;
                    }
                    counts.datagrams += 1;
                    messages.push(Message { from, start, len, segment: len.max(1) });
                    start += len;
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    *emptied = true;
                    break;
                }
                // Windows cuts a datagram and says so (WSAEMSGSIZE), others say nothing.
                Err(e) if cfg!(windows) && e.raw_os_error() == Some(10040) => counts.truncated += 1,
                // Windows reports what became of datagrams that this socket never sent.
                Err(e) if e.kind() == io::ErrorKind::ConnectionReset => {}
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }
}
