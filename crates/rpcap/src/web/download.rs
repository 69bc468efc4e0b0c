//! Packets of an agent for a while, as a file.

use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::body::{Body, Bytes};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use capture::filter::{Aux, run};
use futures_util::stream;
use rpcap_proto::wire::FilterBlock;
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};

use super::guard::Problem;
use super::{DOWNLOADS, Web};
use crate::file::{Error, Meta, Record, Stream, Summary, nanos};
use crate::output::{Tapped, Tapping};

/// The longest a download may be, in seconds.
const LONGEST: u32 = 3600;
/// The longest text of a filter, and the longest program of one: what the kernel takes, too.
const FILTER: (usize, usize) = (4096, 4096);
/// Pieces that may wait to be sent.
const WAITING: usize = 4;
/// How long a piece may wait.
const PATIENCE: Duration = Duration::from_secs(30);

/// What is wanted.
#[derive(Debug, Deserialize)]
pub(super) struct Wanted {
    seconds: u32,
    #[serde(default)]
    filter: String,
}

/// `GET /api/agents/{id}/capture`.
pub(super) async fn capture(
    State(web): State<Arc<Web>>,
    Path(id): Path<String>,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Result<Response, Problem> {
    let bad = |why: String| Problem(StatusCode::BAD_REQUEST, why);
    let Query(Wanted { seconds, filter }) = wanted.map_err(|e| bad(e.body_text()))?;
    if !(1..=LONGEST).contains(&seconds) {
        return Err(bad(format!("seconds: 1 to {LONGEST} is wanted")));
    }
    if filter.len() > FILTER.0 || filter.contains('\0') {
        let why = format!("filter: text of at most {} bytes, without NUL, is wanted", FILTER.0);
        return Err(bad(why));
    }
    let agent = web.stream(&id)?;
    let place = Arc::clone(&web.downloads).try_acquire_owned();
    let place = place.map_err(|_| {
        let why = format!("{DOWNLOADS} downloads run already; end one, or wait");
        Problem(StatusCode::SERVICE_UNAVAILABLE, why)
    })?;
    let outputs = web.shared.outputs.running();
    let tapping = outputs.iter().find_map(|output| output.taps.open(agent.id));
    let tapping = tapping.ok_or_else(|| {
        Problem::new(StatusCode::CONFLICT, "nothing is captured from this agent now")
    })?;
    let (linktype, snaplen) = (tapping.meta.linktype, tapping.meta.snaplen);
    let program = web.shared.filters.compile(filter.trim(), linktype, snaplen).await;
    let program = program.map_err(|e| bad(format!("filter: {e}")))?;
    let recording = Recording::new(&tapping.meta, filter.trim(), &program)?;
    let name = format!("{}-{}.pcapng", agent.label, now_in_seconds());
    let (to, mut pieces) = mpsc::channel(WAITING);
    let until = Instant::now() + Duration::from_secs(seconds.into());
    tokio::spawn(async move {
        let _place = place;
        // Who goes away wants no more.
        let _ = record(recording, tapping, until, &to).await;
    });
    let pieces = stream::poll_fn(move |cx| {
        pieces.poll_recv(cx).map(|piece| match piece {
            Some(Piece::Bytes(bytes)) => Some(Ok(bytes)),
            Some(Piece::End) => None,
            // Not to be taken for a whole file.
            None => Some(Err(io::Error::from(io::ErrorKind::UnexpectedEof))),
        })
    });
    let headers = [
        (header::CONTENT_TYPE, "application/vnd.tcpdump.pcap".to_owned()),
        // The label is of harmless characters only.
        (header::CONTENT_DISPOSITION, format!("attachment; filename=\"{name}\"")),
    ];
    Ok((headers, Body::from_stream(pieces)).into_response())
}

fn now_in_seconds() -> u64 {
    nanos(SystemTime::now()).unwrap_or_default() / 1_000_000_000
}

/// A piece of a file.
#[derive(Debug)]
enum Piece {
    Bytes(Bytes),
    /// The file is whole.
    End,
}

/// Why a download is over before its end: nobody takes it.
struct Gone;

async fn record(
    mut recording: Recording,
    mut tapping: Tapping,
    until: Instant,
    to: &mpsc::Sender<Piece>,
) -> Result<(), Gone> {
    give(to, &mut recording).await?;
    loop {
        let tapped = tokio::select! {
            biased;
            () = sleep_until(until) => break,
            () = to.closed() => return Err(Gone),
            tapped = tapping.coming.recv() => tapped,
        };
        match tapped {
            Some(tapped) if recording.take(&tapped) => give(to, &mut recording).await?,
            // The output has ended, or the capture is of other packets now.
            Some(_) | None => break,
        }
    }
    tapping.coming.close();
    while let Ok(tapped) = tapping.coming.try_recv() {
        if !recording.take(&tapped) {
            break;
        }
        give(to, &mut recording).await?;
    }
    recording.finish(tapping.missed());
    give(to, &mut recording).await?;
    send(to, Piece::End).await
}

async fn give(to: &mpsc::Sender<Piece>, recording: &mut Recording) -> Result<(), Gone> {
    let bytes = recording.file.take().map_err(|_| Gone)?;
    match bytes.is_empty() {
        true => Ok(()),
        false => send(to, Piece::Bytes(bytes.into())).await,
    }
}

async fn send(to: &mpsc::Sender<Piece>, piece: Piece) -> Result<(), Gone> {
    match timeout(PATIENCE, to.send(piece)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) | Err(_) => Err(Gone),
    }
}

