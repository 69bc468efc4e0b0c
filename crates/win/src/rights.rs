//! Who may use a directory, and what a service may do.
#![allow(unsafe_code, reason = "security descriptors and the service manager's functions")]

use std::io;
use std::os::windows::ffi::OsStrExt;
use std::path::Path;
use std::ptr;

use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use windows_service::service::Service;
use windows_sys::Win32::Foundation::LocalFree;
use windows_sys::Win32::Security::Authorization::{
    ConvertStringSecurityDescriptorToSecurityDescriptorW, SDDL_REVISION_1, SE_FILE_OBJECT,
    SetNamedSecurityInfoW,
};
use windows_sys::Win32::Security::{
    ACL, DACL_SECURITY_INFORMATION, GetSecurityDescriptorDacl, PROTECTED_DACL_SECURITY_INFORMATION,
    PSECURITY_DESCRIPTOR,
};
use windows_sys::Win32::System::Services::{
    ChangeServiceConfig2W, SERVICE_CONFIG_REQUIRED_PRIVILEGES_INFO,
    SERVICE_REQUIRED_PRIVILEGES_INFOW,
};

use crate::text::wide;

/// The security identifier of a service, and of its virtual account: 80, then SHA-1 of the name in
/// capitals.
pub fn service_sid(name: &str) -> String {
    let name: Vec<u8> = name.to_uppercase().encode_utf16().flat_map(u16::to_le_bytes).collect();
    let hash = digest(&SHA1_FOR_LEGACY_USE_ONLY, &name);
    let numbers = hash.as_ref().chunks_exact(4).map(|four| {
        let four = <[u8; 4]>::try_from(four).unwrap_or_default();
        format!("-{}", u32::from_le_bytes(four))
    });
    std::iter::once("S-1-5-80".to_owned()).chain(numbers).collect()
}

/// Whoever a file belongs to.
const OWNER: &str = "S-1-3-4";

/// Lets the system, administrators and its owner do anything with a file, or with a directory and what
/// is in it, `reader` (a security identifier) read it, and nobody else anything.
pub fn protect(path: &Path, reader: &str) -> io::Result<()> {
    let inherit = if path.is_dir() { "OICI" } else { "" };
    let who = [("FA", "SY"), ("FA", "BA"), ("FA", OWNER), ("FRFX", reader)];
    let rules = who.map(|(rights, who)| format!("(A;{inherit};{rights};;;{who})")).concat();
    let descriptor = Descriptor::new(&format!("D:P{rules}"))?;
    let path: Vec<u16> = path.as_os_str().encode_wide().chain([0]).collect();
    // SAFETY: the path ends in a zero; the list lives as long as `descriptor`; nothing else is set.
    let error = unsafe {
        SetNamedSecurityInfoW(
            path.as_ptr(),
            SE_FILE_OBJECT,
            DACL_SECURITY_INFORMATION | PROTECTED_DACL_SECURITY_INFORMATION,
            ptr::null_mut(),
            ptr::null_mut(),
            descriptor.rules()?,
            ptr::null(),
        )
    };
    match error {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(error.cast_signed())),
    }
}

/// A security descriptor.
struct Descriptor(PSECURITY_DESCRIPTOR);

impl Descriptor {
    /// From its notation ("Security Descriptor Definition Language").
    fn new(text: &str) -> io::Result<Self> {
        let text = wide(text);
        let mut descriptor = ptr::null_mut();
        // SAFETY: the text ends in a zero, `descriptor` is valid for writes, the length is optional.
        let done = unsafe {
            ConvertStringSecurityDescriptorToSecurityDescriptorW(
                text.as_ptr(),
                SDDL_REVISION_1,
                &raw mut descriptor,
                ptr::null_mut(),
            )
        };
        match done {
            0 => Err(io::Error::last_os_error()),
            _ => Ok(Self(descriptor)),
        }
    }

    /// Its access control list, which is within it.
    fn rules(&self) -> io::Result<*const ACL> {
        let (mut present, mut default, mut rules) = (0, 0, ptr::null_mut());
        // SAFETY: the descriptor is valid, and the three places are.
        let done = unsafe {
            GetSecurityDescriptorDacl(self.0, &raw mut present, &raw mut rules, &raw mut default)
        };
        // No list would mean that everybody may do anything.
        match done != 0 && present != 0 && !rules.is_null() {
            true => Ok(rules),
            false => Err(io::Error::last_os_error()),
        }
    }
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        // SAFETY: it is from ConvertStringSecurityDescriptorToSecurityDescriptorW, which says so.
        unsafe { LocalFree(self.0) };
    }
}

/// Takes every privilege from a service but that of passing through directories, which everybody has
/// and without which paths do not work. `service` is open for changes of its configuration.
pub fn drop_privileges(service: &Service) -> io::Result<()> {
    // A list: its end is another zero.
    let mut privileges = wide("SeChangeNotifyPrivilege");
    privileges.push(0);
    let info =
        SERVICE_REQUIRED_PRIVILEGES_INFOW { pmszRequiredPrivileges: privileges.as_mut_ptr() };
    // SAFETY: the service is open, and the structure is the one for this level.
    let done = unsafe {
        ChangeServiceConfig2W(
            service.raw_handle(),
            SERVICE_CONFIG_REQUIRED_PRIVILEGES_INFO,
            ptr::from_ref(&info).cast(),
        )
    };
    match done {
        0 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_identifier_of_a_service() {
        let known = "S-1-5-80-956008885-3418522649-1831038044-1853292631-2271478464";
        assert_eq!(service_sid("TrustedInstaller"), known);
    }

    #[test]
    fn rules_that_make_sense_and_one_that_does_not() {
        let directory = std::env::temp_dir().join(format!("rpcapd-rights-{}", std::process::id()));
        std::fs::create_dir(&directory).unwrap();
        protect(&directory, &service_sid("rpcapd")).unwrap();
        assert!(protect(&directory, "nobody)").is_err());
        std::fs::write(directory.join("file"), "for administrators").unwrap();
        std::fs::remove_dir_all(directory).unwrap();
    }
}
