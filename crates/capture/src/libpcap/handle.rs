//! A capture of libpcap's, behind safe functions.
#![allow(unsafe_code, reason = "a C library, loaded at run time")]

#[cfg(unix)]
use std::os::fd::{BorrowedFd, OwnedFd};
use std::{
    ffi::{CString, c_int},
    io, mem, ptr, slice,
    sync::Arc,
};

use super::{
    library::{Functions, Header, Pcap, Program, RawStats, functions, message, text},
    place::is_cooked,
};
use crate::{
    Direction, Error, Instruction, LinkType, Timestamp,
    batch::Batch,
    filter::{Aux, run},
};

// `PCAP_ERROR` and its like, of pcap/pcap.h.
const ERROR_BREAK: c_int = -2;
const ERROR_NO_SUCH_DEVICE: c_int = -5;
const ERROR_PERM_DENIED: c_int = -8;
const ERROR_IFACE_NOT_UP: c_int = -9;
const ERROR_PROMISC_PERM_DENIED: c_int = -11;

/// Bytes of a Linux cooked header.
const SLL_LEN: usize = 16;

/// `PCAP_TSTAMP_PRECISION_NANO`.
const NANOSECONDS: c_int = 1;

/// What a capture is opened with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settings {
    pub(super) snaplen: u32,
    pub(super) promisc: bool,
    /// Milliseconds that the system may gather packets for, at least 1.
    pub(super) timeout: u32,
    pub(super) buffer: usize,
}

/// An active `pcap_t`, which never waits.
pub(super) struct Handle {
    functions: &'static Functions,
    pcap: Pcap,
    device: String,
    snaplen: usize,
    /// Whether times have nanoseconds, not microseconds.
    nanos: bool,
    /// What is left of the filter for this process.
    program: Option<Arc<[Instruction]>>,
    /// Bytes to keep, counted as the next one says.
    keep: usize,
    /// Bytes in front of what a kernel's filter counts from.
    cooked: usize,
    /// Packets that the program refused.
    refused: u64,
}

// SAFETY: a pcap_t belongs to no thread. `&mut self` and `Sync`, which it is not, keep it to one at a time.
unsafe impl Send for Handle {}

impl Handle {
    pub(super) fn open(device: &str, settings: &Settings) -> Result<Self, Error> {
        let functions = functions().map_err(|reason| Error::LibraryMissing { reason })?;
        let name = CString::new(device)
            .map_err(|_| Error::NoSuchDevice { device: device.escape_debug().to_string() })?;
        let mut buffer = [0; 256];
        // SAFETY: the name ends in a zero byte; the buffer is as long as libpcap wants it.
        let pcap = unsafe { (functions.create)(name.as_ptr(), buffer.as_mut_ptr()) };
        if pcap.is_null() {
            return Err(failed("pcap_create", device, message(buffer)));
        }
        // From here on it is closed when this is dropped.
        let mut handle = Self {
            functions,
            pcap,
            device: device.to_owned(),
            snaplen: settings.snaplen as usize,
            nanos: false,
            program: None,
            keep: usize::MAX,
            cooked: 0,
            refused: 0,
        };
        handle.activate(settings)?;
        Ok(handle)
    }

    fn activate(&mut self, settings: &Settings) -> Result<(), Error> {
        let int = |value: usize| c_int::try_from(value).unwrap_or(c_int::MAX);
        let functions = self.functions;
        // These fail only for a capture that is active already, but for the precision, which not every device has.
        // SAFETY: the pcap_t is open; integers of any value are taken.
        unsafe { (functions.set_snaplen)(self.pcap, int(settings.snaplen as usize)) };
        // SAFETY: as above.
        unsafe { (functions.set_promisc)(self.pcap, settings.promisc.into()) };
        // SAFETY: as above.
        unsafe { (functions.set_timeout)(self.pcap, int(settings.timeout as usize)) };
        if let Some(set_buffer_size) = functions.set_buffer_size {
            // SAFETY: as above.
            unsafe { set_buffer_size(self.pcap, int(settings.buffer)) };
        }
        if let Some(set_tstamp_precision) = functions.set_tstamp_precision {
            // SAFETY: as above.
            self.nanos = unsafe { set_tstamp_precision(self.pcap, NANOSECONDS) } == 0;
        }
        // SAFETY: the pcap_t is open, and not active yet.
        let status = unsafe { (functions.activate)(self.pcap) };
        // Above 0 are warnings: what a device cannot do, such as promiscuous mode.
        if status < 0 {
            return Err(self.refused(status));
        }
        let mut buffer = [0; 256];
        // SAFETY: the pcap_t is active; the buffer is as long as libpcap wants it.
        let status = unsafe { (functions.setnonblock)(self.pcap, 1, buffer.as_mut_ptr()) };
        if status < 0 {
            return Err(failed("pcap_setnonblock", &self.device, message(buffer)));
        }
        if is_cooked(self.linktype()?) {
            self.cooked = SLL_LEN;
        }
        Ok(())
    }

