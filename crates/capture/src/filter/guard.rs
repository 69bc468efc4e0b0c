//! The host's own program in front of a client's.

use super::{Instruction, check, check::check_body, code::*};
use crate::Error;

/// A guard must leave the client's program a machine as good as new, and may end by running off its end. It looks at
/// the packet only: what else a kernel knows of it, libpcap does not have where it filters itself.
pub(super) fn check_guard(guard: &[Instruction]) -> Result<(), Error> {
    check_body(guard, guard.len() + 1)?;
    let fault = guard.iter().enumerate().find_map(|(index, i)| {
        let reason = match i.code {
            ST | STX | LD_MEM | LDX_MEM => "a guard has no scratch memory",
            LD_W_ABS | LD_H_ABS | LD_B_ABS if (i.k as i32) < 0 => "a guard has no ancillary data",
            _ => return None,
        };
        Some((index, reason))
    });
    match fault {
        Some((index, reason)) => Err(Error::BadFilter { index, reason }),
        None => Ok(()),
    }
}

/// `guard`, and behind it `program`, each as the client of a capture writes it.
pub(crate) fn guarded(
    guard: &[Instruction],
    program: &[Instruction],
    snaplen: u32,
) -> Result<Vec<Instruction>, Error> {
    check(program)?;
    check_guard(guard)?;
    let mut out = guard.to_vec();
    if !guard.is_empty() {
        out.extend(RESET);
    }
    if program.is_empty() {
        out.push(Instruction::stmt(RET_K, snaplen));
    }
    out.extend(program.iter().map(|i| match i.code {
        RET_K => Instruction { k: i.k.min(snaplen), ..*i },
        _ => *i,
    }));
    Ok(out)
}

/// Registers are 0 when a program begins.
pub(super) const RESET: [Instruction; 2] =
    [Instruction::stmt(LD_IMM, 0), Instruction::stmt(LDX_IMM, 0)];
