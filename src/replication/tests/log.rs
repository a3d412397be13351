//! The log on disk: what was flushed is there after any crash, and damage is told from a torn tail.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use openraft::storage::{IOFlushed, RaftLogStorage, RaftLogStorageExt};
use openraft::{EntryPayload, RaftLogReader};
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::support::{blank, log_id, opaque};
use crate::replication::log_store::{LogError, READ_BYTES_MAX, open_files};
use crate::replication::{DiskThreads, Entry, Fatal, LogId, LogStore, Vote};

/// What lies beside the log lies in `dir`, too.
fn log_dir(dir: &Path) -> PathBuf {
    dir.join("log")
}

fn opened(dir: &Path, fatal: Fatal) -> Result<(LogStore, watch::Receiver<bool>), LogError> {
    let dir = log_dir(dir);
    LogStore::serve(&dir, open_files(&dir, false)?, &DiskThreads, fatal)
}

async fn open(dir: &Path) -> (LogStore, watch::Receiver<bool>) {
    opened(dir, Fatal::default()).unwrap()
}

async fn close(log: LogStore, mut closed: watch::Receiver<bool>) {
    drop(log);
    closed.wait_for(|closed| *closed).await.unwrap();
}

async fn entries(log: &mut LogStore) -> Vec<Entry> {
    log.try_get_log_entries(..).await.unwrap()
}

/// The only file of a small log.
fn file(dir: &Path) -> PathBuf {
    let files: Vec<_> = fs::read_dir(log_dir(dir)).unwrap().map(|entry| entry.unwrap().path()).collect();
    let mut files =
        files.into_iter().filter(|path| path.extension().is_some_and(|extension| extension == "wal"));
    let only = files.next().unwrap();
    assert_eq!(files.next(), None);
    only
}

/// A folder with this as the only file of its log, and nothing beside it.
fn with_log(file: &Path, bytes: &[u8]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(log_dir(dir.path())).unwrap();
    fs::write(log_dir(dir.path()).join(file.file_name().unwrap()), bytes).unwrap();
    dir
}

/// The file that tells how far the log was flushed.
fn flushed_file(dir: &Path) -> PathBuf {
    dir.join("log.flushed")
}

/// A log of entries 0..`count`, each flushed by itself.
async fn log_of(dir: &Path, count: u64) -> Vec<Entry> {
    let (mut log, closed) = open(dir).await;
    log.save_vote(&Vote::new(1, 1)).await.unwrap();
    for index in 0..count {
        log.blocking_append([opaque(1, index, 20 + index as usize)]).await.unwrap();
    }
    let all = entries(&mut log).await;
    close(log, closed).await;
    all
}

/// Whoever sends the log on waits for that, and must not wait for the disk.
#[tokio::test]
async fn what_was_appended_is_told_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, closed) = open(dir.path()).await;
    let appended = log.appended();
    assert_eq!(*appended.borrow(), None);
    log.append([blank(1, 0)], IOFlushed::noop()).await.unwrap();
    assert_eq!(*appended.borrow(), Some(log_id(1, 0)));
    log.append([blank(1, 1), blank(1, 2)], IOFlushed::noop()).await.unwrap();
    assert_eq!(*appended.borrow(), Some(log_id(1, 2)));
    drop(appended);
    close(log, closed).await;
    let (log, _closed) = open(dir.path()).await;
    assert_eq!(*log.appended().borrow(), Some(log_id(1, 2)));
}

