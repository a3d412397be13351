//! The log's files: what lies behind the last record, when one is begun and when one is removed.

use std::fs;
use std::path::{Path, PathBuf};

use openraft::EntryPayload;
use openraft::impls::leader_id_adv::LeaderId;
use tempfile::TempDir;

use super::support::log_id;
use crate::replication::log_files::{LogFiles, list};
use crate::replication::log_record::{LogRecord, LoggedPayload, LoggedVote, Mark};
use crate::replication::log_scan::{LogDamage, recover};
use crate::replication::log_state::LoggedState;
use crate::replication::{LogId, Payload, Vote};

const MIB: usize = 1 << 20;
const SECTOR_BYTES: usize = 512;

fn append(index: u64, bytes: usize) -> LogRecord {
    let body: Vec<u8> = (0..bytes).map(|at| (at as u64 * 31 + index) as u8 | 1).collect();
    LogRecord::Append(
        log_id(1, index),
        LoggedPayload::new(&EntryPayload::Normal(Payload(body.into()))).unwrap(),
    )
}

/// The last file and the bytes of its records.
fn newest(log: &LogFiles) -> (PathBuf, usize) {
    let (path, length) = log.lengths().last().unwrap();
    (path.to_owned(), length.written as usize)
}

fn indexes(log: &LogFiles) -> Vec<u64> {
    log.read(0, u64::MAX).map(|entry| entry.unwrap().0.index).collect()
}

fn recovered(dir: &Path, flushed: Option<Mark>) -> Result<LogFiles, LogDamage> {
    recover(dir, flushed).and_then(|()| LogFiles::open(dir))
}

/// A log that a process had open when it was killed: entries up to `flushed`, each flushed by itself, and a last one that
/// was not. With the bytes of its records.
fn killed(flushed: u64) -> (TempDir, PathBuf, Mark, usize) {
    let dir = tempfile::tempdir().unwrap();
    let mut log = LogFiles::open(dir.path()).unwrap();
    for index in 0..flushed {
        log.push(&append(index, 700)).unwrap();
        log.flush().unwrap();
    }
    let mark = log.end();
    log.push(&append(flushed, 2_000)).unwrap();
    log.write().unwrap();
    let (path, length) = newest(&log);
    (dir, path, mark, length)
}

/// What raft-log 0.4.6 has written. One file is a node's: votes, a membership, batches. The others are a log whose first file
/// was purged, with a truncation, a purge, and states at the files' heads.
const EARLIER: &str = "src/replication/tests/raft_log_0_4";

#[test]
fn records_of_an_earlier_build_are_read_and_would_be_written_alike() {
    let files: Vec<_> = fs::read_dir(EARLIER).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(files.len(), 4);
    for file in files {
        let written = fs::read(&file).unwrap();
        let (mut again, mut rest) = (Vec::new(), written.as_slice());
        while !rest.is_empty() {
            let (record, length) = LogRecord::decode(rest).unwrap();
            record.encode(&mut again);
            rest = &rest[length..];
        }
        assert!(again == written, "{}", file.display());
    }
}

#[test]
fn a_log_of_an_earlier_build_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("r-00_000_000_000_000_000_000.wal");
    fs::copy(Path::new(EARLIER).join("of_a_node.wal"), &file).unwrap();
    let mut log = recovered(dir.path(), Some(Mark(fs::metadata(file).unwrap().len()))).unwrap();
    let last = log.state().last.unwrap();
    assert_eq!(log.state().vote.unwrap().vote, Vote::new_committed(1, 1));
    assert_eq!(log.state().committed, Some(last));
    assert_eq!(indexes(&log), (0..=last.index).collect::<Vec<_>>());
    let members = log.last_membership().unwrap().unwrap();
    assert_eq!(members.nodes().map(|(id, _)| *id).collect::<Vec<_>>(), [1]);
    log.push(&append(last.index + 1, 10)).unwrap();
    log.close().unwrap();
    assert_eq!(LogFiles::open(dir.path()).unwrap().state().last, Some(log_id(1, last.index + 1)));
}

