//! A program under guard: its output is gathered as it comes, and it does not outlive its test.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::PATIENCE;

/// A running program, leader of a process group that is killed on drop.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    status: Option<ExitStatus>,
    output: Arc<Output>,
}

#[derive(Debug, Default)]
struct Output {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    lines: Vec<(Stream, String)>,
    open: u32,
}

/// Where a line came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

impl Process {
    /// Starts `command` with nothing to read; standard output is gathered unless the command says
    /// where it goes.
    #[track_caller]
    pub fn start(command: &mut Command) -> Self {
        command.stdout(Stdio::piped());
        Self::start_with_output(command)
    }

    /// The same, leaving standard output to what the command says.
    #[track_caller]
    pub fn start_with_output(command: &mut Command) -> Self {
        let name = format!("{command:?}").replace('"', "");
        let mut child = command
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap_or_else(|e| panic!("starting {name}: {e}"));
        let output = Arc::new(Output::default());
        if let Some(pipe) = child.stdout.take() {
            output.follow(Stream::Out, pipe);
        }
        if let Some(pipe) = child.stderr.take() {
            output.follow(Stream::Err, pipe);
        }
        Self { name, child, status: None, output }
    }

    /// The process's number.
    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id() as i32)
    }

    /// Sends a signal to the process group.
    pub fn signal(&self, signal: Signal) {
        if self.status.is_none() {
            // It may be over already.
            let _ = killpg(self.pid(), signal);
        }
    }

    /// Waits for the first line, of either stream, that contains `pattern`.
    #[track_caller]
    pub fn wait_for_line(&self, pattern: &str) -> String {
        self.wait_for_lines(pattern, 1).remove(0)
    }

    /// Waits for `count` lines that contain `pattern`.
    #[track_caller]
    pub fn wait_for_lines(&self, pattern: &str, count: usize) -> Vec<String> {
        match self.output.wait_for(pattern, count, PATIENCE) {
            Some(lines) => lines,
            None => panic!(
                "{}\nno {count} lines with {pattern:?} within {PATIENCE:?}; it said:\n{}",
                self.name,
                self.said()
            ),
        }
    }

    /// The lines so far that contain `pattern`.
    pub fn lines(&self, pattern: &str) -> Vec<String> {
        self.output.matching(pattern)
    }

    /// Everything on standard output so far.
    pub fn stdout(&self) -> String {
        self.output.text(|s| s == Stream::Out)
    }

    /// Everything on standard error so far.
    pub fn stderr(&self) -> String {
        self.output.text(|s| s == Stream::Err)
    }

    /// Everything it said so far.
    pub fn said(&self) -> String {
        self.output.text(|_| true)
    }

    /// Whether it is still running.
    pub fn is_running(&mut self) -> bool {
        if self.status.is_none() {
            self.status = self.child.try_wait().expect("waiting for a child");
        }
        self.status.is_none()
    }

    /// Waits for the end of the process and of its output.
    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        self.wait_for(PATIENCE)
    }

    /// The same, for as long as `patience`.
    #[track_caller]
    pub fn wait_for(&mut self, patience: Duration) -> ExitStatus {
        let deadline = Instant::now() + patience;
        while self.is_running() {
            assert!(
                Instant::now() < deadline,
                "{}\ndid not end within {patience:?}; it said:\n{}",
                self.name,
                self.said()
            );
            thread::sleep(Duration::from_millis(5));
        }
        self.output.wait_for_end(deadline);
        self.status.expect("it is not running")
    }

    /// Waits for the end, which must be a good one.
    #[track_caller]
    pub fn wait_success(&mut self) {
        let status = self.wait();
        assert!(status.success(), "{}\n{status}; it said:\n{}", self.name, self.said());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.signal(Signal::SIGKILL);
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("--- {}\n{}---", self.name, self.said());
        }
    }
}

impl Output {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn follow(self: &Arc<Self>, stream: Stream, pipe: impl Read + Send + 'static) {
        self.lock().open += 1;
        let output = Arc::clone(self);
        thread::spawn(move || {
            let mut pipe = BufReader::new(pipe);
            let mut line = Vec::new();
            while pipe.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
                let text = String::from_utf8_lossy(&line).trim_end().to_owned();
                output.lock().lines.push((stream, text));
                output.changed.notify_all();
                line.clear();
            }
            output.lock().open -= 1;
            output.changed.notify_all();
        });
    }

    fn matching(&self, pattern: &str) -> Vec<String> {
        let state = self.lock();
        let lines = state.lines.iter().filter(|(_, line)| line.contains(pattern));
        lines.map(|(_, line)| line.clone()).collect()
    }

    fn text(&self, wanted: impl Fn(Stream) -> bool) -> String {
        let state = self.lock();
        let lines = state.lines.iter().filter(|(stream, _)| wanted(*stream));
        lines.map(|(_, line)| format!("{line}\n")).collect()
    }

    /// `None` if the output ends, or the time, before the lines are there.
    fn wait_for(&self, pattern: &str, count: usize, patience: Duration) -> Option<Vec<String>> {
        let deadline = Instant::now() + patience;
        let mut state = self.lock();
        loop {
            let lines = state.lines.iter().filter(|(_, line)| line.contains(pattern));
            let lines: Vec<_> = lines.map(|(_, line)| line.clone()).take(count).collect();
            if lines.len() == count {
                return Some(lines);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || state.open == 0 {
                return None;
            }
            let waited = self.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn wait_for_end(&self, deadline: Instant) {
        let mut state = self.lock();
        while state.open > 0 && Instant::now() < deadline {
            let tick = Duration::from_millis(50);
            let waited = self.changed.wait_timeout(state, tick);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// Runs `command` to its end and returns what it wrote to standard output; panics if it fails.
#[track_caller]
pub fn run(command: &mut Command) -> String {
    let output =
        command.stdin(Stdio::null()).output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}
