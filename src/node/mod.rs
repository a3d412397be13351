//! A node: one member of the cluster, without its HTTP surface.
//!
//! It takes commands ([`submit`], [`batcher`], [`dispatch`]), says when its state may answer a read ([`read`]), speaks with
//! its peers ([`peers`]), and looks after itself ([`watchdog`], [`snapshots`], [`recovery`], [`due`]). It knows the ledger,
//! replication and the history, and nothing of HTTP. Clocks, randomness and the transport are passed in, so that a
//! simulation runs the same node.

mod admission;
mod append;
mod backfill;
mod batcher;
mod bootstrap;
pub mod clock;
mod config;
mod decide;
mod dispatch;
mod due;
mod error;
#[cfg(test)]
mod hostile_peers;
mod ids;
mod incoming;
mod numbers;
mod past;
mod peers;
mod quorum;
mod read;
mod recovery;
mod snapshots;
mod status;
#[cfg(test)]
mod stub_leader;
mod submit;
#[cfg(test)]
pub(crate) mod tests;
mod watchdog;

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use openraft::async_runtime::{RecvError, WatchReceiver};
use openraft::{Raft, RaftMetrics, ServerState};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};
use uuid::Uuid;

pub use admission::Places;
pub use config::{Config, Limits, Timings};
pub use due::{date_at, time_zone_known};
pub use error::StartError;
pub use ids::IdSource;
pub use numbers::Numbers;
pub use past::NotInPast;
pub use read::{Consistency, NotRead};
pub use status::{ClusterView, MemberView, Unready, VERSION};
pub use submit::Outcomes;

use crate::history::{self, History, Keeping};
use crate::ledger::{Applied, Ledger, Submission, Timestamp};
use crate::planted::{Bug, planted};
use crate::replication::{
    self, Disk, DiskId, Endpoint, Fetch, Identity, IdentityFile, LentSnapshots, Member, NodeId, NotApplied,
    Peers, Position, Sender, State, StateMachine, Storage, Timeouts, Transport, TypeConfig, Witness,
    blocking,
};
use clock::{Clock, LogClock, Median, SIGHTING_AGE_MAX, Sightings};

/// What a node takes from the world around it.
pub struct World {
    pub clock: Arc<dyn Clock>,
    pub transport: Arc<dyn Transport>,
    pub ids: IdSource,
    pub disk: Arc<dyn Disk>,
    pub history: Keeping,
}

pub struct Node {
    pub config: Config,
    pub ids: Arc<IdSource>,
    clock: Arc<dyn Clock>,
    started: Instant,
    me: Arc<Me>,
    raft: Raft<TypeConfig, StateMachine>,
    state: Arc<State>,
    peers: Peers,
    submitter: submit::Submitter,
    /// One permit a batch that is proposed or forwarded and not answered yet.
    in_flight: Arc<Semaphore>,
    reads: read::Reads,
    asks_members: mpsc::Sender<status::Asking>,
    log_clock: LogClock,
    flush_seconds: prometheus::Histogram,
    heard: Mutex<Heard>,
    quorum_looks: quorum::QuorumLooks,
    incoming: incoming::IncomingSnapshots,
    /// What peers that have paused fetch from this node, and what it has of what it fetches itself. That is a file of the data
    /// directory: it goes with the node, which has the directory to itself.
    lent: LentSnapshots,
    fetch: Mutex<Option<Fetch>>,
    refusals: peers::Refusals,
    history: Arc<History>,
    disk: Arc<dyn Disk>,
    permits: past::Permits,
    /// True once streams and long polls should end.
    closing: watch::Sender<bool>,
    /// Set once, to the reason why the node must stop.
    fatal: watch::Sender<Option<String>>,
    /// True once the log is flushed and its files are closed.
    log_closed: watch::Receiver<bool>,
}

/// Of appends of this node's leader, by this node's monotonic clock.
#[derive(Default)]
struct Heard {
    /// When the last one came.
    came: Option<Duration>,
    /// When one was sent of whose commit this node has applied all: what the leader had then this node has now.
    taken: Option<Duration>,
    /// When one was sent of whose commit not all was applied yet, and up to where that goes.
    awaits: Option<(Duration, u64)>,
}

impl Heard {
    /// All up to `index` is applied.
    fn applied(&mut self, index: Option<u64>) {
        if let Some((at, _)) = self.awaits.take_if(|(_, commit)| Some(*commit) <= index) {
            self.taken = self.taken.max(Some(at));
        }
    }
}

