use super::*;

#[test]
fn understands_lines_and_commas() {
    let expected = Program::new(vec![
        Instruction::new(op::LD_H_ABS, 12),
        Instruction::jump(op::JEQ_K, 0x800, 0, 1),
        Instruction::new(op::RET_K, u32::MAX),
        Instruction::new(op::RET_K, 0),
    ])
    .unwrap();
    let lines = "4\n40 0 0 12\n21 0 1 2048\n6 0 0 4294967295\n6 0 0 0\n";
    assert_eq!(expected.to_ddd(), lines);
    for text in [lines, &lines.replace('\n', ","), &lines.replace('\n', "\r\n\r\n")] {
        assert_eq!(Program::parse_ddd(text).as_ref(), Ok(&expected), "{text:?}");
    }
}

#[test]
fn says_what_is_wrong() {
    let error = |text: &str| Program::parse_ddd(text).unwrap_err();
    assert_eq!(error(""), ParseError::Count);
    assert_eq!(error("tcp port 80"), ParseError::Count);
    assert_eq!(error("-1"), ParseError::Count);
    assert_eq!(error("0"), ParseError::Invalid(Invalid::Empty));
    assert_eq!(error("8193"), ParseError::Invalid(Invalid::TooLong { length: 8193 }));
    assert_eq!(error("2,6 0 0 0"), ParseError::Length { announced: 2, found: 1 });
    assert_eq!(error("1,6 0 0 0,6 0 0 0,6 0 0 0"), ParseError::Length { announced: 1, found: 2 });
    for item in ["6 0 0", "6 0 0 0 0", "6 256 0 0", "65536 0 0 0", "6 0 0 4294967296", "0x6 0 0 0"]
    {
        assert_eq!(error(&format!("1,{item}")), ParseError::Instruction { at: 0 }, "{item}");
    }
    assert_eq!(error("1,32 0 0 0"), ParseError::Invalid(Invalid::NoReturn));
}

proptest! {
    #[test]
    fn round_trip(program in any_program()) {
        prop_assert_eq!(Program::parse_ddd(&program.to_ddd()), Ok(program));
    }

    #[test]
    fn survives_any_text(text in "([0-9 ,\n-]|.){0,60}") {
        let _ = Program::parse_ddd(&text);
    }
}
