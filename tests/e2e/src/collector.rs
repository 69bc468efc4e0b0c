//! The other end of active mode: waits for daemons to connect.

use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use crate::client::Client;
use crate::net::Namespace;
use crate::wait_until;

/// A place that daemons connect to.
#[derive(Debug)]
pub struct Collector {
    listener: TcpListener,
    namespace: String,
}

impl Collector {
    /// On this address of a namespace, on any port.
    #[track_caller]
    pub fn new(namespace: &Namespace, ip: &str) -> Self {
        let ip: IpAddr = ip.parse().expect("an address");
        Self::at(namespace, (ip, 0).into())
    }

    /// At this place in a namespace.
    #[track_caller]
    pub fn at(namespace: &Namespace, address: SocketAddr) -> Self {
        let listener = namespace.enter(|| TcpListener::bind(address).expect("a port"));
        listener.set_nonblocking(true).expect("not blocking");
        Self { listener, namespace: namespace.name().to_owned() }
    }

    /// Where it is.
    pub fn address(&self) -> SocketAddr {
        self.listener.local_addr().expect("its address")
    }

    /// As `-a` names it.
    pub fn active(&self) -> String {
        format!("{},{}", self.address().ip(), self.address().port())
    }

    /// Takes the next connection of a daemon, and authenticates as nobody.
    #[track_caller]
    pub fn accept(&self) -> Client {
        Client::called(self.connection(), &self.namespace)
    }

    /// The next connection of a daemon.
    #[track_caller]
    pub fn connection(&self) -> TcpStream {
        let mut connection = None;
        wait_until("a daemon connects", || {
            connection = self.waiting();
            connection.is_some()
        });
        connection.expect("it was waited for")
    }

    /// How many connections come within this time; all are closed at once.
    pub fn refuse_for(&self, time: Duration) -> usize {
        let end = std::time::Instant::now() + time;
        let mut count = 0;
        while std::time::Instant::now() < end {
            count += usize::from(self.waiting().is_some());
            std::thread::sleep(Duration::from_millis(5));
        }
        count
    }

    /// A connection that waits to be taken.
    fn waiting(&self) -> Option<TcpStream> {
        let (stream, _) = self.listener.accept().ok()?;
        stream.set_nonblocking(false).expect("blocking");
        Some(stream)
    }
}
