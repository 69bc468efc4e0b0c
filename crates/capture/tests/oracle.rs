//! Against those who know: the kernel's and libpcap's own filter machines, and libpcap's own list of devices.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

mod common;

use std::{net::UdpSocket, os::unix::net::UnixDatagram, thread, time::Duration};

use capture::{Instruction, Options, devices, filter};
use common::{Net, Sender, backend, finish, frame, libpcap, options};
use proptest::{prelude::*, test_runner::TestRunner};
use socket2::{SockFilter, SockRef};

/// Instructions of every kind but jumps and returns. `wild` ones are those on which libpcap's machine and the kernel's
/// differ: shifts by a register, and indirect loads whose offset overflows.
fn instruction(wild: bool) -> impl Strategy<Value = Instruction> {
    let offset =
        prop_oneof![4 => 0u32..70, 1 => any::<u32>().prop_filter("negative", |k| *k < 0x8000_0000)];
    let load = (prop::sample::select(vec![0x20u16, 0x28, 0x30, 0xb1]), offset);
    let indirect = (prop::sample::select(vec![0x40u16, 0x48, 0x50]), 0u32..40);
    let constant = prop_oneof![any::<u32>(), 0u32..70];
    let plain = (
        prop::sample::select(vec![
            0x00u16, 0x01, 0x80, 0x81, 0x04, 0x0c, 0x14, 0x1c, 0x24, 0x2c, 0x3c, 0x44, 0x4c, 0x54,
            0x5c, 0x84, 0x9c, 0xa4, 0xac, 0x07, 0x87,
        ]),
        constant.clone(),
    );
    let divide = (prop::sample::select(vec![0x34u16, 0x94]), constant.prop_map(|k| k.max(1)));
    let shift = (prop::sample::select(vec![0x64u16, 0x74]), 0u32..32);
    let by_register =
        (prop::sample::select(if wild { vec![0x6cu16, 0x7c] } else { vec![0x07, 0x87] }), Just(0));
    let scratch = (prop::sample::select(vec![0x02u16, 0x03, 0x60, 0x61]), 0u32..16);
    prop_oneof![load, indirect, plain, divide, shift, by_register, scratch]
        .prop_map(|(code, k)| Instruction::stmt(code, k))
}

/// Valid programs, for the kernel too: scratch memory is written first.
fn program(wild: bool) -> impl Strategy<Value = Vec<Instruction>> {
    let jump = (
        prop::sample::select(vec![0x15u16, 0x1d, 0x25, 0x2d, 0x35, 0x3d, 0x45, 0x4d]),
        prop_oneof![any::<u32>(), 0u32..256],
        0u8..6,
        0u8..6,
    )
        .prop_map(|(code, k, jt, jf)| Instruction::jump(code, k, jt, jf));
    let ahead = (0u32..6).prop_map(|k| Instruction::stmt(0x05, k));
    let line = prop_oneof![6 => instruction(wild), 3 => jump, 1 => ahead];
    let end = prop_oneof![
        (0u32..100).prop_map(|k| Instruction::stmt(0x06, k)),
        Just(Instruction::stmt(0x16, 0)),
    ];
    (prop::collection::vec(line, 0..24), prop::collection::vec(end, 7)).prop_map(|(body, ends)| {
        let scratch = (0..16).map(|k| Instruction::stmt(0x02, k));
        scratch.chain(body).chain(ends).collect()
    })
}

/// What the kernel makes of it: how much of `packet` comes through a socket with that filter. `None` if the kernel does
/// not take the program.
fn kernel(program: &[Instruction], packet: &[u8]) -> Option<usize> {
    let (to, from) = UnixDatagram::pair().unwrap();
    to.set_nonblocking(true).unwrap();
    let filter: Vec<_> = program.iter().map(|i| SockFilter::new(i.code, i.jt, i.jf, i.k)).collect();
    SockRef::from(&to).attach_filter(&filter).ok()?;
    from.send(packet).unwrap();
    // A refused packet vanishes.
    Some(to.recv(&mut [0; 256]).unwrap_or(0))
}

