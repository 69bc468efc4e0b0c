//! Connections: by TCP, with TLS where the policy says so, and at a local socket.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

use super::guard::Caller;
use super::patient::Patient;
use super::{Address, Web, history, routes};
use crate::collector::accept;
use crate::collector::serve::PAUSE;
use crate::collector::shared::Shared;

/// Connections at a time; others wait.
const MOST: usize = 128;
/// How long a peer may take for the greeting of TLS, and for the head of a request.
const ASKING: Duration = Duration::from_secs(10);
/// How long a peer may take nothing of what it is sent.
const PATIENCE: Duration = Duration::from_secs(30);
/// The longest head of a request, in bytes and in lines.
const HEAD: (usize, usize) = (64 * 1024, 64);

/// Why the page cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Others could connect than those on this host.
    #[error(
        "the page at {0} could be called from elsewhere: give the policy an [http] with cert, key and \
         password-file, or choose an address of this host only (127.0.0.1, [::1], unix:PATH)"
    )]
    Open(SocketAddr),
    /// The address cannot be had.
    #[error("cannot serve the page at {address}: {source}")]
    Listen {
        /// Which.
        address: Address,
        /// What the system says.
        source: io::Error,
    },
}

/// Serves the page at an address; says where it is. It ends with the runtime.
pub async fn serve(address: &Address, shared: Arc<Shared>) -> Result<String, ServeError> {
    let failed = |source| ServeError::Listen { address: address.clone(), source };
    let web = Web::new(shared);
    let place = match address {
        Address::Tcp(at) => {
            let encrypted = web.shared.rules.borrow().policy.http().is_some();
            if !encrypted && !at.ip().is_loopback() {
                return Err(ServeError::Open(*at));
            }
            let listener = accept::listen(*at).map_err(failed)?;
            let at = listener.local_addr().map_err(failed)?;
            tokio::spawn(tcp(listener, at, Arc::clone(&web)));
            format!("{}://{at}/", if encrypted { "https" } else { "http" })
        }
        #[cfg(unix)]
        Address::Unix(path) => {
            let listener = crate::collector::serve::local(path).map_err(failed)?;
            tokio::spawn(local(listener, Arc::clone(&web)));
            address.to_string()
        }
        #[cfg(not(unix))]
        Address::Unix(_) => return Err(failed(io::ErrorKind::Unsupported.into())),
    };
    tokio::spawn(history::keep(web));
    Ok(place)
}

async fn tcp(listener: TcpListener, at: SocketAddr, web: Arc<Web>) {
    let (places, app) = (Arc::new(Semaphore::new(MOST)), routes::app(Arc::clone(&web)));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let Ok((stream, peer)) = listener.accept().await else {
            sleep(PAUSE).await;
            continue;
        };
        let access = web.shared.rules.borrow().policy.http().cloned();
        // A policy that was read again may have none any more.
        if access.is_none() && !at.ip().is_loopback() {
            if web.told.is_news(peer.ip(), Instant::now()) {
                let line = "page: the policy has no [http] any more, so nobody is answered";
                web.shared.journal.warn(line);
            }
            continue;
        }
        let Ok(local) = stream.local_addr() else { continue };
        let _ = stream.set_nodelay(true);
        let caller = Caller { local: Some(local.ip()), address: Some(peer.ip()), access };
        tokio::spawn(greet(stream, caller, app.clone(), place));
    }
}

async fn greet(stream: TcpStream, caller: Caller, app: Router, place: OwnedSemaphorePermit) {
    let Some(access) = &caller.access else {
        return connection(stream, caller, app, place).await;
    };
    let acceptor = TlsAcceptor::from(Arc::clone(&access.tls));
    if let Ok(Ok(stream)) = timeout(ASKING, acceptor.accept(stream)).await {
        connection(stream, caller, app, place).await;
    }
}

#[cfg(unix)]
async fn local(listener: tokio::net::UnixListener, web: Arc<Web>) {
    let (places, app) = (Arc::new(Semaphore::new(MOST)), routes::app(web));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                tokio::spawn(connection(stream, Caller::default(), app.clone(), place));
            }
            Err(_) => sleep(PAUSE).await,
        }
    }
}

async fn connection(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send,
    caller: Caller,
    app: Router,
    _place: OwnedSemaphorePermit,
) {
    let app = TowerToHyperService::new(app);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(caller.clone());
        app.call(request)
    });
    let stream = TokioIo::new(Patient::new(stream, PATIENCE));
    // What goes wrong here is the peer's own affair.
    let _ = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(ASKING)
        .max_buf_size(HEAD.0)
        .max_headers(HEAD.1)
        .serve_connection(stream, service)
        .await;
}
