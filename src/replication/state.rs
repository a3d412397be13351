//! The state that this node has applied, for its readers.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::apply_cost::ApplyCost;
use super::batch::Check;
use super::decision::Decision;
use super::snapshot::SnapshotStore;
use super::types::LogId;
use crate::ledger::{Ledger, Lsn, StateHash, Timestamp};
use crate::planted::{Bug, planted};

/// How far this node has applied the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// `None` before the first entry.
    pub log_id: Option<LogId>,
    pub lsn: Lsn,
    /// The log time of the last batch.
    pub stamp: Timestamp,
    pub state_hash: StateHash,
    /// From this instant on something is due that a read must not see undone.
    pub next_end: Option<Timestamp>,
    /// The same, or earlier: what can be offered to those who wait is due too.
    pub next_due: Option<Timestamp>,
}

impl Position {
    pub fn new(log_id: Option<LogId>, ledger: &Ledger) -> Position {
        Position {
            log_id,
            lsn: ledger.lsn(),
            stamp: ledger.stamp(),
            state_hash: ledger.state_hash(),
            next_end: ledger.next_end(),
            next_due: ledger.next_due(),
        }
    }

    pub fn index(&self) -> Option<u64> {
        self.log_id.map(|id| id.index)
    }
}

/// Where and why a node has paused applying.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pause {
    /// The entry of the log that was not applied.
    pub index: u64,
    /// Where the ledger stands before it.
    pub check: Check,
    /// Whether the entry can be read: what can't be read no decision can have applied.
    pub is_readable: bool,
    pub reason: String,
}

impl Pause {
    /// The decision that would end it.
    pub fn to_decide(&self) -> Decision {
        Decision { index: self.index, check: self.check }
    }
}

/// A decision that this node has followed since it started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decided {
    /// Where the log holds the decision.
    pub at: u64,
    pub decision: Decision,
    /// Where that left the ledger.
    pub lsn: Lsn,
}

/// Written by the state machine, and by who takes its snapshots what that covers.
pub struct State {
    ledger: RwLock<Ledger>,
    position: watch::Sender<Position>,
    pause: watch::Sender<Option<Pause>>,
    decided: watch::Sender<Option<Decided>>,
    snapshots: Arc<SnapshotStore>,
    taken: Mutex<Option<Taken>>,
    /// Whether the last attempt to write one failed.
    has_failed: AtomicBool,
    apply_cost: Arc<ApplyCost>,
    /// Bytes of the log that were taken since the start, and those of them that the newest snapshot has.
    taken_bytes: AtomicU64,
    covered_bytes: AtomicU64,
}

/// When this node has written a snapshot of its own.
#[derive(Clone, Copy, Debug)]
pub struct Taken {
    pub ended: Instant,
    pub took: Duration,
}

impl State {
    pub fn new(ledger: Ledger, log_id: Option<LogId>, snapshots: Arc<SnapshotStore>) -> State {
        State {
            position: watch::Sender::new(Position::new(log_id, &ledger)),
            ledger: RwLock::new(ledger),
            pause: watch::Sender::new(None),
            decided: watch::Sender::new(None),
            snapshots,
            taken: Mutex::new(None),
            has_failed: AtomicBool::new(false),
            apply_cost: Arc::default(),
            taken_bytes: AtomicU64::new(0),
            covered_bytes: AtomicU64::new(0),
        }
    }

    /// Asks the ledger. Apply waits meanwhile, so `question` does bounded work and never blocks.
    pub fn with_ledger<T>(&self, question: impl FnOnce(&Ledger) -> T) -> T {
        question(&self.ledger.read().expect("a panic while the ledger was changed stops the node"))
    }

    /// Where this node has applied to, now.
    pub fn position(&self) -> Position {
        *self.position.borrow()
    }

    /// Changes when a batch is visible to readers, before its proposer is answered.
    pub fn positions(&self) -> watch::Receiver<Position> {
        self.position.subscribe()
    }

    /// What a batch proposed now carries.
    pub fn check(&self) -> Check {
        let position = self.position();
        Check { lsn: position.lsn, state_hash: position.state_hash }
    }

    /// Why this node has paused applying, where it has: it votes and stores, and must not serve.
    pub fn paused(&self) -> Option<String> {
        self.pause.borrow().as_ref().map(|pause| pause.reason.clone())
    }

    /// Where this node has paused applying, where it has.
    pub fn pause(&self) -> Option<Pause> {
        self.pause.borrow().clone()
    }

    /// The last decision that this node has followed since it started.
    pub fn decided(&self) -> Option<Decided> {
        *self.decided.borrow()
    }

    pub fn apply_cost(&self) -> &Arc<ApplyCost> {
        &self.apply_cost
    }

    pub fn snapshots(&self) -> &Arc<SnapshotStore> {
        &self.snapshots
    }

    /// The index up to which the newest snapshot reaches.
    pub fn newest_snapshot(&self) -> Option<u64> {
        self.snapshots.newest().and_then(|snapshot| snapshot.meta().index())
    }

    /// Whether it was found to be damaged when it was to be sent.
    pub fn newest_snapshot_is_damaged(&self) -> bool {
        self.snapshots.newest().is_some_and(|snapshot| snapshot.is_damaged())
    }

    /// The last snapshot that this node has written since it started.
    pub fn last_taken(&self) -> Option<Taken> {
        *self.taken.lock().expect("no panic while the instant is locked")
    }

    /// Whether what this node tried last could not be written.
    pub fn has_failed_to_take(&self) -> bool {
        self.has_failed.load(Ordering::Relaxed)
    }

    /// `None` where it could not be written.
    pub(super) fn has_tried_to_take(&self, taken: Option<Taken>) {
        self.has_failed.store(taken.is_none(), Ordering::Relaxed);
        if taken.is_some() {
            *self.taken.lock().expect("no panic while the instant is locked") = taken;
        }
    }

    /// Bytes of the log, beside what Raft appends for itself, that the newest snapshot lacks.
    pub fn bytes_since_snapshot(&self) -> u64 {
        self.taken_bytes().saturating_sub(self.covered_bytes.load(Ordering::Relaxed))
    }

    /// Bytes of the log that were taken since the start, beside what Raft appends for itself.
    pub fn taken_bytes(&self) -> u64 {
        self.taken_bytes.load(Ordering::Relaxed)
    }

    pub(super) fn take_bytes(&self, bytes: usize) {
        self.taken_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// A snapshot has so many of the bytes that were taken.
    pub(super) fn cover_bytes(&self, bytes: u64) {
        self.covered_bytes.fetch_max(bytes, Ordering::Relaxed);
    }

    /// Up to which index the log may be purged; `None` while there are not two snapshots. openraft's own purge must be
    /// off (`max_in_snapshot_log_to_keep: u64::MAX`): it knows of one snapshot only. The node triggers it.
    pub fn purge_upto(&self) -> Option<u64> {
        if planted(Bug::PurgedBeforeSnapshot) {
            return self.position().index();
        }
        if planted(Bug::PurgedPastOlder) {
            return self.newest_snapshot();
        }
        self.snapshots.purge_upto()
    }

    /// Changes the ledger; readers see it once `change` has returned.
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut Ledger) -> T) -> T {
        change(&mut self.ledger.write().expect("a panic while the ledger was changed stops the node"))
    }

    pub(super) fn moved_to(&self, position: Position) {
        self.position.send_replace(position);
    }

    pub(super) fn set_pause(&self, pause: Option<Pause>) {
        self.pause.send_replace(pause);
    }

    pub(super) fn set_decided(&self, decided: Decided) {
        self.decided.send_replace(Some(decided));
    }
}
