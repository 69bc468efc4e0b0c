//! The user-space filter's place: written by the controlling thread, read by the capturing one, once per block.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use crate::filter::Instruction;

/// Where the controlling thread puts the program that the capturing thread is to run.
#[derive(Debug, Default)]
pub(crate) struct Slot {
    /// Counts what was published. The capturing thread looks at this, not at the lock.
    generation: AtomicU64,
    program: Mutex<Option<Arc<[Instruction]>>>,
}

/// The capturing thread's own copy of what is in a [`Slot`].
#[derive(Debug, Default)]
pub(crate) struct Seen {
    generation: u64,
    program: Option<Arc<[Instruction]>>,
}

impl Slot {
    /// Makes `program` what [`Slot::refresh`] finds from now on.
    pub(crate) fn publish(&self, program: Arc<[Instruction]>) {
        *self.program.lock().unwrap_or_else(PoisonError::into_inner) = Some(program);
        // Release: pairs with the Acquire in `refresh`; who sees this number finds this program, or a later one.
        self.generation.fetch_add(1, Ordering::Release);
    }

    /// Brings `seen` up to date: one atomic load where nothing changed.
    pub(crate) fn refresh(&self, seen: &mut Seen) {
        // Acquire: pairs with the Release in `publish`.
        let generation = self.generation.load(Ordering::Acquire);
        if generation != seen.generation {
            seen.program = self.program.lock().unwrap_or_else(PoisonError::into_inner).clone();
            seen.generation = generation;
        }
    }
}

impl Seen {
    /// The program to run, if filtering is done here at all.
    pub(crate) fn program(&self) -> Option<&[Instruction]> {
        self.program.as_deref()
    }
}
