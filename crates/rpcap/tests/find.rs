//! `rpcap read` and `rpcap merge`, and what other programs make of the same files.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, UNIX_EPOCH};

use rpcap::file::rotate::{Rotating, Rotation};
use rpcap::file::{Format, Meta, Record, Summary, Writer};

const BEGIN: u64 = 1_800_000_000;

/// Whether `name` can be run.
fn has(name: &str) -> bool {
    let found = Command::new(name)
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok();
    assert!(found || env::var_os("RPCAP_REQUIRE_ALL").is_none_or(|v| v != "1"), "no {name}");
    found
}

fn run(name: &str, arguments: &[&str]) -> Output {
    let output = Command::new(name).args(arguments).env("TZ", "UTC").output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name} {arguments:?}: {errors}");
    output
}

fn said(name: &str, arguments: &[&str]) -> String {
    String::from_utf8(run(name, arguments).stdout).unwrap()
}

fn program(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_rpcap")).args(arguments).output().unwrap()
}

fn rpcap(arguments: &[&str]) -> Output {
    run(env!("CARGO_BIN_EXE_rpcap"), arguments)
}

/// A directory that goes away.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let path = env::temp_dir().join(format!("rpcap-find-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A TCP segment from one of some ports, with noise behind it.
fn frame(number: u32) -> Vec<u8> {
    let port = [443u16, 80, 22][number as usize % 3];
    let payload = 20 + number as usize * 37 % 4000;
    let total = 40 + payload as u16;
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0, 0x45, 0];
    frame.extend(total.to_be_bytes());
    frame.extend([0, 0, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    frame.extend([port.to_be_bytes(), 40_000u16.to_be_bytes()].concat());
    frame.extend([0, 0, 0, 1, 0, 0, 0, 2, 0x50, 0x10, 1, 0, 0, 0, 0, 0]);
    let mut noise = number;
    frame.extend((0..payload).map(|_| {
        noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (noise >> 24) as u8
    }));
    frame
}

/// Files of an hour each with a packet every four seconds for each of two agents.
fn hours(place: &Place, hours: u64, compress: bool) {
    let rotation =
        Rotation { compress, max_age: Some(Duration::from_secs(3600)), ..Rotation::default() };
    let at = |s| UNIX_EPOCH + Duration::from_secs(BEGIN + s);
    for agent in ["web1", "web2"] {
        let mut writer = Rotating::new(&place.0, agent, rotation, at(0));
        let meta = Meta { linktype: 1, interface: format!("{agent} eth0"), ..Meta::default() };
        let source = writer.add(&meta).unwrap();
        for second in (0..hours * 3600).step_by(4) {
            writer.tick(at(second));
            let data = frame(second as u32 / 4);
            let nanos = if agent == "web1" { 1 } else { 500_000_002 };
            let len = data.len() as u32;
            writer.write(
                source,
                &Record { secs: BEGIN + second, nanos, len, data: &data, ..Record::default() },
            );
        }
        writer.finish();
    }
}

fn names(place: &Place) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(&place.0)
        .unwrap()
        .map(|entry| entry.unwrap().path().display().to_string())
        .collect();
    names.sort();
    names
}

/// Packets of a file that Wireshark's programs can read.
fn count(file: &str) -> usize {
    let text = said("capinfos", &["-M", "-c", file]);
    text.trim_end().rsplit(' ').next().unwrap().parse().unwrap()
}

/// What tshark says of every packet.
fn fields(file: &str) -> Vec<String> {
    let fields = ["frame.time_epoch", "frame.len", "frame.interface_name", "tcp.port"];
    let mut arguments = vec!["-n", "-r", file, "-T", "fields"];
    fields.iter().for_each(|field| arguments.extend(["-e", field]));
    said("tshark", &arguments).lines().map(str::to_owned).collect()
}

/// The same files as tshark 4.0 can read them: of a compressed one it reads the first frame only.
fn unpacked(files: &[String]) -> Vec<String> {
    let unpack = |file: &String| match file.strip_suffix(".zst") {
        Some(plain) => {
            run("zstd", &["-q", "-t", file]);
            run("zstd", &["-q", "-d", file, "-o", plain]);
            plain.to_owned()
        }
        None => file.clone(),
    };
    files.iter().map(unpack).collect()
}

#[test]
fn others_read_over_the_index() {
    if !["tshark", "tcpdump", "capinfos", "editcap", "mergecap", "zstd"].into_iter().all(has) {
        return;
    }
    for compress in [false, true] {
        let place = Place::new(&format!("others-{compress}"));
        hours(&place, 1, compress);
        let files = names(&place);
        let [file, other] = &unpacked(&files)[..] else { panic!("two files") };
        assert_eq!(fields(file).len(), 900);
        assert_eq!(count(file), 900);
        let copy = place.path("copy.pcapng");
        run("editcap", &[file, &copy]);
        assert_eq!(fields(&copy), fields(file));
        let merged = place.path("merged.pcapng");
        run("mergecap", &["-w", &merged, file, other]);
        assert_eq!(count(&merged), 1800);
        let lines = said("tcpdump", &["-n", "-r", file]);
        assert_eq!(lines.lines().count(), 900);
        // What was unpacked is read as well, as a whole, and nothing is wrong with it.
        let output = rpcap(&["read", "-q", "-w", &copy, file, "--since", "2027-01-15"]);
        assert!(output.stderr.is_empty(), "{output:?}");
        assert_eq!(fields(&copy), fields(file));
    }
}

