//! Classic BPF in user space: for programs that the kernel does not take, and for packets that come from no kernel.

mod check;
pub(crate) mod code;
pub(crate) mod guard;
mod run;

#[cfg(target_os = "linux")]
pub(crate) mod kernel;

pub use check::check;
pub use run::{Aux, run};

/// One instruction of classic BPF, laid out as `struct sock_filter` and `struct bpf_insn` are.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Instruction {
    /// What to do.
    pub code: u16,
    /// How many instructions to skip if a comparison holds.
    pub jt: u8,
    /// How many to skip if it does not.
    pub jf: u8,
    /// The operand: a constant, an offset into the packet in bytes, a scratch cell, or a jump distance.
    pub k: u32,
}

impl Instruction {
    /// An instruction without jump.
    pub const fn stmt(code: u16, k: u32) -> Self {
        Self { code, jt: 0, jf: 0, k }
    }

    /// A conditional jump.
    pub const fn jump(code: u16, k: u32, jt: u8, jf: u8) -> Self {
        Self { code, jt, jf, k }
    }
}
