use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::Said;
use super::transport::Transport;
use crate::locked::lock;
use crate::text::{Count, plural};

/// Bytes that may wait for a reader.
const ROOM: usize = 16 * 1024 * 1024;
/// Bytes of descriptions of interfaces that may wait, which cannot be left out.
const HEADER_ROOM: usize = 32 * 1024 * 1024;
/// What a chunk occupies beside its bytes: without that, many small ones would not be bounded.
const OVERHEAD: usize = 128;
/// What is left of the time to end when nothing new is begun, so that what was begun is complete.
const LAST_CHUNK: Duration = Duration::from_millis(500);
/// Between two looks at whether to end.
pub(super) const GLANCE: Duration = Duration::from_millis(100);

/// Whole blocks.
#[derive(Debug)]
pub(super) struct Chunk {
    bytes: Box<[u8]>,
    /// Packets in them.
    packets: u64,
}

impl Chunk {
    fn new(bytes: &[u8], packets: u64) -> Arc<Self> {
        Arc::new(Self { bytes: bytes.into(), packets })
    }

    fn room(&self) -> usize {
        self.bytes.len() + OVERHEAD
    }
}

/// Why a reader reads no more.
enum End {
    /// Nothing more comes.
    Over,
    Gone(io::Error),
    /// It took too long: it did not get so many packets, nor those that still wait.
    Late(u64),
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
        state.describe(block);
    }

    /// What a savefile begins with from now on. In those that have begun it is another section.
    pub(super) fn set_header(&self, header: &[u8]) {
        let mut state = lock(&self.state);
        state.header = header.to_vec();
        state.describe(header);
    }

    /// Gives whole blocks to all readers; whether any took them.
    pub(super) fn give(&self, bytes: &[u8], packets: u64) -> bool {
        let state = lock(&self.state);
        if state.queues.is_empty() {
            return false;
        }
        let chunk = Chunk::new(bytes, packets);
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

    /// Whether less than this is left of the time to end.
    fn is_late(&self, reserve: Duration) -> bool {
        self.is_ending() && lock(&self.end).is_some_and(|end| Instant::now() + reserve > end)
    }

    /// Writes the savefile to a reader until it goes, or nothing more comes.
    pub(super) fn serve(&self, who: &str, transport: &mut Transport) {
        let queue = Arc::new(Queue::default());
        {
            let mut state = lock(&self.state);
            if self.is_ending() {
                return;
            }
            queue.put(&Chunk::new(&state.header, 0), usize::MAX);
            state.queues.push(Arc::clone(&queue));
        }
        self.say(&format!("{who} reads"));
        let (packets, end) = self.write(&queue, transport);
        lock(&self.state).queues.retain(|other| !Arc::ptr_eq(other, &queue));
        let (mut lost, waiting) = queue.close();
        let why = match end {
            End::Over => String::new(),
            End::Gone(error) => format!(" ({error})"),
            End::Late(begun) => {
                lost += begun + waiting;
                " (it took too long to end)".to_owned()
            }
        };
        let packets = plural(packets, "packet", "packets");
        match lost {
            0 => self.say(&format!("{who} reads no more{why}: {packets}")),
            lost => self.warn(&format!(
                "{who} reads no more{why}: {packets}, and {} left out because it was too slow",
                Count(lost)
            )),
        }
    }

    fn write(&self, queue: &Queue, transport: &mut Transport) -> (u64, End) {
        let mut packets = 0;
        loop {
            let Some(chunk) = queue.take(GLANCE) else {
                // A reader that has nothing to get may go as well.
                let done = match queue.is_over() {
                    true => transport.finish(),
                    false => transport.check().map(|()| false),
                };
                match done {
                    Ok(true) => return (packets, End::Over),
                    Ok(false) if self.is_late(Duration::ZERO) => return (packets, End::Late(0)),
                    Ok(false) => continue,
                    Err(error) => return (packets, End::Gone(error)),
                }
            };
            if self.is_late(LAST_CHUNK) {
                let _ = transport.finish();
                return (packets, End::Late(chunk.packets));
            }
            let mut rest = &*chunk.bytes;
            while !rest.is_empty() {
                match transport.write(rest) {
                    Ok(n) => rest = rest.get(n..).unwrap_or_default(),
                    Err(error) => return (packets, End::Gone(error)),
                }
                if !rest.is_empty() && self.is_late(Duration::ZERO) {
                    return (packets, End::Late(chunk.packets));
                }
            }
            packets += chunk.packets;
        }
    }
}

impl State {
    /// Gives all readers what no packet can be read without.
    fn describe(&self, blocks: &[u8]) {
        let chunk = Chunk::new(blocks, 0);
        for queue in &self.queues {
            if !queue.put(&chunk, HEADER_ROOM) {
                queue.close();
            }
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
        if state.bytes + chunk.room() > room {
            state.lost += chunk.packets;
            return false;
        }
        state.bytes += chunk.room();
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
        state.bytes -= chunk.room();
        Some(chunk)
    }

    fn is_over(&self) -> bool {
        let state = self.lock();
        state.closed && state.chunks.is_empty()
    }

    /// No more is put in; packets that were left out, and those that are still waiting.
    fn close(&self) -> (u64, u64) {
        let mut state = self.lock();
        state.closed = true;
        self.ready.notify_all();
        (state.lost, state.chunks.iter().map(|chunk| chunk.packets).sum())
    }
}
