//! The node's eye on itself: it stops rather than serve from a broken core, a leader without a majority falls silent, and a
//! log whose disk hangs is told of.

use std::collections::BTreeSet;
use std::sync::Weak;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesOrdered;
use openraft::async_runtime::{RecvError, WatchReceiver};
use openraft::{Instant as _, RaftMetrics, ServerState};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use super::Node;
use crate::replication::{LogBusy, NodeId, TypeConfig};

const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Past this distance from the members' median a wall clock is wrong, and its node does not lead.
const CLOCK_ERROR_MS_MAX: u64 = 1_000;
/// A write or a flush of the log that has not returned for so long is told of: the disk hangs.
const LOG_BUSY_MAX: Duration = Duration::from_secs(10);
/// A handover that was asked for is not asked for again before it had its time.
const HAND_OVER_EVERY: Duration = Duration::from_secs(2);

/// What was seen when it last looked.
#[derive(Default)]
struct Seen {
    leader: Option<NodeId>,
    log_hangs: bool,
    /// Since when this node leads.
    leading: Option<Instant>,
    /// Since when it leads without the answer of a majority.
    lost: Option<Instant>,
    handed_over: Option<Instant>,
}

/// Runs until the node is gone or must stop. `storage_fatal` tells of an fsync that failed or a worker that died,
/// `log_busy` of one that does not come back.
pub async fn run(node: Weak<Node>, mut storage_fatal: watch::Receiver<Option<String>>, log_busy: LogBusy) {
    let mut seen = Seen::default();
    loop {
        // Woken at once by the storage, else by the clock.
        let _ = timeout(LOOK_EVERY, storage_fatal.changed()).await;
        let Some(node) = node.upgrade() else { return };
        if let Some(reason) = storage_fatal.borrow().clone() {
            return node.stop_because(reason);
        }
        seen.log_hangs = tell_of_a_log_that_hangs(seen.log_hangs, log_busy.lasts());
        let metrics = node.metrics();
        node.look_for_suspension();
        if let Err(fatal) = &metrics.running_state {
            if *node.closing.borrow() {
                // As it was told to.
                return;
            }
            return node.stop_because(format!("raft has stopped: {fatal}"));
        }
        if seen.leader != node.leader() {
            seen.leader = node.leader();
            match seen.leader {
                Some(leader) => tracing::info!(leader, term = metrics.current_term, "there is a leader"),
                None => tracing::info!(term = metrics.current_term, "there is no leader"),
            }
        }
        node.peers.stop_appends(seen.is_to_be_silent(&node, &metrics));
        if metrics.state == ServerState::Leader {
            seen.hand_over_where_it_must_not_lead(&node).await;
        }
    }
}

impl Seen {
    /// Whether the node leads without a majority, and is to send no appends now.
    fn is_to_be_silent(&mut self, node: &Node, metrics: &RaftMetrics<TypeConfig>) -> bool {
        let since = |before: Option<Instant>, holds: bool| holds.then(|| before.unwrap_or_else(Instant::now));
        self.leading = since(self.leading, metrics.state == ServerState::Leader);
        let patience = 2 * node.config.timings.election_max;
        // A new leader has had no time to be answered.
        let is_lost = self.leading.is_some_and(|since| since.elapsed() > patience)
            && metrics.membership_config.membership().voter_ids().count() > 1
            && metrics.last_quorum_acked.is_none_or(|acked| acked.elapsed() > patience);
        self.lost = since(self.lost, is_lost);
        self.lost.is_some_and(|since| falls_silent(since.elapsed(), patience))
    }

    /// A leader that has paused, or whose clock is wrong, gives way.
    async fn hand_over_where_it_must_not_lead(&mut self, node: &Node) {
        let off = node.median_offset_ms().unsigned_abs();
        let paused = node.state.paused();
        let has_had_time = self.handed_over.is_none_or(|at| at.elapsed() > HAND_OVER_EVERY);
        if (paused.is_none() && off <= CLOCK_ERROR_MS_MAX) || !has_had_time {
            return;
        }
        match paused {
            Some(reason) => tracing::warn!(%reason, "this node has paused, and must not lead"),
            None => tracing::warn!(clock_off_ms = off, "this node's clock is wrong, and it must not lead"),
        }
        self.handed_over = Some(Instant::now());
        node.hand_over().await;
    }
}

