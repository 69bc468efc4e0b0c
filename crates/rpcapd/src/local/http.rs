//! As much of HTTP/1.1 (RFC 9112) as a scraper of metrics needs: GET and HEAD of one page, one
//! request for each connection.

/// A request for the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// Only the headers of the answer are wanted.
    pub head: bool,
    /// OpenMetrics is understood.
    pub openmetrics: bool,
}

impl Request {
    /// Reads a request; `None` while its end is not there. An error is the status of the answer.
    pub fn parse(bytes: &[u8]) -> Option<Result<Self, &'static str>> {
        let end = bytes.windows(4).position(|w| w == b"\r\n\r\n")?;
        let Ok(text) = std::str::from_utf8(&bytes[..end]) else {
            return Some(Err("400 Bad Request"));
        };
        let mut lines = text.split("\r\n");
        let line: Vec<_> = lines.next().unwrap_or_default().split(' ').collect();
        let [method, target, version] = line[..] else {
            return Some(Err("400 Bad Request"));
        };
        let head = match method {
            _ if !version.starts_with("HTTP/1.") => return Some(Err("400 Bad Request")),
            "GET" => false,
            "HEAD" => true,
            _ => return Some(Err("405 Method Not Allowed")),
        };
        let path = target.split('?').next().unwrap_or_default();
        if !matches!(path, "/metrics" | "/") {
            return Some(Err("404 Not Found"));
        }
        let openmetrics = lines.any(|line| {
            line.split_once(':').is_some_and(|(name, value)| {
                name.eq_ignore_ascii_case("accept")
                    && value.contains("application/openmetrics-text")
            })
        });
        Some(Ok(Self { head, openmetrics }))
    }
}

/// An answer, after which the connection ends.
pub fn response(status: &str, kind: &str, body: &str, head: bool) -> Vec<u8> {
    let body_sent = if head { "" } else { body };
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{body_sent}",
        body.len()
    )
    .into_bytes()
}

/// An answer that says only this.
pub fn error(status: &str) -> Vec<u8> {
    response(status, "text/plain; charset=utf-8", &format!("{status}\n"), false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests() {
        let of = |text: &str| Request::parse(text.as_bytes());
        assert_eq!(of("GET /metrics HTTP/1.1\r\nHost: x\r\n"), None);
        let plain = Request { head: false, openmetrics: false };
        assert_eq!(of("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"), Some(Ok(plain)));
        assert_eq!(of("HEAD /?a HTTP/1.0\r\n\r\n"), Some(Ok(Request { head: true, ..plain })));
        assert_eq!(
            of("GET / HTTP/1.1\r\naccept: a/b, application/openmetrics-text;version=1.0.0\r\n\r\n"),
            Some(Ok(Request { openmetrics: true, ..plain }))
        );
        for (text, status) in [
            ("POST /metrics HTTP/1.1\r\n\r\n", "405"),
            ("GET /x HTTP/1.1\r\n\r\n", "404"),
            ("GET /metrics HTTP/2\r\n\r\n", "400"),
            ("GET /metrics\r\n\r\n", "400"),
            ("\r\n\r\n", "400"),
        ] {
            let answer = of(text).expect("it is complete").expect_err(text);
            assert!(answer.starts_with(status), "{text:?}: {answer}");
        }
        let not_utf8 = Request::parse(b"GET /\xff HTTP/1.1\r\n\r\n");
        assert!(not_utf8.is_some_and(|r| r.is_err()));
    }

    #[test]
    fn a_head_has_the_length_and_no_body() {
        let text = String::from_utf8(response("200 OK", "text/plain", "abc", true)).unwrap();
        assert!(text.ends_with("Content-Length: 3\r\nConnection: close\r\n\r\n"), "{text}");
    }
}
