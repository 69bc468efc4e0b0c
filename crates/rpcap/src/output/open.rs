use std::io;

use super::{Destination, Drain, Files, OutputPlan, Stdout, live};

/// What an output's thread is to drive.
pub fn open(plan: &OutputPlan) -> io::Result<Box<dyn Drain>> {
    Ok(match &plan.destination {
        Destination::Directory(directory) => Box::new(Files::open(directory, plan)?),
        Destination::StandardOutput => Box::new(Stdout::open()?),
        Destination::PcapOverIp(_)
        | Destination::PcapOverIpConnect(_)
        | Destination::Pipe(_)
        | Destination::Exec(_) => return Err(io::ErrorKind::Unsupported.into()),
        #[cfg(target_os = "linux")]
        Destination::Interface(name) => Box::new(live::Interface::open(name)?),
        #[cfg(not(target_os = "linux"))]
        Destination::Interface(_) => {
            return Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "virtual interfaces are for Linux only",
            ));
        }
        Destination::Vxlan { host, vni } => Box::new(live::Vxlan::open(host, *vni)?),
    })
}
