//! The few functions of libpam that are used, found by name at run time.
#![allow(unsafe_code, reason = "a C library, loaded at run time")]

use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::marker::PhantomData;
use std::ptr;
use std::sync::OnceLock;

use libloading::Library;

use crate::Refusal;
use crate::conversation::{Answer, Message, Response, converse};

/// From `security/_pam_types.h`, as everything here.
const PAM_SUCCESS: c_int = 0;
const PAM_OPEN_ERR: c_int = 1;
const PAM_SYMBOL_ERR: c_int = 2;
const PAM_SERVICE_ERR: c_int = 3;
const PAM_SYSTEM_ERR: c_int = 4;
const PAM_BUF_ERR: c_int = 5;
const PAM_ABORT: c_int = 26;
const PAM_MODULE_UNKNOWN: c_int = 28;

const PAM_USER: c_int = 2;
const PAM_RHOST: c_int = 4;
const PAM_FAIL_DELAY: c_int = 10;

/// Nothing is said to the user, and an account without a password is nobody's.
const FLAGS: c_int = PAM_SILENT | PAM_DISALLOW_NULL_AUTHTOK;
const PAM_SILENT: c_int = 0x8000;
const PAM_DISALLOW_NULL_AUTHTOK: c_int = 1;

/// A `pam_handle_t`, of which nothing is known.
type Handle = *mut c_void;

/// `struct pam_conv`.
#[repr(C)]
struct Conversation {
    converse: extern "C" fn(c_int, *mut *const Message, *mut *mut Response, *mut c_void) -> c_int,
    answer: *mut c_void,
}

/// The functions' types are those of `security/_pam_types.h` and `security/pam_appl.h`.
pub(crate) struct Functions {
    start: unsafe extern "C" fn(
        *const c_char,
        *const c_char,
        *const Conversation,
        *mut Handle,
    ) -> c_int,
    set_item: unsafe extern "C" fn(Handle, c_int, *const c_void) -> c_int,
    get_item: unsafe extern "C" fn(Handle, c_int, *mut *const c_void) -> c_int,
    authenticate: unsafe extern "C" fn(Handle, c_int) -> c_int,
    acct_mgmt: unsafe extern "C" fn(Handle, c_int) -> c_int,
    end: unsafe extern "C" fn(Handle, c_int) -> c_int,
    /// Keeps the functions where they are.
    _library: Library,
}

/// Loaded once, and never unloaded: modules may have threads.
static FUNCTIONS: OnceLock<Result<Functions, String>> = OnceLock::new();

