//! Questions about the past, answered by going back from a state that is known.

use std::sync::Arc;

use super::{History, NotTold};
use crate::ledger::{
    Commit, EventType, Ledger, Lsn, PropertyId, Record, RecordChange, RecordKey, ReservationId,
    ReservationRecord,
};

/// One version of a reservation: how a command left it.
#[derive(Clone, Debug)]
pub struct Version {
    pub commit: Arc<Commit>,
    /// Which of the commit's changes made it.
    pub change: usize,
    pub event_type: EventType,
}

impl Version {
    pub fn change(&self) -> &RecordChange {
        &self.commit.changes[self.change]
    }

    pub fn record(&self) -> Option<&ReservationRecord> {
        record_of(self.change().after.as_ref())
    }
}

fn record_of(record: Option<&Record>) -> Option<&ReservationRecord> {
    match record {
        Some(Record::Reservation(record)) => Some(record),
        _ => None,
    }
}

impl History {
    /// The state of one property as command `lsn` left it, gone back to from `ledger`. Blocks.
    pub fn state_at(&self, mut ledger: Ledger, lsn: Lsn, property: &PropertyId) -> Result<Ledger, NotTold> {
        let mut upto = ledger.lsn();
        if lsn > upto {
            return Err(NotTold::InFuture);
        }
        while upto > lsn {
            self.lock().check_back_to(lsn)?;
            let (commits, before) = self.before_of(upto, property)?;
            for commit in commits.iter().take_while(|commit| commit.lsn > lsn) {
                if ledger.rewind(commit, Some(property)).is_err() {
                    tracing::error!(lsn = commit.lsn.0, "the history does not fit the state");
                    return Err(NotTold::Missing);
                }
            }
            upto = before;
        }
        Ok(ledger)
    }

    /// The versions of a reservation that stands as in `newest`, plans included, newest first, as far back as they are
    /// kept; `wanted` says how far is far enough. Blocks.
    fn versions_until(
        &self,
        newest: &ReservationRecord,
        mut enough: impl FnMut(&Version) -> bool,
    ) -> Result<Vec<Version>, NotTold> {
        let id = newest.reservation.id;
        let mut versions = Vec::new();
        let mut changed = Some(newest.changed_lsn());
        while let Some(lsn) = changed {
            let version = match self.version(id, lsn) {
                // Older ones are no longer kept.
                Err(NotTold::Gone { .. }) if !versions.is_empty() => break,
                found => found?,
            };
            changed = record_of(version.change().before.as_ref()).map(ReservationRecord::changed_lsn);
            let is_enough = enough(&version);
            versions.push(version);
            if is_enough {
                break;
            }
        }
        Ok(versions)
    }

    /// Every version that is kept, plans left out, oldest first. Blocks.
    pub fn versions(&self, newest: &ReservationRecord) -> Result<Vec<Version>, NotTold> {
        let mut versions = self.versions_until(newest, |_| false)?;
        versions.retain(|version| version.event_type != EventType::ReservationMoved);
        versions.reverse();
        Ok(versions)
    }

    /// How a reservation stood when command `lsn` was applied; `None` before there was one. Blocks.
    pub fn version_at(
        &self,
        newest: &ReservationRecord,
        lsn: Lsn,
    ) -> Result<Option<ReservationRecord>, NotTold> {
        self.lock().check(lsn)?;
        if newest.changed_lsn() <= lsn {
            return Ok(Some(newest.clone()));
        }
        // The change after `lsn` holds what stood before it.
        let after = self.versions_until(newest, |version| {
            let before = record_of(version.change().before.as_ref());
            before.is_none_or(|before| before.changed_lsn() <= lsn)
        })?;
        Ok(after.last().and_then(|version| record_of(version.change().before.as_ref()).cloned()))
    }

    fn version(&self, id: ReservationId, lsn: Lsn) -> Result<Version, NotTold> {
        let run = self.after(Lsn(lsn.0.saturating_sub(1)))?;
        let found = run.commits.first().filter(|commit| commit.lsn == lsn).and_then(|commit| {
            let change = commit.changes.iter().position(|change| change.key == RecordKey::Reservation(id))?;
            let (_, event_type, _) =
                commit.events().find(|(_, _, told)| told.key == RecordKey::Reservation(id))?;
            Some(Version { commit: commit.clone(), change, event_type })
        });
        found.ok_or_else(|| {
            tracing::error!(lsn = lsn.0, "a change of a reservation is not in the history");
            NotTold::Missing
        })
    }
}
