//! Defining properties, room types and rooms, and moving the business date.

use std::sync::Arc;

use super::block;
use super::book::{Book, RoomBook};
use super::command::{
    FirstBusinessDate, PutProperty, PutRoom, PutRoomType, RateTarget, RetireRoom, RollBusinessDate,
};
use super::date::Date;
use super::due::{self, ENDED_MAX};
use super::id::{IdempotencyKey, PropertyId, RoomId};
use super::idempotency::{created_under, store_as};
use super::outcome::{Outcome, Refusal};
use super::plan::{self, Freed, Move};
use super::property::{BusinessDateMode, Property, Room, RoomType};
use super::record::{OutOfOrderRecord, PropertyRecord, Record, RecordKey, RoomRecord, RoomTypeRecord};
use super::state::Ledger;
use super::stay::HORIZON_DAYS;
use super::txn::{Halt, Txn};

/// How often a room is emptied in one command: who makes way for others may be planned for it behind the nights that were
/// cleared.
const EMPTIED_MAX: usize = 8;

/// An existing property keeps its business date and the way it moves.
pub fn put_property(
    txn: &mut Txn<'_>,
    key: Option<&IdempotencyKey>,
    command: &PutProperty,
) -> Result<Outcome, Halt> {
    if !command.time_zone_known {
        return Err(Refusal::InvalidTimeZone.into());
    }
    let Some(currency) = command.currency.filter(|_| command.currency_known) else {
        return Err(Refusal::InvalidCurrency.into());
    };
    let old = txn.book(&command.property).ok().map(|book| book.record.clone());
    let (business_date_mode, business_date) = match (&old, command.business_date) {
        (Some(old), _) => (old.property.business_date_mode, old.property.business_date),
        (None, FirstBusinessDate::Clock(date)) => (BusinessDateMode::Clock, date),
        (None, FirstBusinessDate::Manual(date)) => (BusinessDateMode::Manual, date),
    };
    let property = Arc::new(Property {
        property: command.property.clone(),
        name: command.name.clone(),
        location: command.location.clone(),
        time_zone: command.time_zone.clone(),
        currency,
        business_date,
        business_date_mode,
    });
    let created = old.is_none();
    let auditing = old.as_ref().and_then(|old| old.auditing);
    let offering = old.as_ref().and_then(|old| old.offering);
    let key = match old {
        Some(old) => old.key.map(|key| key.keeping(&old.property)),
        None => created_under(key),
    };
    txn.put(Record::Property(PropertyRecord { property: Arc::clone(&property), key, auditing, offering }))?;
    Ok(Outcome::Property { created, property })
}

/// A lower overbooking limit must leave room for what is sold from the business date on.
pub fn put_room_type(
    txn: &mut Txn<'_>,
    key: Option<&IdempotencyKey>,
    command: &PutRoomType,
) -> Result<Outcome, Halt> {
    let book = txn.book(&command.property)?;
    if command.max_occupancy == 0 {
        return Err(Refusal::OccupancyInvalid { max_occupancy: 0 }.into());
    }
    let old = book.room_type(&command.room_type).ok();
    if let Some(old) = old {
        let capacity = old.rooms.len() as u64 + u64::from(command.overbooking_limit);
        let nights = old.over(book.business_date(), capacity);
        if !nights.is_empty() {
            return Err(Refusal::CapacityBelowSold { nights }.into());
        }
    }
    let old = old.map(|old| old.record.clone());
    let room_type = Arc::new(RoomType {
        property: command.property.clone(),
        room_type: command.room_type.clone(),
        name: command.name.clone(),
        max_occupancy: command.max_occupancy,
        overbooking_limit: command.overbooking_limit,
    });
    let created = old.is_none();
    let key = match old {
        Some(old) => old.key.map(|key| key.keeping(&old.room_type)),
        None => created_under(key),
    };
    txn.put(Record::RoomType(RoomTypeRecord { room_type: Arc::clone(&room_type), key }))?;
    Ok(Outcome::RoomType { created, room_type })
}

/// A room changes its type only where the old type can do without it: a stay counts for the type under which it was sold.
/// Its time out of order goes with it.
pub fn put_room(txn: &mut Txn<'_>, key: Option<&IdempotencyKey>, command: &PutRoom) -> Result<Outcome, Halt> {
    let book = txn.book(&command.property)?;
    book.room_type(&command.room_type)?;
    let today = book.business_date();
    // One that was retired is made anew.
    let retired = book.room_ever(&command.room).filter(|room| !room.is_in_service());
    let retired_key = retired.and_then(|room| room.record.key.clone());
    let retired_room = retired.map(|room| Arc::clone(&room.record.room));
    let old = book.room(&command.room).ok();
    let moves = old.is_some_and(|old| old.record.room.room_type != command.room_type);
    let old = old.map(|old| old.record.clone());
    let closures = if moves { empty(txn, &command.property, &command.room)? } else { Vec::new() };
    let room = Arc::new(Room {
        property: command.property.clone(),
        room: command.room.clone(),
        room_type: command.room_type.clone(),
    });
    let created = old.is_none();
    let key = match old {
        Some(old) if moves => old.key.map(|key| key.keeping(&old.room)),
        Some(old) => old.key,
        None => created_under(key),
    };
    txn.put(Record::Room(RoomRecord { room: Arc::clone(&room), key, retired: None }))?;
    for closure in closures {
        txn.put(Record::OutOfOrder(closure))?;
    }
    if let (Some(key), Some(room)) = (retired_key, retired_room) {
        // What the room was first made by is answered for a time, like what created nothing.
        let room = key.original.unwrap_or(room);
        store_as(txn, key.digest, key.request_digest, Outcome::Room { created: true, room })?;
    }
    if created || moves {
        plan::give(txn, &[Freed::new(&room.property, &room.room, today, Date::MAX)])?;
    }
    Ok(Outcome::Room { created, room })
}

