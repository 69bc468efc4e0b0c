use std::fmt;

/// Packets that are missing in front of a packet of the same interface, by cause.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Loss {
    /// Sent by the daemon and not arrived.
    pub network: u64,
    /// Arrived, and found the queue to this output full.
    pub queue: u64,
    /// Dropped by the daemon's kernel. That is known only now and then: they are missing between
    /// here and where such a loss was told before.
    pub kernel: u64,
}

impl Loss {
    /// All of them (`epb_dropcount`).
    pub fn total(&self) -> u64 {
        self.network + self.queue + self.kernel
    }
}

impl fmt::Display for Loss {
    /// "37 packets lost here: network".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut first = true;
        for (n, place, cause) in [
            (self.network, "here", "network"),
            (self.queue, "here", "too slow an output"),
            (self.kernel, "before here", "the sender's kernel"),
        ] {
            if n > 0 {
                let packets = if n == 1 { "packet" } else { "packets" };
                let comma = if first { "" } else { "; " };
                write!(f, "{comma}{n} {packets} lost {place}: {cause}")?;
                first = false;
            }
        }
        Ok(())
    }
}

/// Notices what is missing between the packets of a capture, which are numbered from 1, modulo 2³².
#[derive(Clone, Copy, Debug, Default)]
pub struct Losses {
    /// The number of the newest packet.
    number: u32,
    /// Packets that had found the queue full by then.
    queue: u64,
    /// Dropped by the kernel and not told yet.
    kernel: u64,
}

impl Losses {
    /// Of a capture that begins when so many packets have found the queue full.
    pub fn since(queue: u64) -> Self {
        Self { queue, ..Self::default() }
    }

    /// The daemon says that its kernel dropped so many more.
    pub fn dropped(&mut self, packets: u64) {
        self.kernel += packets;
    }

    /// What is missing in front of the packet with this number. `queue` tells how many packets have
    /// found the queue full; it is asked only if something is missing.
    #[inline]
    pub fn before(&mut self, number: u32, queue: impl FnOnce() -> u64) -> Option<Loss> {
        // The nearer way round the circle. One that comes late was told as lost.
        let ahead = number.wrapping_sub(self.number).cast_signed();
        let missing = ahead.saturating_sub(1).max(0).unsigned_abs();
        if ahead > 0 {
            self.number = number;
        }
        match missing > 0 || self.kernel > 0 {
            true => self.tell(missing.into(), queue()),
            false => None,
        }
    }

    #[cold]
    fn tell(&mut self, missing: u64, queue: u64) -> Option<Loss> {
        let queued = missing.min(queue.saturating_sub(self.queue));
        self.queue = queue;
        let kernel = std::mem::take(&mut self.kernel);
        Some(Loss { network: missing - queued, queue: queued, kernel })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_told_once_and_by_cause() {
        let mut losses = Losses::since(5);
        assert_eq!(losses.before(1, || 5), None);
        assert_eq!(losses.before(2, || 5), None);
        let network = losses.before(40, || 5).unwrap();
        assert_eq!(network.to_string(), "37 packets lost here: network");
        // Late, and one again.
        assert_eq!(losses.before(39, || 5), None);
        assert_eq!(losses.before(40, || 5), None);
        let queue = losses.before(51, || 13).unwrap();
        assert_eq!(queue, Loss { network: 2, queue: 8, kernel: 0 });
        losses.dropped(1);
        let kernel = losses.before(52, || 13).unwrap();
        assert_eq!(kernel.to_string(), "1 packet lost before here: the sender's kernel");
        assert_eq!(losses.before(53, || 13), None);
        let both = Loss { network: 1, queue: 2, kernel: 0 };
        let text = "1 packet lost here: network; 2 packets lost here: too slow an output";
        assert_eq!((both.to_string().as_str(), both.total()), (text, 3));
    }

    #[test]
    fn what_is_missing_at_the_beginning_is_told() {
        assert_eq!(Losses::default().before(4, || 0).map(|l| l.total()), Some(3));
        // A packet without a number tells nothing.
        assert_eq!(Losses::default().before(0, || 0), None);
    }

    #[test]
    fn numbers_have_32_bits() {
        let mut losses = Losses { number: u32::MAX - 1, ..Losses::default() };
        assert_eq!(losses.before(u32::MAX, || 0), None);
        assert_eq!(losses.before(2, || 0).map(|l| l.total()), Some(2));
        // Late.
        assert_eq!(losses.before(0, || 0), None);
        assert_eq!(losses.before(4, || 0).map(|l| l.total()), Some(1));
    }
}
