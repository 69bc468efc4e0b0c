//! What the system that the daemon runs on is called: for the files of those who capture.

#[cfg(unix)]
use std::fs;

/// The distribution, as it calls itself, and the kernel: `Debian GNU/Linux 12 (bookworm), Linux
/// 6.1.0-28-amd64 x86_64`. To be asked for before the sandbox is entered.
#[cfg(unix)]
pub fn name() -> String {
    let uname = rustix::system::uname();
    let parts = [uname.sysname(), uname.release(), uname.machine()];
    let kernel = parts.map(|part| part.to_string_lossy()).join(" ");
    // Where they are, in this order: os-release(5).
    let texts = ["/etc/os-release", "/usr/lib/os-release"].map(fs::read_to_string);
    match texts.into_iter().flatten().next().as_deref().and_then(pretty_name) {
        Some(distribution) => format!("{distribution}, {kernel}"),
        None => kernel,
    }
}

/// The same where there is no `uname`.
#[cfg(not(unix))]
pub fn name() -> String {
    format!("{} {}", std::env::consts::OS, std::env::consts::ARCH)
}

/// `PRETTY_NAME` of an os-release(5).
#[cfg(unix)]
fn pretty_name(text: &str) -> Option<String> {
    let value = text.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="))?;
    let name = value.trim().trim_matches(['"', '\'']).to_owned();
    (!name.is_empty()).then_some(name)
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn the_distribution_is_what_it_calls_itself() {
        let name = |text: &str| pretty_name(text);
        let debian = "NAME=\"Debian\"\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nID=debian\n";
        assert_eq!(name(debian).as_deref(), Some("Debian GNU/Linux 12 (bookworm)"));
        assert_eq!(name("PRETTY_NAME='Alpine Linux v3.20'").as_deref(), Some("Alpine Linux v3.20"));
        assert_eq!(name("PRETTY_NAME=Void").as_deref(), Some("Void"));
        assert_eq!(name("PRETTY_NAME=\"\"\n"), None);
        assert_eq!(name("ID=debian"), None);
        assert!(super::name().contains(std::env::consts::ARCH), "{}", super::name());
    }
}
