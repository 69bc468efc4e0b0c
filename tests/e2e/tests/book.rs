//! The book (`docs/`): its commands do what it says, and it leaves nothing out.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use e2e::book::{Block, Stage, blocks};
use e2e::programs::workspace;

/// Runs the commands of a chapter, in order, on hosts of its own.
#[track_caller]
fn run(file: &str) {
    let blocks = blocks(file);
    assert!(blocks.iter().any(Block::is_commands), "{file} has no commands");
    let Some(mut stage) = Stage::new() else { return };
    blocks.iter().for_each(|block| stage.run(block));
}

macro_rules! chapters {
    ($($name:ident: $file:literal,)*) => {
        /// The files whose commands are run.
        const CHAPTERS: &[&str] = &[$($file),*];
        $(#[test] fn $name() { run($file); })*
    };
}

chapters! {
    the_readme: "README.md",
    quick_start: "docs/quick-start.md",
    a_fleet: "docs/fleet.md",
    migration: "docs/migration.md",
    wireshark_and_tcpdump: "docs/wireshark.md",
    performance: "docs/performance.md",
    troubleshooting: "docs/troubleshooting.md",
    hardening: "docs/hardening.md",
}

/// Every file of `docs/` that is text, below the workspace.
fn documents() -> BTreeSet<String> {
    fn gather(directory: &Path, into: &mut BTreeSet<String>) {
        for entry in fs::read_dir(directory).expect("a directory of docs").flatten() {
            let path = entry.path();
            if path.is_dir() {
                gather(&path, into);
            } else if path.extension().is_some_and(|e| e == "md") {
                let below = path.strip_prefix(workspace()).expect("it is below");
                into.insert(below.display().to_string());
            }
        }
    }
    let mut documents = BTreeSet::new();
    gather(&workspace().join("docs"), &mut documents);
    documents
}

/// A block of commands runs, or says why not; a file that has any is run by a test.
#[test]
fn every_command_is_run_or_says_why_not() {
    let mut files = documents();
    files.insert("README.md".to_owned());
    let mut faults = Vec::new();
    let mut not_run = Vec::new();
    for file in files {
        let blocks = blocks(&file);
        let faulty = blocks.iter().filter_map(|b| Some(format!("{b}: {}", b.fault()?)));
        faults.extend(faulty);
        let runs = |b: &Block| b.is_commands() && b.not_run().is_none();
        if blocks.iter().any(runs) && !CHAPTERS.contains(&file.as_str()) {
            faults.push(format!("{file}: no test runs its commands"));
        }
        not_run.extend(blocks.iter().filter_map(|b| Some(format!("  {b}: {}", b.not_run()?))));
    }
    println!("{} blocks are not run here:\n{}", not_run.len(), not_run.join("\n"));
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

/// What is in `docs/` is in the book.
#[test]
fn every_document_is_a_chapter() {
    let summary = fs::read_to_string(workspace().join("docs/SUMMARY.md")).expect("the summary");
    let lost: Vec<_> = documents()
        .into_iter()
        .filter(|d| d != "docs/SUMMARY.md")
        .filter(|d| !summary.contains(&format!("]({})", d.trim_start_matches("docs/"))))
        .collect();
    assert!(lost.is_empty(), "not in docs/SUMMARY.md: {lost:?}");
}
