//! Filters of a running capture, in the kernel and in user space.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

mod common;

use std::{thread, time::Duration};

use capture::{Direction, Error, Instruction, Options, Stats};
use common::{
    Net, Sender, at_least, finish, frame, is_libpcap, ledger, long, numbers, options, receive, skip,
};

#[test]
fn filter_in_the_kernel_and_swapped() {
    Net::run(|_| {
        let options = Options { filter: at_least(5, 65535), ..options() };
        let mut capture = capture::open("rx0", &options).unwrap();
        let control = capture.control();
        let sender = Sender::new("tx0");
        (0..10).for_each(|n| sender.send(&frame(n, 64)));
        assert_eq!(numbers(&receive(&mut capture, 5)), [5, 6, 7, 8, 9]);
        control.set_filter(&at_least(8, 20)).unwrap();
        (0..10).for_each(|n| sender.send(&frame(n, 64)));
        let got = receive(&mut capture, 2);
        assert_eq!(numbers(&got), [8, 9]);
        assert!(got.iter().all(|packet| packet.data.len() == 20 && packet.len == 64));
        // A program that is none changes nothing.
        assert!(matches!(
            control.set_filter(&at_least(0, 1)[..2]),
            Err(Error::BadFilter { index: 1, .. })
        ));
        (7..10).for_each(|n| sender.send(&frame(n, 64)));
        assert_eq!(numbers(&receive(&mut capture, 2)), [8, 9]);
        assert_eq!(finish(&mut capture), []);
        let stats = control.stats().unwrap();
        assert_eq!(stats, Stats { received: 9, ..Stats::default() });
    });
}

#[test]
fn long_filter_in_user_space_and_back() {
    Net::run(|_| {
        let options = Options { filter: at_least(5, 65535), snaplen: 40, ..options() };
        let mut capture = capture::open("rx0", &options).unwrap();
        let control = capture.control();
        let sender = Sender::new("tx0");
        let mut handed_out = 0;
        for (filter, expected) in [
            (long(at_least(3, 65535)), vec![3, 4, 5, 6, 7, 8, 9]),
            (at_least(8, 65535), vec![8, 9]),
            (vec![], (0..10).collect()),
        ] {
            control.set_filter(&filter).unwrap();
            (0..10).for_each(|n| sender.send(&frame(n, 64)));
            let got = receive(&mut capture, expected.len());
            assert_eq!(numbers(&got), expected);
            assert!(got.iter().all(|packet| packet.data.len() == 40 && packet.len == 64));
            handed_out += got.len();
            assert!(control.stats().unwrap().filter_in_user_space);
        }
        handed_out += finish(&mut capture).len();
        let stats = control.stats().unwrap();
        assert_eq!(stats.received, 19);
        ledger(stats, handed_out);
    });
}

#[test]
fn what_the_kernel_alone_refuses_runs_in_user_space() {
    Net::run(|_| {
        let filter = vec![
            Instruction::stmt(0x60, 3),
            Instruction::jump(0x15, 0, 0, 1),
            Instruction::stmt(0x06, 100),
            Instruction::stmt(0x06, 0),
        ];
        let mut capture = capture::open("rx0", &Options { filter, ..options() }).unwrap();
        assert!(capture.control().stats().unwrap().filter_in_user_space);
        Sender::new("tx0").send(&frame(1, 64));
        assert_eq!(receive(&mut capture, 1).len(), 1);
    });
}

#[test]
fn swapping_filters_under_load_lets_nothing_else_through() {
    Net::run(|_| {
        // Odd numbers below 2^31, or exactly those above: never an even one below.
        let odd = vec![
            Instruction::stmt(0x20, 14),
            Instruction::jump(0x45, 1, 0, 1),
            Instruction::stmt(0x06, 100),
            Instruction::stmt(0x06, 0),
        ];
        let high = at_least(1 << 31, 100);
        let options = Options { filter: odd.clone(), ring_bytes: 1 << 20, ..options() };
        let mut capture = capture::open("rx0", &options).unwrap();
        let control = capture.control();
        let load = thread::spawn({
            let sender = Sender::new("tx0");
            move || {
                for n in 0..60_000u32 {
                    sender.send(&frame(n | (n & 4) << 29, 64));
                }
            }
        });
        let swaps = thread::spawn({
            let control = control.clone();
            move || {
                for round in 0..40 {
                    let program = if round % 2 == 0 { &high } else { &odd };
                    // From the middle on in user space.
                    let program = if round < 20 { program.clone() } else { long(program.clone()) };
                    control.set_filter(&program).unwrap();
                    thread::sleep(Duration::from_millis(3));
                }
            }
        });
        let mut got = Vec::new();
        while !(load.is_finished() && swaps.is_finished()) {
            got.extend(receive(&mut capture, 1));
            if got.is_empty() {
                break;
            }
        }
        load.join().unwrap();
        swaps.join().unwrap();
        got.extend(finish(&mut capture));
        assert!(numbers(&got).iter().all(|n| n & 1 == 1 || *n >= 1 << 31));
        ledger(control.stats().unwrap(), got.len());
        assert!(got.len() > 1000, "{}", got.len());
    });
}

