//! Filter texts to programs.
#![allow(unsafe_code, reason = "a C library, loaded at run time")]

use std::{
    ffi::{CStr, c_int, c_uint},
    ptr, slice,
    sync::{Mutex, PoisonError},
};

use super::library::{Program, functions, text};
use crate::{Instruction, LinkType};

/// `PCAP_NETMASK_UNKNOWN`: filters that need the capturing interface's netmask are refused.
const NETMASK_UNKNOWN: c_uint = 0xffff_ffff;

pub(super) enum Error {
    Missing(String),
    Refused,
    Syntax(String),
}

/// `pcap_compile` of libpcap before 1.8 keeps its state in globals.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

pub(super) fn compile(
    filter: &CStr,
    linktype: LinkType,
    snaplen: u32,
    optimize: bool,
) -> Result<Vec<Instruction>, Error> {
    let functions = functions().map_err(Error::Missing)?;
    let open_dead = functions
        .open_dead
        .ok_or_else(|| Error::Missing("Wine's wpcap.dll compiles no filters".to_owned()))?;
    let linktype = c_int::try_from(linktype.0).map_err(|_| Error::Refused)?;
    let snaplen = c_int::try_from(snaplen).map_err(|_| Error::Refused)?;
    let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);

    // SAFETY: takes two integers, of any value.
    let pcap = unsafe { open_dead(linktype, snaplen) };
    if pcap.is_null() {
        return Err(Error::Refused);
    }
    let mut program = Program { len: 0, instructions: ptr::null_mut() };
    // SAFETY: `pcap` is open, `program` is valid for writes, `filter` ends in a zero byte; all outlive the call.
    let status = unsafe {
        (functions.compile)(
            pcap,
            &raw mut program,
            filter.as_ptr(),
            c_int::from(optimize),
            NETMASK_UNKNOWN,
        )
    };
    let result = if status < 0 {
        // SAFETY: `pcap` is open.
        let message = unsafe { (functions.geterr)(pcap) };
        // SAFETY: the text is part of `pcap`, ends in a zero byte, and is copied before `pcap` closes.
        let message = unsafe { text(message) };
        Err(Error::Syntax(message.unwrap_or_default()))
    } else {
        let instructions = if program.instructions.is_null() {
            Vec::new()
        } else {
            // SAFETY: after success, `instructions` points to `len` instructions that live until `freecode`.
            unsafe { slice::from_raw_parts(program.instructions, program.len as usize) }.to_vec()
        };
        // SAFETY: `program` was filled in by a successful `compile`, and is not used after this.
        unsafe { (functions.freecode)(&raw mut program) };
        Ok(instructions)
    };
    // SAFETY: `pcap` is open, and not used after this.
    unsafe { (functions.close)(pcap) };
    result
}
