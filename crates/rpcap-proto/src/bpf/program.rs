use super::{
    Instruction, Invalid, KERNEL_INSTRUCTIONS, MAX_INSTRUCTIONS, check, op,
    scratch::{self, AfterReturn},
};

/// A filter that has been found sound; see the [module](super) for what that means.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Program(Vec<Instruction>);

impl Program {
    /// Checks `instructions`, at most [`MAX_INSTRUCTIONS`] of them.
    ///
    /// Whatever Linux accepts as a socket filter is accepted. The reverse holds for programs that
    /// [fit](Program::fits_kernel).
    pub fn new(instructions: Vec<Instruction>) -> Result<Program, Invalid> {
        if instructions.len() > MAX_INSTRUCTIONS {
            return Err(Invalid::TooLong { length: instructions.len() });
        }
        check::check(&instructions)?;
        Ok(Program(instructions))
    }

    /// The program that keeps the first `snaplen` bytes of every packet. `snaplen` 0 keeps nothing.
    pub fn accept_all(snaplen: u32) -> Program {
        Program(vec![Instruction::new(op::RET_K, snaplen)])
    }

    /// The instructions, at least one.
    pub fn instructions(&self) -> &[Instruction] {
        &self.0
    }

    /// Makes the program return at most `snaplen` for any packet, and nothing else different.
    ///
    /// Returns of a constant get a smaller constant. Compilers emit no others, but a peer may send
    /// a return of `A`: those become jumps to a comparison that is appended, three instructions
    /// that do not count against [`MAX_INSTRUCTIONS`].
    #[must_use]
    pub fn clamp(mut self, snaplen: u32) -> Program {
        let tail = self.0.len();
        let mut computed = false;
        for (at, instruction) in self.0.iter_mut().enumerate() {
            match instruction.code {
                op::RET_K => instruction.k = instruction.k.min(snaplen),
                op::RET_A => {
                    let distance = u32::try_from(tail - at - 1).unwrap_or(u32::MAX);
                    *instruction = Instruction::new(op::JA, distance);
                    computed = true;
                }
                _ => {}
            }
        }
        if computed {
            self.0.extend([
                Instruction::jump(op::JGT_K, snaplen, 0, 1),
                Instruction::new(op::RET_K, snaplen),
                Instruction::new(op::RET_A, 0),
            ]);
        }
        self
    }

    /// The program that runs `prefix` first, and this one if `prefix` does not return.
    ///
    /// `prefix` goes on to this program by running or jumping past its own last instruction. Both
    /// registers are then set to 0 again, as this program expects. The length is that of both
    /// and two, and does not count against [`MAX_INSTRUCTIONS`].
    ///
    /// Fails if `prefix` is at fault: as in [`Program::new`], or by a jump into the midst of this
    /// program.
    pub fn with_prefix(self, prefix: Vec<Instruction>) -> Result<Program, Invalid> {
        let mut all = prefix;
        all.reserve(2 + self.0.len());
        // A return stands for this program while the prefix is checked: its first instruction is
        // the only one of this program that a prefix may jump to.
        all.push(Instruction::new(op::RET_K, 0));
        check::check(&all)?;
        all.pop();
        all.extend([Instruction::new(op::LD_IMM, 0), Instruction::new(op::LDX_IMM, 0)]);
        all.extend(self.0);
        Ok(Program(all))
    }

    /// The program that returns what this one returns for packets that `ceiling` keeps, and 0 for
    /// all others. Its length is that of both and at most four more, which does not count against
    /// [`MAX_INSTRUCTIONS`].
    pub fn within(self, ceiling: &Program) -> Result<Program, Invalid> {
        let mut prefix = ceiling.0.clone();
        let computed = prefix.iter().any(|i| i.code == op::RET_A);
        let tail = prefix.len();
        let end = if computed { tail + 2 } else { tail };
        for (at, instruction) in prefix.iter_mut().enumerate() {
            let target = match instruction.code {
                op::RET_K if instruction.k > 0 => end,
                op::RET_A => tail,
                _ => continue,
            };
            let distance = u32::try_from(target - at - 1).unwrap_or(u32::MAX);
            *instruction = Instruction::new(op::JA, distance);
        }
        if computed {
            prefix.extend([Instruction::jump(op::JEQ_K, 0, 0, 1), Instruction::new(op::RET_K, 0)]);
        }
        self.with_prefix(prefix)
    }

    /// Whether Linux surely takes this program as a socket filter, given the memory.
    ///
    /// It may refuse a sound program that is longer than [`KERNEL_INSTRUCTIONS`], or has a
    /// [`op::JA`] so far that the distance, translated, exceeds 16 bits, or reads scratch memory
    /// where only Linux finds it unwritten. Even one that fits is refused (`ENOMEM`) if it
    /// outgrows `net.core.optmem_max`.
    pub fn fits_kernel(&self) -> bool {
        /// Linux translates an instruction to at most 32 of its own; this many of them stay within
        /// 32767.
        const FARTHEST: u32 = 1023;

        self.0.len() <= KERNEL_INSTRUCTIONS
            && !self.0.iter().any(|one| one.code == op::JA && one.k > FARTHEST)
            && scratch::unwritten(&self.0, AfterReturn::FallsThrough).is_none()
    }
}

impl AsRef<[Instruction]> for Program {
    fn as_ref(&self) -> &[Instruction] {
        &self.0
    }
}
