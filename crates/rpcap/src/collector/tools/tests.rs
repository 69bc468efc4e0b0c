use std::net::Ipv4Addr;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::serve::answer;
use super::*;

/// A directory with files, their list, a certificate and a key; it goes away with this value.
struct Place(PathBuf);

impl Place {
    fn new(name: &str, files: &[(&str, &[u8])]) -> Self {
        let path = std::env::temp_dir().join(format!("rpcap-tools-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        let mut sums = String::new();
        for (name, bytes) in files {
            fs::write(path.join(name), bytes).unwrap();
            sums.push_str(&format!("{}  {name}\n", sha256(bytes)));
        }
        fs::write(path.join(SUMS), sums).unwrap();
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(["collector.example".to_owned()]).unwrap();
        fs::write(path.join("cert.pem"), cert.pem()).unwrap();
        fs::write(path.join("key.pem"), signing_key.serialize_pem()).unwrap();
        Self(path)
    }

    fn load(&self) -> Result<Tools, ToolsError> {
        let listen = (Ipv4Addr::LOCALHOST, 0).into();
        Tools::load(&self.0, listen, &self.0.join("cert.pem"), &self.0.join("key.pem"))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

const BINARY: &[u8] = b"\x7fELF and so on";

fn two_files(name: &str) -> Place {
    Place::new(name, &[("install-rpcapd.sh", b"#!/bin/sh\n"), ("rpcapd-64bit-linux", BINARY)])
}

/// What is answered to these bytes, after which nothing more comes.
async fn asked(tools: &Tools, request: &[u8]) -> Result<Vec<u8>, std::io::Error> {
    let (mut client, server) = tokio::io::duplex(1 << 20);
    client.write_all(request).await.unwrap();
    client.shutdown().await.unwrap();
    answer(server, tools).await?;
    let mut reply = Vec::new();
    client.read_to_end(&mut reply).await.unwrap();
    Ok(reply)
}

async fn get(tools: &Tools, target: &str) -> (String, Vec<u8>) {
    let request = format!("GET {target} HTTP/1.1\r\nHost: collector\r\n\r\n");
    let reply = asked(tools, request.as_bytes()).await.unwrap();
    let end = reply.windows(4).position(|w| w == b"\r\n\r\n").unwrap();
    (String::from_utf8(reply[..end].to_vec()).unwrap(), reply[end + 4..].to_vec())
}

#[tokio::test]
async fn files_are_served_as_they_are() {
    let place = two_files("served");
    let tools = place.load().unwrap();
    let (head, body) = get(&tools, "/tools/rpcapd/rpcapd-64bit-linux").await;
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(head.contains(&format!("Content-Length: {}\r\n", BINARY.len())), "{head}");
    assert_eq!(body, BINARY);
    let (_, index) = get(&tools, "/tools/rpcapd/").await;
    let index = String::from_utf8(index).unwrap();
    assert_eq!(index.lines().count(), 3, "{index}");
    let (_, sums) = get(&tools, "/tools/rpcapd/SHA256SUMS").await;
    assert_eq!(sha256(&sums), tools.digest);

    let head = asked(&tools, b"HEAD /tools/rpcapd/SHA256SUMS HTTP/1.0\r\n\r\n").await.unwrap();
    let head = String::from_utf8(head).unwrap();
    assert!(head.contains(&format!("Content-Length: {}\r\n", sums.len())), "{head}");
    assert!(head.ends_with("\r\n\r\n"), "{head}");
}

#[tokio::test]
async fn nothing_else_is_served() {
    let place = two_files("nothing-else");
    fs::write(place.0.join("unlisted"), "secret").unwrap();
    let tools = place.load().unwrap();
    for target in [
        "/",
        "/tools/rpcapd",
        "/tools/rpcapd//SHA256SUMS",
        "/tools/rpcapd/unlisted",
        "/tools/rpcapd/key.pem",
        "/tools/rpcapd/../rpcapd/key.pem",
        "/tools/rpcapd/%2e%2e/key.pem",
        "/tools/rpcapd/..\\key.pem",
        "/tools/rpcapd//etc/passwd",
        "/tools/rpcapd/SHA256SUMS?x",
        "/tools/rpcapd/SHA256SUMS#x",
        "/tools/rpcapd/sha256sums",
        "/tools/rpcapd/SHA256SUMS\0",
        "https://collector/tools/rpcapd/SHA256SUMS",
        "/metrics",
    ] {
        let (head, body) = get(&tools, target).await;
        assert!(head.starts_with("HTTP/1.1 404 "), "{target}: {head}");
        assert!(!String::from_utf8_lossy(&body).contains("secret"), "{target}");
    }
    for (request, status) in [
        (&b"POST /tools/rpcapd/ HTTP/1.1\r\nContent-Length: 9\r\n\r\n"[..], "405"),
        (b"get /tools/rpcapd/ HTTP/1.1\r\n\r\n", "405"),
        (b"GET /tools/rpcapd/\r\n\r\n", "400"),
        (b"GET  /tools/rpcapd/ HTTP/1.1\r\n\r\n", "400"),
        (b"GET /tools/rpcapd/ HTTP/2.0\r\n\r\n", "400"),
        (b"\xff\xfe\x00\r\n\r\n", "400"),
        (b"\r\n\r\n", "400"),
    ] {
        let reply = asked(&tools, request).await.unwrap();
        let reply = String::from_utf8_lossy(&reply);
        assert!(reply.starts_with(&format!("HTTP/1.1 {status} ")), "{request:?}: {reply}");
    }
}

#[tokio::test]
async fn a_request_without_an_end_is_not_answered() {
    let place = two_files("endless");
    let tools = place.load().unwrap();
    for request in [&b""[..], b"GET /tools/rpcapd/ HTTP/1.1\r\n", &[b'x'; 100_000]] {
        let error = asked(&tools, request).await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof);
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_is_waited_for_for_ever() {
    let place = Place::new("slow", &[("large", &[7; 1 << 20])]);
    let tools = place.load().unwrap();
    // One that says nothing, and one that takes nothing.
    for request in [&b"GET "[..], b"GET /tools/rpcapd/large HTTP/1.1\r\n\r\n"] {
        let (mut client, server) = tokio::io::duplex(4096);
        client.write_all(request).await.unwrap();
        let error = answer(server, &tools).await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
    }
}

#[test]
fn files_that_are_not_as_listed_are_told() {
    let place = two_files("not-as-listed");
    let told = || place.load().unwrap_err().to_string();
    fs::write(place.0.join("rpcapd-64bit-linux"), "another").unwrap();
    assert!(told().contains("rpcapd-64bit-linux is not the file that SHA256SUMS lists"));
    fs::remove_file(place.0.join("rpcapd-64bit-linux")).unwrap();
    assert!(told().contains("rpcapd-64bit-linux: "));
    let sum = "0".repeat(64);
    for line in [
        format!("{sum}  ../secret"),
        format!("{sum}  /etc/passwd"),
        format!("{sum}  .hidden"),
        format!("{sum}  SHA256SUMS"),
        format!("{sum}  "),
        format!("{sum} name"),
        "00  name".to_owned(),
        String::new(),
    ] {
        fs::write(place.0.join(SUMS), line.clone() + "\n").unwrap();
        assert!(told().contains("SHA256SUMS, line 1: "), "{line}: {}", told());
    }
    fs::remove_file(place.0.join(SUMS)).unwrap();
    assert!(told().contains("SHA256SUMS: "));
}

#[test]
fn a_key_of_another_certificate_is_told() {
    let (place, other) = (two_files("this-key"), two_files("other-key"));
    fs::copy(other.0.join("key.pem"), place.0.join("key.pem")).unwrap();
    let told = place.load().unwrap_err().to_string();
    assert!(told.contains("is it the key of "), "{told}");
}
