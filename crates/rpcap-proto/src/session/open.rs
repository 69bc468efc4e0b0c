use crate::wire::DEVICE_NAME_MAX;

/// The name in an OPEN. Only what could be a listed device's name gets further; whether it is one
/// is for the program to say.
pub(super) fn device_name(payload: &[u8]) -> Result<String, String> {
    if payload.is_empty() {
        return Err("The device name must not be empty".to_owned());
    }
    if payload.len() > DEVICE_NAME_MAX {
        return Err("Source string too long".to_owned());
    }
    if payload.contains(&0) {
        return Err("The device name contains a NUL byte".to_owned());
    }
    let name = core::str::from_utf8(payload).map_err(|_| "The device name is not UTF-8")?;
    if name.contains("://") {
        return Err("Source string refers to a remote device".to_owned());
    }
    Ok(name.to_owned())
}
