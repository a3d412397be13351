//! The snapshot that a leader sends to this node: taken piece by piece, checked as a whole, and installed.
//!
//! Pieces may come twice, late, or not at all: whoever sends them is told how far this node has come, and goes on from there.
//! A leader of an earlier build does not understand that: it is refused, and begins anew.

use std::io;
use std::sync::Arc;

use openraft::alias::SnapshotOf;
use openraft::raft::SnapshotResponse;
use openraft::{Raft, RaftState};
use tokio::sync::{Mutex, OwnedMutexGuard};
use uuid::Uuid;

use crate::replication::{
    Disk, IncomingSnapshot, LogId, PeerRefusal, Reply, SNAPSHOT_BYTES_MAX, SnapshotError, SnapshotFile,
    SnapshotMeta, SnapshotPiece, SnapshotStore, StateMachine, TypeConfig, blocking, let_go,
};

/// The one snapshot that may be under way to this node.
#[derive(Clone)]
pub struct IncomingSnapshots {
    store: Arc<SnapshotStore>,
    disk: Arc<dyn Disk>,
    raft: Raft<TypeConfig, StateMachine>,
    /// Held while a piece is taken, and while the whole is installed: a piece that comes again waits for what became of it.
    current: Arc<Mutex<Option<Current>>>,
}

/// What has come of a transfer.
struct Current {
    transfer: Uuid,
    /// The last entry that the snapshot holds.
    last: Option<LogId>,
    file: IncomingSnapshot,
}

impl IncomingSnapshots {
    pub fn new(
        store: Arc<SnapshotStore>,
        disk: Arc<dyn Disk>,
        raft: Raft<TypeConfig, StateMachine>,
    ) -> IncomingSnapshots {
        IncomingSnapshots { store, disk, raft, current: Arc::default() }
    }

    /// Drops what came of a snapshot that holds nothing beyond what is applied up to `applied`: where the log went on to here,
    /// nobody may send what would take its place, and its file may be large. A stale leader's message ends no transfer.
    pub fn drop_applied(&self, applied: Option<LogId>) {
        // One that a piece is taken for now is looked at the next time.
        let Ok(mut current) = self.current.try_lock() else { return };
        if let Some(broken_off) = current.take_if(|current| current.last <= applied) {
            let_go(&*self.disk, broken_off);
        }
    }

    /// Takes a piece; installs the snapshot with the last one, once it is whole and its checksums hold.
    pub async fn take(&self, piece: SnapshotPiece) -> Result<Reply, PeerRefusal> {
        let current = self.current.clone().lock_owned().await;
        let incoming = self.clone();
        // To its end, though the line may be gone before: what came until then would be lost with a piece that is half taken.
        let taking = tokio::spawn(async move {
            let index = piece.meta.last_log_id.map(|id| id.index);
            let taken = incoming.take_in_turn(current, piece).await;
            if let Err(PeerRefusal::SnapshotRefused { reason }) = &taken {
                tracing::warn!(index, %reason, "a snapshot from the leader was not taken");
            }
            taken
        });
        taking.await.unwrap_or(Err(PeerRefusal::Stopping))
    }

    async fn take_in_turn(
        &self,
        mut current: OwnedMutexGuard<Option<Current>>,
        piece: SnapshotPiece,
    ) -> Result<Reply, PeerRefusal> {
        let is_known = current.as_ref().is_some_and(|current| current.transfer == piece.transfer);
        if !is_known && let Some(reply) = self.begin(&mut current, &piece).await? {
            return Ok(reply);
        }
        let Some(Current { transfer, last, file }) = current.take() else { return go_on_from(0, &piece) };
        let held = file.received();
        if piece.offset != held {
            *current = Some(Current { transfer, last, file });
            return go_on_from(held, &piece);
        }
        if held + piece.bytes.len() as u64 > SNAPSHOT_BYTES_MAX {
            let_go(&*self.disk, file);
            return Err(refused(format!("it is longer than {SNAPSHOT_BYTES_MAX} bytes")));
        }
        let file = file.take(piece.bytes.clone(), &*self.disk).await.map_err(refused)?;
        if !piece.last {
            *current = Some(Current { transfer, last, file });
            return Ok(Reply::SnapshotPieceTaken);
        }
        // The whole file is read again: seconds, for a large one.
        let file = done(blocking(&*self.disk, move || file.finish()).await)?;
        self.install(piece, file).await
    }

