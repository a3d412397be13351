//! Replays a stopped node's data and checks every step.
//!
//! From the older kept snapshot on, where the log reaches back to it, every committed entry is applied again. Each
//! proposer's check is compared, the newer snapshot's state too when its position is passed, and the ledger recomputes
//! its capacity rules. Where an operator has decided that what was recorded counts no more, it is passed over. Changes nothing but what any start would: a torn tail of the log is cut.

use std::path::Path;
use std::time::{Duration, Instant};

use openraft::EntryPayload;

use super::batch::Check;
use super::check::{DecodedBatch, OwnChecks};
use super::decision::Decision;
use super::identity::{self, Identity, IdentityError};
use super::log_files::LogFiles;
use super::log_scan::LogDamage;
use super::log_state::LoggedState;
use super::log_store::{self, LogError};
use super::open::{GroupDirs, OpenError, leads_to, reaches_back};
use super::snapshot::{SnapshotError, SnapshotStore};
use super::types::LogId;
use crate::ledger::{Ledger, Lsn, Mark, StateHash};

/// Audits may take this many times as long as the replay itself, so that a large state is verified in bounded time.
const AUDIT_SHARE: u32 = 20;
/// Until then every entry is audited.
const AUDIT_ALL_WITHIN: Duration = Duration::from_secs(5);

/// What was found sound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    pub identity: Identity,
    /// Where the replay began: the state of the older snapshot, or the empty ledger.
    pub first_lsn: Lsn,
    pub last_lsn: Lsn,
    /// Snapshots that were read whole.
    pub snapshots: usize,
    /// Committed entries that were applied again.
    pub entries: u64,
    /// LSNs at which the capacity rules were recomputed. The first and the last always are among them.
    pub audited: u64,
    pub state_hash: StateHash,
}

/// What is wrong, and where first.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("wrong at LSN {lsn}: {what}")]
pub struct Wrong {
    pub lsn: Lsn,
    pub what: String,
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    #[error(transparent)]
    Wrong(#[from] Wrong),
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error("entry {index} of the log can't be read: {source}")]
    Log { index: u64, source: std::io::Error },
}

impl From<LogError> for VerifyError {
    fn from(error: LogError) -> VerifyError {
        OpenError::Log(error).into()
    }
}

impl From<SnapshotError> for VerifyError {
    fn from(error: SnapshotError) -> VerifyError {
        OpenError::Snapshot(error).into()
    }
}

/// Is told where the replay stands, at its beginning and after each command, and may find that wrong.
pub type Told<'a> = &'a mut dyn FnMut(Mark) -> Result<(), Wrong>;

/// Verifies the data directory of a stopped node. Blocks, for about as long as a replay of its log takes.
pub fn verify(data_dir: &Path, told: Told<'_>) -> Result<Report, VerifyError> {
    let (identity, _lock) = identity::inspect(data_dir)?;
    let dirs = GroupDirs::of(data_dir);
    let (store, newest) = SnapshotStore::open(&dirs.snapshots)?;
    let log = match log_store::open_files(&dirs.log, identity.cluster_id.is_some() || newest.loaded.is_some())
    {
        Err(LogError::Damage(damage)) => return Err(named(damage, &dirs, &store)),
        log => log?,
    };
    let purged = log.state().purged;
    reaches_back(purged, newest.loaded.as_ref(), &newest.damaged)?;
    if let Some(damage) = newest.damaged.into_iter().next() {
        return Err(damage.into());
    }
    // What a snapshot holds is committed, though the note of that may lie behind: it is not flushed.
    let snapshot_at = newest.loaded.as_ref().and_then(|(meta, _)| meta.last_log_id);
    let end = |id: Option<LogId>| id.map_or(0, |id| id.index + 1);
    let committed = end(log.state().committed).max(end(snapshot_at));
    let kept = store.kept();
    // One that was cut short while a snapshot was installed ends before it, or goes on with entries that were never committed.
    let leads_there = match snapshot_at {
        Some(at) => leads_to(&log, at).map_err(|source| VerifyError::Log { index: at.index, source })?,
        None => false,
    };
    let starts_at_older = kept.last().filter(|older| leads_there && older.meta().last_log_id >= purged);
    let (start, passed) = match (starts_at_older, newest.loaded) {
        (Some(older), Some((_, newer))) if kept.len() > 1 => {
            let passed = Passed { at: kept[0].meta().last_log_id, check: check_of(&newer) };
            (Some((older.meta().last_log_id, older.load()?)), Some(passed))
        }
        (_, Some((meta, ledger))) => {
            // The log does not reach back to the older one; it is read all the same.
            kept.iter().skip(1).try_for_each(|older| older.load().map(drop))?;
            (Some((meta.last_log_id, ledger)), None)
        }
        (_, None) => (None, None),
    };
    let (applied, ledger) = start.unwrap_or_else(|| (None, Ledger::new()));
    let first_lsn = ledger.lsn();
    let own_checks = OwnChecks::new(&ledger);
    let from = applied.map_or(0, |id| id.index + 1);
    let decisions = decisions(&log, from, committed)?;
    let audits = Audits::new();
    let mut replay =
        Replay { own_checks, ledger, passed, decisions, decided_upto: 0, entries: 0, audits, told };
    replay.run(&log, from, committed)?;
    if replay.passed.is_some() {
        return Err(replay.wrong("the replay did not come to the newest snapshot".to_owned()).into());
    }
    Ok(Report {
        identity,
        first_lsn,
        last_lsn: replay.ledger.lsn(),
        snapshots: kept.len(),
        entries: replay.entries,
        audited: replay.audits.done,
        state_hash: replay.ledger.state_hash(),
    })
}

