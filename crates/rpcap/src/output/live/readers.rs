use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::Said;
use super::transport::Transport;
use crate::locked::lock;
use crate::text::plural;

/// Bytes that may wait for a reader.
const ROOM: usize = 16 * 1024 * 1024;
/// Bytes of descriptions of interfaces that may wait, which cannot be left out.
const HEADER_ROOM: usize = 32 * 1024 * 1024;
/// Most readers at a time.
const MOST: usize = 64;
/// Between two looks at whether to end.
pub(super) const GLANCE: Duration = Duration::from_millis(100);

/// Whole blocks.
#[derive(Debug)]
pub(super) struct Chunk {
    pub(super) bytes: Vec<u8>,
    /// Packets in them.
    pub(super) packets: u64,
}

/// All that read the same savefile.
#[derive(Debug)]
pub(super) struct Readers {
    name: String,
    pub(super) journal: Said,
    state: Mutex<State>,
    /// Until when what is left may be written; once that is said, nobody new is let in.
    end: Mutex<Option<Instant>>,
    ending: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    /// What a savefile begins with that begins now.
    header: Vec<u8>,
    queues: Vec<Arc<Queue>>,
}

/// What waits for a reader.
#[derive(Debug, Default)]
struct Queue {
    state: Mutex<Waiting>,
    ready: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    chunks: VecDeque<Arc<Chunk>>,
    bytes: usize,
    /// Packets that were left out for want of room.
    lost: u64,
    /// Nobody reads any more, or nobody gives any more.
    closed: bool,
}

impl Readers {
    pub(super) fn new(name: String, journal: Said) -> Self {
        Self {
            name,
            journal,
            state: Mutex::default(),
            end: Mutex::default(),
            ending: AtomicBool::new(false),
        }
    }

    /// Whether no more readers are wanted.
    pub(super) fn is_ending(&self) -> bool {
        self.ending.load(Relaxed)
    }

    /// Waits; `false` if it is over.
    pub(super) fn wait(&self, time: Duration) -> bool {
        let until = Instant::now() + time;
        while !self.is_ending() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            std::thread::sleep(left.min(GLANCE));
        }
        false
    }

    /// Something is said about the output.
    pub(super) fn say(&self, text: &str) {
        self.journal.info(&format!("{}: {text}", self.name));
    }

    /// Something is wrong with the output.
    pub(super) fn warn(&self, text: &str) {
        self.journal.warn(&format!("{}: {text}", self.name));
    }

    /// A block that every reader needs, those that come later too.
    pub(super) fn add_to_header(&self, block: &[u8]) {
        let mut state = lock(&self.state);
        state.header.extend_from_slice(block);
        let chunk = Arc::new(Chunk { bytes: block.to_vec(), packets: 0 });
        for queue in &state.queues {
            // Without a description of its interface no packet can be read.
            if !queue.put(&chunk, HEADER_ROOM) {
                queue.close();
            }
        }
    }

    /// Gives a chunk to all readers; whether any took it.
    pub(super) fn give(&self, chunk: Chunk) -> bool {
        let chunk = Arc::new(chunk);
        let mut state = lock(&self.state);
        state.queues.retain(|queue| !queue.lock().closed);
        let mut taken = false;
        for queue in &state.queues {
            taken |= queue.put(&chunk, ROOM);
        }
        taken
    }

    /// Nothing more comes. Readers get what they still have to get, until then.
    pub(super) fn finish(&self, until: Instant) {
        *lock(&self.end) = Some(until);
        self.ending.store(true, Relaxed);
        for queue in &lock(&self.state).queues {
            queue.close();
        }
    }

    fn is_late(&self) -> bool {
        self.is_ending() && lock(&self.end).is_some_and(|end| Instant::now() > end)
    }

    /// Writes the savefile to a reader until it goes, or nothing more comes. `false` if there are
    /// too many readers.
    pub(super) fn serve(&self, who: &str, transport: &mut Transport) -> bool {
        let queue = Arc::new(Queue::default());
        {
            let mut state = lock(&self.state);
            state.queues.retain(|queue| !queue.lock().closed);
            if state.queues.len() >= MOST || self.is_ending() {
                return false;
            }
            let header = Chunk { bytes: state.header.clone(), packets: 0 };
            queue.put(&Arc::new(header), usize::MAX);
            state.queues.push(Arc::clone(&queue));
        }
        self.say(&format!("{who} reads"));
        let (packets, error) = self.write(&queue, transport);
        let lost = queue.close();
        let packets = plural(packets, "packet", "packets");
        let why = match error {
            None => String::new(),
            Some(e) => format!(" ({e})"),
        };
        match lost {
            0 => self.say(&format!("{who} reads no more{why}: {packets}")),
            lost => self.warn(&format!(
                "{who} reads no more{why}: {packets}, and {lost} left out because it was too slow"
            )),
        }
        true
    }

    fn write(&self, queue: &Queue, transport: &mut Transport) -> (u64, Option<io::Error>) {
        let mut packets = 0;
        loop {
            let Some(chunk) = queue.take(GLANCE) else {
                if queue.is_over() {
                    let _ = transport.finish();
                    return (packets, None);
                }
                // A reader that has nothing to get may go as well.
                match transport.check() {
                    Ok(()) => continue,
                    Err(error) => return (packets, Some(error)),
                }
            };
            let mut rest = chunk.bytes.as_slice();
            while !rest.is_empty() {
                match transport.write(rest) {
                    Ok(n) => rest = rest.get(n..).unwrap_or_default(),
                    Err(error) => return (packets, Some(error)),
                }
                if self.is_late() {
                    let late = io::Error::new(io::ErrorKind::TimedOut, "it took too long to end");
                    return (packets, Some(late));
                }
            }
            packets += chunk.packets;
        }
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        lock(&self.state)
    }

    /// Takes a chunk along if there is room; whether there was.
    fn put(&self, chunk: &Arc<Chunk>, room: usize) -> bool {
        let mut state = self.lock();
        if state.closed {
            return false;
        }
        if state.bytes + chunk.bytes.len() > room {
            state.lost += chunk.packets;
            return false;
        }
        state.bytes += chunk.bytes.len();
        state.chunks.push_back(Arc::clone(chunk));
        drop(state);
        self.ready.notify_one();
        true
    }

    fn take(&self, wait: Duration) -> Option<Arc<Chunk>> {
        let idle = |s: &mut Waiting| s.chunks.is_empty() && !s.closed;
        let waited = self.ready.wait_timeout_while(self.lock(), wait, idle);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner).0;
        let chunk = state.chunks.pop_front()?;
        state.bytes -= chunk.bytes.len();
        Some(chunk)
    }

    fn is_over(&self) -> bool {
        let state = self.lock();
        state.closed && state.chunks.is_empty()
    }

    /// No more is put in; packets that were left out, and those that are still waiting.
    fn close(&self) -> u64 {
        let mut state = self.lock();
        state.closed = true;
        self.ready.notify_all();
        state.lost + state.chunks.iter().map(|chunk| chunk.packets).sum::<u64>()
    }
}
