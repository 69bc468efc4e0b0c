//! Sealed datagrams as `docs/sealed-udp.md` has them: vectors that another program agrees with.

use std::fmt::Write;
use std::path::PathBuf;
use std::process::Command;

use rpcap_proto::batch::Batch;
use rpcap_proto::sealed::{Cipher, KEY_USES, Opener, Sealer, Secret};
use rpcap_proto::udpstr::Packer;
use rpcap_proto::wire::{Fraction, PacketHeader};

const CIPHERS: [(&str, Cipher); 3] = [
    ("aes-128-gcm", Cipher::Aes128Gcm),
    ("aes-256-gcm", Cipher::Aes256Gcm),
    ("chacha20-poly1305", Cipher::ChaCha20Poly1305),
];

/// Numbers of datagrams: the first ones, both sides of the end of an epoch and of 32 bits, and a
/// large one.
const NUMBERS: [u64; 7] =
    [0, 1, KEY_USES - 1, KEY_USES, 0xffff_ffff, 0x1_0000_0000, 0x12_3456_789a];

fn file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/sealed").join(name)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string");
        text
    })
}

fn unhex(text: &str) -> Vec<u8> {
    let digits = |at| u8::from_str_radix(&text[at..at + 2], 16).expect("hex digits");
    (0..text.len()).step_by(2).map(digits).collect()
}

/// A datagram of this number, and what it is sealed.
fn seal(secret: [u8; 32], cipher: Cipher, number: u64) -> (Vec<u8>, Vec<u8>) {
    let mut packer = Packer::new(1472).expect("a limit").starting_at(number as u32);
    let header =
        PacketHeader { secs: 1_700_000_000, fraction: Fraction(7), len: 20, ..Default::default() };
    packer.push(&PacketHeader { npkt: 1, ..header }, b"what a packet has in");
    packer.push(&PacketHeader { npkt: 2, len: 1500, ..header }, b"and another one");
    let batch = packer.flushed();
    let mut out = Batch::default();
    let mut sealer = Sealer::new(Secret::new(secret), cipher).with(KEY_USES, number);
    assert!(sealer.seal(batch, &mut out));
    let bytes = |batch: &Batch| batch.datagram(0).expect("a datagram").bytes.to_vec();
    (bytes(batch), bytes(&out))
}

fn vectors() -> String {
    let mut text = String::from("# cipher secret number udpstr sealed\n");
    for (name, cipher) in CIPHERS {
        let secret = std::array::from_fn(|i| i as u8 ^ name.len() as u8);
        for number in NUMBERS {
            let (plain, sealed) = seal(secret, cipher, number);
            let line = [hex(&secret), format!("{number:x}"), hex(&plain), hex(&sealed)].join(" ");
            writeln!(text, "{name} {line}").expect("a string");
        }
    }
    text
}

/// To make them anew: `RPCAP_BLESS=1`.
#[test]
fn the_vectors_are_what_is_sealed() {
    let path = file("vectors.txt");
    if std::env::var_os("RPCAP_BLESS").is_some() {
        std::fs::write(&path, vectors()).expect("writing the vectors");
    }
    assert_eq!(std::fs::read_to_string(&path).expect("the vectors"), vectors());
}

#[test]
fn the_vectors_are_opened() {
    let text = std::fs::read_to_string(file("vectors.txt")).expect("the vectors");
    let mut openers: Vec<(String, Opener)> = Vec::new();
    for line in text.lines().filter(|l| !l.starts_with('#')) {
        let [name, secret, number, plain, sealed] =
            line.split(' ').collect::<Vec<_>>().try_into().expect("five fields");
        let number = u64::from_str_radix(number, 16).expect("a number");
        if openers.last().is_none_or(|(of, _)| of != name) {
            let (_, cipher) = CIPHERS.into_iter().find(|c| c.0 == name).expect("a cipher");
            let secret = Secret::new(unhex(secret).try_into().expect("32 bytes"));
            openers.push((name.to_owned(), Opener::new(secret, cipher)));
        }
        let (_, opener) = openers.last_mut().expect("an opener");
        let opened = opener.open(&unhex(sealed));
        // The last numbers are too far apart to be told from the lower half.
        if number <= KEY_USES {
            assert_eq!(opened.map(hex).as_deref(), Ok(plain), "{name} {number}");
        } else {
            assert!(opened.is_err(), "{name} {number}");
        }
    }
    assert_eq!(openers.len(), CIPHERS.len());
}

/// Where python's `cryptography` is: CI has it.
#[test]
fn another_program_agrees() {
    let python = |arguments: &[&str]| Command::new("python3").args(arguments).output();
    if !python(&["-c", "import cryptography"]).is_ok_and(|o| o.status.success()) {
        assert!(
            std::env::var_os("RPCAP_REQUIRE_ALL").is_none(),
            "python3-cryptography is not installed"
        );
        eprintln!("SKIPPED: another_program_agrees: python3-cryptography is not installed");
        return;
    }
    let (script, vectors) = (file("check.py"), file("vectors.txt"));
    let path = |p: &PathBuf| p.to_str().expect("a path of ours").to_owned();
    let output = python(&[&path(&script), &path(&vectors)]).expect("python3");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(said, format!("{} vectors agree\n", CIPHERS.len() * NUMBERS.len()));
}
