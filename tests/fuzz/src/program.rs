//! Filter programs that are mostly valid.

use rpcap_proto::bpf::{Instruction, op};

use super::input::Input;

/// Offsets and constants at which something changes: signs, the ranges that stand for a header
/// (`SKF_NET_OFF`, `SKF_LL_OFF`), and facts about the packet.
const EDGES: [u32; 16] = [
    0,
    1,
    31,
    32,
    0x7fff_ffff,
    0x8000_0000,
    0xffe0_0000,
    0xfff0_0000,
    0xfff0_0004,
    0xffff_f000,
    0xffff_f004,
    0xffff_f028,
    0xffff_f02c,
    0xffff_f040,
    0xffff_fffe,
    0xffff_ffff,
];

fn constant(input: &mut Input<'_>) -> u32 {
    match input.u8() {
        small @ 0..=199 => u32::from(small) % 100,
        200..=239 => input.pick(&EDGES),
        _ => input.u32(),
    }
}

fn distance(input: &mut Input<'_>) -> u8 {
    match input.u8() {
        far @ 250.. => far,
        near => near % 6,
    }
}

fn instruction(input: &mut Input<'_>) -> Instruction {
    let code = match input.u8() {
        // Not an operation, mostly.
        255 => input.u16(),
        n => op::ALL[usize::from(n) % op::ALL.len()],
    };
    let mut one = Instruction::jump(code, 0, 0, 0);
    match code {
        op::LD_MEM | op::LDX_MEM | op::ST | op::STX => one.k = u32::from(input.u8() % 17),
        op::JA => one.k = u32::from(distance(input)),
        op::LSH_K | op::RSH_K => one.k = u32::from(input.u8() % 33),
        _ => one.k = constant(input),
    }
    if one.is_comparison() {
        (one.jt, one.jf) = (distance(input), distance(input));
    }
    one
}

/// A byte of flags (1: memory is written first, 2: long, with two bytes that say how long), a byte
/// that says how many instructions follow, then those.
pub(crate) fn program(input: &mut Input<'_>) -> Vec<Instruction> {
    let flags = input.u8();
    let mut all = Vec::new();
    if flags & 2 != 0 {
        all.resize(usize::from(input.u16()) % 4200, Instruction::new(op::LD_IMM, 1));
    }
    if flags & 1 != 0 {
        all.extend((0..16).map(|slot| Instruction::new(op::ST, slot)));
    }
    for _ in 0..input.u8() % 64 {
        all.push(instruction(input));
    }
    // Jumps over the end of what is there mostly find a return.
    if flags & 4 == 0 {
        let k = constant(input);
        all.extend([Instruction::new(op::RET_K, k); 3]);
        all.extend([Instruction::new(op::RET_A, 0); 4]);
    }
    all
}
