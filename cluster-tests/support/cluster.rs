//! A cluster of real processes that a story starts, hurts and asks.
//!
//! Dropped, it leaves nothing behind; after a failure it prints what is needed to look into it, and keeps its
//! directory.

use std::collections::BTreeSet;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::disk::{ArmedCut, LoopDisk};
use super::http::{self, Api};
use super::namespaces::Namespaces;
use super::node::{Addresses, Node, run};
use super::ports;
use super::seed::{Chance, SEED_VARIABLE, chosen};
use super::wait::{SETTLED_WITHIN, eventually};

/// Clusters that run at the same time: three processes each, on machines that may have two cores.
static CLUSTERS: Semaphore = Semaphore::const_new(2);

/// Starts that may fail because another process took a port meanwhile.
const STARTS_MAX: usize = 5;

/// Lines of each node's log that a failure shows.
const LOG_LINES_SHOWN: usize = 40;

/// What the nodes of a cluster run on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Machines {
    /// Folders of this machine, and its clock.
    Shared,
    /// A disk each whose power can be cut.
    OwnDisks,
    /// Such a disk each, and a clock that can be moved.
    Own,
}

/// MiB of a disk of a node's own.
const DISK_MIB: u64 = 160;

pub struct Cluster {
    pub nodes: Vec<Node>,
    /// Where each node has its own; after the nodes, which use them.
    disks: Vec<LoopDisk>,
    pub seed: u64,
    client: reqwest::Client,
    dir: Option<TempDir>,
    namespaces: Option<Namespaces>,
    _permit: SemaphorePermit<'static>,
}

/// Waits for a place among the clusters that may run at once; for stories that start processes by other ways.
pub async fn place() -> SemaphorePermit<'static> {
    CLUSTERS.acquire().await.expect("the semaphore is never closed")
}

impl Cluster {
    /// `size` nodes on loopback, all of them ready.
    pub async fn start(size: u64) -> Cluster {
        Cluster::start_on(size, Machines::Shared).await
    }

    /// `size` nodes on loopback, all of them ready, each on a disk of its own.
    pub async fn start_on_disks(size: u64) -> Cluster {
        Cluster::start_on(size, Machines::OwnDisks).await
    }

    async fn start_on(size: u64, machines: Machines) -> Cluster {
        let permit = place().await;
        let mut cluster = Cluster::new(None, permit);
        for attempt in 1.. {
            let addresses: Vec<Addresses> = (0..size)
                .map(|_| Addresses {
                    client: format!("127.0.0.1:{}", ports::free()),
                    peer: format!("127.0.0.1:{}", ports::free()),
                })
                .collect();
            cluster.lay_out(attempt, &addresses, machines);
            cluster.spawn_all();
            if cluster.ready_or_port_taken().await {
                break;
            }
            assert!(attempt < STARTS_MAX, "{STARTS_MAX} starts, each found a port taken");
            cluster.nodes.clear();
            cluster.disks.clear();
        }
        cluster
    }

    /// Nodes that live in network namespaces of their own; this thread must have entered the hub.
    pub async fn start_in(namespaces: Namespaces, machines: Machines) -> Cluster {
        let permit = place().await;
        let addresses = namespaces.addresses();
        let mut cluster = Cluster::new(Some(namespaces), permit);
        cluster.lay_out(1, &addresses, machines);
        cluster.spawn_all();
        cluster.wait_ready().await;
        cluster
    }

    fn new(namespaces: Option<Namespaces>, permit: SemaphorePermit<'static>) -> Cluster {
        Cluster {
            nodes: Vec::new(),
            disks: Vec::new(),
            seed: chosen(),
            client: http::client(),
            dir: Some(tempfile::tempdir().expect("a temporary directory")),
            namespaces,
            _permit: permit,
        }
    }

    fn lay_out(&mut self, attempt: usize, addresses: &[Addresses], machines: Machines) {
        let dir = self.dir().join(format!("start-{attempt}"));
        std::fs::create_dir(&dir).expect("a directory of this start");
        let initial: Vec<String> =
            addresses.iter().zip(1..).map(|(node, id)| format!("{id}={}", node.peer)).collect();
        let initial = initial.join(",");
        self.nodes = addresses
            .iter()
            .zip(1..)
            .map(|(node, id)| {
                let launcher = self.namespaces.as_ref().map(|spaces| spaces.launcher(id)).unwrap_or_default();
                let mut node = Node::new(id, &dir, node, &initial, launcher);
                if machines == Machines::Own {
                    node.give_clock();
                }
                node
            })
            .collect();
        if machines != Machines::Shared {
            self.disks = self.nodes.iter().map(|node| LoopDisk::new(&node.data_dir, DISK_MIB)).collect();
        }
    }

    fn spawn_all(&mut self) {
        self.nodes.iter_mut().for_each(Node::spawn);
    }

    /// A directory that goes with the cluster.
    pub fn dir(&self) -> &std::path::Path {
        self.dir.as_ref().expect("kept until the cluster is dropped").path()
    }

    pub fn chance(&self) -> Chance {
        Chance::new(self.seed)
    }

