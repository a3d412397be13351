//! What a node tells of itself and of the cluster.

use std::collections::BTreeSet;
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::future::join_all;
use openraft::ServerState;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout_at;

use super::{Node, NotRead};
use crate::replication::{Estrangement, Member, MemberStatus, NodeId, Pause, PeerError, Reply, Request};

/// The version of this build.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

const STATUS_WAIT: Duration = Duration::from_millis(500);
const READY_WAIT: Duration = Duration::from_secs(1);

/// Why a node may not serve.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unready {
    /// What the client port says as long as there is no node yet that could be asked.
    #[error(
        "the node is starting: it serves once it has loaded its snapshot and replayed its log; until then ask another"
    )]
    Starting,
    #[error("the node has paused applying: {0}")]
    Paused(String),
    /// With those whose answers have not counted for a while.
    #[error("no leader is known, or it does not answer{}", told(.0))]
    NoLeader(Vec<Estrangement>),
    #[error("the node has not caught up with the leader")]
    NotCaughtUp,
}

impl Unready {
    /// The failed check's name.
    pub fn check(&self) -> &'static str {
        match self {
            Unready::Starting => "starting",
            Unready::Paused(_) => "apply",
            Unready::NoLeader(_) => "leader",
            Unready::NotCaughtUp => "caught_up",
        }
    }
}

fn told(estranged: &[Estrangement]) -> String {
    estranged.iter().map(|why| format!("; {why}")).collect()
}

/// A member as this node sees it. `status` is `None` where it did not answer.
pub struct MemberView {
    pub id: NodeId,
    pub member: Member,
    pub is_voter: bool,
    pub status: Option<MemberStatus>,
    /// Why it has said nothing, where it refused this node's question, or another answered in its place.
    pub estrangement: Option<Estrangement>,
    /// How long ago this node last heard from it; `None` for this node itself.
    pub last_contact: Option<Duration>,
}

pub struct ClusterView {
    pub cluster_id: Option<uuid::Uuid>,
    pub leader: Option<NodeId>,
    pub term: u64,
    pub members: Vec<MemberView>,
}

/// Where an answer goes to whoever asks for the cluster.
pub(super) type Asking = oneshot::Sender<Arc<ClusterView>>;

/// Asks all members, one round after the other, until the node is gone. Who asks joins the first round that begins after
/// that: a thousand who ask at once take no more of the members' connections, which heartbeats need, than two do.
pub(super) async fn run(mut asked: mpsc::Receiver<Asking>, node: Weak<Node>) {
    while let Some(first) = asked.recv().await {
        let mut all = vec![first];
        while let Ok(next) = asked.try_recv() {
            all.push(next);
        }
        let Some(node) = node.upgrade() else { return };
        let view = Arc::new(node.ask_members().await);
        for asking in all {
            // Who went away waits for nothing.
            let _ = asking.send(view.clone());
        }
    }
}

impl Node {
    pub(super) fn own_status(&self) -> MemberStatus {
        let (metrics, pause) = (self.metrics(), self.state.pause());
        let role = match metrics.state {
            ServerState::Leader => "leader",
            ServerState::Follower => "follower",
            ServerState::Candidate => "candidate",
            ServerState::Learner | ServerState::Shutdown => "learner",
        };
        MemberStatus {
            role: role.into(),
            term: metrics.current_term,
            last_log_index: metrics.last_log_index,
            committed_index: metrics.local_committed.map(|log_id| log_id.index),
            applied_index: self.state.position().index(),
            snapshot_index: self.state.newest_snapshot(),
            purged_index: metrics.purged.map(|log_id| log_id.index),
            version: VERSION.into(),
            paused_at: pause.as_ref().map(Pause::to_decide),
            paused: pause.map(|pause| pause.reason.into()),
            decided: self.state.decided().map(|decided| (decided.at, decided.decision)),
            history_suspended: self.history.is_suspended(),
        }
    }

    /// What another member says of itself, within half a second.
    pub(super) async fn status_of(&self, id: NodeId, member: &Member) -> Result<MemberStatus, PeerError> {
        match self.peers.call_member(id, member, Request::Status, STATUS_WAIT).await? {
            Reply::Status(status) => Ok(status),
            _ => Err(PeerError::Unexpected { node: id }),
        }
    }

    /// The cluster, as a round of questions found it that began after this one: it ends within the time of two. A member that
    /// does not answer within half a second is shown as unreachable; an error where as many ask as may, or this node ends.
    pub async fn cluster(&self) -> Result<Arc<ClusterView>, NotRead> {
        let (asking, view) = oneshot::channel();
        self.asks_members.try_send(asking).map_err(|_| NotRead::Overloaded)?;
        let view = timeout_at(self.deadline(), view).await;
        view.ok().and_then(Result::ok).ok_or(NotRead::Overloaded)
    }

    async fn ask_members(&self) -> ClusterView {
        let voters: BTreeSet<NodeId> = self.metrics().membership_config.membership().voter_ids().collect();
        let asked = self.members().into_iter().map(|(id, member)| {
            let is_voter = voters.contains(&id);
            async move {
                let status =
                    if id == self.id() { Ok(self.own_status()) } else { self.status_of(id, &member).await };
                let now = self.clock.monotonic();
                let last_contact = self.me.sightings.last(id).map(|at| now.saturating_sub(at));
                let estrangement = status.as_ref().err().and_then(Estrangement::of);
                MemberView { id, member, is_voter, status: status.ok(), estrangement, last_contact }
            }
        });
        let members = join_all(asked).await;
        let metrics = self.metrics();
        ClusterView {
            cluster_id: self.me.identity().cluster_id,
            leader: self.leader(),
            term: metrics.current_term,
            members,
        }
    }

    /// Whether the node may serve: it applies, a leader answers it, and it has applied what the leader has committed.
    pub async fn ready(&self) -> Result<(), Unready> {
        if let Some(reason) = self.state.paused() {
            return Err(Unready::Paused(reason));
        }
        if self.leader().is_none() {
            return Err(self.no_leader());
        }
        let deadline = tokio::time::Instant::now() + READY_WAIT;
        let index = self.reads.index(false, deadline).await.map_err(|_| self.no_leader())?;
        self.applied(deadline, |applied| applied.index() >= Some(index)).await.ok_or(Unready::NotCaughtUp)
    }

    /// A node that was started wrongly has none because the others refuse it.
    fn no_leader(&self) -> Unready {
        Unready::NoLeader(self.peers.estranged())
    }
}