/// The damage with the LSN of the first command that can't be read, where what stands before it leads to that.
fn named(damage: LogDamage, dirs: &GroupDirs, snapshots: &SnapshotStore) -> VerifyError {
    match first_unreadable(&damage, dirs, snapshots) {
        Some(lsn) => Wrong { lsn, what: damage.to_string() }.into(),
        None => LogError::Damage(damage).into(),
    }
}

/// `None` where the log does not reach back from there to a snapshot, or to its own beginning: of what was purged nothing is
/// left to count from.
fn first_unreadable(damage: &LogDamage, dirs: &GroupDirs, snapshots: &SnapshotStore) -> Option<Lsn> {
    let LogDamage::Damaged { file, offset, .. } = damage else { return None };
    let log = match LogFiles::open_before(&dirs.log, file, *offset) {
        Ok(log) => log?,
        // A file before it is damaged as well, and ends there.
        Err(earlier) => return first_unreadable(&earlier, dirs, snapshots),
    };
    let LoggedState { purged, last, .. } = *log.state();
    let is_before = |at: Option<LogId>| purged <= at && at <= last;
    let snapshot = snapshots.kept().into_iter().find(|snapshot| is_before(snapshot.meta().last_log_id));
    let (applied, mut ledger) = match snapshot {
        Some(snapshot) => (snapshot.meta().last_log_id, snapshot.load().ok()?),
        None => ((purged.is_none() && log.begins_at() == 0).then_some(None)?, Ledger::new()),
    };
    let from = applied.map_or(0, |id| id.index + 1);
    for (next, logged) in (from..).zip(log.read(from, u64::MAX)) {
        let (id, payload) = logged.ok()?;
        (id.index == next).then_some(())?;
        if let EntryPayload::Normal(payload) = &payload.into_entry(id).ok()?.payload
            && Decision::of(payload).is_none()
        {
            let batch = DecodedBatch::decode(payload).ok()?;
            batch.submissions.iter().try_for_each(|it| ledger.apply(batch.stamp, it).map(drop)).ok()?;
        }
    }
    Some(ledger.lsn().next())
}

/// The decisions among the entries of `[from, to)`, each with its index.
fn decisions(log: &LogFiles, from: u64, to: u64) -> Result<Vec<(u64, Decision)>, VerifyError> {
    let mut decisions = Vec::new();
    for logged in log.read(from, to.max(from)) {
        let unreadable = |source| VerifyError::Log { index: from, source };
        let (id, payload) = logged.map_err(unreadable)?;
        let entry = payload.into_entry(id).map_err(unreadable)?;
        // One that can't be read is complained of when the replay comes to it.
        if let EntryPayload::Normal(payload) = &entry.payload
            && let Some(Ok(decision)) = Decision::of(payload)
        {
            decisions.push((entry.log_id.index, decision));
        }
    }
    Ok(decisions)
}

fn check_of(ledger: &Ledger) -> Check {
    Check { lsn: ledger.lsn(), state_hash: ledger.state_hash() }
}

/// The newer snapshot, which the replay comes past.
struct Passed {
    at: Option<LogId>,
    check: Check,
}

struct Replay<'a> {
    told: Told<'a>,
    ledger: Ledger,
    own_checks: OwnChecks,
    passed: Option<Passed>,
    decisions: Vec<(u64, Decision)>,
    /// What was recorded before this index is passed over.
    decided_upto: u64,
    entries: u64,
    audits: Audits,
}

