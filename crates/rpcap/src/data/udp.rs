use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use rpcap_proto::sealed::Opener;

use super::datagrams::{Datagrams, Options, Waker};
use super::{DataError, DatagramDecoder, Inlet};
use crate::client::same_host;
use crate::sink::Sink;

/// How long the socket must stay empty, once the daemon has ended the capture, before nothing
/// more is expected. Datagrams and the control connection overtake each other by less.
const QUIET: Duration = Duration::from_millis(300);

/// How long datagrams that came early wait for one before them, when the socket is empty. What
/// overtakes on the same way does so by far less.
const PATIENCE: Duration = Duration::from_millis(3);

/// A socket that packets come to.
#[derive(Debug)]
pub struct UdpReceiver {
    datagrams: Datagrams,
    stop: Arc<Stop>,
    source: Source,
    decoder: DatagramDecoder,
    /// The missing datagram that others wait for, and since when.
    gap: Option<(u32, Instant)>,
}

/// Who the daemon is. Anybody can send to a socket.
#[derive(Clone, Copy, Debug)]
struct Source {
    address: IpAddr,
    /// Where its datagrams come from, once that is known.
    port: Option<u16>,
}

impl Source {
    #[inline]
    fn is(&self, from: SocketAddr) -> bool {
        same_host(from.ip(), self.address) && self.port.is_none_or(|port| port == from.port())
    }
}

#[derive(Debug)]
struct Stop {
    drain: AtomicBool,
    now: AtomicBool,
    waker: Waker,
}

/// Ends a [`UdpReceiver`] that another thread runs.
#[derive(Clone, Debug)]
pub struct UdpStopper(Arc<Stop>);

impl UdpStopper {
    /// Ends it once nothing has come for a moment: the daemon sends no more, but the socket and
    /// the network may still hold something.
    pub fn drain(&self) {
        self.0.drain.store(true, Relaxed);
        self.0.waker.wake();
    }

    /// Ends it at once.
    pub fn stop(&self) {
        self.0.now.store(true, Relaxed);
        self.0.waker.wake();
    }
}

impl UdpReceiver {
    /// A socket on the control connection's `local` address, for packets from `daemon`.
    pub fn bind(local: SocketAddr, daemon: IpAddr, snaplen: u32) -> io::Result<Self> {
        let mut address = local;
        address.set_port(0);
        let datagrams = Datagrams::bind(address, &Options::default())?;
        Ok(Self {
            stop: Arc::new(Stop {
                drain: AtomicBool::new(false),
                now: AtomicBool::new(false),
                waker: datagrams.waker(),
            }),
            datagrams,
            source: Source { address: daemon, port: None },
            decoder: DatagramDecoder::new(snaplen),
            gap: None,
        })
    }

    /// The socket's port.
    pub fn port(&self) -> u16 {
        self.datagrams.local_addr().port()
    }

    /// Bytes that may wait for [`Self::run`]: see [`Datagrams::receive_buffer`].
    pub fn receive_buffer(&self) -> usize {
        self.datagrams.receive_buffer()
    }

    /// The daemon sends from this port, and from no other. Until this is told, its first datagram
    /// that can be one of a capture tells.
    pub fn expect_from(&mut self, port: u16) {
        self.source.port = Some(port);
    }

    /// Datagrams are sealed, and those that are not are nobody's.
    pub fn expect_sealed(&mut self, opener: Opener) {
        self.decoder.expect_sealed(opener);
    }

    /// What ends [`Self::run`] from another thread.
    pub fn stopper(&self) -> UdpStopper {
        UdpStopper(Arc::clone(&self.stop))
    }

    /// Receives until the stopper is used.
    pub fn run<S: Sink>(&mut self, inlet: &mut Inlet<'_, S>) -> Result<(), DataError> {
        let mut timeout = Some(Duration::ZERO);
        // Since when nothing more has come of a capture that was ended.
        let mut quiet: Option<Instant> = None;
        loop {
            let mut any = false;
            let batch = self.datagrams.receive(timeout)?;
            for (from, bytes) in &batch {
                if !self.source.is(from) {
                    inlet.received.foreign += 1;
                    continue;
                }
                any = true;
                if self.decoder.datagram(bytes, inlet) {
                    self.source.port = Some(from.port());
                }
            }
            let emptied = batch.emptied();
            let counts = self.datagrams.counts();
            inlet.received.truncated = counts.truncated;
            inlet.received.overflowed = counts.dropped;
            quiet = match quiet {
                Some(since) if !any => Some(since),
                _ => self.stop.drain.load(Relaxed).then(Instant::now),
            };
            let quiet_left = quiet.map(|since| QUIET.saturating_sub(since.elapsed()));
            if self.stop.now.load(Relaxed) || quiet_left == Some(Duration::ZERO) {
                self.decoder.finish(inlet);
                return Ok(());
            }
            if !emptied {
                inlet.show();
                timeout = Some(Duration::ZERO);
                continue;
            }
            let patience = self.patience(inlet);
            inlet.pause();
            timeout = patience.or(quiet_left);
        }
    }

    /// How much longer to wait for a datagram that is missing before others, if one is.
    fn patience<S: Sink>(&mut self, inlet: &mut Inlet<'_, S>) -> Option<Duration> {
        let missing = self.decoder.waits_for();
        self.gap = match (missing, self.gap) {
            (Some(seqno), Some(gap)) if gap.0 == seqno => Some(gap),
            (missing, _) => missing.map(|seqno| (seqno, Instant::now())),
        };
        let (_, since) = self.gap?;
        let left = PATIENCE.saturating_sub(since.elapsed());
        if left.is_zero() {
            self.decoder.flush(inlet);
            self.gap = None;
            return None;
        }
        Some(left)
    }
}
