//! The interpreter.

use super::{Instruction, code::*};

/// What is known about a packet besides its bytes; a program reads it by loads at negative offsets (`SKF_AD_…` in
/// `linux/filter.h`). `None` makes the program refuse the packet, as any load outside the packet does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Aux {
    /// The EtherType, in host order.
    pub protocol: Option<u16>,
    /// `PACKET_HOST` (0) to `PACKET_OUTGOING` (4).
    pub pkttype: Option<u8>,
    /// The interface it was seen on.
    pub ifindex: Option<u32>,
    /// That interface's `ARPHRD_` type.
    pub hatype: Option<u16>,
    /// The VLAN tag (priority and VLAN number) and its EtherType, where the kernel took one off.
    pub vlan: Option<(u16, u16)>,
    /// Where the network header begins in the packet, in bytes.
    pub network: Option<usize>,
}

/// Runs `program` on `packet`, `len` bytes long on the wire, and returns how many bytes of it to keep: 0 refuses it.
/// An empty program keeps everything.
///
/// Agrees with the Linux kernel, in the corners too: a load outside the packet, or a division by zero, refuses it; a
/// shift by a register counts modulo 32; an indirect offset wraps at 32 bits. Scratch cells that were never written
/// hold 0 (the kernel does not take programs that read them).
///
/// Total: any sequence of instructions terminates, as jumps only go forward, and what [`check`](super::check()) would not
/// let pass refuses the packet.
pub fn run(program: &[Instruction], packet: &[u8], len: u32, aux: &Aux) -> u32 {
    if program.is_empty() {
        return u32::MAX;
    }
    // The only early way out of `execute` is a packet that does not have what the program asks for.
    execute(program, packet, len, aux).unwrap_or(0)
}

fn execute(program: &[Instruction], packet: &[u8], len: u32, aux: &Aux) -> Option<u32> {
    let (mut a, mut x) = (0u32, 0u32);
    let mut scratch = [0u32; SCRATCH];
    let mut pc = 0usize;
    loop {
        let &Instruction { code, jt, jf, k } = program.get(pc)?;
        pc += 1;
        let mut branch = |holds: bool| pc += usize::from(if holds { jt } else { jf });
        match code {
            RET_K => return Some(k),
            RET_A => return Some(a),

            LD_W_ABS | LD_H_ABS | LD_B_ABS if k == SKF_AD_ALU_XOR_X => a ^= x,
            LD_W_ABS | LD_H_ABS | LD_B_ABS => {
                a = match ancillary(k, aux) {
                    Some(value) => value?,
                    None => load(packet, k as i32, code, aux)?,
                }
            }
            LD_W_IND | LD_H_IND | LD_B_IND => {
                a = load(packet, x.wrapping_add(k) as i32, code, aux)?;
            }
            LDX_B_MSH => x = (load(packet, k as i32, LD_B_ABS, aux)? & 0xf) << 2,
            LD_W_LEN => a = len,
            LDX_W_LEN => x = len,
            LD_IMM => a = k,
            LDX_IMM => x = k,
            LD_MEM => a = *scratch.get(k as usize)?,
            LDX_MEM => x = *scratch.get(k as usize)?,
            ST => *scratch.get_mut(k as usize)? = a,
            STX => *scratch.get_mut(k as usize)? = x,

            ADD_K => a = a.wrapping_add(k),
            ADD_X => a = a.wrapping_add(x),
            SUB_K => a = a.wrapping_sub(k),
            SUB_X => a = a.wrapping_sub(x),
            MUL_K => a = a.wrapping_mul(k),
            MUL_X => a = a.wrapping_mul(x),
            DIV_K => a = a.checked_div(k)?,
            DIV_X => a = a.checked_div(x)?,
            MOD_K => a = a.checked_rem(k)?,
            MOD_X => a = a.checked_rem(x)?,
            OR_K => a |= k,
            OR_X => a |= x,
            AND_K => a &= k,
            AND_X => a &= x,
            XOR_K => a ^= k,
            XOR_X => a ^= x,
            LSH_K => a = a.wrapping_shl(k),
            LSH_X => a = a.wrapping_shl(x),
            RSH_K => a = a.wrapping_shr(k),
            RSH_X => a = a.wrapping_shr(x),
            NEG => a = a.wrapping_neg(),
            TAX => x = a,
            TXA => a = x,

            JA => pc = pc.checked_add(k as usize)?,
            JEQ_K => branch(a == k),
            JEQ_X => branch(a == x),
            JGT_K => branch(a > k),
            JGT_X => branch(a > x),
            JGE_K => branch(a >= k),
            JGE_X => branch(a >= x),
            JSET_K => branch(a & k != 0),
            JSET_X => branch(a & x != 0),
            _ => return None,
        }
    }
}

/// What an absolute load at `k` reads if that is not packet: outer `None` if it is, inner `None` if it is not known.
fn ancillary(k: u32, aux: &Aux) -> Option<Option<u32>> {
    if k < SKF_AD as u32 {
        return None;
    }
    Some(match k {
        SKF_AD_PROTOCOL => aux.protocol.map(u32::from),
        SKF_AD_PKTTYPE => aux.pkttype.map(u32::from),
        SKF_AD_IFINDEX => aux.ifindex,
        SKF_AD_HATYPE => aux.hatype.map(u32::from),
        SKF_AD_VLAN_TAG => Some(aux.vlan.map_or(0, |(tci, _)| u32::from(tci))),
        SKF_AD_VLAN_TAG_PRESENT => Some(u32::from(aux.vlan.is_some())),
        SKF_AD_VLAN_TPID => Some(aux.vlan.map_or(0, |(_, tpid)| u32::from(tpid))),
        _ => None,
    })
}

