use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::Value;

use super::Access;

/// What lets those in who know what is in a file of this text.
pub(super) fn access(password: &str) -> Arc<Access> {
    static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let n = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let directory: PathBuf =
        std::env::temp_dir().join(format!("rpcap-web-{}-{n}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let file = |name: &str, text: &str| {
        let path = directory.join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let rcgen::CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(["collector.example".to_owned()]).unwrap();
    let cert = file("cert.pem", &cert.pem());
    let key = file("key.pem", &signing_key.serialize_pem());
    let password = file("password", password);
    let names = vec!["Collector.example".to_owned()];
    let access = Access::load(&cert, &key, &password, names).unwrap();
    std::fs::remove_dir_all(directory).unwrap();
    Arc::new(access)
}

#[test]
fn every_route_is_described_and_everything_described_is_a_route() {
    let description: Value = serde_json::from_str(super::assets::OPENAPI).unwrap();
    let paths = description["paths"].as_object().unwrap();
    let of = |(path, methods): (&String, &Value)| -> Vec<(String, String)> {
        methods.as_object().unwrap().keys().map(|m| (m.clone(), path.clone())).collect()
    };
    let described: BTreeSet<_> = paths.iter().flat_map(of).collect();
    let routes = super::routes::routes();
    let there: BTreeSet<_> =
        routes.iter().map(|(m, path, _)| ((*m).to_owned(), (*path).to_owned())).collect();
    assert_eq!(described, there);
    assert_eq!(there.len(), routes.len());
}
