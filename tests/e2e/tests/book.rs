//! The book (`docs/`): its commands do what it says, and it leaves nothing out.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use e2e::book::{Block, Stage, blocks};
use e2e::programs::{program, workspace};

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
    live_analysers: "docs/live.md",
    finding_packets: "docs/read.md",
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
    // What was typed once, and is no advice.
    files.retain(|file| !file.starts_with("docs/transcripts/"));
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
    // A reason that names a test or a script names one that there is.
    for reason in &not_run {
        let words = reason.split_whitespace();
        for path in words.filter(|w| w.ends_with(".rs") || w.starts_with("scripts/")) {
            if !workspace().join(path).exists() {
                faults.push(format!("{reason}: there is no {path}"));
            }
        }
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

/// The cells of the rows of a document's tables, as they are written.
fn rows(file: &str) -> Vec<Vec<String>> {
    let text = fs::read_to_string(workspace().join(file)).expect("a document");
    let rows = text.lines().filter_map(|line| line.strip_prefix('|')?.strip_suffix('|'));
    rows.map(|row| row.split('|').map(|cell| cell.trim().to_owned()).collect()).collect()
}

/// What a cell quotes, if it is nothing but a quotation.
fn quoted(cell: &str) -> Option<&str> {
    cell.strip_prefix('`')?.strip_suffix('`').filter(|inner| !inner.contains('`'))
}

/// ExtraHop's letters: those that its daemon gives to getopt(3).
const EXTRAHOP: &str = "bdhp4lnasfvyzugcemktSLi";

#[test]
fn every_old_option_is_beside_ours() {
    let help = Command::new(program("rpcapd")).arg("--help").output().expect("its help");
    let help = String::from_utf8(help.stdout).expect("text");
    // "  -b, --bind <ADDRESS>"
    let ours: BTreeSet<(String, String)> = help
        .lines()
        .filter_map(|line| line.trim_start().strip_prefix('-')?.split_once(", --"))
        .filter(|(letter, _)| letter.len() == 1)
        .map(|(letter, rest)| {
            let long = rest.split(|c: char| c != '-' && !c.is_alphanumeric()).next();
            (format!("-{letter}"), long.expect("the first part").to_owned())
        })
        .filter(|(letter, _)| letter != "-V")
        .collect();
    let told: BTreeSet<_> = rows("docs/migration.md")
        .iter()
        .filter(|row| row.len() == 4)
        .filter_map(|row| Some((quoted(&row[0])?.to_owned(), quoted(&row[3])?.to_owned())))
        .collect();
    assert_eq!(told, ours);
    for letter in EXTRAHOP.chars() {
        assert!(told.iter().any(|(old, _)| *old == format!("-{letter}")), "-{letter}");
    }
}

#[test]
fn every_key_of_the_old_file_is_beside_ours() {
    let directory = std::env::temp_dir().join(format!("rpt-{}-keys", std::process::id()));
    fs::create_dir(&directory).expect("a directory");
    let file = directory.join("rpcapd.ini");
    fs::write(&file, "NoSuchKey = 1\n").expect("a file");
    let output = Command::new(program("rpcapd")).arg("check-config").arg(&file).output();
    fs::remove_dir_all(&directory).expect("removing it");
    let told = String::from_utf8(output.expect("its answer").stderr).expect("text");
    let keys = told.trim().rsplit_once("there are ").expect("the keys that there are").1;
    let keys: BTreeSet<_> = keys.split(", ").collect();
    let rows = rows("docs/migration.md");
    let ours: BTreeSet<_> =
        rows.iter().filter(|row| row.len() == 3).filter_map(|row| quoted(&row[0])).collect();
    assert_eq!(ours, keys);
}

/// The numbers are those of the runs that are named beside them.
#[test]
fn numbers_are_those_of_their_runs() {
    let runs = workspace().join("bench/runs");
    let mut compared = 0;
    for row in rows("docs/performance.md") {
        let Some((run, numbers)) = row.split_last().and_then(|(r, n)| Some((quoted(r)?, n))) else {
            continue;
        };
        let text = fs::read_to_string(runs.join(format!("{run}.md"))).expect("a run");
        for number in numbers.iter().filter_map(|n| n.strip_suffix(" µs")) {
            assert!(text.contains(&format!("| {number} |")), "{run} has no {number}");
            compared += 1;
        }
    }
    assert!(compared >= 8, "{compared} numbers");
    for file in documents() {
        let text = fs::read_to_string(workspace().join(&file)).expect("a document");
        // A day, and of what; not a time.
        let is_run = |w: &&str| w.starts_with("20") && w.get(10..11) == Some("-");
        for run in text.split('`').filter(is_run) {
            assert!(runs.join(format!("{run}.md")).exists(), "{file}: there is no run {run}");
        }
    }
}

/// Options that the text names are options of one of the programs.
#[test]
fn options_in_the_text_exist() {
    let man = fs::read_dir(workspace().join("docs/man")).expect("the manual pages").flatten();
    let pages = man.map(|page| fs::read_to_string(page.path()).expect("a page"));
    let pages = pages.collect::<String>().replace("\\-", "-");
    let is_option = |c: char| c == '-' || c.is_ascii_alphanumeric();
    let exists = |option: &str| {
        pages
            .match_indices(option)
            .any(|(at, _)| !pages[at + option.len()..].starts_with(is_option))
    };
    let mut named = 0;
    let mut wrong = Vec::new();
    for file in documents().iter().filter(|d| CHAPTERS.contains(&d.as_str())) {
        let text = fs::read_to_string(workspace().join(file)).expect("a document");
        for span in text.split('`').filter(|span| span.starts_with("--")) {
            for word in span.split(|c: char| !is_option(c)).filter(|w| w.starts_with("--")) {
                named += 1;
                if !exists(word) {
                    wrong.push(format!("{file}: {word}"));
                }
            }
        }
    }
    assert!(named > 50, "{named} options");
    assert!(wrong.is_empty(), "{wrong:#?}");
}
