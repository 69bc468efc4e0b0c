//! The inputs kept under `fuzz/corpus`, through the same functions as the fuzzer's.

#[path = "../../../fuzz/src/lib.rs"]
pub mod bodies;

use std::fs;
use std::path::{Path, PathBuf};

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

fn replay(target: &str) {
    let (_, body) = bodies::TARGETS.iter().find(|(name, _)| *name == target).expect("a target");
    let dir = fuzz_dir().join("corpus").join(target);
    let inputs: Vec<PathBuf> = fs::read_dir(&dir)
        .expect("a corpus")
        .map(|entry| entry.expect("an input").path())
        .collect();
    assert!(inputs.len() >= 3, "{} has too little", dir.display());
    for path in inputs {
        // Shown if the body panics.
        println!("{}", path.display());
        body(&fs::read(&path).expect("an input that can be read"));
    }
}

#[test]
fn client_session() {
    replay("client_session");
}

#[test]
fn daemon_session() {
    replay("daemon_session");
}

#[test]
fn deframer() {
    replay("deframer");
}

#[test]
fn devices() {
    replay("devices");
}

#[test]
fn filter() {
    replay("filter");
}

#[test]
fn packet() {
    replay("packet");
}

#[test]
fn udpstr_unpack() {
    replay("udpstr_unpack");
}

#[test]
fn every_target_has_a_corpus_and_a_binary() {
    let targets: Vec<&str> = bodies::TARGETS.iter().map(|(name, _)| *name).collect();
    assert_eq!(names(&fuzz_dir().join("corpus")), targets);
    assert_eq!(names(&fuzz_dir().join("fuzz_targets")), targets);
}
