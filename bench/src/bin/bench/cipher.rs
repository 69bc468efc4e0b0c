//! Certificates for daemons that encrypt, and how fast the ciphers themselves are.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};
use bench::pin;

/// Bytes that are encrypted at a time: those of a full record.
const RECORD: &str = "16384";

/// A directory with a certificate and its key, that goes away.
pub(crate) struct Certificate(PathBuf);

impl Certificate {
    /// As our daemon makes it.
    pub(crate) fn new(rpcapd: &Path) -> anyhow::Result<Self> {
        let path = std::env::temp_dir().join(format!("bench-{}", std::process::id()));
        std::fs::create_dir(&path).with_context(|| format!("{}", path.display()))?;
        let certificate = Self(path);
        let mut command = Command::new(rpcapd);
        command.args(["tls", "init", "--name", "localhost", "--directory"]).arg(&certificate.0);
        let output = command.output().context("rpcapd tls init")?;
        if !output.status.success() {
            bail!("rpcapd tls init: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(certificate)
    }

    /// A file of it.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// What a daemon is told.
    pub(crate) fn options(&self) -> Vec<String> {
        let file = |name| self.file(name).display().to_string();
        let options = ["--tls", "--tls-cert", &file("cert.pem"), "--tls-key", &file("key.pem")];
        options.map(str::to_owned).to_vec()
    }
}

impl Drop for Certificate {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// What OpenSSL's own test says of each cipher on the daemon's core, in bytes per second.
pub(crate) struct Speeds(Vec<(&'static str, f64)>);

/// The ends of suites' names, and what OpenSSL calls their ciphers.
const CIPHERS: [(&str, &str); 3] = [
    ("AES_128_GCM_SHA256", "aes-128-gcm"),
    ("AES_256_GCM_SHA384", "aes-256-gcm"),
    ("CHACHA20_POLY1305_SHA256", "chacha20-poly1305"),
];

impl Speeds {
    /// Runs it, a few seconds.
    pub(crate) fn measure(core: usize) -> anyhow::Result<Self> {
        let mut speeds = Vec::new();
        for (suite, cipher) in CIPHERS {
            let mut command = Command::new("openssl");
            command.args(["speed", "-seconds", "2", "-bytes", RECORD, "-mr", "-evp", cipher]);
            pin(core)?;
            let output = command.output();
            let output = output.context("openssl speed")?;
            let said = String::from_utf8_lossy(&output.stdout);
            // +F:number:name:bytes per second
            let last = said.lines().find(|l| l.starts_with("+F:"));
            let speed = last.and_then(|l| l.rsplit(':').next()?.trim().parse().ok());
            speeds.push((suite, speed.with_context(|| format!("openssl speed said {said:?}"))?));
        }
        Ok(Self(speeds))
    }

    /// Of a suite; not a number where it is not known.
    pub(crate) fn of(&self, suite: &str) -> f64 {
        let found = self.0.iter().find(|(name, _)| suite.ends_with(name));
        found.map_or(f64::NAN, |(_, speed)| *speed)
    }
}

impl fmt::Display for Speeds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`openssl speed -evp`, records of {RECORD} bytes, MB/s:")?;
        for ((_, speed), (_, cipher)) in self.0.iter().zip(CIPHERS) {
            write!(f, " {cipher} {:.0}", speed / 1e6)?;
        }
        Ok(())
    }
}