fn config() -> ProptestConfig {
    // Each failure prints its case in full; no file beside the test.
    ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn filters_agree_with_the_kernel(
        program in program(true),
        packet in prop::collection::vec(any::<u8>(), 1..100),
    ) {
        filter::check(&program).unwrap();
        let ours = filter::run(&program, &packet, packet.len() as u32, &filter::Aux::default());
        let theirs = kernel(&program, &packet).expect("the kernel takes what check() lets pass");
        prop_assert_eq!((ours as usize).min(packet.len()), theirs);
    }

    #[test]
    fn what_check_refuses_the_kernel_refuses(
        program in prop::collection::vec(
            (prop_oneof![any::<u16>(), 0u16..0xb8], 0u8..4, 0u8..4, prop_oneof![any::<u32>(), 0u32..40])
                .prop_map(|(code, jt, jf, k)| Instruction { code, jt, jf, k }),
            1..6,
        ),
    ) {
        if filter::check(&program).is_err() {
            prop_assert_eq!(kernel(&program, &[0; 64]), None);
        }
    }
}

#[test]
fn filters_agree_with_libpcap() {
    let Some(library) = libpcap::load() else {
        return;
    };
    let mut runner = TestRunner::new(config());
    let cases = (
        program(false),
        prop::collection::vec(any::<u8>(), 1..100),
        prop_oneof![Just(0), any::<u16>()],
    );
    runner
        .run(&cases, |(program, packet, more)| {
            let len = packet.len() as u32 + u32::from(more);
            let ours = filter::run(&program, &packet, len, &filter::Aux::default());
            let theirs = libpcap::bpf_filter(&library, &program, &packet, len);
            if ours != theirs {
                let indirect = program.iter().any(|i| matches!(i.code, 0x40 | 0x48 | 0x50));
                prop_assert!(indirect, "ours {}, libpcap's {}", ours, theirs);
                // An indirect load whose offset overflows is where the two differ, and then the kernel decides.
                if more == 0 {
                    let kernels = kernel(&program, &packet).unwrap();
                    prop_assert_eq!((ours as usize).min(packet.len()), kernels);
                }
            }
            Ok(())
        })
        .unwrap();
}

/// What libpcap compiles is what the two machines are for.
#[test]
fn compiled_filters_agree_with_libpcap() {
    let Some(library) = libpcap::load() else {
        return;
    };
    let texts = [
        "tcp port 80",
        "ip6 and udp",
        "vlan 5 and icmp",
        "net 10.0.0.0/8 and not port 53",
        "ip[8] < 5 or ether[0] & 1 != 0",
        "tcp[tcpflags] & (tcp-syn|tcp-fin) != 0 and greater 60",
        "ip proto 47 or arp",
    ];
    for text in texts {
        let program =
            capture::libpcap::compile(text, capture::LinkType::ETHERNET, 65535, true).unwrap();
        filter::check(&program).unwrap();
        proptest!(|(mut packet in prop::collection::vec(any::<u8>(), 14..100), ethertype in 0usize..5, proto in 0usize..4)| {
            packet[12..14].copy_from_slice(&[[8, 0], [0x86, 0xdd], [0x81, 0], [8, 6], [1, 1]][ethertype]);
            if let Some(byte) = packet.get_mut(23) {
                *byte = [6, 17, 1, 47][proto];
            }
            let len = packet.len() as u32;
            let ours = filter::run(&program, &packet, len, &filter::Aux::default());
            prop_assert_eq!(ours, libpcap::bpf_filter(&library, &program, &packet, len), "{}", text);
        });
    }
}

#[test]
fn devices_are_libpcaps_on_this_host() {
    let Some(library) = libpcap::load() else {
        return;
    };
    compare(&library);
}

#[test]
fn devices_are_libpcaps_in_a_strange_network() {
    Net::run(|net| {
        let Some(library) = libpcap::load() else {
            return;
        };
        for command in [
            "sysctl -q -w net.ipv6.conf.all.disable_ipv6=0 net.ipv6.conf.default.disable_ipv6=0",
            "ip addr add 10.1.2.3/24 brd + dev rx0",
            "ip addr add 10.1.2.4/24 brd + dev rx0 label rx0:1",
            "ip addr add 10.9.9.1 peer 10.9.9.2/32 dev tx0",
            "ip addr add fd00::1/64 dev rx0",
            "ip tuntap add dev tun7 mode tun",
            "ip addr add 192.0.2.1 peer 192.0.2.2 dev tun7",
            "ip link set tun7 up",
            "ip link add down0 type veth peer name down1",
            "ip link set down0 up",
            "ip link add link rx0 name rx0.5 type vlan id 5",
            "ip link set rx0.5 up",
        ] {
            // What this kernel was built without is not compared.
            if let Err(reason) = net.try_exec(command) {
                println!("not here: {reason}");
            }
        }
        compare(&library);
        let devices = devices::list(backend()).unwrap();
        assert!(devices.len() >= 6, "{devices:?}");
    });
}

