//! An operator's decision that the cluster goes on from where it has paused: proposed by the leader, which has paused itself.

use std::time::Duration;

use openraft::async_runtime::WatchReceiver;
use tokio::time::Instant;

use super::append::Appended;
use super::{Node, change_of_leader};
use crate::ledger::StateHash;
use crate::replication::{BatchReply, Decision, NodeId, NotDecided, Reply, Request};

/// How long to wait before another try, where no change of leader is seen earlier. Paused leaders hand over.
const RETRY_AFTER: Duration = Duration::from_millis(50);

impl Node {
    /// Has the decision taken that nodes which paused at the entry `index` with this state hash go on from there. Answers the
    /// index at which the log holds it.
    pub async fn decide(&self, index: u64, state_hash: StateHash) -> Result<u64, NotDecided> {
        let deadline = self.deadline();
        let mut leadership = self.raft.server_metrics();
        while Instant::now() < deadline {
            drop(leadership.borrow_and_update());
            let taken = match self.leader() {
                Some(leader) if leader == self.id() => {
                    self.propose_decision(index, state_hash, deadline).await
                }
                Some(leader) => self.forward_decision(leader, index, state_hash, deadline).await,
                None => Err(NotDecided::NoLeader),
            };
            if taken != Err(NotDecided::NoLeader) {
                return taken;
            }
            change_of_leader(leadership.changed(), RETRY_AFTER).await;
        }
        Err(NotDecided::NoLeader)
    }

    async fn forward_decision(
        &self,
        leader: NodeId,
        index: u64,
        state_hash: StateHash,
        deadline: Instant,
    ) -> Result<u64, NotDecided> {
        let member = self.member(leader).ok_or(NotDecided::NoLeader)?;
        let wait = deadline.saturating_duration_since(Instant::now());
        match self.peers.call_member(leader, &member, Request::Decide { index, state_hash }, wait).await {
            Ok(Reply::Decided(taken)) => taken,
            Err(error) if error.nothing_happened() => Err(NotDecided::NoLeader),
            Ok(_) | Err(_) => Err(NotDecided::Unknown),
        }
    }

    /// Only where this leader has paused itself at that place, and nobody that answers goes on: then there is no newer
    /// snapshot, and none to come.
    pub(super) async fn propose_decision(
        &self,
        index: u64,
        state_hash: StateHash,
        deadline: Instant,
    ) -> Result<u64, NotDecided> {
        let leader = self.id();
        let pause = self.state.pause().ok_or(NotDecided::NotPaused { leader })?;
        let decision = pause.to_decide();
        if (decision.index, decision.check.state_hash) != (index, state_hash) {
            let (index, state_hash) = (decision.index, decision.check.state_hash);
            return Err(NotDecided::PausedElsewhere { leader, index, state_hash });
        }
        if !pause.is_readable {
            return Err(NotDecided::Unreadable { index });
        }
        let cluster = self.cluster().await.map_err(|_| NotDecided::NoLeader)?;
        let goes_on = (cluster.members.iter())
            .find(|member| member.status.as_ref().is_some_and(|status| status.paused.is_none()));
        if let Some(member) = goes_on {
            return Err(NotDecided::OthersGoOn { node: member.id });
        }
        self.append_decision(decision, deadline).await
    }

    async fn append_decision(&self, decision: Decision, deadline: Instant) -> Result<u64, NotDecided> {
        let payload = decision.encode().map_err(|error| {
            tracing::error!(%error, "a decision could not be encoded");
            NotDecided::NoLeader
        })?;
        match self.append(payload, deadline).await {
            Appended::Applied(index, BatchReply::NoBatch) => Ok(index),
            Appended::NotLeader => Err(NotDecided::NoLeader),
            Appended::Applied(..) | Appended::Unknown => Err(NotDecided::Unknown),
        }
    }
}
