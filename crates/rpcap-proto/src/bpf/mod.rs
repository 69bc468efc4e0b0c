//! Placeholder.
/// One instruction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Instruction {
    /// c
    pub code: u16,
    /// t
    pub jt: u8,
    /// f
    pub jf: u8,
    /// k
    pub k: u32,
}
/// Most instructions.
pub const MAX_INSTRUCTIONS: usize = 8192;
/// Program.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Program(Vec<Instruction>);
/// Invalid.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("invalid")]
pub struct Invalid;
impl Program {
    /// New.
    pub fn new(v: Vec<Instruction>) -> Result<Self, Invalid> {
        Ok(Program(v))
    }
    /// I.
    pub fn instructions(&self) -> &[Instruction] {
        &self.0
    }
}
