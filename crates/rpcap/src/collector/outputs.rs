//! The outputs of the policy that run.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;

use super::policy::Policy;
use crate::journal::Journal;
use crate::output::{Destination, Drain, Files, Output, OutputPlan, Stdout};

use crate::locked::lock;

/// Outputs by what they were made from.
#[derive(Debug)]
pub struct Outputs {
    journal: Arc<Journal>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    running: Vec<Arc<Output>>,
    threads: Vec<JoinHandle<()>>,
}

impl Outputs {
    /// None yet.
    pub fn new(journal: Arc<Journal>) -> Self {
        Self { journal, state: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Starts those that a policy needs and that do not run yet, or none of them.
    pub fn prepare(&self, policy: &Policy) -> Result<(), String> {
        let mut state = self.lock();
        let mut made = Vec::new();
        for plan in policy.outputs() {
            if state.running.iter().any(|o| o.plan == *plan) {
                continue;
            }
            let failed = |e| format!("output {}: {}: {e}", plan.name, plan.destination);
            let drain = self.drain(plan).map_err(failed)?;
            let output = Output::start(Arc::clone(plan), drain, Arc::clone(&self.journal));
            made.push(output.map_err(failed)?);
        }
        for (output, thread) in made {
            state.running.push(Arc::new(output));
            state.threads.push(thread);
        }
        Ok(())
    }

    fn drain(&self, plan: &OutputPlan) -> io::Result<Box<dyn Drain>> {
        Ok(match &plan.destination {
            Destination::Directory(directory) => Box::new(Files::open(directory, plan)?),
            Destination::StandardOutput => Box::new(Stdout::open()?),
        })
    }

    /// Lets go of those that a policy no longer needs: each ends when its last capture has.
    pub fn retain(&self, policy: &Policy) {
        self.lock().running.retain(|o| policy.outputs().any(|plan| *plan == o.plan));
    }

    /// The one that was made from a plan.
    pub fn get(&self, plan: &OutputPlan) -> Option<Arc<Output>> {
        self.lock().running.iter().find(|o| *o.plan == *plan).cloned()
    }

    /// All that run.
    pub fn running(&self) -> Vec<Arc<Output>> {
        self.lock().running.clone()
    }

    /// Ends all of them and waits until everything is written.
    pub fn finish(&self) {
        let State { running, threads } = std::mem::take(&mut *self.lock());
        drop(running);
        for thread in threads {
            // If it panicked, that was said.
            let _ = thread.join();
        }
    }
}
