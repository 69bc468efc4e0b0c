//! Those who ask the daemon how it is.

use rpcapd::local::Question;
use rpcapd::local::http::{Request, error, response};

/// However the bytes come, the answer is the same.
fn steady<T: PartialEq + std::fmt::Debug>(
    data: &[u8],
    parse: impl Fn(&[u8]) -> Option<T>,
) -> Option<T> {
    let whole = parse(data);
    let first = (0..=data.len()).find_map(|end| parse(&data[..end]));
    if first.is_some() {
        assert_eq!(first, whole);
    }
    whole
}

/// A request to the local socket, and the same bytes as one over HTTP.
///
/// A request is complete once and for all, and is answered with a status and nothing of its own.
pub fn local_request(data: &[u8]) {
    if data.len() > 8192 {
        assert!(Question::parse(data).is_some(), "waits for ever");
    }
    let data = &data[..data.len().min(300)];
    steady(data, Question::parse);
    match steady(data, Request::parse) {
        Some(Err(status)) => assert!(error(status).starts_with(b"HTTP/1.1 4")),
        Some(Ok(request)) => {
            let answer = response("200 OK", "text/plain", "x", request.head);
            assert_eq!(answer.ends_with(b"\r\n\r\n"), request.head);
        }
        None => {}
    }
}
