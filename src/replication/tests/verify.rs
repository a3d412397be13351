//! Offline verification: sound data is reported, and what was put in wrong on purpose is found.

use std::fs;
use std::future::ready;
use std::sync::{Arc, Mutex};

use futures_util::future::BoxFuture;
use openraft::storage::{RaftLogStorage, RaftLogStorageExt, RaftStateMachine};
use uuid::Uuid;

use super::support::{Group, batch, cancel, entry_of, house, log_id, reserve};
use crate::ledger::{Commit, Lsn, Mark, StateHash};
use crate::replication::{
    self, Check, Decision, Disk, DiskId, DiskThreads, GroupDirs, IdentityError, IdentityFile, OpenError,
    SnapshotMeta, SnapshotStore, VerifyError, Witness, verify,
};

async fn group(dir: &std::path::Path, snapshots: usize) -> Group {
    drop(IdentityFile::open(dir, 1, DiskId(Uuid::from_u128(1))).unwrap());
    let mut group = Group::new(dir);
    group.submit(&house(3)).await;
    for n in 1..=4 {
        if n as usize <= snapshots {
            group.snapshot().await;
        }
        group.submit(&[reserve(n, 1, n as u32)]).await;
    }
    group
}

#[tokio::test]
async fn sound_data_is_reported() {
    // With no snapshot the replay begins at the empty ledger, with two at the older one.
    for (snapshots, first_lsn, entries) in [(0, 0, 5), (1, 6, 4), (2, 6, 4)] {
        let dir = tempfile::tempdir().unwrap();
        let group = group(dir.path(), snapshots).await;
        let last = group.state().position();
        group.close().await;
        let report = verify(dir.path(), &mut |_| Ok(())).unwrap();
        assert_eq!((report.first_lsn, report.last_lsn), (Lsn(first_lsn), last.lsn), "{snapshots} snapshots");
        assert_eq!((report.snapshots, report.entries), (snapshots, entries), "{snapshots} snapshots");
        assert_eq!(report.state_hash, last.state_hash);
        assert_eq!(report.audited, last.lsn.0 - first_lsn + 1, "every LSN of a small state is audited");
        assert_eq!(report.identity.node_id, 1);
    }
}

/// How far the log is committed is noted without a flush, and a crash may come between a peer's snapshot and its log.
#[tokio::test]
async fn the_newest_snapshot_is_reached_whatever_the_log_says_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut group = group(dir.path(), 1).await;
    let entry = entry_of(1, group.next, batch(9_000, group.check(), &[cancel(1)]).encode().unwrap());
    group.storage.log.blocking_append(vec![entry.clone()]).await.unwrap();
    group.apply(vec![entry]).await.unwrap();
    group.snapshot().await;
    let last = group.state().position();
    group.close().await;
    let report = verify(dir.path(), &mut |_| Ok(())).unwrap();
    assert_eq!((report.last_lsn, report.entries, report.snapshots), (last.lsn, 5, 2));

    let mut group = Group::new(dir.path());
    let mut ahead = group.state().with_ledger(Clone::clone);
    ahead.apply(last.stamp, &cancel(2)).unwrap();
    let membership = group.storage.state_machine.applied_state().await.unwrap().1;
    let meta = SnapshotMeta { last_log_id: Some(log_id(1, group.next + 100)), membership };
    group.state().snapshots().write(meta, &ahead).unwrap();
    group.close().await;
    let report = verify(dir.path(), &mut |_| Ok(())).unwrap();
    assert_eq!((report.first_lsn, report.last_lsn, report.entries), (ahead.lsn(), ahead.lsn(), 0));
    assert_eq!(report.state_hash, ahead.state_hash());
}

/// What is told of commands while a folder is opened.
#[derive(Default)]
struct Listener(Mutex<Vec<Lsn>>);

impl Witness for Listener {
    fn tip(&self) -> Mark {
        Mark::default()
    }

    fn applied(&self, _: Mark, after: Mark, _: Vec<Commit>) {
        self.0.lock().unwrap().push(after.lsn);
    }

    fn restored(&self, _: Mark) {}

    fn diverged(&self, _: Mark) {}

    fn forget(&self, _: Mark) {}

    fn keep(&self) {}

