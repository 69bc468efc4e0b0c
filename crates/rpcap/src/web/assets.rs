//! The files of the page, as they are in the program.

use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};

/// A path, what kind of file it is, and the file.
type Asset = (&'static str, &'static str, &'static [u8]);

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

macro_rules! files {
    ($($kind:ident: $($name:literal)+;)+) => {
        &[
            ("/", HTML, include_bytes!("../../web/index.html")),
            $($((concat!("/", $name), $kind, include_bytes!(concat!("../../web/", $name))),)+)+
        ]
    };
}

const ASSETS: &[Asset] = files! {
    CSS: "style.css" "vendor/uplot.css";
    SVG: "icon.svg";
    SCRIPT: "theme.js" "app.js" "api.js" "dom.js" "format.js" "charts.js" "table.js" "overview.js" "agent.js"
        "policy.js" "login.js" "vendor/uplot.min.js";
};

/// The description of the API.
pub(super) const OPENAPI: &str = include_str!("../../web/openapi.json");

/// The file at this path.
pub(super) fn asset(path: &str) -> Option<Response> {
    let (_, kind, bytes) = ASSETS.iter().find(|(at, ..)| *at == path)?;
    Some(([(CONTENT_TYPE, *kind)], *bytes).into_response())
}