    /// Why it could not be activated.
    fn refused(&self, status: c_int) -> Error {
        let device = self.device.clone();
        match status {
            ERROR_NO_SUCH_DEVICE => Error::NoSuchDevice { device },
            ERROR_IFACE_NOT_UP => Error::InterfaceDown { device },
            ERROR_PERM_DENIED | ERROR_PROMISC_PERM_DENIED => Error::PermissionDenied {
                call: "pcap_activate",
                device,
                source: io::Error::other(self.words(status)),
            },
            _ => failed("pcap_activate", &device, self.words(status)),
        }
    }

    /// What libpcap says of its last failure.
    fn words(&self, status: c_int) -> String {
        // SAFETY: the pcap_t is open.
        let words = unsafe { (self.functions.geterr)(self.pcap) };
        // SAFETY: the text is part of the pcap_t, ends in a zero byte, and is copied at once.
        let words = unsafe { text(words) }.unwrap_or_default();
        if words.is_empty() { format!("status {status}") } else { words }
    }

    pub(super) fn linktype(&self) -> Result<LinkType, Error> {
        // SAFETY: the pcap_t is active.
        let linktype = unsafe { (self.functions.datalink)(self.pcap) };
        u32::try_from(linktype)
            .map(LinkType)
            .map_err(|_| failed("pcap_datalink", &self.device, self.words(linktype)))
    }

    pub(super) fn set_direction(&mut self, direction: Direction) -> Result<(), Error> {
        // `pcap_direction_t`.
        let number = match direction {
            Direction::Both => return Ok(()),
            Direction::In => 1,
            Direction::Out => 2,
        };
        let set = self.functions.setdirection;
        let set = set.ok_or(Error::Unsupported { what: "capturing one direction only" })?;
        // SAFETY: the pcap_t is active; the number is one of the enumeration.
        let status = unsafe { set(self.pcap, number) };
        if status < 0 {
            return Err(failed("pcap_setdirection", &self.device, self.words(status)));
        }
        Ok(())
    }

    /// Puts `program`, which is not empty, in force.
    pub(super) fn set_filter(&mut self, program: &[Instruction]) -> Result<(), Error> {
        let mut program = Program {
            len: program.len().try_into().unwrap_or(u32::MAX),
            instructions: program.as_ptr().cast_mut(),
        };
        // SAFETY: the pcap_t is active; the program points to as many instructions as it says, which are copied and
        // not written to.
        let status = unsafe { (self.functions.setfilter)(self.pcap, &raw mut program) };
        if status < 0 {
            return Err(failed("pcap_setfilter", &self.device, self.words(status)));
        }
        Ok(())
    }

    /// Has this process run `program`, if any, on what passes the filter, and keep no more of it than `keep` bytes.
    pub(super) fn set_program(&mut self, program: Option<Arc<[Instruction]>>, keep: usize) {
        self.program = program;
        self.keep = keep;
    }

    /// Packets that the program has refused since this was asked last.
    pub(super) fn take_refused(&mut self) -> u64 {
        mem::take(&mut self.refused)
    }

    pub(super) fn stats(&mut self) -> Result<RawStats, Error> {
        let mut stats = RawStats::default();
        // SAFETY: the pcap_t is active; there is room for the longest of these structures.
        let status = unsafe { (self.functions.stats)(self.pcap, &raw mut stats) };
        if status < 0 {
            return Err(failed("pcap_stats", &self.device, self.words(status)));
        }
        Ok(stats)
    }

    /// What to wait for, where there is such a thing: a descriptor of its own, of the same file.
    #[cfg(unix)]
    pub(super) fn descriptor(&self) -> Option<OwnedFd> {
        // SAFETY: the pcap_t is active.
        let fd = unsafe { (self.functions.get_selectable_fd)(self.pcap) };
        if fd < 0 {
            return None;
        }
        // SAFETY: it is open as long as the pcap_t is, and used here only.
        let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
        // libpcap lets programs that are started inherit the capture, which then lasts as long as they do.
        // SAFETY: it sets a flag of a descriptor that is open.
        unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
        borrowed.try_clone_to_owned().ok()
    }

