//! A capture that runs: its control and its data connection together.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rpcap_proto::bpf::Instruction;
use rpcap_proto::wire::{ErrorCode, Stats};

use crate::client::{Client, Error, Pushed};
use crate::clock::Offset;
use crate::data::{DataError, Gauge, Received, Receiver, Stopper};
use crate::ledger::{DaemonCounts, Ledger, Told, Widener};
use crate::sink::Sink;

/// Between two looks at things that do not wake whoever waits for them.
const GLANCE: Duration = Duration::from_millis(20);

/// The same, where it is about to happen.
const PEEK: Duration = Duration::from_millis(2);

/// How many times the deadline a daemon may take to send what it still has, as long as that comes.
const STEADY: u32 = 30;

/// How long a reason may take to come after the data connection ended by itself.
const REASON: Duration = Duration::from_secs(1);

/// Something that happened to a capture by itself.
#[derive(Debug)]
pub enum Happened {
    /// The sink wants no more packets.
    Satisfied,
    /// The daemon says that the capture ended.
    EndedByDaemon(Pushed),
    /// The data connection ended, and no reason was given.
    DataEnded,
    /// The control connection is of no more use.
    ControlLost(Error),
    /// The daemon says something that ends nothing.
    Told(Pushed),
}

/// A capture that runs. Packets are received by a thread of their own, into the sink.
#[derive(Debug)]
pub struct Running<S> {
    client: Client,
    control_lost: bool,
    thread: JoinHandle<(Received, Option<DataError>, S)>,
    stopper: Stopper,
    gauge: Arc<Gauge>,
    counters: Widener,
    told: bool,
    sampled: bool,
}

/// A capture that is over.
#[derive(Debug)]
pub struct Outcome<S> {
    /// What took the packets; `None` if it panicked.
    pub sink: Option<S>,
    /// Where every packet went.
    pub ledger: Ledger,
    /// How far the daemon's clock is from this host's, if it told.
    pub clock: Option<Offset>,
    /// What went wrong with the data connection.
    pub data_error: Option<DataError>,
    /// What went wrong with the control connection while the capture was being ended.
    pub control_error: Option<Error>,
}

