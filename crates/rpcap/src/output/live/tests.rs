use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::AtomicUsize;

use super::readers::GLANCE;
use super::*;
use crate::file::read::Reader;
use crate::output::{INTERFACES, interfaces_of};

/// An output, and what it says.
struct Running {
    live: Live,
    journal: Said,
    account: Arc<Account>,
}

fn plan(to: &str) -> OutputPlan {
    OutputPlan::live("net".to_owned(), to.parse().unwrap())
}

fn start(plan: &OutputPlan) -> Running {
    let journal = Said::default();
    journal.hold();
    let mut live = Live::open(plan, &journal).unwrap();
    let account = Arc::default();
    begin(&mut live, 1, "eth0", 1, &account);
    Running { live, journal, account }
}

fn begin(live: &mut Live, stream: u32, name: &str, linktype: u32, account: &Arc<Account>) {
    let interface = name.to_owned();
    let meta = Meta { linktype, interface, ..Meta::default() };
    live.begin(Begin { stream, label: String::new(), meta, account: Arc::clone(account) });
}

/// A server, where nobody else is.
fn server() -> (Running, SocketAddr) {
    let running = start(&plan("pcap-over-ip:127.0.0.1:0"));
    let line = running.wait("readers may connect to ", 1);
    (running, line.rsplit(' ').next().unwrap().parse().unwrap())
}

impl Running {
    /// Waits until something was said so often; the last line of it.
    fn wait(&self, text: &str, times: usize) -> String {
        let until = Instant::now() + Duration::from_secs(30);
        loop {
            let lines = self.journal.newest(200);
            let mut said: Vec<_> = lines.iter().filter(|l| l.contains(text)).collect();
            if said.len() >= times {
                return said.pop().unwrap().clone();
            }
            assert!(Instant::now() < until, "not {times} times {text:?}: {lines:#?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn packets(&mut self, count: usize, bytes: usize) {
        let data = vec![7; bytes];
        for _ in 0..count {
            self.live.packet(1, &Record { len: bytes as u32, data: &data, ..Record::default() });
        }
        self.live.pause(&self.journal);
    }

    fn counts(&self) -> (u64, u64) {
        (self.account.written.load(Relaxed), self.account.unwritten.load(Relaxed))
    }

    fn finish(&mut self) {
        self.live.finish(&self.journal);
    }
}

/// The types of the blocks of a pcapng file, which has to be whole.
fn blocks(mut bytes: &[u8]) -> Vec<u32> {
    let mut types = Vec::new();
    while !bytes.is_empty() {
        let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
        let len = word(4) as usize;
        assert_eq!(word(len - 4) as usize, len, "a block after {}", types.len());
        types.push(word(0));
        bytes = &bytes[len..];
    }
    types
}

fn packets_of(bytes: &[u8]) -> usize {
    let blocks = blocks(bytes);
    assert_eq!(blocks[..2], [0x0a0d_0d0a, 1]);
    blocks.iter().filter(|block| **block == 6).count()
}

fn scratch(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("rpcap-live-{}-{name}", std::process::id()));
    let _ = std::fs::remove_dir_all(&path);
    std::fs::create_dir_all(&path).unwrap();
    path
}

#[test]
fn each_reader_has_a_savefile_from_its_beginning() {
    let (mut running, address) = server();
    running.packets(3, 100);
    assert_eq!(running.counts(), (0, 3));
    let mut early = TcpStream::connect(address).unwrap();
    running.wait(" reads", 1);
    running.packets(5, 100);
    // An interface that comes later is described before its packets.
    let account = Arc::clone(&running.account);
    begin(&mut running.live, 2, "eth1", 1, &account);
    let mut late = TcpStream::connect(address).unwrap();
    running.wait(" reads", 2);
    running.live.packet(2, &Record::default());
    // The agent comes back: nothing is described twice.
    running.live.end(2);
    begin(&mut running.live, 2, "eth1", 1, &account);
    running.packets(1, 100);
    running.finish();
    assert_eq!(running.counts(), (7, 3));
    let (mut first, mut second) = (Vec::new(), Vec::new());
    early.read_to_end(&mut first).unwrap();
    late.read_to_end(&mut second).unwrap();
    assert_eq!(blocks(&first), [0x0a0d_0d0a, 1, 6, 6, 6, 6, 6, 1, 6, 5, 6]);
    assert_eq!(blocks(&second), [0x0a0d_0d0a, 1, 1, 6, 5, 6]);
    running.wait("reads no more: 7 packets", 1);
    running.wait("reads no more: 2 packets", 1);
}

#[test]
fn a_slow_reader_misses_whole_blocks_and_everything_ends_in_time() {
    let (mut running, address) = server();
    let mut slow = TcpStream::connect(address).unwrap();
    let still = TcpStream::connect(address).unwrap();
    running.wait(" reads", 2);
    // Neither reads: more than sockets and their queues hold.
    for _ in 0..400 {
        running.packets(100, 1500);
    }
    let (written, unwritten) = running.counts();
    assert!(written > 0 && unwritten > 0, "{written} {unwritten}");
    // One gets what is there for it.
    let mut bytes = Vec::new();
    slow.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    let error = slow.read_to_end(&mut bytes).unwrap_err();
    assert!(matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut), "{error}");
    let started = Instant::now();
    running.finish();
    assert!(started.elapsed() < LAST * 2, "{:?}", started.elapsed());
    slow.read_to_end(&mut bytes).unwrap();
    let kept = packets_of(&bytes);
    drop(still);
    let numbers = |line: &str| -> Vec<usize> {
        line.replace(',', "").split_whitespace().filter_map(|w| w.parse().ok()).collect()
    };
    let told = running.wait("reads no more: ", 1);
    assert_eq!(numbers(&told), [kept, 40_000 - kept], "{told}");
    // What the other did not get, waiting or begun, is told as well.
    let told = running.wait("reads no more (it took too long to end): ", 1);
    assert_eq!(numbers(&told).iter().sum::<usize>(), 40_000, "{told}");
}

