use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rpcap_proto::wire::PacketHeader;

use super::Batch;
use crate::file::{Meta, Summary};
use crate::locked::lock;

/// A batch is given on when it has so many bytes.
const FULL: usize = 256 * 1024;
/// Buffers that are kept for the next batches.
const SPARE: usize = 16;
/// Captures whose beginning may wait: agents that come and go would fill the memory behind an output
/// that takes nothing.
const BEGINNINGS: usize = 16_384;

/// What became of a stream's packets after they had been received.
///
/// given + split = written + not written + overflowed + those still on their way
#[derive(Debug, Default)]
pub struct Account {
    /// Packets in the output.
    pub written: AtomicU64,
    /// Packets that the output did not take: the disk is full, the reader has gone.
    pub unwritten: AtomicU64,
    /// Packets that found the queue to the output full.
    pub overflowed: AtomicU64,
    /// Segments that packets were split into, beyond the first of each.
    pub split: AtomicU64,
    /// Packets that the sender's kernel dropped, as far as the output was told.
    pub dropped: AtomicU64,
    /// Packets that were for the output, of the captures that are over.
    pub given: AtomicU64,
}

impl Account {
    /// Packets whose way is over.
    pub fn settled(&self) -> u64 {
        self.written.load(Relaxed) + self.unwritten.load(Relaxed) + self.overflowed.load(Relaxed)
    }
}

/// A stream as an output knows it.
#[derive(Clone, Debug)]
pub struct Begin {
    /// Its number.
    pub stream: u32,
    /// What a file is called after it.
    pub label: String,
    /// What a file says of it.
    pub meta: Meta,
    /// Where its packets are counted.
    pub account: Arc<Account>,
}

/// What a queue carries.
#[derive(Debug)]
pub(super) enum Message {
    /// A capture begins; its packets come later.
    Begin(Box<Begin>),
    /// Packets.
    Packets(Arc<Batch>),
    /// What is known of a stream by now.
    Summary(u32, Box<Summary>),
    /// A capture is over.
    End(u32),
    /// Nothing more comes.
    Finish,
}

/// From those who receive to the one who writes.
///
/// It never makes a receiver wait: what it has no room for is dropped and counted. What is told of
/// captures is bounded as well: of each, one summary waits, the newest, and where too many
/// have begun and ended, further ones begin later.
#[derive(Debug)]
pub struct Queue {
    state: Mutex<State>,
    ready: Condvar,
    /// Bytes of packets that may wait.
    limit: usize,
}

#[derive(Debug, Default)]
struct State {
    messages: VecDeque<Message>,
    bytes: usize,
    spare: Vec<Vec<u8>>,
    accounts: HashMap<u32, Arc<Account>>,
    /// Messages that were taken so far.
    taken: usize,
    /// Where the newest summary of a capture is, counted in all messages that there ever were.
    summaries: HashMap<u32, usize>,
    /// Captures whose beginning waits.
    beginnings: usize,
    /// Captures that cannot begin yet. What comes of them finds no room.
    late: BTreeMap<u32, Begin>,
}

impl State {
    fn begin(&mut self, begin: Begin) {
        self.beginnings += 1;
        self.messages.push_back(Message::Begin(Box::new(begin)));
    }

    fn take(&mut self) -> Option<Message> {
        let message = self.messages.pop_front()?;
        self.taken = self.taken.wrapping_add(1);
        if let Message::Begin(_) = message {
            self.beginnings -= 1;
            if let Some((_, begin)) = self.late.pop_first() {
                self.begin(begin);
            }
        }
        Some(message)
    }

    /// The newest summary of a capture, if it still waits.
    fn summary(&mut self, stream: u32) -> Option<&mut Summary> {
        let at = self.summaries.get(&stream)?.wrapping_sub(self.taken);
        match self.messages.get_mut(at) {
            Some(Message::Summary(_, summary)) => Some(summary),
            _ => None,
        }
    }
}

