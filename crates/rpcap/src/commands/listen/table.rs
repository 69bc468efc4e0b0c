//! The table on a terminal: who sends how much, and what is lost.

use std::collections::HashMap;
use std::io::{self, Stderr};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyModifiers};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Text};
use ratatui::widgets::{Cell, Paragraph, Row, Table};
use rpcap::collector::shared::Shared;
use rpcap::collector::status::{AgentStatus, Status};
use rpcap::collector::stream::Phase;
use rpcap::text::{Count, harmless};
use tokio::sync::Notify;

use crate::commands::progress::metric;

/// Between two pictures.
const EVERY: Duration = Duration::from_secs(1);
/// Between two looks at whether to end.
const GLANCE: Duration = Duration::from_millis(100);
/// The key that ends, as Ctrl-C does.
const QUIT: KeyCode = KeyCode::Char('q');
/// Lines for events.
const EVENTS: u16 = 8;

/// A table that is shown until this value ends.
pub(super) struct Shown {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    shared: Arc<Shared>,
}

impl Shown {
    /// Shows the table on standard error. `quit` is told when the user wants to end.
    pub(super) fn start(shared: Arc<Shared>, quit: Arc<Notify>) -> io::Result<Self> {
        enable_raw_mode()?;
        execute!(io::stderr(), EnterAlternateScreen)?;
        let terminal = Terminal::new(CrosstermBackend::new(io::stderr()))?;
        shared.journal.hold();
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, watched) = (Arc::clone(&stop), Arc::clone(&shared));
        let thread = std::thread::Builder::new().name("table".to_owned()).spawn(move || {
            // A terminal that is gone shows nothing.
            let _ = run(terminal, &watched, &stopped, &quit);
        })?;
        Ok(Self { stop, thread: Some(thread), shared })
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        restore();
        self.shared.journal.release();
    }
}

/// Leaves the terminal as it was.
fn restore() {
    let _ = execute!(io::stderr(), LeaveAlternateScreen);
    let _ = disable_raw_mode();
}

fn run(
    mut terminal: Terminal<CrosstermBackend<Stderr>>,
    shared: &Shared,
    stop: &AtomicBool,
    quit: &Notify,
) -> io::Result<()> {
    let mut rates = Rates::default();
    let mut first = 0;
    let mut next = Instant::now();
    let mut ending = false;
    while !stop.load(Relaxed) {
        if next <= Instant::now() {
            next = Instant::now() + EVERY;
            let status = Status::of(shared);
            rates.take(&status);
            first = first.min(status.agents.len().saturating_sub(1));
            let events = shared.journal.newest(EVENTS.into());
            terminal.draw(|frame| {
                let [head, table, below] = Layout::vertical([
                    Constraint::Length(1),
                    Constraint::Fill(1),
                    Constraint::Length(EVENTS),
                ])
                .areas(frame.area());
                frame.render_widget(Line::from(summary(&status, &rates)), head);
                frame.render_widget(rows(&status, &rates, first), table);
                frame.render_widget(Paragraph::new(Text::from_iter(events)), below);
            })?;
        }
        if !event::poll(GLANCE)? {
            continue;
        }
        match event::read()? {
            Event::Key(key) => {
                let control = key.modifiers.contains(KeyModifiers::CONTROL);
                match key.code {
                    // As two signals do.
                    KeyCode::Char('q' | 'c') if ending && (control || key.code == QUIT) => {
                        restore();
                        std::process::exit(130);
                    }
                    // The terminal does not turn Ctrl-C into a signal.
                    KeyCode::Char('q' | 'c') if control || key.code == QUIT => {
                        ending = true;
                        quit.notify_one();
                    }
                    KeyCode::Down | KeyCode::Char('j') => first += 1,
                    KeyCode::Up | KeyCode::Char('k') => first = first.saturating_sub(1),
                    KeyCode::PageDown => first += 20,
                    KeyCode::PageUp => first = first.saturating_sub(20),
                    KeyCode::Home => first = 0,
                    _ => continue,
                }
                next = Instant::now();
            }
            Event::Resize(..) => next = Instant::now(),
            _ => {}
        }
    }
    Ok(())
}

/// What an interface is known by.
type Key = (IpAddr, String, u32);

/// How fast counters of interfaces grow.
#[derive(Default)]
struct Rates {
    last: Option<f64>,
    by_agent: HashMap<Key, Rate>,
}

/// Packets and bytes, when last looked at and per second since the time before.
struct Rate {
    counts: [u64; 2],
    rates: [f64; 2],
}