impl<S: Sink + Send + 'static> Running<S> {
    /// Receives into `sink` from now on. `sampled` is whether the daemon was asked to leave
    /// packets out.
    pub fn new(
        client: Client,
        mut receiver: Receiver,
        mut sink: S,
        sampled: bool,
    ) -> io::Result<Self> {
        let stopper = receiver.stopper()?;
        let gauge = Arc::new(Gauge::default());
        let shown = Arc::clone(&gauge);
        let thread = std::thread::Builder::new().name("receive".to_owned()).spawn(move || {
            let (received, error) = receiver.run(&mut sink, &shown);
            (received, error, sink)
        })?;
        Ok(Self {
            client,
            control_lost: false,
            thread,
            stopper,
            gauge,
            counters: Widener::default(),
            told: false,
            sampled,
        })
    }

    /// What has been received so far.
    pub fn gauge(&self) -> &Gauge {
        &self.gauge
    }

    /// The daemon's counters as last told.
    pub fn counts(&self) -> Option<DaemonCounts> {
        self.told.then(|| self.counters.counts())
    }

    /// Waits for something to happen, at most as long as told.
    pub fn wait(&mut self, wait: Duration) -> Option<Happened> {
        let mut wait = wait;
        let data_ended = self.thread.is_finished();
        if data_ended {
            wait = REASON;
        } else if self.gauge.satisfied() {
            return Some(Happened::Satisfied);
        }
        match self.client.pushed(wait) {
            Ok(Some(p)) if p.code == ErrorCode::Read as u16 => Some(Happened::EndedByDaemon(p)),
            Ok(Some(p)) => Some(Happened::Told(p)),
            Ok(None) if data_ended => Some(Happened::DataEnded),
            Ok(None) if self.gauge.satisfied() => Some(Happened::Satisfied),
            Ok(None) => None,
            Err(error) => {
                self.control_lost = true;
                Some(Happened::ControlLost(error))
            }
        }
    }

    /// Asks the daemon for its counters. A refusal leaves them as they were.
    pub fn ask(&mut self) -> Result<(), Error> {
        match self.client.stats() {
            Ok(stats) => {
                self.counters.take(stats);
                self.told = true;
                Ok(())
            }
            Err(Error::Refused { .. }) => Ok(()),
            Err(error) => {
                self.control_lost = true;
                Err(error)
            }
        }
    }

    /// Compares clocks, as [`Client::compare_clocks`] does.
    pub fn compare_clocks(&mut self) -> Result<(), Error> {
        let compared = self.client.compare_clocks();
        self.control_lost |= compared.is_err();
        compared
    }

    /// Gives the capture another filter, empty for all packets. A refusal leaves it as it was.
    pub fn update_filter(&mut self, filter: Vec<Instruction>) -> Result<(), Error> {
        let updated = self.client.update_filter(filter);
        if updated.as_ref().is_err_and(|e| !matches!(e, Error::Refused { .. })) {
            self.control_lost = true;
        }
        updated
    }

    /// Ends the capture and the session.
    ///
    /// The daemon is asked to end it; what it still has comes over the data connection until the
    /// daemon ends that (TCP) or nothing more comes (UDP); then it is asked for its counters.
    /// Before the daemon's reply, packets that keep coming and are wanted are waited for for a good
    /// while; everything else only until the client's deadline, and nothing once `hurry` is set.
    pub fn end(mut self, hurry: &AtomicBool) -> Outcome<S> {
        let mut control_error = None;
        if !self.control_lost && !hurry.load(Relaxed) {
            control_error = self.end_on_control(hurry).err();
        }
        self.stopper.drain();
        if !self.control_lost || self.thread.is_finished() {
            self.patiently(1, hurry, |running| {
                std::thread::sleep(PEEK);
                Ok(running.thread.is_finished())
            })
            .ok();
        }
        self.stopper.stop();
        let Self { client, thread, .. } = self;
        let mut told = match self.told {
            true => Told::Before(self.counters.counts()),
            false => Told::Nothing,
        };
        let (received, data_error, sink) = match thread.join() {
            Ok((received, error, sink)) => (received, error, Some(sink)),
            Err(_) => (Received::default(), None, None),
        };
        let mut client = client;
        let counted = self.counters.counts() != DaemonCounts::default() || received.packets > 0;
        if !self.control_lost && control_error.is_none() && !hurry.load(Relaxed) {
            match client.stats() {
                // libpcap's daemons and ExtraHop's forget them with the capture.
                // Zeros are the truth only where there was nothing to count.
                Ok(stats) if stats == Stats::default() && counted => {}
                Ok(stats) => {
                    self.counters.take(stats);
                    told = Told::Final(self.counters.counts());
                }
                Err(Error::Refused { .. }) => {}
                Err(error) => control_error = Some(error),
            }
        }
        let clock = client.clock_offset();
        client.close();
        Outcome {
            sink,
            clock,
            ledger: Ledger { told, sampled: self.sampled, received },
            data_error,
            control_error,
        }
    }

    fn end_on_control(&mut self, hurry: &AtomicBool) -> Result<(), Error> {
        self.ask()?;
        let most = if self.gauge.satisfied() { 1 } else { STEADY };
        let ended = self.client.begin_end().and_then(|()| {
            self.patiently(most, hurry, |running| running.client.poll_ended(GLANCE))
        });
        // Without the reply nothing more can be asked.
        self.control_lost = !matches!(ended, Ok(true));
        ended.map(drop)
    }

    /// Repeats until it is done, nothing has come for as long as the deadline, `most` times that is
    /// over, or it must not be waited for; whether it is done.
    fn patiently(
        &mut self,
        most: u32,
        hurry: &AtomicBool,
        mut done: impl FnMut(&mut Self) -> Result<bool, Error>,
    ) -> Result<bool, Error> {
        let patience = self.client.timeout();
        let longest = patience.saturating_mul(most);
        let start = Instant::now();
        let (mut seen, mut since) = (self.gauge.packets(), start);
        loop {
            if done(self)? {
                return Ok(true);
            }
            let packets = self.gauge.packets();
            if packets != seen {
                (seen, since) = (packets, Instant::now());
            }
            if hurry.load(Relaxed) || since.elapsed() > patience || start.elapsed() > longest {
                return Ok(false);
            }
        }
    }
}
