//! One simulated machine: a disk, a wall clock, and at most one process, which has a tokio runtime of its own.
//!
//! Each runtime's clock is paused and advanced by the simulation, step by step. To kill the process is to drop its
//! runtime: every task ends where it stands, and nothing of it goes on.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::Request;
use bytes::Bytes;
use innkeeper::history::Keeping;
use innkeeper::http::client_router;
use innkeeper::node::{Config, IdSource, Limits, Node, StartError, Timings, World};
use innkeeper::planted::fill_disk;
use innkeeper::replication::{Member, NodeId, Position};
use openraft::async_runtime::WatchReceiver;
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::runtime::{Builder, RngSeed, Runtime};
use tower::ServiceExt;

use super::builds::Build;
use super::clock::{SimulatedClock, WallOffset};
use super::disk::SimulatedDisk;
use super::network::{
    Answer, Delivery, HttpAnswer, HttpRequest, Network, Question, SimulatedTransport, peer_addr,
};
use super::operator::Wanted;
use super::panics;
use super::properties::Observer;

/// A step of simulated time.
pub const STEP: Duration = Duration::from_millis(1);
const BODY_BYTES_MAX: usize = 16 << 20;
/// A change of the membership that takes longer is tried anew.
const MEMBERSHIP_WAIT: Duration = Duration::from_secs(3);

pub struct Machine {
    pub id: NodeId,
    data_dir: PathBuf,
    pub disk: SimulatedDisk,
    pub wall: WallOffset,
    network: Network,
    observer: Arc<Mutex<Observer>>,
    /// What the node is told of its cluster; nothing, once it knows better.
    members: Option<BTreeMap<NodeId, String>>,
    /// What is installed.
    pub build: Build,
    process: Option<Process>,
    starts: u64,
    seed: u64,
}

struct Process {
    runtime: Runtime,
    start: Arc<Mutex<Start>>,
    /// What is running, whatever is installed by now.
    build: Build,
    /// Held by the change of the membership that is under way.
    changing: Weak<()>,
    /// What arrived while the process was suspended.
    inbox: Vec<Delivery>,
    suspended_ms: Option<u64>,
}

enum Start {
    Starting,
    Running { node: Arc<Node>, router: Router },
    Failed(StartError),
}

/// How a process ended by itself.
pub enum Ended {
    /// It must stop, and says why.
    Stopped(String),
    NotStarted(String),
}

impl Machine {
    pub fn new(
        id: NodeId,
        dir: &Path,
        members: BTreeMap<NodeId, String>,
        network: Network,
        observer: Arc<Mutex<Observer>>,
        seed: u64,
    ) -> Machine {
        let data_dir = dir.join(format!("node-{id}"));
        let disk = SimulatedDisk::new(&data_dir, seed);
        let wall = WallOffset::default();
        let (members, build) = (Some(members), Build::This);
        Machine {
            id,
            data_dir,
            disk,
            wall,
            network,
            observer,
            members,
            build,
            process: None,
            starts: 0,
            seed,
        }
    }

    pub fn is_up(&self) -> bool {
        self.process.is_some()
    }

    /// Starts the process; it answers once it has opened its data directory.
    pub fn start(&mut self, now_ms: u64) {
        self.starts += 1;
        let runtime = runtime(self.seed ^ self.starts);
        let start = Arc::new(Mutex::new(Start::Starting));
        let config = self.config();
        let (build, network) = (self.build, self.network.clone());
        let transport = Arc::new(SimulatedTransport { from: self.id, build, network });
        let random = StdRng::seed_from_u64(self.seed ^ self.starts.rotate_left(32));
        let (wall, disk, started) = (self.wall.clone(), Arc::new(self.disk.clone()), start.clone());
        runtime.spawn(async move {
            let clock = Arc::new(SimulatedClock::new(now_ms, wall));
            let ids = IdSource::new(clock.clone(), random);
            let node =
                Node::start(config, World { clock, transport, ids, disk, history: Keeping::InMemory }).await;
            *started.lock().expect("one thread") = match node {
                Ok(node) => Start::Running { router: client_router(node.clone()), node },
                Err(error) => Start::Failed(error),
            };
        });
        let (inbox, changing) = (Vec::new(), Weak::new());
        self.process = Some(Process { runtime, start, build, changing, inbox, suspended_ms: None });
    }

