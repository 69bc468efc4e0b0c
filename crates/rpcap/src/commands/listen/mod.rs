mod table;

use std::io::{self, IsTerminal};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::thread::available_parallelism;

use anyhow::Context;
use rpcap::collector::policy::Policy;
use rpcap::collector::shared::Shared;
use rpcap::collector::{Collector, Options, accept, serve, tools};
use rpcap::journal::Journal;
use rpcap::web;
use tokio::sync::{Notify, mpsc};

use crate::cli::Listen;
use crate::say::{note, say};

/// A policy with everything in it.
const EXAMPLE: &str = include_str!("../../../../../docs/rpcap-listen.toml");

/// Threads that receive, unless told: more of them rarely pay.
const MOST_RECEIVERS: usize = 4;

pub(crate) fn run(args: &Listen) -> anyhow::Result<()> {
    let Some(policy) = args.policy.as_deref().filter(|_| !args.example) else {
        say!("{}", EXAMPLE.trim_end());
        return Ok(());
    };
    if args.check {
        Policy::load(policy)?;
        say!("{}: the policy is sound", policy.display());
        return Ok(());
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.context("cannot start")?.block_on(listen(args, policy))
}

/// As many files and connections as the system lets this process have: each agent needs several.
#[cfg(target_os = "linux")]
fn more_files() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    if let Ok((_, most)) = getrlimit(Resource::RLIMIT_NOFILE) {
        // Within the limit it cannot be refused.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, most, most);
    }
}

async fn listen(args: &Listen, policy: &Path) -> anyhow::Result<()> {
    #[cfg(target_os = "linux")]
    more_files();
    // Before anything else: an early signal is not missed.
    let (reload, end) = signals().context("cannot watch for signals")?;
    let mut listeners = Vec::new();
    for ip in &args.bind {
        let address = SocketAddr::new(*ip, args.port);
        let listener = accept::listen(address);
        listeners.push(listener.with_context(|| format!("cannot listen on {address}"))?);
    }
    if listeners.is_empty() {
        let listener = accept::everywhere(args.port);
        let failed = || format!("cannot listen on port {}", args.port);
        listeners.push(listener.with_context(failed)?);
    }
    let addresses: Vec<SocketAddr> =
        listeners.iter().map(|l| l.local_addr()).collect::<Result<_, _>>()?;
    let data = match args.bind.as_slice() {
        [] => addresses[0].ip(),
        [one] => *one,
        // The system has an address that is all of them.
        many if many.iter().all(IpAddr::is_ipv4) => IpAddr::from([0, 0, 0, 0]),
        _ => Ipv6Addr::UNSPECIFIED.into(),
    };
    let cores = available_parallelism().map_or(1, usize::from);
    let options = Options {
        policy: policy.to_owned(),
        listeners,
        data: SocketAddr::new(data, args.data_port),
        receivers: args.receivers.map_or(cores.min(MOST_RECEIVERS), usize::from),
        max_agents: args.max_agents,
        deadline: args.timeout,
    };
    let journal = Arc::new(Journal::default());
    let collector = Collector::new(options, journal).await?;
    let shared = collector.shared();
    for address in addresses {
        note!("rpcap: listening on {address}, datagrams on port {}", shared.ports.port());
    }
    show(args, &shared).await?;
    let quit = Arc::new(Notify::new());
    let table = match !args.no_table && io::stderr().is_terminal() {
        true => Some(table::Shown::start(Arc::clone(&shared), Arc::clone(&quit))),
        false => None,
    };
    let table = table.transpose().context("cannot show the table; see --no-table")?;
    let ended = async {
        tokio::select! {
            () = end => {}
            () = quit.notified() => {}
        }
    };
    collector.run(reload, ended).await;
    drop(table);
    note!("rpcap: {}", shared.totals_line());
    for stream in shared.registry.streams() {
        note!("{}", stream.ledger_line());
    }
    Ok(())
}

/// Opens what others may look at.
async fn show(args: &Listen, shared: &Arc<Shared>) -> anyhow::Result<()> {
    #[cfg(unix)]
    if let Some(path) = &args.status {
        let failed = || format!("cannot make the status socket {}", path.display());
        serve::status(path, Arc::clone(shared)).with_context(failed)?;
    }
    if let Some(address) = args.metrics {
        let failed = || format!("cannot serve metrics at {address}");
        let listener = tokio::net::TcpListener::bind(address).await.with_context(failed)?;
        let address = listener.local_addr().with_context(failed)?;
        note!("rpcap: metrics at http://{address}/metrics");
        serve::metrics(listener, Arc::clone(shared));
    }
    if let Some(address) = &args.http {
        let place = web::serve(address, Arc::clone(shared)).await?;
        note!("rpcap: the page is at {place}");
    }
    let tools = shared.rules.borrow().policy.tools().cloned();
    if let Some(tools) = tools {
        let failed = || format!("cannot serve installers at {}: [tools] listen", tools.listen);
        let listener = accept::listen(tools.listen).with_context(failed)?;
        let address = listener.local_addr().with_context(failed)?;
        note!("rpcap: installers at https://{address}/tools/rpcapd/ (--sums {})", tools.digest);
        tools::serve(listener, Arc::clone(shared));
    }
    Ok(())
}

/// What asks for the policy to be read again, and what asks for the end.
#[cfg(unix)]
fn signals() -> std::io::Result<(mpsc::Receiver<()>, impl Future<Output = ()>)> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut hangup = signal(SignalKind::hangup())?;
    let (mut terminate, mut interrupt) =
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let (reload, wanted) = mpsc::channel(1);
    tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            // One more while one is waiting would do the same.
            let _ = reload.try_send(());
        }
    });
    let end = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tokio::spawn(async move {
            let code = tokio::select! {
                _ = terminate.recv() => 143,
                _ = interrupt.recv() => 130,
            };
            std::process::exit(code);
        });
    };
    Ok((wanted, end))
}

/// What asks for the end: Ctrl-C and Ctrl-Break. Nothing asks for the policy to be read again.
#[cfg(windows)]
fn signals() -> std::io::Result<(mpsc::Receiver<()>, impl Future<Output = ()>)> {
    use tokio::signal::windows::{ctrl_break, ctrl_c};
    let (mut interrupt, mut stop) = (ctrl_c()?, ctrl_break()?);
    let (reload, wanted) = mpsc::channel(1);
    let end = async move {
        let _kept = reload;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = stop.recv() => {}
        }
        tokio::spawn(async move {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = stop.recv() => {}
            }
            std::process::exit(130);
        });
    };
    Ok((wanted, end))
}
