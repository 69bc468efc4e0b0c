use std::io;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use super::queue::Message;
use super::{Drain, Outlet, Queue, Taps};
use crate::file::Record;
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
    /// The way into it of all those who receive by TCP.
    pub outlet: Arc<Mutex<Outlet>>,
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
        let taken = Arc::clone(&queue);
        let taps = Arc::<Taps>::default();
        let tapped = Arc::clone(&taps);
        let thread = std::thread::Builder::new()
            .name("write".to_owned())
            .spawn(move || run(drain, &taken, &tapped, &journal))?;
        let outlet = Arc::new(Mutex::new(Outlet::new(Arc::clone(&queue))));
        Ok((Self { plan, queue, outlet, taps }, thread))
    }

    /// Gives on what came by TCP.
    pub fn flush(&self) {
        lock(&self.outlet).flush();
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        self.flush();
        self.queue.finish();
    }
}

fn run(mut drain: Box<dyn Drain>, queue: &Queue, taps: &Taps, journal: &Journal) {
    let mut wait = IDLE;
    loop {
        match queue.take(wait) {
            None => {
                drain.pause(journal);
                wait = IDLE;
            }
            Some(Message::Begin(begin)) => {
                taps.begin(begin.stream, &begin.meta);
                drain.begin(begin);
            }
            Some(Message::Packets(batch)) => {
                for (stream, header, data) in batch.iter() {
                    drain.packet(stream, &Record::from_packet(&header, data));
                }
                taps.packets(&batch);
                queue.give_back(batch);
                drain.tick(journal);
                // Whether that was all, for now.
                wait = Duration::ZERO;
            }
            Some(Message::Summary(stream, summary)) => drain.summary(stream, *summary),
            Some(Message::End(stream)) => {
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