impl Functions {
    pub(crate) fn get() -> Result<&'static Self, Refusal> {
        let functions = FUNCTIONS.get_or_init(Self::load).as_ref();
        functions.map_err(|reason| Refusal::NoLibrary(reason.clone()))
    }

    fn load() -> Result<Self, String> {
        // SAFETY: what the library does when it is loaded is nothing that we would depend on.
        let library = unsafe { Library::new("libpam.so.0") }.map_err(|e| e.to_string())?;
        Ok(Self {
            // SAFETY: the type is that of pam_start(3).
            start: unsafe { symbol(&library, c"pam_start") }?,
            // SAFETY: the type is that of pam_set_item(3).
            set_item: unsafe { symbol(&library, c"pam_set_item") }?,
            // SAFETY: the type is that of pam_get_item(3).
            get_item: unsafe { symbol(&library, c"pam_get_item") }?,
            // SAFETY: the type is that of pam_authenticate(3).
            authenticate: unsafe { symbol(&library, c"pam_authenticate") }?,
            // SAFETY: the type is that of pam_acct_mgmt(3).
            acct_mgmt: unsafe { symbol(&library, c"pam_acct_mgmt") }?,
            // SAFETY: the type is that of pam_end(3).
            end: unsafe { symbol(&library, c"pam_end") }?,
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

/// A transaction from pam_start(3) to pam_end(3).
pub(crate) struct Transaction<'a> {
    functions: &'static Functions,
    handle: Handle,
    /// What pam_end is told: how the last call went.
    status: c_int,
    /// What the conversation answers; PAM has its address.
    answer: *mut Answer<'a>,
    _password: PhantomData<&'a [u8]>,
}

impl<'a> Transaction<'a> {
    pub(crate) fn start(
        functions: &'static Functions,
        service: &CStr,
        user: &CStr,
        password: &'a [u8],
    ) -> Result<Self, Refusal> {
        let answer = Box::into_raw(Box::new(Answer(password)));
        let conversation = Conversation { converse, answer: answer.cast() };
        let mut handle = ptr::null_mut();
        // SAFETY: the texts end in a zero byte, `handle` is valid for writes, and all are copied or done
        // with when pam_start returns, but for `answer`, which lives until `drop`.
        let status = unsafe {
            (functions.start)(
                service.as_ptr(),
                user.as_ptr(),
                &raw const conversation,
                &raw mut handle,
            )
        };
        let transaction = Self { functions, handle, status, answer, _password: PhantomData };
        match handle.is_null() || status != PAM_SUCCESS {
            true => Err(Refusal::System(status)),
            false => Ok(transaction),
        }
    }

    pub(crate) fn set_remote_host(&mut self, host: &CStr) -> Result<(), Refusal> {
        self.set(PAM_RHOST, host.as_ptr().cast())
    }

    /// Modules ask for a delay after a refusal (pam_fail_delay(3)); this has none happen.
    pub(crate) fn without_delay(&mut self) -> Result<(), Refusal> {
        extern "C" fn none(_status: c_int, _microseconds: c_uint, _data: *mut c_void) {}

        self.set(PAM_FAIL_DELAY, none as *const c_void)
    }

    fn set(&mut self, item: c_int, value: *const c_void) -> Result<(), Refusal> {
        // SAFETY: the transaction is open. pam_set_item(3): texts are copied, and the function of
        // PAM_FAIL_DELAY is there for as long as the program.
        self.status = unsafe { (self.functions.set_item)(self.handle, item, value) };
        match self.status {
            PAM_SUCCESS => Ok(()),
            other => Err(Refusal::System(other)),
        }
    }

    pub(crate) fn authenticate(&mut self) -> Result<(), Refusal> {
        // SAFETY: the transaction is open.
        self.status = unsafe { (self.functions.authenticate)(self.handle, FLAGS) };
        outcome(self.status, Refusal::Authentication)
    }

    pub(crate) fn check_account(&mut self) -> Result<(), Refusal> {
        // SAFETY: the transaction is open.
        self.status = unsafe { (self.functions.acct_mgmt)(self.handle, FLAGS) };
        outcome(self.status, Refusal::Account)
    }

    /// The name as the modules left it.
    pub(crate) fn user(&self) -> Option<&CStr> {
        let mut user = ptr::null();
        // SAFETY: the transaction is open, and `user` is valid for writes.
        let status = unsafe { (self.functions.get_item)(self.handle, PAM_USER, &raw mut user) };
        if status != PAM_SUCCESS || user.is_null() {
            return None;
        }
        // SAFETY: pam_get_item(3): a text that lives until the item or the transaction changes, which
        // takes `&mut self`.
        Some(unsafe { CStr::from_ptr(user.cast()) })
    }
}

fn outcome(status: c_int, refusal: fn(i32) -> Refusal) -> Result<(), Refusal> {
    match status {
        PAM_SUCCESS => Ok(()),
        PAM_OPEN_ERR | PAM_SYMBOL_ERR | PAM_SERVICE_ERR | PAM_SYSTEM_ERR | PAM_BUF_ERR
        | PAM_ABORT | PAM_MODULE_UNKNOWN => Err(Refusal::System(status)),
        other => Err(refusal(other)),
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        if !self.handle.is_null() {
            // SAFETY: the transaction is open, and not used after this. It wipes what PAM copied.
            unsafe { (self.functions.end)(self.handle, self.status) };
        }
        // SAFETY: it is the box that `start` made, and nobody has its address after pam_end.
        drop(unsafe { Box::from_raw(self.answer) });
    }
}