/// Who this node is: its identity on disk, and what it tells its peers of itself.
struct Me {
    identity: Mutex<IdentityFile>,
    clock: Arc<dyn Clock>,
    sightings: Sightings,
}

impl Me {
    fn identity(&self) -> Identity {
        self.lock_identity().identity().clone()
    }

    fn lock_identity(&self) -> MutexGuard<'_, IdentityFile> {
        self.identity.lock().expect("no panic while the identity is locked")
    }
}

impl Sender for Me {
    // Both are asked for with each message: nothing is copied beside what they give.
    fn cluster(&self) -> Option<Uuid> {
        self.lock_identity().identity().cluster_id
    }

    fn endpoint(&self) -> Endpoint {
        let file = self.lock_identity();
        let identity = file.identity();
        Endpoint { node: identity.node_id, disk: Some(identity.disk_id) }
    }

    fn wall(&self) -> Timestamp {
        self.clock.wall()
    }

    fn saw_wall(&self, member: NodeId, theirs: Timestamp) {
        self.sightings.saw(member, theirs, &*self.clock);
    }
}

impl Node {
    /// Opens the data directory and starts to take part. The node serves once its peers can reach [`Node::handle_frame`].
    pub async fn start(config: Config, world: World) -> Result<Arc<Node>, StartError> {
        bootstrap::check_members(&config)?;
        let ids = Arc::new(world.ids);
        let new_disk = DiskId(ids.next());
        let (identity, storage, history) =
            open_data_dir(&config, &world.disk, new_disk, world.history).await?;
        bootstrap::check_agreement(&config, storage.membership())?;
        let me = Arc::new(Me {
            identity: Mutex::new(identity),
            clock: world.clock.clone(),
            sightings: Sightings::default(),
        });
        let timeouts =
            Timeouts { message: config.timings.peer_message, snapshot_piece: config.timings.snapshot_piece };
        let piece_bytes = config.limits.snapshot_piece_bytes;
        let (transport, disk, appended) = (world.transport, world.disk.clone(), storage.log.appended());
        let peers = Peers::new(transport, me.clone(), disk, timeouts, piece_bytes, appended);
        let state = storage.state_machine.state();
        let storage_fatal = storage.log.fatal();
        let log_busy = storage.log.busy();
        let log_closed = storage.log_closed.clone();
        let flush_seconds = storage.log.flush_seconds();
        // Before raft is there: it applies what the log has, and apply waits for a history that is too far behind.
        let mut keeping = tokio::spawn(history::run(Arc::downgrade(&history), world.disk.clone()));
        let raft = start_raft(&config, peers.clone(), storage, &mut keeping).await?;
        let snapshots = state.snapshots().clone();
        let incoming = incoming::IncomingSnapshots::new(snapshots, world.disk.clone(), raft.clone());

        let (submitter, batcher) = submit::queue(&config.limits, state.apply_cost().clone());
        let (reads, rounds) = read::queue(config.limits.queued_reads_max);
        let (asks_members, asked) = mpsc::channel(config.limits.queued_reads_max);
        let node = Arc::new(Node {
            permits: past::Permits::new(&config.limits),
            config,
            ids,
            clock: world.clock,
            started: Instant::now(),
            me,
            raft,
            state,
            peers,
            submitter,
            in_flight: batcher.in_flight(),
            reads,
            asks_members,
            log_clock: LogClock::default(),
            flush_seconds,
            heard: Mutex::default(),
            quorum_looks: quorum::QuorumLooks::default(),
            incoming,
            lent: LentSnapshots::default(),
            fetch: Mutex::default(),
            refusals: peers::Refusals::default(),
            history,
            disk: world.disk,
            closing: watch::Sender::new(false),
            fatal: watch::Sender::new(None),
            log_closed,
        });
        node.spawn("proposes", batcher.run(Arc::downgrade(&node)));
        node.spawn("confirms reads", rounds.run(Arc::downgrade(&node)));
        node.spawn("asks the members", status::run(asked, Arc::downgrade(&node)));
        node.spawn("watches", watchdog::run(Arc::downgrade(&node), storage_fatal, log_busy));
        tokio::spawn(past::keep(Arc::downgrade(&node), keeping));
        node.spawn_upkeep();
        Ok(node)
    }

