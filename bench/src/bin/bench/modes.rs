//! The ways of measuring daemons with packets at a rate.

use anyhow::bail;

use crate::place::Via;
use crate::subject::{Bench, Load, Sample, Subject};
use crate::syscalls::{Calls, Tracer};

/// All rounds of one daemon under one load.
pub(crate) struct Row {
    /// Which daemon.
    pub(crate) subject: Subject,
    /// What was sent.
    pub(crate) load: Load,
    /// One for each round.
    pub(crate) samples: Vec<Sample>,
}

/// The highest rate of one daemon.
pub(crate) struct Peak {
    /// With the measurement at that rate, if there is one without loss.
    pub(crate) row: Row,
    /// What kept it from being higher.
    pub(crate) limit: Limit,
}

/// What limits a rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Limit {
    /// The sender sent no more.
    Sender,
    /// The daemon did not take packets out of its ring as fast as they came.
    Ring,
    /// Packets were lost after the ring.
    Way,
}

impl Limit {
    fn of(sample: &Sample) -> Self {
        let ring = u64::from(sample.drained.stats.kernel_dropped);
        if ring * 2 >= sample.lost() { Self::Ring } else { Self::Way }
    }

    /// What tables call it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Sender => "the sender",
            Self::Ring => "loss: its ring was full",
            Self::Way => "loss behind the ring",
        }
    }
}

/// A number is worth something only for a daemon that does the job.
pub(crate) fn preflight(
    bench: &mut Bench,
    subjects: &[Subject],
    loads: &[Load],
    notes: &mut Vec<String>,
) -> anyhow::Result<()> {
    let mut cut = Vec::new();
    let mut once: Vec<&Load> = Vec::new();
    for load in loads {
        if !once.iter().any(|l| (l.data, &l.workload) == (load.data, &load.workload)) {
            once.push(load);
        }
    }
    for subject in subjects {
        for load in once.iter().copied().filter(|load| subject.can(load.data)) {
            let load = Load { rate: 5000, count: 1000, latency: false, ..load.clone() };
            let sample = bench.measure(subject, &load)?;
            if !sample.is_exact() {
                bail!(
                    "{} does not forward what was sent: {:?}, {:?}",
                    subject.name,
                    sample.sent,
                    sample.drained
                );
            }
            // `lo` carries both directions.
            let counted = bench.place.via() == Via::Veth;
            if counted && !sample.wire.carries(sample.drained.wire_bytes) {
                bail!(
                    "{}: the receiver got {} bytes, but the interface sent {:?}",
                    subject.name,
                    sample.drained.wire_bytes,
                    sample.wire
                );
            }
            if sample.is_cut() {
                let Load { workload, data, .. } = &load;
                cut.push(format!("{workload} of {} by {}", subject.name, data.name()));
            }
        }
        eprintln!("{}: forwards exactly what is sent", subject.name);
    }
    if !cut.is_empty() {
        notes.push(format!("packets arrive cut, as expected: {}", cut.join(", ")));
    }
    Ok(())
}

/// CPU, loss and whatever else a sample holds, for every load and daemon.
pub(crate) fn rounds(
    bench: &mut Bench,
    subjects: &[Subject],
    loads: &[Load],
    rounds: usize,
) -> anyhow::Result<Vec<Row>> {
    let mut rows = Vec::new();
    for load in loads {
        let first = rows.len();
        rows.extend(subjects.iter().filter(|s| s.can(load.data)).map(|subject| Row {
            subject: subject.clone(),
            load: load.clone(),
            samples: Vec::new(),
        }));
        let rows = &mut rows[first..];
        // In turn, so that what changes on the machine meets all of them; and each after every
        // other one, so that none always comes after the one that leaves the caches coldest.
        for round in 0..rounds {
            for turn in 0..rows.len() {
                let at = (turn + round) % rows.len();
                let row = &mut rows[at];
                let sample = bench.measure(&row.subject, load)?;
                eprintln!(
                    "{} {} {}, round {}: {:.3} µs/packet, {} lost of {}, {:.0}/s",
                    load.workload,
                    load.data.name(),
                    row.subject.name,
                    round + 1,
                    sample.micros_per_packet(),
                    sample.lost(),
                    sample.sent.packets,
                    sample.sent.rate,
                );
                row.samples.push(sample);
            }
        }
    }
    Ok(rows)
}

/// System calls by name, for every load and daemon. libpcap's, which strace stops several times for
/// each packet, is spared rates above `most`.
pub(crate) fn trace(
    bench: &mut Bench,
    subjects: &[Subject],
    loads: &[Load],
    most: u64,
) -> anyhow::Result<Vec<(Row, Calls)>> {
    let mut rows = Vec::new();
    for load in loads {
        let can = |s: &&Subject| s.can(load.data) && (s.name != "libpcap" || load.rate <= most);
        for subject in subjects.iter().filter(can) {
            let (sample, calls) =
                bench.measure_with(subject, load, Tracer::attach, Tracer::finish)?;
            let row = Row { subject: subject.clone(), load: load.clone(), samples: vec![sample] };
            rows.push((row, calls));
        }
    }
    Ok(rows)
}

/// Doubles the rate until packets are lost, then halves the interval a few times.
pub(crate) fn max_rate(
    bench: &mut Bench,
    subjects: &[Subject],
    loads: &[Load],
) -> anyhow::Result<Vec<Peak>> {
    const STEPS: usize = 4;
    let mut peaks = Vec::new();
    for load in loads {
        let seconds = load.count as f64 / load.rate.max(1) as f64;
        for subject in subjects.iter().filter(|s| s.can(load.data)) {
            let row = Row { subject: subject.clone(), load: load.clone(), samples: Vec::new() };
            let mut peak = Peak { row, limit: Limit::Sender };
            let (mut good, mut bad, mut rate) = (0, None, load.rate);
            let mut steps = 0;
            while steps < STEPS && rate > 0 {
                let count = (rate as f64 * seconds) as u64;
                let step = Load { rate, count, ..load.clone() };
                let mut sample = bench.measure(subject, &step)?;
                if !sample.is_exact() {
                    // Something else on the machine may have had the core: twice is no accident.
                    sample = bench.measure(subject, &step)?;
                }
                let reached = sample.sent.rate > rate as f64 * 0.97;
                eprintln!(
                    "{} {} {} at {rate}/s: {} lost of {}, {:.0}/s",
                    load.workload,
                    load.data.name(),
                    subject.name,
                    sample.lost(),
                    sample.sent.packets,
                    sample.sent.rate
                );
                if sample.is_exact() {
                    good = rate;
                    peak.row.load = step;
                    peak.row.samples = vec![sample];
                    if !reached {
                        peak.limit = Limit::Sender;
                        break;
                    }
                } else {
                    bad = Some(rate);
                    peak.limit = Limit::of(&sample);
                }
                rate = match bad {
                    None => rate * 2,
                    Some(bad) => {
                        steps += 1;
                        good.midpoint(bad)
                    }
                };
            }
            peaks.push(peak);
        }
    }
    Ok(peaks)
}
