//! Encoding, the log and snapshots.

use std::time::{Duration, Instant};

use innkeeper::ledger::{Timestamp, Wanted};
use innkeeper::replication::{
    Batch, Check, EncodedSubmission, Entry, LogId, Payload, SnapshotMeta, SnapshotStore, StoredMembership,
};
use openraft::EntryPayload;
use openraft::impls::leader_id_adv::LeaderId;
use openraft::storage::RaftLogStorageExt;

use crate::growth::{opened, runtime};
use crate::house::{Applying, BATCH, hotel, room, stay};
use crate::report::Report;

const ROUNDS: usize = 21;

pub fn measure(report: &mut Report) {
    codec(report);
    log(report);
    snapshot(report);
}

pub fn log_id(index: u64) -> LogId {
    LogId::new(LeaderId { term: 1, node_id: 1 }, index)
}

/// A batch of stays in rooms of their own, on nights that nothing else takes.
pub fn batch(check: Check, first: u64) -> Batch {
    let stays = (first..first + BATCH as u64).map(|n| {
        let (n_room, slot) = (n as usize % crate::house::ROOMS, n as usize / crate::house::ROOMS);
        stay(u64::from(u32::MAX) + n, hotel(0), Wanted::Room(room(n_room)), 900 + slot as i32 * 3)
    });
    let submissions = stays.map(|stay| EncodedSubmission::new(&stay).expect("it fits")).collect();
    Batch { stamp: Timestamp(1_900_000_000_000), check, submissions }
}

pub fn entry(index: u64, payload: Payload) -> Entry {
    Entry { log_id: log_id(index), payload: EntryPayload::Normal(payload) }
}

fn nowhere() -> Check {
    Check { lsn: Default::default(), state_hash: Default::default() }
}

fn codec(report: &mut Report) {
    let decoded: Vec<_> =
        (0..BATCH as u64).map(|n| stay(n, hotel(0), Wanted::Room(room(n as usize)), 10)).collect();
    let times = 100;
    report.rounds("codec/encode", ROUNDS, || {
        let began = Instant::now();
        for _ in 0..times {
            let submissions = decoded.iter().map(|stay| EncodedSubmission::new(stay).expect("it fits"));
            let batch = Batch { stamp: Timestamp(1), check: nowhere(), submissions: submissions.collect() };
            std::hint::black_box(batch.encode().expect("it fits"));
        }
        (began.elapsed(), times * BATCH)
    });
    let payload = batch(nowhere(), 0).encode().expect("it fits");
    report.values("codec/bytes", "bytes", vec![payload.0.len() as f64 / BATCH as f64]);
    report.rounds("codec/decode", ROUNDS, || {
        let began = Instant::now();
        for _ in 0..times {
            let batch = payload.decode().expect("it was encoded");
            std::hint::black_box(batch.submissions().expect("they were encoded"));
        }
        (began.elapsed(), times * BATCH)
    });
}

/// One entry after the other, each flushed.
fn log(report: &mut Report) {
    if !report.wants("log/append_and_flush") {
        return;
    }
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("the target folder is there");
    let runtime = runtime();
    let payload = batch(nowhere(), 0).encode().expect("it fits");
    let mut next = 0;
    let mut storage = opened(dir.path());
    report.rounds("log/append_and_flush", ROUNDS, || {
        let times = 50;
        let began = Instant::now();
        runtime.block_on(async {
            for _ in 0..times {
                let appended = storage.log.blocking_append([entry(next, payload.clone())]).await;
                appended.expect("the disk takes it");
                next += 1;
            }
        });
        (began.elapsed(), times)
    });
}

/// A million reservations. The figures are of the whole.
fn snapshot(report: &mut Report) {
    if !report.wants("snapshot/1M/") {
        return;
    }
    let house = Applying::full(1_000_000);
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("the target folder is there");
    let (store, _) = SnapshotStore::open(dir.path()).expect("an empty folder");
    let (mut written, mut read) = (Vec::new(), Vec::new());
    let mut bytes = 0;
    for index in 0..5 {
        let meta = SnapshotMeta { last_log_id: Some(log_id(index)), membership: StoredMembership::default() };
        let began = Instant::now();
        let file = store.write(meta, &house.ledger).expect("the disk takes it");
        written.push(ms(began.elapsed()));
        bytes = file.len();
        let began = Instant::now();
        let ledger = file.load().expect("it was written");
        read.push(ms(began.elapsed()));
        assert_eq!(ledger.state_hash(), house.ledger.state_hash());
    }
    report.values("snapshot/1M/write", "ms", written);
    report.values("snapshot/1M/read", "ms", read);
    report.values("snapshot/1M/bytes", "MB", vec![bytes as f64 / 1e6]);
}

pub fn ms(time: Duration) -> f64 {
    time.as_nanos() as f64 / 1e6
}
