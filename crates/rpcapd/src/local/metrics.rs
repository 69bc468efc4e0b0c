//! A report as OpenMetrics text, and as the text that came before it.

use std::fmt::{self, Write};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, text};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};

use crate::active::Stage;
use crate::ledger::Ledger;
use crate::report::Report;

/// The media type of [`openmetrics`].
pub(super) const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The media type of [`classic`].
pub(super) const CLASSIC: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The report in OpenMetrics 1.0.
pub(super) fn openmetrics(report: Report) -> Result<String, fmt::Error> {
    let mut registry = Registry::with_prefix("rpcapd");
    registry.register_collector(Box::new(Metrics(report)));
    let mut page = String::new();
    text::encode(&mut page, &registry)?;
    Ok(page)
}

/// The same for whom OpenMetrics is too new: there a counter's family has the name of its samples,
/// and there are no units and no mark at the end.
pub(super) fn classic(openmetrics: &str) -> String {
    let mut page = String::new();
    let mut counters = Vec::new();
    for line in openmetrics.lines().filter(|l| l.starts_with("# TYPE ") && l.ends_with(" counter"))
    {
        counters.extend(line.split(' ').nth(2));
    }
    for line in openmetrics.lines() {
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("#"), Some("UNIT" | "EOF"), ..) => {}
            (Some("#"), Some(what), Some(name), Some(rest)) if counters.contains(&name) => {
                // Writing to a string does not fail.
                let _ = writeln!(page, "# {what} {name}_total {rest}");
            }
            _ => {
                let _ = writeln!(page, "{line}");
            }
        }
    }
    page
}

#[derive(Debug)]
struct Metrics(Report);

impl Collector for Metrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let Self(report) = self;
        let mut encoder = Families(&mut encoder);
        let version = [("version", report.version.as_str())];
        encoder.gauges("build_info", "The version, as a label", None, [(version, 1)])?;
        encoder.gauges(
            "start_time",
            "When the daemon began, since 1970",
            Some(Unit::Seconds),
            [([] as [(&str, &str); 0], report.since)],
        )?;
        let accepted = |yes| report.sessions.iter().filter(|s| s.authenticated == yes).count();
        encoder.gauges(
            "sessions",
            "Sessions that run",
            None,
            [
                ([("accepted", "yes")], accepted(true) as u64),
                ([("accepted", "no")], accepted(false) as u64),
            ],
        )?;
        encoder.gauges(
            "captures",
            "Captures that run",
            None,
            [([] as [(&str, &str); 0], report.captures().count() as u64)],
        )?;
        encoder.gauges(
            "collector_connected",
            "Whether a collector that is called has a session",
            None,
            report.collectors.iter().map(|c| {
                ([("collector", c.collector.as_str())], u64::from(c.stage == Stage::Session))
            }),
        )?;
        encoder.gauges(
            "device_up",
            "Whether a device is up",
            None,
            report.devices.iter().map(|d| ([("device", d.name.as_str())], u64::from(d.up))),
        )?;
        self.captures(&mut encoder)?;
        self.limits(&mut encoder)?;
        self.ledgers(&mut encoder)
    }
}

impl Metrics {
    /// How each capture that runs is carried out.
    fn captures(&self, encoder: &mut Families<'_, '_>) -> Result<(), fmt::Error> {
        let captures: Vec<_> = self.0.captures().map(|(s, c)| (s.id.to_string(), s, c)).collect();
        let mut each = |name, help, unit, value: fn(&crate::report::Capture) -> u64| {
            let samples = captures.iter().map(|(id, session, capture)| {
                let labels = [
                    ("session", id.as_str()),
                    ("device", capture.device.as_str()),
                    ("client", session.client.as_str()),
                ];
                (labels, value(capture))
            });
            encoder.gauges(name, help, unit, samples)
        };
        each("capture_ring", "The ring of a capture", Some(Unit::Bytes), |c| c.ring as u64)?;
        each(
            "capture_datagram_limit",
            "Most bytes in a datagram, 0 for a stream",
            Some(Unit::Bytes),
            |c| c.datagram_limit as u64,
        )?;
        each(
            "capture_segmentation",
            "Whether the kernel takes many datagrams at a time",
            None,
            |c| c.segmentation.into(),
        )?;
        each("capture_filter_instructions", "Instructions of the client's filter", None, |c| {
            c.filter as u64
        })
    }

