//! How many system calls a daemon makes, as strace counts them.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::cpu::group_members;

/// System calls by name, and how often each was made.
pub(crate) type Calls = Vec<(String, u64)>;

/// A daemon under strace.
pub(crate) struct Tracer {
    process: Child,
    table: PathBuf,
}

impl Tracer {
    /// Attaches to all processes and threads of a process group.
    pub(crate) fn attach(group: u32) -> anyhow::Result<Self> {
        let pids: Vec<String> = group_members(group).iter().map(u32::to_string).collect();
        let table = std::env::temp_dir().join(format!("rpcapd-bench-{group}.strace"));
        let process = Command::new("strace")
            .args(["-f", "-c", "-o"])
            .arg(&table)
            .args(["-p", &pids.join(",")])
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("running strace (Debian: strace)")?;
        thread::sleep(Duration::from_secs(1));
        Ok(Self { process, table })
    }

    /// Detaches; the calls by name, the most frequent first.
    pub(crate) fn finish(mut self) -> anyhow::Result<Calls> {
        kill(Pid::from_raw(self.process.id() as i32), Signal::SIGINT)?;
        self.process.wait()?;
        let text = std::fs::read_to_string(&self.table)
            .with_context(|| format!("reading {}", self.table.display()))?;
        let _ = std::fs::remove_file(&self.table);
        if !text.starts_with("% time") {
            bail!("strace printed no table; may it attach to processes here?");
        }
        let mut calls = parse(&text);
        calls.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
        Ok(calls)
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        // It is over already, unless something failed.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Reads the table: share, seconds, time per call, calls, errors if there are, name.
fn parse(table: &str) -> Calls {
    table
        .lines()
        .filter_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let name = *fields.last()?;
            let calls = fields.get(3)?.parse().ok()?;
            (fields.len() >= 5 && name != "total").then(|| (name.to_owned(), calls))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_table_is_read() {
        let table = "% time     seconds  usecs/call     calls    errors syscall\n\
                     ------ ----------- ----------- --------- --------- ----------------\n \
                     90.30    0.000270          90         3           write\n  \
                     9.70    0.000029           7         4         1 poll\n\
                     ------ ----------- ----------- --------- --------- ----------------\n\
                     100.00    0.000299          42         7         1 total\n";
        let expected = [("write".to_owned(), 3), ("poll".to_owned(), 4)];
        assert_eq!(super::parse(table), expected);
    }
}
