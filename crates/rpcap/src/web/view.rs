//! What the API tells of an agent's interface, beyond what the status says.

use std::sync::Arc;

use axum::http::StatusCode;
use serde::Serialize;

use super::Web;
use super::guard::Problem;
use super::history::Rates;
use crate::collector::policy::transport;
use crate::collector::status::{AgentStatus, Status};
use crate::collector::stream::Stream;
use crate::locked::lock;

/// An agent's interface.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Agent {
    /// Its number.
    id: u32,
    #[serde(flatten)]
    status: AgentStatus,
    rates: Rates,
    /// How long ago the newest packet had been captured when it came.
    latency_ms: Option<f64>,
    /// Whether an operator has stopped it.
    paused: bool,
    filter: String,
    snaplen: Option<u32>,
    transport: Option<&'static str>,
    rule: Option<String>,
}

impl Agent {
    fn of(stream: &Stream, rates: Rates) -> Self {
        let status = AgentStatus::of(stream);
        let (age, wanted) = {
            let live = stream.live();
            (live.flow.as_ref().and_then(|flow| flow.gauge.age()), live.wanted.clone())
        };
        let (plan, rule) = wanted.unzip();
        Self {
            id: stream.id,
            rates,
            latency_ms: age.map(|micros| micros as f64 / 1000.0),
            paused: stream.is_stopped(),
            filter: plan.as_ref().map(|plan| plan.filter.clone()).unwrap_or_default(),
            snaplen: plan.as_ref().map(|plan| plan.snaplen),
            transport: plan.as_ref().map(|plan| transport(plan.transport)),
            rule,
            status,
        }
    }
}

impl Web {
    /// Everything.
    pub(super) fn status(&self) -> Status<Agent> {
        let histories = lock(&self.histories);
        Status::with(&self.shared, |stream| Agent::of(stream, histories.rates(stream.id)))
    }

    /// One of the agents' interfaces.
    pub(super) fn agent(&self, stream: &Stream) -> Agent {
        Agent::of(stream, lock(&self.histories).rates(stream.id))
    }

    /// The stream of this number.
    pub(super) fn stream(&self, id: &str) -> Result<Arc<Stream>, Problem> {
        let stream = id.parse().ok().and_then(|id| self.shared.registry.stream(id));
        stream.ok_or_else(|| Problem::new(StatusCode::NOT_FOUND, "there is no such agent"))
    }
}