#[cfg(unix)]
#[test]
fn many_small_pieces_are_bounded_as_well() {
    let path = scratch("small").join("pipe");
    let mut running = start(&plan(&format!("pipe:{}", path.display())));
    // Opened for both, so that it waits for nobody.
    let _still = std::fs::File::options().read(true).write(true).open(&path).unwrap();
    running.wait("somebody reads", 1);
    for _ in 0..130_000 {
        running.packets(1, 1);
    }
    // 16 MiB have room for more than that, but not with what each piece occupies besides.
    let (written, unwritten) = running.counts();
    assert!(written > 50_000 && unwritten > 10_000, "{written} {unwritten}");
    running.finish();
    std::fs::remove_dir_all(path.parent().unwrap()).unwrap();
}

#[test]
fn readers_are_bounded_in_number_and_a_place_is_free_again() {
    let (mut running, address) = server();
    let mut readers: Vec<_> =
        (0..server::MOST).map(|_| TcpStream::connect(address).unwrap()).collect();
    running.wait(" reads", server::MOST);
    let mut refused = TcpStream::connect(address).unwrap();
    assert_eq!(refused.read(&mut [0; 1]).unwrap_or(0), 0);
    running.wait("turned away: 64 read already", 1);
    drop(readers.pop());
    // A packet or two show that it has gone.
    while !running.journal.newest(200).iter().any(|line| line.contains("reads no more")) {
        running.packets(1, 100);
        std::thread::sleep(Duration::from_millis(10));
    }
    std::thread::sleep(GLANCE);
    let mut next = TcpStream::connect(address).unwrap();
    next.read_exact(&mut [0; 12]).unwrap();
    running.finish();
}

#[test]
fn who_does_not_shake_hands_is_no_reader() {
    let directory = scratch("tls");
    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let files = (directory.join("cert.pem"), directory.join("key.pem"));
    std::fs::write(&files.0, certified.cert.pem()).unwrap();
    std::fs::write(&files.1, certified.signing_key.serialize_pem()).unwrap();
    let plan = OutputPlan { tls: Some(files.clone()), ..plan("pcap-over-ip:127.0.0.1:0") };
    Live::check(&plan).unwrap();
    let mut running = start(&plan);
    let line = running.wait("readers may connect to ", 1);
    let address: SocketAddr = line.rsplit(' ').next().unwrap().parse().unwrap();
    let mut other = TcpStream::connect(address).unwrap();
    other.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    running.wait(&format!("{} turned away: ", other.local_addr().unwrap()), 1);
    // An alert of TLS, which says why.
    let mut answer = [0; 2];
    other.read_exact(&mut answer).unwrap();
    assert_eq!(answer, [21, 3]);
    let _silent = TcpStream::connect(address).unwrap();
    running.packets(1, 100);
    assert_eq!(running.counts(), (0, 1));
    let started = Instant::now();
    running.finish();
    assert!(started.elapsed() < LAST, "{:?}", started.elapsed());
    assert!(!running.journal.newest(200).iter().any(|line| line.contains(" reads")));
    // A key of another certificate is found before anything begins.
    let another = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(&files.1, another.signing_key.serialize_pem()).unwrap();
    assert!(Live::check(&plan).unwrap_err().to_string().contains("is it the key of"));
    std::fs::remove_dir_all(directory).unwrap();
}

