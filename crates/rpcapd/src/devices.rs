//! The devices that clients may see and open: this host's interfaces and savefiles that stand in
//! for one.

use std::path::Path;

use capture::devices as host;
use rpcap_proto::wire;

use crate::cli::Replay;

/// What a device that may be opened is.
#[derive(Debug, PartialEq, Eq)]
pub enum Kind<'a> {
    /// One of this host's interfaces.
    Interface,
    /// A savefile.
    Savefile(&'a Path),
}

/// The devices in the order that clients see them.
pub fn list(replays: &[Replay]) -> Result<Vec<wire::Device>, capture::Error> {
    // Flags as libpcap has them: up, running, connected.
    const FLAGS: u32 = 0x2 | 0x4 | 0x10;
    let savefiles = replays.iter().map(|r| wire::Device {
        name: r.name.clone().into_bytes(),
        description: format!("Savefile {}", r.file.display()).into_bytes(),
        flags: FLAGS,
        addresses: Vec::new(),
    });
    let interfaces = match host::list() {
        Ok(devices) => devices,
        // Somebody who offers savefiles only can do so anywhere.
        Err(_) if !replays.is_empty() => Vec::new(),
        Err(e) => return Err(e),
    };
    Ok(savefiles.chain(interfaces.into_iter().map(on_the_wire)).collect())
}

/// The listed device of this name: a session can open nothing else.
pub fn find<'a>(name: &str, replays: &'a [Replay]) -> Result<Option<Kind<'a>>, capture::Error> {
    if let Some(replay) = replays.iter().find(|r| r.name == name) {
        return Ok(Some(Kind::Savefile(&replay.file)));
    }
    Ok(host::list()?.iter().any(|d| d.name == name).then_some(Kind::Interface))
}

fn on_the_wire(device: host::Device) -> wire::Device {
    wire::Device {
        name: device.name.into_bytes(),
        description: device.description.unwrap_or_default().into_bytes(),
        flags: device.flags.0,
        addresses: device
            .addresses
            .into_iter()
            .map(|a| wire::Address {
                addr: Some(sockaddr(a.addr)),
                netmask: a.netmask.map(sockaddr),
                broadcast: a.broadcast.map(sockaddr),
                peer: a.peer.map(sockaddr),
            })
            .collect(),
    }
}

fn sockaddr(address: host::Sockaddr) -> wire::SockAddr {
    match address {
        host::Sockaddr::V4(addr) => wire::SockAddr::V4(addr),
        host::Sockaddr::V6 { addr, scope_id, flowinfo } => {
            wire::SockAddr::V6 { addr, flow_info: flowinfo, scope_id }
        }
        host::Sockaddr::Mac { ifindex, hatype, addr, len, .. } => {
            wire::SockAddr::Mac { if_index: ifindex, hardware_type: hatype, len, addr }
        }
    }
}
