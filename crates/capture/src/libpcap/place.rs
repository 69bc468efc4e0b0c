//! Where a filter runs.

use std::sync::Arc;

use crate::{Error, Instruction, LinkType, filter::guard::guarded};
#[cfg(target_os = "linux")]
use crate::{
    MAX_SNAPLEN,
    filter::{code::*, kernel::fits_cooked},
};

/// A filter, divided.
pub(super) struct Placed {
    /// For libpcap.
    pub(super) library: Vec<Instruction>,
    /// For this process, on what libpcap's part lets pass, if it does not run there.
    pub(super) user: Option<Arc<[Instruction]>>,
    /// Bytes to keep of what passes, from where a kernel's filter counts.
    pub(super) keep: usize,
}

/// Decides where `program` runs. `force_user` keeps it away from libpcap.
///
/// On Linux libpcap is given what the kernel will take, and nothing else: a program that libpcap runs itself is not
/// reliable there. A filter for the kernel leaves a count of the blocks that it was too late for, and a program that
/// follows it ends with that count, after which everything passes.
///
/// Those blocks are filtered by libpcap, as far as the kernel has kept them; so it keeps what the filter looks at.
#[cfg(target_os = "linux")]
pub(super) fn place(
    linktype: LinkType,
    guard: &[Instruction],
    program: &[Instruction],
    snaplen: u32,
    force_user: bool,
) -> Result<Placed, Error> {
    let whole = guarded(guard, program, snaplen)?;
    let fits = !is_cooked(linktype) || fits_cooked(&whole);
    if !force_user
        && fits
        && let Some(keep) = kept(&whole)
    {
        let most = keep.max(seen(&whole));
        let library = whole.iter().map(|i| match i.code {
            RET_K if i.k > 0 => Instruction { k: most, ..*i },
            _ => *i,
        });
        let library: Vec<_> = library.collect();
        if is_taken(&library) {
            return Ok(Placed { library, user: None, keep: keep as usize });
        }
    }
    let library = guarded(guard, &[], MAX_SNAPLEN)?;
    Ok(Placed { library, user: Some(program.into()), keep: usize::MAX })
}

/// How much `program` keeps of every packet that it lets pass. `None` if that is not always the same.
#[cfg(target_os = "linux")]
fn kept(program: &[Instruction]) -> Option<u32> {
    if program.iter().any(|i| i.code == RET_A) {
        return None;
    }
    let mut kept = program.iter().filter(|i| i.code == RET_K && i.k > 0).map(|i| i.k);
    let first = kept.next().unwrap_or(0);
    kept.all(|k| k == first).then_some(first)
}

/// How far into a packet `program` looks, with room for headers of variable length.
#[cfg(target_os = "linux")]
fn seen(program: &[Instruction]) -> u32 {
    const INDIRECT: u32 = 256;
    let ends = program.iter().map(|i| match i.code {
        LD_W_ABS | LD_H_ABS | LD_B_ABS if i.k < MAX_SNAPLEN => i.k + 4,
        LD_W_IND | LD_H_IND | LD_B_IND | LDX_B_MSH if i.k < MAX_SNAPLEN => i.k + INDIRECT,
        _ => 0,
    });
    ends.max().unwrap_or(0)
}

/// Other systems' kernels take less, and libpcap runs the rest.
#[cfg(not(target_os = "linux"))]
pub(super) fn place(
    _linktype: LinkType,
    guard: &[Instruction],
    program: &[Instruction],
    snaplen: u32,
    _force_user: bool,
) -> Result<Placed, Error> {
    let library = guarded(guard, program, snaplen)?;
    Ok(Placed { library, user: None, keep: usize::MAX })
}

/// Whether libpcap puts a header in front of what the kernel's filter sees.
pub(super) fn is_cooked(linktype: LinkType) -> bool {
    // Linux cooked capture, and the same header under other names: IrDA, LAPD, netlink.
    cfg!(target_os = "linux") && matches!(linktype.0, 113 | 144 | 177 | 253)
}

/// Asks the kernel, by means of a socket that nothing arrives at.
#[cfg(target_os = "linux")]
fn is_taken(program: &[Instruction]) -> bool {
    use socket2::{Domain, Socket, Type};
    let socket = Socket::new(Domain::UNIX, Type::DGRAM, None);
    socket.is_ok_and(|socket| crate::af_packet::attach(&socket, program).is_ok())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    const ETHERNET: LinkType = LinkType::ETHERNET;

    fn tcp(keep: u32) -> Vec<Instruction> {
        vec![
            Instruction::stmt(LD_H_ABS, 12),
            Instruction::jump(JEQ_K, 0x800, 0, 1),
            Instruction::stmt(RET_K, keep),
            Instruction::stmt(RET_K, 0),
        ]
    }

    #[test]
    fn the_kernel_keeps_what_the_filter_looks_at() {
        let placed = place(ETHERNET, &[], &tcp(1), 100, false).unwrap();
        assert_eq!((placed.library[2].k, placed.library[3].k, placed.keep), (16, 0, 1));
        let placed = place(ETHERNET, &[], &tcp(65_535), 100, false).unwrap();
        assert_eq!((placed.library[2].k, placed.keep), (100, 100));
        let placed = place(ETHERNET, &[], &[], 100, false).unwrap();
        assert_eq!((&placed.library[..], placed.keep), (&[Instruction::stmt(RET_K, 100)][..], 100));
    }

    #[test]
    fn what_libpcap_cannot_be_trusted_with_stays_here() {
        let own = |linktype, program: &[Instruction]| {
            place(linktype, &[], program, 100, false).unwrap().user.is_some()
        };
        assert!(!own(ETHERNET, &tcp(50)));
        // Too long; scratch memory that was not written; two lengths; a length that is computed.
        let mut long = vec![Instruction::stmt(LD_IMM, 0); 4096];
        long.extend(tcp(50));
        assert!(own(ETHERNET, &long));
        assert!(own(ETHERNET, &[Instruction::stmt(LD_MEM, 3), Instruction::stmt(RET_K, 1)]));
        let mut two = tcp(50);
        two.insert(2, Instruction::jump(JEQ_K, 0, 0, 1));
        two.insert(3, Instruction::stmt(RET_K, 20));
        assert!(own(ETHERNET, &two));
        assert!(own(ETHERNET, &[Instruction::stmt(RET_A, 0)]));
        // A part of the cooked header that the kernel does not know.
        let hardware = [Instruction::stmt(LD_H_ABS, 2), Instruction::stmt(RET_K, 1)];
        assert!(own(LinkType::LINUX_SLL, &hardware) && !own(ETHERNET, &hardware));
    }
}
