//! A snapshot on its way to one follower: in pieces, as large as the way takes in their time. A piece that was lost is sent
//! again, and a transfer that broke off goes on from where the follower has come.
//!
//! A follower of an earlier build can't say how far it has come: where it refuses a piece that came twice, all is sent again.

use std::io;
use std::time::Duration;

use openraft::alias::{SnapshotOf, VoteOf};
use openraft::errors::{NetworkError, StreamingError};
use openraft::raft::SnapshotResponse;
use tokio::time::{Instant, sleep, sleep_until};
use uuid::Uuid;

use super::codec::{self, CodecError};
use super::disk::{Disk, blocking, blocking_behind};
use super::message::{PeerRefusal, Reply, Request, SnapshotPiece};
use super::network::{Link, PeerError, loaded_within, rpc_error};
use super::pace::{LOST_MAX, again_after, doubled};
use super::snapshot::SnapshotFile;
use super::transport::Lost;
use super::types::{RaftSnapshotMeta, TypeConfig};

/// How often in one transfer the follower may want again what it had.
const BACK_MAX: u32 = 3;
/// How long nothing is sent to a follower that has refused what a snapshot holds: it doubles with each. Whatever the reason
/// is, it will not be gone soon, and all of a snapshot is a lot to send in vain.
const REFUSED_WAIT_MIN: Duration = Duration::from_secs(1);
const REFUSED_WAIT_MAX: Duration = Duration::from_secs(60);

type Installed = SnapshotResponse<TypeConfig>;
type Broken = StreamingError<TypeConfig>;

/// How long nothing is sent now to a follower that has refused one, for so many times.
fn refused_wait(times: u32) -> Duration {
    doubled(REFUSED_WAIT_MIN, times, REFUSED_WAIT_MAX)
}

/// One transfer.
struct Sending {
    vote: VoteOf<TypeConfig>,
    meta: RaftSnapshotMeta,
    file: SnapshotFile,
    transfer: Uuid,
    /// What the follower has, as far as it has said.
    offset: u64,
    /// How often the piece from there was lost.
    lost: u32,
    /// How often it turned out to have less.
    back: u32,
}

/// What was asked with a piece.
struct Sent {
    /// What the follower has once it has taken it.
    end: u64,
    /// Whether that is all.
    last: bool,
    began: Instant,
}

impl Sending {
    /// What comes next, of so many bytes at most.
    async fn next_piece(&self, bytes_max: usize, disk: &dyn Disk) -> io::Result<SnapshotPiece> {
        let length = self.file.len();
        let (file, offset) = (self.file.clone(), self.offset);
        let bytes = blocking(disk, move || file.piece(offset, bytes_max)).await??;
        let end = self.offset + bytes.len() as u64;
        if bytes.is_empty() && end < length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(SnapshotPiece {
            vote: self.vote,
            meta: self.meta.clone(),
            transfer: self.transfer,
            offset: self.offset,
            bytes: bytes.into(),
            last: end >= length,
            length: Some(length),
        })
    }

    /// False where that was too often less than before.
    fn goes_on_from(&mut self, offset: u64) -> bool {
        self.back += u32::from(offset <= self.offset);
        (self.offset, self.lost) = (offset, 0);
        self.back <= BACK_MAX
    }
}

/// Names the transfer of a file by a leader.
fn transfer_id(
    vote: &VoteOf<TypeConfig>,
    meta: &RaftSnapshotMeta,
    length: u64,
    checksum: u32,
) -> Result<Uuid, CodecError> {
    let digest = blake3::hash(&codec::to_message_pack(&(vote, meta, length, checksum))?);
    let mut id = [0; 16];
    id.copy_from_slice(&digest.as_bytes()[..16]);
    Ok(Uuid::from_bytes(id))
}

fn broken(error: io::Error) -> Broken {
    StreamingError::Network(NetworkError::new(&error))
}

impl Link {
    /// Sends a snapshot to its end, and gives the follower's answer to it.
    pub(super) async fn send_snapshot(
        &mut self,
        vote: VoteOf<TypeConfig>,
        snapshot: SnapshotOf<TypeConfig, SnapshotFile>,
    ) -> Result<Installed, Broken> {
        let (meta, file) = (snapshot.meta, snapshot.snapshot);
        let transfer = match self.check(&vote, &meta, &file).await {
            Ok(transfer) => transfer,
            Err(error) => {
                let wait = self.snapshot_was_refused();
                tracing::error!(
                    node = self.target, file = %file.path().display(), %error, ?wait,
                    "a snapshot can't be read to its end and is not sent; one that is damaged is replaced"
                );
                sleep(wait).await;
                return Err(broken(error));
            }
        };
        tracing::info!(
            node = self.target,
            index = file.meta().index(),
            bytes = file.len(),
            "a snapshot is sent to a node"
        );
        let mut sending = Sending { vote, meta, file, transfer, offset: 0, lost: 0, back: 0 };
        loop {
            if let Some(installed) = self.send_piece(&mut sending).await? {
                return Ok(installed);
            }
        }
    }

