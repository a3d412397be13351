//! Snapshots: whole or refused, the two newest kept, an older one used where the newest is damaged.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use openraft::storage::{RaftLogStorage, RaftLogStorageExt, RaftSnapshotBuilder, RaftStateMachine};

use super::support::{Group, blank, house, log_id, membership, open, reserve};
use crate::ledger::Ledger;
use crate::replication::{
    Entry, GroupDirs, OpenError, SnapshotFile, SnapshotMeta, SnapshotStore, StoredMembership,
};

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

fn snapshots_dir(group: &Group) -> PathBuf {
    GroupDirs::of(&group.dir).snapshots
}

pub(super) fn store(dir: &Path) -> SnapshotStore {
    SnapshotStore::open(dir).unwrap().0
}

pub(super) fn meta(index: u64) -> SnapshotMeta {
    let membership = StoredMembership::new(Some(log_id(1, 0)), membership(&[1, 2, 3]));
    SnapshotMeta { last_log_id: Some(log_id(1, index)), membership }
}

fn ledger(reservations: u32) -> Ledger {
    ledger_of(30, reservations)
}

pub(super) fn ledger_of(rooms: u32, reservations: u32) -> Ledger {
    let mut ledger = Ledger::new();
    let stays = (1..=reservations).map(|n| reserve(n.into(), n % rooms + 1, n / rooms + 1));
    for submission in house(rooms).into_iter().chain(stays) {
        ledger.apply(crate::ledger::Timestamp(1_000), &submission).unwrap();
    }
    ledger
}

pub(super) fn content(file: &SnapshotFile) -> Vec<u8> {
    let mut bytes = Vec::new();
    file.reader().read_to_end(&mut bytes).unwrap();
    bytes
}

fn frames(mut content: &[u8]) -> Vec<&[u8]> {
    let mut frames = Vec::new();
    while !content.is_empty() {
        let length = 15 + u32::from_le_bytes(content[7..11].try_into().unwrap()) as usize;
        let (frame, rest) = content.split_at(length);
        frames.push(frame);
        content = rest;
    }
    frames
}

/// In the first version reservations are named MessagePack, in the second they are packed.
#[test]
fn golden_snapshots_are_read_and_the_newest_is_written_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, meta) = (ledger(2), meta(7));
    let file = store(dir.path()).write(meta.clone(), &ledger).unwrap();
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/replication/golden");
    let newest = golden.join("snapshot.v2");
    if std::env::var("INNKEEPER_GOLDEN").is_ok_and(|mode| mode == "write") && !newest.exists() {
        fs::write(&newest, content(&file)).unwrap();
    }
    assert!(content(&file) == fs::read(&newest).unwrap(), "snapshots are no longer written as they were");
    for version in ["snapshot.v1", "snapshot.v2"] {
        let mut incoming = store(dir.path()).begin_receive().unwrap();
        incoming.write(&fs::read(golden.join(version)).unwrap()).unwrap();
        let read = incoming.finish().unwrap();
        assert_eq!(read.meta(), &meta);
        assert_eq!(read.load().unwrap().state_hash(), ledger.state_hash());
    }
}

#[test]
fn a_large_state_goes_through_pieces_and_comes_out_the_same() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let ledger = ledger(800);
    let file = store(from.path()).write(meta(7), &ledger).unwrap();
    let taker = store(to.path());
    let mut incoming = taker.begin_receive().unwrap();
    for piece in content(&file).chunks(1_000) {
        incoming.write(piece).unwrap();
    }
    assert_eq!(incoming.received(), file.len());
    let received = taker.adopt(&incoming.finish().unwrap()).unwrap();
    assert_eq!(content(&received), content(&file));
    let (reopened, newest) = SnapshotStore::open(to.path()).unwrap();
    let (meta, restored) = newest.loaded.unwrap();
    assert_eq!((meta, restored.state_hash()), (self::meta(7), ledger.state_hash()));
    assert_eq!(restored.records().collect::<Vec<_>>(), ledger.records().collect::<Vec<_>>());
    assert_eq!(reopened.kept().len(), 1);
}

