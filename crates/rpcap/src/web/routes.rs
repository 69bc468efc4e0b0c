//! The paths of the API, and those of the page.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::rejection::JsonRejection;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::header::{self, HeaderMap};
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use axum::{Extension, Json, Router, middleware};
use serde::Deserialize;

use super::guard::{Caller, Problem, guard, token};
use super::history::History;
use super::login::{COOKIE, STAY, Tried};
use super::view::Agent;
use super::{Web, assets, download, events};
use crate::collector::policy::Shown;
use crate::collector::status::Status;
use crate::locked::lock;

/// The longest body of a request.
const BODY: usize = 16 * 1024;
/// Where one logs in: nobody has to be before.
pub(super) const LOGIN: &str = "/api/login";

/// A method and a path of the API, and what answers.
type Route = (&'static str, &'static str, MethodRouter<Arc<Web>>);

/// All that the API has.
pub(super) fn routes() -> Vec<Route> {
    vec![
        ("get", "/api/status", get(status)),
        ("get", "/api/events", get(events::events)),
        ("get", "/api/history", get(history)),
        ("get", "/api/policy", get(policy)),
        ("get", "/api/openapi.json", get(openapi)),
        ("get", "/api/agents/{id}", get(agent)),
        ("get", "/api/agents/{id}/history", get(agent_history)),
        ("get", "/api/agents/{id}/capture", get(download::capture)),
        ("post", "/api/agents/{id}/stop", post(stop)),
        ("post", "/api/agents/{id}/start", post(start)),
        ("post", LOGIN, post(login)),
        ("post", "/api/logout", post(logout)),
    ]
}

/// Whether a path is one of the API.
pub(super) fn is_api(path: &str) -> bool {
    path == "/api" || path.starts_with("/api/")
}

/// What answers every request.
pub(super) fn app(web: Arc<Web>) -> Router {
    let router = routes().into_iter().fold(Router::new(), |r, (_, path, to)| r.route(path, to));
    router
        .method_not_allowed_fallback(async || {
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "this path has other methods")
        })
        .fallback(other)
        .layer(DefaultBodyLimit::max(BODY))
        .layer(middleware::from_fn_with_state(Arc::clone(&web), guard))
        .with_state(web)
}

async fn other(method: Method, uri: Uri) -> Response {
    let none = || Problem::new(StatusCode::NOT_FOUND, "there is nothing here").into_response();
    match assets::asset(uri.path()) {
        None => none(),
        Some(asset) if matches!(method, Method::GET | Method::HEAD) => asset,
        Some(_) => {
            let why = Problem::new(StatusCode::METHOD_NOT_ALLOWED, "this path has other methods");
            ([(header::ALLOW, "GET, HEAD")], why).into_response()
        }
    }
}

async fn status(State(web): State<Arc<Web>>) -> Json<Status<Agent>> {
    Json(web.status())
}

async fn agent(
    State(web): State<Arc<Web>>,
    Path(id): Path<String>,
) -> Result<Json<Agent>, Problem> {
    web.stream(&id).map(|stream| Json(web.agent(&stream)))
}

async fn history(State(web): State<Arc<Web>>) -> Json<History> {
    Json(lock(&web.histories).of_all())
}

async fn agent_history(
    State(web): State<Arc<Web>>,
    Path(id): Path<String>,
) -> Result<Json<History>, Problem> {
    web.stream(&id).map(|stream| Json(lock(&web.histories).of(stream.id)))
}

async fn policy(State(web): State<Arc<Web>>) -> Json<Shown> {
    let rules = Arc::clone(&web.shared.rules.borrow());
    Json(Shown::of(&rules.policy))
}

async fn openapi() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], assets::OPENAPI)
}

async fn stop(
    web: State<Arc<Web>>,
    caller: Extension<Caller>,
    id: Path<String>,
) -> Result<Json<Agent>, Problem> {
    order(&web, &caller, &id, true)
}

async fn start(
    web: State<Arc<Web>>,
    caller: Extension<Caller>,
    id: Path<String>,
) -> Result<Json<Agent>, Problem> {
    order(&web, &caller, &id, false)
}

/// Has an agent's interface stopped, or started again.
fn order(web: &Web, caller: &Caller, id: &str, stop: bool) -> Result<Json<Agent>, Problem> {
    let stream = web.stream(id)?;
    let done = if stop { "stopped" } else { "started" };
    if !stream.stop(stop) {
        return Err(Problem(StatusCode::CONFLICT, format!("it is {done} already")));
    }
    let by = caller.address.map_or("the local socket".to_owned(), |ip| ip.to_string());
    web.shared.journal.info(&format!("agent {}: {done} by {by}", stream.key));
    Ok(Json(web.agent(&stream)))
}

#[derive(Deserialize)]
struct Given {
    password: String,
}

async fn login(
    State(web): State<Arc<Web>>,
    Extension(caller): Extension<Caller>,
    given: Result<Json<Given>, JsonRejection>,
) -> Result<Response, Problem> {
    let Json(Given { password }) = given.map_err(|e| Problem(e.status(), e.body_text()))?;
    let access = web.shared.rules.borrow().policy.http().cloned();
    let (Some(access), Some(address)) =
        (access.filter(|_| caller.access.is_some()), caller.address)
    else {
        return Err(Problem::new(StatusCode::CONFLICT, "nobody has to log in here"));
    };
    match web.login.attempt(&access, address, password).await {
        Tried::In(token) => {
            web.shared.journal.info(&format!("page: {address} has logged in"));
            let cookie = cookie(&token, STAY.as_secs());
            Ok((StatusCode::NO_CONTENT, [(header::SET_COOKIE, cookie)]).into_response())
        }
        Tried::Wrong => {
            if web.told.is_news(address, Instant::now()) {
                let line = format!("page: {address} tries wrong passwords");
                web.shared.journal.warn(&line);
            }
            Err(Problem::new(StatusCode::UNAUTHORIZED, "that is not the password"))
        }
        Tried::TooMany => {
            let why = "one try at a time; wait a second";
            Err(Problem::new(StatusCode::TOO_MANY_REQUESTS, why))
        }
        Tried::Failed => {
            let why = "the system has no random numbers";
            Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, why))
        }
    }
}

async fn logout(State(web): State<Arc<Web>>, headers: HeaderMap) -> Response {
    if let Some(token) = token(&headers) {
        web.login.leave(token);
    }
    (StatusCode::NO_CONTENT, [(header::SET_COOKIE, cookie("", 0))]).into_response()
}

fn cookie(token: &str, seconds: u64) -> String {
    format!("{COOKIE}={token}; Path=/; Max-Age={seconds}; HttpOnly; Secure; SameSite=Strict")
}
