//! Filters against the kernel: whether it takes them, and what they let through.

use std::cell::RefCell;
use std::io::ErrorKind;
use std::os::unix::net::UnixDatagram;

use capture::filter::{self, Aux};
use rpcap_proto::bpf::{Ancillary, Instruction, Program, op};
use socket2::{SockFilter, SockRef};

use super::filter::Machine;
use super::input::Input;
use super::program::program;

thread_local! {
    /// Two ends of one connection; a filter on the first sees what the second sends.
    static PAIR: RefCell<Option<(UnixDatagram, UnixDatagram)>> = const { RefCell::new(None) };
}

fn with_pair<T>(work: impl FnOnce(&UnixDatagram, &UnixDatagram) -> T) -> T {
    PAIR.with_borrow_mut(|pair| {
        let (to, from) = pair.get_or_insert_with(|| {
            let pair = UnixDatagram::pair().expect("two sockets");
            pair.0.set_nonblocking(true).expect("a socket that does not block");
            pair
        });
        work(to, from)
    })
}

/// Whether the kernel takes a program; `None` where it has no room for it.
fn attach(socket: &UnixDatagram, program: &[Instruction]) -> Option<bool> {
    let raw: Vec<_> = program.iter().map(|i| SockFilter::new(i.code, i.jt, i.jf, i.k)).collect();
    match SockRef::from(socket).attach_filter(&raw) {
        Ok(()) => Some(true),
        Err(e) if e.kind() == ErrorKind::InvalidInput => Some(false),
        Err(e) if e.kind() == ErrorKind::OutOfMemory => None,
        Err(e) => panic!("attaching a filter: {e}"),
    }
}

fn for_capture(program: &[Instruction]) -> Vec<capture::Instruction> {
    let same = |i: &Instruction| capture::Instruction::jump(i.code, i.k, i.jt, i.jf);
    program.iter().map(same).collect()
}

/// What came of a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compared {
    /// Nothing: the kernel's answer is not one to compare with.
    No,
    /// Both refuse.
    Refused,
    /// Both accept.
    Accepted,
}

/// See [`filter_kernel`].
pub fn compare_verdicts(data: &[u8]) -> Compared {
    let instructions = program(&mut Input(data));
    // The socket call has no way to say this.
    if instructions.is_empty() {
        return Compared::No;
    }
    let Some(theirs) = with_pair(|to, _| attach(to, &instructions)) else {
        return Compared::No;
    };
    if theirs {
        filter::check(&for_capture(&instructions)).expect("what the kernel takes, capture takes");
    }
    match Program::new(instructions) {
        Ok(program) => {
            filter::check(&for_capture(program.instructions())).expect("capture takes it too");
            match (theirs, program.fits_kernel()) {
                (true, _) => Compared::Accepted,
                (false, false) => Compared::No,
                (false, true) => panic!("the kernel refuses"),
            }
        }
        Err(error) => {
            assert!(!theirs, "the kernel accepts: {error}");
            Compared::Refused
        }
    }
}

/// A program, as `program::program` has it.
///
/// The kernel takes what the validator takes, up to its own limits, and refuses what the validator
/// refuses. What the validator takes, the interpreter takes.
pub fn filter_kernel(data: &[u8]) {
    compare_verdicts(data);
}

/// Facts that an interpreter in user space cannot know, or that change, or that a packet has not which
/// came from no interface: the kernel then returns what `A` holds.
fn is_fickle(i: &Instruction) -> bool {
    use Ancillary::{
        Cpu, HardwareType, InterfaceIndex, Mark, NestedNetlinkAttribute, NetlinkAttribute,
        PayloadOffset, Queue, Random, ReceiveHash,
    };
    matches!(i.code, op::LD_W_ABS | op::LD_H_ABS | op::LD_B_ABS)
        && matches!(
            Ancillary::at(i.k),
            Some(
                Cpu | HardwareType
                    | InterfaceIndex
                    | Mark
                    | NestedNetlinkAttribute
                    | NetlinkAttribute
                    | PayloadOffset
                    | Queue
                    | Random
                    | ReceiveHash
            )
        )
}

/// See [`filter_run`].
pub fn compare_runs(data: &[u8]) -> Compared {
    let mut input = Input(data);
    let packet: Vec<u8> = match input.u8() {
        0 => vec![7; 1500],
        len => {
            let mut packet = input.take(len.into()).to_vec();
            packet.resize(len.into(), 7);
            packet
        }
    };
    let Ok(program) = Program::new(program(&mut input)) else { return Compared::No };
    if !program.fits_kernel() || program.instructions().iter().any(is_fickle) {
        return Compared::No;
    }
    // What a packet that came from no interface has.
    let aux = Aux { protocol: Some(0), pkttype: Some(0), network: Some(0), ..Aux::default() };
    let len = packet.len() as u32;
    let ours = filter::run(&for_capture(program.instructions()), &packet, len, &aux);
    let mut machine = Machine::new(&packet);
    let second = machine.run(program.instructions());
    // Such a packet has no link header; captured ones do.
    if machine.link {
        return Compared::No;
    }
    assert_eq!(ours, second, "the interpreters differ");
    let theirs = with_pair(|to, from| {
        if attach(to, program.instructions()) != Some(true) {
            return None;
        }
        from.send(&packet).expect("room for a packet");
        // A refused packet vanishes.
        Some(to.recv(&mut [0; 2048]).unwrap_or(0))
    });
    let Some(theirs) = theirs else { return Compared::No };
    assert_eq!((ours as usize).min(packet.len()), theirs, "the kernel differs");
    if theirs == 0 { Compared::Refused } else { Compared::Accepted }
}

/// A byte with the length of a packet (0: 1500 bytes of 7), the packet, a program.
///
/// The interpreter in user space lets the same packets through as the kernel, cut to the same
/// length; and so does a second interpreter that was written from the description alone.
pub fn filter_run(data: &[u8]) {
    compare_runs(data);
}