    pub fn namespaces(&self) -> &Namespaces {
        self.namespaces.as_ref().expect("a cluster in network namespaces")
    }

    pub fn ids(&self) -> Vec<u64> {
        self.nodes.iter().map(|node| node.id).collect()
    }

    pub fn node(&mut self, id: u64) -> &mut Node {
        &mut self.nodes[id as usize - 1]
    }

    pub fn api(&self, id: u64) -> Api {
        Api::new(&self.client, &self.nodes[id as usize - 1].client_addr)
    }

    pub fn apis(&self) -> Vec<Api> {
        self.ids().into_iter().map(|id| self.api(id)).collect()
    }

    // ---- what a story does to it

    pub fn kill9(&mut self, id: u64) {
        self.node(id).kill9();
    }

    pub fn kill9_all(&mut self) {
        // All are signalled before the first is waited for, so that none can see the others gone.
        for node in &self.nodes {
            node.signal(Signal::KILL);
        }
        self.nodes.iter_mut().for_each(Node::kill9);
    }

    /// SIGTERM, and exit code 0.
    pub async fn stop(&mut self, id: u64) {
        self.node(id).stop().await;
    }

    /// SIGTERM to all at once, and exit code 0 from each.
    pub async fn stop_all(&mut self) {
        for node in &self.nodes {
            node.signal(Signal::TERM);
        }
        for node in &mut self.nodes {
            let status = node.ended(SETTLED_WITHIN).await;
            assert_eq!(status.code(), Some(0), "node {} on SIGTERM: {status}", node.id);
        }
    }

    /// Starts a node that has ended, and waits until it is ready.
    pub async fn restart(&mut self, id: u64) {
        self.node(id).spawn();
        self.wait_ready_of(&[id]).await;
    }

    pub async fn restart_all(&mut self) {
        self.spawn_all();
        self.wait_ready().await;
    }

    /// Starts a node if it has ended, and waits until it is ready.
    pub async fn restart_ended(&mut self, id: u64) {
        let api = self.api(id);
        let node = self.node(id);
        eventually(&format!("node {id} is ready, started again or not"), async || {
            if !node.running() {
                node.spawn();
            }
            let answer = api.get("/readyz").timeout(Duration::from_secs(2)).send().await?;
            if answer.status == 200 { Ok(()) } else { Err(answer.in_words()) }
        })
        .await;
    }

    /// The node's own disk.
    pub fn disk(&self, id: u64) -> &LoopDisk {
        &self.disks[id as usize - 1]
    }

    /// Power fails at these nodes, at all of them at once.
    pub fn cut_power(&mut self, ids: &[u64]) {
        let mut cuts: Vec<_> = ids.iter().map(|id| self.disk(*id).arm()).collect();
        ids.iter().for_each(|id| self.node(*id).signal(Signal::KILL));
        cuts.iter_mut().for_each(ArmedCut::strike);
        cuts.into_iter().for_each(ArmedCut::wait);
        ids.iter().for_each(|id| self.node(*id).kill9());
    }

    /// They start again on what their disks hold.
    pub async fn restore_power(&mut self, ids: &[u64]) {
        for &id in ids {
            self.disk(id).restore_power();
            self.node(id).spawn();
        }
        self.wait_ready_of(ids).await;
    }

    /// Replays a stopped node's data.
    pub async fn verify(&mut self, id: u64) {
        let data_dir = self.node(id).data_dir.to_str().expect("a name in UTF-8").to_owned();
        let said = run(&["verify", "--data-dir", &data_dir], SETTLED_WITHIN).await;
        assert_eq!(said.code, Some(0), "node {id}: {}", said.in_words());
    }

    /// SIGSTOP: the process neither hears nor speaks, and doesn't know it. Returns when it stands still.
    pub fn pause(&self, id: u64) {
        let node = &self.nodes[id as usize - 1];
        node.signal(Signal::STOP);
        node.wait_stopped();
    }

    pub fn resume(&self, id: u64) {
        self.nodes[id as usize - 1].signal(Signal::CONT);
    }

    // ---- what a story waits for

    pub async fn wait_ready(&mut self) {
        let ids = self.ids();
        self.wait_ready_of(&ids).await;
    }

    pub async fn wait_ready_of(&mut self, ids: &[u64]) {
        for &id in ids {
            let api = self.api(id);
            let node = self.node(id);
            eventually(&format!("node {id} is ready"), async || {
                if let Some(status) = node.exit() {
                    panic!("node {id} ended instead of getting ready: {status}\n{}", node.log_tail(30));
                }
                let answer = api.get("/readyz").timeout(Duration::from_secs(2)).send().await?;
                if answer.status == 200 { Ok(()) } else { Err(answer.in_words()) }
            })
            .await;
        }
    }

    /// False where a node ended because another process was quicker to take a port of its.
    async fn ready_or_port_taken(&mut self) -> bool {
        let apis = self.apis();
        eventually("all nodes are ready", async || {
            for (node, api) in self.nodes.iter_mut().zip(&apis) {
                if let Some(status) = node.exit() {
                    let log = node.log().to_lowercase();
                    if log.contains("in use") {
                        return Ok(false);
                    }
                    panic!("node {} ended at its first start: {status}\n{}", node.id, node.log_tail(30));
                }
                let answer = api.get("/readyz").timeout(Duration::from_secs(2)).send().await?;
                if answer.status != 200 {
                    return Err(answer.in_words());
                }
            }
            Ok(true)
        })
        .await
    }