#[test]
fn a_program_that_listens_is_called_again() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut running = start(&plan(&format!("pcap-over-ip-connect:{address}")));
    for round in 1..=2 {
        let (mut called, _) = listener.accept().unwrap();
        running.wait(" reads", round * 2 - 1);
        running.packets(4, 100);
        let mut bytes = vec![0; 400];
        called.read_exact(&mut bytes).unwrap();
        assert_eq!(bytes[..4], [0x0a, 0x0d, 0x0d, 0x0a]);
        drop(called);
        // What is written then shows that nobody is there.
        while running.journal.newest(200).iter().filter(|l| l.contains("no more")).count() < round {
            running.packets(1, 100);
            std::thread::sleep(Duration::from_millis(10));
        }
    }
    drop(listener);
    running.wait("cannot connect: ", 1);
    let (written, unwritten) = running.counts();
    running.packets(1, 100);
    assert_eq!(running.counts(), (written, unwritten + 1));
    running.finish();
}

#[test]
fn pcap_has_one_link_type() {
    let plan = OutputPlan { format: Some(Format::Pcap), ..plan("pcap-over-ip:127.0.0.1:0") };
    let mut running = start(&plan);
    let line = running.wait("readers may connect to ", 1);
    let mut reader = TcpStream::connect(line.rsplit(' ').next().unwrap()).unwrap();
    running.wait(" reads", 1);
    let (other, third) = (Arc::default(), Arc::default());
    begin(&mut running.live, 2, "wlan0", 127, &other);
    begin(&mut running.live, 3, "eth1", 1, &third);
    running.wait("wlan0: this format has room for one link type", 1);
    for stream in [1, 2, 2, 3] {
        running.live.packet(stream, &Record::default());
    }
    running.finish();
    assert_eq!(running.counts(), (1, 0));
    let count =
        |account: &Account| (account.written.load(Relaxed), account.unwritten.load(Relaxed));
    assert_eq!((count(&other), count(&third)), ((0, 2), (1, 0)));
    let mut bytes = Vec::new();
    reader.read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes.len(), 24 + 2 * 16);
}

#[test]
fn a_savefile_of_ever_new_interfaces_goes_on_in_another_section() {
    let (mut running, address) = server();
    let mut early = TcpStream::connect(address).unwrap();
    running.wait(" reads", 1);
    // All the time: it is to miss nothing, so it is waited for.
    let read = Arc::new(AtomicUsize::new(0));
    let early = std::thread::spawn({
        let read = Arc::clone(&read);
        move || {
            let (mut all, mut part) = (Vec::new(), [0; 65_536]);
            while let n @ 1.. = early.read(&mut part).unwrap() {
                all.extend(&part[..n]);
                read.store(all.len(), Relaxed);
            }
            all
        }
    });
    let account = Arc::clone(&running.account);
    // Two streams that are described alike, and one that has another number in the next section.
    begin(&mut running.live, 2, "eth0", 1, &account);
    let count = INTERFACES as u32 + 10;
    let write = |live: &mut Live, stream: u32, data: &str| {
        let len = data.len() as u32;
        live.packet(stream, &Record { len, data: data.as_bytes(), ..Record::default() });
    };
    let mut expected = Vec::new();
    for n in 0..count {
        let name = format!("tun{n}");
        begin(&mut running.live, n + 10, &name, 1, &account);
        begin(&mut running.live, 3, "eth1", 1, &account);
        for (stream, name) in [(1, "eth0"), (n + 10, &name), (2, "eth0"), (3, "eth1")] {
            write(&mut running.live, stream, name);
            expected.push(name.to_owned());
        }
        running.live.end(n + 10);
        // A packet's block has 36 bytes besides its data.
        while read.load(Relaxed) < 36 * expected.len() {
            assert!(!early.is_finished());
            std::thread::yield_now();
        }
    }
    // Those that run, and those that have come since.
    assert_eq!(running.live.streams.len(), 3);
    assert_eq!(running.live.interfaces.len(), 14);
    let mut late = TcpStream::connect(address).unwrap();
    running.wait(" reads", 2);
    let last = expected.len();
    for (stream, name) in [(1, "eth0"), (2, "eth0"), (3, "eth1")] {
        write(&mut running.live, stream, name);
        expected.push(name.to_owned());
    }
    running.finish();
    assert_eq!(running.counts(), (expected.len() as u64, 0));
    let (first, mut second) = (early.join().unwrap(), Vec::new());
    late.read_to_end(&mut second).unwrap();
    let described = |bytes: &[u8]| {
        let blocks = blocks(bytes);
        let of = |kind: u32| blocks.iter().filter(|block| **block == kind).count();
        (of(0x0a0d_0d0a), of(1))
    };
    assert_eq!(described(&first), (2, INTERFACES + 14));
    assert_eq!(described(&second), (1, 14));
    let named = |bytes| interfaces_of(Reader::of_bytes(bytes).unwrap());
    assert!(named(first) == expected);
    assert_eq!(named(second), expected[last..]);
}