    fn has_room(&self) -> BoxFuture<'_, ()> {
        Box::pin(ready(()))
    }

    fn has_kept(&self, _: Lsn) -> BoxFuture<'_, ()> {
        Box::pin(ready(()))
    }
}

/// A crash came between a peer's snapshot and the log, which goes on with what this node once proposed alone.
#[tokio::test]
async fn what_was_never_committed_is_not_told_as_the_past_of_a_snapshot() {
    let dir = tempfile::tempdir().unwrap();
    let mut group = group(dir.path(), 1).await;
    group.snapshot().await;
    let last = group.state().position();
    let alone = entry_of(1, group.next, batch(9_000, group.check(), &[cancel(1)]).encode().unwrap());
    group.storage.log.blocking_append(vec![alone]).await.unwrap();
    let mut others = group.state().with_ledger(Clone::clone);
    for n in 2..=4 {
        others.apply(last.stamp, &cancel(n)).unwrap();
    }
    let membership = group.storage.state_machine.applied_state().await.unwrap().1;
    let meta = SnapshotMeta { last_log_id: Some(log_id(1, group.next + 100)), membership };
    group.state().snapshots().write(meta, &others).unwrap();
    group.close().await;

    let (disk, listener): (Arc<dyn Disk>, _) = (Arc::new(DiskThreads), Arc::new(Listener::default()));
    let storage = replication::open(dir.path(), false, &disk, listener.clone()).unwrap();
    assert_eq!(storage.state_machine.state().position().lsn, others.lsn());
    let told = listener.0.lock().unwrap().clone();
    assert!(told.iter().all(|lsn| *lsn <= last.lsn), "{told:?} behind {}", last.lsn);
}

#[tokio::test]
async fn a_proposer_with_another_state_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let mut group = group(dir.path(), 2).await;
    let own = group.check();
    let wrong = Check { state_hash: StateHash(own.state_hash.0 ^ 1), ..own };
    let next = group.next;
    group.commit(vec![entry_of(1, next, batch(9_000, wrong, &[cancel(1)]).encode().unwrap())]).await.unwrap();
    group.close().await;
    let Err(VerifyError::Wrong(wrong)) = verify(dir.path(), &mut |_| Ok(())) else {
        panic!("it was not found")
    };
    assert_eq!(wrong.lsn, own.lsn, "{wrong}");
}

#[tokio::test]
async fn what_an_operator_decided_is_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    let mut group = group(dir.path(), 2).await;
    let (own, next) = (group.check(), group.next);
    let recorded =
        |at: u64, check| entry_of(1, at, batch(9_000, check, &[cancel(at.into())]).encode().unwrap());
    let wrong = Check { state_hash: StateHash(own.state_hash.0 ^ 1), ..own };
    let later = Check { lsn: own.lsn.next(), state_hash: StateHash(7) };
    let decision = Decision { index: next, check: own }.encode().unwrap();
    let entries = vec![recorded(next, wrong), recorded(next + 1, later), entry_of(1, next + 2, decision)];
    group.commit(entries).await.unwrap();
    group.submit(&[cancel(1)]).await;
    let last = group.state().position();
    group.close().await;
    let report = verify(dir.path(), &mut |_| Ok(())).unwrap();
    assert_eq!((report.last_lsn, report.state_hash), (last.lsn, last.state_hash));
}

#[tokio::test]
async fn a_snapshot_of_another_state_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let mut group = group(dir.path(), 1).await;
    let position = group.state().position();
    // A sound file, of a state that the log does not lead to.
    let mut other = group.state().with_ledger(Clone::clone);
    other.apply(position.stamp, &cancel(1)).unwrap();
    let membership =
        openraft::storage::RaftStateMachine::applied_state(&mut group.storage.state_machine).await.unwrap().1;
    let meta = SnapshotMeta { last_log_id: position.log_id, membership };
    group.state().snapshots().write(meta, &other).unwrap();
    group.close().await;
    let Err(VerifyError::Wrong(wrong)) = verify(dir.path(), &mut |_| Ok(())) else {
        panic!("it was not found")
    };
    assert_eq!(wrong.lsn, position.lsn, "{wrong}");
}