impl Rates {
    fn take(&mut self, status: &Status) {
        let elapsed = self.last.map(|last| status.time - last).filter(|e| *e > 0.0);
        self.last = Some(status.time);
        let mut now = HashMap::new();
        for agent in &status.agents {
            let key = key(agent);
            let counts = [agent.totals.delivered, agent.totals.bytes];
            let rates = match (self.by_agent.get(&key), elapsed) {
                (Some(before), Some(elapsed)) => {
                    [0, 1].map(|i| counts[i].saturating_sub(before.counts[i]) as f64 / elapsed)
                }
                _ => [0.0; 2],
            };
            now.insert(key, Rate { counts, rates });
        }
        self.by_agent = now;
    }

    fn of(&self, agent: &AgentStatus) -> [f64; 2] {
        self.by_agent.get(&key(agent)).map_or([0.0; 2], |rate| rate.rates)
    }

    fn all(&self) -> [f64; 2] {
        let rates = self.by_agent.values().map(|rate| rate.rates);
        rates.fold([0.0; 2], |sum, rates| [sum[0] + rates[0], sum[1] + rates[1]])
    }
}

fn key(agent: &AgentStatus) -> Key {
    (agent.address, agent.interface.clone(), agent.ordinal)
}

fn summary(status: &Status, rates: &Rates) -> String {
    let [packets, bytes] = rates.all();
    let capturing = status.agents.iter().filter(|a| a.state == Phase::Capturing).count();
    let queued: usize = status.outputs.iter().map(|o| o.queued_bytes).sum();
    format!(
        "{} of {} capturing, {} waiting | {}packets/s, {}bit/s | {}B queued | {} unknown \
         datagrams | q ends",
        Count(capturing as u64),
        Count(status.agents.len() as u64),
        status.waiting.len(),
        metric(packets),
        metric(bytes * 8.0),
        metric(queued as f64),
        Count(status.datagrams.unknown),
    )
}

fn rows(status: &Status, rates: &Rates, first: usize) -> Table<'static> {
    let head = [
        "AGENT",
        "INTERFACE",
        "STATE",
        "PACKETS/S",
        "BIT/S",
        "LOST",
        "DROPPED",
        "NOT WRITTEN",
        "SINCE",
    ];
    let rows = status.agents.iter().skip(first).map(|agent| {
        let ([packets, bytes], t) = (rates.of(agent), &agent.totals);
        let unwritten = agent.not_written + agent.overflowed;
        let (state, color) = match agent.state {
            Phase::Capturing => ("capturing", Color::Reset),
            Phase::Waiting => ("waiting", Color::Yellow),
            Phase::Stopped => ("stopped", Color::Yellow),
            Phase::Gone => ("gone", Color::Red),
        };
        let state = match agent.reason.as_str() {
            "" => state.to_owned(),
            why => format!("{state}: {}", harmless(why.as_bytes())),
        };
        let bad = |n: u64| {
            let style = if n > 0 { Color::Red.into() } else { Style::default() };
            Cell::from(Text::from(Count(n).to_string()).right_aligned()).style(style)
        };
        let right = |text: String| Cell::from(Text::from(text).right_aligned());
        Row::new([
            Cell::from(harmless(agent.agent.as_bytes())),
            Cell::from(harmless(agent.interface.as_bytes())),
            Cell::from(state).style(color),
            right(metric(packets)),
            right(metric(bytes * 8.0)),
            bad(t.lost),
            bad(t.dropped),
            bad(unwritten),
            right(age(status.time - agent.since)),
        ])
    });
    let widths = [
        Constraint::Fill(3),
        Constraint::Fill(2),
        Constraint::Fill(2),
        Constraint::Length(10),
        Constraint::Length(10),
        Constraint::Length(10),
        Constraint::Length(10),
        Constraint::Length(12),
        Constraint::Length(8),
    ];
    Table::new(rows, widths)
        .header(Row::new(head).style(Style::default().add_modifier(Modifier::BOLD)))
}

/// A time in the unit that fits.
fn age(seconds: f64) -> String {
    match seconds.max(0.0) as u64 {
        s @ 0..60 => format!("{s} s"),
        s @ 60..3600 => format!("{} min", s / 60),
        s @ 3600..86_400 => format!("{} h", s / 3600),
        s => format!("{} d", s / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_have_the_unit_that_fits() {
        let texts = [-1.0, 59.9, 60.0, 7200.0, 200_000.0].map(age);
        assert_eq!(texts, ["0 s", "59 s", "1 min", "2 h", "2 d"]);
    }
}
