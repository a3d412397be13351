//! A snapshot that this node fetches from a peer: it has paused, and no leader sends it one of its own accord.
//!
//! In pieces, as large as the way takes in their time. A piece that was lost is asked for again, and a fetch that broke off
//! goes on from where it was while the peer [holds](super::lent) what it gives. A peer of an earlier build gives pieces of
//! a size of its own, and holds nothing.

use std::io;
use std::ops::RangeInclusive;
use std::sync::Arc;

use tokio::time::{Instant, sleep_until};

use super::disk::{blocking, let_go};
use super::message::{FetchedPiece, PeerRefusal, Reply, Request, SnapshotRequest};
use super::network::{PeerError, Peers, SNAPSHOT_BYTES_MAX};
use super::pace::{LOST_MAX, Pace, again_after};
use super::snapshot::{IncomingSnapshot, SnapshotError, SnapshotFile, SnapshotMeta, SnapshotStore};
use super::transport::Lost;
use super::types::{Member, NodeId};

/// What has come of a peer's snapshot. Dropped, it leaves nothing behind, which may take time.
pub struct Fetch {
    peer: NodeId,
    meta: SnapshotMeta,
    /// Up to where it reaches.
    index: u64,
    /// Bytes of the whole.
    length: u64,
    incoming: IncomingSnapshot,
    pace: Pace,
}

impl Fetch {
    /// Whose snapshot it is.
    pub fn peer(&self) -> NodeId {
        self.peer
    }
}

