//! Where the status is to be had: a local socket, and HTTP for a scraper.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;

use super::metrics;
use super::shared::Shared;
use super::status::Status;
#[cfg(unix)]
use crate::text::harmless_json;

/// How long a reader may take.
const DEADLINE: Duration = Duration::from_secs(10);
/// The longest head of a request.
const HEAD: u64 = 8192;
/// How long nothing is accepted after the system could not.
pub(crate) const PAUSE: Duration = Duration::from_millis(200);

/// Answers every connection to a local socket with the status as JSON. Ends with the runtime.
#[cfg(unix)]
pub fn status(path: &std::path::Path, shared: Arc<Shared>) -> io::Result<()> {
    let listener = local(path)?;
    tokio::spawn(async move {
        loop {
            let Ok((mut stream, _)) = listener.accept().await else {
                tokio::time::sleep(PAUSE).await;
                continue;
            };
            let shared = Arc::clone(&shared);
            tokio::spawn(async move {
                // Who asks is often a person with socat.
                let text = serde_json::to_string(&Status::of(&shared)).unwrap_or_default();
                let text = harmless_json(&text) + "\n";
                let _ = tokio::time::timeout(DEADLINE, stream.write_all(text.as_bytes())).await;
            });
        }
    });
    Ok(())
}

/// A local socket for its owner and group.
#[cfg(unix)]
pub(crate) fn local(path: &std::path::Path) -> io::Result<tokio::net::UnixListener> {
    use std::os::unix::fs::{FileTypeExt, PermissionsExt};
    // One that a collector left that was killed.
    if path.symlink_metadata().is_ok_and(|m| m.file_type().is_socket()) {
        match std::os::unix::net::UnixStream::connect(path) {
            Ok(_) => return Err(io::ErrorKind::AddrInUse.into()),
            Err(_) => std::fs::remove_file(path)?,
        }
    }
    let listener = tokio::net::UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))?;
    Ok(listener)
}

/// Answers `GET /metrics`. Ends with the runtime.
pub fn metrics(listener: TcpListener, shared: Arc<Shared>) {
    tokio::spawn(async move {
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                tokio::time::sleep(PAUSE).await;
                continue;
            };
            let shared = Arc::clone(&shared);
            // A scraper that breaks off has had its chance.
            tokio::spawn(async move {
                let _ = tokio::time::timeout(DEADLINE, answer(stream, &shared)).await;
            });
        }
    });
}

async fn answer(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    shared: &Shared,
) -> io::Result<()> {
    let head = head(&mut stream).await?;
    let mut words = head.split(|b| *b == b' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let path = target.split(|b| *b == b'?').next().unwrap_or_default();
    let (status, kind, body) = match (method, path) {
        (b"GET", b"/metrics") => match metrics::text(&Status::of(shared)) {
            Ok(text) => ("200 OK", metrics::CONTENT_TYPE, text),
            Err(_) => ("500 Internal Server Error", "text/plain", String::new()),
        },
        (b"GET", _) => ("404 Not Found", "text/plain", "metrics are at /metrics\n".to_owned()),
        _ => ("405 Method Not Allowed", "text/plain", String::new()),
    };
    stream.write_all(response(status, kind, body.len()).as_bytes()).await?;
    stream.write_all(body.as_bytes()).await?;
    stream.shutdown().await
}

/// The head of a response, after which the connection is closed.
pub(super) fn response(status: &str, kind: &str, length: usize) -> String {
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\
         Connection: close\r\n\r\n"
    )
}

/// The head of a request, in [`HEAD`] bytes.
pub(super) async fn head(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
    let mut stream = stream.take(HEAD);
    let mut head = Vec::new();
    while !head.windows(4).any(|w| w == b"\r\n\r\n") {
        if stream.read_buf(&mut head).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(head)
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use crate::collector::{Collector, Options};
    use crate::journal::Journal;

    #[tokio::test]
    async fn the_status_is_harmless_on_a_terminal() {
        let place = std::env::temp_dir().join(format!("rpcap-status-{}", std::process::id()));
        std::fs::create_dir_all(&place).unwrap();
        let (policy, socket) = (place.join("policy.toml"), place.join("socket"));
        std::fs::write(&policy, "[output.x]\ndirectory = \"x\"\n[[agent]]\n").unwrap();
        let collector =
            Collector::new(Options::alone(policy), Arc::new(Journal::default())).await.unwrap();
        let shared = collector.shared();
        let peer = ([192, 0, 2, 1], 1).into();
        let _claim = shared.registry.claim(peer, "host", &["eth\u{9b}2J"]).await.unwrap();
        status(&socket, Arc::clone(&shared)).unwrap();
        let mut stream = tokio::net::UnixStream::connect(&socket).await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        let _ = std::fs::remove_dir_all(&place);
        assert!(text.contains(r#""interface":"eth\u009b2J""#), "{text}");
        assert!(text.ends_with("}\n"), "{text}");
    }
}