/// Whether somebody who should have left is still in the room, be it that he has no night there: he came or moved there on
/// the day on which he leaves.
pub fn overstays(ledger: &Ledger, book: &Book, room: &RoomBook) -> bool {
    let today = book.business_date();
    let has_left = |(_, to): (Date, Date)| to <= today;
    book.guests_in(&room.record.room.room)
        .any(|slot| ledger.at(slot).reservation.room_nights().is_none_or(has_left))
}

/// Stays that are only planned for the room move to others; who has it by name, or is in it, is in the way. Its own rates
/// and its time out of order go with it.
pub fn retire_room(txn: &mut Txn<'_>, command: &RetireRoom) -> Result<Outcome, Halt> {
    let RetireRoom { property, room: id } = command;
    empty(txn, property, id)?;
    let target = RateTarget::Room(id.clone());
    for segment in txn.book(property)?.room(id)?.rates.all().to_vec() {
        txn.remove(&RecordKey::Rate(property.clone(), target.clone(), segment.from))?;
    }
    let record = txn.book(property)?.room(id)?.record.clone();
    txn.put(Record::Room(RoomRecord { retired: Some(txn.lsn()), ..record }))?;
    Ok(Outcome::Removed)
}

/// Ends the room's time out of order, which is given back, and moves who is only planned for the room to others.
fn empty(
    txn: &mut Txn<'_>,
    property: &PropertyId,
    room: &RoomId,
) -> Result<Vec<Arc<OutOfOrderRecord>>, Halt> {
    let closures = txn.book(property)?.room(room)?.out_of_order.clone();
    for closure in &closures {
        txn.remove(&RecordKey::OutOfOrder(property.clone(), room.clone(), closure.from))?;
    }
    let closed_to = closures.iter().map(|closure| closure.to).max();
    for _ in 0..EMPTIED_MAX {
        let moves = moving_out(txn, property, room, closed_to)?;
        if moves.is_empty() {
            return Ok(closures);
        }
        plan::carry_out(txn, &moves)?;
    }
    let book = txn.book(property)?;
    let nights = book.room(room)?.calendar.taken(book.business_date(), Date::MAX);
    Err(Refusal::CapacityBelowSold { nights }.into())
}

/// Who moves so that the room, which is not out of order, can be done without, or the nights on which it can't. It will be
/// out of order until `closed_to`.
fn moving_out(
    ledger: &Ledger,
    property: &PropertyId,
    room: &RoomId,
    closed_to: Option<Date>,
) -> Result<Vec<Move>, Refusal> {
    let book = ledger.book(property)?;
    let today = book.business_date();
    let room = book.room(room)?;
    let room_type = book.room_type(&room.record.room.room_type)?;
    let left = room.calendar.stays().iter().map(|stay| stay.departure);
    // Nobody has a night behind the horizon, however long the room is out of order.
    let end = left.chain(closed_to).max().unwrap_or(today).clamp(today, today.plus(HORIZON_DAYS));
    let mut nights = room_type.over(today, room_type.capacity().saturating_sub(1));
    nights.extend(overstays(ledger, book, room).then_some(today));
    let moves = plan::clear(book, room_type, room, (today, end), 0);
    if moves.is_none() {
        nights.extend(plan::not_cleared(book, room_type, room, (today, end), 0));
    }
    match moves.filter(|_| nights.is_empty()) {
        Some(moves) => Ok(moves),
        None => {
            nights.sort_unstable();
            nights.dedup();
            Err(Refusal::CapacityBelowSold { nights })
        }
    }
}

/// Nothing happens on a property that is moved by hand, or where the date is not later.
pub fn roll_business_date(txn: &mut Txn<'_>, command: &RollBusinessDate) -> Result<Outcome, Halt> {
    let PropertyRecord { property, key, auditing, offering } = txn.book(&command.property)?.record.clone();
    if property.business_date_mode == BusinessDateMode::Manual || command.date <= property.business_date {
        return Ok(Outcome::Done);
    }
    let key = key.map(|key| key.keeping(&property));
    let property = Arc::new(Property { business_date: command.date, ..(*property).clone() });
    txn.put(Record::Property(PropertyRecord { property, key, auditing, offering }))?;
    // The date has moved, whatever of the rest fails: a release stays due, and a late stay waits for the next room.
    due::attempt(txn, |txn| block::release(txn, &command.property, ENDED_MAX))?;
    due::attempt(txn, |txn| plan::give_late(txn, &command.property))?;
    Ok(Outcome::Done)
}
