//! What the kernel is given to run: a prelude of ours, the host's guard, and the client's program, made to fit.

use std::sync::Arc;

use super::{
    Instruction, check,
    code::*,
    guard::{RESET, check_guard},
};
use crate::{Direction, Error, MAX_SNAPLEN};

/// The most instructions that the kernel takes (`BPF_MAXINSNS`).
const KERNEL_MAX: usize = 4096;
/// Bytes of a Linux cooked header.
pub(crate) const SLL_LEN: u32 = 16;
/// The `sll_pkttype` of what this host sends (packet(7)).
const PACKET_OUTGOING: u32 = 4;
/// CAN devices loop what is sent back, so that it is seen twice.
const ARPHRD_CAN: u32 = 280;

/// What about the capture decides how its programs look.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target {
    /// Whether a 16-byte header is put in front of the packets that the kernel sees. Client programs count from it.
    pub(crate) cooked: bool,
    /// Whether packets of several interfaces come in, which have to be told apart.
    pub(crate) any: bool,
    /// Whether the one interface is the loopback.
    pub(crate) loopback: bool,
    /// Whether the one interface is a CAN bus.
    pub(crate) can: bool,
    /// The index of `lo`, if there is one.
    pub(crate) lo_ifindex: Option<u32>,
    pub(crate) direction: Direction,
    pub(crate) snaplen: u32,
}

/// Where a program runs.
#[derive(Clone, Debug)]
pub(crate) struct Placed {
    /// For the kernel.
    pub(crate) kernel: Vec<Instruction>,
    /// For user space, on what the kernel's part lets pass, if it does not run in the kernel.
    pub(crate) user: Option<Arc<[Instruction]>>,
}

/// Decides where `program` runs, and prepares it. `force_user` keeps it out of the kernel.
pub(crate) fn place(
    target: &Target,
    guard: &[Instruction],
    program: &[Instruction],
    force_user: bool,
) -> Result<Placed, Error> {
    check(program)?;
    check_guard(guard)?;
    let mut kernel = prelude(target, guard)?;
    if kernel.len() >= KERNEL_MAX {
        return Err(Error::BadFilter {
            index: KERNEL_MAX,
            reason: "the guard leaves no room in the kernel",
        });
    }
    if !force_user {
        let room = KERNEL_MAX - kernel.len();
        let body = if program.is_empty() {
            Some(vec![Instruction::stmt(RET_K, target.snaplen)])
        } else if program.len() <= room {
            program.iter().map(|instruction| fit(instruction, target)).collect()
        } else {
            None
        };
        if let Some(body) = body {
            kernel.extend(body);
            return Ok(Placed { kernel, user: None });
        }
    }
    // The whole packet: a program here has to see what it would have seen in the kernel.
    kernel.push(Instruction::stmt(RET_K, MAX_SNAPLEN));
    Ok(Placed { kernel, user: Some(program.into()) })
}

/// The program that lets nothing pass.
pub(crate) const REFUSE_ALL: &[Instruction] = &[Instruction::stmt(RET_K, 0)];

/// Direction, the second copy of looped packets, and the guard; falls through to what comes after it.
///
/// In the kernel and not later, so that what nobody wants takes no room in the ring and no part in the statistics.
fn prelude(target: &Target, guard: &[Instruction]) -> Result<Vec<Instruction>, Error> {
    use Instruction as I;
    let refuse = I::stmt(RET_K, 0);
    let load_type = I::stmt(LD_B_ABS, SKF_AD_PKTTYPE);
    let mut out = Vec::new();
    match target.direction {
        // Of a looped packet, only the received copy counts: libpcap's rule, so that it is seen once.
        Direction::Out if target.loopback => out.push(refuse),
        Direction::Out => {
            out.extend([load_type, I::jump(JEQ_K, PACKET_OUTGOING, 1, 0), refuse]);
            if let (true, Some(lo)) = (target.any, target.lo_ifindex) {
                out.extend([I::stmt(LD_W_ABS, SKF_AD_IFINDEX), I::jump(JEQ_K, lo, 0, 1), refuse]);
            }
        }
        Direction::In => out.extend([load_type, I::jump(JEQ_K, PACKET_OUTGOING, 0, 1), refuse]),
        Direction::Both if target.loopback || target.can => {
            out.extend([load_type, I::jump(JEQ_K, PACKET_OUTGOING, 0, 1), refuse]);
        }
        Direction::Both if target.any => {
            // 0 matches no interface.
            let lo = target.lo_ifindex.unwrap_or(0);
            out.extend([
                load_type,
                I::jump(JEQ_K, PACKET_OUTGOING, 0, 5),
                I::stmt(LD_W_ABS, SKF_AD_IFINDEX),
                I::jump(JEQ_K, lo, 2, 0),
                I::stmt(LD_W_ABS, SKF_AD_HATYPE),
                I::jump(JEQ_K, ARPHRD_CAN, 0, 1),
                refuse,
            ]);
        }
        Direction::Both => {}
    }
    for (index, instruction) in guard.iter().enumerate() {
        let reason = "the kernel does not know this part of a cooked header";
        out.push(fit(instruction, target).ok_or(Error::BadFilter { index, reason })?);
    }
    if !out.is_empty() {
        // The prelude proper leaves X alone; a guard need not.
        out.extend(&RESET[..if guard.is_empty() { 1 } else { 2 }]);
    }
    Ok(out)
}

