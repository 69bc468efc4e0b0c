//! Filters: from text, as tcpdump takes them, or from bytecode, as `tcpdump -ddd` prints it.

use capture::LinkType;
use capture::libpcap::{CompileError, compile};
use rpcap_proto::bpf::{Instruction, ParseError, Program};

/// Why a filter cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FilterError {
    /// The text is wrong, or libpcap, which compiles it, is missing.
    #[error(transparent)]
    Text(#[from] CompileError),
    /// The bytecode is wrong.
    #[error("filter bytecode: {0}")]
    Bytecode(#[from] ParseError),
}

/// Compiles a filter text for packets of a link type, in the daemon's own numbering.
pub fn from_text(text: &str, linktype: u32, snaplen: u32) -> Result<Vec<Instruction>, FilterError> {
    let program = compile(text, LinkType(linktype), snaplen, true)?;
    Ok(program
        .into_iter()
        .map(|capture::Instruction { code, jt, jf, k }| Instruction { code, jt, jf, k })
        .collect())
}

/// Reads what `tcpdump -ddd` prints.
pub fn from_bytecode(text: &str) -> Result<Vec<Instruction>, FilterError> {
    Ok(Program::parse_ddd(text)?.instructions().to_vec())
}
