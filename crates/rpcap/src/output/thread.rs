use std::io;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use super::queue::Message;
use super::{Drain, Outlet, Queue, Route};
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
    loop {
        match queue.take(wait) {
            None => {
                drain.pause(journal);
                wait = IDLE;
            }
            Some(Message::Begin(begin)) => drain.begin(begin),
            Some(Message::Packets(batch)) => {
                for (stream, header, data) in batch.iter() {
                    drain.packet(stream, &Record::from_packet(&header, data));
                }
                queue.give_back(batch);
                drain.tick(journal);
                // Whether that was all, for now.
                wait = Duration::ZERO;
            }
            Some(Message::Summary(stream, summary)) => drain.summary(stream, *summary),
            Some(Message::End(stream)) => drain.end(stream),
            Some(Message::Finish) => {
                drain.finish(journal);
                return;
            }
        }
    }
}
