//! A node with its two ports, from start to stop. What `innkeeper serve` runs.

use std::future::pending;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::history::Keeping;
use crate::http::{self, BoundedListener, ClientPort};
use crate::node::clock::SystemClock;
use crate::node::{Config, IdSource, Node, StartError, World};
use crate::replication::{DiskThreads, HttpTransport, SNAPSHOT_BYTES_MAX, loaded_within};

/// Connections that a port takes at most, where the limit on open files allows them.
const CLIENT_CONNECTIONS_MAX: usize = 16_384;
const PEER_CONNECTIONS_MAX: usize = 1_024;
/// Longer than any answer takes, and generous to a client that keeps its connection for later.
const CLIENT_SILENCE_MAX: Duration = Duration::from_secs(75);
/// The answer to the last piece of a snapshot takes as long as loading it does.
const PEER_SILENCE_MAX: Duration = CLIENT_SILENCE_MAX.saturating_add(loaded_within(SNAPSHOT_BYTES_MAX));

/// Where a node keeps its history.
pub fn history_dir(data_dir: &Path) -> PathBuf {
    data_dir.join("history")
}

/// Serves until SIGTERM or SIGINT, which end it in order, or until the node must stop, which is an error.
pub async fn serve(config: Config) -> Result<(), StartError> {
    // From here on a signal ends the node in order.
    let mut signals = Signals::new().map_err(StartError::Signals)?;
    // Taken next: an address in use is found before anything is written.
    let client_port = listen("--client-addr", &config.client_addr).await?;
    let peer_port = listen("--peer-addr", &config.peer_addr).await?;
    let (clients_max, peers_max) = connections_max();
    let client_port = BoundedListener::new(client_port, clients_max, CLIENT_SILENCE_MAX);
    let peer_port = BoundedListener::new(peer_port, peers_max, PEER_SILENCE_MAX);
    let transport = HttpTransport::new().map_err(|error| StartError::PeerClient(error.to_string()))?;
    let clock = Arc::new(SystemClock);
    let ids = IdSource::from_system(clock.clone());
    let shutdown_wait = config.timings.shutdown;
    let (client_addr, peer_addr) = (config.client_addr.clone(), config.peer_addr.clone());
    let history = Keeping::OnDisk(history_dir(&config.data_dir));
    let transport = Arc::new(transport);
    let world = World { clock, transport, ids, disk: Arc::new(DiskThreads), history };
    // Before there is a node: a start may take a minute, and whoever watches over the process asks sooner whether it lives.
    // The start runs on this thread; connections are served by the runtime's own.
    let port = ClientPort::new(config.node_id);
    let clients = Clients::serve(client_port, port.clone());
    let node = match start(config, world, &mut signals).await {
        Ok(Some(node)) => node,
        ended => {
            clients.end(shutdown_wait).await;
            return ended.map(drop);
        }
    };

    let peers = axum::serve(peer_port, http::peer_router(node.clone())).with_graceful_shutdown(pending());
    let peers = tokio::spawn(run(peers.into_future()));
    port.open(node.clone());
    tracing::info!(node = node.id(), %client_addr, %peer_addr, "serving");

    let stopped = stop_reason(&node, &mut signals).await;
    if stopped.is_none() {
        tracing::info!("asked to stop: requests in flight end, leadership is handed over");
    }
    node.close_streams();
    // Clients first: their requests still need the peers.
    clients.end(shutdown_wait).await;
    shut_down(&node, shutdown_wait).await;
    // Peers keep their connections open; there is nothing left to wait for.
    peers.abort();
    // All is on the disk, and the process ends: to give back millions of records one by one would take seconds.
    std::mem::forget(node);
    match stopped {
        None => Ok(()),
        Some(reason) => Err(StartError::Stopped(reason)),
    }
}

/// The node once it has started; `None` where it was asked to stop before, and has stopped.
async fn start(config: Config, world: World, signals: &mut Signals) -> Result<Option<Arc<Node>>, StartError> {
    let shutdown_wait = config.timings.shutdown;
    let mut start = Box::pin(Node::start(config, world));
    tokio::select! {
        started = &mut start => started.map(Some),
        () = signals.stop() => {
            tracing::info!("asked to stop while starting");
            // What was begun is ended where that is soon; nobody has been promised anything yet.
            if let Ok(started) = timeout(shutdown_wait, start).await {
                let node = started?;
                shut_down(&node, shutdown_wait).await;
            }
            Ok(None)
        }
    }
}

async fn shut_down(node: &Node, wait: Duration) {
    if timeout(wait, node.shut_down()).await.is_err() {
        tracing::warn!("raft did not end in time");
    }
}

/// SIGTERM and SIGINT, which are remembered from when they are first listened to.
struct Signals {
    term: Signal,
    int: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Signals> {
        Ok(Signals { term: signal(SignalKind::terminate())?, int: signal(SignalKind::interrupt())? })
    }

    /// Returns once the node is asked to stop.
    async fn stop(&mut self) {
        tokio::select! {
            _ = self.term.recv() => {}
            _ = self.int.recv() => {}
        }
    }
}

async fn listen(what: &'static str, address: &str) -> Result<TcpListener, StartError> {
    let listened = TcpListener::bind(address).await;
    listened.map_err(|source| StartError::Listen { what, address: address.to_owned(), source })
}

/// The client port while it is served.
struct Clients {
    stop: Arc<Notify>,
    serving: JoinHandle<()>,
}

impl Clients {
    fn serve(listener: BoundedListener, port: ClientPort) -> Clients {
        let stop = Arc::new(Notify::new());
        let stopped = stop.clone();
        let serving = port.serve(listener).with_graceful_shutdown(async move { stopped.notified().await });
        Clients { stop, serving: tokio::spawn(run(serving.into_future())) }
    }

    /// Accepts nobody any more, and waits until the requests in flight are answered.
    async fn end(self, wait: Duration) {
        self.stop.notify_one();
        if timeout(wait, self.serving).await.is_err() {
            tracing::warn!("some requests did not end in time");
        }
    }
}

async fn run(serving: impl Future<Output = std::io::Result<()>>) {
    if let Err(error) = serving.await {
        tracing::error!(%error, "a port is no longer served");
    }
}

/// Raises the soft limit on open files to the hard one, and gives how many connections each port may take: clients a
/// half, peers an eighth, so that the log, its snapshots and this node's own connections find theirs.
fn connections_max() -> (usize, usize) {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%error, "the limit on open files was not raised");
    }
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX) as usize;
    ((files / 2).min(CLIENT_CONNECTIONS_MAX), (files / 8).min(PEER_CONNECTIONS_MAX))
}

/// `None` when asked to stop, else why the node must.
async fn stop_reason(node: &Node, signals: &mut Signals) -> Option<String> {
    let mut fatal = node.fatal();
    tokio::select! {
        () = signals.stop() => None,
        reason = fatal.wait_for(Option::is_some) => {
            reason.map_or_else(|_| Some("the node is gone".to_owned()), |reason| reason.clone())
        }
    }
}
