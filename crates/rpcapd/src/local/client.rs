//! The other end of the local socket: `rpcapd status` and `rpcapd reload`.

use std::path::Path;

use anyhow::{Context, bail};
use serde_json::Value;

use super::socket_path;
use crate::report::Report;

/// How the daemon is, as a table or JSON.
pub fn status(socket: Option<&Path>, json: bool) -> anyhow::Result<String> {
    let reply = ask(socket, "status")?;
    if json {
        return Ok(format!("{reply:#}\n"));
    }
    let report: Report =
        serde_json::from_value(reply).context("the daemon's answer: is it of this version?")?;
    Ok(report.to_string())
}

/// Has the daemon read its configuration again; the result is what changed.
pub fn reload(socket: Option<&Path>) -> anyhow::Result<String> {
    let reply = ask(socket, "reload")?;
    Ok(format!("{}\n", reply["reloaded"].as_str().unwrap_or("done").escape_debug()))
}

fn ask(socket: Option<&Path>, request: &str) -> anyhow::Result<Value> {
    let Some(path) = socket_path(socket) else {
        bail!("which daemon? Say where its socket is with --status-socket");
    };
    let text = exchange(&path, request)
        .with_context(|| format!("{}: is the daemon running?", path.display()))?;
    let reply: Value = serde_json::from_str(&text)
        .with_context(|| format!("{}: the daemon's answer", path.display()))?;
    match reply.get("error").and_then(Value::as_str) {
        Some(reason) => bail!("the daemon says: {}", reason.escape_debug()),
        None => Ok(reply),
    }
}

fn exchange(path: &Path, request: &str) -> std::io::Result<String> {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;
    use std::time::Duration;

    /// More than a daemon of this version says.
    const ANSWER_MAX: u64 = 16 << 20;

    let mut stream = UnixStream::connect(path)?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    stream.write_all(format!("{request}\n").as_bytes())?;
    let mut text = String::new();
    stream.take(ANSWER_MAX).read_to_string(&mut text)?;
    Ok(text)
}
