use proptest::prelude::*;

use super::*;
use crate::batch::Batch;
use crate::udpstr::Packer;
use crate::wire::PacketHeader;

const CIPHERS: [Cipher; 3] = [Cipher::Aes128Gcm, Cipher::Aes256Gcm, Cipher::ChaCha20Poly1305];

fn secret(byte: u8) -> Secret {
    Secret::new([byte; 32])
}

/// So many datagrams with a packet each, the first of this number.
fn packed(count: usize, seqno: u32) -> Batch {
    let mut packer = Packer::new(1472).unwrap().starting_at(seqno);
    for n in 0..count {
        let header = PacketHeader { len: 60, npkt: n as u32 + 1, ..PacketHeader::default() };
        packer.push(&header, &[n as u8; 60]);
        packer.flush();
    }
    std::mem::take(packer.flushed())
}

fn datagrams(batch: &Batch) -> Vec<Vec<u8>> {
    (0..batch.datagrams()).map(|i| batch.datagram(i).unwrap().bytes.to_vec()).collect()
}

/// Datagrams as they were and as they are sealed.
fn sealed(mut sealer: Sealer, batch: &Batch) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut out = Batch::default();
    assert!(sealer.seal(batch, &mut out));
    datagrams(batch).into_iter().zip(datagrams(&out)).collect()
}

#[test]
fn what_was_sealed_is_opened_once() {
    for cipher in CIPHERS {
        let batch = packed(20, 0);
        let all = sealed(Sealer::new(secret(1), cipher), &batch);
        let mut opener = Opener::new(secret(1), cipher);
        for (plain, sealed) in &all {
            assert_eq!(sealed.len(), plain.len() + OVERHEAD);
            assert_eq!(sealed[4..8], plain[4..8]);
            // Neither the packet nor where it starts can be seen.
            assert!(!sealed.windows(8).any(|w| plain[8..].windows(8).any(|p| p == w)));
            assert_eq!(opener.open(sealed), Ok(&plain[..]));
            assert_eq!(opener.open(sealed), Err(Refused::Replayed));
        }
        let counts = Counts { opened: 20, replayed: 20, ..Counts::default() };
        assert_eq!(*opener.counts(), counts);
    }
}

#[test]
fn no_bit_can_be_changed() {
    for cipher in CIPHERS {
        let all = sealed(Sealer::new(secret(1), cipher), &packed(1, 0));
        let (plain, sealed) = &all[0];
        let mut opener = Opener::new(secret(1), cipher);
        for bit in 0..sealed.len() * 8 {
            let mut changed = sealed.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(opener.open(&changed).is_err(), "bit {bit}");
        }
        for end in 0..sealed.len() {
            assert!(opener.open(&sealed[..end]).is_err(), "{end} bytes");
        }
        assert!(opener.open(&[&sealed[..], &[0]].concat()).is_err());
        assert_eq!(opener.counts().opened, 0);
        // None of it has harmed the one that is authentic.
        assert_eq!(opener.open(sealed), Ok(&plain[..]));
    }
}

#[test]
fn secrets_ciphers_and_captures_are_apart() {
    let all = sealed(Sealer::new(secret(1), Cipher::Aes256Gcm), &packed(1, 0));
    let sealed = &all[0].1;
    for (byte, cipher) in [(2, Cipher::Aes256Gcm), (1, Cipher::Aes128Gcm)] {
        let mut opener = Opener::new(secret(byte), cipher);
        assert_eq!(opener.open(sealed), Err(Refused::Forged));
    }
    assert_ne!(exporter_context(0), exporter_context(1));
}

#[test]
fn clear_datagrams_are_not_taken() {
    let mut opener = Opener::new(secret(1), Cipher::Aes128Gcm);
    let plain = datagrams(&packed(1, 0));
    assert_eq!(opener.open(&plain[0]), Err(Refused::Clear));
    assert_eq!(opener.open(&[]), Err(Refused::Clear));
    assert_eq!(opener.open(&[0; 70_000]), Err(Refused::Clear));
    assert_eq!(opener.counts().clear, 3);
}

#[test]
fn keys_change_and_what_is_late_still_has_its_own() {
    let batch = packed(40, 0);
    let all = sealed(Sealer::new(secret(1), Cipher::Aes128Gcm).with(8, 0), &batch);
    // In pairs that change places, so that epochs overlap; and every seventh is lost.
    let mut opener = Opener::new(secret(1), Cipher::Aes128Gcm).with(8);
    let order = (0..40).map(|i| i ^ 1).filter(|i| i % 7 != 0);
    for i in order {
        assert_eq!(opener.open(&all[i].1), Ok(&all[i].0[..]), "{i}");
    }
    // Another interval is another key.
    let mut other = Opener::new(secret(1), Cipher::Aes128Gcm).with(9);
    assert_eq!(other.open(&all[7].1), Ok(&all[7].0[..]));
    assert_eq!(other.open(&all[8].1), Err(Refused::Forged));
}

