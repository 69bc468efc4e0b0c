//! Certificates for tests.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::process::Command;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd,
};

use crate::lab::{Lab, for_the_daemon};
use crate::process::run;
use crate::programs::program;

/// A certificate and its key.
#[derive(Clone, Debug)]
pub struct Pair {
    /// The certificate's file.
    pub cert: String,
    /// The key's.
    pub key: String,
}

impl Pair {
    /// As a daemon of ours takes it.
    pub fn tls(&self) -> [&str; 5] {
        ["--tls", "--tls-cert", &self.cert, "--tls-key", &self.key]
    }

    /// As libpcap's daemon takes it.
    pub fn ssl(&self) -> [&str; 5] {
        ["-S", "-X", &self.cert, "-K", &self.key]
    }
}

/// What `rpcapd tls init` makes, in a directory of this name, and the fingerprint that it prints.
#[track_caller]
pub fn made(lab: &Lab, directory: &str, names: &[&str]) -> (Pair, String) {
    let directory = lab.path(directory);
    let mut command = Command::new(program("rpcapd"));
    command.args(["tls", "init", "--directory"]).arg(&directory);
    for name in names {
        command.args(["--name", name]);
    }
    let said = run(&mut command);
    let print = said.lines().find_map(|line| line.strip_prefix("SHA-256 fingerprint: "));
    let print = print.unwrap_or_else(|| panic!("no fingerprint in {said}")).to_owned();
    for_the_daemon(&directory.join("key.pem"));
    let file = |name: &str| text(directory.join(name));
    (Pair { cert: file("cert.pem"), key: file("key.pem") }, print)
}

/// Somebody who vouches.
#[derive(Debug)]
pub struct Ca<'a> {
    lab: &'a Lab,
    issuer: CertifiedIssuer<'static, KeyPair>,
    /// The file of its own certificate.
    pub cert: String,
}

impl<'a> Ca<'a> {
    /// Somebody of this name.
    #[track_caller]
    pub fn new(lab: &'a Lab, name: &str) -> Self {
        let mut params = params(&[], name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("a certificate of a CA");
        let cert = text(lab.path(&format!("{name}.pem")));
        fs::write(&cert, issuer.pem()).expect("writing a certificate");
        Self { lab, issuer, cert }
    }

    /// A certificate for these names, in files that begin with this word.
    #[track_caller]
    pub fn vouch(&self, word: &str, names: &[&str]) -> Pair {
        self.sign(word, params(names, word))
    }

    /// The same, of a time that is over.
    #[track_caller]
    pub fn vouched(&self, word: &str, names: &[&str]) -> Pair {
        let mut params = params(names, word);
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2021, 1, 1);
        self.sign(word, params)
    }

    #[track_caller]
    fn sign(&self, word: &str, params: CertificateParams) -> Pair {
        let key = KeyPair::generate().expect("a key");
        let cert = params.signed_by(&key, &self.issuer).expect("a certificate");
        let file = |end: &str| text(self.lab.path(&format!("{word}{end}")));
        let pair = Pair { cert: file("-cert.pem"), key: file("-key.pem") };
        fs::write(&pair.cert, cert.pem()).expect("writing a certificate");
        let mut options = OpenOptions::new();
        let file = options.write(true).create(true).truncate(true).mode(0o600).open(&pair.key);
        let written = file.and_then(|mut file| file.write_all(key.serialize_pem().as_bytes()));
        written.expect("writing a key");
        for_the_daemon(pair.key.as_ref());
        pair
    }
}

fn params(names: &[&str], subject: &str) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|&n| n.to_owned()).collect();
    let mut params = CertificateParams::new(names).expect("names");
    params.distinguished_name.push(DnType::CommonName, subject);
    params
}

fn text(path: PathBuf) -> String {
    path.into_os_string().into_string().expect("a path of ours")
}
