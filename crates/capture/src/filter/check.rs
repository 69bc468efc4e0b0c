//! Whether a program is one.

use super::{Instruction, code::*};
use crate::Error;

/// Checks that `program` is complete and harmless: every opcode known, every jump forward and inside, scratch cells 0
/// to 15, no division by a constant zero, no constant shift by 32 or more, and a return at the end. These are the
/// kernel's rules (`bpf_check_classic`), but for two of them: it also wants scratch cells written before they are read,
/// and knows which ancillary loads there are. What only the kernel minds runs in user space.
///
/// An empty program is valid and accepts everything.
///
/// # Errors
///
/// [`Error::BadFilter`] with the first instruction that breaks a rule.
pub fn check(program: &[Instruction]) -> Result<(), Error> {
    let Some(last) = program.last() else {
        return Ok(());
    };
    check_body(program, program.len())?;
    match last.code {
        RET_K | RET_A => Ok(()),
        _ => Err(Error::BadFilter {
            index: program.len() - 1,
            reason: "the program does not end in a return",
        }),
    }
}

/// Checks every instruction; jumps may reach `end - 1` at most.
pub(crate) fn check_body(program: &[Instruction], end: usize) -> Result<(), Error> {
    for (index, instruction) in program.iter().enumerate() {
        if let Some(reason) = fault(index, instruction, end) {
            return Err(Error::BadFilter { index, reason });
        }
    }
    Ok(())
}

/// What is wrong with `program[index]` in a program of which instruction `end - 1` is the last that can be jumped to.
fn fault(index: usize, instruction: &Instruction, end: usize) -> Option<&'static str> {
    // The instructions that a jump can skip.
    let room = end.saturating_sub(index + 2);
    match instruction.code {
        LD_W_ABS | LD_H_ABS | LD_B_ABS | LD_W_IND | LD_H_IND | LD_B_IND | LD_W_LEN | LD_IMM
        | LDX_IMM | LDX_W_LEN | LDX_B_MSH | ADD_K | ADD_X | SUB_K | SUB_X | MUL_K | MUL_X
        | DIV_X | OR_K | OR_X | AND_K | AND_X | LSH_X | RSH_X | NEG | MOD_X | XOR_K | XOR_X
        | RET_K | RET_A | TAX | TXA => None,
        LD_MEM | LDX_MEM | ST | STX => {
            (instruction.k >= SCRATCH as u32).then_some("there are 16 scratch cells")
        }
        DIV_K | MOD_K => (instruction.k == 0).then_some("division by zero"),
        LSH_K | RSH_K => (instruction.k >= 32).then_some("shift by 32 bits or more"),
        JA => (instruction.k as usize > room).then_some("jump past the end"),
        JEQ_K | JEQ_X | JGT_K | JGT_X | JGE_K | JGE_X | JSET_K | JSET_X => {
            (usize::from(instruction.jt.max(instruction.jf)) > room).then_some("jump past the end")
        }
        _ => Some("unknown opcode"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(program: &[Instruction]) -> &'static str {
        match check(program) {
            Err(Error::BadFilter { reason, .. }) => reason,
            Ok(()) => "",
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn each_rule_has_its_words() {
        const RET: Instruction = Instruction::stmt(RET_K, 1);
        assert_eq!(reason(&[]), "");
        assert_eq!(reason(&[RET]), "");
        assert_eq!(reason(&[Instruction::stmt(LD_IMM, 1)]), "the program does not end in a return");
        assert_eq!(reason(&[Instruction::stmt(0xffff, 0), RET]), "unknown opcode");
        assert_eq!(reason(&[Instruction::stmt(ST, 16), RET]), "there are 16 scratch cells");
        assert_eq!(reason(&[Instruction::stmt(ST, 15), RET]), "");
        assert_eq!(reason(&[Instruction::stmt(DIV_K, 0), RET]), "division by zero");
        assert_eq!(reason(&[Instruction::stmt(LSH_K, 32), RET]), "shift by 32 bits or more");
        assert_eq!(reason(&[Instruction::stmt(JA, 0), RET]), "");
        assert_eq!(reason(&[Instruction::stmt(JA, 1), RET]), "jump past the end");
        assert_eq!(reason(&[Instruction::stmt(JA, u32::MAX), RET]), "jump past the end");
        assert_eq!(reason(&[Instruction::jump(JEQ_K, 0, 0, 1), RET, RET]), "");
        assert_eq!(reason(&[Instruction::jump(JEQ_K, 0, 2, 0), RET, RET]), "jump past the end");
    }
}
