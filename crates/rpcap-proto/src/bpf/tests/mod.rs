//! What the tests of filters share: real programs, and generators of plausible ones.

mod ddd;
mod disassembly;
#[cfg(target_os = "linux")]
mod kernel;
mod rules;

use proptest::prelude::*;
use proptest::sample::select;

use super::*;

/// Compiled by tcpdump 4.99.3 for Ethernet, each with its expression.
const COMPILED: &[(&str, &str)] = &[
    ("", "1,6 0 0 262144"),
    (
        "tcp port 80",
        "20,40 0 0 12,21 0 6 34525,48 0 0 20,21 0 15 6,40 0 0 54,21 12 0 80,40 0 0 56,\
         21 10 11 80,21 0 10 2048,48 0 0 23,21 0 8 6,40 0 0 20,69 6 0 8191,177 0 0 14,72 0 0 14,\
         21 2 0 80,72 0 0 16,21 0 1 80,6 0 0 262144,6 0 0 0,",
    ),
    ("inbound", "4,40 0 0 4294963204,21 0 1 4,6 0 0 0,6 0 0 262144"),
    (
        "vlan",
        "8,48 0 0 4294963248,21 4 0 1,40 0 0 12,21 2 0 33024,21 1 0 34984,21 0 1 37120,\
         6 0 0 262144,6 0 0 0",
    ),
    (
        "ether[0:4] * 3 / len - 2 != -1 and ip[0] >> 2 = 5",
        "15,32 0 0 0,36 0 0 3,2 0 0 2,128 0 0 0,7 0 0 0,96 0 0 2,60 0 0 0,21 6 0 1,40 0 0 12,\
         21 0 4 2048,48 0 0 14,116 0 0 2,21 0 1 5,6 0 0 262144,6 0 0 0",
    ),
];

fn compiled() -> impl Strategy<Value = Vec<Instruction>> {
    select(COMPILED).prop_map(|(_, text)| Program::parse_ddd(text).unwrap().instructions().to_vec())
}

/// Constants near the limits of some rule.
fn constant() -> impl Strategy<Value = u32> {
    prop_oneof![
        6 => 0..20u32,
        2 => 28..36u32,
        1 => (0..70u32).prop_map(|offset| Ancillary::BASE + offset),
        1 => (0..17u32).prop_map(|index| Ancillary::BASE + 4 * index),
        1 => select(&[0xfff0_0000, 0xffe0_0000, 0xffff_efff, 0x7fff_ffff, 0x8000_0000][..]),
        1 => (0..8u32).prop_map(|below| u32::MAX - below),
        1 => any::<u32>(),
    ]
}

fn instruction() -> impl Strategy<Value = Instruction> {
    let code = prop_oneof![40 => select(op::ALL), 1 => 0..256u16, 1 => any::<u16>()];
    let skip = || prop_oneof![8 => 0..4u8, 1 => any::<u8>()];
    (code, skip(), skip(), constant()).prop_map(|(code, jt, jf, k)| Instruction { code, jt, jf, k })
}

/// Anything: rarely a program.
fn random() -> impl Strategy<Value = Vec<Instruction>> {
    prop::collection::vec(instruction(), 0..12)
}

/// Instructions that keep most rules by construction: often a program.
fn plausible() -> impl Strategy<Value = Vec<Instruction>> {
    let body = prop::collection::vec(instruction(), 0..24);
    let end = select(&[op::RET_K, op::RET_A][..]);
    (body, end, 0..40u32, any::<bool>()).prop_map(|(mut body, end, k, store_first)| {
        body.retain(|one| op::ALL.contains(&one.code));
        if store_first {
            let stores = (0..SCRATCH_SLOTS).map(|slot| Instruction::new(op::ST, slot));
            body.splice(0..0, stores);
        }
        body.push(Instruction::new(end, k));
        let length = body.len();
        for (at, one) in body.iter_mut().enumerate() {
            let room = length - at - 1;
            let within = |distance: u32| distance as usize % room.max(1);
            one.jt = within(one.jt.into()) as u8;
            one.jf = within(one.jf.into()) as u8;
            match one.code {
                op::JA => one.k = within(one.k) as u32,
                op::ST | op::STX | op::LD_MEM | op::LDX_MEM => one.k %= SCRATCH_SLOTS,
                op::DIV_K | op::MOD_K => one.k = one.k.max(1),
                op::LSH_K | op::RSH_K => one.k %= 32,
                _ => {}
            }
        }
        body
    })
}

/// A real program with a few fields changed.
fn mutated() -> impl Strategy<Value = Vec<Instruction>> {
    let change = (any::<prop::sample::Index>(), 0..6, instruction());
    (compiled(), prop::collection::vec(change, 0..4)).prop_map(|(mut program, changes)| {
        for (at, what, new) in changes {
            let at = at.index(program.len());
            match what {
                0 => program[at].code = new.code,
                1 => program[at].jt = new.jt,
                2 => program[at].jf = new.jf,
                3 => program[at].k = new.k,
                4 => program.insert(at, new),
                _ if program.len() > 1 => drop(program.remove(at)),
                _ => {}
            }
        }
        program
    })
}

fn any_instructions() -> impl Strategy<Value = Vec<Instruction>> {
    prop_oneof![1 => random(), 2 => plausible(), 2 => mutated()]
}

fn any_program() -> impl Strategy<Value = Program> {
    any_instructions().prop_filter_map("not a program", |one| Program::new(one).ok())
}
