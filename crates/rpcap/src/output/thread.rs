use std::collections::HashMap;
use std::io;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use super::queue::Message;
use super::{Account, Begin, Drain, Outlet, Queue, Route};
use crate::file::{Loss, Losses, Record, Summary};
use crate::journal::Journal;
use crate::locked::lock;
use crate::output::OutputPlan;

/// How often an output that has nothing to do looks at the clock.
const IDLE: Duration = Duration::from_millis(500);

/// A running output. It ends with this value, once everything that was given to it is written.
#[derive(Debug)]
pub struct Output {
    /// What it was made from.
    pub plan: Arc<OutputPlan>,
    /// Where packets are given to it.
    pub queue: Arc<Queue>,
}

impl Output {
    /// Starts its thread.
    pub fn start(
        plan: Arc<OutputPlan>,
        drain: Box<dyn Drain>,
        journal: Arc<Journal>,
    ) -> io::Result<(Self, JoinHandle<()>)> {
        let queue = Arc::new(Queue::new(plan.queue));
        let taken = Arc::clone(&queue);
        let thread = std::thread::Builder::new()
            .name("write".to_owned())
            .spawn(move || run(drain, &taken, &journal))?;
        Ok((Self { plan, queue }, thread))
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
    losses: Vec<(Losses, Arc<Account>)>,
    /// Places of streams that are over.
    free: Vec<usize>,
    /// The stream of the last packet: they come in runs.
    last: Option<(u32, usize)>,
}

impl Watched {
    fn begin(&mut self, begin: &Begin) {
        let account = Arc::clone(&begin.account);
        let losses = (Losses::since(account.overflowed.load(Relaxed)), account);
        let at = match self.streams.get(&begin.stream).copied().or_else(|| self.free.pop()) {
            Some(at) => {
                self.losses[at] = losses;
                at
            }
            None => {
                self.losses.push(losses);
                self.losses.len() - 1
            }
        };
        self.streams.insert(begin.stream, at);
        self.last = None;
    }

    fn summary(&mut self, stream: u32, summary: &Summary) {
        if let (Some(at), Some(dropped)) = (self.streams.get(&stream), summary.os_dropped) {
            let (losses, account) = &mut self.losses[*at];
            losses.dropped(dropped.saturating_sub(account.dropped.swap(dropped, Relaxed)));
        }
    }

    fn end(&mut self, stream: u32) {
        self.free.extend(self.streams.remove(&stream));
        self.last = None;
    }

    #[inline]
    fn before(&mut self, stream: u32, number: u32) -> Option<Loss> {
        let at = match self.last {
            Some((last, at)) if last == stream => at,
            _ => *self.streams.get(&stream)?,
        };
        self.last = Some((stream, at));
        let (losses, account) = &mut self.losses[at];
        losses.before(number, || account.overflowed.load(Relaxed))
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

fn run(mut drain: Box<dyn Drain>, queue: &Queue, journal: &Journal) {
    let mut wait = IDLE;
    let mut watched = Watched::default();
    loop {
        match queue.take(wait) {
            None => {
                drain.pause(journal);
                wait = IDLE;
            }
            Some(Message::Begin(begin)) => {
                watched.begin(&begin);
                drain.begin(begin);
            }
            Some(Message::Packets(batch)) => {
                for (stream, header, data) in batch.iter() {
                    let loss = watched.before(stream, header.npkt);
                    drain.packet(stream, &Record { loss, ..Record::from_packet(&header, data) });
                }
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
                drain.end(stream);
            }
            Some(Message::Finish) => {
                drain.finish(journal);
                return;
            }
        }
    }
}
