//! Who may ask for what, and from where.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::{Request, State};
use axum::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use axum::http::uri::Authority;
use axum::http::{Method, StatusCode, Version};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::access::Access;
use super::login::COOKIE;
use super::{Web, routes};

/// How long an answer may take to begin, the body of the request among it.
const DEADLINE: Duration = Duration::from_secs(10);

/// What every answer says of itself.
const HEADERS: [(HeaderName, &str); 5] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' \
         data:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];
const FETCH_SITE: &str = "sec-fetch-site";

/// Whose connection a request came by. At a local socket nothing of it is known.
#[derive(Clone, Debug, Default)]
pub(super) struct Caller {
    /// This end's address.
    pub(super) local: Option<IpAddr>,
    /// The other end's.
    pub(super) address: Option<IpAddr>,
    /// Who is let in, if not everybody.
    pub(super) access: Option<Arc<Access>>,
}

/// What is wrong, as it is told.
#[derive(Debug)]
pub(super) struct Problem(pub(super) StatusCode, pub(super) String);

impl Problem {
    pub(super) fn new(status: StatusCode, why: impl Into<String>) -> Self {
        Self(status, why.into())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        (self.0, Json(json!({ "error": self.1 }))).into_response()
    }
}

/// Stands before everything.
pub(super) async fn guard(State(web): State<Arc<Web>>, request: Request, next: Next) -> Response {
    let api = routes::is_api(request.uri().path());
    let caller = request.extensions().get::<Caller>().cloned();
    let checked = caller
        .ok_or_else(|| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "nobody asked"))
        .and_then(|caller| check(&web, &caller, &request));
    let mut response = match checked {
        Ok(()) => match tokio::time::timeout(DEADLINE, next.run(request)).await {
            Ok(response) => response,
            Err(_) => {
                Problem::new(StatusCode::REQUEST_TIMEOUT, "that took too long").into_response()
            }
        },
        Err(problem) => problem.into_response(),
    };
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    // What does not change is asked for again, and not sent again.
    let kept = if api { "no-store" } else { "no-cache" };
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(kept));
    response
}

fn check(web: &Web, caller: &Caller, request: &Request) -> Result<(), Problem> {
    let host = host(request)?;
    let misdirected = || {
        let why =
            "this is not a name of this page; names in [http] of the policy says more of them";
        Problem::new(StatusCode::MISDIRECTED_REQUEST, why)
    };
    if !host.as_ref().map_or(caller.local.is_none(), |host| caller.is_called(host)) {
        return Err(misdirected());
    }
    // A request to a proxy names the place twice.
    if let Some(named) = request.uri().authority()
        && !caller.is_called(named)
    {
        return Err(misdirected());
    }
    let path = request.uri().path();
    if !caller.is_of_page(request.method(), path, request.headers(), host.as_ref()) {
        return Err(Problem::new(StatusCode::FORBIDDEN, "another page asked for this"));
    }
    if routes::is_api(path) && path != routes::LOGIN && !web.lets(caller, request.headers()) {
        return Err(Problem::new(StatusCode::UNAUTHORIZED, "log in first"));
    }
    Ok(())
}

/// What the request calls this host.
fn host(request: &Request) -> Result<Option<Authority>, Problem> {
    let mut named = request.headers().get_all(header::HOST).iter();
    match (named.next(), named.next()) {
        (Some(host), None) => match Authority::try_from(host.as_bytes()) {
            Ok(host) if !host.as_str().contains('@') => Ok(Some(host)),
            _ => Err(Problem::new(StatusCode::BAD_REQUEST, "Host is not a host")),
        },
        (None, _) if request.version() < Version::HTTP_11 => Ok(None),
        _ => Err(Problem::new(StatusCode::BAD_REQUEST, "one Host is wanted")),
    }
}

impl Caller {
    /// Whether this is a name of the page: another one may be somebody else's, who has it lead here
    /// so that a browser takes us for them.
    fn is_called(&self, host: &Authority) -> bool {
        // Nobody gets to a local socket by a name.
        let Some(local) = self.local.map(|ip| ip.to_canonical()) else { return true };
        let name = host.host().trim_end_matches('.').to_ascii_lowercase();
        let bare = name.strip_prefix('[').and_then(|n| n.strip_suffix(']')).unwrap_or(&name);
        let names = self.access.as_ref().map(|access| &access.names);
        bare.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical() == local)
            || (name == "localhost" && local.is_loopback())
            || names.is_some_and(|names| names.iter().any(|n| n == bare))
    }

    /// Whether no page but this one can have asked. Browsers say who asks; what says nothing is no
    /// browser, and acts for itself.
    fn is_of_page(
        &self,
        method: &Method,
        path: &str,
        headers: &HeaderMap,
        host: Option<&Authority>,
    ) -> bool {
        let reads = matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS);
        let site = headers.get(FETCH_SITE).map(HeaderValue::as_bytes);
        let of_page = match site {
            None | Some(b"same-origin") => true,
            // From the address bar.
            Some(b"none") => reads,
            // A link to the page may stand anywhere.
            Some(_) => reads && !routes::is_api(path),
        };
        of_page && (reads || headers.get_all(header::ORIGIN).iter().all(|o| self.is_own(o, host)))
    }

    fn is_own(&self, origin: &HeaderValue, host: Option<&Authority>) -> bool {
        let Some((scheme, authority)) =
            origin.to_str().ok().and_then(|origin| origin.split_once("://"))
        else {
            return false;
        };
        let expected = match (self.local, &self.access) {
            // Whoever stands before a local socket may encrypt or not.
            (None, _) => scheme,
            (Some(_), None) => "http",
            (Some(_), Some(_)) => "https",
        };
        scheme == expected && host.is_some_and(|h| h.as_str().eq_ignore_ascii_case(authority))
    }
}

impl Web {
    /// Whether a request comes from somebody who may see everything.
    pub(super) fn lets(&self, caller: &Caller, headers: &HeaderMap) -> bool {
        if caller.access.is_none() {
            return true;
        }
        // As it is now: a connection may be older than the password.
        let access = self.shared.rules.borrow().policy.http().cloned();
        let knows = |token| access.is_some_and(|a| self.login.knows(&a, token, Instant::now()));
        token(headers).is_some_and(knows)
    }
}

/// The token that a request shows.
pub(super) fn token(headers: &HeaderMap) -> Option<&str> {
    let all = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut each = all.flat_map(|value| value.split(';')).filter_map(|c| c.trim().split_once('='));
    each.find(|(name, _)| *name == COOKIE).map(|(_, token)| token)
}
