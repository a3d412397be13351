//! Reads: what must hold before this node's state may answer.
//!
//! A linearizable read is confirmed by the leader, which asks a majority whether it still leads (never by lease: a
//! restarted voter forgets the lease it granted). Reads that wait together share one round. A local read asks nobody
//! and answers from what this node has applied.

use std::io;
use std::sync::Weak;
use std::time::Duration;

use openraft::ReadPolicy;
use openraft::async_runtime::WatchReceiver;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio::task::yield_now;
use tokio::time::{Instant, timeout, timeout_at};

use super::{Node, change_of_leader};
use crate::ledger::{Ledger, Lsn};
use crate::planted::{Bug, planted};
use crate::replication::{NodeId, PeerRefusal, Reply, Request, blocking};

/// How long to wait before a round that failed is tried again, where no change of leader is seen earlier.
const RETRY_AFTER: Duration = Duration::from_millis(25);

/// Reads that are enough for a round of their own.
const WORTH_A_ROUND: usize = 128;

/// How long the answer of a leader that was replaced is still waited for.
const DEPOSED_GRACE: Duration = Duration::from_millis(250);

/// Which state may answer a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consistency {
    /// Everything that was acknowledged anywhere before the read began.
    Linearizable,
    /// What this node has applied, where that was all that a leader had committed no longer ago than `max_staleness`.
    Local { max_staleness: Option<Duration> },
}

/// Why a read was not answered. Nothing ever happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotRead {
    #[error("no leader confirmed the read in time")]
    NoLeader,
    #[error("too many reads wait already")]
    Overloaded,
    #[error(
        "this node has not applied that position in time, or has not had all that a leader had for longer than the read allows"
    )]
    TooStale,
    #[error("this node has paused applying")]
    Paused,
}

/// The bounded queue of reads that wait for a round.
pub struct Reads {
    queue: mpsc::Sender<Waiting>,
}

struct Waiting {
    /// A round for another node's read is never passed on.
    for_peer: bool,
    answer: oneshot::Sender<Result<u64, NotRead>>,
}

/// The other end of the queue.
pub struct Rounds {
    queue: mpsc::Receiver<Waiting>,
}

pub fn queue(queued_reads_max: usize) -> (Reads, Rounds) {
    let (sender, receiver) = mpsc::channel(queued_reads_max);
    (Reads { queue: sender }, Rounds { queue: receiver })
}

impl Reads {
    /// The index that a read which begins now must have applied.
    pub(super) async fn index(&self, for_peer: bool, deadline: Instant) -> Result<u64, NotRead> {
        let (answer, index) = oneshot::channel();
        self.queue.try_send(Waiting { for_peer, answer }).map_err(|refused| match refused {
            mpsc::error::TrySendError::Full(_) => NotRead::Overloaded,
            mpsc::error::TrySendError::Closed(_) => NotRead::NoLeader,
        })?;
        timeout_at(deadline, index).await.ok().and_then(Result::ok).unwrap_or(Err(NotRead::NoLeader))
    }
}

impl Node {
    /// Returns once this node's state may answer the read, at the latest at `deadline`.
    pub async fn ready_to_read(
        &self,
        consistency: Consistency,
        min_lsn: Option<Lsn>,
        deadline: Instant,
    ) -> Result<(), NotRead> {
        self.may_read(consistency)?;
        if consistency == Consistency::Linearizable {
            let index = self.reads.index(false, deadline).await?;
            if planted(Bug::ReadNotAwaited) {
                return Ok(());
            }
            let applied = self.applied(deadline, |applied| applied.index() >= Some(index));
            applied.await.ok_or(NotRead::NoLeader)?;
        }
        if let Some(lsn) = min_lsn {
            self.applied(deadline, |applied| applied.lsn >= lsn).await.ok_or(NotRead::TooStale)?;
        }
        Ok(())
    }

    /// Whether this node may answer such reads at all, now: for who has waited since [`ready_to_read`](Node::ready_to_read).
    pub fn may_read(&self, consistency: Consistency) -> Result<(), NotRead> {
        if self.state.paused().is_some() {
            return Err(NotRead::Paused);
        }
        match consistency {
            Consistency::Local { max_staleness: Some(bound) } if self.silence() > bound => {
                Err(NotRead::TooStale)
            }
            _ => Ok(()),
        }
    }

    /// A place for one long list while it is made; `None` where none comes free within `wait`.
    pub async fn place_for_list(&self, wait: Duration) -> Option<OwnedSemaphorePermit> {
        timeout(wait, self.permits.lists.clone().acquire_owned()).await.ok()?.ok()
    }

