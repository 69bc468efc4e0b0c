//! A thread that receives.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::switchboard::{Command, Switchboard};
use crate::collector::flow::Flow;
use crate::data::Received;
use crate::data::datagrams::{Datagrams, Options, Waker};
use crate::journal::Journal;

/// How long packets are gathered before they are given on.
const GATHER: Duration = Duration::from_millis(10);

/// How long an emptied socket is left alone, so that the next look into it brings many datagrams:
/// those of different agents come one by one, and to wake up for each costs more than to take it.
const NAP: Duration = Duration::from_millis(1);
/// Bytes that the system must keep meanwhile: what comes in that time at 10 Gbit/s, and as much
/// again for its own records.
const NAP_BUFFER: usize = 4 * 1024 * 1024;

/// How long nothing is received after the system could not, and how often it is said that it cannot.
const PAUSE: Duration = Duration::from_millis(100);
const SAY_EVERY: Duration = Duration::from_secs(10);

/// A command, and whom to tell what came of it.
type Order = (Command, Option<oneshot::Sender<Option<Received>>>);

/// What others can see of a receiver.
#[derive(Debug, Default)]
pub struct Counts {
    /// Datagrams.
    pub datagrams: AtomicU64,
    /// Calls of the system that brought them.
    pub calls: AtomicU64,
    /// From somebody unknown.
    pub unknown: AtomicU64,
    /// Of captures that were over.
    pub late: AtomicU64,
    /// Longer than any can be.
    pub truncated: AtomicU64,
    /// Dropped by this host because the socket's buffer was full.
    pub dropped: AtomicU64,
}

/// The same of several receivers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[expect(missing_docs, reason = "as in Counts")]
pub struct Sums {
    pub datagrams: u64,
    pub calls: u64,
    pub unknown: u64,
    pub late: u64,
    pub truncated: u64,
    pub dropped: u64,
}

impl Sums {
    /// Adds a receiver's.
    pub fn add(&mut self, counts: &Counts) {
        self.datagrams += counts.datagrams.load(Relaxed);
        self.calls += counts.calls.load(Relaxed);
        self.unknown += counts.unknown.load(Relaxed);
        self.late += counts.late.load(Relaxed);
        self.truncated += counts.truncated.load(Relaxed);
        self.dropped += counts.dropped.load(Relaxed);
    }
}

/// A receiving thread; it ends with this value.
#[derive(Debug)]
pub struct Receiver {
    orders: mpsc::Sender<Order>,
    stop: Arc<AtomicBool>,
    waker: Waker,
    address: SocketAddr,
    /// What came so far.
    pub counts: Arc<Counts>,
}

impl Receiver {
    /// Receives at `address` from now on.
    pub fn start(
        address: SocketAddr,
        options: &Options,
        journal: Arc<Journal>,
    ) -> io::Result<Self> {
        let datagrams = Datagrams::bind(address, options)?;
        let (orders, arriving) = mpsc::channel();
        let receiver = Self {
            orders,
            stop: Arc::default(),
            waker: datagrams.waker(),
            address: datagrams.local_addr(),
            counts: Arc::default(),
        };
        let (stop, counts) = (Arc::clone(&receiver.stop), Arc::clone(&receiver.counts));
        std::thread::Builder::new().name("receive".to_owned()).spawn(move || {
            let nap = datagrams.receive_buffer() >= NAP_BUFFER;
            let mut work = Work {
                nap,
                datagrams,
                arriving,
                counts,
                board: Switchboard::default(),
                due: None,
                timeout: None,
            };
            let mut said: Option<Instant> = None;
            while !stop.load(Relaxed) {
                let Err(error) = work.step() else { continue };
                if said.is_none_or(|at| at.elapsed() > SAY_EVERY) {
                    journal.warn(&format!("cannot receive datagrams: {error}"));
                    said = Some(Instant::now());
                }
                // It may be over by itself: memory, for example.
                std::thread::sleep(PAUSE);
            }
        })?;
        Ok(receiver)
    }

    /// Where datagrams are to be sent.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Tells it something. It is done before any datagram is looked at that has not come yet.
    pub fn tell(&self, command: Command) {
        // Once the thread has failed, nobody is there to be told.
        let _ = self.orders.send((command, None));
        self.waker.wake();
    }

    /// Ends a capture; what came of it here, if anything did.
    pub async fn end(&self, flow: &Arc<Flow>) -> Option<Received> {
        let (sender, answer) = oneshot::channel();
        let _ = self.orders.send((Command::End(Arc::clone(flow)), Some(sender)));
        self.waker.wake();
        answer.await.ok().flatten()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        self.waker.wake();
    }
}

/// What the thread has.
struct Work {
    nap: bool,
    datagrams: Datagrams,
    arriving: mpsc::Receiver<Order>,
    counts: Arc<Counts>,
    board: Switchboard,
    /// When what was gathered is given on.
    due: Option<Instant>,
    timeout: Option<Duration>,
}

impl Work {
    fn step(&mut self) -> io::Result<()> {
        let batch = self.datagrams.receive(self.timeout)?;
        // What is to be done for these datagrams was ordered before they were sent.
        while let Ok((command, answer)) = self.arriving.try_recv() {
            let received = self.board.command(command, Instant::now());
            if let Some(answer) = answer {
                let _ = answer.send(received);
            }
        }
        for (from, bytes) in &batch {
            self.board.datagram(from, bytes);
        }
        let nap = self.nap && batch.emptied() && !batch.is_empty();
        let now = Instant::now();
        let patience = self.board.look(now);
        if self.board.gathers() {
            let due = *self.due.get_or_insert(now + GATHER);
            if due <= now {
                self.board.flush();
                self.due = None;
            }
        } else {
            self.due = None;
        }
        let left = self.due.map(|due| due.saturating_duration_since(now));
        self.timeout = patience.into_iter().chain(left).min();
        self.show();
        if nap {
            std::thread::sleep(NAP);
        }
        Ok(())
    }

    fn show(&self) {
        let (c, d, s) = (&self.counts, self.datagrams.counts(), self.board.strangers());
        for (shown, n) in [
            (&c.datagrams, d.datagrams),
            (&c.calls, d.calls),
            (&c.unknown, s.unknown),
            (&c.late, s.late),
            (&c.truncated, d.truncated),
            (&c.dropped, d.dropped),
        ] {
            shown.store(n, Relaxed);
        }
    }
}
