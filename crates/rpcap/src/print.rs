//! Packets for people to read, one line each.

mod address;
mod icmp;
mod link;
mod network;
mod tcp;
mod transport;

#[cfg(test)]
mod tests;

use std::fmt;

/// Writes a packet as one line in the manner of `tcpdump -n -S`, without a line break at the end:
///
/// ```text
/// 22:13:20.123456 IP 10.0.0.1.43210 > 10.0.0.2.80: Flags [S], seq 1000, win 64240, length 0
/// ```
///
/// `secs` and `nanos` are the time since 1970; the time of day is printed in UTC, in microseconds,
/// whatever zone either host is in. `len` is the length of the packet on the wire, `data` what was
/// captured of it, in bytes.
///
/// `linktype` is the number the server gave. Understood are Ethernet, Linux cooked capture, raw IP
/// and BSD loopback; within them VLAN tags, ARP, IPv4, IPv6, TCP, UDP and ICMP. Anything else is
/// named by its number.
///
/// Where the captured bytes end too early, the line ends in the name of the header that is cut, as
/// in `[|tcp]`. Lengths are those on the wire. No text from inside a packet is printed, so that a
/// packet cannot address the terminal.
///
/// Differences from tcpdump: VLAN tags are always shown; of protocols above TCP and UDP nothing is.
///
/// The only errors are those of `out`.
pub fn line(
    out: &mut impl fmt::Write,
    linktype: u32,
    secs: u64,
    nanos: u32,
    len: u32,
    data: &[u8],
) -> fmt::Result {
    time(out, secs, nanos)?;
    packet(out, linktype, len, data)
}

/// A line without the time.
pub(crate) fn packet(
    out: &mut impl fmt::Write,
    linktype: u32,
    len: u32,
    data: &[u8],
) -> fmt::Result {
    let missing = (len as usize).saturating_sub(data.len());
    link::print(out, linktype, Captured { data, missing })
}

/// The captured part of a packet, or of one layer in it.
#[derive(Clone, Copy)]
struct Captured<'a> {
    data: &'a [u8],
    /// Bytes that followed `data` on the wire
    missing: usize,
}

impl<'a> Captured<'a> {
    /// The same without the first `header` bytes, if there are as many.
    fn skip(self, header: usize) -> Option<Captured<'a>> {
        Some(Captured { data: self.data.get(header..)?, ..self })
    }

    /// Another part that ends where this one does.
    fn with(self, data: &'a [u8]) -> Captured<'a> {
        Captured { data, ..self }
    }

    /// Bytes on the wire.
    fn length(self) -> usize {
        self.data.len() + self.missing
    }
}

/// The time of day, and a space.
pub(crate) fn time(out: &mut impl fmt::Write, secs: u64, nanos: u32) -> fmt::Result {
    let secs = secs.saturating_add((nanos / 1_000_000_000).into());
    let (day, micros) = (secs % 86_400, nanos % 1_000_000_000 / 1000);
    let (hour, minute, second) = (day / 3600, day / 60 % 60, day % 60);
    write!(out, "{hour:02}:{minute:02}:{second:02}.{micros:06} ")
}
