//! What the ledger does because it is due: ends of holds, what night audits have left, blocks to release, and waitlists
//! to go through.
//!
//! The command that comes next does it before itself, all together. A part that fails shows a defect of this build: then
//! all is undone and done again part by part, and those that fail are left as they are. So a defect in one hold or in one
//! house stops neither the others nor what clients ask for. Each command tries them again, alike on every node: what
//! fails depends on nothing but the state.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::id::{PropertyId, ReservationId, Timestamp};
use super::quarantine::Failure;
use super::reservation::Reservation;
use super::state::Ledger;
use super::store::SortedMap;
use super::txn::{Halt, Txn};
use super::{block, night_audit, plan, status, waitlist};

/// Ends of holds, no-shows of night audits and releases of blocks that one command runs before itself, at most. The rest
/// are left to the commands behind it.
pub const ENDED_MAX: usize = 256;

/// A part of what is due that can be done by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Due {
    /// The end of a hold.
    Hold(ReservationId),
    /// No-shows of a property's night audit.
    NightAudit(PropertyId),
    /// Blocks of a property whose release date has come.
    Blocks(PropertyId),
    /// What can be offered to a property's waitlist.
    Waitlist(PropertyId),
}

impl fmt::Display for Due {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Due::Hold(reservation) => write!(f, "the end of the hold {reservation}"),
            Due::NightAudit(property) => write!(f, "the no-shows of {property}"),
            Due::Blocks(property) => write!(f, "the release of blocks of {property}"),
            Due::Waitlist(property) => write!(f, "the waitlist of {property}"),
        }
    }
}

/// Ends what is due: holds, by (end, id), then what night audits have left, then blocks whose release date has come; and
/// offers what that freed. Fails only where a change itself failed.
pub fn end(txn: &mut Txn<'_>) -> Result<(), Halt> {
    if !txn.is_anything_due() {
        txn.set_failing(Vec::new());
        return Ok(());
    }
    let (mut failing, gone_on_with) = match attempt(txn, end_together)? {
        Some(turn) => (Vec::new(), turn),
        None => end_apart(txn)?,
    };
    // Waitlists whose turn it was not were not tried.
    let is_untried = |part: &&Due| match part {
        Due::Waitlist(of) => {
            txn.offering.contains(of) && gone_on_with.as_ref() != Some(of) && !failing.contains(part)
        }
        Due::Hold(_) | Due::NightAudit(_) | Due::Blocks(_) => false,
    };
    let untried: Vec<Due> = txn.failing.iter().filter(is_untried).cloned().collect();
    failing.extend(untried);
    txn.set_failing(failing);
    Ok(())
}

/// Gives the property whose waitlist was gone on with.
fn end_together(txn: &mut Txn<'_>) -> Result<Option<PropertyId>, Halt> {
    let before = txn.savepoint();
    let mut freed = Vec::new();
    let mut left = ENDED_MAX;
    while left > 0 {
        let Some(id) = txn.ended_holds().next() else { break };
        freed.extend(status::expire(txn, id)?);
        left -= 1;
    }
    plan::give(txn, &freed)?;
    let left = night_audit::go_on(txn, left)?;
    block::go_on(txn, left)?;
    waitlist::follow(txn, before)?;
    let turn = txn.whose_turn().cloned();
    if let Some(property) = &turn {
        waitlist::go_on(txn, property)?;
    }
    Ok(turn)
}

/// Does each part by itself. Gives those that failed, and the property whose waitlist was gone on with.
fn end_apart(txn: &mut Txn<'_>) -> Result<(Vec<Due>, Option<PropertyId>), Halt> {
    let mut failing = Vec::new();
    let mut left = ENDED_MAX;
    for part in txn.parts_due() {
        if left == 0 {
            break;
        }
        match (attempt(txn, |txn| end_part(txn, &part, left))?, part) {
            // One a command, as where all goes well.
            (Some(_), Due::Waitlist(property)) => return Ok((failing, Some(property))),
            (Some(now_left), _) => left = now_left,
            (None, part) => failing.push(part),
        }
    }
    Ok((failing, None))
}

/// Does one part, and gives how much else may be done.
fn end_part(txn: &mut Txn<'_>, part: &Due, left: usize) -> Result<usize, Halt> {
    let before = txn.savepoint();
    let left = match part {
        Due::Hold(id) => {
            let freed = status::expire(txn, *id)?;
            plan::give(txn, freed.as_slice())?;
            left - 1
        }
        Due::NightAudit(property) => night_audit::mark(txn, property, left)?,
        Due::Blocks(property) => block::release(txn, property, left)?,
        Due::Waitlist(property) => {
            waitlist::go_on(txn, property)?;
            return Ok(left);
        }
    };
    waitlist::follow(txn, before)?;
    Ok(left)
}

