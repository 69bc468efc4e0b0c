//! One large packet of TCP becomes the segments that the card makes of it.

use rpcap_proto::wire::Checksum;

use super::layout::{Layout, fill_ipv4, put, word};
use crate::file::Record;

/// Where the flags of TCP are.
const FLAGS: usize = 13;
const FIN: u8 = 0x01;
const PSH: u8 = 0x08;
const CWR: u8 = 0x80;

/// Gives on the segments of a packet and says how many; `None`, and nothing, if it cannot be
/// split: a part of it is missing, or it is damaged and segments would look sound.
pub(super) fn split(
    record: &Record<'_>,
    layout: &Layout,
    mtu: usize,
    buffer: &mut Vec<u8>,
    to: &mut impl FnMut(&Record<'_>),
) -> Option<u64> {
    let data = record.data;
    if !layout.is_complete(record) || !(layout.wants_checksum(record) || layout.is_sound(data)) {
        return None;
    }
    let header = usize::from(data.get(layout.transport + 12)? >> 4) * 4;
    let payload_at = layout.transport + header;
    let payload = data.get(payload_at..layout.end).filter(|p| header >= 20 && !p.is_empty())?;
    let room = mtu.checked_sub(payload_at - layout.ip).filter(|room| *room > 0)?;
    let sequence = data.get(layout.transport + 4..layout.transport + 8)?.try_into().ok()?;
    let sequence = u32::from_be_bytes(sequence);
    let flags = *data.get(layout.transport + FLAGS)?;
    let id = word(data, layout.ip + 4)?;
    let last = payload.len().div_ceil(room) - 1;
    for (n, part) in payload.chunks(room).enumerate() {
        buffer.clear();
        buffer.extend_from_slice(data.get(..payload_at)?);
        buffer.extend_from_slice(part);
        let segment = Layout { end: buffer.len(), ..*layout };
        let offset = (n * room) as u32;
        set(buffer, layout.transport + 4, &sequence.wrapping_add(offset).to_be_bytes());
        let mut flags = flags;
        if n > 0 {
            flags &= !CWR;
        }
        if n < last {
            flags &= !(FIN | PSH);
        }
        set(buffer, layout.transport + FLAGS, &[flags]);
        if layout.version == 4 {
            put(buffer, layout.ip + 2, segment.ip_length() as u16);
            put(buffer, layout.ip + 4, id.wrapping_add(n as u16));
            fill_ipv4(buffer, layout.ip, layout.transport);
        } else {
            put(buffer, layout.ip + 4, (segment.ip_length() - 40) as u16);
        }
        segment.fill(buffer);
        to(&Record {
            len: buffer.len() as u32,
            data: buffer,
            checksum: Checksum::Ready,
            loss: record.loss.filter(|_| n == 0),
            ..*record
        });
    }
    Some(last as u64 + 1)
}

fn set(data: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(place) = data.get_mut(at..at + bytes.len()) {
        place.copy_from_slice(bytes);
    }
}
