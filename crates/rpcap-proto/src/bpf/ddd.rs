use core::fmt::Write as _;

use super::{Instruction, Invalid, MAX_INSTRUCTIONS, Program};

/// Why a text is not a program.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ParseError {
    /// The text does not start with a number of instructions.
    #[error("the filter must start with the number of its instructions, as `tcpdump -ddd` prints")]
    Count,
    /// An instruction is not four decimal numbers, or one of them is out of range.
    #[error("instruction {at}: not `code jt jf k` in decimal")]
    Instruction {
        /// Instruction, from 0
        at: usize,
    },
    /// There are more or fewer instructions than announced.
    #[error("the filter announces {announced} instructions and has {found}")]
    Length {
        /// The number at the start
        announced: usize,
        /// The instructions that follow; one more than announced stands for any larger number
        found: usize,
    },
    /// The instructions are not a program.
    #[error(transparent)]
    Invalid(#[from] Invalid),
}

impl Program {
    /// Reads what `tcpdump -ddd` prints: the number of instructions, then `code jt jf k` for
    /// each, all decimal, each on a line of its own.
    ///
    /// A comma does for a line break, and blank lines are skipped, so the one-line form that
    /// `iptables -m bpf` takes is understood as well.
    pub fn parse_ddd(text: &str) -> Result<Program, ParseError> {
        let mut items = text.split(['\n', ',']).map(str::trim).filter(|item| !item.is_empty());
        let announced: usize =
            items.next().and_then(|count| count.parse().ok()).ok_or(ParseError::Count)?;
        if announced > MAX_INSTRUCTIONS {
            return Err(Invalid::TooLong { length: announced }.into());
        }
        let mut instructions = Vec::with_capacity(announced);
        for (at, item) in items.take(announced + 1).enumerate() {
            instructions.push(instruction(item).ok_or(ParseError::Instruction { at })?);
        }
        let found = instructions.len();
        if found != announced {
            return Err(ParseError::Length { announced, found });
        }
        Ok(Program::new(instructions)?)
    }

    /// The program as `tcpdump -ddd` prints it, which [`Program::parse_ddd`] reads.
    pub fn to_ddd(&self) -> String {
        let mut text = format!("{}\n", self.instructions().len());
        for Instruction { code, jt, jf, k } in self.instructions() {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{code} {jt} {jf} {k}");
        }
        text
    }
}

fn instruction(item: &str) -> Option<Instruction> {
    let mut fields = item.split_ascii_whitespace();
    let instruction = Instruction {
        code: fields.next()?.parse().ok()?,
        jt: fields.next()?.parse().ok()?,
        jf: fields.next()?.parse().ok()?,
        k: fields.next()?.parse().ok()?,
    };
    fields.next().is_none().then_some(instruction)
}