#[test]
fn who_reads_a_snapshot_reads_it_whole_when_newer_ones_take_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let ledger = ledger(800);
    let read = store.write(meta(1), &ledger).unwrap();
    let whole = content(&read);
    assert!(whole.len() > 64 << 10, "{} bytes are removed at once", whole.len());
    for index in 2..5 {
        store.write(meta(index), &ledger).unwrap();
    }
    assert!(!read.path().exists());
    assert!(content(&read) == whole);
}

/// Between the threads that read, decode and restore, more is under way than they may hold.
#[test]
fn damage_amid_many_frames_is_told_by_its_cause() {
    let dir = tempfile::tempdir().unwrap();
    let file = store(dir.path()).write(meta(7), &ledger_of(100, 2_400)).unwrap();
    let sound = content(&file);
    let frames = frames(&sound);
    assert!(frames.len() > 12, "{}", frames.len());
    let with = |frames: &[&[u8]]| {
        fs::write(file.path(), frames.concat()).unwrap();
        let reopened = SnapshotStore::open(dir.path()).unwrap().1;
        assert!(reopened.loaded.is_none());
        reopened.damaged[0].to_string()
    };
    for n in [1, frames.len() / 2, frames.len() - 2] {
        let mut changed = frames[n].to_vec();
        changed[40] ^= 1;
        let told = with(&[&frames[..n], &[&changed[..]], &frames[n + 1..]].concat());
        assert!(told.contains("checksum"), "{told}");
        let told = with(&[&frames[..n], &frames[n + 1..]].concat());
        // What comes after may miss it first.
        assert!(told.contains("don't agree with its end") || told.contains("does not fit"), "{told}");
        // The first record that does not fit stops all, and so does an end that never comes.
        let told = with(&[&frames[..=n], &frames[n..]].concat());
        assert!(
            told.contains("twice") || told.contains("does not fit") || told.contains("its end"),
            "{told}"
        );
        let told = with(&frames[..n]);
        assert!(told.contains("it ends early"), "{told}");
    }
    with(&[&frames[..], &frames[..1]].concat());
    fs::write(file.path(), &sound).unwrap();
    assert!(SnapshotStore::open(dir.path()).unwrap().1.loaded.is_some());
}

#[test]
fn a_piece_that_was_changed_or_lost_is_refused_and_nothing_is_left() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let sound = {
        let from = tempfile::tempdir().unwrap();
        content(&self::store(from.path()).write(meta(7), &ledger(3)).unwrap())
    };
    let refused = |bytes: &[u8], what: &str| {
        let mut incoming = store.begin_receive().unwrap();
        incoming.write(bytes).unwrap();
        assert!(incoming.finish().is_err(), "{what} was not seen");
        assert_eq!(files(dir.path()), Vec::<PathBuf>::new(), "{what} left something behind");
    };
    for byte in 0..sound.len() {
        let mut changed = sound.clone();
        changed[byte] ^= 1 << (byte % 8);
        refused(&changed, &format!("a bit of byte {byte}"));
    }
    for length in (0..sound.len()).step_by(7) {
        refused(&sound[..length], &format!("an end at {length}"));
    }
    refused(&[&sound[..], &sound[..]].concat(), "what follows the end");
    // Verified, and then not installed.
    let mut incoming = store.begin_receive().unwrap();
    incoming.write(&sound).unwrap();
    drop(incoming.finish().unwrap());
    assert_eq!(files(dir.path()), Vec::<PathBuf>::new());
}

#[test]
fn a_frame_left_out_is_missed_even_where_all_others_are_sound() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let bytes = content(&store.write(meta(7), &ledger(3)).unwrap());
    let frames = frames(&bytes);
    let mut incoming = store.begin_receive().unwrap();
    incoming.write(&[&frames[..1], &frames[2..]].concat().concat()).unwrap();
    assert!(incoming.finish().unwrap_err().to_string().contains("don't agree"));
}

