//! Whether the interface is still there, which libpcap says late, or only in words.

use crate::Error;

/// The interface that is captured.
pub(super) struct Link {
    device: String,
    /// `None` if it is none of the network's.
    #[cfg(target_os = "linux")]
    asker: Option<crate::ioctl::Asker>,
}

impl Link {
    pub(super) fn of(device: &str) -> Self {
        Self {
            device: device.to_owned(),
            #[cfg(target_os = "linux")]
            asker: crate::ioctl::Asker::new().ok().filter(|asker| asker.is_up(device).is_ok()),
        }
    }

    #[cfg(unix)]
    pub(super) fn device(&self) -> &str {
        &self.device
    }

    /// What is wrong with it, if the system says so.
    #[cfg(target_os = "linux")]
    pub(super) fn failure(&self) -> Option<Error> {
        match self.asker.as_ref()?.is_up(&self.device) {
            Ok(true) => None,
            _ => Some(crate::ioctl::why_down(&self.device, || false)),
        }
    }

    #[cfg(not(target_os = "linux"))]
    pub(super) fn failure(&self) -> Option<Error> {
        None
    }

    /// What libpcap's failure means.
    pub(super) fn explain(&self, error: Error) -> Error {
        if let Some(failure) = self.failure() {
            return failure;
        }
        let device = self.device.clone();
        match error.to_string() {
            words if words.contains("interface went down") => Error::InterfaceDown { device },
            words if words.contains("interface disappeared") => Error::InterfaceGone { device },
            _ => error,
        }
    }
}
