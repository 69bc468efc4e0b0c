//! HTTP/1.1, one request for each connection, GET and HEAD only.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

use super::{PLACE, Tools};
use crate::collector::serve::{PAUSE, head, response};
use crate::collector::shared::{Remembered, Shared};

/// Connections at a time; others wait.
const MOST: usize = 64;
/// How long a peer may take to say what it wants.
const ASKING: Duration = Duration::from_secs(10);
/// How long it may take for the next bytes.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long for everything.
const DEADLINE: Duration = Duration::from_secs(600);
/// Bytes that are written at a time.
const CHUNK: usize = 64 * 1024;

const TEXT: &str = "text/plain; charset=utf-8";

/// Serves what the policy of the moment says. Ends with the runtime.
pub fn serve(listener: TcpListener, shared: Arc<Shared>) {
    tokio::spawn(async move {
        let (places, told) = (Arc::new(Semaphore::new(MOST)), Remembered::default());
        loop {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
            let Ok((stream, peer)) = listener.accept().await else {
                sleep(PAUSE).await;
                continue;
            };
            // A policy that was read again may have none any more.
            let Some(tools) = shared.rules.borrow().policy.tools().cloned() else { continue };
            if told.is_news(peer.ip(), Instant::now()) {
                let address = peer.ip().to_canonical();
                shared.journal.info(&format!("tools: {address} asks for the installer"));
            }
            tokio::spawn(async move {
                // Whoever breaks off has to ask again.
                let _ = timeout(DEADLINE, connection(stream, &tools)).await;
                drop(place);
            });
        }
    });
}

async fn connection(stream: TcpStream, tools: &Tools) -> io::Result<()> {
    let acceptor = TlsAcceptor::from(Arc::clone(&tools.tls));
    let stream = timeout(ASKING, acceptor.accept(stream)).await??;
    answer(stream, tools).await
}

/// Answers one request.
pub(super) async fn answer(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    tools: &Tools,
) -> io::Result<()> {
    let request = timeout(ASKING, head(&mut stream)).await??;
    let reply = Reply::to(&request, tools);
    let head = response(reply.status, reply.kind, reply.body.len());
    timeout(PATIENCE, stream.write_all(head.as_bytes())).await??;
    if reply.with_body {
        for chunk in reply.body.chunks(CHUNK) {
            timeout(PATIENCE, stream.write_all(chunk)).await??;
        }
    }
    timeout(PATIENCE, stream.shutdown()).await?
}

struct Reply {
    status: &'static str,
    kind: &'static str,
    body: Arc<[u8]>,
    with_body: bool,
}

impl Reply {
    fn to(request: &[u8], tools: &Tools) -> Self {
        let line = request.split(|b| *b == b'\r').next().unwrap_or_default();
        let line = std::str::from_utf8(line).unwrap_or_default();
        let mut words = line.split(' ');
        let words = [words.next(), words.next(), words.next(), words.next()];
        let text = |status, text: String, with_body| Self {
            status,
            kind: TEXT,
            body: text.into_bytes().into(),
            with_body,
        };
        let [Some(method), Some(path), Some("HTTP/1.0" | "HTTP/1.1"), None] = words else {
            return text("400 Bad Request", String::new(), true);
        };
        let with_body = match method {
            "GET" => true,
            "HEAD" => false,
            _ => return text("405 Method Not Allowed", "GET and HEAD only\n".to_owned(), true),
        };
        if path == PLACE {
            return text("200 OK", tools.index(), with_body);
        }
        let Some((name, body)) = tools.file(path) else {
            let why = format!("what there is, is listed at {PLACE}\n");
            return text("404 Not Found", why, with_body);
        };
        let readable = name.ends_with(".sh") || name == super::SUMS;
        let kind = if readable { TEXT } else { "application/octet-stream" };
        Self { status: "200 OK", kind, body: Arc::clone(body), with_body }
    }
}