#[test]
fn the_two_newest_are_kept_and_unfinished_files_are_removed() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let ledger = ledger(1);
    let mut purge = Vec::new();
    for index in [3, 10, 99, 100] {
        store.write(meta(index), &ledger).unwrap();
        purge.push(store.purge_upto());
    }
    assert_eq!(purge, [None, Some(3), Some(10), Some(99)]);
    assert_eq!(files(dir.path()).len(), 2);
    // Replaced, not kept twice.
    store.write(meta(100), &ledger).unwrap();
    assert_eq!(store.purge_upto(), Some(99));
    fs::write(dir.path().join("built-0.tmp"), b"half").unwrap();
    let (reopened, newest) = SnapshotStore::open(dir.path()).unwrap();
    assert_eq!(files(dir.path()).len(), 2);
    assert_eq!(newest.loaded.unwrap().0, meta(100));
    assert_eq!(reopened.purge_upto(), Some(99));
}

#[tokio::test]
async fn apply_goes_on_while_a_snapshot_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let mut group = Group::new(dir.path());
    group.submit(&house(3)).await;
    let at = group.state().position();
    let mut builder = group.storage.state_machine.try_create_snapshot_builder(false).await.unwrap();
    group.submit(&[reserve(1, 1, 5)]).await;
    let snapshot = builder.build_snapshot().await.unwrap();
    group.submit(&[reserve(2, 2, 5)]).await;
    assert_eq!(snapshot.meta.last_log_id, at.log_id);
    let written = snapshot.snapshot.load().unwrap();
    assert_eq!((written.lsn(), written.state_hash()), (at.lsn, at.state_hash));
    let last = group.state().position();
    assert!(last.lsn > at.lsn);
    assert_eq!(group.restart().await.state().position(), last);
}

#[tokio::test]
async fn a_snapshot_that_could_not_be_written_counts_as_none() {
    let dir = tempfile::tempdir().unwrap();
    let mut group = Group::new(dir.path());
    group.submit(&house(3)).await;
    assert!(group.state().bytes_since_snapshot() > 0 && group.state().last_taken().is_none());
    group.snapshot().await;
    let taken = group.state().last_taken().unwrap().ended;
    assert_eq!(group.state().bytes_since_snapshot(), 0);
    group.submit(&[reserve(1, 1, 5)]).await;
    // There is no folder to write it into.
    let (there, away) = (snapshots_dir(&group), dir.path().join("away"));
    fs::rename(&there, &away).unwrap();
    group.snapshot().await;
    let state = group.state();
    assert!(state.has_failed_to_take() && state.bytes_since_snapshot() > 0);
    assert_eq!(state.last_taken().unwrap().ended, taken);
    fs::rename(&away, &there).unwrap();
    group.snapshot().await;
    let state = group.state();
    assert!(!state.has_failed_to_take() && state.last_taken().unwrap().ended > taken);
    assert_eq!((state.bytes_since_snapshot(), state.newest_snapshot()), (0, state.position().index()));
}

/// To openraft it would be the end of the node, whose log is whole without it.
#[tokio::test(start_paused = true)]
async fn a_first_snapshot_that_could_not_be_written_is_tried_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut group = Group::new(dir.path());
    group.submit(&house(3)).await;
    let (there, away) = (snapshots_dir(&group), dir.path().join("away"));
    fs::rename(&there, &away).unwrap();
    let mut builder = group.storage.state_machine.try_create_snapshot_builder(true).await.unwrap();
    let building = tokio::spawn(async move { builder.build_snapshot().await });
    let state = group.state();
    while !state.has_failed_to_take() {
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    assert!(!building.is_finished());
    fs::rename(&away, &there).unwrap();
    let snapshot = building.await.unwrap().unwrap();
    assert_eq!(snapshot.meta.last_log_id, state.position().log_id);
    assert!(!state.has_failed_to_take());
}