impl Replay<'_> {
    /// Applies the entries of `[from, to)`.
    fn run(&mut self, log: &LogFiles, from: u64, to: u64) -> Result<(), VerifyError> {
        self.audits.audit(&self.ledger)?;
        (self.told)(Mark::of(&self.ledger))?;
        let mut expected = from;
        for logged in log.read(from, to.max(from)) {
            let unreadable = |source| VerifyError::Log { index: expected, source };
            let (id, payload) = logged.map_err(unreadable)?;
            let entry = payload.into_entry(id).map_err(unreadable)?;
            if entry.log_id.index != expected {
                return Err(self.wrong(format!("entry {expected} is missing from the log")).into());
            }
            expected += 1;
            if let EntryPayload::Normal(payload) = &entry.payload {
                let unreadable = |error| self.wrong(format!("entry {}: {error}", entry.log_id.index));
                if let Some(decision) = Decision::of(payload) {
                    let decision = decision.map_err(unreadable)?;
                    self.compare(decision.check, entry.log_id)?;
                } else {
                    let batch = DecodedBatch::decode(payload).map_err(unreadable)?;
                    self.apply(&batch, entry.log_id)?;
                }
            }
            self.entries += 1;
            self.pass(entry.log_id)?;
        }
        if expected < to {
            return Err(self.wrong(format!("entry {expected} is missing from the log")).into());
        }
        self.audits.finish(&self.ledger)?;
        Ok(())
    }

    fn apply(&mut self, batch: &DecodedBatch, id: LogId) -> Result<(), Wrong> {
        self.compare(batch.check, id)?;
        for submission in &batch.submissions {
            self.ledger
                .apply(batch.stamp, submission)
                .map_err(|broken| self.wrong(format!("entry {}: {broken}", id.index)))?;
            (self.told)(Mark::of(&self.ledger))?;
            self.audits.audit_if_cheap(&self.ledger)?;
        }
        self.own_checks.remember(&self.ledger);
        Ok(())
    }

    /// Compares what was recorded in the entry at `id` with this replay, unless that was decided to count no more: a node
    /// would have paused here, and gone on when it came to the decision.
    fn compare(&mut self, recorded: Check, id: LogId) -> Result<(), Wrong> {
        let Err(difference) = self.own_checks.compare(recorded) else { return Ok(()) };
        let pauses = Decision { index: id.index, check: check_of(&self.ledger) };
        let decided = self.decisions.iter().find(|(at, decision)| *at > id.index && *decision == pauses);
        self.decided_upto = decided.map_or(self.decided_upto, |(at, _)| *at);
        if id.index < self.decided_upto {
            return Ok(());
        }
        Err(Wrong { lsn: recorded.lsn, what: format!("entry {}: {difference}", id.index) })
    }

    /// Compares with the newer snapshot where the replay has come to its position.
    fn pass(&mut self, id: LogId) -> Result<(), Wrong> {
        let Some(passed) = self.passed.take_if(|passed| passed.at == Some(id)) else { return Ok(()) };
        let (theirs, own) = (passed.check, check_of(&self.ledger));
        if theirs == own {
            return Ok(());
        }
        let what = format!(
            "the snapshot at entry {} has LSN {} and state hash {}, the replay has LSN {} and {}",
            id.index, theirs.lsn, theirs.state_hash, own.lsn, own.state_hash
        );
        Err(self.wrong(what))
    }

    fn wrong(&self, what: String) -> Wrong {
        Wrong { lsn: self.ledger.lsn(), what }
    }
}

/// Recomputes the ledger's rules as often as there is time for.
struct Audits {
    done: u64,
    took: Duration,
    began: Instant,
    last: Option<Lsn>,
}

impl Audits {
    fn new() -> Audits {
        Audits { done: 0, took: Duration::ZERO, began: Instant::now(), last: None }
    }

    fn audit_if_cheap(&mut self, ledger: &Ledger) -> Result<(), Wrong> {
        let replay = self.began.elapsed().saturating_sub(self.took);
        if self.took <= AUDIT_ALL_WITHIN.max(replay * AUDIT_SHARE) { self.audit(ledger) } else { Ok(()) }
    }

    fn audit(&mut self, ledger: &Ledger) -> Result<(), Wrong> {
        let began = Instant::now();
        ledger.audit().map_err(|violation| Wrong { lsn: ledger.lsn(), what: violation.to_string() })?;
        self.took += began.elapsed();
        self.done += 1;
        self.last = Some(ledger.lsn());
        Ok(())
    }

    fn finish(&mut self, ledger: &Ledger) -> Result<(), Wrong> {
        if self.last == Some(ledger.lsn()) { Ok(()) } else { self.audit(ledger) }
    }
}
