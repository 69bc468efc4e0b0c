use std::collections::HashMap;
use std::io;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use super::queue::Message;
use super::{Account, Begin, Drain, Outlet, Queue, Route, Taps};
use crate::file::{Loss, Losses, Record, Summary};
use crate::journal::Journal;
use crate::locked::lock;
use crate::output::OutputPlan;
use crate::repair::{Repair, Repairer};

/// How often an output that has nothing to do looks at the clock.
const IDLE: Duration = Duration::from_millis(500);

/// A running output. It ends with this value, once everything that was given to it is written.
#[derive(Debug)]
pub struct Output {
    /// What it was made from.
    pub plan: Arc<OutputPlan>,
    /// Where packets are given to it.
    pub queue: Arc<Queue>,
    /// Where others get copies of what it is given.
    pub taps: Arc<Taps>,
}

impl Output {
    /// Starts its thread.
    pub fn start(
        plan: Arc<OutputPlan>,
        drain: Box<dyn Drain>,
        journal: Arc<Journal>,
    ) -> io::Result<(Self, JoinHandle<()>)> {
        let queue = Arc::new(Queue::new(plan.queue));
        let (taken, repair) = (Arc::clone(&queue), plan.repair);
        let taps = Arc::<Taps>::default();
        let tapped = Arc::clone(&taps);
        let thread = std::thread::Builder::new()
            .name("write".to_owned())
            .spawn(move || run(drain, repair, &taken, &tapped, &journal))?;
        Ok((Self { plan, queue, taps }, thread))
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        self.queue.finish();
    }
}

/// Notices what is missing between the packets of each stream.
#[derive(Debug, Default)]
struct Watched {
    streams: HashMap<u32, usize>,
    known: Vec<Known>,
    /// Places of streams that are over.
    free: Vec<usize>,
    /// The stream of the last packet: they come in runs.
    last: Option<(u32, usize)>,
}

#[derive(Debug)]
struct Known {
    linktype: u32,
    losses: Losses,
    account: Arc<Account>,
}

impl Known {
    #[inline]
    fn before(&mut self, number: u32) -> Option<Loss> {
        self.losses.before(number, || self.account.overflowed.load(Relaxed))
    }
}

impl Watched {
    fn begin(&mut self, begin: &Begin) {
        let account = Arc::clone(&begin.account);
        let losses = Losses::since(account.overflowed.load(Relaxed));
        let known = Known { linktype: begin.meta.linktype, losses, account };
        let at = match self.streams.get(&begin.stream).copied().or_else(|| self.free.pop()) {
            Some(at) => {
                self.known[at] = known;
                at
            }
            None => {
                self.known.push(known);
                self.known.len() - 1
            }
        };
        self.streams.insert(begin.stream, at);
        self.last = None;
    }

    fn summary(&mut self, stream: u32, summary: &Summary) {
        if let (Some(at), Some(dropped)) = (self.streams.get(&stream), summary.os_dropped) {
            let Known { losses, account, .. } = &mut self.known[*at];
            losses.dropped(dropped.saturating_sub(account.dropped.swap(dropped, Relaxed)));
        }
    }

    fn end(&mut self, stream: u32) {
        self.free.extend(self.streams.remove(&stream));
        self.last = None;
    }

    #[inline]
    fn stream(&mut self, stream: u32) -> Option<&mut Known> {
        let at = match self.last {
            Some((last, at)) if last == stream => at,
            _ => *self.streams.get(&stream)?,
        };
        self.last = Some((stream, at));
        self.known.get_mut(at)
    }
}

/// Outputs that get the same packets.
#[derive(Debug)]
pub struct Way {
    /// The way into them of all those who receive by TCP.
    pub outlet: Mutex<Outlet>,
    /// Their queues.
    pub route: Route,
    outputs: Vec<Arc<Output>>,
}

impl Way {
    /// To these outputs, which go on at least as long as this value lives.
    pub fn new(outputs: Vec<Arc<Output>>) -> Self {
        let route = Route::new(outputs.iter().map(|o| Arc::clone(&o.queue)));
        Self { outlet: Mutex::new(Outlet::new(route.clone())), route, outputs }
    }

    /// The outputs.
    pub fn outputs(&self) -> &[Arc<Output>] {
        &self.outputs
    }

    /// Gives on what came by TCP.
    pub fn flush(&self) {
        lock(&self.outlet).flush();
    }
}

impl Drop for Way {
    fn drop(&mut self) {
        self.flush();
    }
}

fn run(mut drain: Box<dyn Drain>, repair: Repair, queue: &Queue, taps: &Taps, journal: &Journal) {
    let mut wait = IDLE;
    let mut watched = Watched::default();
    let mut repairer = (!repair.is_none()).then(|| Repairer::new(repair));
    loop {
        match queue.take(wait) {
            None => {
                drain.pause(journal);
                wait = IDLE;
            }
            Some(Message::Begin(begin)) => {
                watched.begin(&begin);
                taps.begin(begin.stream, &begin.meta);
                drain.begin(*begin);
            }
            Some(Message::Packets(batch)) => {
                for (stream, header, data) in batch.iter() {
                    let Some(known) = watched.stream(stream) else { continue };
                    let loss = known.before(header.npkt);
                    let record = Record { loss, ..Record::from_packet(&header, data) };
                    match &mut repairer {
                        None => drain.packet(stream, &record),
                        Some(repairer) => {
                            let mut segments = 0;
                            repairer.packet(known.linktype, &record, &mut |record| {
                                segments += 1;
                                drain.packet(stream, record);
                            });
                            if segments > 1 {
                                known.account.split.fetch_add(segments - 1, Relaxed);
                            }
                        }
                    }
                }
                taps.packets(&batch);
                queue.give_back(batch);
                drain.tick(journal);
                // Whether that was all, for now.
                wait = Duration::ZERO;
            }
            Some(Message::Summary(stream, summary)) => {
                watched.summary(stream, &summary);
                drain.summary(stream, *summary);
            }
            Some(Message::End(stream)) => {
                watched.end(stream);
                taps.end(stream);
                drain.end(stream);
            }
            Some(Message::Finish) => {
                drain.finish(journal);
                return;
            }
        }
    }
}
