//! How a node that has paused goes on while it runs: with a peer's snapshot that lies past what it could not apply.
//!
//! An operator's decision ends a pause too: what is left to do behind it is done here.
//!
//! openraft takes all that it handed over for applied, so no leader sends this node a snapshot of its own accord.

use std::sync::{MutexGuard, Weak};
use std::time::Duration;

use tokio::time::Instant;

use super::Node;
use crate::ledger::{Command, Lsn, Submission};
use crate::replication::{
    Decided, Fetch, Member, NodeId, NotFetched, PeerRefusal, Reply, SnapshotRequest, blocking, let_go,
};

const LOOK_EVERY: Duration = Duration::from_secs(3);
/// How long no snapshot is fetched after some were fetched in vain: from one look to the next the first time, then twice as
/// long each time. Whatever the reason is, it will not be gone soon, and all of a snapshot is a lot to fetch in vain.
const VAIN_WAIT_MAX: Duration = Duration::from_secs(60);

/// What the peers' snapshots were good for.
enum Look {
    /// One of them has ended the pause.
    Helped,
    /// What came of one was of no use.
    InVain,
    /// None was there, or came to its end.
    Nothing,
}

/// When it is looked again.
struct Patience {
    wait: Duration,
    next: Instant,
}

impl Patience {
    fn new() -> Patience {
        Patience { wait: LOOK_EVERY, next: Instant::now() }
    }

    fn has_seen(&mut self, look: Look, now: Instant) {
        match look {
            Look::Helped => self.wait = LOOK_EVERY,
            Look::InVain => {
                self.next = now + self.wait;
                self.wait = (2 * self.wait).min(VAIN_WAIT_MAX);
            }
            Look::Nothing => {}
        }
    }
}

/// Whether what is not told up to this command is so because of the decision.
fn is_of(decided: &Decided, upto: Lsn) -> bool {
    (decided.decision.check.lsn..=decided.lsn).contains(&upto)
}

/// Runs until the node is gone.
pub async fn run(node: Weak<Node>) {
    let mut patience = Patience::new();
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let Some(node) = node.upgrade() else { return };
        node.forget_what_nobody_can_tell().await;
        if node.state.pause().is_none() {
            node.give_up_fetch();
            patience = Patience::new();
        } else if patience.next <= Instant::now() {
            patience.has_seen(node.look_for_help().await, Instant::now());
        }
    }
}

impl Node {
    /// What all nodes were told before a decision was not the past of the state that they have since, and so is set aside.
    /// No peer has another: it is forgotten by an entry of the log, so that nobody waits for it. What is missing for another
    /// reason is not touched: others may have it.
    async fn forget_what_nobody_can_tell(&self) {
        let Some(decided) = self.state.decided().filter(|_| self.leads()) else { return };
        let Some(gap) = self.history.gap_of_divergence().filter(|gap| is_of(&decided, gap.upto.lsn)) else {
            return;
        };
        tracing::warn!(
            upto = gap.upto.lsn.0,
            "the history up to here is forgotten: a decision made it another"
        );
        let submission = Submission { key: None, command: Command::ForgetHistory(gap.upto) };
        if let Err(error) = self.submit(&submission).await {
            tracing::debug!(%error, "nothing was forgotten; it will be tried again");
        }
    }

    /// Goes on with a peer's snapshot, if one helps.
    async fn look_for_help(&self) -> Look {
        let mut begun = self.lock_fetch().take();
        let mut look = Look::Nothing;
        for peer in self.peers_to_ask(begun.as_ref().map(Fetch::peer)) {
            let Some(member) = self.member(peer) else { continue };
            match self.go_on_with_snapshot_of(peer, &member, &mut begun).await {
                Ok(true) => {
                    look = Look::Helped;
                    break;
                }
                Ok(false) => {
                    tracing::warn!(peer, "a peer's snapshot was fetched and does not help");
                    look = Look::InVain;
                }
                Err(error) if error.is_in_vain() => {
                    tracing::warn!(peer, %error, "a peer's snapshot was fetched in vain");
                    look = Look::InVain;
                }
                Err(error) => tracing::debug!(peer, %error, "a peer gave no snapshot to go on with"),
            }
        }
        *self.lock_fetch() = begun;
        look
    }

