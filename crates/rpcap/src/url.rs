//! Where a device is: `rpcap://HOST[:PORT]/DEVICE`, or `rpcaps://` with TLS.

use std::fmt;
use std::str::FromStr;

use rpcap_proto::wire::DEVICE_NAME_MAX;

/// The port that daemons listen on unless told otherwise.
pub const DEFAULT_PORT: u16 = 2002;

/// A daemon, by name or address.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// Host name, IPv4 address, or IPv6 address without its brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// A daemon, and perhaps one of its devices.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Url {
    /// Whether the connections are encrypted (TLS).
    pub tls: bool,
    /// The daemon.
    pub endpoint: Endpoint,
    /// The device, if one is named.
    pub device: Option<String>,
}

/// Why a text names no daemon.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// Another scheme.
    #[error("`{0}://` is not rpcap:// or rpcaps://")]
    Scheme(String),
    /// Nothing before the port or the device.
    #[error("no host is named; write rpcap://HOST[:PORT]/DEVICE")]
    NoHost,
    /// A host with characters that no host has.
    #[error("`{0}` is not a host name or address")]
    Host(String),
    /// An address of IPv6 that cannot be told from its port.
    #[error("an IPv6 address goes into brackets: [{0}]")]
    Brackets(String),
    /// A port that is none.
    #[error("`{0}` is not a port; ports are 1 to 65535")]
    Port(String),
    /// A percent sign that starts no escape.
    #[error("`%` in a device name is written %25, and escapes are % and two hexadecimal digits")]
    Escape,
    /// A device name that no daemon accepts.
    #[error("device names are UTF-8 without NUL, of at most {DEVICE_NAME_MAX} bytes")]
    Device,
}

impl FromStr for Url {
    type Err = UrlError;

    /// Reads `rpcap://HOST[:PORT][/DEVICE]`, or the same with `rpcaps://`; without a scheme it is
    /// rpcap, which is not encrypted.
    fn from_str(text: &str) -> Result<Self, UrlError> {
        let (tls, rest) = match text.split_once("://") {
            // A device name may hold the same three characters.
            Some((before, _)) if before.contains(['/', '\\', '[']) => (false, text),
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("rpcap") => (false, rest),
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("rpcaps") => (true, rest),
            Some((scheme, _)) => return Err(UrlError::Scheme(scheme.to_owned())),
            None => (false, text),
        };
        let (authority, device) = match rest.split_once('/') {
            Some((authority, device)) => (authority, device),
            None => (rest, ""),
        };
        Ok(Self {
            tls,
            endpoint: authority.parse()?,
            device: match device {
                "" => None,
                name => Some(decode(name)?),
            },
        })
    }
}

impl FromStr for Endpoint {
    type Err = UrlError;

    /// Reads `HOST[:PORT]`, an IPv6 address in brackets.
    fn from_str(text: &str) -> Result<Self, UrlError> {
        let (host, port) = if let Some(rest) = text.strip_prefix('[') {
            let (host, after) =
                rest.split_once(']').ok_or_else(|| UrlError::Host(text.to_owned()))?;
            match after.strip_prefix(':') {
                _ if after.is_empty() => (host, None),
                Some(port) => (host, Some(port)),
                None => return Err(UrlError::Host(text.to_owned())),
            }
        } else {
            match text.split_once(':') {
                Some((_, after)) if after.contains(':') => {
                    return Err(UrlError::Brackets(text.to_owned()));
                }
                Some((host, port)) => (host, Some(port)),
                None => (text, None),
            }
        };
        if host.is_empty() {
            return Err(UrlError::NoHost);
        }
        if host.contains(|c: char| c.is_whitespace() || c.is_control() || "@?#\\[]".contains(c)) {
            return Err(UrlError::Host(host.to_owned()));
        }
        let port = match port {
            None => DEFAULT_PORT,
            Some(text) => match text.parse() {
                Ok(port) if port > 0 => port,
                _ => return Err(UrlError::Port(text.to_owned())),
            },
        };
        Ok(Self { host: host.to_owned(), port })
    }
}

/// A device's name as it is written in a URL: `%`, and what would end a word or a brace elsewhere,
/// is escaped.
pub fn escape(device: &str) -> String {
    let mut text = String::with_capacity(device.len());
    for byte in device.bytes() {
        match byte {
            b'%' | b'{' | b'}' => text.push_str(&format!("%{byte:02X}")),
            b'!'..=b'~' => text.push(byte.into()),
            _ => text.push_str(&format!("%{byte:02X}")),
        }
    }
    text
}

/// Undoes [`escape`], and judges the name.
pub fn unescape(text: &str) -> Result<String, UrlError> {
    decode(text)
}

