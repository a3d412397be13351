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
use super::disk::blocking_behind;
use super::message::{PeerRefusal, Reply, Request, SnapshotPiece};
use super::network::{Link, PeerError, loaded_within, rpc_error};
use super::snapshot::SnapshotFile;
use super::transport::Lost;
use super::types::{RaftSnapshotMeta, TypeConfig};

/// Of a snapshot that goes at once on the slowest way: in the three seconds that a piece has, some 5 kB a second.
const PIECE_BYTES_MIN: usize = 16 << 10;
/// A piece is followed by one twice as large where it took no more than this part of its time. One that took half of it would
/// be followed by one that comes too late.
const QUICK_PART: u32 = 4;
/// How often in a row a piece is lost before the transfer ends; Raft then begins another.
const LOST_MAX: u32 = 12;
/// The time from one try to the next, where the first was over before: it doubles with each.
const TRY_EVERY_MIN: Duration = Duration::from_millis(100);
const TRY_EVERY_MAX: Duration = Duration::from_secs(3);
/// How often in one transfer the follower may want again what it had.
const BACK_MAX: u32 = 3;
/// How long nothing is sent to a follower that has refused what a snapshot holds: it doubles with each. Whatever the reason
/// is, it will not be gone soon, and all of a snapshot is a lot to send in vain.
const REFUSED_WAIT_MIN: Duration = Duration::from_secs(1);
const REFUSED_WAIT_MAX: Duration = Duration::from_secs(60);

type Installed = SnapshotResponse<TypeConfig>;
type Broken = StreamingError<TypeConfig>;

/// How much of a snapshot goes to one follower at once, and how often it has refused one.
pub struct Pace {
    bytes: usize,
    bytes_max: usize,
    refused: u32,
}

impl Pace {
    pub fn new(bytes_max: usize) -> Pace {
        Pace { bytes: bytes_max, bytes_max, refused: 0 }
    }

    fn was_taken(&mut self, took: Duration, wait: Duration) {
        if took <= wait / QUICK_PART {
            self.bytes = (2 * self.bytes).min(self.bytes_max);
        }
    }

    /// What did not arrive in its time may have been too much for the way.
    fn was_lost(&mut self) {
        self.bytes = (self.bytes / 2).max(PIECE_BYTES_MIN.min(self.bytes_max));
    }

    /// How long nothing is sent now.
    fn was_refused(&mut self) -> Duration {
        self.refused += 1;
        doubled(REFUSED_WAIT_MIN, self.refused, REFUSED_WAIT_MAX)
    }
}

/// `least` the first time, then twice as much each time.
fn doubled(least: Duration, times: u32, most: Duration) -> Duration {
    least.saturating_mul(1 << times.saturating_sub(1).min(16)).min(most)
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
    /// What comes next, of so many bytes at most. Read between messages: a piece is small.
    fn next_piece(&self, bytes_max: usize) -> io::Result<SnapshotPiece> {
        let length = self.file.len();
        let bytes = self.file.piece(self.offset, bytes_max)?;
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
                let wait = self.pace.was_refused();
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
        let piece = sending.next_piece(self.pace.bytes).map_err(|error| {
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
        sleep_until(began + doubled(TRY_EVERY_MIN, sending.lost, TRY_EVERY_MAX)).await;
        Ok(())
    }

    /// What the follower read may be other than what was checked here.
    async fn was_refused(&mut self, sending: &Sending, error: PeerError) -> Broken {
        sending.file.doubt();
        let wait = self.pace.was_refused();
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
    fn pieces_shrink_to_their_least_and_grow_again_where_they_are_quick() {
        let wait = Duration::from_secs(3);
        let mut pace = Pace::new(1 << 20);
        for expected in [512, 256, 128, 64, 32, 16, 16] {
            pace.was_lost();
            assert_eq!(pace.bytes, expected << 10);
        }
        pace.was_taken(wait / 2, wait);
        assert_eq!(pace.bytes, PIECE_BYTES_MIN, "twice as much would come too late");
        for expected in [32, 64, 128, 256, 512, 1024, 1024] {
            pace.was_taken(wait / QUICK_PART, wait);
            assert_eq!(pace.bytes, expected << 10);
        }
        // Where pieces are smaller than that in any case.
        let mut pace = Pace::new(1 << 10);
        pace.was_lost();
        assert_eq!(pace.bytes, 1 << 10);
    }

    #[test]
    fn waits_double_up_to_their_most() {
        let mut pace = Pace::new(1);
        let waits: Vec<u64> = (0..9).map(|_| pace.was_refused().as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        assert_eq!(doubled(TRY_EVERY_MIN, u32::MAX, TRY_EVERY_MAX), TRY_EVERY_MAX);
    }
}