#[test]
fn a_log_of_an_earlier_build_that_was_purged_and_truncated_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    for file in list(Path::new(EARLIER)).unwrap() {
        fs::copy(&file.path, dir.path().join(file.path.file_name().unwrap())).unwrap();
    }
    let mut log = recovered(dir.path(), Some(Mark(1_621))).unwrap();
    let of_second = |index| LogId::new(LeaderId { term: 2, node_id: 2 }, index);
    let LoggedState { vote, last, committed, purged } = *log.state();
    assert_eq!(vote.unwrap().vote, Vote::new(2, 2));
    assert_eq!((last, committed, purged), (Some(of_second(16)), Some(of_second(12)), Some(log_id(1, 5))));
    assert_eq!(indexes(&log), (6..17).collect::<Vec<_>>());
    assert!(log.read(6, 17).all(|entry| entry.unwrap().0.committed_leader_id().term == 2));
    log.purge(of_second(16)).unwrap();
    log.flush().unwrap();
    log.remove_purged(log.end()).unwrap();
    assert_eq!(list(dir.path()).unwrap().len(), 1);
}

#[test]
fn zeros_lie_behind_an_open_log_and_none_behind_a_closed_one() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = LogFiles::open(dir.path()).unwrap();
    let mut ahead = Vec::new();
    for index in 0..9 {
        log.push(&append(index, MIB / 4)).unwrap();
        log.flush().unwrap();
        let (path, length) = newest(&log);
        let bytes = fs::read(path).unwrap();
        assert!(bytes.len().is_multiple_of(MIB) && bytes[length..].iter().all(|byte| *byte == 0));
        ahead.push(bytes.len() / MIB);
    }
    // Most flushes write over zeros.
    assert_eq!(ahead, [1, 1, 1, 2, 2, 2, 2, 3, 3]);
    let (path, length) = newest(&log);
    log.close().unwrap();
    assert_eq!(fs::metadata(path).unwrap().len(), length as u64);
    assert_eq!(indexes(&LogFiles::open(dir.path()).unwrap()), (0..9).collect::<Vec<_>>());
}

#[test]
fn what_a_killed_process_had_written_is_there() {
    let (dir, path, mark, length) = killed(3);
    assert_eq!(fs::metadata(&path).unwrap().len(), MIB as u64);
    let log = recovered(dir.path(), Some(mark)).unwrap();
    assert_eq!(indexes(&log), [0, 1, 2, 3]);
    assert_eq!(fs::metadata(&path).unwrap().len(), length as u64);
    // Zeros that are taken for records would be damage.
    fs::write(&path, [fs::read(&path).unwrap(), vec![0; 3]].concat()).unwrap();
    assert!(LogFiles::open(dir.path()).is_err());
}

/// A power cut leaves zeros where a sector was not written.
#[test]
fn a_write_that_lacks_its_end_or_a_sector_is_cut() {
    let (dir, path, mark, length) = killed(3);
    let sound = fs::read(&path).unwrap();
    let begins_at = mark.0 as usize;
    for at in (begins_at / SECTOR_BYTES * SECTOR_BYTES..length).step_by(SECTOR_BYTES) {
        let sector = at.max(begins_at)..(at + SECTOR_BYTES).min(length);
        let (mut ended, mut lacking) = (sound.clone(), sound.clone());
        ended[sector.start..].fill(0);
        lacking[sector].fill(0);
        for (bytes, told) in [(&ended, Some(mark)), (&lacking, Some(mark)), (&ended, None), (&lacking, None)]
        {
            fs::write(&path, bytes).unwrap();
            let log = recovered(dir.path(), told).unwrap();
            assert_eq!((indexes(&log), log.end()), (vec![0, 1, 2], mark), "{at}");
        }
    }
}

/// A group of records reaches the disk in any order, as sectors.
#[test]
fn whatever_sectors_of_a_group_are_missing_it_is_cut_behind_what_was_flushed() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = LogFiles::open(dir.path()).unwrap();
    log.push(&append(0, 700)).unwrap();
    log.flush().unwrap();
    let mark = log.end();
    log.push(&LogRecord::Commit(log_id(1, 0))).unwrap();
    log.write().unwrap();
    (1..7).try_for_each(|index| log.push(&append(index, 100 * index as usize))).unwrap();
    log.write().unwrap();
    let (path, length) = newest(&log);
    let sound = fs::read(&path).unwrap()[..length + 4 * SECTOR_BYTES].to_vec();
    let begins_at = mark.0 as usize;
    let sectors: Vec<usize> = (begins_at / SECTOR_BYTES..length.div_ceil(SECTOR_BYTES)).collect();
    assert!((5..9).contains(&sectors.len()), "{sectors:?}");
    for missing in 0..1 << sectors.len() {
        let mut bytes = sound.clone();
        for (_, sector) in sectors.iter().enumerate().filter(|(bit, _)| missing & 1 << bit != 0) {
            bytes[(sector * SECTOR_BYTES).max(begins_at)..(sector + 1) * SECTOR_BYTES].fill(0);
        }
        for told in [None, Some(Mark(0)), Some(mark)] {
            fs::write(&path, &bytes).unwrap();
            let log = recovered(dir.path(), told).unwrap();
            let kept = indexes(&log);
            assert!(
                log.end() >= mark && kept == (0..kept.len() as u64).collect::<Vec<_>>(),
                "{missing:b} {kept:?}"
            );
            assert_eq!(kept.len() == 7, missing == 0, "{missing:b}");
        }
    }
}

