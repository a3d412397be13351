//! How it stays as the ledger grows: memory and cost of a booking, how long a start takes, and how long a snapshot that
//! is taken meanwhile holds up apply.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::stream;
use innkeeper::ledger::{Submission, Wanted};
use innkeeper::replication::{
    self, Check, Disk, DiskThreads, Entry, GroupDirs, SnapshotMeta, SnapshotStore, Storage, StoredMembership,
    Unwitnessed,
};
use openraft::EntryPayload;
use openraft::storage::{RaftLogStorage, RaftLogStorageExt, RaftStateMachine};

use crate::house::{Applying, BATCH, NIGHTS, ROOMS, hotel, room, stay};
use crate::report::Report;
use crate::storage::{batch, entry, log_id, ms};

const HOUSES: usize = 5;
/// Entries of the log behind the snapshot that a start applies.
const REPLAYED: u64 = 1_000;

pub fn measure(report: &mut Report) {
    cost_and_pause(report);
    start(report);
}

pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("threads can be started")
}

pub fn opened(dir: &Path) -> Storage {
    let disk: Arc<dyn Disk> = Arc::new(DiskThreads);
    replication::open(dir, false, &disk, Arc::new(Unwitnessed)).expect("the folder holds a group or nothing")
}

/// The `n`th of stays that are spread over rooms and nights, none of which takes another's.
fn spread(n: u64) -> Submission {
    let slots = 1_000 / NIGHTS as usize;
    let all = HOUSES * ROOMS * slots;
    // Prime to the number of places, so that each is met once.
    let place = (n as usize * 7_368_787) % all;
    let (house, place) = (place % HOUSES, place / HOUSES);
    let (n_room, slot) = (place % ROOMS, place / ROOMS);
    stay(n, hotel(house), Wanted::Room(room(n_room)), slot as i32 * NIGHTS)
}

/// What this process has in memory.
fn resident_bytes() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("a process sees itself");
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.strip_suffix("kB"));
    resident.and_then(|kilobytes| kilobytes.trim().parse::<f64>().ok()).expect("Linux says it") * 1_024.0
}

/// A million stays of three nights without keys, all there is about them included. It wants a process that has freed nothing
/// yet.
pub fn memory(report: &mut Report) {
    if !report.wants("growth/memory_a_reservation") {
        return;
    }
    let mut applying = Applying::new(HOUSES);
    let mut fill = |from: u64, to: u64| {
        for first in (from..to).step_by(1_000) {
            let unkeyed = |n| Submission { key: None, ..spread(n) };
            applying.all(&(first..first + 1_000).map(unkeyed).collect::<Vec<_>>());
            applying.commits.clear();
        }
    };
    // What the houses' calendars take, and what every round leaves to the allocator, is there by then.
    fill(0, 50_000);
    let before = resident_bytes();
    fill(50_000, 1_050_000);
    report.values("growth/memory_a_reservation", "bytes", vec![(resident_bytes() - before) / 1e6]);
}

/// Stays are made until there are five millions, and then while a snapshot is taken.
fn cost_and_pause(report: &mut Report) {
    if !report.wants("growth/reserve_at_") && !report.wants("growth/snapshot_5M") {
        return;
    }
    let mut applying = Applying::new(HOUSES);
    let mut next = 0;
    for (until, name) in [(10_000, "10k"), (100_000, "100k"), (1_000_000, "1M"), (5_000_000, "5M")] {
        let mut last = Vec::new();
        while next < until {
            let count = 2_000.min(until - next);
            let stays: Vec<_> = (next..next + count).map(spread).collect();
            let took = applying.all(&stays);
            applying.commits.clear();
            next += count;
            if next + until / 4 >= until {
                last.push(took.as_nanos() as f64 / count as f64);
            }
        }
        report.values(&format!("growth/reserve_at_{name}"), "ns", last);
    }
    let mut undisturbed = batches(&mut applying, &mut next, |_| false);
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("the target folder is there");
    let (store, _) = SnapshotStore::open(dir.path()).expect("an empty folder");
    let began = Instant::now();
    let ledger = applying.ledger.clone();
    let cloned = began.elapsed();
    let writing = std::thread::spawn(move || {
        let meta = SnapshotMeta { last_log_id: Some(log_id(1)), membership: StoredMembership::default() };
        store.write(meta, &ledger).map(|_| began.elapsed())
    });
    let mut disturbed = batches(&mut applying, &mut next, |_| !writing.is_finished());
    let written = writing.join().expect("no panic").expect("the disk takes it");
    undisturbed.sort();
    disturbed.sort();
    let at = |times: &[Duration], part: f64| ms(times[((times.len() - 1) as f64 * part) as usize]);
    report.values("growth/snapshot_5M/write", "ms", vec![ms(written)]);
    report.values("growth/snapshot_5M/clone", "ms", vec![ms(cloned)]);
    report.values("growth/snapshot_5M/batch_p999_without", "ms", vec![at(&undisturbed, 0.999)]);
    report.values("growth/snapshot_5M/batch_p999", "ms", vec![at(&disturbed, 0.999)]);
    report.values("growth/snapshot_5M/batch_longest", "ms", vec![at(&disturbed, 1.0)]);
}

