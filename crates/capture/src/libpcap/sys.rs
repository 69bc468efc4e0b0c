//! The few functions of libpcap that are used, found by name at run time.
#![allow(unsafe_code, reason = "a C library, loaded at run time")]

use std::{
    ffi::{CStr, c_char, c_int, c_uint, c_void},
    ptr, slice,
    sync::{Mutex, OnceLock, PoisonError},
};

use libloading::Library;

use crate::{Instruction, LinkType};

/// `PCAP_NETMASK_UNKNOWN`: filters that need the capturing interface's netmask are refused.
const NETMASK_UNKNOWN: c_uint = 0xffff_ffff;

/// A `pcap_t`, of which nothing is known.
type Pcap = *mut c_void;

/// `struct bpf_program`.
#[repr(C)]
struct Program {
    len: c_uint,
    /// `struct bpf_insn` has the layout of [`Instruction`].
    instructions: *mut Instruction,
}

pub(super) enum Error {
    Missing(String),
    Refused,
    Syntax(String),
}

/// The functions' types are those of `pcap/pcap.h`.
struct Functions {
    open_dead: unsafe extern "C" fn(c_int, c_int) -> Pcap,
    compile: unsafe extern "C" fn(Pcap, *mut Program, *const c_char, c_int, c_uint) -> c_int,
    geterr: unsafe extern "C" fn(Pcap) -> *mut c_char,
    freecode: unsafe extern "C" fn(*mut Program),
    close: unsafe extern "C" fn(Pcap),
    /// Keeps the functions where they are.
    _library: Library,
}

/// Loaded once, and never unloaded. Failure is remembered too: a library does not appear under a running process, and
/// asking the loader each time would be slow.
static FUNCTIONS: OnceLock<Result<Functions, String>> = OnceLock::new();

/// `pcap_compile` of libpcap before 1.8 keeps its state in globals.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

pub(super) fn compile(
    filter: &CStr,
    linktype: LinkType,
    snaplen: u32,
    optimize: bool,
) -> Result<Vec<Instruction>, Error> {
    let functions = FUNCTIONS
        .get_or_init(Functions::load)
        .as_ref()
        .map_err(|reason| Error::Missing(reason.clone()))?;
    let linktype = c_int::try_from(linktype.0).map_err(|_| Error::Refused)?;
    let snaplen = c_int::try_from(snaplen).map_err(|_| Error::Refused)?;
    let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);

    // SAFETY: takes two integers, of any value.
    let pcap = unsafe { (functions.open_dead)(linktype, snaplen) };
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
        let message = unsafe { CStr::from_ptr(message) };
        Err(Error::Syntax(message.to_string_lossy().into_owned()))
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

impl Functions {
    fn load() -> Result<Self, String> {
        let library = load_library()?;
        Ok(Self {
            // SAFETY: the type is the one in pcap/pcap.h.
            open_dead: unsafe { symbol(&library, c"pcap_open_dead") }?,
            // SAFETY: the type is the one in pcap/pcap.h.
            compile: unsafe { symbol(&library, c"pcap_compile") }?,
            // SAFETY: the type is the one in pcap/pcap.h.
            geterr: unsafe { symbol(&library, c"pcap_geterr") }?,
            // SAFETY: the type is the one in pcap/pcap.h.
            freecode: unsafe { symbol(&library, c"pcap_freecode") }?,
            // SAFETY: the type is the one in pcap/pcap.h.
            close: unsafe { symbol(&library, c"pcap_close") }?,
            _library: library,
        })
    }
}

/// A function of type `F`.
///
/// # Safety
///
/// `F` must be the type of the function of that name, and the result must not outlive the library.
unsafe fn symbol<F: Copy>(library: &Library, name: &CStr) -> Result<F, String> {
    // SAFETY: the caller vouches for the type.
    let symbol = unsafe { library.get::<F>(name) };
    symbol.map(|symbol| *symbol).map_err(|error| error.to_string())
}

/// The first of `names` that loads. Fails with what the first one said: it is the likeliest one.
#[cfg(not(target_os = "windows"))]
fn load_library() -> Result<Library, String> {
    let names: &[&str] = if cfg!(target_os = "macos") {
        &["libpcap.A.dylib", "/usr/lib/libpcap.A.dylib"]
    } else {
        // Debian's name, everyone else's, and that of a development package.
        &["libpcap.so.0.8", "libpcap.so.1", "libpcap.so"]
    };
    let mut reason = None;
    for &name in names {
        // SAFETY: libpcap runs nothing when it is loaded; what it is linked with (D-Bus, netlink) is made to be loaded into
        // any process, from the system's own directories.
        match unsafe { Library::new(name) } {
            Ok(library) => return Ok(library),
            Err(error) => reason = reason.or(Some(error.to_string())),
        }
    }
    Err(reason.unwrap_or_default())
}

/// Npcap puts its library into a directory of its own; only if it was installed to replace WinPcap is it in the system
/// directory. By full path: a search would look in places where others can put files.
#[cfg(target_os = "windows")]
fn load_library() -> Result<Library, String> {
    use libloading::os::windows::{
        LOAD_LIBRARY_SEARCH_DLL_LOAD_DIR, LOAD_LIBRARY_SEARCH_SYSTEM32, Library as WindowsLibrary,
    };
    let root = std::env::var_os("SystemRoot").unwrap_or_else(|| r"C:\Windows".into());
    let system = std::path::Path::new(&root).join("System32");
    let mut reason = None;
    for path in [system.join(r"Npcap\wpcap.dll"), system.join("wpcap.dll")] {
        // wpcap.dll needs Packet.dll, which is next to it.
        let flags = LOAD_LIBRARY_SEARCH_DLL_LOAD_DIR | LOAD_LIBRARY_SEARCH_SYSTEM32;
        // SAFETY: wpcap.dll runs nothing of consequence when it is loaded.
        match unsafe { WindowsLibrary::load_with_flags(&path, flags) } {
            Ok(library) => return Ok(library.into()),
            Err(error) => reason = reason.or(Some(error.to_string())),
        }
    }
    Err(reason.unwrap_or_default())
}