#[test]
fn a_filter_keeps_what_tcpdump_keeps() {
    if !["tcpdump", "editcap"].into_iter().all(has) {
        return;
    }
    let place = Place::new("filter");
    hours(&place, 1, false);
    let file = names(&place).remove(0);
    let (ours, theirs) = (place.path("ours.pcap"), place.path("theirs.pcap"));
    for filter in ["tcp port 443", "len > 500", "not tcp", "tcp[13] & 16 != 0 and src port 22"] {
        rpcap(&["read", "-q", "-f", filter, "-w", &ours, &file]);
        run("tcpdump", &["-n", "-r", &file, "-w", &theirs, filter]);
        let (ours, theirs) = (fs::read(&ours).unwrap(), fs::read(&theirs).unwrap());
        assert_eq!(ours[24..], theirs[24..], "{filter}");
    }
    // What others write.
    let lines = said(env!("CARGO_BIN_EXE_rpcap"), &["read", "-q", &file]);
    assert_eq!(lines.lines().count(), 900);
    for format in ["pcap", "nsecpcap", "pcapng"] {
        let converted = place.path("converted");
        run("editcap", &["-F", format, &file, &converted]);
        let again = said(env!("CARGO_BIN_EXE_rpcap"), &["read", "-q", &converted]);
        assert_eq!(again, lines, "{format}");
    }
}

#[test]
fn merging_is_what_mergecap_makes_of_it() {
    if !["tshark", "mergecap", "zstd"].into_iter().all(has) {
        return;
    }
    for compress in [false, true] {
        let place = Place::new(&format!("merge-{compress}"));
        hours(&place, 2, compress);
        let files = names(&place);
        let (ours, theirs) = (place.path("ours"), place.path("theirs"));
        let directory = place.0.display().to_string();
        let output = rpcap(&["merge", "-w", &ours, &directory]);
        let report = String::from_utf8(output.stderr).unwrap();
        assert!(report.contains("3,600 packets written to"), "{report}");
        let files = unpacked(&files);
        let mut arguments = vec!["-w", &theirs];
        arguments.extend(files.iter().map(String::as_str));
        run("mergecap", &arguments);
        assert_eq!(fields(&ours), fields(&theirs));
        // Each interface once, of however many files.
        let about = said("capinfos", &[&ours]);
        assert!(about.contains("Number of interfaces in file: 2"), "{about}");
    }
}

#[test]
fn a_clock_is_corrected_once() {
    let place = Place::new("clock");
    let (file, once, twice) =
        (place.path("a.pcapng"), place.path("b.pcapng"), place.path("c.pcapng"));
    let comment = Some("clock-offset-ns=-1500000000 error-ns=50000".to_owned());
    let meta = Meta { linktype: 1, interface: "web1 eth0".into(), comment, ..Meta::default() };
    let mut writer = Writer::open(Path::new(&file), Format::Pcapng, &meta).unwrap();
    writer
        .write(&Record { secs: 36_000, nanos: 0, len: 60, data: &frame(0), ..Record::default() })
        .unwrap();
    writer.finish(&Summary::default()).unwrap();
    let time = |arguments: &[&str]| {
        let output = rpcap(arguments);
        String::from_utf8(output.stdout).unwrap().split(' ').next().unwrap().to_owned()
    };
    assert_eq!(time(&["read", &file]), "10:00:00.000000");
    assert_eq!(time(&["merge", "--no-clock", &file]), "10:00:00.000000");
    assert_eq!(time(&["merge", &file]), "10:00:01.500000");
    rpcap(&["merge", "-w", &once, &file]);
    rpcap(&["merge", "-w", &twice, &once]);
    assert_eq!(time(&["read", &twice]), "10:00:01.500000");
    assert_eq!(fs::read(&once).unwrap(), fs::read(&twice).unwrap());
}