/// Tells when the log begins to hang, and when that is over; gives whether it hangs.
fn tell_of_a_log_that_hangs(hung: bool, busy: Option<Duration>) -> bool {
    let hangs = busy.is_some_and(|lasts| lasts > LOG_BUSY_MAX);
    match (hung, hangs) {
        (false, true) => tracing::error!(
            seconds = LOG_BUSY_MAX.as_secs(),
            "the log's disk does not return from a write or a flush: nothing more is stored on it until it does"
        ),
        (true, false) => tracing::info!("the log's disk takes writes again"),
        (false, false) | (true, true) => {}
    }
    hangs
}

/// Whether a leader that has been without a majority for `lost` is silent now. It is for long enough that those who hear
/// it elect another, and then speaks up for a while: its log may be the longest, and then no other can be elected.
fn falls_silent(lost: Duration, patience: Duration) -> bool {
    let silent = 2 * patience;
    let cycle = silent + patience;
    lost.as_millis() % cycle.as_millis().max(1) < silent.as_millis()
}

impl Node {
    /// Passes leadership to a member that is caught up and has not paused, where this node has it.
    pub(super) async fn hand_over(&self) {
        let Some(heir) = self.heir().await else { return };
        if let Err(error) = self.raft.trigger().transfer_leader(heir).await {
            tracing::warn!(heir, %error, "leadership could not be handed over");
            return;
        }
        let moved = async {
            let mut leadership = self.raft.server_metrics();
            while self.leads() {
                leadership.changed().await?;
            }
            Ok::<(), RecvError>(())
        };
        match timeout(self.config.timings.election_max, moved).await {
            Ok(Ok(_)) => tracing::info!(heir, "leadership was handed over"),
            Ok(Err(_)) | Err(_) => tracing::warn!(heir, "leadership was offered and not taken in time"),
        }
    }

    /// The first of those that have not paused: who has paused stores all the same, and serves nobody. None where all have, and
    /// this node too: leadership would only go round.
    async fn heir(&self) -> Option<NodeId> {
        let (heirs, members) = (self.heirs(), self.members());
        // All are asked at once, and nobody waits for the slower ones behind one that goes on.
        let asked = heirs.iter().filter_map(|id| Some((*id, members.get(id)?)));
        let mut statuses: FuturesOrdered<_> =
            asked.map(async |(id, member)| (id, self.status_of(id, member).await.ok())).collect();
        let mut not_paused = None;
        while let Some((id, status)) = statuses.next().await {
            match status {
                Some(status) if status.paused.is_some() => {}
                // It may have fallen behind meanwhile.
                Some(_) if self.heirs().contains(&id) => return Some(id),
                Some(_) | None => not_paused = not_paused.or(Some(id)),
            }
        }
        let any = if self.state.paused().is_some() { not_paused } else { heirs.first().copied() };
        any.filter(|id| self.heirs().contains(id))
    }

    /// Voters that are caught up, those with the longest logs first: a failed transfer refuses writes until an election.
    fn heirs(&self) -> Vec<NodeId> {
        let metrics = self.metrics();
        if metrics.state != ServerState::Leader {
            return Vec::new();
        }
        let committed = metrics.local_committed.map(|log_id| log_id.index);
        let voters: BTreeSet<NodeId> = metrics.membership_config.membership().voter_ids().collect();
        let mut heirs: Vec<_> = (metrics.replication.into_iter().flatten())
            .filter(|(id, _)| *id != self.id() && voters.contains(id))
            .map(|(id, matched)| (matched.map(|log_id| log_id.index), id))
            .filter(|(matched, _)| *matched >= committed)
            .collect();
        heirs.sort_unstable_by(|one, other| other.cmp(one));
        heirs.into_iter().map(|(_, id)| id).collect()
    }
}
