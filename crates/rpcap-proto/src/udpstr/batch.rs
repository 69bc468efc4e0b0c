/// Most datagrams in a run: what Linux takes in one send with `UDP_SEGMENT`.
pub const RUN_DATAGRAMS: usize = 64;

/// Most bytes in a run: what UDP carries over IPv4, all datagrams of the run together.
pub const RUN_BYTES: usize = 65_507;

/// A datagram that is closed, in a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Closed {
    /// Where it ends among the batch's bytes.
    pub(super) end: usize,
    pub(super) packets: u32,
    pub(super) continues: bool,
}

/// A datagram to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Datagram<'a> {
    /// All of it.
    pub bytes: &'a [u8],
    /// How many packets end in it.
    pub packets: u32,
    /// Whether its last packet goes on in the next datagram.
    ///
    /// If this one is not sent, its own packets are lost, and with this also the first packet
    /// that ends after it.
    pub continues: bool,
}

/// Datagrams of one size, end to end, the last of which may be shorter: one send with
/// `UDP_SEGMENT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run<'a> {
    /// The size.
    pub segment_size: usize,
    /// All of them.
    pub bytes: &'a [u8],
    /// The place of the first one in the batch.
    pub first: usize,
    /// How many there are.
    pub datagrams: usize,
    /// How many packets end in them.
    pub packets: u64,
}

/// The runs of a batch, as long as they can be.
#[derive(Clone, Debug)]
pub struct Runs<'a> {
    bytes: &'a [u8],
    closed: &'a [Closed],
    next: usize,
}

impl<'a> Runs<'a> {
    pub(super) fn new(bytes: &'a [u8], closed: &'a [Closed], first: usize) -> Self {
        Self { bytes, closed, next: first }
    }
}

/// Where a datagram of a batch starts.
pub(super) fn start(closed: &[Closed], at: usize) -> usize {
    at.checked_sub(1).and_then(|before| closed.get(before)).map_or(0, |before| before.end)
}

impl<'a> Iterator for Runs<'a> {
    type Item = Run<'a>;

    fn next(&mut self) -> Option<Run<'a>> {
        let first = self.next;
        let head = self.closed.get(first)?;
        let begin = start(self.closed, first);
        let segment_size = head.end - begin;
        let (mut end, mut packets) = (head.end, u64::from(head.packets));
        self.next += 1;
        while let Some(more) = self.closed.get(self.next) {
            let size = more.end - end;
            if size > segment_size
                || more.end - begin > RUN_BYTES
                || self.next - first == RUN_DATAGRAMS
            {
                break;
            }
            end = more.end;
            packets += u64::from(more.packets);
            self.next += 1;
            if size < segment_size {
                break;
            }
        }
        let bytes = &self.bytes[begin..end];
        Some(Run { segment_size, bytes, first, datagrams: self.next - first, packets })
    }
}
