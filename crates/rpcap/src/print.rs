//! STUB
use std::fmt;
/// STUB
pub fn line(out: &mut impl fmt::Write, linktype: u32, secs: u64, nanos: u32, len: u32, data: &[u8]) -> fmt::Result {
    write!(out, "{secs}.{nanos:09} link {linktype} len {len} caplen {}", data.len())
}
