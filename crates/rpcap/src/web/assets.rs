//! The files of the page, as they are in the program.

use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};

/// A path, what kind of file it is, and the file.
type Asset = (&'static str, &'static str, &'static [u8]);

const ASSETS: &[Asset] =
    &[("/", "text/html; charset=utf-8", include_bytes!("../../web/index.html"))];

/// The description of the API.
pub(super) const OPENAPI: &str = include_str!("../../web/openapi.json");

/// The file at this path.
pub(super) fn asset(path: &str) -> Option<Response> {
    let (_, kind, bytes) = ASSETS.iter().find(|(at, ..)| *at == path)?;
    Some(([(CONTENT_TYPE, *kind)], *bytes).into_response())
}