/// Does a part, or undoes it where it fails. A change that was broken off in its middle can't be undone.
pub fn attempt<T>(
    txn: &mut Txn<'_>,
    part: impl FnOnce(&mut Txn<'_>) -> Result<T, Halt>,
) -> Result<Option<T>, Halt> {
    let before = txn.savepoint();
    let done = catch_unwind(AssertUnwindSafe(|| part(&mut *txn)));
    if txn.is_broken() {
        return Err(Failure::Panic.into());
    }
    match done {
        Ok(Ok(done)) => Ok(Some(done)),
        Ok(Err(_)) | Err(_) => {
            txn.roll_back(before);
            Ok(None)
        }
    }
}

impl Ledger {
    /// From this instant on something is due: the earliest end of a hold, or at once the rest of a night audit, blocks to
    /// release, and a waitlist. What failed when it was last tried is not counted: trying again at once would not help.
    pub fn next_due(&self) -> Option<Timestamp> {
        let fails = |part: Due| self.failing.contains(&part);
        let mut offering = self.offering.iter().take(ENDED_MAX);
        let offer = offering.any(|(property, ())| !fails(Due::Waitlist(property.clone())));
        self.next_end().into_iter().chain(offer.then_some(self.stamp)).min()
    }

    /// As [`next_due`](Ledger::next_due), of what a read must not see undone: an offer that is to come is none yet.
    pub fn next_end(&self) -> Option<Timestamp> {
        let fails = |part: Due| self.failing.contains(&part);
        // Behind as many failures as one command bears nothing was tried.
        let holds = self.due.iter().take(ENDED_MAX);
        let end = holds.map(|((end, id), ())| (end, id)).find(|(_, id)| !fails(Due::Hold(**id)));
        let (mut audits, mut releasing) =
            (self.audits.iter().take(ENDED_MAX), self.releasing.iter().take(ENDED_MAX));
        let audit = audits.any(|(property, ())| !fails(Due::NightAudit(property.clone())));
        let release = releasing.any(|(property, ())| !fails(Due::Blocks(property.clone())));
        end.map(|(end, _)| *end).into_iter().chain((audit || release).then_some(self.stamp)).min()
    }

    /// Commands that must run before the next one so that it finds ended all holds whose end has come at `at`, done what
    /// night audits have left and blocks to release, and offered to those who wait what was freed before: each ends
    /// [`ENDED_MAX`] and goes on with one waitlist, and so does that one itself. No more than `most`. What can't be done is
    /// not counted: it would be waited for in vain.
    pub fn ends_before(&self, at: Timestamp, most: usize) -> usize {
        if most == 0 {
            return 0;
        }
        let limit = (most + 1) * ENDED_MAX;
        let fails = |part: Due| self.failing.contains(&part);
        let a_hold_fails = self.failing.iter().any(|part| matches!(part, Due::Hold(_)));
        let holds =
            self.due.iter().take_while(|((end, _), ())| *end <= at && !a_hold_fails).take(limit).count();
        let books = |properties: &SortedMap<PropertyId, ()>, part: fn(PropertyId) -> Due| {
            let found = properties.iter().filter(|(property, ())| !fails(part((*property).clone())));
            found.filter_map(|(property, ())| self.book(property).ok()).take(limit).collect::<Vec<_>>()
        };
        let (audits, releasing) = (books(&self.audits, Due::NightAudit), books(&self.releasing, Due::Blocks));
        let no_shows = audits.iter().flat_map(|book| {
            book.expected.iter().take_while(|((arrival, _), _)| *arrival < book.business_date())
        });
        let releases = releasing.iter().flat_map(|book| {
            book.releases.iter().take_while(|((date, _), ())| *date <= book.business_date())
        });
        let due = holds + no_shows.take(limit).count() + releases.take(limit).count();
        let ends = due.min(limit).saturating_sub(1) / ENDED_MAX;
        let offering = books(&self.offering, Due::Waitlist);
        let offering = &offering[..offering.len().min(most + 1)];
        // All together no more than one of these commands looks at.
        let looked_at = waitlist::LOOKED_AT_MAX / offering.len().max(1);
        let turns: usize = offering.iter().map(|book| waitlist::turns(book, most + 1, looked_at)).sum();
        ends.max(turns.saturating_sub(1).min(most))
    }

    /// What is due and failed when it was last tried, because of a defect of this build.
    pub fn failing_due(&self) -> &[Due] {
        &self.failing
    }

    /// A reservation as whoever reads sees it: what is due counts as done where it fails, too.
    pub(super) fn seen(&self, reservation: Arc<Reservation>) -> Arc<Reservation> {
        if self.failing.is_empty() {
            return reservation;
        }
        let status = status::status(self, &reservation);
        if status == reservation.status {
            return reservation;
        }
        Arc::new(Reservation { status, hold_expires_at: None, ..(*reservation).clone() })
    }

    fn is_anything_due(&self) -> bool {
        self.ended_holds().next().is_some()
            || self.audits.first().is_some()
            || self.releasing.first().is_some()
            || self.offering.first().is_some()
    }

    /// The property whose waitlist is gone on with now: each of them in turn, so that one of which more is freed all the time
    /// does not keep the others waiting.
    fn whose_turn(&self) -> Option<&PropertyId> {
        let turn = self.lsn.0 % self.offering.len().max(1) as u64;
        self.offering.iter().nth(turn as usize).map(|(property, ())| property)
    }

    /// Holds whose end has come, by (end, id).
    fn ended_holds(&self) -> impl Iterator<Item = ReservationId> {
        let ended = self.due.iter().take_while(|((end, _), ())| *end <= self.stamp);
        ended.map(|((_, id), ())| *id)
    }

    /// All that is due, in the order in which it is done, as much of each kind as one command may do.
    fn parts_due(&self) -> Vec<Due> {
        let holds = self.ended_holds().take(ENDED_MAX).map(Due::Hold);
        let audits =
            self.audits.iter().take(ENDED_MAX).map(|(property, ())| Due::NightAudit(property.clone()));
        let blocks =
            self.releasing.iter().take(ENDED_MAX).map(|(property, ())| Due::Blocks(property.clone()));
        let others = self.offering.iter().map(|(property, ())| property);
        let turn = self.whose_turn();
        let others = others.filter(|property| turn != Some(*property));
        let offers = turn.into_iter().chain(others).take(ENDED_MAX).cloned().map(Due::Waitlist);
        holds.chain(audits).chain(blocks).chain(offers).collect()
    }
}
