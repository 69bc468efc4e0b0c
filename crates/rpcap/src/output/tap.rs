//! Copies of a stream's packets for those who look on, who never hold an output up.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use super::Batch;
use crate::file::Meta;
use crate::locked::lock;

/// Batches that may wait for one who looks on; each has what came for an output at a time, 256 KiB and
/// a packet at most.
const WAITING: usize = 16;

/// Those who look on at what an output is given.
///
/// While nobody does, a batch costs one look at a number.
#[derive(Debug, Default)]
pub struct Taps {
    count: AtomicUsize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The captures that run.
    running: HashMap<u32, Meta>,
    taps: Vec<Tap>,
}

#[derive(Debug)]
struct Tap {
    stream: u32,
    to: mpsc::Sender<Tapped>,
    /// A capture has begun, which could not be said yet.
    begun: Option<Box<Meta>>,
    missed: Arc<AtomicU64>,
}

/// What one who looks on is told.
#[derive(Debug)]
pub enum Tapped {
    /// Another capture of the stream has begun.
    Begun(Box<Meta>),
    /// Packets of the stream.
    Packets(Batch),
}

/// What comes of one stream from now on. What is not taken in time is dropped and counted.
#[derive(Debug)]
pub struct Tapping {
    /// The capture that runs.
    pub meta: Meta,
    /// What comes.
    pub coming: mpsc::Receiver<Tapped>,
    missed: Arc<AtomicU64>,
}

impl Tapping {
    /// Packets that were dropped, because those before them had not been taken.
    pub fn missed(&self) -> u64 {
        self.missed.load(Relaxed)
    }
}

impl Taps {
    /// Looks on at a stream, if a capture of it runs.
    pub fn open(&self, stream: u32) -> Option<Tapping> {
        let mut state = lock(&self.state);
        let meta = state.running.get(&stream)?.clone();
        let (to, coming) = mpsc::channel(WAITING);
        let missed = Arc::<AtomicU64>::default();
        state.taps.push(Tap { stream, to, begun: None, missed: Arc::clone(&missed) });
        self.count.store(state.taps.len(), Relaxed);
        Some(Tapping { meta, coming, missed })
    }

    /// A capture begins.
    pub(super) fn begin(&self, stream: u32, meta: &Meta) {
        let mut state = lock(&self.state);
        state.running.insert(stream, meta.clone());
        for tap in state.taps.iter_mut().filter(|tap| tap.stream == stream) {
            tap.begun = Some(Box::new(meta.clone()));
        }
    }

    /// A capture is over.
    pub(super) fn end(&self, stream: u32) {
        lock(&self.state).running.remove(&stream);
    }

    /// Packets come.
    pub(super) fn packets(&self, batch: &Batch) {
        if self.count.load(Relaxed) == 0 {
            return;
        }
        let mut state = lock(&self.state);
        state.taps.retain_mut(|tap| tap.packets(batch));
        self.count.store(state.taps.len(), Relaxed);
    }
}

impl Tap {
    /// Gives packets of the stream on; `false` if nobody looks any more.
    fn packets(&mut self, batch: &Batch) -> bool {
        let room = match self.to.try_reserve() {
            Ok(room) => Some(room),
            Err(TrySendError::Full(())) => None,
            Err(TrySendError::Closed(())) => return false,
        };
        let of_stream = batch.iter().filter(|(stream, ..)| *stream == self.stream);
        let Some(room) = room else {
            self.missed.fetch_add(of_stream.count() as u64, Relaxed);
            return true;
        };
        let mut copy = Batch::default();
        of_stream.for_each(|(stream, header, data)| copy.push(stream, &header, data));
        if copy.is_empty() {
            return true;
        }
        let Some(meta) = self.begun.take() else {
            room.send(Tapped::Packets(copy));
            return true;
        };
        room.send(Tapped::Begun(meta));
        if let Err(TrySendError::Full(Tapped::Packets(copy))) =
            self.to.try_send(Tapped::Packets(copy))
        {
            self.missed.fetch_add(copy.iter().count() as u64, Relaxed);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use rpcap_proto::wire::PacketHeader;

    use super::*;

    fn batch(streams: &[u32]) -> Batch {
        let mut batch = Batch::default();
        for (n, stream) in streams.iter().enumerate() {
            let header = PacketHeader { npkt: n as u32, len: 4, ..PacketHeader::default() };
            batch.push(*stream, &header, &stream.to_be_bytes());
        }
        batch
    }

    fn numbers(tapped: Option<Tapped>) -> Vec<u32> {
        match tapped {
            Some(Tapped::Packets(batch)) => batch.iter().map(|(_, h, _)| h.npkt).collect(),
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn one_stream_is_copied_while_somebody_looks() {
        let taps = Taps::default();
        assert!(taps.open(7).is_none());
        taps.begin(7, &Meta::default());
        taps.packets(&batch(&[7]));
        let mut tapping = taps.open(7).unwrap();
        taps.packets(&batch(&[8, 8]));
        taps.packets(&batch(&[8, 7, 8, 7]));
        assert_eq!(numbers(tapping.coming.recv().await), [1, 3]);
        // It may be another interface than before.
        taps.end(7);
        let other = Meta { linktype: 113, ..Meta::default() };
        taps.begin(7, &other);
        taps.packets(&batch(&[7]));
        let begun = tapping.coming.recv().await;
        assert!(matches!(begun, Some(Tapped::Begun(meta)) if *meta == other));
        assert_eq!(numbers(tapping.coming.recv().await), [0]);
        drop(tapping);
        taps.packets(&batch(&[7]));
        assert_eq!(taps.count.load(Relaxed), 0);
    }

    #[tokio::test]
    async fn what_is_not_taken_is_counted() {
        let taps = Taps::default();
        taps.begin(7, &Meta::default());
        let mut tapping = taps.open(7).unwrap();
        for _ in 0..100 {
            taps.packets(&batch(&[7, 8, 7]));
        }
        assert_eq!(tapping.missed(), 2 * (100 - WAITING as u64));
        let mut came = 0;
        while let Ok(Tapped::Packets(batch)) = tapping.coming.try_recv() {
            came += batch.iter().count() as u64;
        }
        assert_eq!(came + tapping.missed(), 200);
        taps.packets(&batch(&[7]));
        assert_eq!(numbers(tapping.coming.recv().await), [0]);
    }
}
