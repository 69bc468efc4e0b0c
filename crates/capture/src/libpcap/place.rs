//! Where a filter runs.

use std::sync::Arc;

use crate::{Error, Instruction, LinkType, filter::guard::guarded};

/// A filter, divided.
pub(super) struct Placed {
    /// For libpcap.
    pub(super) library: Vec<Instruction>,
    /// For this process, on what libpcap's part lets pass, if it does not run there.
    pub(super) user: Option<Arc<[Instruction]>>,
}

/// Decides where `program` runs. `force_user` keeps it away from libpcap.
///
/// On Linux libpcap is given what the kernel will take, and nothing else: a program that libpcap runs itself is not
/// reliable there. A filter for the kernel leaves a count of the blocks that it was too late for, and a program that
/// follows it ends with that count, after which everything passes.
#[cfg(target_os = "linux")]
pub(super) fn place(
    linktype: LinkType,
    guard: &[Instruction],
    program: &[Instruction],
    snaplen: u32,
    force_user: bool,
) -> Result<Placed, Error> {
    use crate::{MAX_SNAPLEN, filter::kernel::fits_cooked};

    let whole = guarded(guard, program, snaplen)?;
    let fits = !is_cooked(linktype) || fits_cooked(&whole);
    if !force_user && fits && is_taken(&whole) {
        return Ok(Placed { library: whole, user: None });
    }
    Ok(Placed { library: guarded(guard, &[], MAX_SNAPLEN)?, user: Some(program.into()) })
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
    Ok(Placed { library: guarded(guard, program, snaplen)?, user: None })
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
