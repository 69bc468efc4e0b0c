//! Questions about an interface that only an ioctl answers, and its settings (netdevice(7), and `linux/ethtool.h`).
#![allow(unsafe_code, reason = "ioctl(2) has no safe wrapper for these requests")]

use std::{
    io, mem,
    os::fd::AsRawFd,
    thread,
    time::{Duration, Instant},
};

use socket2::{Domain, Socket, Type};

use crate::Error;

/// `ETHTOOL_GLINK` of `linux/ethtool.h`: is there a link?
const ETHTOOL_GLINK: u32 = 0x0000_000a;

/// `struct ethtool_value` of `linux/ethtool.h`.
#[repr(C)]
struct EthtoolValue {
    cmd: u32,
    data: u32,
}

/// A socket to ask on. Any family serves: these requests are about interfaces, and need no privilege.
#[derive(Debug)]
pub(crate) struct Asker(Socket);

impl Asker {
    /// Tries the families that a kernel, or a sandbox, may lack.
    pub(crate) fn new() -> io::Result<Self> {
        Socket::new(Domain::UNIX, Type::DGRAM, None)
            .or_else(|_| Socket::new(Domain::IPV6, Type::DGRAM, None))
            .or_else(|_| Socket::new(Domain::IPV4, Type::DGRAM, None))
            .map(Self)
    }

    /// The interface's `ARPHRD_` type. `ENODEV` if there is no such interface.
    pub(crate) fn hardware_type(&self, device: &str) -> io::Result<u16> {
        let request = self.ask(libc::SIOCGIFHWADDR, request(device)?)?;
        // SAFETY: the kernel answered SIOCGIFHWADDR by filling in this member of the union.
        Ok(unsafe { request.ifr_ifru.ifru_hwaddr }.sa_family)
    }

    /// The interface's index.
    pub(crate) fn index(&self, device: &str) -> io::Result<i32> {
        let request = self.ask(libc::SIOCGIFINDEX, request(device)?)?;
        // SAFETY: the kernel answered SIOCGIFINDEX by filling in this member of the union.
        Ok(unsafe { request.ifr_ifru.ifru_ifindex })
    }

    /// Whether the interface is up (`IFF_UP`).
    pub(crate) fn is_up(&self, device: &str) -> io::Result<bool> {
        let request = self.ask(libc::SIOCGIFFLAGS, request(device)?)?;
        // SAFETY: the kernel answered SIOCGIFFLAGS by filling in this member of the union.
        let flags = unsafe { request.ifr_ifru.ifru_flags };
        Ok(libc::c_int::from(flags) & libc::IFF_UP != 0)
    }

    /// The interface's MTU.
    pub(crate) fn mtu(&self, device: &str) -> io::Result<usize> {
        let request = self.ask(libc::SIOCGIFMTU, request(device)?)?;
        // SAFETY: the kernel answered SIOCGIFMTU by filling in this member of the union.
        let mtu = unsafe { request.ifr_ifru.ifru_mtu };
        Ok(usize::try_from(mtu).unwrap_or(0))
    }

    /// Sets the interface's MTU.
    pub(crate) fn set_mtu(&self, device: &str, mtu: libc::c_int) -> io::Result<()> {
        let mut request = request(device)?;
        request.ifr_ifru.ifru_mtu = mtu;
        self.ask(libc::SIOCSIFMTU, request).map(drop)
    }

    /// Sets these of the interface's flags (`IFF_`), and leaves the others.
    pub(crate) fn add_flags(&self, device: &str, flags: libc::c_int) -> io::Result<()> {
        let mut request = self.ask(libc::SIOCGIFFLAGS, request(device)?)?;
        // SAFETY: the kernel answered SIOCGIFFLAGS by filling in this member of the union.
        let before = unsafe { request.ifr_ifru.ifru_flags };
        request.ifr_ifru.ifru_flags = before | flags as libc::c_short;
        self.ask(libc::SIOCSIFFLAGS, request).map(drop)
    }

    /// Whether the interface has a link. `EOPNOTSUPP` or `EINVAL` where that makes no sense.
    pub(crate) fn has_link(&self, device: &str) -> io::Result<bool> {
        let mut value = EthtoolValue { cmd: ETHTOOL_GLINK, data: 0 };
        let mut request = request(device)?;
        // The kernel writes through this pointer, within `ask`.
        request.ifr_ifru.ifru_data = (&raw mut value).cast();
        self.ask(libc::SIOCETHTOOL, request)?;
        Ok(value.data != 0)
    }

    fn ask(&self, name: libc::c_ulong, mut request: libc::ifreq) -> io::Result<libc::ifreq> {
        // SAFETY: every request above reads and writes one `struct ifreq`, and what `ifru_data` points to if the
        // request uses it; both outlive the call.
        let answer = unsafe { libc::ioctl(self.0.as_raw_fd(), name as _, &raw mut request) };
        if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(request) }
    }
}

/// What is wrong with an interface that is not up. One on its way out is first down and then gone: it gets a moment to
/// make up its mind. `unbound` says whether a socket knows already that it is gone.
pub(crate) fn why_down(device: &str, unbound: impl Fn() -> bool) -> Error {
    let end = Instant::now() + Duration::from_millis(200);
    loop {
        let gone = unbound()
            || Asker::new().and_then(|asker| asker.is_up(device)).is_err_and(|error| {
                matches!(error.raw_os_error(), Some(libc::ENODEV | libc::ENXIO))
            });
        if gone {
            return Error::InterfaceGone { device: device.to_owned() };
        }
        if Instant::now() >= end {
            return Error::InterfaceDown { device: device.to_owned() };
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// A request that names `device`; a name that cannot be one is answered as the kernel would.
pub(crate) fn request(device: &str) -> io::Result<libc::ifreq> {
    // SAFETY: `struct ifreq` is integers, arrays and a union of them and pointers: all zeroes are a value of it.
    let mut request: libc::ifreq = unsafe { mem::zeroed() };
    let bytes = device.as_bytes();
    // The last byte stays 0.
    if bytes.is_empty() || bytes.len() >= request.ifr_name.len() || bytes.contains(&0) {
        return Err(io::Error::from_raw_os_error(libc::ENODEV));
    }
    for (to, &from) in request.ifr_name.iter_mut().zip(bytes) {
        *to = from as libc::c_char;
    }
    Ok(request)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_answers_and_nonsense_does_not() {
        let asker = Asker::new().unwrap();
        assert_eq!(asker.hardware_type("lo").unwrap(), libc::ARPHRD_LOOPBACK);
        assert!(asker.index("lo").unwrap() > 0);
        for name in ["", "no-such-device0", "0123456789abcdef", "lo\0"] {
            let error = asker.hardware_type(name).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::ENODEV), "{name:?}");
        }
    }
}
