//! Daemons that are malicious or odd, against the client over real sockets. Tests are named after
//! the rows of the project's list of bad inputs.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod clocks;
#[path = "../common/mod.rs"]
mod common;
mod datagrams;
mod tls;

use std::io::Write;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use common::*;
use rpcap::client::{CaptureOptions, Client, Credentials, Error};
use rpcap::data::{DataError, Gauge, Received, Receiver};
use rpcap_proto::wire::{SNAPLEN_MAX, SockAddr};

/// What a client makes of a daemon that answers its first request with these bytes, and whether it
/// is still in step with it afterwards.
fn authenticate(reply: Vec<u8>) -> Result<(), Error> {
    let (endpoint, _) = daemon(move |d| {
        d.hear();
        d.say(&reply);
        d.answer(DEVICES, 0, &[]);
        d.rest();
    });
    let mut client = Client::connect(&endpoint, Duration::from_secs(2)).unwrap();
    client.authenticate(&Credentials::Null)?;
    assert_eq!(client.devices().unwrap(), []);
    Ok(())
}

#[test]
fn d8_107_auth_reply_of_every_length() {
    let form = [0, 0, 0, 0, 0xd4, 0xc3, 0xb2, 0xa1, 99];
    for len in [0, 2, 8, 9] {
        authenticate(message(AUTHENTICATED, 0, &form[..len])).unwrap();
    }
    for len in [1, 3, 7] {
        let error = authenticate(message(AUTHENTICATED, 0, &form[..len])).unwrap_err();
        assert!(matches!(error, Error::Protocol { .. }), "{len}: {error}");
    }
    let mut endless = message(AUTHENTICATED, 0, &[]);
    endless[4] = 0x80;
    let error = authenticate(endless).unwrap_err();
    assert!(error.to_string().contains("claims 2147483648 bytes"), "{error}");
}

#[test]
fn d8_108_versions_that_nobody_speaks() {
    for (min, max, said) in [(3, 1, "above"), (1, 5, "version 1")] {
        let error = authenticate(message(AUTHENTICATED, 0, &[min, max])).unwrap_err();
        assert!(error.to_string().contains(said), "{error}");
    }
}

#[test]
fn d8_109_byte_order_marks_that_are_none() {
    for mark in [[0; 4], [1, 2, 3, 4], [0xff; 4]] {
        let mut payload = vec![0; 4];
        payload.extend_from_slice(&mark);
        let error = authenticate(message(AUTHENTICATED, 0, &payload)).unwrap_err();
        assert!(error.to_string().contains("byte order"), "{error}");
    }
}

#[test]
fn d8_110_device_lists_that_claim_what_is_not_there() {
    let long_name = [0x03, 0xe8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, b'x'].to_vec();
    let many_addresses = [0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0].to_vec();
    for (count, payload) in [(65_535, vec![]), (1, long_name), (1, many_addresses)] {
        let mut client = client(move |d| d.answer(DEVICES, count, &payload));
        let error = client.devices().unwrap_err();
        assert!(matches!(error, Error::Protocol { .. }), "{error}");
    }
}

#[test]
fn d8_111_addresses_of_every_system() {
    let families = [2u16, 10, 17, 23, 0x1000, 0x1c1e, 0xffff];
    let mut client = client(move |d| {
        let mut payload = [0, 2, 0, 0, 0, 0, 0, 6, 0, families.len() as u8, 0, 0].to_vec();
        payload.extend_from_slice(b"e0");
        for family in families {
            let mut block = family.to_be_bytes().to_vec();
            block.extend((2..128).map(|i| i as u8));
            payload.extend_from_slice(&block);
            payload.resize(payload.len() + 3 * 128, 0);
        }
        d.answer(DEVICES, 1, &payload);
    });
    let devices = client.devices().unwrap();
    let kinds: Vec<_> = devices[0]
        .addresses
        .iter()
        .map(|a| match a.addr {
            Some(SockAddr::V4(_)) => 4,
            Some(SockAddr::V6 { .. }) => 6,
            Some(SockAddr::Mac { len, .. }) => {
                assert!(len <= 8);
                17
            }
            None => 0,
        })
        .collect();
    assert_eq!(kinds, [4, 6, 17, 6, 4, 6]);
}

/// What is received of these bytes on a data connection.
fn stream(bytes: Vec<u8>, snaplen: u32) -> (Received, Option<DataError>) {
    let mut client = client(move |d| {
        let mut data = d.start();
        let _ = data.write_all(&bytes);
    });
    client.open("e0").unwrap();
    let options = CaptureOptions { snaplen, ..CaptureOptions::default() };
    let mut receiver = client.start(&options).unwrap();
    receiver.run(&mut (), &Gauge::default())
}

