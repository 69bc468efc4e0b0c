use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, bail, ensure};

use super::DEVICE;
use crate::say::say;

/// Addresses that the RFCs set aside for examples.
pub(super) const NEAR: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
pub(super) const FAR: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
/// Where the far end serves pages.
pub(super) const HTTP: u16 = 80;
/// Where the far end returns datagrams.
pub(super) const ECHO: u16 = 7;

/// Bytes of the page.
const PAGE: usize = 12_000;

/// The far end's device.
const FAR_DEVICE: &str = "demo1";

/// A cable to another network, where somebody answers.
pub(super) struct Cable {
    far: Child,
    /// The far end goes when this does.
    _life: ChildStdin,
}

impl Drop for Cable {
    fn drop(&mut self) {
        let _ = self.far.kill();
        let _ = self.far.wait();
    }
}

/// Makes the other network and the cable to it.
pub(super) fn lay() -> anyhow::Result<Cable> {
    ip(&["link", "set", "lo", "up"])?;
    let mut far = Command::new("unshare")
        .arg("--net")
        .arg(std::env::current_exe()?)
        .args(["demo", "--part", "far"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start unshare")?;
    let (Some(life), Some(answers)) = (far.stdin.take(), far.stdout.take()) else {
        bail!("the far end has no pipes");
    };
    let mut cable = Cable { far, _life: life };
    let mut answers = BufReader::new(answers);
    hear(&mut answers, "ready")?;
    // unshare has become the far end by now, so the process is in the network.
    let process = cable.far.id().to_string();
    #[rustfmt::skip]
    ip(&["link", "add", DEVICE, "type", "veth", "peer", "name", FAR_DEVICE, "netns", &process])?;
    ip(&["addr", "add", &format!("{NEAR}/24"), "dev", DEVICE])?;
    ip(&["link", "set", DEVICE, "up"])?;
    writeln!(cable._life, "go")?;
    hear(&mut answers, "up")?;
    Ok(cable)
}

fn hear(answers: &mut BufReader<ChildStdout>, expected: &str) -> anyhow::Result<()> {
    let mut line = String::new();
    answers.by_ref().take(100).read_line(&mut line)?;
    ensure!(line.trim() == expected, "the far end did not start");
    Ok(())
}

fn ip(arguments: &[&str]) -> anyhow::Result<()> {
    let done = Command::new("ip")
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .context("cannot start ip")?;
    ensure!(
        done.status.success(),
        "ip {}: {}",
        arguments.join(" "),
        String::from_utf8_lossy(done.stderr.trim_ascii())
    );
    Ok(())
}

/// The other end of the cable: answers until its standard input ends.
pub(super) fn far() -> anyhow::Result<()> {
    let mut orders = std::io::stdin().lines();
    say!("ready");
    ensure!(matches!(orders.next(), Some(Ok(_))), "nobody is there");
    ip(&["addr", "add", &format!("{FAR}/24"), "dev", FAR_DEVICE])?;
    ip(&["link", "set", FAR_DEVICE, "up"])?;
    let echo = UdpSocket::bind((FAR, ECHO))?;
    let http = TcpListener::bind((FAR, HTTP))?;
    std::thread::spawn(move || {
        let mut buffer = [0; 2048];
        while let Ok((len, from)) = echo.recv_from(&mut buffer) {
            let _ = echo.send_to(&buffer[..len], from);
        }
    });
    std::thread::spawn(move || {
        for mut stream in http.incoming().flatten() {
            let mut request = [0; 1024];
            let _ = stream.read(&mut request);
            let head = format!("HTTP/1.0 200 OK\r\nContent-Length: {PAGE}\r\n\r\n");
            let _ = stream.write_all(head.as_bytes());
            let _ = stream.write_all(&[b'.'; PAGE]);
        }
    });
    say!("up");
    // Until the near end is gone.
    orders.for_each(drop);
    Ok(())
}
