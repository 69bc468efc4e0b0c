use super::*;

const ACCEPT: Instruction = Instruction::new(op::RET_K, 100);

fn refused(instructions: &[Instruction]) -> Invalid {
    Program::new(instructions.to_vec()).unwrap_err()
}

fn one(code: u16, k: u32) -> Instruction {
    Instruction::new(code, k)
}

#[test]
fn length() {
    assert_eq!(refused(&[]), Invalid::Empty);
    assert!(Program::new(vec![ACCEPT; 8192]).is_ok());
    assert_eq!(refused(&[ACCEPT; 8193]), Invalid::TooLong { length: 8193 });
}

#[test]
fn final_return() {
    assert_eq!(refused(&[one(op::LD_IMM, 1)]), Invalid::NoReturn);
    assert_eq!(refused(&[ACCEPT, one(op::TAX, 0)]), Invalid::NoReturn);
    assert!(Program::new(vec![one(op::RET_A, 0)]).is_ok());
}

#[test]
fn operations() {
    assert!(op::ALL.is_sorted());
    for code in 0..=u16::MAX {
        let result = Program::new(vec![one(op::ST, 1), one(code, 1), ACCEPT, ACCEPT]);
        if op::ALL.contains(&code) {
            assert!(result.is_ok(), "{code:#x}");
        } else {
            assert_eq!(result, Err(Invalid::Opcode { at: 1, code }));
        }
    }
}

#[test]
fn jumps() {
    assert!(Program::new(vec![one(op::JA, 0), ACCEPT]).is_ok());
    assert_eq!(refused(&[one(op::JA, 1), ACCEPT]), Invalid::Jump { at: 0, target: 2 });
    assert_eq!(
        refused(&[ACCEPT, one(op::JA, u32::MAX), ACCEPT]),
        Invalid::Jump { at: 1, target: (1 << 32) + 1 }
    );
    for (jt, jf) in [(1, 0), (0, 1)] {
        assert_eq!(
            refused(&[Instruction::jump(op::JEQ_K, 0, jt, jf), ACCEPT]),
            Invalid::Jump { at: 0, target: 2 }
        );
    }
    assert!(Program::new(vec![Instruction::jump(op::JEQ_K, 0, 1, 0), ACCEPT, ACCEPT]).is_ok());
}

#[test]
fn scratch_slots() {
    for code in [op::ST, op::STX, op::LD_MEM, op::LDX_MEM] {
        assert_eq!(refused(&[one(code, 16), ACCEPT]), Invalid::Scratch { at: 0, index: 16 });
        assert_eq!(
            refused(&[one(code, u32::MAX), ACCEPT]),
            Invalid::Scratch { at: 0, index: u32::MAX }
        );
    }
    for code in [op::LD_MEM, op::LDX_MEM] {
        assert!(Program::new(vec![one(op::STX, 15), one(code, 15), ACCEPT]).is_ok());
        assert_eq!(
            refused(&[one(op::ST, 14), one(code, 15), ACCEPT]),
            Invalid::Unwritten { at: 1, index: 15 }
        );
    }
    let around =
        [Instruction::jump(op::JEQ_K, 0, 1, 0), one(op::ST, 3), one(op::LD_MEM, 3), ACCEPT];
    assert_eq!(refused(&around), Invalid::Unwritten { at: 2, index: 3 });
}

#[test]
fn constants() {
    for code in [op::DIV_K, op::MOD_K] {
        assert_eq!(refused(&[one(code, 0), ACCEPT]), Invalid::DivisionByZero { at: 0 });
        assert!(Program::new(vec![one(code, 1), ACCEPT]).is_ok());
    }
    for code in [op::LSH_K, op::RSH_K] {
        assert_eq!(refused(&[one(code, 32), ACCEPT]), Invalid::Shift { at: 0, k: 32 });
        assert!(Program::new(vec![one(code, 31), ACCEPT]).is_ok());
    }
    assert!(Program::new(vec![one(op::LSH_X, 32), one(op::DIV_X, 0), ACCEPT]).is_ok());
}

