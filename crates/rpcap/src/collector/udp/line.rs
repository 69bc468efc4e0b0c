use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::collector::flow::{Flow, Inflow};
use crate::data::{DatagramDecoder, Inlet, Received, Tally};
use crate::output::Outlet;

/// How long datagrams that came early wait for one before them.
const PATIENCE: Duration = Duration::from_millis(3);

/// The datagrams of one capture.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) flow: Arc<Flow>,
    /// Where its packets go, among the switchboard's outlets.
    pub(super) outlet: usize,
    /// Something came since the last look.
    pub(super) touched: bool,
    decoder: DatagramDecoder,
    tally: Tally,
    /// The missing datagram that others wait for, and since when.
    gap: Option<(u32, Instant)>,
}

impl Line {
    pub(super) fn new(flow: Arc<Flow>, outlet: usize) -> Self {
        let mut decoder = DatagramDecoder::new(flow.snaplen);
        if let Some(opener) = flow.opener() {
            decoder.expect_sealed(opener);
        }
        Self { flow, outlet, touched: false, decoder, tally: Tally::default(), gap: None }
    }

    #[inline]
    pub(super) fn datagram(&mut self, bytes: &[u8], outlets: &mut [Outlet]) {
        self.with(outlets, |decoder, inlet| {
            decoder.datagram(bytes, inlet);
        });
    }

    #[inline]
    fn with(
        &mut self,
        outlets: &mut [Outlet],
        work: impl FnOnce(&mut DatagramDecoder, &mut Inlet<'_, Inflow<'_>>),
    ) {
        let mut inflow = Inflow { stream: self.flow.stream, outlet: &mut outlets[self.outlet] };
        let mut inlet = Inlet::new(&mut self.tally, &mut inflow, &self.flow.gauge);
        work(&mut self.decoder, &mut inlet);
    }

    /// Lets others see what came.
    pub(super) fn show(&self) {
        self.tally.show(&self.flow.gauge);
    }

    /// Whether datagrams wait for one before them.
    pub(super) fn waits(&self) -> bool {
        self.decoder.waits_for().is_some()
    }

    /// How much longer to wait for what is missing, if something is. What is missing for too long
    /// is given up.
    pub(super) fn patience(&mut self, now: Instant, outlets: &mut [Outlet]) -> Option<Duration> {
        let missing = self.decoder.waits_for();
        self.gap = match (missing, self.gap) {
            (Some(seqno), Some(gap)) if gap.0 == seqno => Some(gap),
            (missing, _) => missing.map(|seqno| (seqno, now)),
        };
        let (_, since) = self.gap?;
        let left = PATIENCE.saturating_sub(now.duration_since(since));
        if left.is_zero() {
            self.with(outlets, |decoder, inlet| decoder.flush(inlet));
            self.gap = None;
            self.show();
            return None;
        }
        Some(left)
    }

    /// No more comes.
    pub(super) fn finish(&mut self, outlets: &mut [Outlet]) -> Received {
        self.with(outlets, |decoder, inlet| decoder.finish(inlet));
        self.show();
        *self.tally.received()
    }
}