/// Applies batches for a while, and on for as long as is said; gives the time that each took.
fn batches(applying: &mut Applying, next: &mut u64, go_on: impl Fn(usize) -> bool) -> Vec<Duration> {
    let mut times = Vec::new();
    while times.len() < 3_000 || (go_on(times.len()) && times.len() < 100_000) {
        let stays: Vec<_> = (*next..*next + BATCH as u64).map(spread).collect();
        *next += BATCH as u64;
        times.push(applying.all(&stays));
        applying.commits.clear();
    }
    times
}

/// A folder with a snapshot of a million reservations and some log behind it is opened and applied.
fn start(report: &mut Report) {
    if !report.wants("growth/start_1M") {
        return;
    }
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("the target folder is there");
    let runtime = runtime();
    let mut ledger = Applying::full(1_000_000).ledger;
    let of_snapshot = ledger.clone();
    let storage = opened(dir.path());
    let mut log = storage.log.clone();
    runtime.block_on(async {
        // The snapshot stands for it.
        let blank = Entry { log_id: log_id(0), payload: EntryPayload::Blank };
        log.blocking_append([blank]).await.expect("the disk takes it");
        for index in 1..=REPLAYED {
            let check = Check { lsn: ledger.lsn(), state_hash: ledger.state_hash() };
            let batch = batch(check, index * BATCH as u64);
            for submission in &batch.submissions {
                let submission = submission.decode().expect("it was encoded");
                ledger.apply(batch.stamp, &submission).expect("the ledger is whole");
            }
            let entry = entry(index, batch.encode().expect("it fits"));
            log.blocking_append([entry]).await.expect("the disk takes it");
        }
        log.save_committed(Some(log_id(REPLAYED))).await.expect("the disk takes it");
    });
    drop(log);
    close(&runtime, storage);
    // A snapshot without a log would be taken for a log that is lost.
    let (store, _) = SnapshotStore::open(&GroupDirs::of(dir.path()).snapshots).expect("an empty folder");
    let meta = SnapshotMeta { last_log_id: Some(log_id(0)), membership: StoredMembership::default() };
    store.write(meta, &of_snapshot).expect("the disk takes it");
    drop((store, of_snapshot));
    let expected = ledger.state_hash();
    let mut took = Vec::new();
    for _ in 0..3 {
        let began = Instant::now();
        let mut storage = opened(dir.path());
        runtime.block_on(async {
            let read = storage.log.read(1, REPLAYED + 1, usize::MAX).await.expect("the log is there");
            let entries = read.into_iter().map(|entry| Ok((entry, None)));
            storage.state_machine.apply(stream::iter(entries)).await.expect("it was applied before");
        });
        took.push(ms(began.elapsed()));
        assert_eq!(storage.state_machine.state().position().state_hash, expected);
        close(&runtime, storage);
    }
    report.values("growth/start_1M", "ms", took);
}

fn close(runtime: &tokio::runtime::Runtime, storage: Storage) {
    let mut closed = storage.log_closed.clone();
    drop(storage);
    runtime.block_on(async { closed.wait_for(|closed| *closed).await.map(drop) }).expect("the log is closed");
}
