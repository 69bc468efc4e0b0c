use super::{Instruction, op};

/// Bit n stands for slot n.
type Slots = u16;

/// What is known about the scratch memory at an instruction that follows a return.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum AfterReturn {
    /// Only what its jumps bring: nothing falls through a return.
    Unreachable,
    /// In addition what was known at the return. Linux reckons like this, and so refuses a few
    /// sound programs.
    FallsThrough,
}

/// The first instruction that reads a scratch slot not written on every way there, and the slot.
///
/// `instructions` must be otherwise sound: jumps in bounds, slots that exist.
pub(super) fn unwritten(instructions: &[Instruction], after: AfterReturn) -> Option<(usize, u32)> {
    // Jumps go forward only, so one pass sees every way to an instruction before the instruction.
    let mut arriving: Vec<Slots> = vec![Slots::MAX; instructions.len()];
    let mut written: Slots = 0;
    for (at, instruction) in instructions.iter().enumerate() {
        written &= arriving[at];
        let k = instruction.k;
        let mut arrive = |distance: u32| {
            if let Some(slots) = arriving.get_mut(at + 1 + distance as usize) {
                *slots &= written;
            }
        };
        match instruction.code {
            op::ST | op::STX => written |= slot(k),
            op::LD_MEM | op::LDX_MEM if written & slot(k) == 0 => return Some((at, k)),
            op::JA => {
                arrive(k);
                written = Slots::MAX;
            }
            op::RET_K | op::RET_A if after == AfterReturn::Unreachable => written = Slots::MAX,
            _ if instruction.is_comparison() => {
                arrive(instruction.jt.into());
                arrive(instruction.jf.into());
                written = Slots::MAX;
            }
            _ => {}
        }
    }
    None
}

fn slot(index: u32) -> Slots {
    1u16.checked_shl(index).unwrap_or(0)
}