/// `instruction` for the kernel: returns no more than the snaplen, and counts from where the kernel's packet begins.
/// `None` if that cannot be said.
fn fit(instruction: &Instruction, target: &Target) -> Option<Instruction> {
    match instruction.code {
        RET_K => Some(Instruction { k: instruction.k.min(target.snaplen), ..*instruction }),
        LD_W_ABS | LD_H_ABS | LD_B_ABS | LD_W_IND | LD_H_IND | LD_B_IND | LDX_B_MSH
            if target.cooked =>
        {
            uncook(instruction)
        }
        _ => Some(*instruction),
    }
}

/// Whether `program`, for packets with a cooked header, can be put in terms of the kernel's packet.
pub(crate) fn fits_cooked(program: &[Instruction]) -> bool {
    program.iter().all(|instruction| match instruction.code {
        LD_W_ABS | LD_H_ABS | LD_B_ABS | LD_W_IND | LD_H_IND | LD_B_IND | LDX_B_MSH => {
            uncook(instruction).is_some()
        }
        _ => true,
    })
}

/// A load from a cooked packet, as one from the packet without its header; the header's packet type and protocol are
/// ancillary data, the rest of it the kernel does not know.
fn uncook(load: &Instruction) -> Option<Instruction> {
    let k = match (load.code, load.k) {
        // Negative offsets are no offsets into the packet.
        (_, k) if (k as i32) < 0 => k,
        (_, k) if k >= SLL_LEN => k - SLL_LEN,
        (LD_H_ABS, 0) => SKF_AD_PKTTYPE,
        (LD_H_ABS, 14) => SKF_AD_PROTOCOL,
        _ => return None,
    };
    Some(Instruction { k, ..*load })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::{Aux, run};

    const ETHERNET: Target = Target {
        cooked: false,
        any: false,
        loopback: false,
        can: false,
        lo_ifindex: Some(1),
        direction: Direction::Both,
        snaplen: 96,
    };
    const ANY: Target = Target { cooked: true, any: true, ..ETHERNET };

    /// What the kernel's part answers for a packet of `pkttype` on interface `ifindex`.
    fn answer(
        target: &Target,
        guard: &[Instruction],
        pkttype: u8,
        ifindex: u32,
        hatype: u16,
    ) -> u32 {
        let placed = place(target, guard, &[], false).unwrap();
        check(&placed.kernel).unwrap();
        let aux = Aux {
            pkttype: Some(pkttype),
            ifindex: Some(ifindex),
            hatype: Some(hatype),
            ..Aux::default()
        };
        run(&placed.kernel, &[0; 64], 64, &aux)
    }

    #[test]
    fn empty_filter_keeps_the_snaplen() {
        let placed = place(&ETHERNET, &[], &[], false).unwrap();
        assert_eq!(placed.kernel, [Instruction::stmt(RET_K, 96)]);
    }

    #[test]
    fn directions() {
        let with = |direction| Target { direction, ..ETHERNET };
        for (direction, incoming, outgoing) in
            [(Direction::Both, 96, 96), (Direction::In, 96, 0), (Direction::Out, 0, 96)]
        {
            assert_eq!(answer(&with(direction), &[], 0, 2, 1), incoming);
            assert_eq!(answer(&with(direction), &[], 4, 2, 1), outgoing);
        }
    }

    #[test]
    fn looped_packets_are_seen_once() {
        let lo = Target { loopback: true, ..ETHERNET };
        assert_eq!(answer(&lo, &[], 0, 1, 772), 96);
        assert_eq!(answer(&lo, &[], 4, 1, 772), 0);
        assert_eq!(answer(&Target { direction: Direction::Out, ..lo }, &[], 4, 1, 772), 0);

        assert_eq!(answer(&ANY, &[], 0, 1, 772), 96);
        assert_eq!(answer(&ANY, &[], 4, 1, 772), 0);
        assert_eq!(answer(&ANY, &[], 4, 2, 1), 96);
        assert_eq!(answer(&ANY, &[], 4, 3, 280), 0);
        assert_eq!(answer(&ANY, &[], 0, 3, 280), 96);
        let out = Target { direction: Direction::Out, ..ANY };
        assert_eq!(answer(&out, &[], 4, 1, 772), 0);
        assert_eq!(answer(&out, &[], 4, 2, 1), 96);
        assert_eq!(answer(&out, &[], 0, 2, 1), 0);
    }

    #[test]
    fn the_guard_refuses_or_falls_through_with_clean_registers() {
        let guard = [
            Instruction::stmt(LD_H_ABS, 12),
            Instruction::stmt(TAX, 0),
            Instruction::jump(JEQ_K, 7, 0, 1),
            Instruction::stmt(RET_K, 0),
        ];
        let program = [Instruction::stmt(ADD_X, 0), Instruction::stmt(RET_A, 0)];
        let placed = place(&ETHERNET, &guard, &program, false).unwrap();
        let mut packet = [0; 64];
        assert_eq!(run(&placed.kernel, &packet, 64, &Aux::default()), 0);
        let placed = place(&ETHERNET, &guard, &[], false).unwrap();
        assert_eq!(run(&placed.kernel, &packet, 64, &Aux::default()), 96);
        packet[13] = 7;
        assert_eq!(run(&placed.kernel, &packet, 64, &Aux::default()), 0);
    }

    #[test]
    fn a_guard_counts_from_the_cooked_header_too() {
        let guard = [
            Instruction::stmt(LD_H_ABS, 14),
            Instruction::stmt(LD_B_ABS, 25),
            Instruction::stmt(LD_B_IND, 16),
        ];
        let placed = place(&ANY, &guard, &[], false).unwrap();
        let at = placed.kernel.len() - 6;
        let offsets: Vec<_> = placed.kernel[at..at + 3].iter().map(|i| i.k).collect();
        assert_eq!(offsets, [SKF_AD_PROTOCOL, 9, 0]);
        assert!(place(&ANY, &[Instruction::stmt(LD_H_ABS, 2)], &[], false).is_err());
    }

    #[test]
    fn bad_guards_are_told() {
        let scratch = [Instruction::stmt(ST, 0)];
        assert!(place(&ETHERNET, &scratch, &[], false).is_err());
        let ancillary = [Instruction::stmt(LD_W_ABS, SKF_AD_IFINDEX)];
        assert!(place(&ETHERNET, &ancillary, &[], false).is_err());
        let jump = [Instruction::stmt(JA, 1)];
        assert!(place(&ETHERNET, &jump, &[], false).is_err());
        assert!(place(&ETHERNET, &[Instruction::stmt(JA, 0)], &[], false).is_ok());
    }

    #[test]
    fn returns_are_clamped() {
        let program = [Instruction::stmt(RET_K, 65535)];
        assert_eq!(place(&ETHERNET, &[], &program, false).unwrap().kernel[0].k, 96);
        let program = [Instruction::stmt(RET_K, 10)];
        assert_eq!(place(&ETHERNET, &[], &program, false).unwrap().kernel[0].k, 10);
    }

    #[test]
    fn too_long_runs_in_user_space() {
        let mut program = vec![Instruction::stmt(LD_IMM, 0); 4096];
        program.push(Instruction::stmt(RET_K, 1));
        let placed = place(&ETHERNET, &[], &program, false).unwrap();
        assert_eq!(placed.kernel, [Instruction::stmt(RET_K, MAX_SNAPLEN)]);
        assert_eq!(placed.user.unwrap().len(), 4097);
        // 4096 fit on their own, but not after a prelude.
        let program = &program[1..];
        assert!(place(&ETHERNET, &[], program, false).unwrap().user.is_none());
        let lo = Target { loopback: true, ..ETHERNET };
        assert!(place(&lo, &[], program, false).unwrap().user.is_some());
    }

    #[test]
    fn cooked_offsets_are_translated_or_kept_out_of_the_kernel() {
        let ret = Instruction::stmt(RET_A, 0);
        let kernel_k = |load| {
            let placed = place(&ANY, &[], &[load, ret], false).unwrap();
            match placed.user {
                None => Some(placed.kernel[placed.kernel.len() - 2].k),
                Some(_) => None,
            }
        };
        assert_eq!(kernel_k(Instruction::stmt(LD_B_ABS, 25)), Some(9));
        assert_eq!(kernel_k(Instruction::stmt(LD_H_ABS, 0)), Some(SKF_AD_PKTTYPE));
        assert_eq!(kernel_k(Instruction::stmt(LD_H_ABS, 14)), Some(SKF_AD_PROTOCOL));
        assert_eq!(kernel_k(Instruction::stmt(LDX_B_MSH, 16)), Some(0));
        assert_eq!(kernel_k(Instruction::stmt(LD_H_IND, 18)), Some(2));
        assert_eq!(
            kernel_k(Instruction::stmt(LD_B_ABS, SKF_NET as u32 + 9)),
            Some(SKF_NET as u32 + 9)
        );
        assert_eq!(kernel_k(Instruction::stmt(LD_W_ABS, 14)), None);
        assert_eq!(kernel_k(Instruction::stmt(LD_W_ABS, 0)), None);
        assert_eq!(kernel_k(Instruction::stmt(LD_H_ABS, 2)), None);
        assert_eq!(kernel_k(Instruction::stmt(LD_H_IND, 0)), None);
    }
}
