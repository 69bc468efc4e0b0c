//! The files of the page, as they are in the program.

use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};

/// A path, what kind of file it is, and the file.
type Asset = (&'static str, &'static str, &'static [u8]);

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";
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
    TEXT: "vendor/uplot.LICENSE";
};

/// The description of the API.
pub(super) const OPENAPI: &str = include_str!("../../web/openapi.json");

/// The file at this path.
pub(super) fn asset(path: &str) -> Option<Response> {
    let (_, kind, bytes) = ASSETS.iter().find(|(at, ..)| *at == path)?;
    Some(([(CONTENT_TYPE, *kind)], *bytes).into_response())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    #[test]
    fn every_file_of_the_page_is_served_and_asked_for_by_another() {
        let web = Path::new(env!("CARGO_MANIFEST_DIR")).join("web");
        let files = |below: &str| -> Vec<String> {
            let directory = web.join(below.trim_start_matches('/'));
            let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap());
            let files = entries.filter(|entry| entry.file_type().unwrap().is_file());
            files.map(|e| format!("{below}/{}", e.file_name().to_str().unwrap())).collect()
        };
        let mut there: BTreeSet<String> =
            [files(""), files("/vendor")].concat().into_iter().collect();
        for other in ["/index.html", "/openapi.json", "/vendor/README.md"] {
            assert!(there.remove(other), "{other}");
        }
        let served: BTreeSet<String> =
            ASSETS.iter().map(|(path, ..)| (*path).to_owned()).filter(|path| path != "/").collect();
        assert_eq!(there, served);
        let texts: Vec<_> =
            ASSETS.iter().map(|(.., bytes)| String::from_utf8_lossy(bytes)).collect();
        for path in served.iter().filter(|path| !path.ends_with("LICENSE")) {
            // Modules name each other from where they are.
            let names = [format!("\"{path}\""), format!("'.{path}'")];
            let named = |text: &str| names.iter().any(|name| text.contains(name));
            assert!(texts.iter().any(|text| named(text)), "nobody asks for {path}");
        }
    }
}
