use std::io;
use std::sync::Arc;

use super::{Destination, Drain, Files, Live, OutputPlan, Stdout, frames};
use crate::journal::Journal;

/// What an output's thread is to drive.
pub fn open(plan: &OutputPlan, journal: &Arc<Journal>) -> io::Result<Box<dyn Drain>> {
    Ok(match &plan.destination {
        Destination::Directory(directory) => Box::new(Files::open(directory, plan)?),
        Destination::StandardOutput => Box::new(Stdout::open()?),
        Destination::PcapOverIp(_)
        | Destination::PcapOverIpConnect(_)
        | Destination::Pipe(_)
        | Destination::Exec(_) => Box::new(Live::open(plan, journal)?),
        #[cfg(target_os = "linux")]
        Destination::Interface(name) => Box::new(frames::Interface::open(name)?),
        #[cfg(not(target_os = "linux"))]
        Destination::Interface(_) => {
            return Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "virtual interfaces are for Linux only",
            ));
        }
        Destination::Vxlan { host, vni } => Box::new(frames::Vxlan::open(host, *vni)?),
    })
}
