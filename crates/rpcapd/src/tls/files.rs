//! Certificates and keys in files, in PEM's notation.

use std::fs::File;
use std::path::Path;

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::files::{self, Unread, shown};

/// Most bytes of a file.
const SIZE_MAX: u64 = 4 * 1024 * 1024;

/// The certificates of a file, at least one.
pub(super) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let bytes = read(path, |_| Ok(()))?;
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    match all {
        Ok(all) if !all.is_empty() => Ok(all),
        Ok(_) => Err(format!("{}: there is no certificate in it", shown(path))),
        Err(e) => Err(format!("{}: {e}", shown(path))),
    }
}

/// Those who vouch for clients.
pub(super) fn roots(path: &Path) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|e| format!("{}: {e}", shown(path)))?;
    }
    Ok(roots)
}

/// The key of a file that not everybody can read.
pub(super) fn key(path: &Path) -> Result<PrivateKeyDer<'static>, String> {
    let bytes = zeroize::Zeroizing::new(read(path, private)?);
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|e| format!("{}: no key: {e}", shown(path)))
}

#[cfg(unix)]
fn private(file: &File) -> Result<(), Unread> {
    use std::os::unix::fs::MetadataExt;

    match file.metadata()?.mode() & 0o027 {
        0 => Ok(()),
        _ => {
            let reason = "others than its owner and group can get at it: chmod 640";
            Err(Unread::Refused(reason.to_owned()))
        }
    }
}

#[cfg(not(unix))]
fn private(_file: &File) -> Result<(), Unread> {
    Ok(())
}

fn read(path: &Path, check: impl FnOnce(&File) -> Result<(), Unread>) -> Result<Vec<u8>, String> {
    files::read(path, SIZE_MAX, check).map_err(|reason| {
        let reason = match reason {
            Unread::System(e) => e.to_string(),
            Unread::NoFile => "not a file".to_owned(),
            Unread::TooLong => format!("longer than {SIZE_MAX} bytes"),
            Unread::Refused(reason) => reason,
        };
        format!("{}: {reason}", shown(path))
    })
}
