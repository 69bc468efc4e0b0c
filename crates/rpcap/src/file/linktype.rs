/// The `LINKTYPE_` number for a `DLT_` number, as a savefile stores it.
///
/// The two agree but for the link types whose `DLT_` number depends on the system; savefiles use
/// numbers from 100 for those (<https://www.tcpdump.org/linktypes.html>). A server does not say what
/// system it runs on, so where two systems disagree the meaning that a current one gives it wins.
pub(super) fn from_dlt(dlt: u32) -> u32 {
    match dlt {
        // ATM with RFC 1483 headers
        11 => 100,
        // Raw IP; 14 on OpenBSD
        12 | 14 => 101,
        // SLIP and PPP of BSD/OS
        15 => 102,
        16 => 103,
        // pfsync; 18 on OpenBSD and macOS
        18 => 246,
        // Classical IP over ATM
        19 => 106,
        other => other,
    }
}

/// The `DLT_` number for a `LINKTYPE_` number, as libpcap has it on this system, for which it compiles filters.
pub(crate) fn to_dlt(linktype: u32) -> u32 {
    match linktype {
        100 => 11,
        101 if cfg!(target_os = "openbsd") => 14,
        101 => 12,
        102 => 15,
        103 => 16,
        106 => 19,
        other => other,
    }
}
