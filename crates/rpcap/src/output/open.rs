use std::io;

use super::{Destination, Drain, Files, OutputPlan, Stdout};

/// What an output's thread is to drive.
pub fn open(plan: &OutputPlan) -> io::Result<Box<dyn Drain>> {
    Ok(match &plan.destination {
        Destination::Directory(directory) => Box::new(Files::open(directory, plan)?),
        Destination::StandardOutput => Box::new(Stdout::open()?),
        Destination::PcapOverIp(_)
        | Destination::PcapOverIpConnect(_)
        | Destination::Pipe(_)
        | Destination::Exec(_) => return Err(io::ErrorKind::Unsupported.into()),
        Destination::Interface(_) | Destination::Vxlan { .. } => {
            return Err(io::ErrorKind::Unsupported.into());
        }
    })
}