#[test]
fn pcap_goes_on_as_it_is() {
    let plan = OutputPlan { format: Some(Format::Pcap), ..plan("pcap-over-ip:127.0.0.1:0") };
    let mut running = start(&plan);
    let line = running.wait("readers may connect to ", 1);
    let mut reader = TcpStream::connect(line.rsplit(' ').next().unwrap()).unwrap();
    running.wait(" reads", 1);
    let account = Arc::clone(&running.account);
    for n in 0..INTERFACES as u32 + 10 {
        begin(&mut running.live, 10, &format!("tun{n}"), 1, &account);
        running.live.end(10);
    }
    assert_eq!(running.live.interfaces.len(), 12);
    running.packets(3, 100);
    running.finish();
    assert_eq!(running.counts(), (3, 0));
    let mut bytes = Vec::new();
    reader.read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes.len(), 24 + 3 * 116);
}

#[cfg(unix)]
#[test]
fn a_place_has_one_output_at_a_time() {
    let path = scratch("place").join("pipe");
    let plan = plan(&format!("pipe:{}", path.display()));
    let (mut old, mut new) = (start(&plan), start(&plan));
    // Opened for both, so that it waits for nobody.
    let reader = std::fs::File::options().read(true).write(true).open(&path).unwrap();
    old.wait("somebody reads", 1);
    std::thread::sleep(GLANCE * 3);
    assert!(new.journal.newest(10).is_empty(), "{:?}", new.journal.newest(10));
    old.finish();
    new.wait("somebody reads", 1);
    new.packets(1, 100);
    assert_eq!(new.counts(), (1, 0));
    new.finish();
    drop(reader);
    std::fs::remove_dir_all(path.parent().unwrap()).unwrap();
}

#[cfg(unix)]
#[test]
fn what_is_no_pipe_is_left_alone() {
    let directory = scratch("no-pipe");
    let file = directory.join("file");
    std::fs::write(&file, "mine").unwrap();
    let journal = Said::default();
    for (path, why) in [(&directory, "a directory"), (&file, "no named pipe")] {
        let plan = plan(&format!("pipe:{}", path.display()));
        for result in [Live::check(&plan), Live::open(&plan, &journal).map(drop)] {
            let error = result.unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
    }
    // One that takes the pipe's place is not written to either.
    let path = directory.join("pipe");
    let plan = plan(&format!("pipe:{}", path.display()));
    Live::check(&plan).unwrap();
    let mut running = start(&plan);
    std::fs::rename(&file, &path).unwrap();
    running.wait("no named pipe", 1);
    running.packets(10, 100);
    running.finish();
    assert_eq!(running.counts(), (0, 10));
    assert_eq!(std::fs::read(&path).unwrap(), b"mine");
    std::fs::remove_dir_all(directory).unwrap();
}

#[cfg(unix)]
#[test]
fn a_command_that_does_not_read_is_ended_in_time() {
    let mut running = start(&plan("exec:trap '' TERM; sleep 1000"));
    running.wait(" reads", 1);
    for _ in 0..200 {
        running.packets(100, 1500);
    }
    let started = Instant::now();
    running.finish();
    let most = LAST + exec::ENDING + Duration::from_secs(2);
    assert!(started.elapsed() < most, "{:?}", started.elapsed());
    running.wait("ended: signal: 9", 1);
    let (written, unwritten) = running.counts();
    assert_eq!(written + unwritten, 20_000);
}
