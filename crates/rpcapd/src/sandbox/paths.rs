//! The files that a daemon may still need.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use crate::cli::Cli;
use crate::config::Config;
use crate::devices::Backend;

/// Files that may be read, and directories that files may be removed from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Paths {
    /// Directories, and files in `/`, that are read.
    pub read: Vec<PathBuf>,
    /// Directories of files that are removed at the end.
    pub remove: Vec<PathBuf>,
    /// Whether names of hosts or services may have to be looked up.
    pub names: bool,
    /// Whether libpcap captures, which also looks for what is no network interface.
    pub libpcap: bool,
}

impl Paths {
    /// Those of this configuration.
    pub fn of(config: &Config, remove: impl IntoIterator<Item = PathBuf>) -> Self {
        let cli = &config.cli;
        let files = config.file.as_deref().into_iter().chain(files(cli));
        // A file can bring names with every reload.
        let names = config.has_files()
            || cli.allow.is_some()
            || cli.filter.is_some()
            || !cli.active.is_empty();
        let parents = |file: PathBuf| file.parent().map(Path::to_owned);
        Self {
            read: files.flat_map(around).collect(),
            remove: remove.into_iter().filter_map(parents).collect(),
            names,
            libpcap: cli.backend == Backend::Libpcap,
        }
    }

    /// The files of a configuration that are there and that the daemon cannot read now.
    pub fn unreadable(config: &Config) -> impl Iterator<Item = (&Path, io::Error)> {
        let files = config.file.as_deref().into_iter().chain(files(&config.cli));
        let there = files.filter(|file| file.is_file());
        there.filter_map(|file| File::open(file).err().map(|e| (file, e)))
    }

    /// A file that these options name and that these paths do not have.
    pub fn missing<'a>(&self, cli: &'a Cli) -> Option<&'a Path> {
        let has = |path: PathBuf| self.read.iter().any(|allowed| path.starts_with(allowed));
        files(cli).find(|file| !around(file).all(has))
    }
}

/// The files that a session or a reload opens.
fn files(cli: &Cli) -> impl Iterator<Item = &Path> {
    let named = [&cli.users, &cli.tls_cert, &cli.tls_key, &cli.tls_client_ca];
    let named = named.into_iter().filter_map(Option::as_deref);
    named.chain(cli.replay.iter().map(|replay| replay.file.as_path()))
}

/// What has to be readable so that a file is, also after it was replaced: its directory, and that of
/// the file that a link leads to.
fn around(file: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    let named = std::path::absolute(file).ok();
    let real = std::fs::canonicalize(file).ok();
    named.into_iter().chain(real).map(|path| match path.parent() {
        // Everything else is below it.
        Some(parent) if parent != Path::new("/") => parent.to_owned(),
        _ => path,
    })
}
