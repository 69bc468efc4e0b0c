//! The bytes of a file, within bounds.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

/// No configuration is longer.
const SIZE_MAX: u64 = 1 << 20;

/// The bytes of a file.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, String> {
    let failed = |e: std::io::Error| format!("reading it: {e}");
    // Asked first, as opening a pipe would wait for whoever writes into it.
    if !fs::metadata(path).map_err(failed)?.is_file() {
        return Err("expected a file, not a directory, pipe or device".to_owned());
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(failed)?;
    file.take(SIZE_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > SIZE_MAX {
        return Err(format!("it is too long: {SIZE_MAX} bytes are the most"));
    }
    Ok(bytes)
}