    /// Asks what is long to answer: of the properties as they are now, apart from the state that is applied to, on a thread
    /// that no other request waits for. The place is taken until that has ended, whoever waits. Call it once this node may
    /// answer the read. An error where the question panicked.
    pub async fn ask_apart<T: Send + 'static>(
        &self,
        place: OwnedSemaphorePermit,
        question: impl FnOnce(&Ledger) -> T + Send + 'static,
    ) -> io::Result<T> {
        let apart = self.with_ledger(Ledger::properties_apart);
        let answered = blocking(&*self.disk, move || {
            let answer = question(&apart);
            // What the state no longer has is given back here.
            drop(apart);
            drop(place);
            answer
        });
        answered.await
    }

    /// A peer's question for a read index. Only a leader answers it.
    pub async fn read_index_for_peer(&self, deadline: Instant) -> Result<u64, PeerRefusal> {
        if self.leader() != Some(self.id()) {
            return Err(PeerRefusal::NotLeader);
        }
        self.reads.index(true, deadline).await.map_err(|_| PeerRefusal::NoQuorum)
    }

    /// Confirms as leader that it still leads, and gives an index at which what is due by its log clock has ended.
    async fn confirm_lead(&self) -> Option<u64> {
        let deadline = Instant::now() + self.config.timings.peer_message;
        if planted(Bug::StaleLeaderReads) {
            return self.position().index();
        }
        loop {
            let round = timeout_at(deadline, self.raft.get_read_linearizer(ReadPolicy::ReadIndex)).await;
            let index = round.ok()?.ok()?.read_log_id().index();
            self.applied(deadline, |applied| applied.index() >= Some(index)).await?;
            if planted(Bug::DueNotAwaited) {
                return Some(index);
            }
            if let Some(lsn) = self.all_ended_at() {
                // What was due may have been ended by an entry after the index: whoever reads must have that one too.
                self.applied(deadline, |applied| applied.lsn >= lsn).await?;
                return self.position().index().max(Some(index));
            }
            self.end_due(deadline).await.ok()?;
        }
    }

    /// Returns once another node leads: what `leader` was sent may yet be answered, but is no longer waited for.
    pub(super) async fn deposed(&self, leader: NodeId) {
        let mut leadership = self.raft.server_metrics();
        // Whoever was elected, heard from or not: silence changes without a word that this could wait for.
        while self.elected_leader().is_none_or(|now| now == leader) {
            if leadership.changed().await.is_err() {
                return;
            }
        }
        tokio::time::sleep(DEPOSED_GRACE).await;
    }

    /// Asks the leader for a read index on behalf of this follower's reads.
    async fn ask_leader(&self, leader: NodeId) -> Option<u64> {
        if planted(Bug::FollowerReadsItself) {
            return self.position().index();
        }
        let member = self.member(leader)?;
        let wait = self.config.timings.peer_message;
        let request = Request::ReadIndex { wait_ms: wait.as_millis() as u64 };
        match self.peers.call_member(leader, &member, request, wait).await {
            Ok(Reply::ReadIndex(index)) => Some(index),
            Ok(_) => None,
            Err(error) => {
                tracing::debug!(leader, %error, "the leader gave no read index");
                None
            }
        }
    }
}

impl Rounds {
    /// Runs one round after the other until the node is gone. A read joins the first round that begins after it.
    pub async fn run(mut self, node: Weak<Node>) {
        let mut waiting: Vec<Waiting> = Vec::new();
        loop {
            if waiting.is_empty() {
                match self.queue.recv().await {
                    Some(first) => waiting.push(first),
                    None => return,
                }
            }
            self.wait_for_company(&mut waiting).await;
            let Some(node) = node.upgrade() else { return };
            waiting = round(&node, waiting).await;
        }
    }

    /// Takes those who wait, and lets those who are about to ask do so as long as each turn of the runtime brings some, up
    /// to [`WORTH_A_ROUND`]: a round costs messages to every member, however many it is for.
    async fn wait_for_company(&mut self, waiting: &mut Vec<Waiting>) {
        loop {
            yield_now().await;
            let before = waiting.len();
            while let Ok(next) = self.queue.try_recv() {
                waiting.push(next);
            }
            if waiting.len() == before || waiting.len() >= WORTH_A_ROUND {
                return;
            }
        }
    }
}

/// One round for all that wait; returns those that wait for the next.
async fn round(node: &Node, mut waiting: Vec<Waiting>) -> Vec<Waiting> {
    let mut leadership = node.raft.server_metrics();
    drop(leadership.borrow_and_update());
    let leader = node.leader();
    let index = match leader {
        Some(leader) if leader == node.id() => node.confirm_lead().await,
        leader => {
            let (for_peers, own): (Vec<_>, Vec<_>) = waiting.into_iter().partition(|read| read.for_peer);
            answer_all(for_peers, Err(NotRead::NoLeader));
            waiting = own;
            match leader {
                Some(leader) if !waiting.is_empty() => tokio::select! {
                    biased;
                    index = node.ask_leader(leader) => index,
                    () = node.deposed(leader) => None,
                },
                _ => None,
            }
        }
    };
    if let Some(index) = index {
        answer_all(waiting, Ok(index));
        return Vec::new();
    }
    // Whoever asked and went away, its deadline over, is not asked for again.
    waiting.retain(|read| !read.answer.is_closed());
    if !waiting.is_empty() {
        // Either a change of leader or the pause is what was waited for.
        change_of_leader(leadership.changed(), RETRY_AFTER).await;
    }
    waiting
}

fn answer_all(waiting: Vec<Waiting>, answer: Result<u64, NotRead>) {
    for read in waiting {
        // A reader that went away no longer waits for its answer.
        let _ = read.answer.send(answer);
    }
}

#[cfg(test)]
mod tests {
    use super::super::Timings;
    use super::super::tests::start_with;
    use super::*;

    /// While nobody leads they would be more with every request.
    #[tokio::test]
    async fn who_has_gone_away_is_not_asked_for_again() {
        let dir = tempfile::tempdir().unwrap();
        let members = [(1, "127.0.0.1:2"), (2, "127.0.0.1:3")];
        let node = start_with(&dir, &members, Timings::default()).await.unwrap();
        let (waits, gone) = (oneshot::channel(), oneshot::channel());
        drop(gone.1);
        let waiting = [waits.0, gone.0].map(|answer| Waiting { for_peer: false, answer });
        let left = round(&node, waiting.into()).await;
        assert_eq!(left.len(), 1);
        assert!(!left[0].answer.is_closed());
        node.shut_down().await;
    }
}
