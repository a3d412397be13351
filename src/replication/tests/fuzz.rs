//! Every decoder of what comes from a disk or from the network, fed with what nobody wrote: it answers, and never panics.
//!
//! Bytes by chance hardly get past a checksum. So sound frames of every kind are changed inside and given a checksum that
//! is right, as from a member of another build, or one that lies.

use std::fs;
use std::path::Path;

use openraft::EntryPayload;
use proptest::prelude::*;
use proptest::sample::Index;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::support::{Group, framed, house, log_id, membership, open, reserve};
use crate::ledger::{Ledger, Prepared, Record};
use crate::replication::check::DecodedBatch;
use crate::replication::codec::{self, Frame, HEADER_BYTES, Kind};
use crate::replication::log_record::{CHECKSUM_BYTES, LogRecord, LoggedPayload, LoggedVote, Mark};
use crate::replication::log_state::LoggedState;
use crate::replication::{
    Batch, Envelope, GroupDirs, Identity, Payload, Reply, Request, SnapshotStore, Vote,
};

const CASES: u32 = 2_000;
/// Of those that open a folder.
const FOLDER_CASES: u32 = 60;

/// One change of bytes. Places are taken modulo what is there.
#[derive(Clone, Debug)]
pub enum Change {
    Set(Index, u8),
    Flip(Index, u8),
    Insert(Index, Vec<u8>),
    Remove(Index, usize),
    Cut(Index),
}

pub fn changes() -> impl Strategy<Value = Vec<Change>> {
    let place = any::<Index>;
    let change = prop_oneof![
        (place(), any::<u8>()).prop_map(|(at, to)| Change::Set(at, to)),
        (place(), 0..8u8).prop_map(|(at, bit)| Change::Flip(at, bit)),
        (place(), prop::collection::vec(any::<u8>(), 1..9)).prop_map(|(at, bytes)| Change::Insert(at, bytes)),
        (place(), 1..9usize).prop_map(|(at, count)| Change::Remove(at, count)),
        place().prop_map(Change::Cut),
    ];
    prop::collection::vec(change, 1..5)
}

pub fn changed(mut bytes: Vec<u8>, changes: &[Change]) -> Vec<u8> {
    for change in changes.iter().filter(|_| !bytes.is_empty()).cloned().collect::<Vec<_>>() {
        let place = |at: Index, bytes: &[u8]| at.index(bytes.len().max(1)).min(bytes.len().saturating_sub(1));
        if bytes.is_empty() {
            break;
        }
        match change {
            Change::Set(at, to) => {
                let at = place(at, &bytes);
                bytes[at] = to;
            }
            Change::Flip(at, bit) => {
                let at = place(at, &bytes);
                bytes[at] ^= 1 << bit;
            }
            Change::Insert(at, more) => {
                let at = place(at, &bytes);
                bytes.splice(at..at, more);
            }
            Change::Remove(at, count) => {
                let at = place(at, &bytes);
                let end = (at + count).min(bytes.len());
                bytes.drain(at..end);
            }
            Change::Cut(at) => bytes.truncate(place(at, &bytes)),
        }
    }
    bytes
}

/// The frames of earlier builds; a snapshot is several.
fn corpus() -> Vec<Vec<u8>> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/replication/golden");
    let mut files: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let frames = files.iter().flat_map(|path| {
        let bytes = fs::read(path).unwrap();
        let mut rest = bytes.as_slice();
        let frames = std::iter::from_fn(|| Frame::read(&mut rest).unwrap());
        frames.map(|frame| frame.bytes().to_vec()).collect::<Vec<_>>()
    });
    frames.collect()
}

/// What can be decoded can be encoded, and is then read again.
fn comes_back<T: Serialize + DeserializeOwned>(kind: Kind, frame: &[u8]) {
    let Ok(value) = codec::decode::<T>(kind, frame) else { return };
    let Ok(again) = codec::encode(kind, &value) else { return };
    assert!(codec::decode::<T>(kind, &again).is_ok(), "{again:02x?} was written and can't be read");
}

fn decode_as_everything(frame: &[u8]) {
    comes_back::<Batch>(Kind::Batch, frame);
    comes_back::<Identity>(Kind::Identity, frame);
    comes_back::<Envelope<Request>>(Kind::Peer, frame);
    comes_back::<Envelope<Reply>>(Kind::Peer, frame);
    // What became of each command is for the ledger's own tests: here it is read.
    drop(DecodedBatch::decode(&Payload(frame.to_vec().into())));
    if let Ok(Some(frame)) = Frame::read(&mut &frame[..]) {
        drop(frame.decode_run::<Record>(Kind::SnapshotRecords));
        if let Ok(parts) = frame.parts(Kind::SnapshotReservations) {
            parts.for_each(|part| drop(part.map(Prepared::unpack)));
        }
    }
}

