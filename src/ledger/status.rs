//! What becomes of a reservation: confirmed, canceled, or expired with its hold.

use std::sync::Arc;

use super::command::Change;
use super::id::ReservationId;
use super::night_audit;
use super::outcome::{Outcome, Refusal};
use super::plan::{self, Freed};
use super::record::{Record, ReservationRecord};
use super::reservation::{Reservation, Status};
use super::state::Ledger;
use super::txn::{Halt, Txn};
use crate::planted::{Bug, planted};

pub fn confirm(txn: &mut Txn<'_>, command: &Change) -> Result<Outcome, Halt> {
    let record = find(txn, command)?;
    match status(txn, &record.reservation) {
        Status::Held => {}
        Status::Expired if planted(Bug::ConfirmedAfterEnd) => {}
        Status::Expired => return Err(Refusal::HoldExpired.into()),
        state => return Err(Refusal::InvalidState { state }.into()),
    }
    let reservation = change(txn, record, |reservation| {
        reservation.status = Status::Confirmed;
        reservation.hold_expires_at = None;
    })?;
    Ok(Outcome::Changed(reservation))
}

pub fn cancel(txn: &mut Txn<'_>, command: &Change) -> Result<Outcome, Halt> {
    let mut freed = Vec::new();
    let outcome = cancel_of(txn, command, &mut freed)?;
    plan::give(txn, &freed)?;
    Ok(outcome)
}

/// Cancels one of several, and adds what is to be given once all are canceled.
pub fn cancel_of(txn: &mut Txn<'_>, command: &Change, freed: &mut Vec<Freed>) -> Result<Outcome, Halt> {
    let record = find(txn, command)?;
    assert!(!planted(Bug::CancelPanics), "a handler is broken, on purpose");
    match status(txn, &record.reservation) {
        Status::Held | Status::Confirmed => {}
        state => return Err(Refusal::InvalidState { state }.into()),
    }
    let reservation = end(txn, record, Status::Canceled)?;
    freed.extend(freed_by(&reservation));
    Ok(Outcome::Changed(reservation))
}

/// Ends a hold whose end has come.
pub fn expire(txn: &mut Txn<'_>, id: ReservationId) -> Result<Option<Freed>, Halt> {
    let record = txn.find(id)?;
    Ok(freed_by(&*end(txn, record, Status::Expired)?))
}

/// The reservation that is to be changed, at the revision that the caller saw.
pub fn find(ledger: &Ledger, command: &Change) -> Result<ReservationRecord, Refusal> {
    let record = ledger.find(command.reservation)?;
    matches(&record, command.if_match)?;
    Ok(record)
}

/// Whether the reservation is at the revision that the caller saw.
pub fn matches(record: &ReservationRecord, if_match: Option<u64>) -> Result<(), Refusal> {
    let revision = record.reservation.revision;
    if if_match.is_some_and(|seen| seen != revision) {
        return Err(Refusal::VersionMismatch { revision });
    }
    Ok(())
}

/// What is due has happened, also where so much is due that the reservation's turn has not come.
pub fn status(ledger: &Ledger, reservation: &Reservation) -> Status {
    match reservation.hold_expires_at {
        Some(end) if end <= ledger.stamp => Status::Expired,
        _ if night_audit::awaits(ledger, reservation) => Status::NoShow,
        _ => reservation.status,
    }
}

/// Ends a live reservation.
fn end(txn: &mut Txn<'_>, record: ReservationRecord, status: Status) -> Result<Arc<Reservation>, Halt> {
    change(txn, record, |reservation| {
        reservation.status = status;
        reservation.hold_expires_at = None;
        reservation.slept = None;
    })
}

/// The room of a reservation that has ended.
pub fn freed_by(ended: &Reservation) -> Option<Freed> {
    let Reservation { property, arrival, departure, room, .. } = ended;
    Some(Freed::new(property, room.as_ref()?, *arrival, *departure))
}

/// A change that the guest sees: the next revision.
pub fn change(
    txn: &mut Txn<'_>,
    record: ReservationRecord,
    alter: impl FnOnce(&mut Reservation),
) -> Result<Arc<Reservation>, Halt> {
    let ReservationRecord { reservation: before, created_lsn, key, member, moved_lsn: _ } = record;
    let mut reservation = (*before).clone();
    alter(&mut reservation);
    let unlucky = planted(Bug::DuePanics) && txn.is_ending_due() && reservation.occupancy == 2;
    assert!(!unlucky, "what is due for two is broken, on purpose");
    reservation.revision += 1;
    reservation.lsn = txn.lsn();
    reservation.updated_at = txn.stamp();
    let reservation = Arc::new(reservation);
    txn.put(Record::Reservation(ReservationRecord {
        reservation: Arc::clone(&reservation),
        created_lsn,
        key: key.map(|key| key.keeping(&before)),
        moved_lsn: None,
        member,
    }))?;
    Ok(reservation)
}
