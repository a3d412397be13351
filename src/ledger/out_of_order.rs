//! Rooms that can't be sold for a time.
//!
//! A stay by type that was planned for the room moves to another; a stay that has the room by name, or is in it, is in
//! the way.

use std::sync::Arc;

use super::book::Book;
use super::command::{EndOutOfOrder, PutOutOfOrder};
use super::date::Date;
use super::id::{PropertyId, ReservationId, RoomId};
use super::outcome::{Outcome, Refusal};
use super::plan;
use super::record::{OutOfOrderRecord, Record, RecordKey};
use super::reservation::{Reservation, Status};
use super::state::Ledger;
use super::txn::{Halt, Txn};

pub fn put(txn: &mut Txn<'_>, command: &PutOutOfOrder) -> Result<Outcome, Halt> {
    let PutOutOfOrder { property, room, from, to, reason } = command;
    txn.book(property)?.room(room)?;
    if from >= to {
        return Err(Refusal::InvalidStay.into());
    }
    clear(txn, property, room, *from, *to)?;
    let in_the_way = in_the_way(txn, txn.book(property)?, room, *from, *to)?;
    for id in &in_the_way {
        let record = txn.find(*id)?.clone();
        plan::replan(txn, record, None, None)?;
    }
    let (property, room, reason) = (property.clone(), room.clone(), reason.clone());
    let record = Arc::new(OutOfOrderRecord { property, room, from: *from, to: *to, reason });
    txn.put(Record::OutOfOrder(Arc::clone(&record)))?;
    for id in &in_the_way {
        find_another(txn, *id, &record)?;
    }
    if !in_the_way.is_empty() {
        let today = txn.book(&record.property)?.business_date();
        plan::give(txn, &record.property, &record.room, today, Date::MAX)?;
    }
    Ok(Outcome::OutOfOrder(record))
}

pub fn end(txn: &mut Txn<'_>, command: &EndOutOfOrder) -> Result<Outcome, Halt> {
    let EndOutOfOrder { property, room, from, to } = command;
    txn.book(property)?.room(room)?;
    if from >= to {
        return Err(Refusal::InvalidStay.into());
    }
    clear(txn, property, room, *from, *to)?;
    plan::give(txn, property, room, *from, *to)?;
    Ok(Outcome::Removed)
}

/// Puts the room back in order on the nights `[from, to)`.
fn clear(txn: &mut Txn<'_>, property: &PropertyId, room: &RoomId, from: Date, to: Date) -> Result<(), Halt> {
    let replaced = txn.book(property)?.room(room)?.closures(from, to).to_vec();
    for closure in &replaced {
        txn.remove(&RecordKey::OutOfOrder(property.clone(), room.clone(), closure.from))?;
    }
    for closure in &replaced {
        for (from, to) in [(closure.from, closure.to.min(from)), (closure.from.max(to), closure.to)] {
            if from < to {
                let left = OutOfOrderRecord { from, to, ..(**closure).clone() };
                txn.put(Record::OutOfOrder(Arc::new(left)))?;
            }
        }
    }
    Ok(())
}

/// The stays that have to move, the oldest first; the nights on which something can't, where there are any. Nights
/// before the business date are gone.
fn in_the_way(
    ledger: &Ledger,
    book: &Book,
    room: &RoomId,
    from: Date,
    to: Date,
) -> Result<Vec<ReservationId>, Refusal> {
    let from = from.max(book.business_date());
    let room = book.room(room)?;
    let room_type = book.room_type(&room.record.room.room_type)?;
    let mut nights = room_type.full(from, to);
    let mut moving = Vec::new();
    for stay in room.calendar.stays().iter().filter(|stay| from < stay.departure && stay.arrival < to) {
        let record = ledger.at(stay.reservation);
        let Reservation { id, room_pinned, status, .. } = *record.reservation;
        if room_pinned || status == Status::InHouse {
            nights.extend(stay.arrival.max(from).until(stay.departure.min(to)));
        } else {
            moving.push((record.created_lsn, id));
        }
    }
    if !nights.is_empty() {
        nights.sort_unstable();
        nights.dedup();
        return Err(Refusal::CapacityBelowSold { nights });
    }
    moving.sort_unstable();
    Ok(moving.into_iter().map(|(_, id)| id).collect())
}

fn find_another(txn: &mut Txn<'_>, id: ReservationId, closure: &OutOfOrderRecord) -> Result<(), Halt> {
    let record = txn.find(id)?.clone();
    let stay = &record.reservation;
    let book = txn.book(&stay.property)?;
    let later = Some(book.business_date()).filter(|today| stay.arrival < *today);
    let first = later.unwrap_or(stay.arrival);
    match plan::choose(book, book.room_type(&stay.room_type)?, first, stay.departure) {
        plan::Choice::Room(room) => plan::replan(txn, record, Some(room), later),
        plan::Choice::Overbooked => Ok(()),
        plan::Choice::Fragmented => {
            let nights = first.max(closure.from).until(stay.departure.min(closure.to)).collect();
            Err(Refusal::CapacityBelowSold { nights }.into())
        }
    }
}
