//! A capture that runs on its own thread, as its session sees it.

use std::io;
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use capture::{Capture, Control};
use mio::Waker;
use rpcap_proto::wire::Sampling;

use super::data::{DataError, DataPath};
use super::{Ended, Pump};
use crate::ledger::{Counters, Ledger};
use crate::sampler::Sampler;
use crate::transport::{Transport, datagram::Datagrams, stream::Stream};

/// How long the end of a capture waits while the client takes nothing.
const DRAIN_STALL: Duration = Duration::from_secs(1);

/// How long the end of a capture waits in any case.
const DRAIN_MAX: Duration = Duration::from_secs(10);

/// What a capture tells its session.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// It ended by itself, for this reason.
    Failed(String),
}

/// A capture that runs.
#[derive(Debug)]
pub struct Running {
    /// The name of the device.
    pub device: String,
    /// When it began.
    pub since: Instant,
    control: Control,
    counters: Arc<Counters>,
    stop: Arc<Stop>,
    thread: Option<JoinHandle<()>>,
    /// Says something once the thread is done, or nothing if it panicked.
    done: Receiver<()>,
}

/// Ends a pump that waits for its peer.
#[derive(Debug, Default)]
struct Stop {
    aborted: AtomicBool,
    accepting: Option<Arc<Waker>>,
    stream: Mutex<Option<TcpStream>>,
}

impl Stop {
    fn abort(&self) {
        self.aborted.store(true, SeqCst);
        if let Some(waker) = &self.accepting {
            // It fails only if the thread that waits is gone.
            let _ = waker.wake();
        }
        if let Some(stream) = &*self.stream.lock().unwrap_or_else(PoisonError::into_inner) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Whether there is no data connection yet.
    fn is_waiting(&self) -> bool {
        let stream = self.stream.lock().unwrap_or_else(PoisonError::into_inner);
        self.accepting.is_some() && stream.is_none()
    }

    fn is_aborted(&self) -> bool {
        self.aborted.load(SeqCst)
    }

    /// Lets [`Self::abort`] end writes to this stream too.
    fn guard(&self, stream: &TcpStream) -> io::Result<()> {
        *self.stream.lock().unwrap_or_else(PoisonError::into_inner) = Some(stream.try_clone()?);
        // An abort that came before it could see the stream.
        if self.is_aborted() {
            let _ = stream.shutdown(Shutdown::Both);
        }
        Ok(())
    }
}

impl Running {
    /// Starts forwarding on a thread of its own; `tell` is called from there.
    pub fn start(
        device: &str,
        capture: Capture,
        data: DataPath,
        sampling: Sampling,
        tell: impl Fn(Event) + Send + 'static,
    ) -> io::Result<Self> {
        let counters = Arc::new(Counters::default());
        let control = capture.control();
        let accepting = match &data {
            DataPath::Listening(l) => Some(l.waker()),
            _ => None,
        };
        let stop = Arc::new(Stop { accepting, ..Stop::default() });
        let (done_tx, done) = mpsc::channel();
        let thread = thread::Builder::new().name("pump".to_owned()).spawn({
            let (counters, stop) = (Arc::clone(&counters), Arc::clone(&stop));
            move || {
                if let Err(reason) = forward(capture, data, sampling, &counters, &stop) {
                    tell(Event::Failed(reason));
                }
                // Nobody waits if the session is gone.
                let _ = done_tx.send(());
            }
        })?;
        Ok(Self {
            device: device.to_owned(),
            since: Instant::now(),
            control,
            counters,
            stop,
            thread: Some(thread),
            done,
        })
    }

    /// The kernel's side of the capture.
    pub fn control(&self) -> &Control {
        &self.control
    }

    /// The ledger so far.
    pub fn ledger(&self) -> Result<Ledger, capture::Error> {
        // The kernel's counts first: what was captured is then at most what was received.
        let counts = self.counters.counts();
        let kernel = self.control.stats()?;
        Ok(Ledger {
            received: kernel.received,
            dropped: kernel.dropped,
            if_dropped: kernel.if_dropped,
            counts,
        })
    }

    /// Ends the capture. If the client still reads, it gets all that was captured until now.
    pub fn end(mut self, deliver_rest: bool) -> Ledger {
        self.control.stop();
        if deliver_rest && !self.stop.is_waiting() {
            self.drain();
        }
        self.stop.abort();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!(device = %self.device.escape_debug(), "the capture's thread panicked");
        }
        self.ledger().unwrap_or_else(|e| {
            tracing::warn!("statistics at the end of a capture: {e}");
            Ledger { counts: self.counters.counts(), ..Ledger::default() }
        })
    }

    /// Waits for the pump to finish by itself, as long as the client takes something.
    fn drain(&self) {
        let end = Instant::now() + DRAIN_MAX;
        loop {
            let before = self.counters.counts().sent;
            let patience = DRAIN_STALL.min(end.saturating_duration_since(Instant::now()));
            match self.done.recv_timeout(patience) {
                Err(RecvTimeoutError::Timeout)
                    if Instant::now() < end && self.counters.counts().sent > before => {}
                _ => return,
            }
        }
    }
}

/// The pump's thread. An error is the reason why the capture ended by itself.
fn forward(
    mut capture: Capture,
    data: DataPath,
    sampling: Sampling,
    counters: &Counters,
    stop: &Stop,
) -> Result<(), String> {
    let stream = |stream: TcpStream| match stop.guard(&stream) {
        Ok(()) => Ok(Stream::new(stream)),
        Err(e) => Err(format!("data connection: {e}")),
    };
    let result = match data {
        DataPath::Datagrams(socket) => {
            return pump(&mut capture, Datagrams::new(socket), sampling, counters);
        }
        DataPath::Stream(socket) => stream(socket),
        DataPath::Listening(listening) => match listening.accept(|| stop.is_aborted()) {
            Ok(socket) => stream(socket),
            Err(DataError::Aborted) => return discard(&mut capture, counters),
            Err(e) => Err(e.to_string()),
        },
    };
    match result {
        Ok(transport) => pump(&mut capture, transport, sampling, counters),
        Err(reason) => discard(&mut capture, counters).and(Err(reason)),
    }
}

fn pump(
    capture: &mut Capture,
    transport: impl Transport,
    sampling: Sampling,
    counters: &Counters,
) -> Result<(), String> {
    let sampler = Sampler::new(sampling);
    let counts = counters.counts();
    match (Pump { capture, transport, sampler, counters, counts, npkt: 0 }).run() {
        Ended::Stopped => Ok(()),
        Ended::Transport(e) => Err(format!("data connection: {e}")),
        Ended::Device(e) => Err(e.to_string()),
    }
}

/// Counts what was captured for a data connection that never was.
fn discard(capture: &mut Capture, counters: &Counters) -> Result<(), String> {
    capture.control().stop();
    let mut counts = counters.counts();
    while let Ok(event) = capture.next(None) {
        match event {
            capture::Event::Block(mut block) => {
                let n = block.packets().count() as u64;
                counts.captured += n;
                counts.closed += n;
            }
            capture::Event::Ended => break,
            _ => {}
        }
    }
    counters.publish(&counts);
    Ok(())
}