/// Undoes percent escapes and judges the name.
fn decode(text: &str) -> Result<String, UrlError> {
    let mut name = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'%' {
            name.push(byte);
            continue;
        }
        let (digits, after) = rest.split_first_chunk::<2>().ok_or(UrlError::Escape)?;
        rest = after;
        let digit = |d: u8| char::from(d).to_digit(16).ok_or(UrlError::Escape);
        name.push((digit(digits[0])? * 16 + digit(digits[1])?) as u8);
    }
    let name = String::from_utf8(name).map_err(|_| UrlError::Device)?;
    if name.len() > DEVICE_NAME_MAX || name.contains('\0') {
        return Err(UrlError::Device);
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> (String, u16, Option<String>) {
        let Url { endpoint, device, .. } = text.parse().unwrap();
        (endpoint.host, endpoint.port, device)
    }

    #[test]
    fn hosts_ports_and_devices() {
        let eth0 = Some("eth0".to_owned());
        for (text, host, port, device) in [
            ("rpcap://h/eth0", "h", 2002, eth0.clone()),
            ("RPCAP://h:1/eth0", "h", 1, eth0.clone()),
            ("rpcap://[fe80::1%eth1]:65535/eth0", "fe80::1%eth1", 65535, eth0.clone()),
            ("rpcap://[::1]/eth0", "::1", 2002, eth0),
            ("rpcap://10.0.0.1:2002/", "10.0.0.1", 2002, None),
            ("h", "h", 2002, None),
            ("h:99", "h", 99, None),
            ("[::1]:99", "::1", 99, None),
            (r"rpcap://h/\Device\NPF_{AB-1}", "h", 2002, Some(r"\Device\NPF_{AB-1}".to_owned())),
            ("rpcap://h/a%20b%2Fc/d", "h", 2002, Some("a b/c/d".to_owned())),
            ("h/x://y", "h", 2002, Some("x://y".to_owned())),
        ] {
            assert_eq!(url(text), (host.to_owned(), port, device), "{text}");
        }
    }

    #[test]
    fn the_scheme_says_whether_it_is_encrypted() {
        for (text, tls) in [
            ("rpcaps://h/eth0", true),
            ("RPCAPS://[::1]:1/eth0", true),
            ("rpcap://h/eth0", false),
            ("h/rpcaps://x", false),
            ("h", false),
        ] {
            assert_eq!(text.parse::<Url>().unwrap().tls, tls, "{text}");
        }
        let (host, port, device) = url("rpcaps://h:99/eth0");
        assert_eq!((host.as_str(), port, device.as_deref()), ("h", 99, Some("eth0")));
    }

    #[test]
    fn what_is_wrong_is_said() {
        let error = |text: &str| text.parse::<Url>().unwrap_err();
        assert_eq!(error("http://h/x"), UrlError::Scheme("http".into()));
        assert_eq!(error("rpcap:///eth0"), UrlError::NoHost);
        assert_eq!(error(""), UrlError::NoHost);
        assert_eq!(error("rpcap://:2002/eth0"), UrlError::NoHost);
        assert_eq!(error("::1"), UrlError::Brackets("::1".into()));
        assert_eq!(error("rpcap://h:0/x"), UrlError::Port("0".into()));
        assert_eq!(error("h:65536"), UrlError::Port("65536".into()));
        assert_eq!(error("h:"), UrlError::Port(String::new()));
        assert_eq!(error("[::1"), UrlError::Host("[::1".into()));
        assert_eq!(error("[::1]x"), UrlError::Host("[::1]x".into()));
        assert_eq!(error("[[]"), UrlError::Host("[".into()));
        assert_eq!(error("user@h"), UrlError::Host("user@h".into()));
        assert_eq!(error("h/100%"), UrlError::Escape);
        assert_eq!(error("h/%zz"), UrlError::Escape);
        assert_eq!(error("h/a%00b"), UrlError::Device);
        assert_eq!(error("h/%ff"), UrlError::Device);
        assert_eq!(error(&format!("h/{}", "x".repeat(1025))), UrlError::Device);
    }

    #[test]
    fn a_device_is_escaped_and_found_again() {
        for (name, text) in [
            ("eth0", "eth0"),
            (r"\Device\NPF_{AB-1}", r"\Device\NPF_%7BAB-1%7D"),
            ("a b%\u{fc}", "a%20b%25%C3%BC"),
        ] {
            assert_eq!(escape(name), text);
            assert_eq!(unescape(text).as_deref(), Ok(name));
        }
    }

    #[test]
    fn an_address_is_shown_as_it_is_written() {
        for text in ["h:1", "[::1]:2"] {
            assert_eq!(text.parse::<Endpoint>().unwrap().to_string(), text);
        }
    }
}
