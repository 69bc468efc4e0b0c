use std::net::UdpSocket;

use super::*;

/// Longer than anything here takes.
const LONG: Option<Duration> = Some(Duration::from_secs(10));

const PLAIN: Options = Options { receive_buffer: 4 << 20, reuse_port: false, plain: true };
const MANY: Options = Options { plain: false, ..PLAIN };

fn bind(options: &Options) -> Datagrams {
    Datagrams::bind(([127, 0, 0, 1], 0).into(), options).unwrap()
}

/// A socket that sends to `datagrams`.
fn sender(datagrams: &Datagrams) -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(datagrams.local_addr()).unwrap();
    socket
}

/// As many datagrams as are expected, of one sender, and no more.
fn take(datagrams: &mut Datagrams, from: &UdpSocket, count: usize) -> Vec<Vec<u8>> {
    let from = from.local_addr().unwrap();
    let mut got = Vec::new();
    while got.len() < count {
        let batch = datagrams.receive(LONG).unwrap();
        assert!(!batch.is_empty(), "only {} of {count} came", got.len());
        got.extend(batch.iter().map(|(address, bytes)| {
            assert_eq!(address, from);
            bytes.to_vec()
        }));
    }
    assert_eq!(got.len(), count);
    assert!(datagrams.receive(Some(Duration::ZERO)).unwrap().is_empty());
    got
}

#[test]
fn datagrams_of_every_length_come_as_they_were_sent() {
    for options in [PLAIN, MANY] {
        let mut datagrams = bind(&options);
        let sender = sender(&datagrams);
        let sent: Vec<Vec<u8>> =
            [0usize, 1, 8, 0, 92, 92, 1472, 9000, 65_507, 3].map(|n| vec![n as u8; n]).into();
        for datagram in &sent {
            sender.send(datagram).unwrap();
        }
        assert_eq!(take(&mut datagrams, &sender, sent.len()), sent);
        let counts = datagrams.counts();
        assert_eq!((counts.datagrams, counts.truncated, counts.dropped), (10, 0, 0));
    }
}

#[test]
fn more_datagrams_than_a_batch_has_room_for() {
    for options in [PLAIN, MANY] {
        let mut datagrams = bind(&options);
        let sender = sender(&datagrams);
        let sent: Vec<Vec<u8>> = (0..500u32).map(|n| n.to_be_bytes().to_vec()).collect();
        // Twice: what the kernel wrote into the memory of the first calls is no matter later.
        for _ in 0..2 {
            for datagram in &sent {
                sender.send(datagram).unwrap();
            }
            assert_eq!(take(&mut datagrams, &sender, 500), sent);
        }
    }
}

#[test]
fn what_has_no_room_is_counted_and_not_given_out() {
    for options in [PLAIN, MANY] {
        let mut datagrams = Datagrams::bind_for(([127, 0, 0, 1], 0).into(), &options, 100).unwrap();
        let sender = sender(&datagrams);
        for size in [99, 101, 4000, 7] {
            sender.send(&vec![size as u8; size]).unwrap();
        }
        let lengths: Vec<usize> =
            take(&mut datagrams, &sender, 2).iter().map(|bytes| bytes.len()).collect();
        assert_eq!(lengths, [99, 7]);
        assert_eq!(datagrams.counts().truncated, 2);
    }
}

#[test]
fn a_wait_ends_with_its_time_with_a_datagram_and_with_the_waker() {
    for options in [PLAIN, MANY] {
        let mut datagrams = bind(&options);
        let batch = datagrams.receive(Some(Duration::from_millis(1))).unwrap();
        assert!(batch.is_empty() && batch.emptied());
        // Before the wait, and during it.
        datagrams.waker().wake();
        assert!(datagrams.receive(None).unwrap().is_empty());
        let waker = datagrams.waker();
        let thread = std::thread::spawn(move || waker.wake());
        assert!(datagrams.receive(None).unwrap().is_empty());
        thread.join().unwrap();
        let sender = sender(&datagrams);
        let thread = std::thread::spawn(move || sender.send(b"x").unwrap());
        assert!(!datagrams.receive(None).unwrap().is_empty());
        thread.join().unwrap();
        // The longest wait there is does not overflow.
        datagrams.waker().wake();
        assert!(datagrams.receive(Some(Duration::MAX)).unwrap().is_empty());
    }
}

#[test]
fn the_system_says_how_much_it_keeps() {
    let small = bind(&Options { receive_buffer: 64 << 10, ..MANY }).receive_buffer();
    let large = bind(&Options { receive_buffer: 160 << 10, ..MANY }).receive_buffer();
    assert!(64 << 10 <= small && small < large, "{small} {large}");
}

#[cfg(target_os = "linux")]
mod linux_only {
    use std::collections::HashMap;

    use nix::sys::socket::{setsockopt, sockopt::UdpGsoSegment};

    use super::*;

    /// Sends `bytes` as datagrams of `size` in one call.
    fn send_segments(sender: &UdpSocket, size: i32, bytes: &[u8]) {
        setsockopt(sender, UdpGsoSegment, &size).unwrap();
        assert_eq!(sender.send(bytes).unwrap(), bytes.len());
    }