/// Loads a big-endian word, half-word or byte, as `code` says, from `offset`; negative ones count from the network or
/// the link header.
fn load(packet: &[u8], offset: i32, code: u16, aux: &Aux) -> Option<u32> {
    let at = if offset >= 0 {
        offset as usize
    } else if offset >= SKF_NET {
        aux.network?.checked_add((offset - SKF_NET) as usize)?
    } else if offset >= SKF_LL {
        (offset - SKF_LL) as usize
    } else {
        return None;
    };
    let rest = packet.get(at..)?;
    match code {
        LD_W_ABS | LD_W_IND => rest.first_chunk().map(|bytes| u32::from_be_bytes(*bytes)),
        LD_H_ABS | LD_H_IND => rest.first_chunk().map(|bytes| u16::from_be_bytes(*bytes).into()),
        _ => rest.first().map(|&byte| byte.into()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PACKET: &[u8] = &[0x45, 1, 2, 3, 4, 5, 6, 7, 8, 9];

    fn eval(body: &[Instruction]) -> u32 {
        let mut program = body.to_vec();
        program.push(Instruction::stmt(RET_A, 0));
        run(&program, PACKET, 1000, &Aux { network: Some(2), ..Aux::default() })
    }

    #[test]
    fn loads_are_big_endian_and_bounded() {
        assert_eq!(eval(&[Instruction::stmt(LD_W_ABS, 1)]), 0x01020304);
        assert_eq!(eval(&[Instruction::stmt(LD_H_ABS, 8)]), 0x0809);
        assert_eq!(eval(&[Instruction::stmt(LD_H_ABS, 9)]), 0);
        assert_eq!(eval(&[Instruction::stmt(LD_B_ABS, 9)]), 9);
        assert_eq!(eval(&[Instruction::stmt(LD_B_ABS, 10)]), 0);
        assert_eq!(eval(&[Instruction::stmt(LD_W_LEN, 0)]), 1000);
        assert_eq!(eval(&[Instruction::stmt(LDX_B_MSH, 0), Instruction::stmt(TXA, 0)]), 20);
    }

    #[test]
    fn indirect_offsets_wrap_as_in_the_kernel() {
        let x = Instruction::stmt(LDX_IMM, 0xffff_fffe);
        assert_eq!(eval(&[x, Instruction::stmt(LD_B_IND, 5)]), 3);
        assert_eq!(eval(&[x, Instruction::stmt(LD_B_IND, 0)]), 0);
    }

    #[test]
    fn negative_offsets_reach_network_and_link_header() {
        assert_eq!(eval(&[Instruction::stmt(LD_B_ABS, SKF_NET as u32 + 1)]), 3);
        assert_eq!(eval(&[Instruction::stmt(LD_H_ABS, SKF_LL as u32 + 3)]), 0x0304);
        assert_eq!(eval(&[Instruction::stmt(LD_B_ABS, SKF_LL as u32 + 10)]), 0);
    }

    #[test]
    fn the_load_that_is_none_changes_a() {
        let registers = [Instruction::stmt(LD_IMM, 6), Instruction::stmt(LDX_IMM, 3)];
        for load in [LD_W_ABS, LD_H_ABS, LD_B_ABS] {
            let program = [&registers[..], &[Instruction::stmt(load, SKF_AD_ALU_XOR_X)]].concat();
            assert_eq!(eval(&program), 5);
        }
    }

    #[test]
    fn division_by_a_zero_register_refuses() {
        let one = Instruction::stmt(LD_IMM, 7);
        assert_eq!(eval(&[one, Instruction::stmt(DIV_X, 0)]), 0);
        assert_eq!(eval(&[one, Instruction::stmt(MOD_X, 0)]), 0);
        assert_eq!(eval(&[one, Instruction::stmt(LDX_IMM, 4), Instruction::stmt(MOD_X, 0)]), 3);
    }

    #[test]
    fn unknown_ancillary_data_refuses_and_known_is_read() {
        let aux = Aux { vlan: Some((0x6064, 0x88a8)), pkttype: Some(4), ..Aux::default() };
        let read = |k| {
            run(&[Instruction::stmt(LD_B_ABS, k), Instruction::stmt(RET_A, 0)], PACKET, 10, &aux)
        };
        assert_eq!(read(SKF_AD_VLAN_TAG), 0x6064);
        assert_eq!(read(SKF_AD_VLAN_TAG_PRESENT), 1);
        assert_eq!(read(SKF_AD_VLAN_TPID), 0x88a8);
        assert_eq!(read(SKF_AD_PKTTYPE), 4);
        assert_eq!(read(SKF_AD_IFINDEX), 0);
        // SKF_AD_MARK is the kernel's alone.
        assert_eq!(read(SKF_AD as u32 + 20), 0);
    }

    proptest! {
        #[test]
        fn any_program_terminates_without_panic(
            program in prop::collection::vec(
                (prop_oneof![any::<u16>(), 0u16..0x100], any::<u8>(), any::<u8>(), prop_oneof![any::<u32>(), 0u32..64])
                    .prop_map(|(code, jt, jf, k)| Instruction { code, jt, jf, k }),
                0..64,
            ),
            packet in prop::collection::vec(any::<u8>(), 0..128),
            len in any::<u32>(),
            network in prop::option::of(any::<usize>()),
        ) {
            run(&program, &packet, len, &Aux { network, ..Aux::default() });
        }
    }
}
