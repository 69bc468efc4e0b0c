//! A capture that runs on its own thread, as its session sees it.

use std::io;
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use capture::{Capture, Control, LinkType};
use mio::Waker;
use rpcap_proto::sealed::{self, Cipher, Sealer, Secret};
use rpcap_proto::udpstr::MTU_MIN;
use rpcap_proto::wire::Sampling;

use super::data::{DataError, DataPath};
use super::{Ended, Forwarder, Pump, Time};
use crate::ledger::{Counters, Ledger, Way};
use crate::limits::cpu::Meter;
use crate::limits::{Gate, Limits};
use crate::locked::lock;
use crate::sampler::Sampler;
use crate::sandbox;
use crate::tls::{Tls, TlsStream};
use crate::transport::{
    DryRun, Framer, Framing, Messages, Metered, Options, Queue, Ready, Sealing, Sink, Stream,
    TcpSink, Threads, UdpSink, UdpStream, place,
};

/// How long the end of a capture waits while the client takes nothing, besides the time after which
/// the ring passes its last block on.
const DRAIN_STALL: Duration = Duration::from_secs(1);

/// How long the end of a capture waits in any case.
const DRAIN_MAX: Duration = Duration::from_secs(10);

/// How long a client may take to greet on an encrypted data connection.
const GREETING_MAX: Duration = Duration::from_secs(10);

/// What a capture tells its session.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// It ended by itself, for this reason.
    Failed(String),
}

/// What is to be done with a capture's packets.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Which of them are delivered.
    pub sampling: Sampling,
    /// The form of their times.
    pub time: Time,
    /// What is in a datagram, if the data connection has any.
    pub framing: Framing,
    /// See [`Options`].
    pub options: Options,
    /// What the daemon may take of its host.
    pub limits: Arc<Limits>,
    /// Bytes of a frame on the wire besides what it carries.
    pub overhead: u64,
    /// What the data connection is encrypted with, if it is TCP.
    pub tls: Option<Tls>,
    /// What its datagrams are sealed with, if it has such.
    pub seal: Option<(Secret, Cipher)>,
    /// How long a packet may wait in the ring.
    pub latency: Duration,
}

/// What can be seen of a capture, from any thread.
#[derive(Clone, Debug)]
pub struct Gauge {
    /// The name of the device.
    pub device: Arc<str>,
    /// When it began.
    pub since: Instant,
    /// What its packets begin with.
    pub linktype: LinkType,
    /// Bytes of its ring.
    pub ring_bytes: usize,
    /// What is in its datagrams; `None` for a stream.
    pub framing: Option<Framing>,
    filter: Arc<AtomicUsize>,
    control: Control,
    counters: Arc<Counters>,
}

impl Gauge {
    /// The ledger so far.
    pub fn ledger(&self) -> Result<Ledger, capture::Error> {
        // The kernel's counts last: what was captured is then at most what was received.
        let counts = self.counters.counts();
        let kernel = self.control.stats()?;
        Ok(Ledger {
            received: kernel.received,
            dropped: kernel.dropped,
            if_dropped: kernel.if_dropped,
            counts,
        })
    }

    /// Instructions of the client's filter.
    pub fn filter_length(&self) -> usize {
        self.filter.load(SeqCst)
    }

    /// Notes that the client's filter has so many instructions.
    pub fn set_filter_length(&self, instructions: usize) {
        self.filter.store(instructions, SeqCst);
    }

    /// How its datagrams travel.
    pub fn way(&self) -> Way {
        self.counters.way()
    }
}

/// A capture that runs.
#[derive(Debug)]
pub struct Running {
    /// What can be seen of it.
    pub gauge: Gauge,
    stop: Arc<Stop>,
    latency: Duration,
    thread: Option<JoinHandle<()>>,
    /// Says something once the thread is done, or nothing if it panicked.
    done: Receiver<()>,
}

/// Ends a pump that waits for its peer.
#[derive(Debug, Default)]
struct Stop {
    /// Who has not connected by now will not be waited for.
    last_call: AtomicBool,
    /// Shared with what sends datagrams, which a shutdown of its socket would not end.
    aborted: Arc<AtomicBool>,
    accepting: Option<Arc<Waker>>,
    stream: Mutex<Option<TcpStream>>,
}

