//! Certificates and keys in files, in PEM's notation.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// Most bytes of a file.
const SIZE_MAX: u64 = 4 * 1024 * 1024;

/// A path as it can be logged.
pub(super) fn shown(path: &Path) -> String {
    path.display().to_string().escape_debug().to_string()
}

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
fn private(file: &File) -> io::Result<()> {
    use std::os::unix::fs::MetadataExt;

    match file.metadata()?.mode() & 0o027 {
        0 => Ok(()),
        _ => Err(io::Error::other("others than its owner and group can get at it: chmod 640")),
    }
}

#[cfg(not(unix))]
fn private(_file: &File) -> io::Result<()> {
    Ok(())
}

fn read(path: &Path, check: impl Fn(&File) -> io::Result<()>) -> Result<Vec<u8>, String> {
    let read = || {
        // Before it is opened: a pipe would wait for its other end.
        if !std::fs::metadata(path)?.is_file() {
            return Err(io::Error::other("not a file"));
        }
        let file = File::open(path)?;
        check(&file)?;
        let mut bytes = Vec::new();
        file.take(SIZE_MAX + 1).read_to_end(&mut bytes)?;
        match bytes.len() as u64 > SIZE_MAX {
            true => Err(io::Error::other(format!("longer than {SIZE_MAX} bytes"))),
            false => Ok(bytes),
        }
    };
    read().map_err(|e| format!("{}: {e}", shown(path)))
}
