use core::fmt;

use super::{Ancillary, Instruction, Program, op};

impl Program {
    /// The program in the notation of `tcpdump -d`, a line for each instruction.
    pub fn disassemble(&self) -> Disassembly<'_> {
        Disassembly(self.instructions())
    }
}

/// Displays instructions in the notation of `tcpdump -d`: number, operation, operand, and for a
/// comparison the numbers of the two instructions it may continue with. Every line ends in a
/// newline.
///
/// Works on any instructions, so that a refused filter can be shown too.
#[derive(Clone, Copy, Debug)]
pub struct Disassembly<'a>(pub &'a [Instruction]);

impl fmt::Display for Disassembly<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, instruction) in self.0.iter().enumerate() {
            line(f, at, instruction)?;
        }
        Ok(())
    }
}

fn line(f: &mut fmt::Formatter<'_>, at: usize, instruction: &Instruction) -> fmt::Result {
    let next = at as u64 + 1;
    let operand = Operand { next, instruction };
    write!(f, "({at:03}) {:<8} ", mnemonic(instruction.code))?;
    if instruction.is_comparison() {
        let (jt, jf) = (next + u64::from(instruction.jt), next + u64::from(instruction.jf));
        writeln!(f, "{:<16} jt {jt}\tjf {jf}", operand.to_string())
    } else {
        writeln!(f, "{operand}")
    }
}

fn mnemonic(code: u16) -> &'static str {
    match code {
        op::LD_IMM | op::LD_MEM | op::LD_LEN | op::LD_W_ABS | op::LD_W_IND => "ld",
        op::LD_H_ABS | op::LD_H_IND => "ldh",
        op::LD_B_ABS | op::LD_B_IND => "ldb",
        op::LDX_IMM | op::LDX_MEM | op::LDX_LEN => "ldx",
        op::LDX_B_MSH => "ldxb",
        op::ST => "st",
        op::STX => "stx",
        op::ADD_K | op::ADD_X => "add",
        op::SUB_K | op::SUB_X => "sub",
        op::MUL_K | op::MUL_X => "mul",
        op::DIV_K | op::DIV_X => "div",
        op::MOD_K | op::MOD_X => "mod",
        op::OR_K | op::OR_X => "or",
        op::AND_K | op::AND_X => "and",
        op::XOR_K | op::XOR_X => "xor",
        op::LSH_K | op::LSH_X => "lsh",
        op::RSH_K | op::RSH_X => "rsh",
        op::NEG => "neg",
        op::JA => "ja",
        op::JEQ_K | op::JEQ_X => "jeq",
        op::JGT_K | op::JGT_X => "jgt",
        op::JGE_K | op::JGE_X => "jge",
        op::JSET_K | op::JSET_X => "jset",
        op::RET_K | op::RET_A => "ret",
        op::TAX => "tax",
        op::TXA => "txa",
        _ => "unimp",
    }
}

struct Operand<'a> {
    /// Number of the instruction that follows
    next: u64,
    instruction: &'a Instruction,
}

impl fmt::Display for Operand<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Instruction { code, k, .. } = *self.instruction;
        // The notation has no unsigned numbers but the hexadecimal ones.
        let signed = k as i32;
        match code {
            op::LD_W_ABS | op::LD_H_ABS | op::LD_B_ABS => match Ancillary::at(k) {
                Some(ancillary) => write!(f, "[{}]", ancillary.name()),
                None => write!(f, "[{signed}]"),
            },
            op::LD_W_IND | op::LD_H_IND | op::LD_B_IND => write!(f, "[x + {signed}]"),
            op::LDX_B_MSH => write!(f, "4*([{signed}]&0xf)"),
            op::LD_LEN | op::LDX_LEN => write!(f, "#pktlen"),
            op::LD_MEM | op::LDX_MEM | op::ST | op::STX => write!(f, "M[{signed}]"),
            op::LD_IMM | op::LDX_IMM => write!(f, "#{k:#x}"),
            op::JEQ_K | op::JGT_K | op::JGE_K | op::JSET_K => write!(f, "#{k:#x}"),
            op::OR_K | op::AND_K | op::XOR_K => write!(f, "#{k:#x}"),
            op::ADD_K | op::SUB_K | op::MUL_K | op::DIV_K | op::MOD_K => write!(f, "#{signed}"),
            op::LSH_K | op::RSH_K | op::RET_K => write!(f, "#{signed}"),
            op::JA => write!(f, "{}", self.next + u64::from(k)),
            op::NEG | op::TAX | op::TXA | op::RET_A => Ok(()),
            _ if op::ALL.contains(&code) => write!(f, "x"),
            _ => write!(f, "{code:#x}"),
        }
    }
}
