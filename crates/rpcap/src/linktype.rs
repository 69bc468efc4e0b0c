//! What a device's packets start with, by number.

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