impl Stop {
    fn last_call(&self) {
        self.last_call.store(true, SeqCst);
        if let Some(waker) = &self.accepting {
            // It fails only if the thread that waits is gone.
            let _ = waker.wake();
        }
    }

    fn abort(&self) {
        self.aborted.store(true, SeqCst);
        self.last_call();
        if let Some(stream) = &*lock(&self.stream) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    fn is_last_call(&self) -> bool {
        self.last_call.load(SeqCst)
    }

    fn is_aborted(&self) -> bool {
        self.aborted.load(SeqCst)
    }

    /// Lets [`Self::abort`] end writes to this stream too.
    fn guard(&self, stream: &TcpStream) -> io::Result<()> {
        *lock(&self.stream) = Some(stream.try_clone()?);
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
        plan: Plan,
        tell: impl Fn(Event) + Send + 'static,
    ) -> io::Result<Self> {
        let counters = Arc::new(Counters::default());
        let control = capture.control();
        let accepting = match &data {
            DataPath::Listening(l) => Some(l.waker()),
            _ => None,
        };
        let stop = Arc::new(Stop { accepting, ..Stop::default() });
        let framing = matches!(data, DataPath::Datagrams(_)).then_some(plan.framing);
        let (linktype, ring_bytes) = (capture.linktype(), capture.ring_bytes());
        let latency = plan.latency;
        let (done_tx, done) = mpsc::channel();
        let thread = thread::Builder::new().name("pump".to_owned()).spawn({
            let (counters, stop) = (Arc::clone(&counters), Arc::clone(&stop));
            move || {
                if let Err(reason) = forward(capture, data, &plan, &counters, &stop) {
                    tell(Event::Failed(reason));
                }
                // Nobody waits if the session is gone.
                let _ = done_tx.send(());
            }
        })?;
        Ok(Self {
            gauge: Gauge {
                device: device.into(),
                since: Instant::now(),
                linktype,
                ring_bytes,
                framing,
                filter: Arc::default(),
                control,
                counters,
            },
            stop,
            latency,
            thread: Some(thread),
            done,
        })
    }

    /// The kernel's side of the capture.
    pub fn control(&self) -> &Control {
        &self.gauge.control
    }

    /// Ends the capture. If the client still reads, it gets all that was captured until now.
    pub fn end(mut self, deliver_rest: bool) -> Ledger {
        self.gauge.control.stop();
        if deliver_rest {
            // The client may have connected without the thread having seen it.
            self.stop.last_call();
            self.drain();
        }
        self.stop.abort();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!(device = &*self.gauge.device, "the capture's thread panicked");
        }
        self.gauge.ledger().unwrap_or_else(|e| {
            tracing::warn!("statistics at the end of a capture: {e}");
            Ledger { counts: self.gauge.counters.counts(), ..Ledger::default() }
        })
    }

    /// Waits for the pump to finish by itself, as long as the client takes something.
    fn drain(&self) {
        let end = Instant::now() + DRAIN_MAX;
        loop {
            let before = self.gauge.counters.counts().sent.packets;
            // The kernel looks at its timer once in that time, so it may take twice as long.
            let stall = DRAIN_STALL + self.latency * 2;
            let patience = stall.min(end.saturating_duration_since(Instant::now()));
            match self.done.recv_timeout(patience) {
                Err(RecvTimeoutError::Timeout)
                    if Instant::now() < end
                        && self.gauge.counters.counts().sent.packets > before => {}
                _ => return,
            }
        }
    }
}

