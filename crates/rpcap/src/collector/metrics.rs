//! The same numbers as OpenMetrics.

use std::fmt;
use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use super::status::{AgentStatus, Status};
use super::stream::Phase;

/// What a scraper must be told of the format.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

type Labels = Vec<(&'static str, String)>;
type Counters = Family<Labels, Counter>;
type Gauges = Family<Labels, Gauge>;

/// A status as text.
pub fn text(status: &Status) -> Result<String, fmt::Error> {
    let mut registry = Registry::with_prefix("rpcap");
    let (packets, bytes, captures) =
        (Counters::default(), Counters::default(), Counters::default());
    let up = Gauges::default();
    let clocks = Family::<Labels, Gauge<f64, AtomicU64>>::default();
    for agent in &status.agents {
        let labels = labels(agent);
        for (state, count) in states(agent) {
            add(&packets, [labels.clone(), vec![("state", state.to_owned())]].concat(), count);
        }
        add(&bytes, labels.clone(), agent.totals.bytes);
        add(&captures, labels.clone(), agent.totals.captures);
        up.get_or_create(&labels).set((agent.state == Phase::Capturing).into());
        if let Some(nanos) = agent.clock_offset_ns {
            clocks.get_or_create(&labels).set(nanos as f64 / 1e9);
        }
    }
    registry.register("packets", "Packets of an agent's interface, by where they got to", packets);
    registry.register_with_unit("received", "Bytes of packets that came", Unit::Bytes, bytes);
    registry.register("captures", "Captures of an agent's interface", captures);
    registry.register("capturing", "Whether an agent's interface is captured", up);

    registry.register_with_unit(
        "clock_offset",
        "An agent's clock minus this host's",
        Unit::Seconds,
        clocks,
    );

    let datagrams = Counters::default();
    let d = &status.datagrams;
    for (fate, count) in [
        ("received", d.datagrams),
        ("unknown", d.unknown),
        ("late", d.late),
        ("truncated", d.truncated),
        ("dropped", d.dropped),
    ] {
        add(&datagrams, vec![("fate", fate.to_owned())], count);
    }
    registry.register("datagrams", "Datagrams, by what became of them", datagrams);

    let connections = Counters::default();
    let c = &status.connections;
    for (fate, count) in [
        ("accepted", c.accepted),
        ("rejected", c.rejected),
        ("surplus", c.surplus),
        ("failed", c.failed),
    ] {
        add(&connections, vec![("fate", fate.to_owned())], count);
    }
    registry.register("connections", "Connections of agents, by what became of them", connections);

    let queued = Gauges::default();
    for output in &status.outputs {
        let labels = vec![("output", output.name.clone())];
        queued.get_or_create(&labels).set(i64::try_from(output.queued_bytes).unwrap_or(i64::MAX));
    }
    registry.register_with_unit("queued", "Bytes that wait to be written", Unit::Bytes, queued);

    let mut text = String::new();
    encode(&mut text, &registry)?;
    Ok(text)
}

fn add(family: &Counters, labels: Labels, count: u64) {
    family.get_or_create(&labels).inc_by(count);
}

fn labels(agent: &AgentStatus) -> Labels {
    vec![
        ("agent", agent.agent.clone()),
        ("address", agent.address.to_string()),
        ("interface", agent.interface.clone()),
        ("ordinal", agent.ordinal.to_string()),
    ]
}

/// The terms of the ledger.
fn states(agent: &AgentStatus) -> [(&'static str, u64); 11] {
    let t = &agent.totals;
    [
        ("received", t.received),
        ("dropped", t.dropped),
        ("interface-dropped", t.if_dropped),
        ("captured", t.captured),
        ("unsent", t.unsent),
        ("sent", t.sent),
        ("lost", t.lost),
        ("delivered", t.delivered),
        ("written", agent.written),
        ("not-written", agent.not_written),
        ("overflowed", agent.overflowed),
    ]
}
