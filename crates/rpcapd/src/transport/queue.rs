//! A thread of its own for sending, and what waits for it.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use rpcap_proto::batch::Batch;

use super::Sink;

use crate::locked::lock;

/// Gives batches to another thread, which sends them.
///
/// It holds so many batches and packets and no more; then the thread that captures waits, and what
/// the kernel's ring cannot hold is dropped and counted there.
#[derive(Debug)]
pub struct Queue {
    shared: Arc<Shared>,
    max_batches: usize,
    max_packets: u64,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    limit: AtomicUsize,
}

#[derive(Debug, Default)]
struct State {
    ready: VecDeque<Batch>,
    spare: Vec<Batch>,
    /// Batches that were given and are not sent, and the packets in them.
    held: usize,
    packets: u64,
    started: bool,
    finished: bool,
    failure: Option<(io::ErrorKind, String)>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Waits until `wanted` is so.
    fn wait(&self, wanted: impl Fn(&State) -> bool) -> MutexGuard<'_, State> {
        let mut state = self.lock();
        while !wanted(&state) {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state
    }
}

impl Queue {
    /// Sends on a new thread, by what `make` makes there. `bytes` is how much memory the batches may
    /// have together, each of `batch_bytes`; at least two of them.
    pub fn start(
        make: impl FnOnce() -> Box<dyn Sink> + Send + 'static,
        batch_bytes: usize,
        bytes: usize,
        max_packets: usize,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let thread = thread::Builder::new().name("send".to_owned()).spawn({
            let shared = Arc::clone(&shared);
            move || {
                let mut sink = make();
                shared.limit.store(sink.datagram_limit(), Relaxed);
                shared.lock().started = true;
                shared.changed.notify_all();
                run(&shared, sink.as_mut());
            }
        })?;
        drop(shared.wait(|s| s.started));
        Ok(Self {
            shared,
            max_batches: (bytes / batch_bytes).max(2),
            max_packets: max_packets as u64,
            thread: Some(thread),
        })
    }
}

fn run(shared: &Shared, sink: &mut dyn Sink) {
    loop {
        let mut state = shared.wait(|s| !s.ready.is_empty() || s.finished);
        let Some(mut batch) = state.ready.pop_front() else {
            break;
        };
        drop(state);
        let packets = batch.packets();
        sink.send(&mut batch);
        shared.limit.store(sink.datagram_limit(), Relaxed);
        let mut state = shared.lock();
        state.failure = sink.failure().map(|e| (e.kind(), e.to_string()));
        state.held -= 1;
        state.packets -= packets;
        state.spare.push(batch);
        shared.changed.notify_all();
    }
    sink.finish();
}

impl Sink for Queue {
    fn send(&mut self, batch: &mut Batch) {
        // Nobody is woken for a block of which nothing is sent.
        if batch.is_empty() {
            return;
        }
        let packets = batch.packets();
        let mut state = self.shared.wait(|s| {
            let fits = s.packets + packets <= self.max_packets || s.held == 0;
            s.held < self.max_batches && fits
        });
        state.held += 1;
        state.packets += packets;
        let (bytes, datagrams) = batch.capacity();
        let spare = state.spare.pop();
        let empty = spare.unwrap_or_else(|| Batch::with_capacity(bytes, datagrams));
        state.ready.push_back(std::mem::replace(batch, empty));
        self.shared.changed.notify_all();
    }

    fn failure(&self) -> Option<io::Error> {
        let state = self.shared.lock();
        state.failure.as_ref().map(|(kind, text)| io::Error::new(*kind, text.clone()))
    }

    fn datagram_limit(&self) -> usize {
        self.shared.limit.load(Relaxed)
    }

    fn finish(&mut self) {
        self.shared.lock().finished = true;
        self.shared.changed.notify_all();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that sends panicked");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;
    use std::time::Duration;

    /// Sends when it is told to.
    struct Slow(mpsc::Receiver<()>, mpsc::Sender<Vec<u8>>);

    impl Sink for Slow {
        fn send(&mut self, batch: &mut Batch) {
            self.0.recv().unwrap();
            self.1.send(batch.bytes().to_vec()).unwrap();
            batch.clear();
        }
    }

    #[test]
    fn it_holds_so_much_and_no_more_and_keeps_the_order() {
        let (go, wait) = mpsc::channel();
        let (tell, sent) = mpsc::channel();
        let mut queue = Queue::start(|| Box::new(Slow(wait, tell)), 100, 300, 1000).unwrap();
        let (put, count) = mpsc::channel();
        let thread = thread::spawn(move || {
            for i in 0..10u8 {
                let mut batch = Batch::with_capacity(100, 1);
                batch.extend(&[i]);
                batch.close(1, false);
                queue.send(&mut batch);
                assert!(batch.is_empty());
                put.send(i).unwrap();
            }
            queue.finish();
        });
        // One is being sent, two wait.
        for _ in 0..3 {
            count.recv_timeout(Duration::from_secs(5)).unwrap();
        }
        assert!(count.recv_timeout(Duration::from_millis(100)).is_err());
        for _ in 0..10 {
            go.send(()).unwrap();
        }
        thread.join().unwrap();
        assert_eq!(sent.iter().flatten().collect::<Vec<_>>(), (0..10).collect::<Vec<_>>());
    }

    #[test]
    fn packets_are_limited_too_but_one_batch_always_passes() {
        let (go, wait) = mpsc::channel();
        let (tell, sent) = mpsc::channel();
        let mut queue = Queue::start(|| Box::new(Slow(wait, tell)), 100, 10_000, 8).unwrap();
        let mut batch = Batch::with_capacity(100, 1);
        for _ in 0..2 {
            go.send(()).unwrap();
            batch.extend(b"x");
            batch.close(20, false);
            queue.send(&mut batch);
        }
        queue.finish();
        assert_eq!(sent.iter().count(), 2);
    }
}