    /// Begins with the snapshot that this piece is the first of. A reply where there is nothing to take.
    async fn begin(
        &self,
        current: &mut Option<Current>,
        piece: &SnapshotPiece,
    ) -> Result<Option<Reply>, PeerRefusal> {
        if let Some(response) = self.needs_none(piece).await? {
            return Ok(Some(Reply::SnapshotInstalled(response)));
        }
        if piece.offset > 0 {
            return go_on_from(0, piece).map(Some);
        }
        // A new transfer takes the place of one that broke off, whose file may be large.
        let (broken_off, store) = (current.take(), self.store.clone());
        let begun = blocking(&*self.disk, move || {
            drop(broken_off);
            store.begin_receive()
        });
        let (transfer, last) = (piece.transfer, piece.meta.last_log_id);
        *current = Some(Current { transfer, last, file: done(begun.await)? });
        Ok(None)
    }

    /// What is answered to a leader that need not send its snapshot: this node has promised to follow another, or its log
    /// holds all that the snapshot does, and only the answers to that leader's messages were lost. openraft takes a snapshot
    /// from before the log's end for a step back, and with debug assertions panics. What the log holds may not be flushed
    /// yet: a snapshot holds only what is committed, which counts on no answer of this node.
    async fn needs_none(
        &self,
        piece: &SnapshotPiece,
    ) -> Result<Option<SnapshotResponse<TypeConfig>>, PeerRefusal> {
        let (vote, last) = (piece.vote, piece.meta.last_log_id);
        let needs_none = move |state: &RaftState<TypeConfig>| {
            let own = *state.vote_ref();
            let holds = own == vote && last.is_some_and(|last| state.log_ids.get(last.index) == Some(last));
            (holds || own > vote).then_some(own)
        };
        let own = self.raft.with_raft_state(needs_none).await.map_err(|_| PeerRefusal::Stopping)?;
        Ok(own.map(SnapshotResponse::<TypeConfig>::new))
    }

    async fn install(&self, piece: SnapshotPiece, file: SnapshotFile) -> Result<Reply, PeerRefusal> {
        // Refused here: to openraft it would be a failure of this node's storage.
        if *file.meta() != SnapshotMeta::from(&piece.meta) {
            let_go(&*self.disk, file);
            return Err(refused("the file is not the snapshot that was announced"));
        }
        if let Some(response) = self.needs_none(&piece).await? {
            let_go(&*self.disk, file);
            return Ok(Reply::SnapshotInstalled(response));
        }
        let snapshot: SnapshotOf<TypeConfig, SnapshotFile> =
            SnapshotOf::<TypeConfig, SnapshotFile> { meta: piece.meta, snapshot: file };
        let response =
            self.raft.install_full_snapshot(piece.vote, snapshot).await.map_err(|_| PeerRefusal::Stopping)?;
        tracing::info!("a snapshot from the leader was installed");
        Ok(Reply::SnapshotInstalled(response))
    }
}

/// The answer to a piece that is not the next, of a transfer of which so many bytes are there.
fn go_on_from(held: u64, piece: &SnapshotPiece) -> Result<Reply, PeerRefusal> {
    if piece.length.is_some() {
        return Ok(Reply::SnapshotHeld { bytes: held });
    }
    Err(refused("its pieces are out of order, or the first is missing"))
}

fn refused(reason: impl ToString) -> PeerRefusal {
    PeerRefusal::SnapshotRefused { reason: reason.to_string() }
}