#[tokio::test]
async fn everything_is_there_after_a_restart_at_every_step() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, mut closed) = open(dir.path()).await;
    for step in 0..20u64 {
        match step {
            0..=9 => log.blocking_append([opaque(1, step, 100)]).await.unwrap(),
            10 => log.save_vote(&Vote::new_committed(2, 2)).await.unwrap(),
            11 => log.save_committed(Some(log_id(1, 5))).await.unwrap(),
            12 => log.truncate_after(Some(log_id(1, 7))).await.unwrap(),
            13 => log.blocking_append([blank(2, 8), opaque(2, 9, 3)]).await.unwrap(),
            14 => log.purge(log_id(1, 3)).await.unwrap(),
            15 => log.save_vote(&Vote::new(3, 1)).await.unwrap(),
            16 => log.save_committed(Some(log_id(2, 9))).await.unwrap(),
            17 => log.purge(log_id(2, 9)).await.unwrap(),
            18 => log.blocking_append([blank(3, 10)]).await.unwrap(),
            _ => log.truncate_after(Some(log_id(2, 9))).await.unwrap(),
        }
        let before = (
            entries(&mut log).await,
            log.read_vote().await.unwrap(),
            log.get_log_state().await.unwrap(),
            log.read_committed().await.unwrap(),
        );
        close(log, closed).await;
        (log, closed) = open(dir.path()).await;
        let after = (
            entries(&mut log).await,
            log.read_vote().await.unwrap(),
            log.get_log_state().await.unwrap(),
            log.read_committed().await.unwrap(),
        );
        assert_eq!(after, before, "step {step}");
    }
    assert_eq!(log.read_vote().await.unwrap(), Some(Vote::new(3, 1)));
}

#[tokio::test]
async fn an_answer_is_bounded_and_never_empty() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, closed) = open(dir.path()).await;
    let big: Vec<Entry> = (0..20).map(|index| opaque(1, index, 1_000_000)).collect();
    log.blocking_append(big.clone()).await.unwrap();
    for reopened in [false, true] {
        let mut part = log.limited_get_log_entries(3, 20).await.unwrap();
        assert_eq!(part, big[3..3 + READ_BYTES_MAX / 1_000_100], "reopened: {reopened}");
        part = log.limited_get_log_entries(19, 20).await.unwrap();
        assert_eq!(part, big[19..]);
        let streamed: Vec<Entry> = {
            use futures_util::TryStreamExt;
            log.entries_stream(1..20).await.try_collect().await.unwrap()
        };
        assert_eq!(streamed, big[1..]);
        if !reopened {
            close(log, closed.clone()).await;
            log = open(dir.path()).await.0;
        }
    }
    // A part is sent behind the entry before it: it begins where it was asked for, or is none.
    log.purge(log_id(1, 5)).await.unwrap();
    assert_eq!(log.limited_get_log_entries(5, 9).await.unwrap(), []);
    assert_eq!(log.limited_get_log_entries(6, 7).await.unwrap(), big[6..7]);
}

#[tokio::test]
async fn an_entry_beyond_the_bound_is_refused_before_anything_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, _closed) = open(dir.path()).await;
    let refused = log.blocking_append([blank(1, 0), opaque(1, 1, (1 << 20) + 1)]).await;
    assert!(refused.is_err());
    assert_eq!(entries(&mut log).await, []);
    log.blocking_append([blank(1, 0), opaque(1, 1, 1 << 20)]).await.unwrap();
}

#[tokio::test]
async fn a_tail_that_was_never_whole_is_cut() {
    let whole = tempfile::tempdir().unwrap();
    let all = log_of(whole.path(), 8).await;
    let bytes = fs::read(file(whole.path())).unwrap();
    let mut survived = Vec::new();
    // A step that meets every offset within a record, at one record or another.
    for length in (0..bytes.len()).step_by(7) {
        let dir = with_log(&file(whole.path()), &bytes[..length]);
        let (mut log, closed) = open(dir.path()).await;
        let kept = entries(&mut log).await;
        assert_eq!(kept, all[..kept.len()], "cut at {length}");
        survived.push(kept.len());
        // What is appended next is kept, too.
        let next = opaque(1, kept.len() as u64, 7);
        log.blocking_append([next.clone()]).await.unwrap();
        close(log, closed).await;
        assert_eq!(entries(&mut open(dir.path()).await.0).await.last(), Some(&next), "cut at {length}");
    }
    assert!(survived.is_sorted());
    assert_eq!((survived.first(), survived.last()), (Some(&0), Some(&7)));
}