    /// What all captures together take of the host.
    fn limits(&self, encoder: &mut Families<'_, '_>) -> Result<(), fmt::Error> {
        let limits = &self.0.limits;
        let none: [(&str, &str); 0] = [];
        encoder.gauges(
            "capture_memory",
            "Memory for packets of all captures",
            Some(Unit::Bytes),
            [(none, limits.memory)],
        )?;
        encoder.gauges(
            "cpu_limit_level",
            "How far the CPU limit has gone: one of 2^level flows is forwarded",
            None,
            [(none, limits.cpu_level.into())],
        )?;
        let help = "Captures refused because there were enough or for their memory";
        encoder.counters("captures_refused", help, None, [(none, limits.refused)])
    }

    /// What became of the packets, captures that are over included.
    fn ledgers(&self, encoder: &mut Families<'_, '_>) -> Result<(), fmt::Error> {
        let mut each = |name, help, unit, value: fn(&Ledger) -> u64| {
            let samples = self.0.totals.iter().map(|t| {
                let labels = [("device", t.device.as_str()), ("peer", t.peer.as_str())];
                (labels, value(&t.ledger))
            });
            encoder.counters(name, help, unit, samples)
        };
        each("packets_received", "Packets that passed the filter", None, |l| l.received)?;
        each("packets_dropped", "Packets lost because the ring was full", None, |l| l.dropped)?;
        each("packets_if_dropped", "Packets lost by the interface", None, |l| l.if_dropped)?;
        each("packets_captured", "Packets taken from the ring", None, |l| l.counts.taken.captured)?;
        each("packets_sampled", "Packets left out by sampling", None, |l| l.counts.taken.sampled)?;
        each("packets_cut", "Packets shortened for datagrams", None, |l| l.counts.taken.cut)?;
        each("packets_sent", "Packets given to data connections", None, |l| l.counts.sent.packets)?;
        each("sent", "Bytes given to data connections", Some(Unit::Bytes), |l| {
            l.counts.sent.bytes
        })?;
        each("datagrams_sent", "Datagrams given to data connections", None, |l| {
            l.counts.sent.datagrams
        })?;
        each("unreachable_reports", "Reports that a datagram found no listener", None, |l| {
            l.counts.sent.reports
        })?;
        let withheld = self.0.totals.iter().flat_map(|t| {
            t.ledger.counts.taken.withheld.by_cause().map(|(limit, n)| {
                let labels =
                    [("device", t.device.as_str()), ("peer", t.peer.as_str()), ("limit", limit)];
                (labels, n)
            })
        });
        let help = "Packets left out to keep to a limit, by the limit";
        encoder.counters("packets_withheld", help, None, withheld)?;
        let unsent = self.0.totals.iter().flat_map(|t| {
            t.ledger.counts.sent.unsent_by_cause().map(|(cause, n)| {
                let labels =
                    [("device", t.device.as_str()), ("peer", t.peer.as_str()), ("cause", cause)];
                (labels, n)
            })
        });
        encoder.counters("packets_unsent", "Packets that were not sent, by cause", None, unsent)
    }
}

/// Writes families of metrics; labels are escaped there.
struct Families<'a, 'b>(&'a mut DescriptorEncoder<'b>);

impl Families<'_, '_> {
    fn gauges<'l, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<Unit>,
        samples: impl IntoIterator<Item = ([(&'l str, &'l str); N], u64)>,
    ) -> Result<(), fmt::Error> {
        self.family(name, help, unit, samples, |n| {
            ConstGauge::new(i64::try_from(n).unwrap_or(i64::MAX))
        })
    }

    fn counters<'l, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<Unit>,
        samples: impl IntoIterator<Item = ([(&'l str, &'l str); N], u64)>,
    ) -> Result<(), fmt::Error> {
        self.family(name, help, unit, samples, ConstCounter::new)
    }

    fn family<'l, const N: usize, M: EncodeMetric>(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<Unit>,
        samples: impl IntoIterator<Item = ([(&'l str, &'l str); N], u64)>,
        metric: impl Fn(u64) -> M,
    ) -> Result<(), fmt::Error> {
        let kind = metric(0).metric_type();
        let mut family = self.0.encode_descriptor(name, help, unit.as_ref(), kind)?;
        for (labels, value) in samples {
            metric(value).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}