    /// What a node does of itself. Each task ends when the node is dropped or its raft has stopped.
    fn spawn_upkeep(self: &Arc<Self>) {
        let node = || Arc::downgrade(self);
        self.spawn("ends holds", due::end_holds(node()));
        self.spawn("rolls business dates", due::roll_dates(node()));
        self.spawn("takes snapshots", snapshots::run(node()));
        self.spawn("fetches history", backfill::run(node()));
        self.spawn("recovers", recovery::run(node()));
        self.spawn("forgets history", past::forget(node()));
        self.spawn("finds the cluster", bootstrap::run(node()));
    }

    /// Runs a task of this node. Without one of them it would be half a node: a panic in it stops the node.
    fn spawn(self: &Arc<Self>, what: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let (node, task) = (Arc::downgrade(self), tokio::spawn(task));
        tokio::spawn(async move {
            if let Err(error) = task.await
                && error.is_panic()
                && let Some(node) = node.upgrade()
            {
                node.stop_because(format!("the task that {what} has panicked"));
            }
        });
    }

    pub fn id(&self) -> NodeId {
        self.config.node_id
    }

    /// The leader that this node knows of; `None` while an election runs, and where the leader, or on the leader a
    /// majority, has not been heard from for so long that nothing can be expected of it.
    pub fn leader(&self) -> Option<NodeId> {
        let leader = self.elected_leader()?;
        let silence = if self.leads() { self.silence() } else { self.since(|heard| heard.came) };
        (silence <= 2 * self.config.timings.election_max).then_some(leader)
    }

    /// The leader of this node's term, heard from or not.
    fn elected_leader(&self) -> Option<NodeId> {
        self.raft.server_metrics().borrow_watched().current_leader
    }

    /// Why this node has paused applying, where it has. It then votes and stores, and serves nothing.
    pub fn paused(&self) -> Option<String> {
        self.state.paused()
    }

    /// Submits a command and waits for its outcome, at most for the configured time.
    pub async fn submit(&self, submission: &Submission) -> Result<Applied, NotApplied> {
        self.submitter.submit(submission, self.deadline()).await
    }

    /// Places for commands that come together, which take about so many bytes; refused where as many wait as may.
    pub fn places_for(&self, commands: usize, bytes: usize) -> Result<Places, NotApplied> {
        self.submitter.places_for(commands, bytes)
    }

    /// Submits commands in their order and waits for their outcomes, one each, see [`submit::Submitter`]; for the first of
    /// them until `deadline`.
    pub async fn submit_in_order(
        &self,
        submissions: &[Submission],
        places: Places,
        deadline: Instant,
    ) -> Outcomes {
        self.submitter.submit_in_order(submissions, places, deadline, self.config.timings.request).await
    }

    /// Whether so many commands are likely to be shed now: as many wait as may.
    pub fn would_shed(&self, commands: usize) -> bool {
        !self.submitter.admission().has_room(commands)
    }

    /// When a request that arrives now must have its answer.
    pub fn deadline(&self) -> Instant {
        Instant::now() + self.config.timings.request
    }

    /// What this node has applied, see [`Node::ready_to_read`] for when it may answer. Hold it briefly: apply waits.
    pub fn with_ledger<T>(&self, query: impl FnOnce(&Ledger) -> T) -> T {
        self.state.with_ledger(query)
    }

    /// The position up to which this node has applied.
    pub fn position(&self) -> Position {
        self.state.position()
    }

    /// The members' median wall clock, as this node sees it: for first business dates, and for the log clock.
    pub fn wall(&self) -> Timestamp {
        Timestamp(self.wall_since_epoch().as_millis() as u64)
    }

    fn wall_since_epoch(&self) -> Duration {
        let (own, offset_ms) = (self.clock.since_epoch(), self.median_offset_ms());
        let offset = Duration::from_millis(offset_ms.unsigned_abs());
        if offset_ms < 0 { own.saturating_sub(offset) } else { own + offset }
    }

    /// How far the members' median wall clock is ahead of this node's.
    fn median_offset_ms(&self) -> i64 {
        if planted(Bug::StampedByOwnClock) {
            return 0;
        }
        self.me.sightings.median_offset_ms(&*self.clock, self.state.position().stamp)
    }

    /// Raft itself, for what has no call of this node's yet: changes of the membership.
    pub fn raft(&self) -> &Raft<TypeConfig, StateMachine> {
        &self.raft
    }

    /// Tells why the node must stop, once it must.
    pub fn fatal(&self) -> watch::Receiver<Option<String>> {
        self.fatal.subscribe()
    }

