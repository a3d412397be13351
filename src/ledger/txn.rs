//! The one way to change the ledger: a transaction with a journal.
//!
//! A handler reads through the transaction and changes records with [`Txn::put`] and [`Txn::remove`], which keep the
//! old values. A refusal, a failed check or a panic rolls back to where the command began. What a command changed, with
//! the values before, can be read off the journal.

use std::ops::Deref;

use super::check;
use super::due::Due;
use super::event::RecordChange;
use super::outcome::Refusal;
use super::quarantine::Failure;
use super::record::{Record, RecordKey};
use super::state::{Ledger, Replaced};

/// Why a handler stopped without an outcome of its own.
#[derive(Clone, Debug, PartialEq)]
pub enum Halt {
    Refused(Refusal),
    Failed(Failure),
}

impl From<Refusal> for Halt {
    fn from(refusal: Refusal) -> Halt {
        Halt::Refused(refusal)
    }
}

impl From<Failure> for Halt {
    fn from(failure: Failure) -> Halt {
        Halt::Failed(failure)
    }
}

/// A place in the journal to roll back to.
#[derive(Clone, Copy, Debug)]
pub struct Savepoint(usize);

pub struct Txn<'a> {
    ledger: &'a mut Ledger,
    journal: Vec<RecordChange>,
    /// What is changed now is changed because it is due, not by the command.
    ending_due: bool,
    /// A change has begun and not ended: a panic now leaves the state damaged.
    changing: bool,
}

impl Deref for Txn<'_> {
    type Target = Ledger;

    fn deref(&self) -> &Ledger {
        self.ledger
    }
}

impl<'a> Txn<'a> {
    pub fn new(ledger: &'a mut Ledger) -> Txn<'a> {
        // Most commands change one record.
        Txn { ledger, journal: Vec::with_capacity(1), ending_due: false, changing: false }
    }

    /// Adds or replaces a record. Fails, having changed nothing, where a rule that every state keeps would break.
    pub fn put(&mut self, record: Record) -> Result<(), Failure> {
        check::record(self.ledger, &record)?;
        let key = record.key();
        self.changing = true;
        let Replaced { old: before, digests } = self.ledger.set(&record);
        let after = Some(record);
        self.journal.push(RecordChange { key, before, after, digests, due: self.ending_due });
        self.changing = false;
        Ok(())
    }

    /// Takes a record away; fails where there is none.
    pub fn remove(&mut self, key: &RecordKey) -> Result<(), Failure> {
        self.changing = true;
        let removed = self.ledger.unset(key);
        self.changing = false;
        let Some(Replaced { old: before, digests }) = removed else { return Err(Failure::Invariant) };
        self.journal.push(RecordChange {
            key: key.clone(),
            before,
            after: None,
            digests,
            due: self.ending_due,
        });
        Ok(())
    }

    /// Does what is due, of which the command that comes now is only the occasion.
    pub fn end_due<T>(&mut self, end: impl FnOnce(&mut Self) -> T) -> T {
        self.ending_due = true;
        let ended = end(self);
        self.ending_due = false;
        ended
    }

    /// Whether what is changed now is changed because it is due.
    pub fn is_ending_due(&self) -> bool {
        self.ending_due
    }

    /// What of that failed, for whoever looks after the nodes; it is no part of the state.
    pub fn set_failing(&mut self, failing: Vec<Due>) {
        self.ledger.failing = failing;
    }

    /// What was changed, in order, for whoever tells of it.
    pub fn into_journal(self) -> Vec<RecordChange> {
        self.journal
    }

    /// What was changed since the savepoint, in order.
    pub fn changes_since(&self, since: Savepoint) -> &[RecordChange] {
        self.journal.get(since.0..).unwrap_or_default()
    }

    pub fn savepoint(&self) -> Savepoint {
        Savepoint(self.journal.len())
    }

    /// Undoes everything since the savepoint, the newest first.
    pub fn roll_back(&mut self, to: Savepoint) {
        self.changing = true;
        while self.journal.len() > to.0 {
            let Some(RecordChange { key, before, .. }) = self.journal.pop() else { break };
            match before {
                Some(record) => drop(self.ledger.set(&record)),
                None => drop(self.ledger.unset(&key)),
            }
        }
        self.changing = false;
    }

    /// What a panic inside a change looks like.
    #[cfg(test)]
    pub fn break_in_the_middle(&mut self) {
        self.changing = true;
        panic!("on purpose, inside a change");
    }

    /// Whether a panic came in the middle of a change.
    pub fn is_broken(&self) -> bool {
        self.changing
    }
}
