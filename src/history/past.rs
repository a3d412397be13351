//! Questions about the past, answered by going back from a state that is known.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::{Arc, Weak};

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
    /// `None` where nothing is told: the command planned another room, and in the end the one that it had.
    pub event_type: Option<EventType>,
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

/// Who asks about the past. A walk through years of it takes a while, and ends when nobody waits for its answer any more.
#[derive(Debug)]
pub struct Asker {
    waiting: Weak<()>,
    /// The commits that were last found, the newest at the end: those of a booking share them, and to find one is to decode
    /// all that it was kept with.
    found: RefCell<VecDeque<Arc<Commit>>>,
}

/// Commits that are remembered for an asker. They may be large.
const FOUND_MAX: usize = 8;

impl Asker {
    /// Waits as long as the second is kept.
    pub fn new() -> (Asker, Arc<()>) {
        let waiting = Arc::new(());
        (Asker { waiting: Arc::downgrade(&waiting), found: RefCell::default() }, waiting)
    }

    /// One that waits for ever.
    #[cfg(test)]
    pub fn patient() -> Asker {
        let (asker, waiting) = Asker::new();
        std::mem::forget(waiting);
        asker
    }

    /// Asked before each step of a walk.
    pub fn still_waits(&self) -> Result<(), NotTold> {
        if self.waiting.strong_count() == 0 { Err(NotTold::Missing) } else { Ok(()) }
    }
}