#[tokio::test]
async fn a_hole_in_the_last_write_is_cut() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, closed) = open(dir.path()).await;
    log.blocking_append([opaque(1, 0, 100)]).await.unwrap();
    let flushed = fs::read(flushed_file(dir.path())).unwrap();
    // One flush: its pages reach the disk in any order.
    log.blocking_append([opaque(1, 1, 20_000), opaque(1, 2, 20_000)]).await.unwrap();
    close(log, closed).await;
    // The power failed before that flush returned.
    fs::write(flushed_file(dir.path()), flushed).unwrap();
    let path = file(dir.path());
    let mut bytes = fs::read(&path).unwrap();
    bytes[8_192..12_288].fill(0);
    fs::write(&path, bytes).unwrap();
    assert_eq!(entries(&mut open(dir.path()).await.0).await, [opaque(1, 0, 100)]);
}

/// The file was made longer, and the sector that it had just begun was not written.
#[tokio::test]
async fn a_few_bytes_of_a_last_sector_that_was_not_written_are_cut() {
    const SECTOR: usize = 512;
    const BEGUN: usize = 8;
    async fn log_with(dir: &Path, bytes: usize) -> Vec<u8> {
        let (mut log, closed) = open(dir).await;
        log.blocking_append([opaque(1, 0, 100)]).await.unwrap();
        let flushed = fs::read(flushed_file(dir)).unwrap();
        log.blocking_append([opaque(1, 1, bytes)]).await.unwrap();
        close(log, closed).await;
        fs::write(flushed_file(dir), flushed).unwrap();
        fs::read(file(dir)).unwrap()
    }
    let (probe, dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let length = log_with(probe.path(), 600).await.len();
    let more = (SECTOR + BEGUN - length % SECTOR) % SECTOR;
    let mut bytes = log_with(dir.path(), 600 + more).await;
    assert_eq!(bytes.len() % SECTOR, BEGUN);
    let end = bytes.len();
    bytes[end - BEGUN..].fill(0);
    fs::write(file(dir.path()), bytes).unwrap();
    assert_eq!(entries(&mut open(dir.path()).await.0).await, [opaque(1, 0, 100)]);
}

/// What is told beside the log makes every cut of it known, wherever it is: between two records, or within one.
#[tokio::test]
async fn a_log_that_was_cut_off_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let all = log_of(dir.path(), 8).await;
    let path = file(dir.path());
    let bytes = fs::read(&path).unwrap();
    for length in (0..bytes.len()).step_by(7).chain([bytes.len() - 1]) {
        fs::write(&path, &bytes[..length]).unwrap();
        let refused = opened(dir.path(), Fatal::default()).err().unwrap();
        assert!(refused.to_string().contains("bytes from here on had been flushed"), "{length}: {refused}");
    }
    // What was written behind it and never flushed may be cut, as ever.
    fs::write(&path, [&bytes[..], &bytes[..6]].concat()).unwrap();
    assert_eq!(entries(&mut open(dir.path()).await.0).await, all);
}

/// A build that tells nothing beside the log may have written it: then as much is known as the log itself tells.
#[tokio::test]
async fn a_log_is_opened_that_nothing_is_told_of() {
    let dir = tempfile::tempdir().unwrap();
    let all = log_of(dir.path(), 3).await;
    for unsound in [None, Some("")] {
        fs::remove_file(flushed_file(dir.path())).unwrap();
        unsound.into_iter().for_each(|text| fs::write(flushed_file(dir.path()), text).unwrap());
        let (mut log, closed) = open(dir.path()).await;
        assert_eq!(entries(&mut log).await, all);
        close(log, closed).await;
    }
    // It is told again from that start on.
    let path = file(dir.path());
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
    assert!(matches!(opened(dir.path(), Fatal::default()), Err(LogError::Damage(_))));
}