#[test]
fn ancillary_loads() {
    for code in [op::LD_W_ABS, op::LD_H_ABS, op::LD_B_ABS] {
        for k in Ancillary::BASE..=u32::MAX {
            let result = Program::new(vec![one(code, k), ACCEPT]);
            match Ancillary::at(k) {
                Some(ancillary) => {
                    assert_eq!(ancillary.offset(), k);
                    assert!(result.is_ok(), "{ancillary:?}");
                }
                None => assert_eq!(result, Err(Invalid::Ancillary { at: 0, k })),
            }
        }
        for k in [Ancillary::BASE - 1, 0xfff0_0000, 0xffe0_000c] {
            assert!(Program::new(vec![one(code, k), ACCEPT]).is_ok(), "{k:#x}");
        }
    }
    assert!(Program::new(vec![one(op::LD_W_IND, u32::MAX), ACCEPT]).is_ok());
}

#[test]
fn errors_name_the_instruction() {
    let texts = [
        (Invalid::Empty, "the filter has no instructions"),
        (Invalid::Opcode { at: 7, code: 0xffff }, "instruction 7: unknown operation 0xffff"),
        (Invalid::Jump { at: 2, target: 9 }, "instruction 2: jump to 9, past the end"),
        (
            Invalid::TooLong { length: 9000 },
            "the filter has 9000 instructions, at most 8192 are allowed",
        ),
    ];
    for (error, text) in texts {
        assert_eq!(error.to_string(), text);
    }
}

#[test]
fn clamp_limits_constants() {
    let program = Program::new(vec![one(op::RET_K, 0), one(op::RET_K, 65), one(op::RET_K, 64)]);
    let returns: Vec<u32> =
        program.unwrap().clamp(64).instructions().iter().map(|one| one.k).collect();
    assert_eq!(returns, [0, 64, 64]);
    assert_eq!(Program::accept_all(262_144).clamp(96), Program::accept_all(96));
}

#[test]
fn clamp_limits_what_is_computed() {
    let longest = [vec![ACCEPT; 8191], vec![one(op::RET_A, 0)]].concat();
    let clamped = Program::new(longest).unwrap().clamp(64);
    let expected = [
        one(op::JA, 0),
        Instruction::jump(op::JGT_K, 64, 0, 1),
        one(op::RET_K, 64),
        one(op::RET_A, 0),
    ];
    assert_eq!(clamped.instructions()[8191..], expected);
}

#[test]
fn prefix_may_only_fall_through() {
    let program = Program::accept_all(9);
    let skip = Instruction::jump(op::JEQ_K, 1, 1, 0);
    let both = program.clone().with_prefix(vec![skip, one(op::RET_K, 0)]).unwrap();
    let expected =
        [skip, one(op::RET_K, 0), one(op::LD_IMM, 0), one(op::LDX_IMM, 0), one(op::RET_K, 9)];
    assert_eq!(both.instructions(), expected);
    assert_eq!(program.clone().with_prefix(vec![skip]), Err(Invalid::Jump { at: 0, target: 2 }));
    assert!(program.with_prefix(Vec::new()).is_ok());
}

#[test]
fn far_jumps_and_long_programs_do_not_fit() {
    let far = |distance: u32| {
        let mut all = vec![one(op::LD_H_ABS, 12); distance as usize + 1];
        all[0] = one(op::JA, distance);
        Program::new([all, vec![ACCEPT]].concat()).unwrap()
    };
    assert!(far(1023).fits_kernel());
    assert!(!far(1024).fits_kernel());
    assert!(Program::new(vec![ACCEPT; 4096]).unwrap().fits_kernel());
    assert!(!Program::new(vec![ACCEPT; 4097]).unwrap().fits_kernel());
}

proptest! {
    #[test]
    fn composition_stays_sound(program in any_program(), prefix in random(), snaplen: u32) {
        let clamped = program.clone().clamp(snaplen);
        prop_assert!(check::check(clamped.instructions()).is_ok());
        if let Ok(both) = clamped.with_prefix(prefix) {
            prop_assert!(check::check(both.instructions()).is_ok());
        }
    }
}
