//! A report for human eyes.

use std::fmt::{self, Display, Write as _};

use super::{Capture, Collector, Device, Report, Session, Total, Transport};

impl Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let up = span(self.uptime);
        writeln!(f, "rpcapd {}, process {}, up for {up}", self.version, self.pid)?;
        writeln!(f, "Sandbox: {}", self.sandbox)?;
        let now = self.since + self.uptime;
        let rows = |title, none: bool, table: Table| -> String {
            if none { format!("\n{title}: none\n") } else { format!("\n{title}\n{table}") }
        };
        let collectors = Table::new(
            &["COLLECTOR", "STAGE", "SINCE", "LAST REASON"],
            self.collectors.iter().map(|c| c.row(now)),
        );
        let sessions = Table::new(
            &["ID", "CLIENT", "LOCAL", "SINCE", "ACCEPTED", "USER", "CAPTURES"],
            self.sessions.iter().map(|s| s.row(now)),
        );
        let captures = Table::new(
            &["ID", "DEVICE", "SINCE", "LINK", "FILTER", "RING", "BY", "DATAGRAM", "GSO"],
            self.captures().map(|(s, c)| c.row(s.id, now)),
        );
        let devices = Table::new(
            &["DEVICE", "STATE", "MTU", "DESCRIPTION"],
            self.devices.iter().map(Device::row),
        );
        f.write_str(&rows("Collectors", self.collectors.is_empty(), collectors))?;
        f.write_str(&rows("Sessions", self.sessions.is_empty(), sessions))?;
        let none = self.captures().next().is_none();
        f.write_str(&rows("Captures", none, captures))?;
        for (session, capture) in self.captures() {
            match &capture.ledger {
                Some(ledger) => writeln!(f, "  {}: {}", session.id, ledger.running())?,
                None => writeln!(f, "  {}: the kernel does not tell its counts", session.id)?,
            }
        }
        let super::Limits { memory, refused, cpu_level } = self.limits;
        write!(f, "\nLimits: {memory} bytes for packets, {refused} captures refused")?;
        match cpu_level {
            0 => writeln!(f)?,
            n => writeln!(f, ", 1 of {} flows forwarded for want of CPU time", 1u32 << n.min(31))?,
        }
        f.write_str(&rows("Devices", self.devices.is_empty(), devices))?;
        if !self.totals.is_empty() {
            f.write_str("\nIn all\n")?;
        }
        for Total { device, peer, ledger } in &self.totals {
            writeln!(f, "  {} to {peer}: {}", device.escape_debug(), ledger.running())?;
        }
        Ok(())
    }
}

impl Collector {
    fn row(&self, now: u64) -> Vec<String> {
        let stage = format!("{:?}", self.stage).to_lowercase();
        let reason = self.reason.as_deref().unwrap_or("-");
        vec![
            self.collector.clone(),
            stage,
            span(now.saturating_sub(self.since)),
            reason.escape_debug().to_string(),
        ]
    }
}

impl Session {
    fn row(&self, now: u64) -> Vec<String> {
        vec![
            self.id.to_string(),
            self.collector.clone().unwrap_or_else(|| self.client.clone()),
            self.local.clone(),
            span(now.saturating_sub(self.since)),
            yes_no(self.authenticated),
            self.user.as_ref().map_or("-".to_owned(), |user| user.escape_debug().to_string()),
            self.capture.as_ref().map_or("-".to_owned(), |c| c.device.escape_debug().to_string()),
        ]
    }
}

impl Capture {
    fn row(&self, id: u64, now: u64) -> Vec<String> {
        let by = match self.transport {
            Transport::Tcp => "TCP",
            Transport::Udp => "UDP",
            Transport::Udpstr => "udpstr",
            Transport::Sealed => "sealed udpstr",
        };
        let datagrams = self.transport != Transport::Tcp;
        let if_datagrams = |text| if datagrams { text } else { "-".to_owned() };
        vec![
            id.to_string(),
            self.device.escape_debug().to_string(),
            span(now.saturating_sub(self.since)),
            self.linktype.to_string(),
            self.filter.to_string(),
            self.ring.to_string(),
            by.to_owned(),
            if_datagrams(self.datagram_limit.to_string()),
            if_datagrams(yes_no(self.segmentation)),
        ]
    }
}

