//! Going back: the state before a command, from the state after it and what it changed.
//!
//! Only for questions about the past. A ledger that was rewound answers them like any other, and is not applied to any
//! more: answers that are stored under keys are not brought back.

use super::event::{Commit, RecordChange};
use super::id::{Lsn, PropertyId};
use super::record::RecordKey;
use super::state::{Ledger, Replaced};

/// A commit that is not the next to undo.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("what command {lsn} changed does not fit the state that was gone back to")]
pub struct Unfit {
    pub lsn: Lsn,
}

impl Ledger {
    /// Undoes what one command changed of `property`, all of it where that is `None`. Commits are undone newest first;
    /// those that changed nothing of it may be left out. After an error the ledger must not be used.
    pub fn rewind(&mut self, commit: &Commit, property: Option<&PropertyId>) -> Result<(), Unfit> {
        let lsn = commit.lsn;
        let of_property = |change: &&RecordChange| {
            property.is_none() || change.property().is_none_or(|of| Some(of) == property)
        };
        let changes = || commit.changes.iter().filter(of_property);
        let fits = |change: &RecordChange, replaced: Option<Replaced>| {
            let stood = replaced.map_or(0, |replaced| replaced.digests.before);
            if stood == change.digests.after { Ok(()) } else { Err(Unfit { lsn }) }
        };
        // Stays that changed places are all taken out before the first is put back.
        for change in changes().rev().filter(|change| is_leaf(&change.key) && change.after.is_some()) {
            let removed = self.unset(&change.key);
            fits(change, removed)?;
        }
        for change in changes().rev().filter(|change| is_container(&change.key)) {
            let replaced = match &change.before {
                Some(record) => Some(self.set(record)),
                None => self.unset(&change.key),
            };
            fits(change, replaced)?;
        }
        for change in changes().filter(|change| is_leaf(&change.key)) {
            if let Some(record) = &change.before {
                self.set(record);
            }
        }
        self.lsn = Lsn(lsn.0.saturating_sub(1));
        Ok(())
    }
}

/// What holds others.
fn is_container(key: &RecordKey) -> bool {
    match key {
        RecordKey::Property(_) | RecordKey::RoomType(..) | RecordKey::Room(..) => true,
        RecordKey::Rate(..)
        | RecordKey::Reservation(_)
        | RecordKey::OutOfOrder(..)
        | RecordKey::Restriction(..)
        | RecordKey::Block(..)
        | RecordKey::Waitlist(..)
        | RecordKey::Outcome(_)
        | RecordKey::Quarantined(_) => false,
    }
}

/// What belongs to something and holds nothing. Answers to clients and commands that were set aside are nobody's.
fn is_leaf(key: &RecordKey) -> bool {
    !is_container(key) && !matches!(key, RecordKey::Outcome(_) | RecordKey::Quarantined(_))
}
