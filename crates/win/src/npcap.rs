//! What is installed to capture with, and who may use it.

use std::path::PathBuf;

use windows_registry::LOCAL_MACHINE;

/// What Npcap's installer was told, below HKEY_LOCAL_MACHINE (Npcap Users' Guide, "Installation
/// options").
const PARAMETERS: &str = r"SYSTEM\CurrentControlSet\Services\npcap\Parameters";

/// What there is to capture with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Npcap {
    /// Nothing.
    Missing,
    /// Npcap, for every account.
    ForAll,
    /// Npcap, "restricted to Administrators".
    ForAdministrators,
    /// Another `wpcap.dll`, such as WinPcap's, of which nothing is known.
    Other,
}

impl Npcap {
    /// What this host has.
    pub fn find() -> Self {
        let system = PathBuf::from(std::env::var_os("SystemRoot").unwrap_or_default());
        let system = system.join("System32");
        let parameters = LOCAL_MACHINE.open(PARAMETERS);
        let admin_only = parameters.as_ref().map(|key| key.get_u32("AdminOnly").unwrap_or(0));
        match admin_only {
            Ok(0) => Self::ForAll,
            Ok(_) => Self::ForAdministrators,
            Err(_) if system.join("Npcap").join("wpcap.dll").exists() => Self::ForAll,
            Err(_) if system.join("wpcap.dll").exists() => Self::Other,
            Err(_) => Self::Missing,
        }
    }
}