/// A group with snapshots at entries 0 and 2, and one more entry.
async fn group_with_two_snapshots(dir: &Path) -> Group {
    let mut group = Group::new(dir);
    group.submit(&house(3)).await;
    group.snapshot().await;
    group.submit(&[reserve(1, 1, 5)]).await;
    group.submit(&[reserve(2, 2, 5)]).await;
    group.snapshot().await;
    group.submit(&[reserve(3, 3, 5)]).await;
    group
}

pub(super) fn damage(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).unwrap();
}

#[tokio::test]
async fn a_damaged_snapshot_gives_way_to_the_older_one() {
    let dir = tempfile::tempdir().unwrap();
    let mut group = group_with_two_snapshots(dir.path()).await;
    group.storage.log.purge(log_id(1, group.state().purge_upto().unwrap())).await.unwrap();
    let (last, snapshots) = (group.state().position(), files(&snapshots_dir(&group)));
    damage(&snapshots[1]);
    let mut group = group.restart().await;
    assert_eq!(group.state().position(), last);
    // The next snapshot takes the damaged one's place.
    group.snapshot().await;
    assert!(!snapshots[1].exists());
    assert_eq!(group.restart().await.state().position(), last);
}

#[tokio::test]
async fn without_a_snapshot_that_the_log_reaches_back_to_the_node_does_not_start() {
    let dir = tempfile::tempdir().unwrap();
    let mut group = group_with_two_snapshots(dir.path()).await;
    group.storage.log.purge(log_id(1, 2)).await.unwrap();
    let snapshots = files(&snapshots_dir(&group));
    group.close().await;
    damage(&snapshots[1]);
    for _ in 0..2 {
        let refused = open(dir.path()).err().unwrap();
        assert!(matches!(refused, OpenError::StateLost { purged: 2, .. }), "{refused}");
        assert!(refused.to_string().contains(&snapshots[1].display().to_string()), "{refused}");
    }
}

/// As where a crash came between a peer's snapshot and the purge of the log that it stands for.
#[tokio::test]
async fn a_log_that_ends_beside_the_snapshot_goes_on_behind_it() {
    let (theirs, ours) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut from = group_with_two_snapshots(theirs.path()).await;
    let snapshot = from.storage.state_machine.get_current_snapshot().await.unwrap().unwrap();
    let at = snapshot.meta.last_log_id.unwrap();
    for end in [at.index - 1, at.index] {
        let dir = ours.path().join(end.to_string());
        let mut to = Group::new(&dir);
        let never_committed: Vec<Entry> = (0..=end).map(|index| blank(7, index)).collect();
        to.storage.log.blocking_append(never_committed).await.unwrap();
        let snapshot = from.storage.state_machine.get_current_snapshot().await.unwrap().unwrap();
        to.storage.state_machine.install_snapshot(&snapshot.meta, snapshot.snapshot).await.unwrap();
        let mut to = Group::new(&to.close().await);
        let state = to.storage.log.get_log_state().await.unwrap();
        assert_eq!((state.last_purged_log_id, state.last_log_id), (Some(at), Some(at)), "{end}");
        to.commit(vec![blank(8, at.index + 1)]).await.unwrap();
    }
}

#[tokio::test]
async fn a_snapshot_other_than_announced_is_not_installed() {
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut from = group_with_two_snapshots(one.path()).await;
    let mut to = Group::new(other.path());
    let snapshot = from.storage.state_machine.get_current_snapshot().await.unwrap().unwrap();
    let mut announced = snapshot.meta.clone();
    announced.last_log_id = Some(log_id(1, 77));
    assert!(to.storage.state_machine.install_snapshot(&announced, snapshot.snapshot).await.is_err());
    assert_eq!(to.state().position().log_id, None);
}
