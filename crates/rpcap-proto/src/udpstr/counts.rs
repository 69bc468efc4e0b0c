/// What became of the datagrams of a stream, and of the packets in them.
///
/// received = taken + duplicates + late + malformed + those still held for a gap before them.
/// Every packet whose header was in a datagram that was taken is delivered or broken, but for the
/// one that still goes on; the others show as gaps between the packets' numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Datagrams that came.
    pub received: u64,
    /// Of those, the ones that were read from beginning to end.
    pub taken: u64,
    /// Numbers that were passed over because no datagram that can be read had them in time.
    pub lost: u64,
    /// Datagrams that came a second time.
    pub duplicates: u64,
    /// Datagrams that came after their number was passed over, or with a number from nowhere.
    pub late: u64,
    /// Datagrams that came after one with a higher number, but in time.
    pub reordered: u64,
    /// Datagrams that are not what they claim to be, or contradict those before them. Nothing in
    /// them is used.
    pub malformed: u64,
    /// Packets delivered.
    pub packets: u64,
    /// Packets whose header came but whose last byte did not.
    pub broken: u64,
}
