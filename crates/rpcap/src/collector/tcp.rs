//! A data connection by TCP, which the agent opens.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rpcap_proto::wire::{MESSAGE_OVERHEAD, PacketMessage, SNAPLEN_MAX};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;

use super::flow::{Flow, Inflow};
use super::link::Link;
use crate::client::same_host;
use crate::data::{DataError, Inlet, Received, Tally};
use crate::locked::lock;
use crate::output::{Outlet, Way};

/// Room for a read; grows to what one packet needs.
const BUFFER: usize = 32 * 1024;

/// A place that the agent may connect to, for one capture.
#[derive(Debug)]
pub struct Listening {
    listener: TcpListener,
    port: u16,
}

impl Listening {
    /// On the address that the agent has connected to before.
    pub async fn bind(mut local: SocketAddr) -> io::Result<Self> {
        local.set_port(0);
        let listener = TcpListener::bind(local).await?;
        let port = listener.local_addr()?.port();
        Ok(Self { listener, port })
    }

    /// The port for STARTCAP.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The agent's connection. Others are closed.
    pub async fn accept(self, agent: IpAddr, deadline: Duration) -> io::Result<TcpStream> {
        let accept = async {
            loop {
                match self.listener.accept().await {
                    Ok((stream, from)) if same_host(from.ip(), agent) => break Ok(stream),
                    Ok(_) => {}
                    Err(e) => break Err(e),
                }
            }
        };
        tokio::time::timeout(deadline, accept).await.unwrap_or_else(|_| {
            let why = "the agent did not open the data connection in time";
            Err(io::Error::new(io::ErrorKind::TimedOut, why))
        })
    }
}

/// A data connection that is being read by a task of its own.
#[derive(Debug)]
pub struct Reading {
    stop: Option<oneshot::Sender<()>>,
    over: Arc<Notify>,
    task: JoinHandle<(Received, Option<DataError>)>,
}

impl Reading {
    /// Reads from now on.
    pub fn start(stream: Link, flow: Arc<Flow>, way: Arc<Way>) -> Self {
        let (stop, stopped) = oneshot::channel();
        let over = Arc::new(Notify::new());
        let ended = Arc::clone(&over);
        let task = tokio::spawn(async move {
            let mut tally = Tally::default();
            let result = tokio::select! {
                result = read(stream, &flow, &way.outlet, &mut tally) => result,
                _ = stopped => Ok(()),
            };
            way.flush();
            ended.notify_one();
            (*tally.received(), result.err())
        });
        Self { stop: Some(stop), over, task }
    }

    /// Waits for the end of the connection.
    pub async fn over(&mut self) {
        self.over.notified().await;
    }

    /// Waits for the end of the connection, or ends it if that takes longer; what came.
    pub async fn end(mut self, wait: Duration) -> (Received, Option<DataError>) {
        if let Ok(result) = tokio::time::timeout(wait, &mut self.task).await {
            return result.unwrap_or_default();
        }
        drop(self.stop.take());
        self.task.await.unwrap_or_default()
    }
}

async fn read(
    mut stream: Link,
    flow: &Flow,
    outlet: &Mutex<Outlet>,
    tally: &mut Tally,
) -> Result<(), DataError> {
    let mut buffer = Vec::with_capacity(BUFFER);
    // Nothing longer is taken for a packet.
    let longest = flow.snaplen.min(SNAPLEN_MAX) as usize + MESSAGE_OVERHEAD;
    loop {
        if buffer.len() == buffer.capacity() {
            buffer.reserve_exact(longest.max(BUFFER) - buffer.len());
        }
        match stream.read_buf(&mut buffer).await {
            Ok(0) if buffer.is_empty() => return Ok(()),
            Ok(0) => return Err(DataError::Cut),
            Ok(_) => {}
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Err(DataError::CutOff),
            Err(e) => return Err(e.into()),
        }
        let mut start = 0;
        {
            let mut outlet = lock(outlet);
            let mut inflow = Inflow { stream: flow.stream, outlet: &mut outlet };
            let mut inlet = Inlet::new(tally, &mut inflow, &flow.gauge);
            while let Some(message) = PacketMessage::read(&buffer[start..], flow.snaplen)? {
                start += message.size;
                inlet.packet(&message.header, message.data);
            }
            inlet.show();
        }
        buffer.drain(..start);
    }
}
