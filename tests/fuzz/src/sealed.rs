//! Sealed datagrams on a network that does with them what it likes.

use std::hash::{DefaultHasher, Hash, Hasher};

use rpcap_proto::batch::Batch;
use rpcap_proto::sealed::{Cipher, Counts, OVERHEAD, Opener, Refused, Sealer, Secret};

use super::input::Input;

/// Behind this many numbers nothing is taken (docs/sealed-udp.md, "Receiving").
const WINDOW: u64 = 4096;

/// Datagrams of one input.
const MOST: usize = 256;

/// A datagram that was sealed.
struct Sealed {
    number: u64,
    udpstr: Vec<u8>,
    bytes: Vec<u8>,
    opened: bool,
}

/// The receiving end, beside what is known of it.
struct Receiver {
    opener: Opener,
    uses: u64,
    /// The highest number that was opened, and one.
    next: u64,
    delivered: u64,
}

impl Receiver {
    /// Delivers bytes, which may be those of a datagram that was sealed.
    fn take(&mut self, bytes: &[u8], all: &mut [Sealed]) {
        self.delivered += 1;
        let genuine = all.iter_mut().find(|s| s.bytes == bytes);
        let result = self.opener.open(bytes);
        match (genuine, result) {
            (Some(sealed), Ok(udpstr)) => {
                assert!(!sealed.opened, "opened twice");
                assert!(udpstr == sealed.udpstr);
                sealed.opened = true;
                self.next = self.next.max(sealed.number + 1);
            }
            (None, Ok(_)) => panic!("opened what was not sealed"),
            (Some(sealed), Err(refused)) => {
                let distance = i128::from(sealed.number) - i128::from(self.next);
                let far = !(-(1 << 31)..1 << 31).contains(&distance);
                let top = self.next.saturating_sub(1) / self.uses;
                let permitted = match refused {
                    // Too far to tell its number, or so far that not each is tried.
                    _ if far => true,
                    Refused::Forged => sealed.number / self.uses > top + 1,
                    Refused::Replayed => sealed.opened,
                    Refused::Old => sealed.number + WINDOW < self.next,
                    Refused::Clear => false,
                };
                assert!(permitted, "{} was {refused}", sealed.number);
            }
            (None, Err(_)) => {}
        }
        if result.is_err() {
            assert!(self.opener.opened().is_empty());
        }
        let Counts { opened, clear, forged, replayed, old } = *self.opener.counts();
        assert_eq!(opened + clear + forged + replayed + old, self.delivered);
    }
}

/// A byte for the AEAD, two for how many datagrams a key is used for, four for the first number in
/// units of 2^20. Then events: 0 a datagram of some bytes is sealed, 1 numbers are left out, 2 one is
/// delivered, 3 with a bit changed, 4 one's first eight bytes before the rest of another, 5 cut or
/// longer; others: bytes.
///
/// Only what was sealed is opened, as it was, and once; it is refused only where the specification
/// says so.
pub fn sealed(data: &[u8]) {
    let mut input = Input(data);
    let cipher = input.pick(&[Cipher::Aes128Gcm, Cipher::Aes256Gcm, Cipher::ChaCha20Poly1305]);
    let uses = 1 + u64::from(input.u16());
    let mut number = u64::from(input.u32()) << 20;
    // Another one for each input: libFuzzer sees what is compared, and takes datagrams that were
    // sealed in one input over into the next.
    let mut hasher = DefaultHasher::new();
    data.hash(&mut hasher);
    let mut secret = [7; 32];
    secret[..8].copy_from_slice(&hasher.finish().to_be_bytes());
    let secret = Secret::new(secret);
    let opener = Opener::new(secret.clone(), cipher).with(uses);
    let mut receiver = Receiver { opener, uses, next: 0, delivered: 0 };
    let mut all: Vec<Sealed> = Vec::new();
    while !input.is_empty() && receiver.delivered < MOST as u64 {
        let event = input.u8();
        if event == 0 && all.len() < MOST {
            let first = input.u16().to_be_bytes();
            let mut udpstr = vec![0, 110, first[0], first[1]];
            udpstr.extend_from_slice(&(number as u32).to_be_bytes());
            udpstr.extend_from_slice(input.bytes());
            let (mut batch, mut out) = (Batch::default(), Batch::default());
            batch.extend(&udpstr);
            batch.close(1, false);
            let mut sealer = Sealer::new(secret.clone(), cipher).with(uses, number);
            if !sealer.seal(&batch, &mut out) {
                // Epochs have 32 bits.
                assert!(number / uses > u64::from(u32::MAX));
                return;
            }
            let bytes = out.datagram(0).map_or_else(Vec::new, |d| d.bytes.to_vec());
            assert_eq!(bytes.len(), udpstr.len() + OVERHEAD);
            all.push(Sealed { number, udpstr, bytes, opened: false });
            number += 1;
            continue;
        }
        if event == 1 {
            number = number.saturating_add(input.u32().into());
            continue;
        }
        if all.is_empty() || event > 5 {
            receiver.take(input.bytes(), &mut all);
            continue;
        }
        let mut bytes = all[usize::from(input.u8()) % all.len()].bytes.clone();
        match event {
            3 => {
                let bit = usize::from(input.u16()) % (bytes.len() * 8);
                bytes[bit / 8] ^= 1 << (bit % 8);
            }
            4 => {
                let other = &all[usize::from(input.u8()) % all.len()].bytes;
                bytes.truncate(8);
                bytes.extend_from_slice(&other[8..]);
            }
            5 => bytes.resize(usize::from(input.u16()) % (bytes.len() + 64), 0),
            _ => {}
        }
        receiver.take(&bytes, &mut all);
    }
}