    /// Copies what there is, as far as `batch` has room, without waiting for more.
    #[cfg(not(windows))]
    pub(super) fn read(&mut self, batch: &mut Batch) -> Result<(), Error> {
        let room = c_int::try_from(batch.room()).unwrap_or(c_int::MAX);
        let (dispatch, pcap) = (self.functions.dispatch, self.pcap);
        let mut filling = Filling { handle: self, batch };
        let user = (&raw mut filling).cast();
        // SAFETY: the pcap_t is active; `take` gets `user` back and nothing else uses it meanwhile.
        let status = unsafe { dispatch(pcap, room, take, user) };
        match status {
            // The former, because `take` asked for it.
            ERROR_BREAK | 0.. => Ok(()),
            _ => match self.words(status) {
                // Of netfilter's log libpcap does not know that it was told not to wait.
                words if words.contains("temporarily unavailable") => Ok(()),
                words => Err(failed("pcap_dispatch", &self.device, words)),
            },
        }
    }

    /// Copies what there is, as far as `batch` has room, without waiting for more.
    #[cfg(windows)]
    pub(super) fn read(&mut self, batch: &mut Batch) -> Result<(), Error> {
        while !batch.is_full() {
            let (mut header, mut data) = (ptr::null(), ptr::null());
            // SAFETY: the pcap_t is active; both pointers are valid for writes.
            let status =
                unsafe { (self.functions.next_ex)(self.pcap, &raw mut header, &raw mut data) };
            match status {
                // SAFETY: after a 1 they point to a packet, until the next call.
                1 => unsafe { self.copy(batch, header, data) },
                ERROR_BREAK | 0 => break,
                _ => return Err(failed("pcap_next_ex", &self.device, self.words(status))),
            }
        }
        Ok(())
    }

    /// Copies one packet.
    ///
    /// # Safety
    ///
    /// `header` points to a header, and `data` to as many bytes as it says were captured.
    unsafe fn copy(&mut self, batch: &mut Batch, header: *const Header, data: *const u8) {
        // SAFETY: the caller vouches for it.
        let header = unsafe { &*header };
        let caplen = (header.caplen as usize).min(self.snaplen);
        let data = if caplen == 0 { ptr::NonNull::dangling().as_ptr() } else { data.cast_mut() };
        // SAFETY: the caller vouches for it; of no bytes any pointer is one.
        let data = unsafe { slice::from_raw_parts(data, caplen) };
        let len = header.len.max(header.caplen);
        let mut keep = self.keep;
        if let Some(program) = &self.program {
            // The length without cooked header: what a kernel's machine would work with.
            let counted = len.saturating_sub(self.cooked as u32);
            keep = run(program, data, counted, &Aux::default()) as usize;
            if keep == 0 {
                self.refused += 1;
                return;
            }
        }
        let data = &data[..data.len().min(keep.saturating_add(self.cooked))];
        let fraction = header.ts.tv_usec as u32;
        let nanos = if self.nanos { fraction } else { fraction.saturating_mul(1000) };
        let ts = Timestamp { secs: header.ts.tv_sec as u32, nanos: nanos.min(999_999_999) };
        batch.push(ts, len, data);
    }
}

/// What [`take`] needs.
#[cfg(not(windows))]
struct Filling<'a> {
    handle: &'a mut Handle,
    batch: &'a mut Batch,
}

/// Copies one packet, and asks for no more when the batch is full.
#[cfg(not(windows))]
extern "C" fn take(user: *mut u8, header: *const Header, data: *const u8) {
    // SAFETY: this is what `Handle::read` gave, which waits for this function to end.
    let Filling { handle, batch } = unsafe { &mut *user.cast::<Filling<'_>>() };
    // SAFETY: libpcap calls this with a packet.
    unsafe { handle.copy(batch, header, data) };
    if batch.is_full() {
        // SAFETY: the pcap_t is active; this may be called at any time.
        unsafe { (handle.functions.breakloop)(handle.pcap) };
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: the pcap_t is open, and not used after this.
        unsafe { (self.functions.close)(self.pcap) };
    }
}

fn failed(call: &'static str, device: &str, words: String) -> Error {
    Error::call(call, device, io::Error::other(words))
}
