use rpcap_proto::wire::{PACKET_HEADER_LEN, PacketHeader, Reader};

/// Bytes before each packet: whose it is, and its header.
const HEAD: usize = 4 + PACKET_HEADER_LEN;

/// Packets of many streams on their way to an output, end to end in one buffer.
#[derive(Debug, Default)]
pub struct Batch {
    bytes: Vec<u8>,
}

impl Batch {
    /// An empty batch in a buffer that is used again.
    pub(super) fn reusing(mut bytes: Vec<u8>) -> Self {
        bytes.clear();
        Self { bytes }
    }

    /// The buffer.
    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// Adds a packet.
    #[inline]
    pub(super) fn push(&mut self, stream: u32, header: &PacketHeader, data: &[u8]) {
        // The data's own length: the packets are found again by it.
        let header = PacketHeader { caplen: data.len() as u32, ..*header };
        self.bytes.extend_from_slice(&stream.to_be_bytes());
        self.bytes.extend_from_slice(&header.to_bytes());
        self.bytes.extend_from_slice(data);
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Bytes in it.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Bytes that it occupies.
    pub(super) fn room(&self) -> usize {
        self.bytes.capacity()
    }

    /// The packets, in the order in which they came.
    pub fn iter(&self) -> impl Iterator<Item = (u32, PacketHeader, &[u8])> {
        let mut rest = self.bytes.as_slice();
        std::iter::from_fn(move || {
            let (head, tail) = rest.split_at_checked(HEAD)?;
            let mut r = Reader::new(head);
            let stream = r.u32().ok()?;
            let header = PacketHeader::read(&mut r).ok()?;
            let (data, tail) = tail.split_at_checked(header.caplen as usize)?;
            rest = tail;
            Some((stream, header, data))
        })
    }
}
