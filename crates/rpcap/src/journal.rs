//! What is told to the operator: lines, one for each event.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, Write};
use std::sync::{Mutex, MutexGuard};

use crate::locked::lock;

/// Lines that are kept for the table.
const KEPT: usize = 200;

/// Where lines go: to standard error, or to the table while that is shown.
#[derive(Debug, Default)]
pub struct Journal(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    kept: VecDeque<String>,
    held: bool,
}

impl Journal {
    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.0)
    }

    /// An event. The line must be harmless: see [`crate::text::harmless`].
    pub fn info(&self, line: &str) {
        self.line(format_args!("{line}"));
    }

    /// Something that somebody should look after.
    pub fn warn(&self, line: &str) {
        self.line(format_args!("warning: {line}"));
    }

    fn line(&self, line: fmt::Arguments<'_>) {
        let mut state = self.lock();
        if state.held {
            if state.kept.len() == KEPT {
                state.kept.pop_front();
            }
            state.kept.push_back(line.to_string());
        } else {
            // Nobody may be there any more to read it.
            let _ = writeln!(io::stderr(), "rpcap: {line}");
        }
    }

    /// Keeps lines from now on instead of printing them.
    pub fn hold(&self) {
        self.lock().held = true;
    }

    /// Prints what was kept, and every line from now on.
    pub fn release(&self) {
        let mut state = self.lock();
        state.held = false;
        for line in std::mem::take(&mut state.kept) {
            let _ = writeln!(io::stderr(), "rpcap: {line}");
        }
    }

    /// The newest lines, at most so many, oldest first.
    pub fn newest(&self, count: usize) -> Vec<String> {
        let state = self.lock();
        let skip = state.kept.len().saturating_sub(count);
        state.kept.iter().skip(skip).cloned().collect()
    }
}