    /// The node's own log says who belongs to the cluster from now on.
    pub fn forget_first_members(&mut self) {
        self.members = None;
    }

    fn config(&self) -> Config {
        // Short, so that a run of seconds sees many snapshots, slow followers that are left behind, and few requests that only
        // wait.
        let timings = Timings {
            request: Duration::from_millis(1_500),
            refusal: Duration::from_millis(50),
            snapshot_every: Duration::from_secs(4),
            snapshot_entries: 60,
            snapshot_bytes: 4 << 10,
            ..Timings::default()
        };
        Config {
            node_id: self.id,
            data_dir: self.data_dir.clone(),
            client_addr: format!("node-{}:7100", self.id),
            peer_addr: peer_addr(self.id),
            initial_cluster: self.members.clone(),
            // Small enough that a snapshot is under way for a while.
            limits: Limits { snapshot_piece_bytes: 2 << 10, ..Limits::default() },
            timings,
        }
    }

    /// Ends the process as SIGKILL does. What it had written stays.
    pub fn kill(&mut self) {
        let Some(process) = self.process.take() else { return };
        let node = process.node().map(|node| Arc::downgrade(&node));
        drop(process);
        let survives = node.as_ref().and_then(Weak::upgrade).is_some();
        assert!(!survives, "something holds on to node {} after its process was killed", self.id);
    }

    /// Ends the process with the machine: what was not flushed is lost.
    pub fn cut_power(&mut self) {
        self.kill();
        self.disk.cut_power().expect("the folder of the simulation can be written");
    }

    /// Stops the process's time, as SIGSTOP does.
    pub fn suspend(&mut self) {
        if let Some(process) = &mut self.process {
            process.suspended_ms.get_or_insert(0);
        }
    }

    pub fn resume(&mut self) {
        let Some(process) = &mut self.process else { return };
        let Some(missed_ms) = process.suspended_ms.take() else { return };
        process.runtime.block_on(async { tokio::time::advance(Duration::from_millis(missed_ms)).await });
        for delivery in std::mem::take(&mut process.inbox) {
            self.deliver(delivery);
        }
    }

    pub fn deliver(&mut self, delivery: Delivery) {
        let (network, observer, id) = (self.network.clone(), self.observer.clone(), self.id);
        let exchange = delivery.exchange;
        let Some(process) = &mut self.process else { return network.answer(exchange, Answer::Refused) };
        if process.suspended_ms.is_some() {
            return process.inbox.push(delivery);
        }
        let Start::Running { node, router } = &*process.start.lock().expect("one thread") else {
            return network.answer(exchange, Answer::Refused);
        };
        match delivery.question {
            Question::Frame(frame) => {
                let (node, build) = (node.clone(), process.build);
                let frame = build.hears(frame);
                let asked = observer.lock().expect("one thread").asked(id, &frame);
                process.runtime.spawn(async move {
                    let answer = node.handle_frame(&frame).await;
                    observer.lock().expect("one thread").exchanged(id, asked, &answer);
                    network.answer(exchange, Answer::Frame(build.says(answer)));
                });
            }
            Question::Http(request) => {
                let router = router.clone();
                process.runtime.spawn(async move {
                    let answer = call(router, request).await;
                    network.answer(exchange, Answer::Http(answer));
                });
            }
        }
    }

    /// Lets the process run for one step, and looks at what it applied.
    pub fn step(&mut self) {
        let Some(process) = &mut self.process else { return };
        if let Some(missed_ms) = &mut process.suspended_ms {
            *missed_ms += STEP.as_millis() as u64;
            return;
        }
        fill_disk(self.disk.bytes_left());
        process.runtime.block_on(async {
            tokio::select! {
                biased;
                () = panics::first() => {}
                () = tokio::time::sleep(STEP) => {}
            }
        });
        self.disk.keep_bytes_left(fill_disk(None));
        if let Some(position) = self.position() {
            self.observer.lock().expect("one thread").applied(self.id, position);
        }
    }