/// Where nothing is told beside the log, or what is told is older, as after a power cut.
#[test]
fn a_record_that_lacks_no_sector_is_not_taken_for_torn_though_zeros_lie_behind_it() {
    let (dir, path, mark, length) = killed(2);
    let sound = fs::read(&path).unwrap();
    // A bit that makes the record seem longer than it is can't be told from a write that was cut short.
    let length_field = mark.0 as usize + 4 + 24 + 1 + 8 + 1..mark.0 as usize + 4 + 24 + 1 + 8 + 1 + 4;
    for at in (mark.0 as usize..length).filter(|at| !length_field.contains(at)) {
        let mut damaged = sound.clone();
        damaged[at] ^= 1 << (at % 8);
        fs::write(&path, damaged).unwrap();
        let refused = recovered(dir.path(), None).unwrap_err();
        assert!(refused.to_string().contains("no part of it is missing"), "{at}: {refused}");
    }
}

/// As it is where the node is killed and not its machine: what is told beside the log is then up to date.
#[test]
fn what_was_flushed_is_never_taken_for_torn_though_zeros_lie_behind_it() {
    let (dir, path, mark, _) = killed(2);
    let sound = fs::read(&path).unwrap();
    for at in 0..mark.0 as usize {
        let mut damaged = sound.clone();
        damaged[at] ^= 1 << (at % 8);
        // The last one is flushed, too, and nothing but zeros lies behind it.
        damaged[mark.0 as usize..].fill(0);
        fs::write(&path, damaged).unwrap();
        let refused = recovered(dir.path(), Some(mark)).unwrap_err();
        assert!(refused.to_string().contains("had been flushed"), "{at}: {refused}");
        let mut cut = sound.clone();
        cut[at..].fill(0);
        fs::write(&path, cut).unwrap();
        assert!(recovered(dir.path(), Some(mark)).is_err(), "{at}");
    }
}

#[test]
fn files_are_begun_when_one_is_full_and_removed_once_all_in_them_is_purged() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = LogFiles::open(dir.path()).unwrap();
    log.push(&LogRecord::SaveVote(LoggedVote { vote: Vote::new(3, 2), mark: Mark(0) })).unwrap();
    for index in 0..80 {
        log.push(&append(index, MIB - 100)).unwrap();
    }
    // What is not written yet can be read.
    assert_eq!(indexes(&log), (0..80).collect::<Vec<_>>());
    log.flush().unwrap();
    let files =
        |log: &LogFiles| log.lengths().map(|(path, of)| (path.to_owned(), of.written)).collect::<Vec<_>>();
    let all = files(&log);
    assert_eq!(all.len(), 3);
    for (path, length) in &all[..2] {
        assert_eq!(fs::metadata(path).unwrap().len(), *length, "a full file ends with its last record");
    }
    log.truncate(79).unwrap();
    let before = log.end();
    log.purge(log_id(1, 40)).unwrap();
    log.flush().unwrap();
    log.remove_purged(before).unwrap();
    assert_eq!(files(&log).len(), 3, "not before it is known to be durable");
    log.remove_purged(log.end()).unwrap();
    assert_eq!(files(&log)[0], all[1]);
    assert!(!all[0].0.exists());
    log.close().unwrap();
    let mut log = LogFiles::open(dir.path()).unwrap();
    assert_eq!(indexes(&log), (41..79).collect::<Vec<_>>());
    assert_eq!(log.state().vote.unwrap().vote, Vote::new(3, 2));
    let (id, payload) = log.read(50, 51).next().unwrap().unwrap();
    let LogRecord::Append(_, sound) = append(50, MIB - 100) else { unreachable!() };
    assert_eq!(payload.into_entry(id).unwrap(), sound.into_entry(log_id(1, 50)).unwrap());
    // All of it, and what another node's snapshot was ahead.
    log.purge(log_id(4, 500)).unwrap();
    log.flush().unwrap();
    log.remove_purged(log.end()).unwrap();
    assert_eq!((files(&log).len(), indexes(&log)), (1, vec![]));
    assert!(log.push(&append(79, 1)).is_err());
    log.truncate(501).unwrap();
    assert!(log.truncate(300).is_err());
}