impl Device {
    fn row(&self) -> Vec<String> {
        vec![
            self.name.escape_debug().to_string(),
            if self.up { "up" } else { "down" }.to_owned(),
            self.mtu.map_or("-".to_owned(), |mtu| mtu.to_string()),
            self.description.escape_debug().to_string(),
        ]
    }
}

fn yes_no(yes: bool) -> String {
    if yes { "yes" } else { "no" }.to_owned()
}

/// A time in seconds, as people say it.
fn span(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m {}s", seconds % 60),
        (0, ..) => format!("{hours}h {minutes}m"),
        _ => format!("{days}d {hours}h"),
    }
}

/// Cells in columns that are as wide as they need to be.
struct Table(Vec<Vec<String>>);

impl Table {
    fn new(head: &[&str], rows: impl Iterator<Item = Vec<String>>) -> Self {
        let head = head.iter().map(|cell| (*cell).to_owned()).collect();
        Self(std::iter::once(head).chain(rows).collect())
    }
}

impl Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut widths: Vec<usize> = Vec::new();
        for row in &self.0 {
            widths.resize(row.len().max(widths.len()), 0);
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = cell.chars().count().max(*width);
            }
        }
        for row in &self.0 {
            let mut line = String::from("  ");
            for (width, cell) in widths.iter().zip(row) {
                write!(line, "{cell:width$}  ")?;
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::active::Stage;
    use crate::ledger::Ledger;
    use crate::sandbox::{Part, Sandbox};

    #[test]
    fn a_report_survives_its_json_and_reads_well() {
        let ledger = Ledger { received: 7, ..Ledger::default() };
        let capture = Capture {
            device: "eth0".to_owned(),
            since: 1_000_030,
            linktype: 1,
            filter: 6,
            ring: 1 << 24,
            transport: Transport::Udpstr,
            datagram_limit: 1472,
            segmentation: true,
            ledger: Some(ledger),
        };
        let report = Report {
            version: "1.2.3".to_owned(),
            pid: 42,
            since: 1_000_000,
            uptime: 90_061,
            sandbox: Sandbox { landlock: Part::Partial, seccomp: Part::Full },
            collectors: vec![Collector {
                collector: "collector:2003".to_owned(),
                stage: Stage::Waiting,
                since: 1_090_000,
                reason: Some("a\nb".to_owned()),
            }],
            sessions: vec![Session {
                id: 3,
                client: "192.0.2.1:4000".to_owned(),
                local: "192.0.2.2:2002".to_owned(),
                collector: None,
                since: 1_000_030,
                authenticated: true,
                user: Some("alice".to_owned()),
                by: Some("password".to_owned()),
                capture: Some(capture),
            }],
            limits: crate::report::Limits { memory: 5, refused: 2, cpu_level: 3 },
            devices: Vec::new(),
            totals: vec![Total { device: "eth0".to_owned(), peer: "192.0.2.1".to_owned(), ledger }],
        };
        let json = serde_json::to_string(&report).unwrap();
        assert_eq!(serde_json::from_str::<Report>(&json).unwrap(), report);
        assert!(json.contains(r#""unsent_too_large":0"#), "{json}");
        let text = report.to_string();
        for wanted in [
            "rpcapd 1.2.3, process 42, up for 1d 1h",
            "Sandbox: files (landlock) enforced as far as this kernel can, system calls (seccomp) enforced",
            "  collector:2003  waiting  1m 1s  a\\nb",
            "  3   192.0.2.1:4000  192.0.2.2:2002  1d 1h  yes       alice  eth0",
            "  3   eth0    1d 1h  1     6       16777216  udpstr  1472      yes",
            "  3: received=7 ",
            "Limits: 5 bytes for packets, 2 captures refused, 1 of 8 flows forwarded",
            "Devices: none",
            "  eth0 to 192.0.2.1: received=7 ",
        ] {
            assert!(text.contains(wanted), "no {wanted:?} in\n{text}");
        }
    }
}
