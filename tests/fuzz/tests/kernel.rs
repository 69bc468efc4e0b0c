//! Filters against the kernel, with programs made of numbers that are the same in every run.
#![cfg(target_os = "linux")]

use rpcap_fuzz::{Compared, compare_runs, compare_verdicts};

/// How many of `cases` inputs were compared, refused by both, and accepted by both.
fn sums(cases: u64, compare: fn(&[u8]) -> Compared) -> (u64, u64) {
    let mut random = fastrand::Rng::with_seed(1);
    let (mut refused, mut accepted) = (0, 0);
    for case in 0..cases {
        let bytes: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(400).collect();
        // Shown if the body panics.
        println!("case {case}");
        match compare(&bytes) {
            Compared::No => {}
            Compared::Refused => refused += 1,
            Compared::Accepted => accepted += 1,
        }
    }
    println!("refused {refused}, accepted {accepted}");
    (refused, accepted)
}

#[test]
fn the_validator_judges_as_the_kernel() {
    let (refused, accepted) = sums(10_000, compare_verdicts);
    assert!(refused > 1000 && accepted > 1000, "{refused} {accepted}");
}

#[test]
fn the_interpreter_runs_as_the_kernel() {
    let (refused, accepted) = sums(20_000, compare_runs);
    assert!(refused > 1000 && accepted > 1000, "{refused} {accepted}");
}
