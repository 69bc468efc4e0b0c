//! `rpcapd tls init`: a key, and a certificate that vouches for itself.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use rcgen::{CertificateParams, DnType, KeyPair};
use ring::digest::{SHA256, digest};
use zeroize::Zeroizing;

use crate::files;

/// Options of `rpcapd tls init`.
#[derive(Clone, Debug, Args)]
pub struct InitArgs {
    /// Where cert.pem and key.pem are to be; none of them may be there
    #[arg(long, value_name = "DIRECTORY",
          default_value_os_t = files::configuration("/etc/rpcapd", ""))]
    directory: PathBuf,

    /// A name or address that clients reach this host by. May be repeated [default: this host's name]
    #[arg(long, value_name = "NAME")]
    name: Vec<String>,
}

/// Makes both files and returns what to tell: where they are, and the certificate's fingerprint.
pub fn run(args: &InitArgs) -> anyhow::Result<String> {
    let names = match args.name.is_empty() {
        false => args.name.clone(),
        true => vec![host_name()?],
    };
    let key = KeyPair::generate().context("making a key")?;
    let mut params = CertificateParams::new(names.clone()).context("making a certificate")?;
    // Otherwise all certificates would have one subject.
    params.distinguished_name.push(DnType::CommonName, names[0].as_str());
    let certificate = params.self_signed(&key).context("making a certificate")?;
    files::make_directory(&args.directory)
        .with_context(|| format!("making {}", args.directory.display()))?;
    let (cert_path, key_path) = (args.directory.join("cert.pem"), args.directory.join("key.pem"));
    let pem = Zeroizing::new(key.serialize_pem());
    create(&key_path, true, pem.as_bytes())?;
    create(&cert_path, false, certificate.pem().as_bytes()).inspect_err(|_| {
        // A key without its certificate would only be in the way.
        let _ = fs::remove_file(&key_path);
    })?;
    let print = digest(&SHA256, certificate.der());
    let print: Vec<_> = print.as_ref().iter().map(|byte| format!("{byte:02X}")).collect();
    Ok(format!(
        "certificate: {}\nkey: {}\nSHA-256 fingerprint: {}\n",
        cert_path.display(),
        key_path.display(),
        print.join(":")
    ))
}

fn create(path: &Path, secret: bool, bytes: &[u8]) -> anyhow::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, if secret { 0o600 } else { 0o644 });
    let written = options.open(path).and_then(|mut file| {
        let hidden = if secret { files::hide(path) } else { Ok(()) };
        let written = hidden.and_then(|()| file.write_all(bytes)).and_then(|()| file.sync_all());
        // Half of it would be in the way of the next one.
        written.inspect_err(|_| drop(fs::remove_file(path)))
    });
    written.with_context(|| format!("writing {}", path.display()))
}

#[cfg(unix)]
fn host_name() -> anyhow::Result<String> {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    Ok(name)
}

#[cfg(not(unix))]
fn host_name() -> anyhow::Result<String> {
    std::env::var("COMPUTERNAME").context("say with --name by which name clients reach this host")
}