    /// Hands leadership over where this node has it, stops taking part, and waits until the log is flushed and closed.
    pub async fn shut_down(&self) {
        self.hand_over().await;
        // What other nodes forwarded here is answered before the log closes.
        let all = self.config.limits.batches_in_flight_max as u32;
        if timeout(self.config.timings.peer_message, self.in_flight.acquire_many(all)).await.is_err() {
            tracing::warn!(
                "some commands were still under way; their outcome is unknown to those who sent them"
            );
        }
        if let Err(error) = self.raft.shutdown().await {
            tracing::warn!(%error, "raft did not end cleanly");
        }
        let history = self.history.clone();
        if let Err(error) = blocking(&*self.disk, move || history.keep()).await {
            tracing::warn!(%error, "the history was not written to its end");
        }
        // The log's thread ends with raft's last handle of it; should it be gone without a word, there is nothing to
        // wait for.
        let _ = self.log_closed.clone().wait_for(|closed| *closed).await;
    }

    /// The members and where they are, as the log has them.
    fn members(&self) -> BTreeMap<NodeId, Member> {
        let membership = self.raft.server_metrics().borrow_watched().membership_config.clone();
        membership.membership().nodes().map(|(id, member)| (*id, member.clone())).collect()
    }

    fn member(&self, id: NodeId) -> Option<Member> {
        let membership = self.raft.server_metrics().borrow_watched().membership_config.clone();
        membership.membership().get_node(&id).cloned()
    }

    /// openraft's own numbers. Copied out: a borrow held across an await would block its core.
    fn metrics(&self) -> RaftMetrics<TypeConfig> {
        self.raft.metrics().borrow_watched().clone()
    }

    fn leads(&self) -> bool {
        self.raft.server_metrics().borrow_watched().state == ServerState::Leader
    }

    /// The log's time, as this leader would stamp a batch now.
    fn log_time(&self) -> Timestamp {
        let term = self.raft.server_metrics().borrow_watched().vote.leader_id.term;
        if planted(Bug::StampedByOwnClock) {
            return self.wall().max(self.state.position().stamp);
        }
        let is_of_majority = self.silence() <= SIGHTING_AGE_MAX;
        let monotonic = self.clock.monotonic();
        let median = Median { wall: self.wall_since_epoch(), is_of_majority };
        self.log_clock.now(term, self.state.position().stamp, median, monotonic)
    }

    /// How long this node may lack what a leader has, which is since one told it of a commit that it has applied; a leader has
    /// all while a majority answers it.
    fn silence(&self) -> Duration {
        if self.leads() {
            // Not copied out: every answer asks.
            let metrics = self.raft.metrics();
            let metrics = metrics.borrow_watched();
            let mut voters = metrics.membership_config.membership().get_joint_config().iter().flatten();
            if voters.all(|id| *id == self.id()) {
                return Duration::ZERO;
            }
            return metrics.last_quorum_acked.map_or(Duration::MAX, |acked| self.since_quorum(*acked));
        }
        self.heard.lock().expect("no panic while the instants are locked").applied(self.position().index());
        self.since(|heard| heard.taken)
    }

    fn since(&self, instant: impl Fn(&Heard) -> Option<Duration>) -> Duration {
        let at = instant(&self.heard.lock().expect("no panic while the instants are locked"));
        at.map_or(Duration::MAX, |at| self.clock.monotonic().saturating_sub(at))
    }

    /// An append has come from this node's leader. A disk that stands still does not make that one silent.
    fn append_came(&self, at: Duration) {
        let mut heard = self.heard.lock().expect("no panic while the instants are locked");
        heard.came = heard.came.max(Some(at));
    }

    /// An append that this node's leader sent at `at`, when it had committed entries up to `commit`, is in the log.
    fn append_taken(&self, at: Duration, commit: Option<u64>) {
        let applied = self.position().index();
        let mut heard = self.heard.lock().expect("no panic while the instants are locked");
        heard.came = heard.came.max(Some(at));
        heard.applied(applied);
        // The oldest is waited for, so that one follows the other where applying is always a little behind.
        if let Some(commit) = commit {
            heard.awaits.get_or_insert((at, commit));
            heard.applied(applied);
        }
    }

    /// Waits until what this node has applied satisfies `enough`; `None` where `deadline` comes first.
    async fn applied(&self, deadline: Instant, enough: impl Fn(&Position) -> bool) -> Option<()> {
        let mut positions = self.state.positions();
        timeout_at(deadline, positions.wait_for(|position| enough(position))).await.ok()?.ok()?;
        Some(())
    }

