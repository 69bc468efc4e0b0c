//! What goes to a data connection at a time.

/// Most datagrams in a run: what Linux takes in one send with `UDP_SEGMENT`.
pub const RUN_DATAGRAMS: usize = 64;

/// Most bytes in a run: what UDP carries over IPv4, all datagrams of the run together.
pub const RUN_BYTES: usize = 65_507;

/// Datagrams end to end, each with the bytes that follow its UDP header; or, as a single one, a
/// piece of a stream.
///
/// Bytes are added to the open datagram, and [`Self::close`] ends it. Only closed ones are in
/// [`Self::runs`] and [`Self::datagram`].
#[derive(Debug, Default)]
pub struct Batch {
    bytes: Vec<u8>,
    closed: Vec<Closed>,
}

/// A datagram that is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Closed {
    /// Where it ends among the batch's bytes.
    end: usize,
    packets: u32,
    continues: bool,
}

impl Batch {
    /// With memory for so much; beyond it, it grows.
    pub fn with_capacity(bytes: usize, datagrams: usize) -> Self {
        Self { bytes: Vec::with_capacity(bytes), closed: Vec::with_capacity(datagrams) }
    }

    /// Bytes and datagrams that it holds without growing.
    pub fn capacity(&self) -> (usize, usize) {
        (self.bytes.capacity(), self.closed.capacity())
    }

    /// All bytes, those of the open datagram last.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// How many bytes there are.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// How many datagrams are closed.
    pub fn datagrams(&self) -> usize {
        self.closed.len()
    }

    /// One of the closed datagrams.
    pub fn datagram(&self, at: usize) -> Option<Datagram<'_>> {
        let Closed { end, packets, continues } = *self.closed.get(at)?;
        Some(Datagram { bytes: &self.bytes[start(&self.closed, at)..end], packets, continues })
    }

    /// The closed datagrams, in as few sends as can be.
    pub fn runs(&self) -> Runs<'_> {
        self.runs_from(0)
    }

    /// The same without the first ones, which were sent.
    pub fn runs_from(&self, datagram: usize) -> Runs<'_> {
        Runs { bytes: &self.bytes, closed: &self.closed, next: datagram }
    }

    /// How many packets end in the closed datagrams.
    pub fn packets(&self) -> u64 {
        self.closed.iter().map(|c| u64::from(c.packets)).sum()
    }

    /// Adds to the open datagram.
    #[inline]
    pub fn extend(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Ends the open datagram, in which so many packets end and the last one may go on.
    #[inline]
    pub fn close(&mut self, packets: u32, continues: bool) {
        self.closed.push(Closed { end: self.bytes.len(), packets, continues });
    }

    /// Bytes of the open datagram that were added before.
    pub(crate) fn patch(&mut self, at: usize, bytes: &[u8]) {
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
    }

    /// All bytes from this place on.
    pub(crate) fn tail_mut(&mut self, at: usize) -> &mut [u8] {
        &mut self.bytes[at..]
    }

    /// Forgets everything, and keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.closed.clear();
    }
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

/// Where a datagram of a batch starts.
fn start(closed: &[Closed], at: usize) -> usize {
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
