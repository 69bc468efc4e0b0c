use super::{Malformed, Reader};
use crate::bpf::{Instruction, MAX_INSTRUCTIONS};

/// The only filter type there is: classic BPF.
pub const FILTER_TYPE_BPF: u16 = 1;

/// A filter as it travels in STARTCAP and UPDATEFILTER: its form is right, its program not yet
/// judged (see [`crate::bpf::Program::new`]).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilterBlock {
    /// The instructions, in order.
    pub instructions: Vec<Instruction>,
}

impl FilterBlock {
    /// Reads a filter. Room is made for the instructions that are there, never for those claimed.
    pub fn read(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        let kind = r.u16()?;
        let _unused = r.u16()?;
        let count = r.u32()?;
        if kind != FILTER_TYPE_BPF {
            return Err(Malformed::FilterType(kind));
        }
        let count = match usize::try_from(count) {
            Ok(n) if n <= MAX_INSTRUCTIONS => n,
            _ => return Err(Malformed::FilterLength(count)),
        };
        let mut body = r.sub(count * 8)?;
        let mut instructions = Vec::with_capacity(count);
        while body.remaining() > 0 {
            instructions.push(Instruction {
                code: body.u16()?,
                jt: body.u8()?,
                jf: body.u8()?,
                k: body.u32()?,
            });
        }
        Ok(Self { instructions })
    }

    /// Appends the filter.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&FILTER_TYPE_BPF.to_be_bytes());
        out.extend_from_slice(&[0; 2]);
        out.extend_from_slice(&(self.instructions.len() as u32).to_be_bytes());
        for i in &self.instructions {
            out.extend_from_slice(&i.code.to_be_bytes());
            out.extend_from_slice(&[i.jt, i.jf]);
            out.extend_from_slice(&i.k.to_be_bytes());
        }
    }
}
