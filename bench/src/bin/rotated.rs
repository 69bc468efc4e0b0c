//! Makes of a savefile what `rpcap listen` would have written: `rotated FILE DIRECTORY [--compress]`, a file for each hour.

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, UNIX_EPOCH};

use rpcap::file::read::{Event, Reader, Settings};
use rpcap::file::rotate::{Rotating, Rotation};
use rpcap::file::{Meta, Record};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [file, directory, flags @ ..] = &arguments[..] else {
        eprintln!("usage: rotated FILE DIRECTORY [--compress]");
        return ExitCode::from(2);
    };
    let rotation = Rotation {
        max_age: Some(Duration::from_secs(3600)),
        compress: flags.iter().any(|flag| flag == "--compress"),
        ..Rotation::default()
    };
    match rotate(Path::new(file), Path::new(directory), rotation) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("rotated: {error}");
            ExitCode::FAILURE
        }
    }
}

fn rotate(
    file: &Path,
    directory: &Path,
    rotation: Rotation,
) -> Result<(), Box<dyn std::error::Error>> {
    let mut reader = Reader::open(file, Settings::default())?;
    let mut writer = None;
    let mut ticked = 0;
    while let Some(event) = reader.advance()? {
        let (Event::Packet, Some(packet)) = (event, reader.packet()) else { continue };
        let (secs, nanos) = (packet.time / 1_000_000_000, (packet.time % 1_000_000_000) as u32);
        let now = UNIX_EPOCH + Duration::from_secs(secs);
        let (writer, source) = match &mut writer {
            Some(both) => both,
            None => {
                let mut new = Rotating::new(directory, "web1-eth0", rotation, now);
                let interface = "web1 eth0".to_owned();
                let linktype = packet.description.linktype;
                let source = new.add(&Meta { linktype, interface, ..Meta::default() })?;
                writer.insert((new, source))
            }
        };
        if secs > ticked {
            ticked = secs;
            writer.tick(now);
        }
        writer.write(
            *source,
            &Record { secs, nanos, len: packet.len, data: packet.data, ..Record::default() },
        );
    }
    if let Some((mut writer, _)) = writer {
        writer.finish();
    }
    Ok(())
}
