//! The limits as one capture meets them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use capture::{LinkType, Packet};

use super::cpu::{Meter, PERIOD, Standing};
use super::rate::{Cost, Share};
use super::{Limits, flow};
use crate::ledger::Withheld;

/// Decides for each packet of a block.
pub trait Admit {
    /// Whether a packet is forwarded, which would cost this much; if not, counts why.
    fn admits(
        &mut self,
        packet: &Packet<'_>,
        cost: impl FnOnce() -> Cost,
        withheld: &mut Withheld,
    ) -> bool;
}

/// No limits.
#[derive(Debug)]
pub struct Open;

impl Admit for Open {
    #[inline]
    fn admits(&mut self, _: &Packet<'_>, _: impl FnOnce() -> Cost, _: &mut Withheld) -> bool {
        true
    }
}

/// Limits that were set. Belongs to the thread that captures.
#[derive(Debug)]
pub struct Gate {
    rate: Option<Share>,
    cpu: Option<(Meter, Standing)>,
    linktype: LinkType,
}

impl Gate {
    /// For one capture, whose frames have so many bytes besides what they carry. `None` if there
    /// are no limits.
    pub fn new(limits: &Limits, overhead: u64, linktype: LinkType) -> Option<Self> {
        let rate = limits.rate.as_ref().map(|bucket| Share::new(Arc::clone(bucket), overhead));
        let cpu = limits.cpu.as_ref().map(|budget| Meter::new(Arc::clone(budget)));
        let cpu = cpu.map(|meter| (meter, Standing::default()));
        (rate.is_some() || cpu.is_some()).then_some(Self { rate, cpu, linktype })
    }

    /// Begins a block, or what stands in for it while none comes. The result is whether its packets
    /// are to be looked at.
    pub fn begin(&mut self) -> bool {
        if let Some(rate) = &mut self.rate {
            rate.begin();
        }
        match &mut self.cpu {
            Some((meter, standing)) => {
                *standing = meter.charge(Instant::now());
                !standing.paused
            }
            None => true,
        }
    }

    /// Ends a block.
    pub fn end(&mut self) {
        if let Some(rate) = &mut self.rate {
            rate.end(Instant::now);
        }
    }

    /// How long to wait for a block before [`Self::begin`] is called without one: so a limit that
    /// was met is undone when nothing comes any more.
    pub fn patience(&self) -> Option<Duration> {
        let calm = Standing::default();
        self.cpu.as_ref().filter(|(_, standing)| *standing != calm).map(|_| PERIOD)
    }
}

impl Admit for Gate {
    #[inline]
    fn admits(
        &mut self,
        packet: &Packet<'_>,
        cost: impl FnOnce() -> Cost,
        withheld: &mut Withheld,
    ) -> bool {
        if let Some((meter, standing)) = &self.cpu
            && standing.level > 0
            && flow::number(self.linktype, packet.data, meter.keys()) & standing.mask() != 0
        {
            withheld.cpu += 1;
            return false;
        }
        if let Some(rate) = &mut self.rate
            && !rate.pays(cost(), Instant::now)
        {
            withheld.rate += 1;
            return false;
        }
        true
    }
}
