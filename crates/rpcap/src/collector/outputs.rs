//! The outputs of the policy that run.

use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::thread::JoinHandle;

use super::policy::Policy;
use crate::journal::Journal;
use crate::output::{self, Output, OutputPlan, Way};

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
    /// The ways that captures have.
    ways: Vec<Weak<Way>>,
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
        state.threads.retain(|thread| !thread.is_finished());
        let mut made = Vec::new();
        for plan in policy.outputs() {
            if state.running.iter().any(|o| o.plan == *plan) {
                continue;
            }
            let failed = |e| format!("output {}: {}: {e}", plan.name, plan.destination);
            let drain = output::open(plan, &self.journal).map_err(failed)?;
            let output = Output::start(Arc::clone(plan), drain, Arc::clone(&self.journal));
            made.push(output.map_err(failed)?);
        }
        for (output, thread) in made {
            state.running.push(Arc::new(output));
            state.threads.push(thread);
        }
        Ok(())
    }

    /// Lets go of those that a policy no longer needs: each ends when its last capture has.
    pub fn retain(&self, policy: &Policy) {
        self.lock().running.retain(|o| policy.outputs().any(|plan| *plan == o.plan));
    }

    /// The way to those that were made from these plans, if all of them run.
    pub fn way(&self, plans: &[Arc<OutputPlan>]) -> Option<Arc<Way>> {
        let mut state = self.lock();
        let running = |plan: &Arc<OutputPlan>| state.running.iter().find(|o| o.plan == *plan);
        let outputs: Vec<Arc<Output>> =
            plans.iter().map(|plan| running(plan).cloned()).collect::<Option<_>>()?;
        state.ways.retain(|way| way.strong_count() > 0);
        let known = state.ways.iter().filter_map(Weak::upgrade).find(|way| {
            way.outputs().len() == outputs.len()
                && way.outputs().iter().zip(&outputs).all(|(a, b)| Arc::ptr_eq(a, b))
        });
        Some(known.unwrap_or_else(|| {
            let way = Arc::new(Way::new(outputs));
            state.ways.push(Arc::downgrade(&way));
            way
        }))
    }

    /// Gives on what came by TCP.
    pub fn flush(&self) {
        let ways: Vec<_> = self.lock().ways.iter().filter_map(Weak::upgrade).collect();
        ways.iter().for_each(|way| way.flush());
    }

    /// All that run.
    pub fn running(&self) -> Vec<Arc<Output>> {
        self.lock().running.clone()
    }

    /// Ends all of them and waits until everything is written.
    pub fn finish(&self) {
        let State { running, threads, .. } = std::mem::take(&mut *self.lock());
        drop(running);
        for thread in threads {
            // If it panicked, that was said.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn outputs_that_have_ended_are_forgotten() {
        let directory = std::env::temp_dir().join(format!("rpcap-outputs-{}", std::process::id()));
        let outputs = Outputs::new(Arc::default());
        for n in 0..5 {
            let to = directory.join(n.to_string());
            let text = format!("[output.o]\ndirectory = {to:?}\n[[agent]]\n");
            let policy = Policy::parse(&text, &directory).unwrap();
            outputs.prepare(&policy).unwrap();
            outputs.retain(&policy);
            assert_eq!(outputs.running().len(), 1);
            let state = outputs.lock();
            assert!(state.threads.len() <= 2, "{}", state.threads.len());
            let (_, ending) = state.threads.split_last().unwrap();
            while ending.iter().any(|thread| !thread.is_finished()) {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        outputs.finish();
        std::fs::remove_dir_all(directory).unwrap();
    }
}
