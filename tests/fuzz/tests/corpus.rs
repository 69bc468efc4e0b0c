//! The inputs kept under `fuzz/corpus`, through the same functions as the fuzzer's.
#![cfg(target_os = "linux")]

use std::fs;
use std::path::{Path, PathBuf};

use rpcap_fuzz::TARGETS;

fn fuzz_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz")
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(dir)
        .unwrap_or_else(|e| panic!("{}: {e}", dir.display()))
        .map(|entry| entry.expect("a directory that can be read").path())
        .filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned()))
        .collect();
    names.sort();
    names
}

#[test]
fn every_input_that_is_kept() {
    for (target, body) in TARGETS {
        let dir = fuzz_dir().join("corpus").join(target);
        let inputs: Vec<PathBuf> = fs::read_dir(&dir)
            .unwrap_or_else(|e| panic!("{}: {e}", dir.display()))
            .map(|entry| entry.expect("an input").path())
            .collect();
        assert!(inputs.len() >= 3, "{} has too little", dir.display());
        for path in inputs {
            // Shown if the body panics.
            println!("{}", path.display());
            body(&fs::read(&path).expect("an input that can be read"));
        }
    }
}

#[test]
fn every_target_has_a_corpus_and_a_binary() {
    let targets: Vec<&str> = TARGETS.iter().map(|(name, _)| *name).collect();
    assert_eq!(names(&fuzz_dir().join("corpus")), targets);
    assert_eq!(names(&fuzz_dir().join("fuzz_targets")), targets);
}
