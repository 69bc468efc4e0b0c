//! What other programs make of the files. Missing programs skip a test, unless
//! `RPCAP_REQUIRE_ALL=1` is set.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs};

use super::*;

/// Whether `name` can be run.
fn has(name: &str) -> bool {
    let mut found = Command::new(name);
    found.arg("--version").stdout(Stdio::null()).stderr(Stdio::null());
    if found.status().is_ok() {
        return true;
    }
    assert!(env::var_os("RPCAP_REQUIRE_ALL").is_none_or(|set| set != "1"), "{name} is missing");
    eprintln!("SKIPPED: {name} is missing");
    false
}

/// Standard output of a program that succeeds.
fn run(name: &str, arguments: &[&str], file: &Path) -> String {
    let output = Command::new(name).args(arguments).arg(file).env("TZ", "UTC").output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

/// A file that removes itself.
struct Temporary(PathBuf);

impl Temporary {
    fn new(name: &str, bytes: &[u8]) -> Temporary {
        let path = env::temp_dir().join(format!("rpcap-{}-{name}", std::process::id()));
        fs::write(&path, bytes).unwrap();
        Temporary(path)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// An Ethernet frame of no known protocol.
fn frame(length: usize) -> Vec<u8> {
    let mut frame = vec![0x5a; length];
    if let Some(ether_type) = frame.get_mut(12..14) {
        ether_type.copy_from_slice(&[0x88, 0xb5]);
    }
    frame
}

const LENGTHS: [usize; 6] = [0, 1, 59, 60, 1514, 262_144];

fn sample(name: &str, format: Format) -> Temporary {
    let frames: Vec<Vec<u8>> = LENGTHS.iter().map(|length| frame(*length)).collect();
    let records: Vec<Record<'_>> = frames
        .iter()
        .enumerate()
        .map(|(at, data)| Record {
            secs: 1_700_000_000 + at as u64,
            nanos: 123_456_789,
            // tcpdump refuses to print packets that were longer than the largest snaplen.
            len: (data.len() as u32 + 4).min(MAX_SNAPLEN),
            data,
            loss: (at == 2).then_some(Loss { network: 37, queue: 0, kernel: 4 }),
            ..Record::default()
        })
        .collect();
    let summary = Summary {
        start: Some(1_700_000_000_000_000_000),
        end: Some(1_700_000_009_000_000_000),
        received: Some(1001),
        if_dropped: Some(1002),
        filter_accepted: Some(1003),
        os_dropped: Some(1004),
        delivered: Some(1005),
        clock: CLOCK,
        comment: "sent 6 = delivered 6\nlost 0".into(),
    };
    let meta = Meta {
        hardware: Some("virtual".into()),
        os: Some("Linux 6".into()),
        comment: Some("rpcap://host/eth0".into()),
        clock: CLOCK,
        ..meta()
    };
    Temporary::new(name, &savefile(format, &meta, &records, &summary))
}

#[test]
fn tcpdump_reads_all_formats() {
    if !has("tcpdump") {
        return;
    }
    for (name, format, fraction) in [
        ("d.pcapng", Format::Pcapng, "123456789"),
        ("d.pcap", Format::Pcap, "123456000"),
        ("n.pcap", Format::PcapNanoseconds, "123456789"),
    ] {
        let file = sample(name, format);
        let arguments = ["-n", "-e", "-tt", "--time-stamp-precision=nano", "-r"];
        let printed = run("tcpdump", &arguments, &file.0);
        let times: Vec<&str> = printed
            .lines()
            .filter(|line| line.starts_with("17000"))
            .map(|line| &line[..20])
            .collect();
        // It reads, but does not print, a packet of which nothing was captured.
        let expected: Vec<String> =
            (1..6).map(|second| format!("170000000{second}.{fraction}")).collect();
        assert_eq!(times, expected);
    }
}

#[test]
fn tcpdump_reads_a_pipe_while_it_is_written() {
    if !has("tcpdump") {
        return;
    }
    let mut tcpdump = Command::new("tcpdump")
        .args(["-n", "-tt", "-l", "-r", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(tcpdump.stdout.take().unwrap()).lines();
    let pipe = tcpdump.stdin.take().unwrap();
    let mut writer = Writer::new(pipe, Format::Pcapng, &meta()).unwrap();
    for second in 0..3 {
        let data = [[0xff; 12].as_slice(), &[0x08, 0x06], &[0; 28]].concat();
        writer
            .write(&Record {
                secs: 1_700_000_000 + second,
                nanos: 0,
                len: 60,
                data: &data,
                ..Record::default()
            })
            .unwrap();
        writer.flush().unwrap();
        let line = lines.next().unwrap().unwrap();
        assert!(line.starts_with(&format!("170000000{second}.0")), "{line}");
    }
    writer.finish(&Summary::default()).unwrap();
    assert!(tcpdump.wait().unwrap().success());
}

#[test]
fn tshark_finds_where_packets_were_lost() {
    if !has("tshark") {
        return;
    }
    let file = sample("l.pcapng", Format::Pcapng);
    let fields = ["-T", "fields", "-e", "frame.number", "-e", "frame.drop_count"];
    let comment = ["-e", "frame.comment", "-Y", "frame.drop_count", "-r"];
    let printed = run("tshark", &[&fields[..], &comment].concat(), &file.0);
    let lost = "37 packets lost here: network; 4 packets lost before here: the sender's kernel";
    assert_eq!(printed.trim(), format!("3\t41\t{lost}"));
}

#[test]
fn capinfos_finds_the_interface() {
    if !has("capinfos") {
        return;
    }
    let file = sample("c.pcapng", Format::Pcapng);
    let printed = run("capinfos", &[], &file.0);
    let squeezed = printed.split_whitespace().collect::<Vec<_>>().join(" ");
    for expected in [
        "Number of packets: 6",
        "File timestamp precision: nanoseconds (9)",
        "Capture length = 262144",
        "Name = eth0",
        "Description = uplink",
        "Hardware = virtual",
        "Operating system = Linux 6",
        "Filter string = tcp port 80",
        "Comment = rpcap://host/eth0",
        "Time resolution = 0x09",
        "Number of stat entries = 1",
        concat!("Capture application: rpcap ", env!("CARGO_PKG_VERSION")),
    ] {
        assert!(squeezed.contains(expected), "{expected} is not in {printed}");
    }
}

#[test]
fn tshark_reads_packets_and_statistics() {
    if !has("tshark") {
        return;
    }
    let file = sample("t.pcapng", Format::Pcapng);
    let fields = [
        "-T",
        "fields",
        "-E",
        "separator=/s",
        "-e",
        "frame.time_epoch",
        "-e",
        "frame.cap_len",
        "-e",
        "frame.len",
        "-e",
        "frame.interface_name",
        "-e",
        "frame.interface_description",
        "-r",
    ];
    let expected: String = LENGTHS
        .iter()
        .enumerate()
        .map(|(at, n)| {
            format!("170000000{at}.123456789 {n} {} eth0 uplink\n", (n + 4).min(262_144))
        })
        .collect();
    assert_eq!(run("tshark", &fields, &file.0), expected);

    let blocks = ["-X", "read_format:MIME Files Format", "-V", "-r"];
    let printed = run("tshark", &blocks, &file.0);
    for expected in [
        "Number of Received Packets = 1001",
        "Number of Dropped Packets = 1002",
        "Number of Accepted Packets = 1003",
        "Number of Packets Dropped by OS = 1004",
        "Number of Packets Delivered to the User = 1005",
        "sent 6 = delivered 6",
    ] {
        assert!(printed.contains(expected), "{expected} is not in {printed}");
    }
    assert!(!printed.contains("Malformed"), "{printed}");
}