#[test]
fn lines_say_when_and_whose() {
    let place = Place::new("columns");
    hours(&place, 1, false);
    let directory = place.0.display().to_string();
    let merge = |options: &[&str]| {
        let output = rpcap(&[&["merge", &directory, "-q", "-c", "2"], options].concat());
        let lines = String::from_utf8(output.stdout).unwrap();
        lines.lines().map(|line| line.split("IP ").next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(merge(&[]), ["08:00:00.000000 ", "08:00:00.500000 "]);
    assert_eq!(
        merge(&["--date", "--names"]),
        ["2027-01-15 08:00:00.000000 web1 eth0: ", "2027-01-15 08:00:00.500000 web2 eth0: "]
    );
    assert_eq!(merge(&["--names"]), ["08:00:00.000000 web1 eth0: ", "08:00:00.500000 web2 eth0: "]);
    // A name is whatever somebody wrote into the file.
    let file = place.path("name.pcapng");
    let meta = Meta { linktype: 1, interface: "?[2J\n".into(), ..Meta::default() };
    let mut writer = Writer::open(Path::new(&file), Format::Pcapng, &meta).unwrap();
    writer
        .write(&Record { secs: 0, nanos: 0, len: 60, data: &frame(0), ..Record::default() })
        .unwrap();
    writer.finish(&Summary::default()).unwrap();
    let mut bytes = fs::read(&file).unwrap();
    let at = bytes.windows(4).position(|w| w == b"?[2J").unwrap();
    bytes[at] = 0x1b;
    fs::write(&file, bytes).unwrap();
    let lines = said(env!("CARGO_BIN_EXE_rpcap"), &["read", "-q", "--names", &file]);
    assert!(lines.starts_with(r"00:00:00.000000 \u{1b}[2J\n: IP 10.0.0.1"), "{lines}");
    let refused = program(&["read", &file, "--date", "-w", "x"]);
    assert_eq!(refused.status.code(), Some(2));
}

/// Bytes that `rpcap` reads of files in `place`, as the system sees it.
fn bytes_read(place: &Place, arguments: &[&str]) -> u64 {
    let log = place.path("strace");
    let mut all = vec!["-f", "-y", "-e", "trace=read,pread64,mmap", "-o", &log];
    all.push(env!("CARGO_BIN_EXE_rpcap"));
    all.extend(arguments);
    run("strace", &all);
    let directory = place.0.display().to_string();
    let log = fs::read_to_string(log).unwrap();
    let reads = log.lines().filter(|line| line.contains(&directory));
    reads.filter_map(|line| line.rsplit_once("= ")?.1.trim().parse::<u64>().ok()).sum()
}

#[test]
fn an_hour_of_a_day_is_a_small_part_of_it() {
    if !["strace", "capinfos"].into_iter().all(has) {
        return;
    }
    for compress in [false, true] {
        let place = Place::new(&format!("hour-{compress}"));
        hours(&place, 6, compress);
        let total: u64 = names(&place).iter().map(|f| fs::metadata(f).unwrap().len()).sum();
        let out = place.path("out");
        let directory = place.0.display().to_string();
        // 2027-01-15 08:00 is the beginning.
        let hour = ["-w", &out, "--since", "2027-01-15 10:00", "--until", "2027-01-15T11:00:00Z"];
        for (command, agent, packets, part) in
            [("read", "*", 1800, 5), ("merge", "web2", 900, 10), ("read", "web1 eth?", 900, 10)]
        {
            let mut arguments = vec![command, &directory, "--agent", agent];
            arguments.extend(hour);
            let read = bytes_read(&place, &arguments);
            assert!(read > 0 && read * part < total, "{read} of {total} bytes");
            assert_eq!(count(&out), packets);
            let all = bytes_read(&place, &[&arguments[..], &["--no-index"]].concat());
            assert!(all >= total && count(&out) == packets, "{all} of {total} bytes");
            fs::remove_file(&out).unwrap();
        }
        // A minute of a file.
        let minute = ["--since", "2027-01-15 10:30", "--until", "2027-01-15 10:31"];
        let mut arguments = vec!["read", &directory, "-w", &out];
        arguments.extend(minute);
        let read = bytes_read(&place, &arguments);
        assert!(read * 12 < total, "{read} of {total} bytes");
        assert_eq!(count(&out), 30);
    }
}

#[test]
fn what_is_broken_is_told_and_the_rest_is_read() {
    let place = Place::new("broken");
    hours(&place, 1, false);
    let [first, second] = &names(&place)[..] else { panic!("two files") };
    let bytes = fs::read(first).unwrap();
    fs::write(first, &bytes[..bytes.len() / 2]).unwrap();
    let directory = place.0.display().to_string();
    let output = rpcap(&["read", &directory]);
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains(&format!("rpcap: warning: {first} breaks off at byte ")), "{told}");
    let lines = String::from_utf8(output.stdout).unwrap().lines().count();
    assert!((900 + 425..900 + 475).contains(&lines), "{lines}");

    fs::write(first, "this is no savefile").unwrap();
    let output = program(&["read", "-q", &directory]);
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("this is neither pcapng nor pcap"), "{told}");
    assert!(told.contains("rpcap: 1 file could not be read to the end"), "{told}");
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(String::from_utf8(output.stdout).unwrap().lines().count(), 900);

    let output = program(&["read", second, "-f", "no filter"]);
    assert_eq!(output.status.code(), Some(6), "{output:?}");
    let output = program(&["read", second, "-w", second]);
    assert_eq!(output.status.code(), Some(1));
    assert!(fs::metadata(second).unwrap().len() > 100_000, "it is still there");

    let mut child = Command::new(env!("CARGO_BIN_EXE_rpcap"))
        .args(["read", "-", "-c", "5"])
        .stdin(fs::File::open(second).unwrap())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    assert!(child.wait().unwrap().success());
    let mut lines = String::new();
    std::io::Read::read_to_string(&mut child.stdout.take().unwrap(), &mut lines).unwrap();
    assert_eq!(lines.lines().count(), 5);
}