    /// Names the transfer of a file, once all of it was found to be sound: what the follower would find at the end of a long
    /// way is found before it. The file is not read again for each round to a follower that is down, nor for one that was
    /// broken off while it was read.
    async fn check(
        &self,
        vote: &VoteOf<TypeConfig>,
        meta: &RaftSnapshotMeta,
        file: &SnapshotFile,
    ) -> io::Result<Uuid> {
        let checksum = match file.checked() {
            Some(checksum) => checksum,
            None => {
                let file = file.clone();
                blocking_behind(&*self.peers.disk, move || file.check_once()).await??
            }
        };
        transfer_id(vote, meta, file.len(), checksum).map_err(io::Error::other)
    }

    /// Sends what comes next. Gives the follower's answer to the whole, once it has all.
    async fn send_piece(&mut self, sending: &mut Sending) -> Result<Option<Installed>, Broken> {
        if let Some(index) = sending.file.meta().index() {
            self.peers.sent_snapshots().sends(self.target, index);
        }
        let next = sending.next_piece(self.pace.bytes(), &*self.peers.disk).await;
        let piece = next.map_err(|error| {
            // Whether that is damage is found before the next round.
            sending.file.doubt();
            broken(error)
        })?;
        let (end, last) = (piece.offset + piece.bytes.len() as u64, piece.last);
        let loading = if last { loaded_within(sending.file.len()) } else { Duration::ZERO };
        let deadline = self.peers.timeouts.snapshot_piece + loading;
        let sent = Sent { end, last, began: Instant::now() };
        let request = Request::Snapshot(piece);
        let answer = self.peers.call_member(self.target, &self.member, request, deadline).await;
        self.was_answered(sending, sent, answer).await
    }

    /// Notes how far the follower has come by its answer to a piece. Gives its answer to the whole; an error where the
    /// transfer ends.
    async fn was_answered(
        &mut self,
        sending: &mut Sending,
        sent: Sent,
        answer: Result<Reply, PeerError>,
    ) -> Result<Option<Installed>, Broken> {
        let Sent { end, last, began } = sent;
        let goes_on = match answer {
            Ok(Reply::SnapshotInstalled(response)) => return Ok(Some(response)),
            Ok(Reply::SnapshotPieceTaken) if !last => {
                self.pace.was_taken(began.elapsed(), self.peers.timeouts.snapshot_piece);
                sending.goes_on_from(end)
            }
            Ok(Reply::SnapshotHeld { bytes }) if bytes <= sending.file.len() => sending.goes_on_from(bytes),
            Ok(_) => false,
            Err(error @ PeerError::Refused { refusal: PeerRefusal::SnapshotRefused { .. }, .. }) => {
                // An earlier build says so of a piece that it has already, too.
                if sending.lost == 0 {
                    return Err(self.was_refused(sending, error).await);
                }
                sending.goes_on_from(0)
            }
            Err(error) => {
                self.piece_lost(sending, error, began).await?;
                true
            }
        };
        if goes_on { Ok(None) } else { Err(self.unexpected().into()) }
    }

    /// Waits until the piece that was lost may be sent again.
    async fn piece_lost(
        &mut self,
        sending: &mut Sending,
        error: PeerError,
        began: Instant,
    ) -> Result<(), Broken> {
        if matches!(error, PeerError::Lost(Lost::NoAnswer { .. })) {
            self.pace.was_lost();
        }
        sending.lost += 1;
        if sending.lost >= LOST_MAX {
            tracing::warn!(
                node = self.target, offset = sending.offset, bytes = sending.file.len(), %error,
                "a snapshot on its way to a node broke off"
            );
            return Err(rpc_error(error).into());
        }
        sleep_until(began + again_after(sending.lost)).await;
        Ok(())
    }

    /// How long nothing is sent now.
    fn snapshot_was_refused(&mut self) -> Duration {
        self.snapshots_refused = self.snapshots_refused.saturating_add(1);
        refused_wait(self.snapshots_refused)
    }

    /// What the follower read may be other than what was checked here.
    async fn was_refused(&mut self, sending: &Sending, error: PeerError) -> Broken {
        sending.file.doubt();
        let wait = self.snapshot_was_refused();
        tracing::warn!(
            node = self.target, index = sending.file.meta().index(), bytes = sending.file.len(), %error, ?wait,
            "a node does not take the snapshot that it was sent; after a wait it is sent the newest"
        );
        sleep(wait).await;
        rpc_error(error).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_their_most() {
        let waits: Vec<u64> = (1..10).map(|times| refused_wait(times).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
    }
}
