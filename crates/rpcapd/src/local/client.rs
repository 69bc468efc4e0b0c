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
        return Ok(harmless(&reply));
    }
    let report: Report =
        serde_json::from_value(reply).context("the daemon's answer: is it of this version?")?;
    Ok(report.to_string())
}

/// JSON that can be shown on a terminal: all but printable ASCII is escaped, as it may be in names of users and
/// interfaces.
fn harmless(json: &Value) -> String {
    let mut text = String::new();
    for c in format!("{json:#}\n").chars() {
        match c {
            '\n' | ' '..='~' => text.push(c),
            c => c.encode_utf16(&mut [0; 2]).iter().for_each(|u| text += &format!("\\u{u:04x}")),
        }
    }
    text
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_harmless_on_a_terminal_and_says_the_same() {
        let name = "e\u{9b}2J\u{7f}\u{202e}\u{1f980}\"\\\n0";
        let reply = serde_json::json!({ "user": name });
        let text = harmless(&reply);
        let escaped = r#""e\u009b2J\u007f\u202e\ud83e\udd80\"\\\n0""#;
        assert_eq!(text, format!("{{\n  \"user\": {escaped}\n}}\n"));
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), reply);
    }
}
