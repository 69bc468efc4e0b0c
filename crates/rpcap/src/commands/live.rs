//! The outputs of `rpcap capture` beside its file: each with a queue and a thread of its own.

use std::fmt::Write as _;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::thread::JoinHandle;

use anyhow::bail;
use rpcap::file::{Meta, Summary};
use rpcap::journal::Journal;
use rpcap::keeper::{self, Keeper};
use rpcap::output::{self, Account, Begin, Destination, Outlet, Output, OutputPlan, Route};
use rpcap::repair::Repair;
use rpcap::sink::Sink;
use rpcap::text::Count;
use rpcap_proto::wire::PacketHeader;

use crate::exit::Failure;

/// The number of the one stream that there is.
const STREAM: u32 = 0;

/// Outputs that run.
pub(super) struct Live {
    outputs: Vec<Running>,
    route: Route,
}

struct Running {
    output: Output,
    thread: JoinHandle<()>,
    account: Arc<Account>,
}

impl Live {
    /// Starts them, or none.
    pub(super) fn start(to: &[Destination], repair: Option<Repair>) -> anyhow::Result<Self> {
        let journal = Arc::new(Journal::default());
        let mut outputs = Vec::new();
        for (n, destination) in to.iter().enumerate() {
            if to[..n].contains(destination) {
                bail!("--to {destination} is given twice");
            }
            let usual = OutputPlan::live(destination.to_string(), destination.clone());
            let plan = OutputPlan { repair: repair.unwrap_or(usual.repair), ..usual };
            let plan = Arc::new(plan);
            let failed = |e| Failure::Output(format!("to {destination}"), e);
            let drain = output::open(&plan, &journal).map_err(failed)?;
            let (output, thread) =
                Output::start(plan, drain, Arc::clone(&journal)).map_err(failed)?;
            outputs.push(Running { output, thread, account: Arc::default() });
        }
        let route = Route::new(outputs.iter().map(|r| Arc::clone(&r.output.queue)));
        Ok(Self { outputs, route })
    }

    /// Announces what comes. Comes before any packet.
    pub(super) fn begin(&self, label: &str, meta: &Meta) {
        for running in &self.outputs {
            running.output.queue.begin(Begin {
                stream: STREAM,
                label: label.to_owned(),
                meta: meta.clone(),
                account: Arc::clone(&running.account),
            });
        }
    }

    /// The way into them, if there are any.
    pub(super) fn outlet(&self) -> Option<Outlet> {
        (!self.outputs.is_empty()).then(|| Outlet::new(self.route.clone()))
    }

    /// Ends them once everything is given on, and tells what became of the packets, a line each.
    pub(super) fn end(self, given: u64, summary: &Summary) -> String {
        self.route.summarise(STREAM, summary);
        self.route.end(STREAM);
        let mut text = String::new();
        for Running { output, thread, account } in self.outputs {
            let name = output.plan.name.clone();
            drop(output);
            // If it panicked, that was said.
            let _ = thread.join();
            let counts = [&account.written, &account.unwritten, &account.overflowed];
            let [written, unwritten, overflowed] = counts.map(|count| Count(count.load(Relaxed)));
            let split = match account.split.load(Relaxed) {
                0 => String::new(),
                n => format!(" + {} more segments", Count(n)),
            };
            let _ = write!(
                text,
                "\nto {name}: {}{split} = {written} taken + {unwritten} not taken + {overflowed} too many \
                 at once",
                Count(given)
            );
        }
        text
    }
}

/// Keeps packets in a file, say, and gives those that it keeps to live outputs as well.
pub(super) struct Both<O> {
    pub(super) keeper: Keeper<O>,
    pub(super) live: Option<Outlet>,
}

impl<O: keeper::Output> Sink for Both<O> {
    fn packet(&mut self, header: &PacketHeader, data: &[u8]) -> ControlFlow<()> {
        let kept = self.keeper.kept();
        let flow = self.keeper.packet(header, data);
        if let Some(live) = &mut self.live
            && self.keeper.kept() > kept
        {
            live.push(STREAM, header, data);
        }
        flow
    }

    fn pause(&mut self) -> ControlFlow<()> {
        if let Some(live) = &mut self.live {
            live.flush();
        }
        self.keeper.pause()
    }
}