/// Every single flipped bit of a log of which nothing is told beside it, closed or killed, with zeros behind it: it opens with
/// all that was flushed, or not at all. Only in the last flush a bit that makes a record seem longer than the file can't be told from a write that a crash
/// cut short.
#[tokio::test]
async fn a_flipped_bit_never_loses_what_was_flushed() {
    let whole = tempfile::tempdir().unwrap();
    let all = log_of(whole.path(), 6).await;
    let path = file(whole.path());
    let bytes = fs::read(&path).unwrap();
    let (mut refused, mut cut) = (0, 0);
    let zeros = 4_096 - bytes.len() % 512;
    for (bit, zeros) in (0..bytes.len() * 8).flat_map(|bit| [(bit, 0), (bit, zeros)]) {
        let mut flipped = [&bytes[..], &vec![0; zeros]].concat();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let dir = with_log(&path, &flipped);
        match opened(dir.path(), Fatal::default()) {
            Err(LogError::Damage(damage)) => {
                assert!(damage.to_string().contains(".wal"), "{damage}");
                refused += 1;
            }
            Err(error) => panic!("bit {bit}: {error}"),
            Ok((mut log, _closed)) => {
                let kept = entries(&mut log).await;
                assert_eq!(kept, all[..5], "bit {bit} lost more than the last flush");
                cut += 1;
            }
        }
    }
    assert!(cut <= 2 * 32, "{cut} bits of a length field at the most");
    assert!(refused > 0);
}

#[tokio::test]
async fn damage_in_an_older_file_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, closed) = open(dir.path()).await;
    for index in 0..40 {
        log.blocking_append([opaque(1, index, 1 << 20)]).await.unwrap();
    }
    close(log, closed).await;
    let mut files: Vec<_> =
        fs::read_dir(log_dir(dir.path())).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "wal"));
    files.sort();
    assert_eq!(files.len(), 2);
    let sound = fs::read(&files[0]).unwrap();
    let mut flipped = sound.clone();
    flipped[5 << 20] ^= 1;
    for damaged in [&flipped[..], &sound[..sound.len() - 3]] {
        fs::write(&files[0], damaged).unwrap();
        let refused = opened(dir.path(), Fatal::default()).err().unwrap();
        assert!(matches!(refused, LogError::Damage(_)), "{refused}");
    }
    fs::write(&files[0], sound).unwrap();
    assert_eq!(entries(&mut open(dir.path()).await.0).await.len(), 40);
}

#[tokio::test]
async fn a_log_that_is_gone_is_not_taken_for_a_new_one() {
    let dir = tempfile::tempdir().unwrap();
    log_of(dir.path(), 3).await;
    fs::remove_dir_all(log_dir(dir.path())).unwrap();
    assert!(matches!(opened(dir.path(), Fatal::default()), Err(LogError::Lost { .. })));
}

#[tokio::test]
async fn memberships_survive() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, closed) = open(dir.path()).await;
    let members = super::support::membership(&[1, 2, 3]);
    let entry = Entry { log_id: log_id(1, 0), payload: EntryPayload::Membership(members.clone()) };
    log.blocking_append([entry.clone(), blank(1, 1)]).await.unwrap();
    close(log, closed).await;
    let (mut log, _closed) = open(dir.path()).await;
    assert_eq!(log.membership(), Some(&members));
    assert_eq!(entries(&mut log).await, [entry, blank(1, 1)]);
}

