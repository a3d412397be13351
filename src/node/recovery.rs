//! How a node that has paused goes on while it runs: with a peer's snapshot that lies past what it could not apply.
//!
//! An operator's decision ends a pause too: what is left to do behind it is done here.
//!
//! openraft takes all that it handed over for applied, so no leader sends this node a snapshot of its own accord.

use std::sync::Weak;
use std::time::Duration;

use super::Node;
use crate::ledger::{Command, Submission};
use crate::replication::{
    FetchedPiece, NodeId, Pause, PeerRefusal, Reply, Request, SNAPSHOT_BYTES_MAX, SnapshotFile,
    SnapshotRequest, blocking,
};

const LOOK_EVERY: Duration = Duration::from_secs(3);

/// Why a peer's snapshot did not help. Another look follows.
type NoHelp = Box<dyn std::error::Error + Send + Sync>;

/// Runs until the node is gone.
pub async fn run(node: Weak<Node>) {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let Some(node) = node.upgrade() else { return };
        node.forget_what_nobody_can_tell().await;
        let Some(pause) = node.state.pause() else { continue };
        for peer in node.peers_to_ask() {
            match node.go_on_with_snapshot_of(peer, &pause).await {
                Ok(true) => break,
                Ok(false) => {}
                Err(error) => tracing::debug!(peer, %error, "a peer gave no snapshot to go on with"),
            }
        }
    }
}

impl Node {
    /// What all nodes were told before a decision was not the past of the state that they have since, and so is set aside.
    /// No peer has another: it is forgotten by an entry of the log, so that nobody waits for it. What is missing for another
    /// reason is not touched: others may have it.
    async fn forget_what_nobody_can_tell(&self) {
        let Some(decided) = self.state.decided().filter(|_| self.leads()) else { return };
        let window = decided.decision.check.lsn..=decided.lsn;
        let Some(gap) = self.history.gap_of_divergence().filter(|gap| window.contains(&gap.upto.lsn)) else {
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

    /// The leader first: what it has applied is what the log goes on from.
    fn peers_to_ask(&self) -> Vec<NodeId> {
        let leader = self.leader();
        let mut peers: Vec<NodeId> = self.members().into_keys().filter(|id| *id != self.id()).collect();
        peers.sort_by_key(|id| Some(*id) != leader);
        peers
    }

    /// False where the peer's snapshot does not help any more.
    async fn go_on_with_snapshot_of(&self, peer: NodeId, pause: &Pause) -> Result<bool, NoHelp> {
        let file = self.fetch_snapshot(peer, pause).await?;
        tracing::info!(peer, index = file.meta().index(), "a peer's snapshot was fetched");
        let loading = file.clone();
        let ledger = blocking(&*self.disk, move || loading.load()).await??;
        let taken = self.raft.with_state_machine(move |machine| Box::pin(machine.take_over(file, ledger)));
        Ok(taken.await??)
    }

    async fn fetch_snapshot(&self, peer: NodeId, pause: &Pause) -> Result<SnapshotFile, NoHelp> {
        let upto = self.metrics().last_applied.map_or(0, |log_id| log_id.index);
        let mut question = SnapshotRequest { from: pause.index, upto, offset: 0 };
        let first = self.fetch_piece(peer, question).await?;
        let (meta, length) = (first.meta.clone(), first.length);
        let index = meta.index().filter(|index| (pause.index..=upto).contains(index));
        let index = index.filter(|_| length <= SNAPSHOT_BYTES_MAX).ok_or("it is not what was asked for")?;
        (question.from, question.upto) = (index, index);
        let snapshots = self.state.snapshots().clone();
        let mut incoming = blocking(&*self.disk, move || snapshots.begin_receive()).await??;
        let mut piece = first;
        loop {
            if (&piece.meta, piece.length) != (&meta, length) || piece.bytes.is_empty() {
                return Err("its pieces don't belong together".into());
            }
            incoming = incoming.take(piece.bytes, &*self.disk).await?;
            question.offset = incoming.received();
            if question.offset >= length {
                break;
            }
            piece = self.fetch_piece(peer, question).await?;
        }
        let file = blocking(&*self.disk, move || incoming.finish()).await??;
        if *file.meta() == meta {
            Ok(file)
        } else {
            Err("it holds another position than was announced".into())
        }
    }

    async fn fetch_piece(&self, peer: NodeId, question: SnapshotRequest) -> Result<FetchedPiece, NoHelp> {
        let member = self.member(peer).ok_or("it is no member any more")?;
        let wait = self.config.timings.snapshot_piece;
        match self.peers.call_member(peer, &member, Request::FetchSnapshot(question), wait).await? {
            Reply::FetchedSnapshot(piece) => Ok(piece),
            _ => Err("it answered something else than was asked".into()),
        }
    }

    /// A piece of one of this node's snapshots, for a peer that has paused.
    pub(super) async fn snapshot_for_peer(&self, question: SnapshotRequest) -> Result<Reply, PeerRefusal> {
        let SnapshotRequest { from, upto, offset } = question;
        let reaches = |file: &SnapshotFile| file.meta().index().is_some_and(|at| (from..=upto).contains(&at));
        let file = self.state.snapshots().kept().into_iter().find(reaches).ok_or(PeerRefusal::NoSnapshot)?;
        let (reading, bytes_max) = (file.clone(), self.config.limits.snapshot_piece_bytes);
        let read = blocking(&*self.disk, move || reading.piece(offset, bytes_max)).await;
        let bytes = read.and_then(|bytes| bytes).map_err(|error| {
            tracing::warn!(%error, file = %file.path().display(), "a snapshot could not be read for a peer");
            PeerRefusal::NoSnapshot
        })?;
        let piece = FetchedPiece { meta: file.meta().clone(), length: file.len(), bytes: bytes.into() };
        Ok(Reply::FetchedSnapshot(piece))
    }
}
