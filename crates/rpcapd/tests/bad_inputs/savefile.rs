//! Savefiles for the daemon to replay.

use std::time::Duration;

/// A packet of a savefile. The first byte of its data is its number, the first being 0.
pub(crate) struct Packet {
    /// When it was captured, after the first.
    pub(crate) at: Duration,
    pub(crate) data: Vec<u8>,
}

/// Packets of these sizes, captured `gap` after each other.
pub(crate) fn packets(sizes: impl IntoIterator<Item = usize>, gap: Duration) -> Vec<Packet> {
    (0u32..)
        .zip(sizes)
        .map(|(i, size)| Packet { at: gap * i, data: (i..).map(|n| n as u8).take(size).collect() })
        .collect()
}

/// Packets of 60 bytes and more, all captured at the same time: a replay gives them out at once.
pub(crate) fn burst(count: usize) -> Vec<Packet> {
    packets((0..count).map(|i| 60 + i % 1000), Duration::ZERO)
}

/// Packets of 100 bytes that come one by one, one in 10 ms.
pub(crate) fn trickle(count: usize) -> Vec<Packet> {
    packets((0..count).map(|_| 100), Duration::from_millis(10))
}

/// The file: Ethernet, microseconds.
pub(crate) fn bytes(packets: &[Packet]) -> Vec<u8> {
    const FIRST_SECOND: u64 = 1_700_000_000;
    let mut out = Vec::new();
    for field in [0xa1b2_c3d4u32, 0x0004_0002, 0, 0, 262_144, 1] {
        out.extend_from_slice(&field.to_le_bytes());
    }
    for packet in packets {
        let secs = (FIRST_SECOND + packet.at.as_secs()) as u32;
        let len = packet.data.len() as u32;
        for field in [secs, packet.at.subsec_micros(), len, len] {
            out.extend_from_slice(&field.to_le_bytes());
        }
        out.extend_from_slice(&packet.data);
    }
    out
}