#[test]
fn d8_112_packets_whose_lengths_do_not_fit() {
    let good = packet(1, &[7; 60]);
    let with = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = packet(2, &[7; 60]);
        change(&mut bytes);
        [good.clone(), bytes].concat()
    };
    let stated = |n: u32| move |b: &mut Vec<u8>| b[4..8].copy_from_slice(&n.to_be_bytes());
    let caplen = |n: u32| move |b: &mut Vec<u8>| b[16..20].copy_from_slice(&n.to_be_bytes());
    let mut bad: Vec<Vec<u8>> = (0..20).map(|n| with(&stated(n))).collect();
    bad.push(with(&stated(79)));
    bad.push(with(&stated(u32::MAX)));
    bad.push(with(&caplen(61)));
    bad.push(with(&caplen(u32::MAX)));
    bad.push(with(&|b| b[0] = 1));
    bad.push(with(&|b| b[1] = 110));
    for bytes in bad {
        let (received, error) = stream(bytes, 65_535);
        assert_eq!(received.packets, 1);
        assert!(matches!(error, Some(DataError::Malformed(_))), "{error:?}");
    }
    let (received, error) = stream([good.clone(), packet(2, &[7; 1501])].concat(), 1500);
    assert_eq!((received.packets, error.is_some()), (1, true));

    // Other daemons state this length modulo 65,536.
    let mut wrapped = packet(2, &[7; 70_000]);
    wrapped[4..8].copy_from_slice(&(70_020u32 % 65_536).to_be_bytes());
    let (received, error) = stream([good.clone(), wrapped, packet(3, &[])].concat(), SNAPLEN_MAX);
    assert!(error.is_none(), "{error:?}");
    assert_eq!((received.packets, received.bytes), (3, 70_060));

    let (received, error) = stream(good[..50].to_vec(), 65_535);
    assert!(matches!(error, Some(DataError::Cut)), "{error:?}");
    assert_eq!(received.packets, 0);
}

#[test]
fn d8_113_an_error_pushed_before_the_reply() {
    let mut client = client(|d| {
        d.hear();
        d.say(&message(ERROR, 9, b"device went\x1b[2J away"));
        d.say(&message(STATS, 0, &[0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 7]));
    });
    assert_eq!(client.stats().unwrap().received, 8);
    let pushed = client.pushed(Duration::ZERO).unwrap().unwrap();
    assert_eq!((pushed.code, pushed.text.as_str()), (9, "device went\\u{1b}[2J away"));
    assert_eq!(client.pushed(Duration::ZERO).unwrap(), None);
}

#[test]
fn d8_113_two_errors_for_one_request() {
    let mut client = client(|d| {
        d.hear();
        d.say(&message(ERROR, 16, b""));
        d.say(&message(ERROR, 17, b"RPCAP version number mismatch"));
        d.answer(DEVICES, 0, &[]);
    });
    let error = client.stats().unwrap_err();
    assert!(error.to_string().ends_with("error 16, without a text"), "{error}");
    assert!(client.pushed(Duration::from_secs(2)).unwrap().is_some());
    // In step again.
    assert_eq!(client.devices().unwrap(), []);
}

#[test]
fn d8_113_errors_without_end() {
    let mut client = client(|d| {
        d.hear();
        let errors = message(ERROR, 9, &[b'x'; 200]).repeat(1000);
        let until = Instant::now() + Duration::from_secs(5);
        while Instant::now() < until && d.0.write_all(&errors).is_ok() {}
    });
    let start = Instant::now();
    assert!(client.stats().is_err());
    assert!(start.elapsed() < Duration::from_secs(4));
}

#[test]
fn a_daemon_that_says_nothing_or_dribbles_is_not_waited_for() {
    for dribble in [false, true] {
        let (endpoint, _) = daemon(move |d| {
            d.hear();
            d.say(&[0, AUTHENTICATED, 0, 0, 0, 0, 0, 200]);
            while dribble && d.0.write_all(&[0]).is_ok() {
                std::thread::sleep(Duration::from_millis(20));
            }
            d.rest();
        });
        let mut client = Client::connect(&endpoint, Duration::from_millis(500)).unwrap();
        let start = Instant::now();
        let error = client.authenticate(&Credentials::Null).unwrap_err();
        assert!(matches!(error, Error::Timeout { .. }), "{error}");
        assert!(start.elapsed() < Duration::from_secs(2));
    }
}

#[test]
fn replies_that_were_not_asked_for_end_the_session() {
    let mut client = client(|d| d.answer(ENDED, 0, &[]));
    let error = client.devices().unwrap_err();
    assert!(matches!(error, Error::Protocol { .. }), "{error}");
}

#[test]
fn a_refusal_that_comes_before_the_request_is_the_reason() {
    let (endpoint, _) = daemon(|d| {
        d.say(&message(ERROR, 10, b"The host is not in the allowed host list."));
        d.0.shutdown(std::net::Shutdown::Both).unwrap();
    });
    let mut client = Client::connect(&endpoint, Duration::from_secs(2)).unwrap();
    std::thread::sleep(Duration::from_millis(100));
    let error = client.authenticate(&Credentials::Null).unwrap_err();
    assert!(error.to_string().contains("allowed host list"), "{error}");
}

#[test]
fn the_data_connection_goes_to_the_daemon_only() {
    let mut client = client(|d| drop(d.start()));
    client.open("e0").unwrap();
    let receiver = client.start(&CaptureOptions::default()).unwrap();
    assert!(matches!(receiver, Receiver::Tcp(_)));
    assert_eq!(client.peer().ip(), IpAddr::from([127, 0, 0, 1]));
}
