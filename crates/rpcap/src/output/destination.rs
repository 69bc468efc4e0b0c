use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use crate::text::harmless;

/// The network that VXLAN packets are of unless it is said.
const VNI: u32 = 1;
/// The longest name of an interface (Linux: IFNAMSIZ, without the zero at its end).
const LONGEST_INTERFACE: usize = 15;

/// The place that packets go to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Destination {
    /// Files in this directory.
    Directory(PathBuf),
    /// Standard output, as one pcapng stream.
    StandardOutput,
    /// A virtual network interface of this name, which others capture from.
    Interface(String),
    /// Whoever connects here, each with a savefile of its own.
    PcapOverIp(SocketAddr),
    /// A program that waits for a savefile there: HOST:PORT.
    PcapOverIpConnect(String),
    /// A named pipe, as one pcapng stream for whoever reads it.
    Pipe(PathBuf),
    /// The standard input of a command, which a shell starts.
    Exec(String),
    /// A host that takes mirrored traffic, as VXLAN (RFC 7348).
    Vxlan {
        /// HOST or HOST:PORT.
        host: String,
        /// The network's number, 24 bits.
        vni: u32,
    },
}

impl Destination {
    /// Whether packets are kept in files that are complete some time.
    pub fn has_files(&self) -> bool {
        matches!(self, Self::Directory(_))
    }

    /// Whether it is a savefile that others read along.
    pub fn is_stream(&self) -> bool {
        use Destination::{Exec, PcapOverIp, PcapOverIpConnect, Pipe};
        matches!(self, PcapOverIp(_) | PcapOverIpConnect(_) | Pipe(_) | Exec(_))
    }
}

impl FromStr for Destination {
    type Err = String;

    /// KIND:PLACE, or `-` for standard output.
    fn from_str(text: &str) -> Result<Self, String> {
        if text == "-" {
            return Ok(Self::StandardOutput);
        }
        let kinds = "directory:DIR, interface:NAME, pcap-over-ip:ADDRESS:PORT, \
                     pcap-over-ip-connect:HOST:PORT, pipe:PATH, exec:COMMAND, vxlan:HOST[,vni=N] or -";
        let (kind, place) = text.split_once(':').unwrap_or((text, ""));
        if place.is_empty() {
            return Err(format!("{} is none of {kinds}", harmless(text.as_bytes())));
        }
        match kind {
            "directory" => Ok(Self::Directory(place.into())),
            "interface" => interface(place).map(Self::Interface),
            "pcap-over-ip" => match place.parse() {
                Ok(address) => Ok(Self::PcapOverIp(address)),
                Err(_) => {
                    Err("pcap-over-ip wants ADDRESS:PORT, such as 127.0.0.1:57012".to_owned())
                }
            },
            "pcap-over-ip-connect" => match port_of(place) {
                Some(_) => Ok(Self::PcapOverIpConnect(place.to_owned())),
                None => Err("pcap-over-ip-connect wants HOST:PORT".to_owned()),
            },
            "pipe" => Ok(Self::Pipe(place.into())),
            "exec" => Ok(Self::Exec(place.to_owned())),
            "vxlan" => vxlan(place),
            _ => Err(format!("{} is none of {kinds}", harmless(kind.as_bytes()))),
        }
    }
}

fn interface(name: &str) -> Result<String, String> {
    let fits = |c: char| c.is_ascii_graphic() && !matches!(c, '/' | ':');
    if name.len() > LONGEST_INTERFACE || !name.chars().all(fits) || matches!(name, "." | "..") {
        return Err(format!(
            "an interface's name has at most {LONGEST_INTERFACE} plain characters"
        ));
    }
    Ok(name.to_owned())
}

fn vxlan(place: &str) -> Result<Destination, String> {
    let (host, vni) = match place.split_once(',') {
        None => (place, VNI),
        Some((host, option)) => {
            let vni = option.strip_prefix("vni=").and_then(|n| n.parse().ok());
            (host, vni.filter(|n| *n < 1 << 24).ok_or("vni=N is wanted, N below 16777216")?)
        }
    };
    if host.is_empty() {
        return Err("vxlan wants HOST, HOST:PORT, or either with ,vni=N".to_owned());
    }
    Ok(Destination::Vxlan { host: host.to_owned(), vni })
}

/// The port of HOST:PORT or [HOST]:PORT.
fn port_of(place: &str) -> Option<u16> {
    let (host, port) = place.rsplit_once(':')?;
    let bracketed = host.starts_with('[') && host.ends_with(']');
    let port = port.parse().ok()?;
    (!host.is_empty() && (bracketed || !host.contains(':')) && port > 0).then_some(port)
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(path) => path.display().fmt(f),
            Self::StandardOutput => f.write_str("standard output"),
            Self::Interface(name) => write!(f, "interface:{name}"),
            Self::PcapOverIp(address) => write!(f, "pcap-over-ip:{address}"),
            Self::PcapOverIpConnect(place) => write!(f, "pcap-over-ip-connect:{place}"),
            Self::Pipe(path) => write!(f, "pipe:{}", path.display()),
            Self::Exec(command) => write!(f, "exec:{}", harmless(command.as_bytes())),
            Self::Vxlan { host, vni } => write!(f, "vxlan:{host},vni={vni}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_what_they_say() {
        for text in [
            "interface:rpcap0",
            "pcap-over-ip:127.0.0.1:57012",
            "pcap-over-ip:[::1]:57012",
            "pcap-over-ip-connect:viewer.example:57012",
            "pipe:/run/rpcap/live",
            "exec:zeek -r - local",
            "vxlan:192.0.2.1,vni=42",
        ] {
            assert_eq!(text.parse::<Destination>().unwrap().to_string(), text);
        }
        let vxlan = Destination::Vxlan { host: "ids".to_owned(), vni: VNI };
        assert_eq!("vxlan:ids".parse(), Ok(vxlan));
        assert_eq!("-".parse(), Ok(Destination::StandardOutput));
        assert_eq!("directory:x".parse(), Ok(Destination::Directory("x".into())));
    }

    #[test]
    fn what_is_no_place_is_told() {
        for text in [
            "",
            "-x",
            "file",
            "pipe:",
            "tcp:127.0.0.1:1",
            "interface:a/b",
            "interface:sixteen-letters-",
            "pcap-over-ip:localhost:1",
            "pcap-over-ip-connect:host",
            "pcap-over-ip-connect:::1:2",
            "vxlan:,vni=1",
            "vxlan:h,vni=16777216",
            "vxlan:h,id=1",
        ] {
            assert!(text.parse::<Destination>().is_err_and(|e| !e.is_empty()), "{text}");
        }
    }
}
