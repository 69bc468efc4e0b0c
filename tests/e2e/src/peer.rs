//! libpcap's own daemon, as a peer of our client.

use std::net::{SocketAddr, TcpListener, TcpStream};

use crate::lab::Lab;
use crate::process::Process;
use crate::wait_until;

/// A running `rpcapd` of libpcap's, in namespace `b`.
#[derive(Debug)]
pub struct PeerDaemon {
    /// The process. Its group dies with it, as this daemon's way of ending is to kill its group.
    pub process: Process,
    address: SocketAddr,
}

impl PeerDaemon {
    /// One that lets everybody in, on 127.0.0.1.
    #[track_caller]
    pub fn start(lab: &Lab) -> Self {
        Self::start_with(lab, &[])
    }

    /// The same with further arguments.
    #[track_caller]
    pub fn start_with(lab: &Lab, arguments: &[&str]) -> Self {
        // It cannot choose a port by itself; in a namespace of our own a free one stays free.
        let address = lab.net.b.enter(|| {
            let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
            listener.local_addr().expect("its address")
        });
        let mut command = lab.peer("rpcapd");
        let port = address.port().to_string();
        command.args(["-n", "-4", "-b", "127.0.0.1", "-p", &port]).args(arguments);
        let process = Process::start(&mut command);
        // It does not say when it listens.
        wait_until("libpcap's rpcapd listens", || {
            lab.net.b.enter(|| TcpStream::connect(address).is_ok())
        });
        Self { process, address }
    }

    /// The address that clients connect to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL of a device, or of the daemon if it is empty.
    pub fn url(&self, device: &str) -> String {
        format!("rpcap://{}/{device}", self.address)
    }
}

/// A `rpcapd` of libpcap's that calls collectors, in namespace `b`.
///
/// It cannot only call: told to listen for nobody, it ends at once.
#[track_caller]
pub fn calls(lab: &Lab, collectors: &[&str]) -> Process {
    let arguments: Vec<&str> = collectors.iter().flat_map(|c| ["-a", c]).collect();
    calls_with(lab, &arguments)
}

/// The same with these arguments, the collectors among them.
#[track_caller]
pub fn calls_with(lab: &Lab, arguments: &[&str]) -> Process {
    let port = lab.net.b.enter(|| {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.local_addr().expect("its address").port()
    });
    let mut command = lab.peer("rpcapd");
    command.args(["-n", "-b", "127.0.0.1", "-p", &port.to_string()]).args(arguments);
    Process::start(&mut command)
}