/// A file that grows.
struct Recording {
    file: Stream<Vec<u8>>,
    filter: String,
    program: Vec<capture::Instruction>,
    linktype: u32,
    interface: u32,
    start: SystemTime,
    seen: u64,
    kept: u64,
}

impl Recording {
    fn new(meta: &Meta, filter: &str, program: &FilterBlock) -> Result<Self, Problem> {
        let too_much = || Problem::new(StatusCode::BAD_REQUEST, "filter: it is too long");
        if program.instructions.len() > FILTER.1 {
            return Err(too_much());
        }
        let program = program.instructions.iter();
        let program: Vec<_> = program
            .map(|i| capture::Instruction { code: i.code, jt: i.jt, jf: i.jf, k: i.k })
            .collect();
        capture::filter::check(&program).map_err(|_| too_much())?;
        let failed = |_| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "no file can be made");
        let mut recording = Self {
            file: Stream::new(Vec::new()).map_err(failed)?,
            filter: filter.to_owned(),
            program,
            linktype: meta.linktype,
            interface: 0,
            start: SystemTime::now(),
            seen: 0,
            kept: 0,
        };
        recording.begin(meta).map_err(|e| Problem(StatusCode::CONFLICT, e.to_string()))?;
        Ok(recording)
    }

    fn begin(&mut self, meta: &Meta) -> Result<(), Error> {
        let filter = match (meta.filter.as_deref(), self.filter.as_str()) {
            (filter, "") => filter.map(str::to_owned),
            (None, filter) => Some(filter.to_owned()),
            (Some(first), then) => Some(format!("({first}) and ({then})")),
        };
        self.interface = self.file.add(&Meta { filter, ..meta.clone() })?;
        Ok(())
    }

    /// Takes what came; `false` if the file cannot go on with it.
    fn take(&mut self, tapped: &Tapped) -> bool {
        let batch = match tapped {
            // The filter is for packets of one kind.
            Tapped::Begun(meta) => {
                return meta.linktype == self.linktype && self.begin(meta).is_ok();
            }
            Tapped::Packets(batch) => batch,
        };
        for (_, header, data) in batch.iter() {
            self.seen += 1;
            if run(&self.program, data, header.len, &Aux::default()) == 0 {
                continue;
            }
            self.kept += 1;
            if self.file.write(self.interface, &Record::from_packet(&header, data)).is_err() {
                return false;
            }
        }
        true
    }

    fn finish(&mut self, missed: u64) {
        let came = self.seen + missed;
        let summary = Summary {
            clock: None,
            start: nanos(self.start),
            end: nanos(SystemTime::now()),
            received: Some(came),
            if_dropped: None,
            filter_accepted: Some(self.kept + missed),
            os_dropped: Some(missed),
            delivered: Some(self.kept),
            comment: format!(
                "of this file: {came} packets came; {} are in it, {} were refused by its filter, {missed} \
                 lost because it was not taken fast enough",
                self.kept,
                self.seen - self.kept,
            ),
        };
        // Into memory.
        let _ = self.file.write_summary(self.interface, &summary);
    }
}