impl Queue {
    /// A queue in which batches of so many bytes may wait.
    pub fn new(limit: u64) -> Self {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        Self { state: Mutex::default(), ready: Condvar::new(), limit }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Announces a stream. Comes before any packet of it.
    pub fn begin(&self, begin: Begin) {
        let mut state = self.lock();
        state.accounts.insert(begin.stream, Arc::clone(&begin.account));
        // It has summaries of its own.
        state.summaries.remove(&begin.stream);
        if state.beginnings < BEGINNINGS {
            state.begin(begin);
        } else {
            state.late.insert(begin.stream, begin);
        }
        drop(state);
        self.ready.notify_one();
    }

    /// Tells what is known of a stream by now.
    pub fn summarise(&self, stream: u32, summary: Summary) {
        let mut state = self.lock();
        if state.late.contains_key(&stream) {
            return;
        }
        if let Some(waiting) = state.summary(stream) {
            *waiting = summary;
            return;
        }
        let at = state.taken.wrapping_add(state.messages.len());
        state.summaries.insert(stream, at);
        state.messages.push_back(Message::Summary(stream, Box::new(summary)));
    }

    /// Tells that a capture is over. Its packets were all given before.
    pub fn end(&self, stream: u32) {
        let mut state = self.lock();
        // Nothing of it can be dropped any more.
        state.accounts.remove(&stream);
        state.summaries.remove(&stream);
        if state.late.remove(&stream).is_some() {
            return;
        }
        state.messages.push_back(Message::End(stream));
        drop(state);
        self.ready.notify_one();
    }

    /// Tells that nothing more comes.
    pub fn finish(&self) {
        self.lock().messages.push_back(Message::Finish);
        self.ready.notify_one();
    }

    /// Takes a batch along, or drops it.
    fn give(&self, batch: &Arc<Batch>) {
        let mut state = self.lock();
        let room = batch.room();
        let is_full = state.bytes + room > self.limit;
        if is_full || !state.late.is_empty() {
            for (stream, ..) in batch.iter() {
                if (is_full || state.late.contains_key(&stream))
                    && let Some(account) = state.accounts.get(&stream)
                {
                    account.overflowed.fetch_add(1, Relaxed);
                }
            }
        }
        if is_full {
            return;
        }
        state.bytes += room;
        state.messages.push_back(Message::Packets(Arc::clone(batch)));
        drop(state);
        self.ready.notify_one();
    }

    /// A buffer of a batch that was written.
    fn spare(&self) -> Option<Vec<u8>> {
        self.lock().spare.pop()
    }

    /// The next message; `None` if none comes for so long.
    pub(super) fn take(&self, wait: Duration) -> Option<Message> {
        let state = self.lock();
        let waited = self.ready.wait_timeout_while(state, wait, |s| s.messages.is_empty());
        let mut state = waited.unwrap_or_else(PoisonError::into_inner).0;
        state.take()
    }

    /// Takes a batch back that was written.
    pub(super) fn give_back(&self, batch: Arc<Batch>) {
        let mut state = self.lock();
        state.bytes -= batch.room();
        // Another queue may still have it.
        if let Ok(batch) = Arc::try_unwrap(batch)
            && state.spare.len() < SPARE
        {
            state.spare.push(batch.into_bytes());
        }
    }

    /// Bytes of batches that wait.
    pub fn bytes(&self) -> usize {
        self.lock().bytes
    }
}

/// Queues that get the same packets: none waits for another.
#[derive(Clone, Debug)]
pub struct Route(Arc<[Arc<Queue>]>);

impl Route {
    /// To these queues.
    pub fn new(queues: impl IntoIterator<Item = Arc<Queue>>) -> Self {
        Self(queues.into_iter().collect())
    }

    /// The queues.
    pub fn queues(&self) -> &[Arc<Queue>] {
        &self.0
    }

    /// Tells all of them that a capture is over.
    pub fn end(&self, stream: u32) {
        self.0.iter().for_each(|queue| queue.end(stream));
    }

