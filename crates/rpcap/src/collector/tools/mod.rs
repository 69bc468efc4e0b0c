//! Installers for agents: a fixed list of files, over HTTPS, at `/tools/rpcapd/`.
//!
//! What is served is read, and compared with its checksums, when the policy is: a request is looked
//! up in a map and never becomes a path. Files that change on the disk are served once the policy is
//! read again, all of them or none.

mod serve;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ring::digest::{SHA256, digest};
use rustls::ServerConfig;

pub use self::serve::serve;
use crate::tls::server_config;

/// The file that lists the others, as sha256sum(1) writes it.
const SUMS: &str = "SHA256SUMS";
/// Where the files are, in a URL.
const PLACE: &str = "/tools/rpcapd/";

/// What is served to agents, and to whom they speak.
#[derive(Clone)]
pub struct Tools {
    /// Where.
    pub listen: SocketAddr,
    /// SHA-256 of the list of checksums, in hexadecimal digits: who knows it can check everything
    /// else.
    pub digest: String,
    files: BTreeMap<String, Arc<[u8]>>,
    tls: Arc<ServerConfig>,
}

impl fmt::Debug for Tools {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&String> = self.files.keys().collect();
        f.debug_struct("Tools").field("listen", &self.listen).field("files", &names).finish()
    }
}

/// Why nothing can be served.
#[derive(Debug, thiserror::Error)]
pub enum ToolsError {
    /// A file cannot be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The list of checksums is none.
    #[error("{}, line {line}: a checksum and the name of a file beside it are wanted", path.display())]
    List {
        /// Which file.
        path: PathBuf,
        /// Where in it.
        line: usize,
    },
    /// A file is not the one that is listed.
    #[error("{} is not the file that {SUMS} lists: have them made again, together", path.display())]
    Sum {
        /// Which.
        path: PathBuf,
    },
    /// The certificate or its key.
    #[error(transparent)]
    Tls(#[from] crate::tls::TlsError),
}

impl Tools {
    /// Reads the files that `SHA256SUMS` in a directory lists, and checks them; then the
    /// certificate (PEM), with those that vouch for it behind it, and its key.
    pub fn load(
        directory: &Path,
        listen: SocketAddr,
        cert: &Path,
        key: &Path,
    ) -> Result<Self, ToolsError> {
        let tls = Arc::new(server_config(cert, key)?);
        let read = |name: &str| {
            let path = directory.join(name);
            fs::read(&path).map_err(|source| ToolsError::Read { path, source })
        };
        let sums = read(SUMS)?;
        let mut files = BTreeMap::new();
        for (line, text) in String::from_utf8_lossy(&sums).lines().enumerate() {
            let (sum, name) = listed(text)
                .ok_or_else(|| ToolsError::List { path: directory.join(SUMS), line: line + 1 })?;
            let bytes = read(name)?;
            if !sum.eq_ignore_ascii_case(&sha256(&bytes)) {
                return Err(ToolsError::Sum { path: directory.join(name) });
            }
            files.insert(name.to_owned(), bytes.into());
        }
        let digest = sha256(&sums);
        files.insert(SUMS.to_owned(), sums.into());
        Ok(Self { listen, digest, files, tls })
    }

    /// The file of this path in a URL.
    fn file(&self, path: &str) -> Option<(&str, &Arc<[u8]>)> {
        let name = path.strip_prefix(PLACE)?;
        self.files.get_key_value(name).map(|(name, bytes)| (name.as_str(), bytes))
    }

    /// The names of all files and their sizes in bytes, one a line.
    fn index(&self) -> String {
        let mut text = String::new();
        for (name, bytes) in &self.files {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{:>10}  {name}", bytes.len());
        }
        text
    }
}

/// The checksum and the name in a line of the list.
fn listed(line: &str) -> Option<(&str, &str)> {
    let (sum, rest) = line.split_once(' ')?;
    // The second place is "*" for files that were read as bytes.
    let name = rest.strip_prefix([' ', '*'])?;
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    let beside = !name.is_empty() && !name.starts_with('.') && name.chars().all(plain);
    (sum.len() == 64 && beside && name != SUMS).then_some((sum, name))
}

fn sha256(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(64);
    for byte in digest(&SHA256, bytes).as_ref() {
        let _ = write!(text, "{byte:02x}");
    }
    text
}