/// With the first command that can't be read, from the empty ledger or from a snapshot on.
#[tokio::test]
async fn a_damaged_log_is_told_by_the_position_where_it_is_damaged() {
    for snapshots in [0, 1, 2] {
        let dir = tempfile::tempdir().unwrap();
        let group = group(dir.path(), snapshots).await;
        let last = group.state().position().lsn;
        group.close().await;
        let log = fs::read_dir(GroupDirs::of(dir.path()).log).unwrap().next().unwrap().unwrap().path();
        let whole = fs::read(&log).unwrap();
        let mut found = Vec::new();
        for at in (10..whole.len()).step_by(whole.len() / 40) {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            fs::write(&log, &damaged).unwrap();
            let Err(VerifyError::Wrong(wrong)) = verify(dir.path(), &mut |_| Ok(())) else {
                panic!("{snapshots} snapshots, byte {at}: no position was found")
            };
            assert!(wrong.to_string().contains(log.to_str().unwrap()), "{wrong}");
            assert_eq!(fs::read(&log).unwrap(), damaged, "it changed the log");
            found.push(wrong.lsn);
        }
        assert!(found.is_sorted(), "{found:?}");
        // A command that changes the house stands in an entry with all others that do; each booking has one of its own.
        found.dedup();
        let bookings = (last.0 - 3..=last.0).map(Lsn);
        let expected: Vec<Lsn> = [Lsn(1)].into_iter().chain(bookings).collect();
        assert!(found.starts_with(&expected), "{found:?}, and not {expected:?}");
        assert!(found[expected.len()..].iter().all(|behind| *behind == last.next()), "{found:?}");
    }
}

/// Behind what was purged, and before the snapshots that are kept.
#[tokio::test]
async fn damage_that_nothing_leads_to_is_told_without_a_position() {
    let dir = tempfile::tempdir().unwrap();
    let mut group = group(dir.path(), 0).await;
    let log = fs::read_dir(GroupDirs::of(dir.path()).log).unwrap().next().unwrap().unwrap().path();
    let end = || fs::read(&log).unwrap().iter().rposition(|byte| *byte != 0).unwrap();
    group.storage.log.purge(log_id(1, 2)).await.unwrap();
    let mut ends = Vec::new();
    for n in 5..=7 {
        ends.push(end());
        group.submit(&[reserve(n, 1, n as u32)]).await;
        group.snapshot().await;
    }
    ends.push(end());
    group.submit(&[reserve(8, 1, 8)]).await;
    let last = group.state().position().lsn;
    group.close().await;
    let whole = fs::read(&log).unwrap();
    for (n, position) in [(0, None), (2, Some(Lsn(last.0 - 1))), (3, Some(last))] {
        let mut damaged = whole.clone();
        damaged[ends[n] + 60] ^= 1;
        fs::write(&log, &damaged).unwrap();
        let error = verify(dir.path(), &mut |_| Ok(())).unwrap_err();
        match (&error, position) {
            (VerifyError::Wrong(wrong), Some(position)) => assert_eq!(wrong.lsn, position, "{wrong}"),
            (VerifyError::Open(OpenError::Log(_)), None) => {}
            _ => panic!("entry {n}: {error}"),
        }
    }
}

#[tokio::test]
async fn a_damaged_snapshot_is_found_old_or_new() {
    for damaged in [0, 1] {
        let dir = tempfile::tempdir().unwrap();
        group(dir.path(), 2).await.close().await;
        let kept = SnapshotStore::open(&GroupDirs::of(dir.path()).snapshots).unwrap().0.kept();
        let mut bytes = fs::read(kept[damaged].path()).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(kept[damaged].path(), bytes).unwrap();
        let error = verify(dir.path(), &mut |_| Ok(())).unwrap_err();
        assert!(matches!(error, VerifyError::Open(OpenError::Snapshot(_))), "{error}");
    }
}

#[tokio::test]
async fn a_running_node_and_a_folder_that_is_none_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let error = verify(dir.path(), &mut |_| Ok(())).unwrap_err();
    assert!(matches!(error, VerifyError::Identity(IdentityError::NoDataDir { .. })), "{error}");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "it left something behind");
    let _running = IdentityFile::open(dir.path(), 1, DiskId(Uuid::from_u128(1))).unwrap();
    let error = verify(dir.path(), &mut |_| Ok(())).unwrap_err();
    assert!(matches!(error, VerifyError::Identity(IdentityError::InUse { .. })), "{error}");
}
