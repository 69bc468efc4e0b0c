//! Real frames, as this packer sends them, for an independent decoder.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rpcap_proto::wire::{Fraction, PacketHeader};

use super::model::*;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden").join(name)
}

/// The frames of `frames.pcap`, a little-endian file with microseconds.
fn frames() -> Vec<Packet> {
    let file = std::fs::read(golden("frames.pcap")).unwrap();
    let field = |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().unwrap());
    let (mut at, mut frames) = (24, Vec::new());
    while at < file.len() {
        let [secs, micros, caplen, len] = [0, 4, 8, 12].map(|o| field(at + o));
        at += 16 + caplen as usize;
        let npkt = frames.len() as u32 + 1;
        let header = PacketHeader { secs, fraction: Fraction(micros), caplen, len, npkt };
        frames.push((header, file[at - caplen as usize..at].to_vec()));
    }
    assert_eq!(frames.len(), 4226);
    frames
}

/// What the independent decoder says of datagrams, if there is a Python to run it.
fn reference(name: &str, sent: &[Sent]) -> Option<String> {
    let found = Command::new("python3").arg("--version").stdout(Stdio::null()).status();
    if !found.is_ok_and(|status| status.success()) {
        let required = env::var_os("RPCAP_REQUIRE_ALL").is_some_and(|set| set == "1");
        assert!(!required, "python3 is missing");
        eprintln!("\nSKIPPED: python3 is missing; the independent decoder did not run\n");
        return None;
    }
    let mut bytes = Vec::new();
    for datagram in sent {
        bytes.extend_from_slice(&(datagram.bytes.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&datagram.bytes);
    }
    let path = env::temp_dir().join(format!("{name}-{}.dgrams", std::process::id()));
    std::fs::write(&path, bytes).unwrap();
    let output = Command::new("python3")
        .arg(golden("udpstr_ref.py"))
        .arg(&path)
        .arg(golden("frames.pcap"))
        .output()
        .unwrap();
    std::fs::remove_file(&path).unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    Some(said)
}

fn frames_at(mtu: usize) {
    let frames = frames();
    for (name, each) in [("whole", usize::MAX), ("flushed", 31), ("single", 1)] {
        let sent = pack(mtu, 0, &frames, |i| i % each == each - 1);
        let form: Vec<Packet> = read(mtu, 0, &sent).into_iter().map(|p| p.0).collect();
        assert!(form == frames, "some frame differs");
        let Some(said) = reference(&format!("udpstr-{mtu}-{name}"), &sent) else {
            continue;
        };
        for expected in [
            "packets 4226 ",
            "'lost': 0,",
            "'hdrsplit': 0,",
            "'leftover': 0}",
            "prefix equal True missing at the end 0",
        ] {
            assert!(said.contains(expected), "{expected}: {said}");
        }
    }
}

#[test]
fn the_reference_decoder_reads_what_is_packed_for_500_bytes() {
    frames_at(500);
}

#[test]
fn the_reference_decoder_reads_what_is_packed_for_1472_bytes() {
    frames_at(1472);
}

#[test]
fn the_reference_decoder_reads_what_is_packed_for_8972_bytes() {
    frames_at(8972);
}