fn compare(library: &libloading::Library) {
    // Somebody may plug something in between the two.
    for _ in 0..3 {
        let before = devices::list(backend()).unwrap();
        let theirs = libpcap::findalldevs(library);
        let ours = devices::list(backend()).unwrap();
        if before == ours {
            // libpcap also lists other things than network interfaces, behind them.
            let theirs: Vec<_> = theirs
                .into_iter()
                .filter(|device| ours.iter().any(|our| our.name == device.name))
                .collect();
            assert_eq!(ours, theirs);
            return;
        }
    }
    panic!("the interfaces of this host do not stand still");
}

/// The same traffic, captured by both: tagged and not, cooked and not, long and short.
#[test]
fn packets_are_libpcaps() {
    Net::run(|net| {
        let Some(library) = libpcap::load() else {
            return;
        };
        net.exec("ip addr add 10.1.2.3/24 dev rx0");
        for (device, snaplen) in [
            ("rx0", 262_144),
            ("rx0", 100),
            ("rx0", 14),
            ("any", 262_144),
            ("any", 50),
            ("lo", 262_144),
        ] {
            let mut theirs = libpcap::Pcap::open(&library, device, snaplen).unwrap();
            let options = Options { snaplen, ..options() };
            let mut ours = capture::open(device, &options).unwrap();
            assert_eq!(ours.linktype().0, theirs.linktype());

            let sender = Sender::new("tx0");
            for (number, len) in [(0, 60), (1, 1514), (2, 9014), (3, 20), (4, 200)] {
                sender.send(&frame(number, len));
                for tag in [[0x81, 0, 0xe0, 5], [0x88, 0xa8, 0, 0], [0x81, 0, 0, 0]] {
                    let mut tagged = frame(number, len.min(9000));
                    tagged.splice(12..12, tag);
                    sender.send(&tagged);
                }
            }
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            socket.send_to(&[7; 3000], socket.local_addr().unwrap()).unwrap();
            thread::sleep(Duration::from_millis(100));

            let ours: Vec<_> = finish(&mut ours).into_iter().map(|p| (p.len, p.data)).collect();
            let theirs: Vec<_> = (0..ours.len() + 1).map_while(|_| theirs.next()).collect();
            assert!(
                ours == theirs,
                "{device}, {snaplen}: {} and {} packets",
                ours.len(),
                theirs.len()
            );
            assert!(!ours.is_empty());
        }
    });
}

#[test]
fn link_types_are_libpcaps() {
    Net::run(|net| {
        let Some(library) = libpcap::load() else {
            return;
        };
        let made = [
            ("tun7", "ip tuntap add dev tun7 mode tun"),
            ("tap7", "ip tuntap add dev tap7 mode tap"),
            ("sit7", "ip link add sit7 type sit remote 10.0.0.1 local 10.0.0.2"),
            ("gre7", "ip link add gre7 type gre remote 10.0.0.1 local 10.0.0.2"),
            ("gretap7", "ip link add gretap7 type gretap remote 10.0.0.1 local 10.0.0.2"),
            ("ipip7", "ip link add ipip7 type ipip remote 10.0.0.1 local 10.0.0.2"),
            ("wg7", "ip link add wg7 type wireguard"),
            ("nlmon7", "ip link add nlmon7 type nlmon"),
            ("vcan7", "ip link add vcan7 type vcan"),
            ("vsock7", "ip link add vsock7 type vsockmon"),
            ("vlan7", "ip link add link rx0 name vlan7 type vlan id 7"),
            ("dummy7", "ip link add dummy7 type dummy"),
            ("lo", "true"),
            ("any", "true"),
        ];
        let mut compared = 0;
        for (device, command) in made {
            if let Err(reason) = net.try_exec(command) {
                println!("not here: {reason}");
                continue;
            }
            if device != "any" {
                let _ = net.try_exec(&format!("ip link set {device} up"));
            }
            // One that cannot be brought up here cannot be opened either.
            if let Ok(pcap) = libpcap::Pcap::open(&library, device, 100) {
                assert_eq!(
                    capture::linktype(device, backend()).unwrap().0,
                    pcap.linktype(),
                    "{device}"
                );
                compared += 1;
                println!("{device}: {}", pcap.linktype());
            }
        }
        assert!(compared >= 2);
    });
}