/// The pump's thread. An error is the reason why the capture ended by itself.
fn forward(
    mut capture: Capture,
    data: DataPath,
    plan: &Plan,
    counters: &Arc<Counters>,
    stop: &Stop,
) -> Result<(), String> {
    let (core, nice) = match plan.options.threads {
        Threads::One(core) | Threads::Two(core, _) => (core, plan.options.nice.0),
    };
    place::settle("capture", core, nice);
    let capture = &mut capture;
    let opened = match data {
        DataPath::Datagrams(socket) => match Ready::new(socket, &plan.options) {
            Ok(ready) => return pump_datagrams(capture, ready, plan, counters, stop),
            Err(e) => Err(format!("data connection: {e}")),
        },
        DataPath::Stream(socket) => Ok(socket),
        DataPath::Listening(listening) => match listening.accept(|| stop.is_last_call()) {
            Ok(socket) => Ok(socket),
            Err(DataError::Aborted) => return discard(capture, counters),
            Err(e) => Err(e.to_string()),
        },
    };
    let guarded = opened.and_then(|stream| match stop.guard(&stream) {
        Ok(()) => Ok(stream),
        Err(e) => Err(format!("data connection: {e}")),
    });
    let sink = guarded.and_then(|stream| {
        let counters = Arc::clone(counters);
        let Some(tls) = &plan.tls else {
            return Ok(TcpSink::new(stream, counters));
        };
        TlsStream::accept(tls, stream, GREETING_MAX)
            .and_then(|stream| TcpSink::encrypted(stream, counters))
            .map_err(|e| format!("data connection: TLS: {e}"))
    });
    match sink {
        Ok(sink) => pump(capture, Stream::default(), move || sink, plan, counters),
        Err(reason) => discard(capture, counters).and(Err(reason)),
    }
}

fn pump_datagrams(
    capture: &mut Capture,
    ready: Ready,
    plan: &Plan,
    counters: &Arc<Counters>,
    stop: &Stop,
) -> Result<(), String> {
    let sink = {
        let (counters, aborted) = (Arc::clone(counters), Arc::clone(&stop.aborted));
        move || UdpSink::new(ready, counters, aborted)
    };
    match plan.framing {
        Framing::Messages => {
            pump(capture, Messages::new(plan.options.fragments), sink, plan, counters)
        }
        Framing::UdpStream(mtu) => match UdpStream::new(mtu) {
            Ok(framer) => pump(capture, framer, sink, plan, counters),
            Err(e) => discard(capture, counters).and(Err(e.to_string())),
        },
        Framing::Sealed(mtu) => {
            // The smallest datagram becomes longer, rather than carry less.
            let framer = UdpStream::new(mtu.saturating_sub(sealed::OVERHEAD).max(MTU_MIN));
            match (framer, plan.seal.clone()) {
                (Ok(mut framer), Some((secret, cipher))) => {
                    let size = framer.batch().capacity();
                    let sealing = move || Sealing::new(Sealer::new(secret, cipher), size, sink());
                    pump(capture, framer, sealing, plan, counters)
                }
                (Err(e), _) => discard(capture, counters).and(Err(e.to_string())),
                (_, None) => discard(capture, counters).and(Err("no key to seal with".to_owned())),
            }
        }
    }
}

/// Forwards with this framing to the sink that `make` makes, on the thread that is to use it.
fn pump<S: Sink + 'static>(
    capture: &mut Capture,
    mut framer: impl Framer,
    make: impl FnOnce() -> S + Send + 'static,
    plan: &Plan,
    counters: &Arc<Counters>,
) -> Result<(), String> {
    let options = &plan.options;
    let sink: Box<dyn Sink> = match options.threads {
        _ if options.dry_run => Box::new(DryRun::new(Arc::clone(counters))),
        Threads::One(_) => Box::new(make()),
        Threads::Two(_, core) => {
            let nice = options.nice.1;
            let cpu = plan.limits.cpu.clone();
            let make = move || {
                place::settle("send", core, nice);
                sandbox::forwarding_only();
                let sink: Box<dyn Sink> = Box::new(make());
                match cpu {
                    None => sink,
                    Some(cpu) => Box::new(Metered::new(sink, Meter::new(cpu))),
                }
            };
            let size = framer.batch().capacity().0;
            match Queue::start(make, size, options.queue_bytes, options.queue_packets) {
                Ok(queue) => Box::new(queue),
                Err(e) => {
                    let reason = format!("starting the thread that sends: {e}");
                    return discard(capture, counters).and(Err(reason));
                }
            }
        }
    };
    sandbox::forwarding_only();
    let gate = Gate::new(&plan.limits, plan.overhead, capture.linktype());
    let forwarder =
        Forwarder { framer, sink, sampler: Sampler::new(plan.sampling), time: plan.time, npkt: 0 };
    let taken = counters.counts().taken;
    match (Pump { capture, counters, gate, taken, forwarder }).run() {
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
                counts.taken.captured += n;
                counts.sent.closed += n;
            }
            capture::Event::Ended => break,
            _ => {}
        }
    }
    counters.publish_taken(&counts.taken);
    counters.publish_sent(&counts.sent);
    Ok(())
}