    /// The leader that all nodes agree on, each of which must run.
    pub async fn leader(&self) -> u64 {
        let ids = self.ids();
        self.leader_among(&ids).await
    }

    /// The leader that all of these nodes agree on; it is one of them.
    pub async fn leader_among(&self, ids: &[u64]) -> u64 {
        eventually(&format!("nodes {ids:?} agree on a leader among them"), async || {
            let mut named = Vec::new();
            for &id in ids {
                named.push((id, self.cluster_seen_by(id).await?["leader"].as_u64()));
            }
            match named[0].1 {
                Some(leader)
                    if ids.contains(&leader) && named.iter().all(|&(_, name)| name == Some(leader)) =>
                {
                    Ok(leader)
                }
                _ => Err(format!("they name {named:?}")),
            }
        })
        .await
    }

    pub async fn followers(&self) -> Vec<u64> {
        let leader = self.leader().await;
        self.ids().into_iter().filter(|&id| id != leader).collect()
    }

    /// The leader of all nodes but this one.
    pub async fn leader_of_others(&self, away: u64) -> u64 {
        let others: Vec<u64> = self.ids().into_iter().filter(|&id| id != away).collect();
        self.leader_among(&others).await
    }

    /// `GET /v1/cluster` of one node.
    pub async fn cluster_seen_by(&self, id: u64) -> Result<Value, String> {
        let answer = self.api(id).get("/v1/cluster").timeout(Duration::from_secs(2)).send().await?;
        if answer.status == 200 { Ok(answer.json()) } else { Err(answer.in_words()) }
    }

    /// What a node says of itself under `/v1/cluster`.
    pub async fn own_row(&self, id: u64) -> Result<Value, String> {
        let cluster = self.cluster_seen_by(id).await?;
        let rows = cluster["nodes"].as_array().cloned().unwrap_or_default();
        rows.into_iter().find(|row| row["id"] == id).ok_or_else(|| format!("no row of {id}: {cluster}"))
    }

    /// Waits until all nodes show the same state hash at the same LSN, and answers both.
    pub async fn agree(&self) -> (u64, String) {
        let ids = self.ids();
        self.agree_among(&ids).await
    }

    pub async fn agree_among(&self, ids: &[u64]) -> (u64, String) {
        eventually(&format!("nodes {ids:?} agree on the state"), async || {
            let mut shown = BTreeSet::new();
            for &id in ids {
                let answer =
                    self.api(id).get("/v1/cluster/state-hash").timeout(Duration::from_secs(2)).send().await?;
                let state = answer.json();
                match (answer.status, state["lsn"].as_u64(), state["hash"].as_str()) {
                    (200, Some(lsn), Some(hash)) => shown.insert((lsn, hash.to_owned())),
                    _ => return Err(answer.in_words()),
                };
            }
            let lsns: BTreeSet<u64> = shown.iter().map(|(lsn, _)| *lsn).collect();
            // Two hashes of one LSN never become equal by waiting.
            assert_eq!(lsns.len(), shown.len(), "nodes differ at the same LSN: {shown:?}");
            match shown.pop_first() {
                Some(state) if shown.is_empty() => Ok(state),
                first => Err(format!("they show {first:?} and {shown:?}")),
            }
        })
        .await
    }

    /// Asks this node to take a snapshot and waits until it is there, with all that it has applied by now. Answers its index.
    pub async fn snapshot(&self, id: u64) -> u64 {
        let applied = self.own_row(id).await.expect("a node that answers")["applied_index"].as_u64();
        let applied = applied.expect("a node knows what it has applied");
        self.api(id).post("/v1/cluster/snapshot", &json!({})).expect(202).await;
        eventually(&format!("node {id} has a snapshot of index {applied} or later"), async || {
            let row = self.own_row(id).await?;
            row["snapshot_index"].as_u64().filter(|index| *index >= applied).ok_or_else(|| row.to_string())
        })
        .await
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        let thread = std::thread::current();
        let story = thread.name().unwrap_or("the story's name");
        eprintln!("\n──── {story} failed; seed {}", self.seed);
        for node in &mut self.nodes {
            let state = match (node.exit(), node.running()) {
                (Some(status), _) => status.to_string(),
                (None, true) => "running".to_owned(),
                (None, false) => "never started".to_owned(),
            };
            eprintln!(
                "──── node {} ({state}, {}):\n{}",
                node.id,
                node.client_addr,
                node.log_tail(LOG_LINES_SHOWN)
            );
        }
        if let Some(dir) = self.dir.take() {
            eprintln!("──── data and whole logs are kept in {}", dir.keep().display());
        }
        eprintln!(
            "──── again: {SEED_VARIABLE}={} cargo test --locked --test cluster -- --exact {story} --nocapture\n",
            self.seed
        );
    }
}
