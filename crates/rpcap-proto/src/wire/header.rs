use super::{Malformed, Reader};

/// The only protocol version there is.
pub const VERSION: u8 = 0;

/// Bytes of the header that starts every message (docs/protocol.md, "Header").
pub const HEADER_LEN: usize = 8;

/// What a message is. Unknown types survive, so that they can be answered by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names are the protocol's own")]
pub enum MessageType {
    Error,
    FindAllIfRequest,
    OpenRequest,
    StartCaptureRequest,
    UpdateFilterRequest,
    Close,
    Packet,
    AuthRequest,
    StatsRequest,
    EndCaptureRequest,
    SetSamplingRequest,
    /// ExtraHop's packed datagrams; never on a control connection.
    UdpStream,
    FindAllIfReply,
    OpenReply,
    StartCaptureReply,
    UpdateFilterReply,
    AuthReply,
    StatsReply,
    EndCaptureReply,
    SetSamplingReply,
    Unknown(u8),
}

/// Every named type with its number and the name that peers' diagnostics use.
const TYPES: [(MessageType, u8, &str); 20] = {
    use MessageType::*;
    [
        (Error, 0x01, "RPCAP_MSG_ERROR"),
        (FindAllIfRequest, 0x02, "RPCAP_MSG_FINDALLIF_REQ"),
        (OpenRequest, 0x03, "RPCAP_MSG_OPEN_REQ"),
        (StartCaptureRequest, 0x04, "RPCAP_MSG_STARTCAP_REQ"),
        (UpdateFilterRequest, 0x05, "RPCAP_MSG_UPDATEFILTER_REQ"),
        (Close, 0x06, "RPCAP_MSG_CLOSE"),
        (Packet, 0x07, "RPCAP_MSG_PACKET"),
        (AuthRequest, 0x08, "RPCAP_MSG_AUTH_REQ"),
        (StatsRequest, 0x09, "RPCAP_MSG_STATS_REQ"),
        (EndCaptureRequest, 0x0a, "RPCAP_MSG_ENDCAP_REQ"),
        (SetSamplingRequest, 0x0b, "RPCAP_MSG_SETSAMPLING_REQ"),
        (UdpStream, 0x6e, "RPCAP_MSG_UDPSTR_PACKET"),
        (FindAllIfReply, 0x82, "RPCAP_MSG_FINDALLIF_REPLY"),
        (OpenReply, 0x83, "RPCAP_MSG_OPEN_REPLY"),
        (StartCaptureReply, 0x84, "RPCAP_MSG_STARTCAP_REPLY"),
        (UpdateFilterReply, 0x85, "RPCAP_MSG_UPDATEFILTER_REPLY"),
        (AuthReply, 0x88, "RPCAP_MSG_AUTH_REPLY"),
        (StatsReply, 0x89, "RPCAP_MSG_STATS_REPLY"),
        (EndCaptureReply, 0x8a, "RPCAP_MSG_ENDCAP_REPLY"),
        (SetSamplingReply, 0x8b, "RPCAP_MSG_SETSAMPLING_REPLY"),
    ]
};

impl MessageType {
    /// The type's number on the wire.
    pub fn number(self) -> u8 {
        match self {
            Self::Unknown(n) => n,
            named => TYPES.iter().find(|t| t.0 == named).map_or(0, |t| t.1),
        }
    }

    /// The name of the protocol's constant, `None` for a type that has none.
    pub fn name(self) -> Option<&'static str> {
        TYPES.iter().find(|t| t.0 == self).map(|t| t.2)
    }

    /// Whether only a daemon sends it: replies and packets.
    pub fn is_from_daemon(self) -> bool {
        matches!(self, Self::Packet | Self::UdpStream)
            || self.number() & 0x80 != 0 && self.name().is_some()
    }
}

impl From<u8> for MessageType {
    fn from(number: u8) -> Self {
        TYPES.iter().find(|t| t.1 == number).map_or(Self::Unknown(number), |t| t.0)
    }
}

/// The eight bytes before every payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Protocol version, [`VERSION`] unless the peer is not one of ours.
    pub version: u8,
    /// What follows.
    pub kind: MessageType,
    /// Error code in an error, number of devices in a device list, otherwise 0 and ignored.
    pub value: u16,
    /// Bytes of payload that follow, as the peer claims.
    pub len: u32,
}

impl Header {
    /// Reads the header; whether its version and type are acceptable is for the session to say.
    pub fn read(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self { version: r.u8()?, kind: r.u8()?.into(), value: r.u16()?, len: r.u32()? })
    }

    /// The header's bytes.
    pub fn to_bytes(self) -> [u8; HEADER_LEN] {
        let [v0, v1] = self.value.to_be_bytes();
        let [l0, l1, l2, l3] = self.len.to_be_bytes();
        [self.version, self.kind.number(), v0, v1, l0, l1, l2, l3]
    }
}

/// Appends a message of version 0 whose payload is what `body` appends.
///
/// A payload cannot pass 4 GiB in practice; if it did, the length would saturate.
pub fn write_message(
    out: &mut Vec<u8>,
    kind: MessageType,
    value: u16,
    body: impl FnOnce(&mut Vec<u8>),
) {
    let at = out.len();
    out.extend_from_slice(&[0; HEADER_LEN]);
    body(out);
    let len = u32::try_from(out.len() - at - HEADER_LEN).unwrap_or(u32::MAX);
    let header = Header { version: VERSION, kind, value, len }.to_bytes();
    out[at..at + HEADER_LEN].copy_from_slice(&header);
}

/// Appends a message without payload.
pub fn write_empty(out: &mut Vec<u8>, kind: MessageType) {
    write_message(out, kind, 0, |_| {});
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_maps_back() {
        for n in 0..=255u8 {
            assert_eq!(MessageType::from(n).number(), n);
        }
    }

    #[test]
    fn replies_and_packets_come_from_the_daemon() {
        assert!(MessageType::OpenReply.is_from_daemon());
        assert!(MessageType::Packet.is_from_daemon());
        assert!(!MessageType::Close.is_from_daemon());
        assert!(!MessageType::Unknown(0xff).is_from_daemon());
    }
}
