use std::io::{self, Write};

use capture::devices::Flags;
use rpcap::client::Client;
use rpcap::text::{harmless, harmless_json};
use rpcap_proto::wire::{Device, SockAddr};
use serde::Serialize;

use crate::cli::Devices;
use crate::exit::Failure;

/// A device for programs to read.
#[derive(Serialize)]
struct Row {
    name: String,
    description: Option<String>,
    loopback: bool,
    up: bool,
    running: bool,
    wireless: bool,
    /// `None` where it is unknown or means nothing.
    connected: Option<bool>,
    addresses: Vec<AddressRow>,
}

#[derive(Serialize)]
struct AddressRow {
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    netmask: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    broadcast: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    peer: Option<String>,
}

pub(crate) fn run(args: &Devices) -> anyhow::Result<()> {
    let mut client = super::connect(&args.daemon, &args.connect)?;
    let text = match args.json {
        true => json(&client.devices()?)?,
        false => table(&mut client)?,
    };
    client.close();
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::Output("standard output".to_owned(), e).into())
        }
        _ => Ok(()),
    }
}

/// The daemon's devices as a table.
pub(super) fn table(client: &mut Client) -> Result<String, rpcap::client::Error> {
    let devices = client.devices()?;
    let mut rows = vec![["DEVICE", "STATE", "ADDRESSES", "DESCRIPTION"].map(str::to_owned)];
    for d in &devices {
        let addresses: Vec<_> = d.addresses.iter().filter_map(|a| a.addr.as_ref()).collect();
        let addresses: Vec<_> = addresses.into_iter().map(address).collect();
        rows.push([
            harmless(&d.name),
            state(d.flags),
            addresses.join(" "),
            harmless(&d.description),
        ]);
    }
    let width = |column: usize| {
        let widths = rows.iter().map(|row| row[column].chars().count());
        widths.max().unwrap_or(0)
    };
    let (name, state, addresses) = (width(0), width(1), width(2));
    let mut text = String::new();
    for [a, b, c, d] in &rows {
        let line = format!("{a:name$}  {b:state$}  {c:addresses$}  {d}");
        text.push_str(line.trim_end());
        text.push('\n');
    }
    Ok(text)
}

fn json(devices: &[Device]) -> anyhow::Result<String> {
    let name = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let rows: Vec<_> = devices
        .iter()
        .map(|d| Row {
            name: name(&d.name),
            description: (!d.description.is_empty()).then(|| name(&d.description)),
            loopback: d.flags & Flags::LOOPBACK != 0,
            up: d.flags & Flags::UP != 0,
            running: d.flags & Flags::RUNNING != 0,
            wireless: d.flags & Flags::WIRELESS != 0,
            connected: match d.flags & Flags::CONNECTION_STATUS {
                Flags::CONNECTED => Some(true),
                Flags::DISCONNECTED => Some(false),
                _ => None,
            },
            addresses: d
                .addresses
                .iter()
                .map(|a| AddressRow {
                    address: a.addr.as_ref().map(address),
                    netmask: a.netmask.as_ref().map(address),
                    broadcast: a.broadcast.as_ref().map(address),
                    peer: a.peer.as_ref().map(address),
                })
                .collect(),
        })
        .collect();
    Ok(harmless_json(&serde_json::to_string_pretty(&rows)?) + "\n")
}

fn state(flags: u32) -> String {
    let mut words = Vec::new();
    words.push(if flags & Flags::UP != 0 { "up" } else { "down" });
    for (bit, word) in
        [(Flags::RUNNING, "running"), (Flags::LOOPBACK, "loopback"), (Flags::WIRELESS, "wireless")]
    {
        if flags & bit != 0 {
            words.push(word);
        }
    }
    match flags & Flags::CONNECTION_STATUS {
        Flags::CONNECTED => words.push("connected"),
        Flags::DISCONNECTED => words.push("disconnected"),
        _ => {}
    }
    words.join(",")
}

fn address(address: &SockAddr) -> String {
    match address {
        SockAddr::V4(addr) => addr.to_string(),
        SockAddr::V6 { addr, scope_id: 0, .. } => addr.to_string(),
        SockAddr::V6 { addr, scope_id, .. } => format!("{addr}%{scope_id}"),
        SockAddr::Mac { len, addr, .. } => {
            let bytes: Vec<_> =
                addr.iter().take((*len).into()).map(|b| format!("{b:02x}")).collect();
            bytes.join(":")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_harmless_on_a_terminal_and_says_the_same() {
        let name = "e\u{9b}2J\u{7f}\u{202e}\"\\\n0";
        let device = Device { name: name.into(), ..Device::default() };
        let text = json(&[device]).unwrap();
        assert!(text.contains(r#""name": "e\u009b2J\u007f\u202e\"\\\n0","#), "{text}");
        let rows: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(rows[0]["name"], name);
    }
}