#[test]
fn an_older_file_that_ends_early_or_late_is_damage() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = LogFiles::open(dir.path()).unwrap();
    (0..40).try_for_each(|index| log.push(&append(index, MIB - 100))).unwrap();
    let first = log.lengths().next().unwrap().0.to_owned();
    log.close().unwrap();
    let sound = fs::read(&first).unwrap();
    let last = append(32, MIB - 100);
    let mut record = Vec::new();
    last.encode(&mut record);
    let (early, late) = (sound[..sound.len() - record.len()].to_vec(), [&sound[..], &[0; 512]].concat());
    for damaged in [early, late] {
        fs::write(&first, damaged).unwrap();
        let refused = recovered(dir.path(), None).unwrap_err();
        assert!(matches!(&refused, LogDamage::Damaged { file, .. } if *file == first), "{refused}");
    }
    fs::write(&first, sound).unwrap();
    assert_eq!(indexes(&recovered(dir.path(), None).unwrap()).len(), 40);
}

#[test]
fn what_stands_before_damage_is_read_and_nothing_is_changed() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = LogFiles::open(dir.path()).unwrap();
    (0..80).try_for_each(|index| log.push(&append(index, MIB - 100))).unwrap();
    log.close().unwrap();
    let files: Vec<_> = list(dir.path()).unwrap().into_iter().map(|file| file.path).collect();
    let before = |file: &Path, offset| LogFiles::open_before(dir.path(), file, offset);
    let lengths = || files.iter().map(|file| fs::metadata(file).unwrap().len()).collect::<Vec<_>>();
    let all = lengths();
    let first = indexes(&before(&files[1], 0).unwrap().unwrap());
    let second = indexes(&before(&files[2], 0).unwrap().unwrap());
    assert!(!first.is_empty() && first.len() < second.len() && second.len() < 80);
    assert_eq!(second, (0..second.len() as u64).collect::<Vec<_>>());
    assert!(indexes(&before(&files[0], 0).unwrap().unwrap()).is_empty());
    assert_eq!(lengths(), all);
    // One before it is damaged, too.
    let mut bytes = fs::read(&files[1]).unwrap();
    bytes[100] ^= 1;
    fs::write(&files[1], bytes).unwrap();
    let earlier = before(&files[2], 0).unwrap_err();
    assert!(matches!(&earlier, LogDamage::Damaged { file, .. } if *file == files[1]), "{earlier}");
    // One that begins later than the log did tells nothing of what was before.
    fs::remove_file(&files[0]).unwrap();
    let nothing = before(&files[1], 0).unwrap().unwrap();
    assert_eq!((nothing.begins_at(), nothing.state().purged), (all[0], None));
}

/// A crash while a file was begun leaves it empty, of zeros, or with a part of its head.
#[test]
fn a_file_that_was_begun_and_not_written_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = LogFiles::open(dir.path()).unwrap();
    (0..33).try_for_each(|index| log.push(&append(index, MIB - 100))).unwrap();
    log.close().unwrap();
    let files = list(dir.path()).unwrap();
    let (full, begun) = (&files[0].path, &files[1].path);
    let (sound, head) = (fs::read(full).unwrap(), fs::read(begun).unwrap());
    let end = Mark(sound.len() as u64);
    for left in [&[][..], &[0; 4_096], &head[..20]] {
        list(dir.path()).unwrap().iter().for_each(|file| fs::remove_file(&file.path).unwrap());
        fs::write(full, &sound).unwrap();
        fs::write(begun, left).unwrap();
        let mut log = recovered(dir.path(), Some(end)).unwrap();
        assert_eq!((indexes(&log).len(), log.end()), (33, end));
        assert!(!begun.exists());
        // One is begun again, behind the next record.
        log.push(&append(33, 5)).unwrap();
        log.close().unwrap();
        assert_eq!(list(dir.path()).unwrap().len(), 2);
        assert_eq!(indexes(&recovered(dir.path(), None).unwrap()).len(), 34);
    }
}

/// A crash came between the purge and the removal.
#[test]
fn files_that_were_purged_before_a_start_are_removed_after_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = LogFiles::open(dir.path()).unwrap();
    (0..40).try_for_each(|index| log.push(&append(index, MIB - 100))).unwrap();
    log.purge(log_id(1, 35)).unwrap();
    log.close().unwrap();
    let mut log = recovered(dir.path(), None).unwrap();
    assert_eq!(log.lengths().count(), 2);
    log.remove_purged(log.end()).unwrap();
    assert_eq!((log.lengths().count(), indexes(&log)), (1, vec![36, 37, 38, 39]));
}
