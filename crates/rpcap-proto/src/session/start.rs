use core::time::Duration;

use crate::bpf::Program;
use crate::wire::{Malformed, SNAPLEN_MAX, Sampling, StartFlags, StartRequest};

/// Longest time that packets may be gathered, whatever a client asks.
const READ_TIMEOUT_MAX: Duration = Duration::from_secs(60);

/// Who opens the data connection, and to where. The address is always the control peer's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DataChannel {
    /// The daemon listens, the client connects.
    TcpListen,
    /// The daemon connects to this port of the client.
    TcpConnect(u16),
    /// The daemon sends datagrams to this port of the client.
    Udp(u16),
}

/// Which way a packet goes, seen from the host that captures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Direction {
    /// Either way.
    #[default]
    Both,
    /// Into the host.
    In,
    /// Out of the host.
    Out,
}

/// A capture to start: a STARTCAP whose every field was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start {
    /// The device that was opened.
    pub device: String,
    /// Most bytes of a packet, 1 to [`SNAPLEN_MAX`].
    pub snaplen: u32,
    /// How long packets may be gathered, 1 ms to a minute.
    pub read_timeout: Duration,
    /// Whether to take packets that are not for this host.
    pub promisc: bool,
    /// Which way.
    pub direction: Direction,
    /// The way to the client.
    pub data: DataChannel,
    /// The request's flags as they came: extensions are offered in its unused bits.
    pub flags: StartFlags,
    /// What to capture.
    pub filter: Program,
    /// What to leave out of it.
    pub sampling: Sampling,
}

/// Why a STARTCAP cannot be carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadStart {
    #[error(transparent)]
    Malformed(#[from] Malformed),
    #[error("The filter is not valid: {0}")]
    Filter(#[from] crate::bpf::Invalid),
    #[error("The data connection needs the client's port, which is 0")]
    NoPort,
}

impl Start {
    /// Judges a request. In active mode the daemon opens the data connection in any case.
    pub(super) fn from_payload(
        payload: &[u8],
        device: &str,
        sampling: Sampling,
        active: bool,
    ) -> Result<Self, BadStart> {
        let request = StartRequest::read(payload)?;
        let flags = request.flags;
        let data = if flags.contains(StartFlags::DATAGRAM) {
            DataChannel::Udp(request.port)
        } else if active || flags.contains(StartFlags::SERVER_OPEN) {
            DataChannel::TcpConnect(request.port)
        } else {
            DataChannel::TcpListen
        };
        if matches!(data, DataChannel::Udp(0) | DataChannel::TcpConnect(0)) {
            return Err(BadStart::NoPort);
        }
        let direction =
            match (flags.contains(StartFlags::INBOUND), flags.contains(StartFlags::OUTBOUND)) {
                (true, false) => Direction::In,
                (false, true) => Direction::Out,
                _ => Direction::Both,
            };
        Ok(Self {
            device: device.to_owned(),
            // 0 means "all of it", as libpcap has it.
            snaplen: match request.snaplen {
                1..=SNAPLEN_MAX => request.snaplen,
                _ => SNAPLEN_MAX,
            },
            read_timeout: Duration::from_millis(request.read_timeout_ms.max(1).into())
                .min(READ_TIMEOUT_MAX),
            promisc: flags.contains(StartFlags::PROMISC),
            direction,
            data,
            flags,
            filter: Program::new(request.filter.instructions)?,
            sampling,
        })
    }
}
