//! The few functions of libpcap that are used, found by name at run time.
#![allow(unsafe_code, reason = "a C library, loaded at run time")]

use std::{
    ffi::{CStr, c_char, c_int, c_uchar, c_uint, c_void},
    sync::OnceLock,
};

use libloading::Library;

use crate::Instruction;

/// A `pcap_t`, of which nothing is known.
pub(super) type Pcap = *mut c_void;

/// Bytes of an error text (`PCAP_ERRBUF_SIZE`).
pub(super) type Message = [c_char; 256];

/// `struct bpf_program`.
#[repr(C)]
pub(super) struct Program {
    pub(super) len: c_uint,
    /// `struct bpf_insn` has the layout of [`Instruction`].
    pub(super) instructions: *mut Instruction,
}

/// `struct timeval`: two `long`, which have 32 bits on Windows.
#[cfg(not(windows))]
pub(super) type Timeval = libc::timeval;
/// `struct timeval`: two `long`, which have 32 bits on Windows.
#[cfg(windows)]
#[repr(C)]
pub(super) struct Timeval {
    pub(super) tv_sec: i32,
    pub(super) tv_usec: i32,
}

/// `struct pcap_pkthdr`. Apple's has a comment behind these.
#[repr(C)]
pub(super) struct Header {
    pub(super) ts: Timeval,
    pub(super) caplen: u32,
    pub(super) len: u32,
}

/// `struct pcap_stat`, with the three words more that it has on Windows, where some fill them and some do not.
#[repr(C)]
#[derive(Default)]
pub(super) struct RawStats {
    pub(super) received: c_uint,
    pub(super) dropped: c_uint,
    pub(super) if_dropped: c_uint,
    more: [c_uint; 3],
}

/// `struct pcap_if`.
#[repr(C)]
pub(super) struct Interface {
    pub(super) next: *const Interface,
    pub(super) name: *const c_char,
    pub(super) description: *const c_char,
    pub(super) addresses: *const Addresses,
    pub(super) flags: c_uint,
}

/// `struct pcap_addr`; the addresses are `struct sockaddr`.
#[repr(C)]
pub(super) struct Addresses {
    pub(super) next: *const Addresses,
    pub(super) addr: *const u8,
    pub(super) netmask: *const u8,
    pub(super) broadcast: *const u8,
    pub(super) peer: *const u8,
}

/// `pcap_handler`.
pub(super) type Handler = extern "C" fn(*mut c_uchar, *const Header, *const c_uchar);

/// What `pcap_set_snaplen` and its like take.
type Set = unsafe extern "C" fn(Pcap, c_int) -> c_int;

/// The functions' types are those of `pcap/pcap.h`. Of Wine's library a name proves nothing: a function of this list
/// that only aborts there is marked, and not called.
pub(super) struct Functions {
    pub(super) compile:
        unsafe extern "C" fn(Pcap, *mut Program, *const c_char, c_int, c_uint) -> c_int,
    pub(super) geterr: unsafe extern "C" fn(Pcap) -> *mut c_char,
    pub(super) freecode: unsafe extern "C" fn(*mut Program),
    pub(super) close: unsafe extern "C" fn(Pcap),
    pub(super) findalldevs: unsafe extern "C" fn(*mut *const Interface, *mut c_char) -> c_int,
    pub(super) freealldevs: unsafe extern "C" fn(*const Interface),
    pub(super) create: unsafe extern "C" fn(*const c_char, *mut c_char) -> Pcap,
    pub(super) set_snaplen: Set,
    pub(super) set_promisc: Set,
    pub(super) set_timeout: Set,
    pub(super) activate: unsafe extern "C" fn(Pcap) -> c_int,
    pub(super) datalink: unsafe extern "C" fn(Pcap) -> c_int,
    pub(super) setnonblock: unsafe extern "C" fn(Pcap, c_int, *mut c_char) -> c_int,
    pub(super) setfilter: unsafe extern "C" fn(Pcap, *mut Program) -> c_int,
    pub(super) stats: unsafe extern "C" fn(Pcap, *mut RawStats) -> c_int,
    /// Not on Windows: Wine's returns 0 for ever where others mean "what there is".
    #[cfg_attr(windows, expect(dead_code, reason = "next_ex is used there"))]
    pub(super) dispatch: unsafe extern "C" fn(Pcap, c_int, Handler, *mut c_uchar) -> c_int,
    #[cfg_attr(not(windows), expect(dead_code, reason = "dispatch is used there: it copies less"))]
    pub(super) next_ex:
        unsafe extern "C" fn(Pcap, *mut *const Header, *mut *const c_uchar) -> c_int,
    #[cfg_attr(windows, expect(dead_code, reason = "nothing there waits in the library"))]
    pub(super) breakloop: unsafe extern "C" fn(Pcap),
    /// Aborts in Wine's library, for which it is `None`.
    pub(super) open_dead: Option<unsafe extern "C" fn(c_int, c_int) -> Pcap>,
    /// Not in Wine's library.
    pub(super) set_buffer_size: Option<Set>,
    /// Not before libpcap 1.5, nor in WinPcap.
    pub(super) set_tstamp_precision: Option<Set>,
    /// In WinPcap, where it only fails.
    pub(super) setdirection: Option<Set>,
    /// Not on Windows.
    #[cfg(unix)]
    pub(super) get_selectable_fd: unsafe extern "C" fn(Pcap) -> c_int,
    /// Keeps the functions where they are.
    _library: Library,
}