    /// Where this node believes to lead: makes the membership what is `wanted`, of the `known` machines.
    pub fn change_members(&mut self, wanted: &Wanted, known: &BTreeMap<NodeId, Member>) {
        let Some(process) = self.process.as_mut().filter(|process| process.suspended_ms.is_none()) else {
            return;
        };
        let Some(node) = process.node().filter(|node| node.leader() == Some(node.id())) else { return };
        let raft = node.raft().clone();
        let stored = raft.server_metrics().borrow_watched().membership_config.clone();
        let membership = stored.membership();
        let joint = membership.get_joint_config().len() > 1;
        let voters: BTreeSet<NodeId> = membership.voter_ids().collect();
        if (!joint && voters == wanted.voters) || process.changing.strong_count() > 0 {
            return;
        }
        // A leader that has taken itself out is about to step down, and openraft asserts that nobody asks it for a
        // further change until then. The next leader is asked.
        if membership.get_node(&self.id).is_none() {
            return;
        }
        let changing = Arc::new(());
        process.changing = Arc::downgrade(&changing);
        let new = wanted.voters.iter().filter(|id| membership.get_node(id).is_none());
        let learners: Vec<(NodeId, Member)> = new.map(|id| (*id, known[id].clone())).collect();
        let wanted = wanted.clone();
        process.runtime.spawn(async move {
            // Whatever fails is tried again, here or at the next leader.
            let change = async {
                for (id, member) in learners {
                    raft.add_learner(id, member, true).await.ok()?;
                }
                raft.change_membership(wanted.voters, wanted.keeps_learners).await.ok()
            };
            drop(tokio::time::timeout(MEMBERSHIP_WAIT, change).await);
            drop(changing);
        });
    }

    /// The members that this node knows of.
    pub fn members(&self) -> BTreeMap<NodeId, Member> {
        let Some(node) = self.process.as_ref().and_then(Process::node) else { return BTreeMap::new() };
        let stored = node.raft().server_metrics().borrow_watched().membership_config.clone();
        stored.membership().nodes().map(|(id, member)| (*id, member.clone())).collect()
    }

    /// Whether the process has opened its data directory and takes part.
    pub fn is_running(&self) -> bool {
        self.process
            .as_ref()
            .is_some_and(|process| process.suspended_ms.is_none() && process.node().is_some())
    }

    /// Behind which index its log begins anew, while nothing has come there.
    pub fn log_begins_behind(&self) -> Option<u64> {
        let node = self.process.as_ref()?.node()?;
        let metrics = node.raft().metrics().borrow_watched().clone();
        let purged = metrics.purged.map(|id| id.index);
        purged.filter(|_| purged == metrics.last_log_index)
    }

    pub fn position(&self) -> Option<Position> {
        self.process.as_ref()?.node().map(|node| node.position())
    }

    /// Whether the process has ended by itself, as `innkeeper serve` would.
    pub fn ended(&self) -> Option<Ended> {
        let process = self.process.as_ref()?;
        if let Start::Failed(error) = &*process.start.lock().expect("one thread") {
            return Some(Ended::NotStarted(error.to_string()));
        }
        let reason = process.node()?.fatal().borrow().clone();
        reason.map(Ended::Stopped)
    }
}

impl Process {
    fn node(&self) -> Option<Arc<Node>> {
        match &*self.start.lock().expect("one thread") {
            Start::Running { node, .. } => Some(node.clone()),
            _ => None,
        }
    }
}

/// One thread, whose clock stands still but for the simulation, and whose scheduling follows from `seed`.
pub fn runtime(seed: u64) -> Runtime {
    let seed = RngSeed::from_bytes(&seed.to_le_bytes());
    let built = Builder::new_current_thread().enable_time().start_paused(true).rng_seed(seed).build();
    built.expect("a runtime without I/O needs nothing of the system")
}

async fn call(router: Router, request: HttpRequest) -> HttpAnswer {
    let mut built = Request::builder().method(request.method).uri(request.path);
    if !request.body.is_empty() {
        built = built.header("content-type", "application/json");
    }
    if let Some(key) = request.key {
        built = built.header("idempotency-key", key);
    }
    let request = built.body(Body::from(request.body)).expect("the clients write valid requests");
    let response = router.oneshot(request).await.unwrap_or_else(|never| match never {});
    let (parts, body) = response.into_parts();
    let body = to_bytes(body, BODY_BYTES_MAX).await.unwrap_or_else(|_| Bytes::new());
    HttpAnswer { status: parts.status, headers: parts.headers, body }
}