    /// Tells all of them what is known of a stream by now.
    pub fn summarise(&self, stream: u32, summary: &Summary) {
        self.0.iter().for_each(|queue| queue.summarise(stream, summary.clone()));
    }
}

impl PartialEq for Route {
    fn eq(&self, other: &Self) -> bool {
        self.0.len() == other.0.len()
            && self.0.iter().zip(&*other.0).all(|(a, b)| Arc::ptr_eq(a, b))
    }
}

/// One receiver's way into queues.
#[derive(Debug)]
pub struct Outlet {
    route: Route,
    batch: Batch,
}

impl Outlet {
    /// A way into the queues of a route.
    pub fn new(route: Route) -> Self {
        Self { route, batch: Batch::default() }
    }

    /// Whether it leads there.
    pub fn leads_to(&self, route: &Route) -> bool {
        self.route == *route
    }

    /// Whether packets wait here.
    pub fn is_empty(&self) -> bool {
        self.batch.is_empty()
    }

    /// Takes a packet along.
    #[inline]
    pub fn push(&mut self, stream: u32, header: &PacketHeader, data: &[u8]) {
        self.batch.push(stream, header, data);
        if self.batch.len() >= FULL {
            self.flush();
        }
    }

    /// Gives on what was gathered.
    pub fn flush(&mut self) {
        if self.batch.is_empty() {
            return;
        }
        let batch = Arc::new(std::mem::take(&mut self.batch));
        let queues = self.route.queues();
        queues.iter().for_each(|queue| queue.give(&batch));
        self.batch = match Arc::try_unwrap(batch) {
            Ok(dropped) => Batch::reusing(dropped.into_bytes()),
            Err(_) => Batch::reusing(queues.iter().find_map(|q| q.spare()).unwrap_or_default()),
        };
    }
}

#[cfg(test)]
mod tests {
    use rpcap_proto::wire::Fraction;

    use super::*;

    const LIMIT: u64 = 4096;

    fn begin(queue: &Queue, stream: u32) -> Arc<Account> {
        let account = Arc::new(Account::default());
        let begin = Begin {
            stream,
            label: String::new(),
            meta: Meta::default(),
            account: Arc::clone(&account),
        };
        queue.begin(begin);
        account
    }

    fn take(queue: &Queue) -> Option<Message> {
        queue.take(Duration::ZERO)
    }

    #[test]
    fn packets_come_out_as_they_went_in() {
        let queue = Arc::new(Queue::new(LIMIT));
        begin(&queue, 7);
        let mut outlet = Outlet::new(Route::new([Arc::clone(&queue)]));
        let header = PacketHeader { secs: 1, fraction: Fraction(2), caplen: 3, len: 4, npkt: 5 };
        outlet.push(7, &header, b"abc");
        outlet.push(8, &PacketHeader { caplen: 0, ..header }, b"");
        assert!(!outlet.is_empty());
        outlet.flush();
        assert!(matches!(take(&queue), Some(Message::Begin(_))));
        let Some(Message::Packets(batch)) = take(&queue) else { panic!("no packets") };
        let packets: Vec<_> = batch.iter().collect();
        assert_eq!(packets[0], (7, header, &b"abc"[..]));
        assert_eq!((packets[1].0, packets.len()), (8, 2));
        queue.give_back(batch);
        assert_eq!(queue.bytes(), 0);
        assert!(take(&queue).is_none());
    }

    #[test]
    fn what_finds_no_room_is_counted_for_whom_it_was() {
        let queue = Arc::new(Queue::new(LIMIT));
        let (a, b) = (begin(&queue, 1), begin(&queue, 2));
        let mut outlet = Outlet::new(Route::new([Arc::clone(&queue)]));
        let mut given = 0;
        for _ in 0..100 {
            outlet.push(1, &PacketHeader::default(), &[0; 100]);
            outlet.push(2, &PacketHeader::default(), &[0; 100]);
            outlet.flush();
            given += 1;
        }
        assert!(queue.bytes() <= LIMIT as usize);
        let mut waiting = 0;
        while let Some(message) = take(&queue) {
            if let Message::Packets(batch) = message {
                waiting += batch.iter().filter(|(stream, ..)| *stream == 1).count() as u64;
                queue.give_back(batch);
            }
        }
        assert!(waiting > 0);
        assert_eq!(a.overflowed.load(Relaxed) + waiting, given);
        assert_eq!(b.settled() + waiting, given);
        // There is room again.
        outlet.push(1, &PacketHeader::default(), &[0; 100]);
        outlet.flush();
        assert_eq!(a.settled() + waiting, given);
    }

