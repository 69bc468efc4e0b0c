//! Filters for the raw client, compiled by tcpdump.

use std::process::Command;

use rpcap_proto::bpf::Instruction;

use crate::process::run;

/// The program that tcpdump makes of `text` for Ethernet.
#[track_caller]
pub fn compile(text: &str) -> Vec<Instruction> {
    compile_for("EN10MB", text)
}

/// The program that tcpdump makes of `text` for a link type by its name.
#[track_caller]
pub fn compile_for(linktype: &str, text: &str) -> Vec<Instruction> {
    let listing = run(Command::new("tcpdump").args(["-y", linktype, "-ddd", text]));
    let mut numbers = listing.split_whitespace().map(|n| n.parse::<u32>().expect("a number"));
    let count = numbers.next().expect("the number of instructions") as usize;
    let numbers: Vec<_> = numbers.collect();
    assert_eq!(numbers.len(), count * 4, "{listing}");
    let instruction =
        |n: &[u32]| Instruction { code: n[0] as u16, jt: n[1] as u8, jf: n[2] as u8, k: n[3] };
    numbers.chunks(4).map(instruction).collect()
}

/// The program that accepts everything.
pub fn everything() -> Vec<Instruction> {
    vec![Instruction { code: 0x06, jt: 0, jf: 0, k: 262_144 }]
}

/// The same program behind instructions that do nothing, `len` in all.
pub fn padded(program: &[Instruction], len: usize) -> Vec<Instruction> {
    let idle = Instruction { code: 0x00, jt: 0, jf: 0, k: 0 };
    let mut padded = vec![idle; len - program.len()];
    padded.extend_from_slice(program);
    padded
}
