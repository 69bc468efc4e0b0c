//! Where Wireshark looks for capture programs, by its own word.

use std::path::PathBuf;

/// What `tshark -G folders` says. Older ones have only the folder of the system.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Folders {
    /// The user's own.
    pub personal: Option<PathBuf>,
    /// Everybody's.
    pub global: Option<PathBuf>,
}

/// Reads what `tshark -G folders` prints.
pub fn parse(text: &str) -> Folders {
    let mut folders = Folders::default();
    for (name, path) in text.lines().filter_map(|line| line.split_once(':')) {
        let path = Some(PathBuf::from(path.trim())).filter(|path| path.is_absolute());
        match name.trim().to_ascii_lowercase().as_str() {
            "personal extcap path" => folders.personal = path,
            "global extcap path" | "extcap path" => folders.global = path,
            _ => {}
        }
    }
    folders
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn old_and_new() {
        let old = "Temp:                \t/tmp\nExtcap path:         \t/usr/lib/wireshark/extcap\n";
        assert_eq!(
            parse(old),
            Folders { personal: None, global: Some("/usr/lib/wireshark/extcap".into()) }
        );
        let new = "Personal Extcap path:\t/home/a b/.local/lib/wireshark/extcap\n\
                   Global Extcap path:  \t/usr/lib/wireshark/extcap\nTemp: x\n";
        assert_eq!(parse(new).personal, Some("/home/a b/.local/lib/wireshark/extcap".into()));
        assert_eq!(parse(new).global, Some("/usr/lib/wireshark/extcap".into()));
        assert_eq!(parse("rubbish"), Folders::default());
    }
}
