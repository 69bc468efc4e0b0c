//! The rules against the one who made them: every program is also attached to a real socket.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, UdpSocket};

use socket2::{SockFilter, SockRef};

use super::*;

/// Bytes that a filter on a UDP socket sees before the payload.
const UDP_HEADER: u32 = 8;

fn attach(socket: &UdpSocket, instructions: &[Instruction]) -> bool {
    let raw: Vec<SockFilter> =
        instructions.iter().map(|one| SockFilter::new(one.code, one.jt, one.jf, one.k)).collect();
    match SockRef::from(socket).attach_filter(&raw) {
        Ok(()) => true,
        Err(error) if error.kind() == ErrorKind::InvalidInput => false,
        Err(error) => panic!("attaching a filter: {error}"),
    }
}

fn receiver() -> UdpSocket {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket.set_nonblocking(true).unwrap();
    socket
}

/// The bytes of `payload` that get past `program`, `None` if it drops the packet.
fn kept(program: &Program, payload: &[u8]) -> Option<u32> {
    let receiver = receiver();
    assert!(attach(&receiver, program.instructions()));
    let sender = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    sender.send_to(payload, receiver.local_addr().unwrap()).unwrap();
    // Loopback delivers before send returns.
    let mut buffer = [0; 256];
    receiver.recv(&mut buffer).ok().map(|length| length as u32)
}

/// Whether `program` gives one answer for one packet.
fn repeatable(program: &Program) -> bool {
    use Ancillary::{Cpu, Queue, Random, ReceiveHash};
    let fickle = |k| matches!(Ancillary::at(k), Some(Cpu | Queue | Random | ReceiveHash));
    !program.instructions().iter().any(|one| fickle(one.k))
        // Port numbers and checksum differ from socket to socket.
        && !program.instructions().iter().any(|one| {
            matches!(one.code, op::LD_W_ABS | op::LD_H_ABS | op::LD_B_ABS) && one.k < UDP_HEADER
                || matches!(one.code, op::LD_W_IND | op::LD_H_IND | op::LD_B_IND | op::LDX_B_MSH)
                || one.k >= 0xffe0_0000 && Ancillary::at(one.k).is_none()
        })
}

#[test]
fn real_filters_attach() {
    for (expression, text) in COMPILED {
        let program = Program::parse_ddd(text).unwrap();
        assert!(program.fits_kernel());
        assert!(attach(&receiver(), program.instructions()), "{expression}");
    }
}

#[test]
fn only_the_kernel_falls_through_a_return() {
    let store = Instruction::new(op::ST, 0);
    let program = vec![
        Instruction::jump(op::JEQ_K, 0, 0, 1),
        Instruction::new(op::JA, 2),
        store,
        Instruction::new(op::JA, 1),
        Instruction::new(op::RET_K, 0),
        Instruction::new(op::LD_MEM, 0),
        Instruction::new(op::RET_A, 0),
    ];
    assert!(!attach(&receiver(), &program));
    assert!(!Program::new(program).unwrap().fits_kernel());
}

#[test]
fn farthest_jump_that_fits_attaches() {
    // The instruction that Linux translates to the most of its own.
    let mut all = vec![Instruction::new(op::LDX_B_MSH, 14); 1024];
    all[0] = Instruction::new(op::JA, 1023);
    all.push(Instruction::new(op::RET_K, 0));
    let program = Program::new(all).unwrap();
    assert!(program.fits_kernel());
    let raw: Vec<SockFilter> =
        program.instructions().iter().map(|one| SockFilter::new(one.code, 0, 0, one.k)).collect();
    match SockRef::from(&receiver()).attach_filter(&raw) {
        Ok(()) => {}
        // Hosts differ in how much memory a socket's filter may take.
        Err(error) => assert_eq!(error.kind(), ErrorKind::OutOfMemory),
    }
}

#[test]
fn clamped_programs_keep_less() {
    let computed =
        Program::new(vec![Instruction::new(op::LD_IMM, 30), Instruction::new(op::RET_A, 0)])
            .unwrap();
    let payload = [7; 100];
    assert_eq!(kept(&computed, &payload), Some(22));
    assert_eq!(kept(&computed.clone().clamp(31), &payload), Some(22));
    assert_eq!(kept(&computed.clamp(18), &payload), Some(10));
    assert_eq!(kept(&Program::accept_all(u32::MAX).clamp(18), &payload), Some(10));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn judges_as_linux_does(instructions in any_instructions()) {
        let linux = attach(&receiver(), &instructions);
        match Program::new(instructions) {
            Ok(program) if program.fits_kernel() => prop_assert!(linux, "Linux refuses"),
            Ok(_) => {}
            Err(error) => prop_assert!(!linux, "Linux accepts: {error}"),
        }
    }
}

proptest! {
    #[test]
    fn clamp_and_prefix_change_nothing_else(
        program in any_program().prop_filter("fits", |one| one.fits_kernel() && repeatable(one)),
        snaplen in 8..60u32,
        payload in prop::collection::vec(any::<u8>(), 1..80),
    ) {
        let clamped = program.clone().clamp(snaplen);
        let clobber = vec![
            Instruction::new(op::LD_IMM, 0xdead),
            Instruction::new(op::TAX, 0),
            Instruction::new(op::ST, 1),
        ];
        let prefixed = program.clone().with_prefix(clobber).unwrap();
        let plain = kept(&program, &payload);
        prop_assert_eq!(kept(&clamped, &payload), plain.map(|n| n.min(snaplen - UDP_HEADER)));
        if prefixed.fits_kernel() {
            prop_assert_eq!(kept(&prefixed, &payload), plain);
        }
    }

    #[test]
    fn within_keeps_what_both_keep(
        program in any_program().prop_filter("fits", |one| one.fits_kernel() && repeatable(one)),
        ceiling in any_program().prop_filter("fits", |one| one.fits_kernel() && repeatable(one)),
        payload in prop::collection::vec(any::<u8>(), 1..80),
    ) {
        let both = program.clone().within(&ceiling).unwrap();
        if both.fits_kernel() {
            let expected = kept(&ceiling, &payload).and_then(|_| kept(&program, &payload));
            prop_assert_eq!(kept(&both, &payload), expected);
        }
    }
}