/// A record of every kind, without its checksum.
fn records() -> Vec<Vec<u8>> {
    let vote = LoggedVote { vote: Vote::new_committed(7, 2), mark: Mark(1_000) };
    let payload = |payload| LoggedPayload::new(&payload).unwrap().marked(Mark(77));
    let id = log_id(7, 12);
    let records = [
        LogRecord::SaveVote(vote),
        LogRecord::Append(id, payload(EntryPayload::Blank)),
        LogRecord::Append(id, payload(EntryPayload::Normal(Payload(vec![1; 40].into())))),
        LogRecord::Append(id, payload(EntryPayload::Membership(membership(&[1, 2, 3])))),
        LogRecord::Commit(id),
        LogRecord::TruncateAfter(None),
        LogRecord::TruncateAfter(Some(id)),
        LogRecord::PurgeUpto(id),
        LogRecord::Checkpoint(LoggedState::default()),
        LogRecord::Checkpoint(LoggedState {
            vote: Some(vote),
            last: Some(id),
            committed: Some(id),
            purged: Some(log_id(1, 2)),
        }),
    ];
    let encoded = records.iter().map(|record| {
        let mut bytes = Vec::new();
        record.encode(&mut bytes);
        bytes.truncate(bytes.len() - CHECKSUM_BYTES);
        bytes
    });
    encoded.collect()
}

/// What was read comes back. Behind the bytes stands their checksum, so that what they hold is looked at.
fn decode_as_logged(bytes: &[u8]) -> bool {
    let checksum = u64::from(crc32fast::hash(bytes)).to_be_bytes();
    let Ok((record, length)) = LogRecord::decode(&[bytes, &checksum].concat()) else { return false };
    assert_eq!(length, bytes.len() + checksum.len());
    let mut again = Vec::new();
    record.encode(&mut again);
    assert_eq!(again, [bytes, &checksum].concat());
    true
}

#[test]
fn records_of_every_kind_come_back() {
    for record in records() {
        assert!(decode_as_logged(&record), "{record:02x?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(CASES))]

    #[test]
    fn any_bytes_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..200), kind in 0..10u8, version in 0..3u16) {
        decode_as_everything(&bytes);
        decode_as_everything(&framed(kind, version, &bytes));
        decode_as_logged(&bytes);
    }

    #[test]
    fn changed_records_are_answered(of in any::<Index>(), changes in changes()) {
        let records = records();
        decode_as_logged(&changed(records[of.index(records.len())].clone(), &changes));
    }

    #[test]
    fn changed_frames_are_answered(of in any::<Index>(), changes in changes()) {
        let corpus = corpus();
        let sound = &corpus[of.index(corpus.len())];
        decode_as_everything(&changed(sound.clone(), &changes));
        let (header, body) = sound.split_at(HEADER_BYTES);
        decode_as_everything(&framed(header[4], 1, &changed(body.to_vec(), &changes)));
    }
}

/// The files of a group with a log and two snapshots.
fn group_files() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut group = Group::new(dir.path());
        group.submit(&house(3)).await;
        for n in 0..2 {
            group.submit(&[reserve(n.into(), 1 + n, 3)]).await;
            group.snapshot().await;
        }
        group.close().await;
    });
    dir
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// A frame of the file is changed inside, and its checksum is right.
fn change_a_frame(file: &[u8], of: Index, changes: &[Change]) -> Vec<u8> {
    let mut rest = file;
    let mut frames = Vec::new();
    while let Some(frame) = Frame::read(&mut rest).unwrap() {
        frames.push(frame.bytes().to_vec());
    }
    let at = of.index(frames.len());
    let (kind, body) = (frames[at][4], frames[at][HEADER_BYTES..].to_vec());
    frames[at] = framed(kind, 1, &changed(body, changes));
    frames.concat()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(FOLDER_CASES))]

    /// It opens on what is sound, or not at all.
    #[test]
    fn changed_files_are_opened_or_refused(of in any::<Index>(), inside in any::<bool>(), changes in changes()) {
        thread_local! {
            static SOUND: tempfile::TempDir = group_files();
        }
        let dir = tempfile::tempdir().unwrap();
        SOUND.with(|sound| copy(sound.path(), dir.path()));
        let dirs = GroupDirs::of(dir.path());
        let files = [&dirs.log, &dirs.snapshots].into_iter().flat_map(|dir| fs::read_dir(dir).unwrap());
        let mut files: Vec<_> = files.map(|entry| entry.unwrap().path()).collect();
        files.sort();
        let path = &files[of.index(files.len())];
        let sound = fs::read(path).unwrap();
        let is_snapshot = path.starts_with(&dirs.snapshots);
        let new = if inside && is_snapshot { change_a_frame(&sound, of, &changes) } else { changed(sound, &changes) };
        fs::write(path, new).unwrap();
        if let Ok((_, newest)) = SnapshotStore::open(&dirs.snapshots) {
            let loaded = newest.loaded.map(|(_, ledger)| ledger).unwrap_or_else(Ledger::new);
            loaded.audit().unwrap();
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async { drop(open(dir.path())) });
    }
}