#[tokio::test]
async fn a_failure_is_final_and_told_to_everybody() {
    let dir = tempfile::tempdir().unwrap();
    let fatal = Fatal::default();
    let (mut log, mut closed) = opened(dir.path(), fatal.clone()).unwrap();
    log.blocking_append([blank(1, 0)]).await.unwrap();
    // A gap is no log.
    assert!(log.blocking_append([blank(1, 7)]).await.is_err());
    let reason = fatal.watch().borrow().clone().unwrap();
    assert!(reason.contains("could not be written"), "{reason}");
    assert!(log.save_vote(&Vote::new(2, 1)).await.is_err());
    assert!(log.blocking_append([blank(1, 1)]).await.is_err());
    assert!(log.read(0, 1, 0).await.is_ok(), "what is in memory can still be read");
    closed.wait_for(|closed| *closed).await.unwrap();
    let (mut log, _closed) = open(dir.path()).await;
    assert_eq!(entries(&mut log).await, [blank(1, 0)]);
    assert_eq!(log.read_vote().await.unwrap(), None);
}

/// How far a node that died now would find its log committed.
async fn committed_on_disk(dir: &Path) -> Option<LogId> {
    let file = file(dir);
    let copy = with_log(&file, &fs::read(&file).unwrap());
    let (mut log, closed) = open(copy.path()).await;
    let committed = log.read_committed().await.unwrap();
    close(log, closed).await;
    committed
}

#[tokio::test]
async fn what_is_committed_is_written_with_the_next_entries_or_soon_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, closed) = open(dir.path()).await;
    log.blocking_append([blank(1, 0), blank(1, 1)]).await.unwrap();
    log.save_committed(Some(log_id(1, 0))).await.unwrap();
    log.blocking_append([blank(1, 2)]).await.unwrap();
    assert_eq!(committed_on_disk(dir.path()).await, Some(log_id(1, 0)));
    log.save_committed(Some(log_id(1, 1))).await.unwrap();
    log.save_committed(Some(log_id(1, 2))).await.unwrap();
    assert_eq!(log.read_committed().await.unwrap(), Some(log_id(1, 2)));
    let is_written = async {
        while committed_on_disk(dir.path()).await != Some(log_id(1, 2)) {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(20), is_written).await.unwrap();
    close(log, closed).await;
}

/// A leader that lacks what was committed was elected by nodes of which one has lost something: this log may be all that is left.
#[tokio::test]
async fn what_was_committed_is_never_truncated_and_the_reason_says_what_to_keep() {
    let dir = tempfile::tempdir().unwrap();
    let fatal = Fatal::default();
    let (mut log, mut closed) = opened(dir.path(), fatal.clone()).unwrap();
    log.blocking_append([blank(1, 0), blank(1, 1), blank(1, 2)]).await.unwrap();
    log.save_committed(Some(log_id(1, 1))).await.unwrap();
    assert!(log.truncate_after(Some(log_id(1, 0))).await.is_err());
    let reason = fatal.watch().borrow().clone().unwrap();
    assert!(reason.contains("lacks entry 1") && reason.contains("Keep this data directory"), "{reason}");
    closed.wait_for(|closed| *closed).await.unwrap();
    assert_eq!(entries(&mut open(dir.path()).await.0).await, [blank(1, 0), blank(1, 1), blank(1, 2)]);
}

#[tokio::test]
async fn a_hole_in_what_was_flushed_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, closed) = open(dir.path()).await;
    for index in 0..3 {
        log.blocking_append([opaque(1, index, 20_000)]).await.unwrap();
    }
    close(log, closed).await;
    let path = file(dir.path());
    let sound = fs::read(&path).unwrap();
    // It looks like a torn write; the entry behind it was written after it had been flushed.
    let mut bytes = sound.clone();
    bytes[28_672..32_768].fill(0);
    fs::write(&path, bytes).unwrap();
    let refused = opened(dir.path(), Fatal::default()).err().unwrap();
    assert!(refused.to_string().contains("from here on had been flushed"), "{refused}");
    fs::write(&path, sound).unwrap();
    assert_eq!(entries(&mut open(dir.path()).await.0).await.len(), 3);
}