    /// First whose snapshot is fetched already, then the leader: what it has applied is what the log goes on from.
    fn peers_to_ask(&self, begun: Option<NodeId>) -> Vec<NodeId> {
        let leader = self.leader();
        let mut peers: Vec<NodeId> = self.members().into_keys().filter(|id| *id != self.id()).collect();
        peers.sort_by_key(|id| (Some(*id) != begun, Some(*id) != leader));
        peers
    }

    /// False where the peer's snapshot does not help any more.
    async fn go_on_with_snapshot_of(
        &self,
        peer: NodeId,
        member: &Member,
        begun: &mut Option<Fetch>,
    ) -> Result<bool, NotFetched> {
        // Past what was not applied, and not past what is in this node's log; none once an operator's decision ends the pause.
        let wanted = || {
            let upto = self.metrics().last_applied.map_or(0, |log_id| log_id.index);
            self.state.pause().map(|pause| pause.index..=upto)
        };
        let file = self.peers.fetch_snapshot(peer, member, wanted, self.state.snapshots(), begun).await?;
        tracing::info!(peer, index = file.meta().index(), "a peer's snapshot was fetched");
        // A file that can't be loaded is dropped there, too.
        let loading = move || file.load().map(|ledger| (file, ledger));
        let (file, ledger) = blocking(&*self.disk, loading).await??;
        let taken = self.raft.with_state_machine(move |machine| Box::pin(machine.take_over(file, ledger)));
        Ok(taken.await.map_err(std::io::Error::other)??)
    }

    /// What was fetched until now is of no use any more.
    fn give_up_fetch(&self) {
        if let Some(begun) = self.lock_fetch().take() {
            let_go(&*self.disk, begun);
        }
    }

    fn lock_fetch(&self) -> MutexGuard<'_, Option<Fetch>> {
        self.fetch.lock().expect("no panic while what was fetched is locked")
    }

    /// A piece of one of this node's snapshots, for a peer that has paused.
    pub(super) async fn snapshot_for_peer(
        &self,
        peer: NodeId,
        question: SnapshotRequest,
    ) -> Result<Reply, PeerRefusal> {
        let (kept, bytes_max) = (self.state.snapshots().kept(), self.config.limits.snapshot_piece_bytes);
        let piece = self.lent.piece(peer, question, kept, bytes_max, &*self.disk).await?;
        Ok(Reply::FetchedSnapshot(piece))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::StateHash;
    use crate::replication::{Check, Decision};

    #[test]
    fn what_is_fetched_in_vain_is_fetched_ever_more_rarely() {
        let (mut patience, begun) = (Patience::new(), Instant::now());
        let mut look = |look, at: u64| {
            let now = begun + Duration::from_secs(at);
            patience.has_seen(look, now);
            patience.next.saturating_duration_since(now).as_secs()
        };
        let waits = [0, 3, 9, 21, 45, 93, 153].map(|at| look(Look::InVain, at));
        assert_eq!(waits, [3, 6, 12, 24, 48, 60, 60]);
        assert_eq!(look(Look::Nothing, 213), 0);
        look(Look::Helped, 214);
        assert_eq!(look(Look::InVain, 215), 3);
    }

    /// What is missing for another reason the peers may have.
    #[test]
    fn only_what_the_decision_made_another_is_forgotten() {
        let check = Check { lsn: Lsn(7), state_hash: StateHash(1) };
        let decided = Decided { at: 3, decision: Decision { index: 3, check }, lsn: Lsn(9) };
        let of_it: Vec<u64> = (5..12).filter(|lsn| is_of(&decided, Lsn(*lsn))).collect();
        assert_eq!(of_it, [7, 8, 9]);
    }
}