/// Loaded once, and never unloaded. Failure is remembered too: a library does not appear under a running process, and
/// asking the loader each time would be slow.
static FUNCTIONS: OnceLock<Result<Functions, String>> = OnceLock::new();

/// The functions, or why there are none.
pub(super) fn functions() -> Result<&'static Functions, String> {
    FUNCTIONS.get_or_init(Functions::load).as_ref().map_err(Clone::clone)
}

/// Copies a text of libpcap's.
///
/// # Safety
///
/// `text` is null, or points to a text that ends in a zero byte and stays as it is during the call.
pub(super) unsafe fn text(text: *const c_char) -> Option<String> {
    if text.is_null() {
        return None;
    }
    // SAFETY: the caller vouches for it.
    let text = unsafe { CStr::from_ptr(text) };
    Some(text.to_string_lossy().into_owned())
}

/// What libpcap wrote into an error buffer.
pub(super) fn message(mut buffer: Message) -> String {
    if let Some(last) = buffer.last_mut() {
        *last = 0;
    }
    // SAFETY: it ends in a zero byte, and belongs to this function.
    unsafe { text(buffer.as_ptr()) }.unwrap_or_default()
}

impl Functions {
    fn load() -> Result<Self, String> {
        let library = load_library()?;
        let open_dead = if is_wine() { None } else { Some(c"pcap_open_dead") };
        Ok(Self {
            // SAFETY: the type is the one in pcap/pcap.h.
            compile: unsafe { symbol(&library, c"pcap_compile") }?,
            // SAFETY: as above.
            geterr: unsafe { symbol(&library, c"pcap_geterr") }?,
            // SAFETY: as above.
            freecode: unsafe { symbol(&library, c"pcap_freecode") }?,
            // SAFETY: as above.
            close: unsafe { symbol(&library, c"pcap_close") }?,
            // SAFETY: as above.
            findalldevs: unsafe { symbol(&library, c"pcap_findalldevs") }?,
            // SAFETY: as above.
            freealldevs: unsafe { symbol(&library, c"pcap_freealldevs") }?,
            // SAFETY: as above.
            create: unsafe { symbol(&library, c"pcap_create") }?,
            // SAFETY: as above.
            set_snaplen: unsafe { symbol(&library, c"pcap_set_snaplen") }?,
            // SAFETY: as above.
            set_promisc: unsafe { symbol(&library, c"pcap_set_promisc") }?,
            // SAFETY: as above.
            set_timeout: unsafe { symbol(&library, c"pcap_set_timeout") }?,
            // SAFETY: as above.
            activate: unsafe { symbol(&library, c"pcap_activate") }?,
            // SAFETY: as above.
            datalink: unsafe { symbol(&library, c"pcap_datalink") }?,
            // SAFETY: as above.
            setnonblock: unsafe { symbol(&library, c"pcap_setnonblock") }?,
            // SAFETY: as above.
            setfilter: unsafe { symbol(&library, c"pcap_setfilter") }?,
            // SAFETY: as above.
            stats: unsafe { symbol(&library, c"pcap_stats") }?,
            // SAFETY: as above.
            dispatch: unsafe { symbol(&library, c"pcap_dispatch") }?,
            // SAFETY: as above.
            next_ex: unsafe { symbol(&library, c"pcap_next_ex") }?,
            // SAFETY: as above.
            breakloop: unsafe { symbol(&library, c"pcap_breakloop") }?,
            // SAFETY: as above.
            open_dead: open_dead.map(|name| unsafe { symbol(&library, name) }).transpose()?,
            // SAFETY: as above.
            set_buffer_size: unsafe { symbol(&library, c"pcap_set_buffer_size") }.ok(),
            // SAFETY: as above.
            set_tstamp_precision: unsafe { symbol(&library, c"pcap_set_tstamp_precision") }.ok(),
            // SAFETY: as above; the direction is an enumeration of small positive numbers.
            setdirection: unsafe { symbol(&library, c"pcap_setdirection") }.ok(),
            // SAFETY: as above.
            #[cfg(unix)]
            get_selectable_fd: unsafe { symbol(&library, c"pcap_get_selectable_fd") }?,
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
#[cfg(not(windows))]
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
#[cfg(windows)]
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

/// Whether this is Wine, whose `ntdll.dll` says so.
#[cfg(windows)]
fn is_wine() -> bool {
    use libloading::os::windows::Library as WindowsLibrary;
    let Ok(ntdll) = WindowsLibrary::open_already_loaded("ntdll.dll") else {
        return false;
    };
    // SAFETY: it is looked for, and not called.
    unsafe { ntdll.get::<unsafe extern "C" fn()>(b"wine_get_version\0") }.is_ok()
}

#[cfg(not(windows))]
fn is_wine() -> bool {
    false
}
