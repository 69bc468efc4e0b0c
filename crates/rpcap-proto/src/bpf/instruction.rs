use super::op;

/// One instruction, field by field as it travels (docs/protocol.md, Filters) and as
/// `struct sock_filter` lays it out.
///
/// An `Instruction` alone may be nonsense; only a [`Program`](super::Program) is known to be sound.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Instruction {
    /// Operation, one of [`op`]
    pub code: u16,
    /// Instructions to skip if a comparison holds
    pub jt: u8,
    /// Instructions to skip if a comparison does not hold
    pub jf: u8,
    /// Constant: a value, a packet offset in bytes, a scratch slot or a jump distance
    pub k: u32,
}

impl Instruction {
    /// An instruction that does not compare.
    pub const fn new(code: u16, k: u32) -> Instruction {
        Instruction { code, jt: 0, jf: 0, k }
    }

    /// A comparison with `k` that skips `jt` instructions if it holds and `jf` if it does not.
    pub const fn jump(code: u16, k: u32, jt: u8, jf: u8) -> Instruction {
        Instruction { code, jt, jf, k }
    }

    /// Whether this is a comparison, the only kind of instruction that uses `jt` and `jf`.
    pub fn is_comparison(&self) -> bool {
        use op::*;
        matches!(self.code, JEQ_K | JEQ_X | JGT_K | JGT_X | JGE_K | JGE_X | JSET_K | JSET_X)
    }
}