/// Why a peer's snapshot was not fetched.
#[derive(Debug, thiserror::Error)]
pub enum NotFetched {
    #[error(transparent)]
    Peer(#[from] PeerError),
    #[error("what the peer gives is not what was asked for, or its pieces don't belong together")]
    Unlike,
    #[error("it is not wanted any more")]
    NotWanted,
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    #[error(transparent)]
    Disk(#[from] io::Error),
}

impl NotFetched {
    /// Whether something came that is of no use, and would be none if it came again.
    pub fn is_in_vain(&self) -> bool {
        matches!(self, NotFetched::Unlike | NotFetched::Snapshot(_) | NotFetched::Disk(_))
    }
}

impl Peers {
    /// Fetches a snapshot of `peer` that reaches to one of the indexes that are `wanted`, and checks it as a whole; ends where
    /// none is wanted any more. What came before the way broke off is left in `begun`: the next call for the same peer goes
    /// on from there.
    pub async fn fetch_snapshot(
        &self,
        peer: NodeId,
        member: &Member,
        wanted: impl Fn() -> Option<RangeInclusive<u64>>,
        snapshots: &Arc<SnapshotStore>,
        begun: &mut Option<Fetch>,
    ) -> Result<SnapshotFile, NotFetched> {
        let is_wanted = |index: u64| wanted().is_some_and(|wanted| wanted.contains(&index));
        let mut fetch = match begun.take_if(|begun| begun.peer == peer && is_wanted(begun.index)) {
            Some(begun) => begun,
            None => {
                let wanted = wanted().ok_or(NotFetched::NotWanted)?;
                self.begin_fetch(peer, member, wanted, snapshots).await?
            }
        };
        // Two at once would take the room of two.
        if let Some(other) = begun.take() {
            let_go(&*self.disk, other);
        }
        while fetch.incoming.received() < fetch.length {
            if !is_wanted(fetch.index) {
                let_go(&*self.disk, fetch);
                return Err(NotFetched::NotWanted);
            }
            match self.next_piece(member, &mut fetch).await {
                Ok(piece) => fetch = self.take_piece(fetch, piece).await?,
                Err(error) => return Err(self.broke_off(fetch, error, begun)),
            }
        }
        let Fetch { meta, incoming, .. } = fetch;
        let file = blocking(&*self.disk, move || incoming.finish()).await??;
        if *file.meta() != meta {
            let_go(&*self.disk, file);
            return Err(NotFetched::Unlike);
        }
        Ok(file)
    }

    /// Asks for the first piece, once: whoever does not answer now is asked again later, after the others. `wanted` are the
    /// indexes to which the snapshot may reach.
    async fn begin_fetch(
        &self,
        peer: NodeId,
        member: &Member,
        wanted: RangeInclusive<u64>,
        snapshots: &Arc<SnapshotStore>,
    ) -> Result<Fetch, NotFetched> {
        let mut pace = Pace::from_least(self.piece_bytes);
        let question = SnapshotRequest { from: *wanted.start(), upto: *wanted.end(), offset: 0, bytes: None };
        let first = self.ask_for_piece(peer, member, question, &mut pace).await?;
        let (meta, length) = (first.meta.clone(), first.length);
        let index = meta.index().filter(|index| wanted.contains(index) && length <= SNAPSHOT_BYTES_MAX);
        let index = index.ok_or(NotFetched::Unlike)?;
        let snapshots = snapshots.clone();
        let incoming = blocking(&*self.disk, move || snapshots.begin_receive()).await??;
        tracing::info!(peer, index, bytes = length, "a snapshot is fetched from a peer");
        self.take_piece(Fetch { peer, meta, index, length, incoming, pace }, first).await
    }

    /// Asks for what comes next, again and again where it is lost.
    async fn next_piece(&self, member: &Member, fetch: &mut Fetch) -> Result<FetchedPiece, PeerError> {
        let (from, upto, offset) = (fetch.index, fetch.index, fetch.incoming.received());
        let question = SnapshotRequest { from, upto, offset, bytes: None };
        let mut lost = 0;
        loop {
            let began = Instant::now();
            let error = match self.ask_for_piece(fetch.peer, member, question, &mut fetch.pace).await {
                Ok(piece) => return Ok(piece),
                Err(error) => error,
            };
            lost += 1;
            if lost >= LOST_MAX || !matches!(error, PeerError::Lost(_)) {
                return Err(error);
            }
            sleep_until(began + again_after(lost)).await;
        }
    }

    async fn ask_for_piece(
        &self,
        peer: NodeId,
        member: &Member,
        question: SnapshotRequest,
        pace: &mut Pace,
    ) -> Result<FetchedPiece, PeerError> {
        let (began, wait) = (Instant::now(), self.timeouts.snapshot_piece);
        let question = SnapshotRequest { bytes: Some(pace.bytes() as u64), ..question };
        let answer = self.call_member(peer, member, Request::FetchSnapshot(question), wait).await;
        match answer {
            Ok(Reply::FetchedSnapshot(piece)) => {
                pace.was_taken(began.elapsed(), wait);
                Ok(piece)
            }
            Ok(_) => Err(PeerError::Unexpected { node: peer }),
            Err(error) => {
                if matches!(error, PeerError::Lost(Lost::NoAnswer { .. })) {
                    pace.was_lost();
                }
                Err(error)
            }
        }
    }

    /// What the peer gave is taken as it is: it is checked once all of it is there.
    async fn take_piece(&self, fetch: Fetch, piece: FetchedPiece) -> Result<Fetch, NotFetched> {
        let left = fetch.length - fetch.incoming.received();
        let fits = (1..=left).contains(&(piece.bytes.len() as u64));
        if !fits || (&piece.meta, piece.length) != (&fetch.meta, fetch.length) {
            let_go(&*self.disk, fetch);
            return Err(NotFetched::Unlike);
        }
        let incoming = fetch.incoming.take(piece.bytes, &*self.disk).await?;
        Ok(Fetch { incoming, ..fetch })
    }

    /// Leaves in `begun` what came, unless the peer has no more of it.
    fn broke_off(&self, fetch: Fetch, error: PeerError, begun: &mut Option<Fetch>) -> NotFetched {
        if matches!(error, PeerError::Refused { refusal: PeerRefusal::NoSnapshot, .. }) {
            let_go(&*self.disk, fetch);
        } else {
            let (received, bytes) = (fetch.incoming.received(), fetch.length);
            tracing::warn!(peer = fetch.peer, received, bytes, %error, "a snapshot on its way from a peer broke off");
            *begun = Some(fetch);
        }
        error.into()
    }
}
