mod bytes;
mod tools;

use super::*;
use crate::clock::Offset;

const CLOCK: Option<Offset> = Some(Offset { nanos: -1_234_567, error: 50_000 });

fn meta() -> Meta {
    Meta {
        linktype: 1,
        snaplen: 262_144,
        interface: "eth0".into(),
        description: Some("uplink".into()),
        filter: Some("tcp port 80".into()),
        ..Meta::default()
    }
}

fn savefile(format: Format, meta: &Meta, records: &[Record<'_>], summary: &Summary) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new(), format, meta).unwrap();
    for record in records {
        writer.write(record).unwrap();
    }
    writer.finish(summary).unwrap()
}