    fn pattern(len: usize) -> Vec<u8> {
        (0..len).map(|i| (i * 7 + i / 251) as u8).collect()
    }

    #[test]
    fn what_the_kernel_holds_together_is_split_where_it_was() {
        for (size, len) in
            [(1472, 44 * 1472), (1472, 43 * 1472 + 1), (92, 64 * 92), (92, 92 * 5 + 91)]
        {
            let mut datagrams = bind(&MANY);
            let sender = sender(&datagrams);
            let bytes = pattern(len);
            send_segments(&sender, size, &bytes);
            sender.send(b"alone").unwrap();
            let mut expected: Vec<&[u8]> = bytes.chunks(size as usize).collect();
            expected.push(b"alone");
            assert_eq!(take(&mut datagrams, &sender, expected.len()), expected);
            // Far fewer messages than datagrams: they came held together.
            assert!(datagrams.counts().calls <= 2);
        }
    }

    #[test]
    fn datagrams_held_together_come_in_one_message() {
        let mut datagrams = bind(&MANY);
        let sender = sender(&datagrams);
        for _ in 0..5 {
            send_segments(&sender, 1000, &pattern(9_500));
        }
        let batch = datagrams.receive(LONG).unwrap();
        assert_eq!((batch.received.messages.len(), batch.iter().count()), (5, 50));
        assert!(batch.emptied());
        // Without it, the kernel takes them apart.
        let mut plain = bind(&PLAIN);
        let sender = super::sender(&plain);
        send_segments(&sender, 1000, &pattern(9_500));
        let batch = plain.receive(LONG).unwrap();
        assert_eq!((batch.received.messages.len(), batch.iter().count()), (10, 10));
    }

    #[test]
    fn of_datagrams_held_together_those_before_the_cut_are_whole() {
        let mut datagrams = Datagrams::bind_for(([127, 0, 0, 1], 0).into(), &MANY, 250).unwrap();
        let sender = sender(&datagrams);
        let bytes = pattern(460);
        send_segments(&sender, 100, &bytes);
        assert_eq!(take(&mut datagrams, &sender, 2), [&bytes[..100], &bytes[100..200]]);
        assert_eq!(datagrams.counts().truncated, 1);
    }

    #[test]
    fn what_the_kernel_drops_is_counted() {
        let mut datagrams = bind(&Options { receive_buffer: 4096, ..MANY });
        let sender = sender(&datagrams);
        for _ in 0..200 {
            sender.send(&[7; 1000]).unwrap();
        }
        let mut came = 0;
        loop {
            let batch = datagrams.receive(Some(Duration::ZERO)).unwrap();
            if batch.is_empty() {
                break;
            }
            came += batch.iter().count() as u64;
        }
        assert!(came < 200);
        // The next one tells.
        sender.send(b"x").unwrap();
        take(&mut datagrams, &sender, 1);
        assert_eq!(came + datagrams.counts().dropped, 200);
    }

    #[test]
    fn sockets_share_a_port_and_a_sender_stays_with_one() {
        let options = Options { reuse_port: true, ..MANY };
        let first = bind(&options);
        let address = first.local_addr();
        let mut sockets = vec![first];
        sockets.extend((1..4).map(|_| Datagrams::bind(address, &options).unwrap()));
        assert!(Datagrams::bind(address, &MANY).is_err());
        let senders: Vec<UdpSocket> = (0..64).map(|_| sender(&sockets[0])).collect();
        for round in 0..3u8 {
            for sender in &senders {
                sender.send(&[round]).unwrap();
            }
        }
        let mut came: HashMap<SocketAddr, (usize, Vec<u8>)> = HashMap::new();
        let mut used = 0;
        for (i, socket) in sockets.iter_mut().enumerate() {
            loop {
                let batch = socket.receive(Some(Duration::ZERO)).unwrap();
                for (from, bytes) in &batch {
                    let (socket, rounds) = came.entry(from).or_insert((i, Vec::new()));
                    assert_eq!(*socket, i, "{from} came to two sockets");
                    rounds.extend(bytes);
                }
                if batch.is_empty() {
                    break;
                }
            }
            used += usize::from(socket.counts().datagrams > 0);
        }
        assert_eq!(came.len(), 64);
        assert!(came.values().all(|(_, rounds)| *rounds == [0, 1, 2]));
        assert!(used > 1);
    }

    #[test]
    fn ipv6_and_ipv4_within_it() {
        for options in [PLAIN, MANY] {
            let mut datagrams = Datagrams::bind("[::]:0".parse().unwrap(), &options).unwrap();
            let port = datagrams.local_addr().port();
            for (from, to) in [("127.0.0.1", "127.0.0.1"), ("::1", "::1")] {
                let sender = UdpSocket::bind((from, 0)).unwrap();
                sender.send_to(b"x", (to, port)).unwrap();
                let batch = datagrams.receive(LONG).unwrap();
                let (address, bytes) = batch.iter().next().unwrap();
                assert_eq!(
                    (address.ip().to_canonical().to_string().as_str(), bytes),
                    (from, &b"x"[..])
                );
                assert_eq!(address.port(), sender.local_addr().unwrap().port());
            }
        }
    }
}
