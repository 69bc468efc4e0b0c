use super::{Ancillary, Instruction, SCRATCH_SLOTS, op, scratch};

/// Why instructions are not a [`Program`](super::Program).
///
/// `at` counts instructions from 0, as `tcpdump -d` numbers them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Invalid {
    /// There are no instructions.
    #[error("the filter has no instructions")]
    Empty,
    /// There are more than [`MAX_INSTRUCTIONS`](super::MAX_INSTRUCTIONS).
    #[error(
        "the filter has {length} instructions, at most {} are allowed",
        super::MAX_INSTRUCTIONS
    )]
    TooLong {
        /// How many there are
        length: usize,
    },
    /// The operation code is none of [`op`].
    #[error("instruction {at}: unknown operation {code:#x}")]
    Opcode {
        /// Instruction
        at: usize,
        /// Its operation code
        code: u16,
    },
    /// A jump leads past the last instruction.
    #[error("instruction {at}: jump to {target}, past the end")]
    Jump {
        /// Instruction
        at: usize,
        /// Instruction it would continue with; beyond 32 bits for a distance near 2^32
        target: u64,
    },
    /// There is no such scratch slot.
    #[error("instruction {at}: scratch slot {index}, there are only {SCRATCH_SLOTS}")]
    Scratch {
        /// Instruction
        at: usize,
        /// Slot
        index: u32,
    },
    /// A scratch slot is read that was not written on every way there.
    #[error("instruction {at}: scratch slot {index} is read before it is written")]
    Unwritten {
        /// Instruction
        at: usize,
        /// Slot
        index: u32,
    },
    /// A division, or the remainder of one, by the constant 0.
    #[error("instruction {at}: division by zero")]
    DivisionByZero {
        /// Instruction
        at: usize,
    },
    /// A shift by a constant that is not below 32.
    #[error("instruction {at}: shift by {k} bits, a register has 32")]
    Shift {
        /// Instruction
        at: usize,
        /// Distance, in bits
        k: u32,
    },
    /// A load from an offset in the ancillary range that is no [`Ancillary`].
    #[error("instruction {at}: load from unknown ancillary offset {k:#x}")]
    Ancillary {
        /// Instruction
        at: usize,
        /// Offset
        k: u32,
    },
    /// The last instruction is not a return.
    #[error("the last instruction is not a return")]
    NoReturn,
}

/// Checks everything about `instructions` but their number's upper limit.
pub(super) fn check(instructions: &[Instruction]) -> Result<(), Invalid> {
    let last = instructions.last().ok_or(Invalid::Empty)?;
    for (at, instruction) in instructions.iter().enumerate() {
        check_one(at, instruction, instructions.len())?;
    }
    if !matches!(last.code, op::RET_K | op::RET_A) {
        return Err(Invalid::NoReturn);
    }
    match scratch::unwritten(instructions, scratch::AfterReturn::Unreachable) {
        Some((at, index)) => Err(Invalid::Unwritten { at, index }),
        None => Ok(()),
    }
}

fn check_one(at: usize, instruction: &Instruction, length: usize) -> Result<(), Invalid> {
    let k = instruction.k;
    match instruction.code {
        op::LD_W_ABS | op::LD_H_ABS | op::LD_B_ABS => {
            if k >= Ancillary::BASE && Ancillary::at(k).is_none() {
                return Err(Invalid::Ancillary { at, k });
            }
        }
        op::LD_MEM | op::LDX_MEM | op::ST | op::STX => {
            if k >= SCRATCH_SLOTS {
                return Err(Invalid::Scratch { at, index: k });
            }
        }
        op::DIV_K | op::MOD_K => {
            if k == 0 {
                return Err(Invalid::DivisionByZero { at });
            }
        }
        op::LSH_K | op::RSH_K => {
            if k >= 32 {
                return Err(Invalid::Shift { at, k });
            }
        }
        op::JA => check_jump(at, k, length)?,
        _ if instruction.is_comparison() => {
            check_jump(at, instruction.jt.into(), length)?;
            check_jump(at, instruction.jf.into(), length)?;
        }
        code if op::ALL.binary_search(&code).is_ok() => {}
        code => return Err(Invalid::Opcode { at, code }),
    }
    Ok(())
}

fn check_jump(at: usize, distance: u32, length: usize) -> Result<(), Invalid> {
    // In 64 bits, so that no distance wraps around to a target that exists.
    let target = at as u64 + 1 + u64::from(distance);
    if target < length as u64 { Ok(()) } else { Err(Invalid::Jump { at, target }) }
}