fn done<T>(work: io::Result<Result<T, SnapshotError>>) -> Result<T, PeerRefusal> {
    work.map_err(refused)?.map_err(refused)
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    use futures_util::FutureExt;
    use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, VoteRequest};
    use openraft::{EntryPayload, Vote};

    use super::super::tests::{Alone, CLUSTER, PEER, answer, claim, message, node, start_on};
    use super::super::{Node, Timings};
    use super::*;
    use crate::ledger::{Ledger, Timestamp};
    use crate::replication::tests::support::{house, log_id, membership};
    use crate::replication::{
        DiskThreads, Entry, GroupDirs, Kind, LogWorker, Request, StoredMembership, Work, encode,
    };

    /// The last entry that the snapshot holds.
    const AT: u64 = 7;

    /// A snapshot as the other member has it, in a folder of its own.
    fn snapshot(dir: &Path) -> SnapshotFile {
        let mut ledger = Ledger::new();
        for submission in house(30) {
            ledger.apply(Timestamp(1_000), &submission).unwrap();
        }
        let membership = StoredMembership::new(Some(log_id(1, 0)), membership(&[1, PEER.node]));
        let meta = SnapshotMeta { last_log_id: Some(log_id(1, AT)), membership };
        SnapshotStore::open(dir).unwrap().0.write(meta, &ledger).unwrap()
    }

    /// A part of it, as its leader sends it.
    fn piece(file: &SnapshotFile, offset: u64, bytes: u64) -> SnapshotPiece {
        let bytes = file.piece(offset, bytes as usize).unwrap();
        SnapshotPiece {
            vote: Vote::new_committed(3, PEER.node),
            meta: file.meta().into(),
            transfer: Uuid::from_u128(5),
            offset,
            last: offset + bytes.len() as u64 == file.len(),
            bytes: bytes.into(),
            length: Some(file.len()),
        }
    }

    async fn takes(node: &Node, piece: SnapshotPiece) -> Reply {
        answer(node, &message(node, Request::Snapshot(piece))).await
    }

    async fn assert_taken(node: &Node, piece: SnapshotPiece) {
        let reply = takes(node, piece).await;
        assert!(matches!(reply, Reply::SnapshotPieceTaken), "{reply:?}");
    }

    async fn assert_held(node: &Node, piece: SnapshotPiece, held: u64) {
        let reply = takes(node, piece).await;
        assert!(matches!(reply, Reply::SnapshotHeld { bytes } if bytes == held), "{reply:?}, not {held}");
    }

    async fn assert_installed(node: &Node, piece: SnapshotPiece) {
        let vote = piece.vote;
        let reply = takes(node, piece).await;
        assert!(matches!(&reply, Reply::SnapshotInstalled(response) if response.vote == vote), "{reply:?}");
        assert_eq!(node.position().index(), Some(AT));
        assert_eq!(*node.fatal().borrow(), None);
    }

    async fn assert_refused(node: &Node, piece: SnapshotPiece) {
        let reply = takes(node, piece).await;
        assert!(matches!(reply, Reply::Refused(PeerRefusal::SnapshotRefused { .. })), "{reply:?}");
    }

    #[tokio::test]
    async fn pieces_may_come_twice_late_or_ahead_and_the_last_one_again() {
        let (dir, from) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (node, file) = (node(&dir).await, snapshot(from.path()));
        answer(&node, &message(&node, claim(&node, CLUSTER))).await;
        let part = file.len().div_ceil(3);
        // This node has begun with nothing.
        assert_held(&node, piece(&file, part, part), 0).await;
        assert_taken(&node, piece(&file, 0, part)).await;
        assert_held(&node, piece(&file, 0, part), part).await;
        assert_held(&node, piece(&file, 2 * part, part), part).await;
        // Another size than the first time.
        assert_held(&node, piece(&file, part - 1, part), part).await;
        assert_taken(&node, piece(&file, part, part)).await;
        assert_held(&node, piece(&file, 0, part), 2 * part).await;
        for _ in 0..2 {
            assert_installed(&node, piece(&file, 2 * part, part)).await;
        }
        // It begins with nothing that it has.
        assert_installed(&node, piece(&file, 0, part)).await;
        node.shut_down().await;
    }

    /// Its line breaks while it is taken.
    #[tokio::test]
    async fn a_piece_whose_answer_nobody_waits_for_is_taken_all_the_same() {
        let (dir, from) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (node, file) = (node(&dir).await, snapshot(from.path()));
        answer(&node, &message(&node, claim(&node, CLUSTER))).await;
        let part = file.len().div_ceil(3);
        for taken in 0..3 {
            let next = message(&node, Request::Snapshot(piece(&file, taken * part, part)));
            let frame = encode(Kind::Peer, &next).unwrap();
            assert!(node.handle_frame(&frame).now_or_never().is_none());
            if taken < 2 {
                assert_held(&node, piece(&file, 0, part), (taken + 1) * part).await;
            }
        }
        assert_installed(&node, piece(&file, 2 * part, part)).await;
        node.shut_down().await;
    }

    #[tokio::test]
    async fn what_is_refused_at_its_end_is_forgotten_and_a_sound_one_taken() {
        let (dir, from) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (node, file) = (node(&dir).await, snapshot(from.path()));
        answer(&node, &message(&node, claim(&node, CLUSTER))).await;
        let part = file.len().div_ceil(2);
        let sound = piece(&file, part, part);
        let mut changed = sound.bytes.to_vec();
        changed[20] ^= 1;
        assert_taken(&node, piece(&file, 0, part)).await;
        assert_refused(&node, SnapshotPiece { bytes: changed.into(), ..piece(&file, part, part) }).await;
        assert_held(&node, piece(&file, part, part), 0).await;
        assert_taken(&node, piece(&file, 0, part)).await;
        assert_installed(&node, sound).await;
        node.shut_down().await;
    }

    /// Threads that see whether what was received into a folder is removed by one of them.
    struct Watched {
        folder: PathBuf,
        is_removed: Arc<AtomicBool>,
    }

    impl Disk for Watched {
        fn run_log(&self, log: LogWorker) -> io::Result<()> {
            DiskThreads.run_log(log)
        }

        fn run(&self, work: Work) {
            let (folder, is_removed) = (self.folder.clone(), self.is_removed.clone());
            let holds_some = move || {
                let mut entries = std::fs::read_dir(&folder).into_iter().flatten().flatten();
                entries.any(|entry| entry.file_name().to_string_lossy().starts_with("received"))
            };
            DiskThreads.run(Box::new(move || {
                let held_some = holds_some();
                work();
                if held_some && !holds_some() {
                    is_removed.store(true, Ordering::Relaxed);
                }
            }));
        }

        fn run_behind(&self, work: Work) -> io::Result<()> {
            DiskThreads.run_behind(work)
        }
    }

    #[tokio::test]
    async fn what_is_not_what_was_announced_is_removed_where_that_may_take_its_time() {
        let (dir, from) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let is_removed = Arc::new(AtomicBool::new(false));
        let disk = Watched { folder: GroupDirs::of(dir.path()).snapshots, is_removed: is_removed.clone() };
        let members = [(1, "127.0.0.1:2"), (PEER.node, "127.0.0.1:3")];
        let (disk, transport) = (Arc::new(disk), Arc::new(Alone));
        let node = start_on(disk, transport, &dir, &members, Timings::default()).await.unwrap();
        let file = snapshot(from.path());
        answer(&node, &message(&node, claim(&node, CLUSTER))).await;
        let part = file.len().div_ceil(2);
        let of_another = |offset| {
            let mut piece = piece(&file, offset, part);
            piece.meta.last_log_id = Some(log_id(1, AT + 1));
            piece
        };
        assert_taken(&node, of_another(0)).await;
        assert_refused(&node, of_another(part)).await;
        let removed = async {
            while !is_removed.load(Ordering::Relaxed) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), removed)
            .await
            .expect("it is removed by the disk's thread");
        assert_eq!(*node.fatal().borrow(), None);
        node.shut_down().await;
    }

    /// Its leader died, and the next one has the log that this node lacks.
    #[tokio::test]
    async fn what_came_of_a_snapshot_goes_once_the_log_has_come_as_far() {
        let (dir, from) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (node, file) = (node(&dir).await, snapshot(from.path()));
        answer(&node, &message(&node, claim(&node, CLUSTER))).await;
        let part = file.len().div_ceil(3);
        assert_taken(&node, piece(&file, 0, part)).await;
        node.incoming.drop_applied(Some(log_id(1, AT - 1)));
        assert_held(&node, piece(&file, 0, part), part).await;
        let entry = |index| {
            let members = || EntryPayload::Membership(membership(&[1, PEER.node]));
            let payload = if index == 0 { members() } else { EntryPayload::Blank };
            Entry { log_id: log_id(1, index), payload }
        };
        let request = AppendEntriesRequest {
            vote: Vote::new_committed(3, PEER.node),
            prev_log_id: None,
            entries: (0..=AT).map(entry).collect(),
            leader_commit: Some(log_id(1, AT)),
        };
        let reply = answer(&node, &message(&node, Request::Append(request))).await;
        assert!(matches!(reply, Reply::Append(AppendEntriesResponse::Success)), "{reply:?}");
        let is_gone = async {
            while node.incoming.current.lock().await.is_some() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), is_gone).await.expect("it is dropped");
        node.shut_down().await;
    }

    /// It would not understand how far this node has come.
    #[tokio::test]
    async fn a_leader_of_an_earlier_build_is_refused_what_does_not_follow() {
        let (dir, from) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (node, file) = (node(&dir).await, snapshot(from.path()));
        answer(&node, &message(&node, claim(&node, CLUSTER))).await;
        let part = file.len().div_ceil(2);
        let piece = |offset| SnapshotPiece { length: None, ..piece(&file, offset, part) };
        assert_refused(&node, piece(part)).await;
        assert_taken(&node, piece(0)).await;
        assert_refused(&node, piece(0)).await;
        // It begins anew, under another name.
        assert_taken(&node, SnapshotPiece { transfer: Uuid::from_u128(6), ..piece(0) }).await;
        assert_installed(&node, SnapshotPiece { transfer: Uuid::from_u128(6), ..piece(part) }).await;
        node.shut_down().await;
    }

    #[tokio::test]
    async fn a_leader_that_leads_no_more_is_told_so_at_once() {
        let (dir, from) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (node, file) = (node(&dir).await, snapshot(from.path()));
        answer(&node, &message(&node, claim(&node, CLUSTER))).await;
        let later = Vote::new(7, PEER.node);
        let reply = answer(&node, &message(&node, Request::Vote(VoteRequest::new(later, None)))).await;
        assert!(matches!(&reply, Reply::Vote(response) if response.vote_granted), "{reply:?}");
        let reply = takes(&node, piece(&file, 0, 100)).await;
        assert!(matches!(&reply, Reply::SnapshotInstalled(response) if response.vote == later), "{reply:?}");
        assert_eq!(node.position().index(), None);
        node.shut_down().await;
    }
}
