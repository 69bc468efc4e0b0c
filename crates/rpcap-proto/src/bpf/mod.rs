//! Packet filters: classic BPF as pure data.
//!
//! A filter reaches a daemon as a list of instructions compiled by somebody else (docs/protocol.md,
//! Filters). A [`Program`] exists only once those instructions have been checked, so whoever holds
//! one may hand it to a kernel or run it without looking at it again:
//!
//! - it terminates (jumps go forward only, and the last instruction returns),
//! - it reads and writes nothing but the packet, two registers, sixteen scratch slots and the
//!   [`Ancillary`] facts about a packet,
//! - no instruction in it is unknown, and none is undefined for its constant.
//!
//! The rules are those by which Linux judges what `SO_ATTACH_FILTER` is given (`filter(7)` in the
//! BSDs, `Documentation/networking/filter.rst` in Linux). [`Program::fits_kernel`] says whether
//! Linux will also find room for the program.
//!
//! Programs that jump backwards are refused, as Linux refuses them. Compilers emit such for one
//! primitive only, `protochain`.
//!
//! The machine: `A` and `X` are 32-bit registers, both 0 at the start; `M[0..16]` is scratch
//! memory; the value returned is the number of bytes of the packet to keep, 0 for none.

mod ancillary;
mod check;
mod ddd;
mod disassemble;
mod instruction;
pub mod op;
mod program;
mod scratch;

#[cfg(test)]
mod tests;

pub use ancillary::Ancillary;
pub use check::Invalid;
pub use ddd::ParseError;
pub use disassemble::Disassembly;
pub use instruction::Instruction;
pub use program::Program;

/// The longest program a peer may send, in instructions (docs/protocol.md, Filters).
pub const MAX_INSTRUCTIONS: usize = 8192;

/// The longest program that Linux attaches to a socket, in instructions (`BPF_MAXINSNS`).
pub const KERNEL_INSTRUCTIONS: usize = 4096;

/// Scratch memory of the machine, in 32-bit slots (`BPF_MEMWORDS`).
pub const SCRATCH_SLOTS: u32 = 16;
