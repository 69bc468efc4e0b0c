//! Wireshark's toolbar during a capture: pause, another filter, a log.

use std::fs::{File, OpenOptions};
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use rpcap::extcap::control::{self, Command, Message};
use rpcap::extcap::sentences::control::{FILTER, LOG, PAUSE};

/// How long the last words may take to be read.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// What its user wants.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// The toolbar is there, with what it had before; it is to show what is so.
    State,
    /// No packets for now, or packets again.
    Pause(bool),
    /// Packets that this filter takes.
    Filter(String),
}

/// The toolbar, if there is one: tshark has none. That it is gone ends no capture.
pub(super) struct Toolbar {
    asked: Receiver<Asked>,
    says: Sender<Vec<u8>>,
    written: Receiver<()>,
    /// Ends when all pipes are open.
    opening: Receiver<()>,
}

impl Toolbar {
    /// The toolbar at the other end of these pipes.
    pub(super) fn open(from: Option<&Path>, to: Option<&Path>) -> Self {
        let (ask, asked) = channel();
        let (says, said) = channel::<Vec<u8>>();
        let (done, written) = channel();
        let (opened, opening) = channel();
        // Threads, because to open one of these pipes is to wait for the other end.
        if let Some(path) = from.map(Path::to_owned) {
            let opened = opened.clone();
            thread::spawn(move || read(&path, opened, &ask));
        }
        if let Some(path) = to.map(Path::to_owned) {
            thread::spawn(move || write(&path, opened, &said, &done));
        }
        Self { asked, says, written, opening }
    }

    /// Waits until the other end has opened its pipes: Wireshark's window hangs for ever if this
    /// process is gone before that.
    pub(super) fn wait_until_open(&self, patience: Duration) {
        let _ = self.opening.recv_timeout(patience);
    }

    /// What is wanted, if there is anything new.
    pub(super) fn asked(&self) -> Option<Asked> {
        self.asked.try_recv().ok()
    }

    /// Adds lines to the log.
    pub(super) fn log(&self, text: &str) {
        self.send(LOG, Command::Add, &format!("{}\n", text.trim_end()));
    }

    /// Shows how things are.
    pub(super) fn show(&self, filter: &str, paused: bool) {
        self.send(FILTER, Command::Set, filter);
        self.send(PAUSE, Command::Set, if paused { "\u{1}" } else { "\0" });
    }

    /// Shows a warning in a dialog.
    pub(super) fn warn(&self, text: &str) {
        self.send(LOG, Command::Warning, text);
    }

    /// Shows a text in the status bar.
    pub(super) fn note(&self, text: &str) {
        self.send(LOG, Command::StatusBar, text);
    }

    /// Gives what was said a moment to be read.
    pub(super) fn close(self) {
        drop(self.says);
        let _ = self.written.recv_timeout(LAST_WORDS);
    }

    fn send(&self, control: u8, command: Command, text: &str) {
        let _ = self.says.send(control::encode(control, command, text));
    }
}

fn read(path: &Path, opened: Sender<()>, ask: &Sender<Asked>) {
    let Ok(mut pipe) = File::open(path) else {
        return;
    };
    drop(opened);
    let mut ready = false;
    while let Ok(Some(message)) = control::read(&mut pipe) {
        let initialized = message.command == Command::Initialized as u8;
        // What it was set to before is an earlier capture's, and would undo the filter of this one.
        let asked = if initialized { Some(Asked::State) } else { of(message).filter(|_| ready) };
        ready |= initialized;
        if asked.is_some_and(|asked| ask.send(asked).is_err()) {
            return;
        }
    }
}

fn of(message: Message) -> Option<Asked> {
    if message.command != Command::Set as u8 {
        return None;
    }
    match message.control {
        PAUSE => Some(Asked::Pause(message.payload.first() == Some(&1))),
        FILTER => Some(Asked::Filter(String::from_utf8(message.payload).ok()?)),
        _ => None,
    }
}

fn write(path: &Path, opened: Sender<()>, said: &Receiver<Vec<u8>>, done: &Sender<()>) {
    use std::io::Write;

    let pipe = OpenOptions::new().write(true).open(path);
    drop(opened);
    if let Ok(mut pipe) = pipe {
        while let Ok(bytes) = said.recv() {
            if pipe.write_all(&bytes).is_err() {
                break;
            }
        }
    }
    let _ = done.send(());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_toolbar_had_before_is_passed_over() {
        let path = std::env::temp_dir().join(format!("rpcap-toolbar-{}", std::process::id()));
        let mut bytes = control::encode(FILTER, Command::Set, "old");
        bytes.extend(control::encode(0, Command::Initialized, ""));
        bytes.extend(control::encode(FILTER, Command::Set, "new"));
        bytes.extend(control::encode(PAUSE, Command::Set, "\u{1}"));
        bytes.extend(control::encode(9, Command::Set, "x"));
        std::fs::write(&path, bytes).unwrap();
        let (ask, asked) = channel();
        read(&path, channel().0, &ask);
        std::fs::remove_file(path).unwrap();
        let asked: Vec<_> = asked.try_iter().collect();
        assert_eq!(asked, [Asked::State, Asked::Filter("new".to_owned()), Asked::Pause(true)]);
    }
}
