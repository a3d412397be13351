//! Applying one command: the order of its steps, and the guard around them.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::command::{Command, Submission};
use super::id::{IdempotencyKey, Lsn, Timestamp};
use super::outcome::{Applied, Outcome};
use super::quarantine::{Failure, QUARANTINED_MAX, Quarantined};
use super::record::{Record, RecordKey};
use super::state::Ledger;
use super::txn::{Halt, Txn};
use super::{idempotency, inventory, rate, reserve, status};

/// The state can no longer be trusted: a change itself failed, or could not be undone. The node must stop.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("applying command {lsn} left the ledger in an impossible state; restart from the last snapshot")]
pub struct Broken {
    pub lsn: Lsn,
}

/// A command's outcome inside the guard.
struct Answer {
    replayed: bool,
    outcome: Outcome,
}

impl Ledger {
    /// Applies a command at a log time in milliseconds. Whatever the command holds, it takes one LSN and has an outcome:
    /// what fails is rolled back whole and set aside. After an error the ledger must not be used.
    pub fn apply(&mut self, at: Timestamp, submission: &Submission) -> Result<Applied, Broken> {
        self.apply_guarded(at, submission, |txn| run(txn, submission))
    }

    fn apply_guarded(
        &mut self,
        at: Timestamp,
        submission: &Submission,
        work: impl FnOnce(&mut Txn<'_>) -> Result<Answer, Failure>,
    ) -> Result<Applied, Broken> {
        self.lsn = self.lsn.next();
        self.stamp = self.stamp.max(at.min(Timestamp::MAX));
        let lsn = self.lsn;
        let mut txn = Txn::new(self);
        let start = txn.savepoint();
        let answer = catch_unwind(AssertUnwindSafe(|| work(&mut txn))).unwrap_or(Err(Failure::Panic));
        if txn.is_broken() {
            return Err(Broken { lsn });
        }
        let code = match answer {
            Ok(Answer { replayed, outcome }) => return Ok(Applied { lsn, replayed, outcome }),
            Err(code) => code,
        };
        let set_aside = catch_unwind(AssertUnwindSafe(|| {
            txn.roll_back(start);
            set_aside(&mut txn, code, submission)
        }));
        match set_aside {
            Ok(Ok(())) => Ok(Applied { lsn, replayed: false, outcome: Outcome::Quarantined { lsn } }),
            Ok(Err(_)) | Err(_) => Err(Broken { lsn }),
        }
    }

    /// The commands that were set aside, the oldest first.
    pub fn quarantined(&self) -> impl Iterator<Item = &Quarantined> {
        self.quarantined.iter().map(|(_, record)| &**record)
    }
}

fn run(txn: &mut Txn<'_>, submission: &Submission) -> Result<Answer, Failure> {
    let ran = run_steps(txn, submission);
    ran.map_err(|halt| match halt {
        Halt::Failed(code) => code,
        // Commands answer with their refusals; no other step refuses.
        Halt::Refused(_) => Failure::Invariant,
    })
}

fn run_steps(txn: &mut Txn<'_>, submission: &Submission) -> Result<Answer, Halt> {
    let Submission { key, command } = submission;
    let key = key.as_ref();
    status::end_due(txn)?;
    idempotency::drop_outdated(txn, key)?;
    if let Some(outcome) = key.and_then(|key| idempotency::stored(txn, key)) {
        let replayed = !matches!(outcome, Outcome::Refused(super::outcome::Refusal::IdempotencyKeyReused));
        return Ok(Answer { replayed, outcome });
    }
    let outcome = execute(txn, key, command)?;
    if let Some(key) = key {
        idempotency::store(txn, key, &outcome)?;
    }
    Ok(Answer { replayed: false, outcome })
}

/// Runs the command; a refusal leaves nothing of it behind.
fn execute(txn: &mut Txn<'_>, key: Option<&IdempotencyKey>, command: &Command) -> Result<Outcome, Halt> {
    let before = txn.savepoint();
    let outcome = match command {
        Command::PutProperty(command) => inventory::put_property(txn, key, command),
        Command::PutRoomType(command) => inventory::put_room_type(txn, key, command),
        Command::PutRoom(command) => inventory::put_room(txn, key, command),
        Command::PutRates(command) => rate::put_rates(txn, command),
        Command::Reserve(command) => reserve::reserve(txn, key, command),
        Command::Confirm(command) => status::confirm(txn, command),
        Command::Cancel(command) => status::cancel(txn, command),
        Command::RollBusinessDate(command) => inventory::roll_business_date(txn, command),
        Command::EndDue(_) => Ok(Outcome::Done),
    };
    match outcome {
        Err(Halt::Refused(refusal)) => {
            txn.roll_back(before);
            Ok(Outcome::Refused(refusal))
        }
        other => other,
    }
}

/// Keeps the failed command for an operator, and its outcome under its key. A key that answers for something else
/// keeps doing so.
fn set_aside(txn: &mut Txn<'_>, code: Failure, submission: &Submission) -> Result<(), Halt> {
    let lsn = txn.lsn();
    txn.put(Record::Quarantined(Arc::new(Quarantined { lsn, code, submission: submission.clone() })))?;
    if txn.quarantined.len() > QUARANTINED_MAX {
        let oldest = txn.quarantined.first().map(|(lsn, _)| *lsn);
        if let Some(oldest) = oldest {
            txn.remove(&RecordKey::Quarantined(oldest))?;
        }
    }
    match &submission.key {
        Some(key) if !txn.keys.contains(&key.digest) => {
            idempotency::store(txn, key, &Outcome::Quarantined { lsn })
        }
        _ => Ok(()),
    }
}
