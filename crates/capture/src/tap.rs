//! A TAP interface: what is written to it comes in on it, for whoever captures there
//! (`Documentation/networking/tuntap.rst`).
#![allow(unsafe_code, reason = "ioctl(2) has no safe wrapper for TUNSETIFF")]

use std::{
    fs::{self, File, OpenOptions},
    io::{self, IoSlice, Write},
    os::fd::AsRawFd,
    path::Path,
};

use crate::ioctl::{Asker, request};

/// `IFF_TAP` in an interface's `tun_flags`.
const TAP: u32 = libc::IFF_TAP as u32;

/// Settings of a new interface (`Documentation/networking/ip-sysctl.rst`), to be made before it is up.
///
/// What comes in is other hosts' traffic, and must not become this one's: without them the host would speak on
/// the interface (neighbour and multicast reports of IPv6), and would take datagrams that are in a broadcast
/// frame, or are a broadcast, as if they were for it.
const SILENCE: [(&str, &str); 3] =
    [("ipv4", "rp_filter"), ("ipv4", "drop_unicast_in_l2_multicast"), ("ipv6", "disable_ipv6")];

/// A TAP interface that nobody else writes to.
#[derive(Debug)]
pub struct Tap {
    file: File,
    mtu: usize,
}

/// What could not be done, and the system's reason.
#[derive(Debug, thiserror::Error)]
pub enum TapError {
    /// The device of the kernel's driver.
    #[error("cannot open /dev/net/tun: {0}")]
    Driver(#[source] io::Error),
    /// There is an interface of this name that is something else.
    #[error("there is an interface of this name, and it is no TAP interface")]
    NotTap,
    /// The interface cannot be had or made.
    #[error("cannot take the TAP interface: {0}")]
    Take(#[source] io::Error),
    /// There is no such interface, and making one is not allowed.
    #[error("cannot make a TAP interface: {0}")]
    Make(#[source] io::Error),
    /// The interface was there, and is down.
    #[error("the interface is down")]
    Down,
    /// The new interface cannot be set up.
    #[error("cannot set {0} of the new interface: {1}")]
    Set(String, #[source] io::Error),
}

impl Tap {
    /// Takes the interface of this name, which must be up, or makes one. One that is made has the largest MTU
    /// there is, has no addresses, neither asks nor answers, and ends with this value, however that ends.
    pub fn open(name: &str) -> Result<Self, TapError> {
        let system = Path::new("/sys/class/net").join(name);
        let was_there = system.exists();
        if was_there && !is_tap(&system) {
            return Err(TapError::NotTap);
        }
        let file = OpenOptions::new().read(true).write(true).open("/dev/net/tun");
        let file = file.map_err(TapError::Driver)?;
        take(&file, name).map_err(if was_there { TapError::Take } else { TapError::Make })?;
        let asker = Asker::new().map_err(TapError::Take)?;
        if !was_there {
            set_up(&asker, name)?;
        } else if !asker.is_up(name).map_err(TapError::Take)? {
            return Err(TapError::Down);
        }
        let mtu = asker.mtu(name).map_err(TapError::Take)?;
        Ok(Self { file, mtu })
    }

    /// Most bytes that a packet has behind its Ethernet header, by the interface's setting. The kernel does not hold
    /// what is written to it, but readers size their buffers by it.
    pub fn mtu(&self) -> usize {
        self.mtu
    }

    /// Has one Ethernet frame come in, whose bytes are those of `parts`, one after the other. The readers' rings have
    /// it when this returns.
    pub fn write(&self, parts: &[IoSlice<'_>]) -> io::Result<()> {
        // A frame is taken whole or not at all.
        (&self.file).write_vectored(parts).map(drop)
    }
}

fn is_tap(system: &Path) -> bool {
    let flags = fs::read_to_string(system.join("tun_flags")).ok();
    let flags =
        flags.and_then(|text| u32::from_str_radix(text.trim().strip_prefix("0x")?, 16).ok());
    flags.is_some_and(|flags| flags & TAP != 0)
}

fn take(file: &File, name: &str) -> io::Result<()> {
    // The kernel would put a number in its place.
    if name.contains('%') {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut request = request(name)?;
    request.ifr_ifru.ifru_flags = (libc::IFF_TAP | libc::IFF_NO_PI) as libc::c_short;
    // SAFETY: TUNSETIFF reads and writes one `struct ifreq`, which outlives the call.
    let answer = unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF as _, &raw mut request) };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn set_up(asker: &Asker, name: &str) -> Result<(), TapError> {
    for (family, key) in SILENCE {
        let path = Path::new("/proc/sys/net").join(family).join("conf").join(name).join(key);
        match fs::write(&path, "1") {
            // The kernel has no IPv6: those before were there.
            Err(e) if family == "ipv6" && e.kind() == io::ErrorKind::NotFound => {}
            done => done.map_err(|e| TapError::Set(path.display().to_string(), e))?,
        }
    }
    let largest = libc::c_int::from(u16::MAX) - libc::ETH_HLEN;
    asker.set_mtu(name, largest).map_err(|e| TapError::Set("the MTU".to_owned(), e))?;
    let flags = libc::IFF_UP | libc::IFF_NOARP;
    asker.add_flags(name, flags).map_err(|e| TapError::Set("the flags".to_owned(), e))
}