    #[test]
    fn of_a_capture_the_newest_summary_waits() {
        let queue = Queue::new(LIMIT);
        let delivered = |n| Summary { delivered: Some(n), ..Summary::default() };
        begin(&queue, 1);
        begin(&queue, 2);
        for n in 0..100 {
            queue.summarise(1, delivered(n));
            queue.summarise(2, delivered(n + 1000));
        }
        queue.end(1);
        begin(&queue, 1);
        queue.summarise(1, delivered(5));
        let mut came = Vec::new();
        while let Some(message) = take(&queue) {
            match message {
                Message::Summary(stream, summary) => {
                    came.push((stream, summary.delivered));
                    // It waits no more: the next is another.
                    if stream == 2 && came.len() == 2 {
                        queue.summarise(2, delivered(7));
                    }
                }
                Message::End(stream) => came.push((stream, None)),
                _ => {}
            }
        }
        let expected = [(1, Some(99)), (2, Some(1099)), (1, None), (1, Some(5)), (2, Some(7))];
        assert_eq!(came, expected);
    }

    #[test]
    fn captures_that_come_and_go_behind_an_output_that_takes_nothing_are_bounded() {
        let queue = Arc::new(Queue::new(LIMIT));
        let mut outlet = Outlet::new(Route::new([Arc::clone(&queue)]));
        let mut push = |stream| {
            outlet.push(stream, &PacketHeader::default(), b"abc");
            outlet.flush();
        };
        for _ in 0..3 * BEGINNINGS {
            begin(&queue, 1);
            queue.summarise(1, Summary::default());
            queue.end(1);
        }
        assert_eq!(queue.lock().messages.len(), 3 * BEGINNINGS);
        let account = begin(&queue, 2);
        queue.summarise(2, Summary::default());
        push(2);
        assert_eq!(account.settled(), 1);
        // There is room again: it begins, and has packets.
        while !matches!(take(&queue), Some(Message::Packets(_))) {}
        push(2);
        assert_eq!(account.settled(), 1);
        assert!(matches!(take(&queue), Some(Message::Begin(begin)) if begin.stream == 2));
        assert!(matches!(take(&queue), Some(Message::Packets(_))));
        assert!(take(&queue).is_none() && queue.lock().late.is_empty());
        assert_eq!(queue.lock().beginnings, 0);
    }

    #[test]
    fn a_queue_that_is_full_takes_nothing_from_another() {
        let (small, large) = (Arc::new(Queue::new(LIMIT)), Arc::new(Queue::new(LIMIT * 100)));
        let (a, b) = (begin(&small, 1), begin(&large, 1));
        let mut outlet = Outlet::new(Route::new([Arc::clone(&small), Arc::clone(&large)]));
        for _ in 0..100 {
            outlet.push(1, &PacketHeader::default(), &[0; 100]);
            outlet.flush();
        }
        let waiting = |queue: &Queue| {
            let mut waiting = 0;
            while let Some(message) = take(queue) {
                if let Message::Packets(batch) = message {
                    waiting += batch.iter().count() as u64;
                    queue.give_back(batch);
                }
            }
            waiting
        };
        let kept = waiting(&small);
        assert_eq!((kept + a.settled(), waiting(&large) + b.settled()), (100, 100));
        assert!(kept < 100 && b.settled() == 0);
        // Buffers are used again, whichever queue had them last.
        assert!(small.spare().is_some() || large.spare().is_some());
    }
}
