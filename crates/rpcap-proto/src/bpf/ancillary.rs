/// A fact about a packet that is not in its bytes, read by an absolute load from a negative offset.
///
/// Linux sets aside the offsets from [`Ancillary::BASE`] upwards (`SKF_AD_OFF` in
/// `<linux/filter.h>`). All that Linux knows are allowed: none tells a peer more than the packets
/// do, save the host's CPU and mark numbers. An offset in that range without a meaning is refused,
/// by Linux as well, because it would otherwise read as a packet that never matches.
///
/// Offsets relative to the network or link header (`SKF_NET_OFF`, `SKF_LL_OFF`) lie below the range
/// and are ordinary loads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ancillary {
    /// EtherType, host byte order
    Protocol,
    /// `PACKET_HOST`, `PACKET_OUTGOING` and so on
    PacketType,
    /// Interface index
    InterfaceIndex,
    /// Offset of the netlink attribute of type `X`, searched from offset `A`
    NetlinkAttribute,
    /// The same within the attribute at offset `A`
    NestedNetlinkAttribute,
    /// Socket or firewall mark
    Mark,
    /// Receive queue of the interface
    Queue,
    /// ARP hardware type of the interface
    HardwareType,
    /// Flow hash of the packet
    ReceiveHash,
    /// CPU that runs the filter
    Cpu,
    /// Not a load at all: `A ^= X`
    XorX,
    /// Tag control information of a VLAN tag that is kept beside the packet
    VlanTag,
    /// 1 if a VLAN tag is kept beside the packet
    VlanTagPresent,
    /// Offset of the payload after the transport header
    PayloadOffset,
    /// Random number
    Random,
    /// EtherType of a VLAN tag that is kept beside the packet
    VlanProtocol,
}

impl Ancillary {
    /// The lowest offset with a meaning of its own: -4096.
    pub const BASE: u32 = 0xffff_f000;

    /// In the order of their offsets, four apart.
    const ALL: [Ancillary; 16] = [
        Ancillary::Protocol,
        Ancillary::PacketType,
        Ancillary::InterfaceIndex,
        Ancillary::NetlinkAttribute,
        Ancillary::NestedNetlinkAttribute,
        Ancillary::Mark,
        Ancillary::Queue,
        Ancillary::HardwareType,
        Ancillary::ReceiveHash,
        Ancillary::Cpu,
        Ancillary::XorX,
        Ancillary::VlanTag,
        Ancillary::VlanTagPresent,
        Ancillary::PayloadOffset,
        Ancillary::Random,
        Ancillary::VlanProtocol,
    ];

    /// What an absolute load from offset `k` reads, unless it is the packet.
    pub fn at(k: u32) -> Option<Ancillary> {
        let offset = k.checked_sub(Ancillary::BASE)?;
        if !offset.is_multiple_of(4) {
            return None;
        }
        Ancillary::ALL.get(offset as usize / 4).copied()
    }

    /// The `k` of the load that reads this.
    pub fn offset(self) -> u32 {
        Ancillary::BASE + 4 * self as u32
    }

    /// The name that `tcpdump -d` prints between brackets.
    pub fn name(self) -> &'static str {
        match self {
            Ancillary::Protocol => "proto",
            Ancillary::PacketType => "type",
            Ancillary::InterfaceIndex => "ifidx",
            Ancillary::NetlinkAttribute => "nla",
            Ancillary::NestedNetlinkAttribute => "nlan",
            Ancillary::Mark => "mark",
            Ancillary::Queue => "queue",
            Ancillary::HardwareType => "hatype",
            Ancillary::ReceiveHash => "rxhash",
            Ancillary::Cpu => "cpu",
            Ancillary::XorX => "xor_x",
            Ancillary::VlanTag => "vlan_tci",
            Ancillary::VlanTagPresent => "vlanp",
            Ancillary::PayloadOffset => "poff",
            Ancillary::Random => "random",
            Ancillary::VlanProtocol => "vlan_tpid",
        }
    }
}