    fn stop_because(&self, reason: String) {
        let is_first = self.fatal.send_if_modified(|fatal| {
            let is_first = fatal.is_none();
            fatal.get_or_insert_with(|| reason.clone());
            is_first
        });
        if is_first {
            tracing::error!(%reason, "the node stops");
        }
    }

    /// The disks that this node knows the members by.
    fn known_disks(&self) -> BTreeMap<NodeId, DiskId> {
        let mut disks = self.me.identity().members;
        disks.extend(self.members().into_iter().map(|(id, member)| (id, member.disk_id)));
        disks
    }
}

/// Returns when `changed` tells of a change of leadership, or after `at_most`.
async fn change_of_leader(changed: impl Future<Output = Result<(), RecvError>>, at_most: Duration) {
    let changed = async {
        if changed.await.is_err() {
            // Raft has stopped: nothing changes any more, and who asks again at once would spin.
            std::future::pending::<()>().await;
        }
    };
    // The change and the end of the wait are alike: the caller looks again.
    let _ = timeout(at_most, changed).await;
}

/// Opens identity, history, log and newest snapshot. A directory that is new becomes the disk `new_disk`.
async fn open_data_dir(
    config: &Config,
    disk: &Arc<dyn Disk>,
    new_disk: DiskId,
    keeping: Keeping,
) -> Result<(IdentityFile, Storage, Arc<History>), StartError> {
    let (data_dir, node_id, disk_of_log) = (config.data_dir.clone(), config.node_id, disk.clone());
    if config.initial_cluster.is_none() && bootstrap::is_empty(&data_dir) {
        // Not even an identity is left behind, which would hold on to a node id that was mistyped.
        bootstrap::check_agreement(config, &BTreeMap::new())?;
    }
    let open = move || -> Result<_, StartError> {
        let identity = IdentityFile::open(&data_dir, node_id, new_disk)?;
        let is_claimed = identity.identity().cluster_id.is_some();
        let history = History::open(keeping);
        let storage = replication::open(&data_dir, is_claimed, &disk_of_log, history.clone())?;
        Ok((identity, storage, history))
    };
    let opened = blocking(&**disk, open).await;
    opened.unwrap_or_else(|panic| {
        Err(StartError::Stopped(format!("the data directory can't be opened: {panic}")))
    })
}

/// Starts raft, unless who keeps the history ends before: raft would then wait for him for ever.
async fn start_raft(
    config: &Config,
    peers: Peers,
    storage: Storage,
    keeping: &mut JoinHandle<io::Result<()>>,
) -> Result<Raft<TypeConfig, StateMachine>, StartError> {
    let raft_config = raft_config(&config.timings)?;
    let raft = Raft::new(config.node_id, raft_config, peers, storage.log, storage.state_machine);
    tokio::select! {
        raft = raft => Ok(raft?),
        ended = keeping => Err(StartError::Stopped(past::why_ended(ended))),
    }
}

/// openraft's own settings. Its snapshots and purges are off: [`snapshots`] takes both over.
fn raft_config(timings: &Timings) -> Result<Arc<openraft::Config>, StartError> {
    let millis = |duration: Duration| duration.as_millis() as u64;
    let config = openraft::Config {
        cluster_name: "innkeeper".to_owned(),
        heartbeat_interval: millis(timings.heartbeat),
        election_timeout_min: millis(timings.election_min),
        election_timeout_max: millis(timings.election_max),
        install_snapshot_timeout: millis(timings.snapshot_piece),
        max_payload_entries: 64,
        snapshot_policy: openraft::SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: u64::MAX,
        enable_pre_vote: Some(true),
        // Entries go to the followers while this node still writes them. A leader that lost its unwritten tail in a crash
        // and led on in the same term would write other entries under the same ids: two logs that both look sound.
        enable_leader_restore: Some(planted(Bug::LeaderRestored)),
        // A follower whose last flush was damaged starts without it, and is sent again what it lost; else the leader
        // would wait for ever for what it believes to be there.
        allow_log_reversion: Some(true),
        api_channel_size: Some(4_096),
        // Only the core reads this channel, and it also sends into it: if it ever finds it full, it waits for itself. Ticks
        // come into it while a disk stands still; hours of them fit, and take memory only once they are there.
        notification_channel_size: Some(1 << 20),
        state_machine_channel_size: Some(1_024),
        ..openraft::Config::default()
    };
    config.validate().map(Arc::new).map_err(|error| StartError::Configuration(error.to_string()))
}