#[test]
fn numbers_go_on_where_32_bits_end() {
    let start = u64::from(u32::MAX) - 5;
    let sealer = Sealer::new(secret(1), Cipher::Aes256Gcm).with(KEY_USES, start);
    let all = sealed(sealer, &packed(12, start as u32));
    let mut opener = Opener::new(secret(1), Cipher::Aes256Gcm);
    // From 0 that is farther than can be told from going back.
    assert_eq!(opener.open(&all[0].1), Err(Refused::Old));
    for near in [(1u64 << 31) - 1, 3 << 30] {
        let sealer = Sealer::new(secret(1), Cipher::Aes256Gcm).with(KEY_USES, near);
        let near = sealed(sealer, &packed(1, near as u32));
        assert_eq!(opener.open(&near[0].1), Ok(&near[0].0[..]));
    }
    for i in (0..12).rev() {
        assert_eq!(opener.open(&all[i].1), Ok(&all[i].0[..]), "{i}");
        assert_eq!(opener.open(&all[i].1), Err(Refused::Replayed), "{i}");
    }
}

#[test]
fn what_is_older_than_the_window_is_not_taken() {
    let count = replay::WINDOW as usize + 2;
    let all = sealed(Sealer::new(secret(1), Cipher::ChaCha20Poly1305), &packed(count, 0));
    let mut opener = Opener::new(secret(1), Cipher::ChaCha20Poly1305);
    assert!(opener.open(&all[count - 1].1).is_ok());
    assert_eq!(opener.open(&all[1].1), Err(Refused::Old));
    assert!(opener.open(&all[2].1).is_ok());
    assert_eq!(opener.counts().old, 1);
}

#[test]
fn forged_numbers_do_not_put_the_keys_away() {
    let all = sealed(Sealer::new(secret(1), Cipher::Aes128Gcm).with(8, 0), &packed(3, 0));
    let mut opener = Opener::new(secret(1), Cipher::Aes128Gcm).with(8);
    assert!(opener.open(&all[0].1).is_ok());
    for n in [9u32, 1 << 20, 1 << 30, u32::MAX / 2] {
        let mut forged = all[1].1.clone();
        forged[4..8].copy_from_slice(&n.to_be_bytes());
        assert_eq!(opener.open(&forged), Err(Refused::Forged));
    }
    assert!(opener.open(&all[1].1).is_ok());
    assert!(opener.open(&all[2].1).is_ok());
}

#[test]
fn a_long_loss_is_got_over_after_any_number_of_forged_datagrams() {
    let secret = || secret(1);
    let far = 50 * KEY_USES;
    let sealer = Sealer::new(secret(), Cipher::Aes128Gcm).with(KEY_USES, far);
    let all = sealed(sealer, &packed(17, far as u32));
    for forgeries in [0, 1, 15, 16, 17, 1000] {
        let mut opener = Opener::new(secret(), Cipher::Aes128Gcm);
        for n in 0..forgeries {
            let mut forged = all[0].1.clone();
            forged[4..8].copy_from_slice(&(3 * KEY_USES as u32 + n).to_be_bytes());
            assert_eq!(opener.open(&forged), Err(Refused::Forged));
            assert_eq!(opener.opened(), [0; 0]);
        }
        let opened = all.iter().filter(|(plain, d)| opener.open(d) == Ok(plain)).count();
        assert!(opened >= 2, "{opened} after {forgeries}");
    }
}

#[test]
fn sealing_reserves_what_it_needs() {
    let batch = packed(100, 0);
    let mut out = Sealer::batch(batch.len(), batch.datagrams());
    let reserved = out.capacity();
    assert!(Sealer::new(secret(1), Cipher::Aes128Gcm).seal(&batch, &mut out));
    assert_eq!(out.capacity(), reserved);
    assert_eq!(out.len(), batch.len() + 100 * OVERHEAD);
}

proptest! {
    /// Whatever the network does, what is opened was sealed, and each of it once.
    #[test]
    fn nothing_is_opened_that_was_not_sealed(
        deliveries in prop::collection::vec((0usize..64, any::<u16>(), 0u8..4), 1..200),
    ) {
        // Two epochs: a third would be too far for each datagram of it to be tried.
        let all = sealed(Sealer::new(secret(7), Cipher::Aes128Gcm).with(32, 0), &packed(64, 0));
        let mut opener = Opener::new(secret(7), Cipher::Aes128Gcm).with(32);
        let mut opened = [false; 64];
        for (i, place, how) in deliveries {
            let mut datagram = all[i].1.clone();
            if how == 0 {
                let place = usize::from(place) % datagram.len();
                datagram[place] ^= 1 << (place % 8);
            }
            let genuine = how != 0;
            match opener.open(&datagram) {
                Ok(plain) => {
                    prop_assert!(genuine && !opened[i]);
                    prop_assert_eq!(plain, &all[i].0[..]);
                    opened[i] = true;
                }
                Err(Refused::Replayed) if genuine => prop_assert!(opened[i]),
                Err(_) => prop_assert!(!genuine),
            }
        }
    }
}
