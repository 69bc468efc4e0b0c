//! What a device's packets start with, by number.

/// The number that capture files use for a link type that a daemon told.
///
/// Daemons tell their system's own `DLT_` number. Most are the same everywhere and in files; the
/// old ones that are not are translated as Linux and Windows number them.
pub fn for_files(dlt: u32) -> u32 {
    match dlt {
        11 => 100, // ATM RFC 1483
        12 => 101, // raw IP
        15 => 102, // SLIP, BSD/OS
        16 => 103, // PPP, BSD/OS
        18 => 246, // pfsync
        same => same,
    }
}

/// Name of a link type as libpcap gives it, where it is a common one.
pub fn name(dlt: u32) -> Option<&'static str> {
    Some(match dlt {
        0 => "NULL",
        1 => "EN10MB",
        12 | 101 => "RAW",
        105 => "IEEE802_11",
        113 => "LINUX_SLL",
        127 => "IEEE802_11_RADIO",
        228 => "IPV4",
        229 => "IPV6",
        276 => "LINUX_SLL2",
        _ => return None,
    })
}