#[test]
fn guard_stays_while_filters_change() {
    Net::run(|_| {
        // ldb [17] is the number's last byte: 3 is refused.
        let refuse = |number| {
            vec![
                Instruction::stmt(0x30, 17),
                Instruction::jump(0x15, number, 0, 1),
                Instruction::stmt(0x06, 0),
            ]
        };
        let options = Options { guard: refuse(3), ..options() };
        let mut capture = capture::open("rx0", &options).unwrap();
        let control = capture.control();
        let sender = Sender::new("tx0");
        let mut check = |expected: &[u32]| {
            (0..5).for_each(|n| sender.send(&frame(n, 64)));
            assert_eq!(numbers(&receive(&mut capture, expected.len())), expected);
        };
        check(&[0, 1, 2, 4]);
        control.set_filter(&at_least(2, 100)).unwrap();
        check(&[2, 4]);
        control.set_guard(&refuse(4)).unwrap();
        check(&[2, 3]);
        control.set_filter(&long(at_least(1, 100))).unwrap();
        check(&[1, 2, 3]);
    });
}

/// The kernel has the memory of a filter counted until the next one is in force: two long ones do not
/// fit where each of them does.
#[test]
fn a_guard_that_fits_alone_takes_the_place_of_another() {
    if is_libpcap() {
        return;
    }
    Net::run(|net| {
        if let Err(reason) = net.try_exec("sysctl -q -w net.core.optmem_max=20480") {
            return skip(&format!("needs a limit of the namespace's own (Linux 6.8): {reason}"));
        }
        // ldb [17] is the number's last byte; the others are in no frame.
        let refuse = |number, others| {
            let mut guard = vec![Instruction::stmt(0x30, 17)];
            for n in std::iter::once(number).chain((0..others).map(|n| 1000 + n)) {
                guard.push(Instruction::jump(0x15, n, 0, 1));
                guard.push(Instruction::stmt(0x06, 0));
            }
            guard
        };
        let options = Options { guard: refuse(3, 0), ..options() };
        let mut capture = capture::open("rx0", &options).unwrap();
        let control = capture.control();
        let sender = Sender::new("tx0");
        let mut check = |expected: &[u32]| {
            (0..5).for_each(|n| sender.send(&frame(n, 64)));
            assert_eq!(numbers(&receive(&mut capture, expected.len())), expected);
            assert!(!control.stats().unwrap().filter_in_user_space);
        };
        check(&[0, 1, 2, 4]);
        control.set_guard(&refuse(4, 500)).unwrap();
        check(&[0, 1, 2, 3]);
        control.set_guard(&refuse(2, 500)).unwrap();
        check(&[0, 1, 3, 4]);
        let error = control.set_guard(&refuse(1, 1500)).unwrap_err().to_string();
        assert!(error.contains("raise net.core.optmem_max"), "{error}");
        check(&[0, 1, 3, 4]);
    });
}

#[test]
fn cooked_filters() {
    Net::run(|_| {
        let filter = |load: Instruction, value| {
            vec![
                load,
                Instruction::jump(0x15, value, 0, 1),
                Instruction::stmt(0x06, 65535),
                Instruction::stmt(0x06, 0),
            ]
        };
        for (load, value, in_user_space) in [
            // Protocol; packet type; first byte of the payload; hardware type; first byte of the address.
            (Instruction::stmt(0x28, 14), 0x88b5, false),
            (Instruction::stmt(0x28, 0), 1, false),
            (Instruction::stmt(0x30, 16 + 3), 9, false),
            (Instruction::stmt(0x28, 2), 1, true),
            (Instruction::stmt(0x30, 6), 2, true),
        ] {
            let options =
                Options { filter: filter(load, value), direction: Direction::In, ..options() };
            let mut capture = capture::open("any", &options).unwrap();
            let sender = Sender::new("tx0");
            sender.send(&frame(9, 64));
            let got = receive(&mut capture, 1);
            assert_eq!(got.len(), 1, "{load:?}");
            assert_eq!(got[0].data[16..20], [0, 0, 0, 9]);
            let control = capture.control();
            assert_eq!(control.stats().unwrap().filter_in_user_space, in_user_space, "{load:?}");
            control.set_filter(&filter(load, value + 1)).unwrap();
            sender.send(&frame(9, 64));
            assert_eq!(finish(&mut capture), [], "{load:?}");
            assert_eq!(control.stats().unwrap().received, 1);
        }
    });
}
