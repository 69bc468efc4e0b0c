//! Where the programs under test and their peers are.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// One of this workspace's programs, built from the sources as they are now.
pub fn program(name: &str) -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(build).join(name)
}

/// Builds the workspace's programs beside the running test, in the same profile. `cargo test` does
/// not build the programs of other packages. Selecting the whole workspace selects the same
/// features as `scripts/test` does, so that nothing is built twice.
fn build() -> PathBuf {
    let test = env::current_exe().expect("the path of the running test");
    // target/PROFILE/deps/test-0123
    let directory = test
        .parent()
        .and_then(Path::parent)
        .expect("a test is two directories below its target directory");
    let target = directory.parent().expect("a profile has a directory");
    let profile = match directory.file_name().and_then(|n| n.to_str()) {
        Some("debug") | None => "dev",
        Some(other) => other,
    };
    let output = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--workspace", "--bins", "--profile", profile])
        .arg("--target-dir")
        .arg(target)
        .current_dir(workspace())
        .output()
        .expect("running cargo");
    assert!(
        output.status.success(),
        "building the programs failed:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    directory.to_owned()
}

/// The directory of the workspace.
pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The directory of libpcap's programs (see `scripts/peers`), or why there is none.
pub fn peers() -> Result<PathBuf, String> {
    static FOUND: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    FOUND.get_or_init(find_peers).clone()
}

fn find_peers() -> Result<PathBuf, String> {
    let directory = match env::var_os("RPCAP_PEERS") {
        Some(empty) if empty.is_empty() => {
            return Err("RPCAP_PEERS is empty: without the real peers".to_owned());
        }
        Some(directory) => PathBuf::from(directory),
        None => {
            let output = Command::new(workspace().join("scripts/peers"))
                .arg("--find")
                .output()
                .map_err(|e| format!("scripts/peers: {e}"))?;
            if !output.status.success() {
                return Err("the real peers are not built: scripts/peers builds them".to_owned());
            }
            let text = String::from_utf8(output.stdout).map_err(|e| e.to_string())?;
            PathBuf::from(text.trim_end())
        }
    };
    let bin = directory.join("bin");
    match bin.join("rpcapd").exists() {
        true => Ok(bin),
        false => Err(format!("{} has no rpcapd", bin.display())),
    }
}

/// Whether the system has a program of this name.
pub fn installed(name: &str) -> bool {
    env::var_os("PATH").is_some_and(|path| {
        env::split_paths(&path)
            .chain(["/usr/sbin".into(), "/sbin".into()])
            .any(|d| d.join(name).is_file())
    })
}