impl History {
    /// The state of one property as command `lsn` left it, gone back to from `ledger`. Blocks.
    pub fn state_at(
        &self,
        mut ledger: Ledger,
        lsn: Lsn,
        property: &PropertyId,
        asker: &Asker,
    ) -> Result<Ledger, NotTold> {
        let mut upto = ledger.lsn();
        if lsn > upto {
            return Err(NotTold::InFuture);
        }
        while upto > lsn {
            asker.still_waits()?;
            let (commits, before) = self.before_of(upto, lsn, property)?;
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

    /// The versions of a reservation that stands as in `newest`, plans included, newest first, until `enough` says so; where
    /// that never comes, as far back as they are kept. Blocks.
    fn versions_until(
        &self,
        newest: &ReservationRecord,
        asker: &Asker,
        mut enough: impl FnMut(&Version) -> bool,
    ) -> Result<Vec<Version>, NotTold> {
        let id = newest.reservation.id;
        let mut versions = Vec::new();
        let mut changed = Some(newest.changed_lsn());
        while let Some(lsn) = changed {
            // Of a booking's reservations each may be one step away, and that is 500 of them.
            asker.still_waits()?;
            let version = match self.version(id, lsn, asker) {
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
    pub fn versions(&self, newest: &ReservationRecord, asker: &Asker) -> Result<Vec<Version>, NotTold> {
        let mut versions = self.versions_until(newest, asker, |_| false)?;
        versions.retain(|version| version.event_type.is_some_and(|it| it != EventType::ReservationMoved));
        versions.reverse();
        Ok(versions)
    }

    /// How a reservation stood when command `lsn` was applied; `None` before there was one. Blocks.
    pub fn version_at(
        &self,
        newest: &ReservationRecord,
        lsn: Lsn,
        asker: &Asker,
    ) -> Result<Option<ReservationRecord>, NotTold> {
        self.lock().check(lsn)?;
        if newest.changed_lsn() <= lsn {
            return Ok(Some(newest.clone()));
        }
        // The change after `lsn` holds what stood before it.
        let after = self.versions_until(newest, asker, |version| {
            let before = record_of(version.change().before.as_ref());
            before.is_none_or(|before| before.changed_lsn() <= lsn)
        })?;
        // Meanwhile older ones may have been forgotten: then the last that was found is not far enough back.
        self.lock().check(lsn)?;
        Ok(after.last().and_then(|version| record_of(version.change().before.as_ref()).cloned()))
    }

    fn version(&self, id: ReservationId, lsn: Lsn, asker: &Asker) -> Result<Version, NotTold> {
        let found = self.commit_at(lsn, asker)?.and_then(|commit| {
            let change = commit.changes.iter().position(|change| change.key == RecordKey::Reservation(id))?;
            let told = commit.events().find(|(_, _, told)| told.key == RecordKey::Reservation(id));
            let event_type = told.map(|(_, event_type, _)| event_type);
            Some(Version { commit, change, event_type })
        });
        found.ok_or_else(|| {
            tracing::error!(lsn = lsn.0, "a change of a reservation is not in the history");
            NotTold::Missing
        })
    }

    fn commit_at(&self, lsn: Lsn, asker: &Asker) -> Result<Option<Arc<Commit>>, NotTold> {
        let mut found = asker.found.borrow_mut();
        if let Some(commit) = found.iter().find(|commit| commit.lsn == lsn) {
            return Ok(Some(commit.clone()));
        }
        let run = self.after(Lsn(lsn.0.saturating_sub(1)))?;
        let commit = run.commits.into_iter().next().filter(|commit| commit.lsn == lsn);
        if found.len() == FOUND_MAX {
            found.pop_front();
        }
        found.extend(commit.clone());
        Ok(commit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{Keeping, Mark};
    use crate::ledger::{
        BookGroup, BookingId, Command, GroupStay, RoomId, RoomTypeId, Submission, Timestamp, Wanted,
    };
    use crate::replication::Witness;
    use crate::replication::tests::support::{cancel, house};

    /// A room, or any double, on the nights `[from, to)` of March.
    fn stay(n: u128, room: Option<&str>, from: u32, to: u32) -> GroupStay {
        let day = |day: u32| format!("2027-03-{day:02}").parse().unwrap();
        let double = || Wanted::RoomType(RoomTypeId::new("double").unwrap());
        GroupStay {
            id: ReservationId(uuid::Uuid::from_u128(n)),
            wanted: room.map_or_else(double, |room| Wanted::Room(RoomId::new(room).unwrap())),
            arrival: day(from),
            departure: day(to),
            occupancy: 2,
            currency: None,
            currency_known: true,
            hold_seconds: None,
            expected_total: None,
            block: None,
            external_ref: None,
        }
    }

    fn book(stays: Vec<GroupStay>) -> Submission {
        let (booking_id, property) = (BookingId(stays[0].id.0), PropertyId::new("grand").unwrap());
        let command = Command::BookGroup(BookGroup { booking_id, property, guest: "g".into(), stays });
        Submission { key: None, command }
    }

    #[test]
    fn a_stay_that_was_moved_there_and_back_by_one_command_has_its_past() {
        let (history, mut ledger) = (History::open(Keeping::InMemory), Ledger::new());
        let mut states = vec![ledger.clone()];
        let alone = |n, room, from, to| book(vec![stay(n, room, from, to)]);
        // For the first of the last booking the tails of both rooms change places, for the second all of it.
        let moved = 4;
        let commands = [
            alone(1, None, 3, 5),
            alone(2, None, 3, 5),
            alone(3, Some("2"), 7, 8),
            alone(moved, None, 5, 6),
            cancel(1),
            book(vec![stay(5, None, 4, 7), stay(6, None, 6, 9)]),
        ];
        for submission in house(2).iter().chain(&commands) {
            let before = Mark::of(&ledger);
            let (_, commit) = ledger.apply_recorded(Timestamp(1_000), submission).unwrap();
            history.applied(before, Mark::of(&ledger), commit.into_iter().collect());
            states.push(ledger.clone());
        }
        let id = ReservationId(uuid::Uuid::from_u128(moved));
        let newest = ledger.reservation_record(id).unwrap();
        assert_eq!(newest.moved_lsn, Some(ledger.lsn()), "it was moved, and has the room that it had");
        let (asker, waiting) = Asker::new();
        let versions = history.versions(&newest, &asker).unwrap();
        assert_eq!(versions.len(), 1);
        for (lsn, then) in (0..).map(Lsn).zip(&states) {
            let found = history.version_at(&newest, lsn, &asker).unwrap();
            assert_eq!(found.map(|record| record.reservation), then.reservation(id).ok(), "at {lsn}");
        }
        // Nobody waits any more, and the walk ends before it has come to its end.
        drop(waiting);
        let property = PropertyId::new("grand").unwrap();
        let walk = history.state_at(ledger, Lsn(1), &property, &asker);
        assert_eq!(walk.map(|ledger| ledger.lsn()), Err(NotTold::Missing));
        assert_eq!(history.version_at(&newest, Lsn(1), &asker).map(drop), Err(NotTold::Missing));
    }
}
