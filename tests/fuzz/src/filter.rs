//! Filter programs, judged a second time by running them.

use rpcap_proto::bpf::{Instruction, Program};
use rpcap_proto::wire::{FilterBlock, Reader};

/// The packet that accepted programs are run on.
const PACKET: [u8; 64] = {
    let mut packet = [0x11; 64];
    packet[12] = 0x08;
    packet[13] = 0x00;
    packet[14] = 0x45;
    packet[23] = 6;
    packet
};

/// The registers and memory of the machine. Memory that was not written reads as a fault here.
pub(crate) struct Machine<'a> {
    packet: &'a [u8],
    a: u32,
    x: u32,
    scratch: [Option<u32>; 16],
    /// Whether the link header was asked for, which is not there for every packet.
    pub(crate) link: bool,
}

impl<'a> Machine<'a> {
    /// A machine for a packet that begins with its network header.
    pub(crate) fn new(packet: &'a [u8]) -> Self {
        Self { packet, a: 0, x: 0, scratch: [None; 16], link: false }
    }

    /// What a program returns for the packet. Panics where a program that is accepted must not get:
    /// an unknown operation, a jump out of the program, memory that is not there or not written.
    ///
    /// Written from the description of the machine and the numbers of its operations, not from the
    /// code that it checks.
    pub(crate) fn run(&mut self, program: &[Instruction]) -> u32 {
        let m = self;
        let mut at = 0;
        for _ in 0..program.len() {
            let i = program.get(at).expect("a jump out of the program");
            at += 1;
            match i.code & 7 {
                0 | 1 => match m.load(*i) {
                    Some(value) if i.code & 7 == 0 => m.a = value,
                    Some(value) => m.x = value,
                    None => return 0,
                },
                2 => m.scratch[i.k as usize] = Some(m.a),
                3 => m.scratch[i.k as usize] = Some(m.x),
                4 => match m.alu(*i) {
                    Some(value) => m.a = value,
                    None => return 0,
                },
                5 if i.code == 0x05 => at += i.k as usize,
                5 => at += usize::from(if m.holds(*i) { i.jt } else { i.jf }),
                6 => match i.code {
                    0x06 => return i.k,
                    0x16 => return m.a,
                    code => panic!("unknown return {code:#x}"),
                },
                _ => match i.code {
                    0x07 => m.x = m.a,
                    0x87 => m.a = m.x,
                    code => panic!("unknown operation {code:#x}"),
                },
            }
        }
        panic!("longer than the program: a jump back");
    }

    fn load(&mut self, i: Instruction) -> Option<u32> {
        let (bytes, x) = (self.packet, self.x);
        let mut link = false;
        let mut packet = |offset: u32, len: usize| {
            let offset = match offset {
                0..0x8000_0000 => offset,
                // From the network header, which is the packet's beginning.
                0xfff0_0000.. => offset - 0xfff0_0000,
                0xffe0_0000.. => {
                    link = true;
                    return None;
                }
                _ => return None,
            };
            let start = usize::try_from(offset).ok()?;
            let bytes = bytes.get(start..start.checked_add(len)?)?;
            Some(bytes.iter().fold(0, |value, b| value << 8 | u32::from(*b)))
        };
        let mut indirect = |len| packet(x.wrapping_add(i.k), len);
        let value = match i.code {
            0x00 | 0x01 => Some(i.k),
            0x20 | 0x28 | 0x30 if i.k == 0xffff_f028 => Some(self.a ^ x),
            // A fact about the packet: any value will do, if it is always the same. 0 is what
            // packets have that come from no interface.
            0x20 | 0x28 | 0x30 if i.k >= 0xffff_f000 => Some(0),
            0x20 => packet(i.k, 4),
            0x28 => packet(i.k, 2),
            0x30 => packet(i.k, 1),
            0x40 => indirect(4),
            0x48 => indirect(2),
            0x50 => indirect(1),
            0x60 | 0x61 => Some(self.scratch[i.k as usize].expect("memory not written")),
            0x80 | 0x81 => Some(bytes.len() as u32),
            0xb1 => packet(i.k, 1).map(|b| 4 * (b & 15)),
            code => panic!("unknown load {code:#x}"),
        };
        self.link |= link;
        value
    }

    /// `None` ends the program: only a division by what `X` holds may do that.
    fn alu(&self, i: Instruction) -> Option<u32> {
        let by_x = i.code & 8 != 0;
        let (a, b) = (self.a, if by_x { self.x } else { i.k });
        let divides = matches!(i.code & 0xf0, 0x30 | 0x90);
        let shifts = matches!(i.code & 0xf0, 0x60 | 0x70);
        assert!(by_x || !divides || b != 0, "division by the constant 0");
        assert!(by_x || !shifts || b < 32, "shift by the constant {b}");
        Some(match i.code & !8 {
            0x04 => a.wrapping_add(b),
            0x14 => a.wrapping_sub(b),
            0x24 => a.wrapping_mul(b),
            0x34 => a.checked_div(b)?,
            0x44 => a | b,
            0x54 => a & b,
            0x64 => a.wrapping_shl(b),
            0x74 => a.wrapping_shr(b),
            0x84 if !by_x => a.wrapping_neg(),
            0x94 => a.checked_rem(b)?,
            0xa4 => a ^ b,
            _ => panic!("unknown arithmetic {:#x}", i.code),
        })
    }

    fn holds(&self, i: Instruction) -> bool {
        let b = if i.code & 8 != 0 { self.x } else { i.k };
        match i.code & !8 {
            0x15 => self.a == b,
            0x25 => self.a > b,
            0x35 => self.a >= b,
            0x45 => self.a & b != 0,
            _ => panic!("unknown jump {:#x}", i.code),
        }
    }
}

fn run(program: &[Instruction]) -> u32 {
    Machine::new(&PACKET).run(program)
}

/// Four bytes of snaplen, then instructions of eight bytes.
///
/// An accepted program runs to its end, keeps its meaning when it is written and read, printed and
/// parsed, or put behind another, and returns at most the snaplen once it is clamped.
pub fn filter(data: &[u8]) {
    let mut r = Reader::new(data);
    let Ok(snaplen) = r.u32() else { return };
    let mut wire = vec![0, 1, 0, 0];
    let count = r.remaining() / 8;
    wire.extend_from_slice(&(count as u32).to_be_bytes());
    wire.extend_from_slice(r.rest());
    let Ok(block) = FilterBlock::read(&mut Reader::new(&wire)) else {
        return;
    };
    let mut written = Vec::new();
    block.write(&mut written);
    assert_eq!(written, wire[..8 + 8 * count]);
    let Ok(program) = Program::new(block.instructions) else {
        return;
    };
    assert!((1..=8192).contains(&count));
    let result = run(program.instructions());

    assert!(!program.disassemble().to_string().is_empty());
    assert_eq!(Program::parse_ddd(&program.to_ddd()).as_ref(), Ok(&program));
    let _ = program.fits_kernel();

    let clamped = program.clone().clamp(snaplen);
    assert_eq!(run(clamped.instructions()), result.min(snaplen));

    let noise = vec![Instruction::new(0x00, 7), Instruction::new(0x07, 0)];
    let prefixed = program.with_prefix(noise).expect("a prefix without fault");
    assert_eq!(run(prefixed.instructions()), result);
}
