//! What every state keeps, checked before a record is put: the last line behind the handlers, and the first before a
//! restored record.
//!
//! A record that fails here changes nothing. The rules of capacity hold from the business date on; nights before it
//! are history, and the rooms of today say nothing about them.

use super::book::Book;
use super::command::RateTarget;
use super::date::Date;
use super::id::{RoomId, RoomTypeId};
use super::idempotency::KeyHolder;
use super::quarantine::Failure;
use super::rate::AMOUNT_MAX;
use super::record::{RateRecord, Record, ReservationRecord, RoomRecord, RoomTypeRecord};
use super::reservation::{Reservation, Status};
use super::state::Ledger;
use super::stay::NIGHTS_MAX;

pub fn record(ledger: &Ledger, record: &Record) -> Result<(), Failure> {
    key_is_free(ledger, record)?;
    match record {
        Record::Property(_) | Record::Outcome(_) | Record::Quarantined(_) => Ok(()),
        Record::RoomType(record) => room_type(ledger, record),
        Record::Room(record) => room(ledger, record),
        Record::Rate(record) => rate(ledger, record),
        Record::Reservation(record) => reservation(ledger, record),
    }
}

fn require(holds: bool) -> Result<(), Failure> {
    if holds { Ok(()) } else { Err(Failure::Invariant) }
}

/// One key answers for one thing.
fn key_is_free(ledger: &Ledger, record: &Record) -> Result<(), Failure> {
    let Some(holder) = record.key_digest().and_then(|digest| ledger.keys.get(&digest)) else { return Ok(()) };
    require(*holder == KeyHolder::of(record))
}

fn book<'a>(ledger: &'a Ledger, property: &super::id::PropertyId) -> Result<&'a Book, Failure> {
    ledger.book(property).map_err(|_| Failure::Invariant)
}

fn room_type(ledger: &Ledger, record: &RoomTypeRecord) -> Result<(), Failure> {
    let new = &record.room_type;
    let book = book(ledger, &new.property)?;
    require(new.max_occupancy > 0)?;
    let Some(room_type) = book.room_types.get(&new.room_type) else { return Ok(()) };
    let capacity = room_type.rooms.len() as u64 + u64::from(new.overbooking_limit);
    require(room_type.over(book.business_date(), capacity).is_empty())
}

fn room(ledger: &Ledger, record: &RoomRecord) -> Result<(), Failure> {
    let book = book(ledger, &record.room.property)?;
    require(book.room_types.contains_key(&record.room.room_type))?;
    let Ok(room) = book.room(&record.room.room) else { return Ok(()) };
    let old_type = &room.record.room.room_type;
    if *old_type == record.room.room_type {
        return Ok(());
    }
    let today = book.business_date();
    require(room.calendar.is_free(today, Date::MAX))?;
    let room_type = book.room_type(old_type).map_err(|_| Failure::Invariant)?;
    require(room_type.over(today, room_type.capacity().saturating_sub(1)).is_empty())
}

fn rate(ledger: &Ledger, record: &RateRecord) -> Result<(), Failure> {
    let RateRecord { property, target, from, to, prices } = record;
    let book = book(ledger, property)?;
    let table = match target {
        RateTarget::RoomType(room_type) => book.room_type(room_type).map(|room_type| &room_type.rates),
        RateTarget::Room(room) => book.room(room).map(|room| &room.rates),
    };
    let table = table.map_err(|_| Failure::Invariant)?;
    require(from < to)?;
    require(table.overlapping(*from, *to).iter().all(|segment| segment.from == *from))?;
    let mut amounts = prices.values().flat_map(|by_occupancy| by_occupancy.values());
    require(amounts.all(|amount| (0..=AMOUNT_MAX).contains(amount)))
}

fn reservation(ledger: &Ledger, record: &ReservationRecord) -> Result<(), Failure> {
    let new = &*record.reservation;
    let book = book(ledger, &new.property)?;
    let old = ledger.find(new.id).ok().map(|record| &*record.reservation);
    require(old.is_none_or(|old| old.property == new.property))?;
    let place = (new.booking_id, record.index());
    let booked = ledger.bookings.get(&place).map(|slot| ledger.at(*slot).reservation.id);
    require(booked.is_none_or(|id| id == new.id))?;
    require(old.is_none() || booked == Some(new.id))?;
    require(record.member.is_none_or(|member| member.index < member.of))?;
    // Who checks out on the day of arrival has had no night.
    let nights_min = i32::from(new.status != Status::CheckedOut);
    require((nights_min..=NIGHTS_MAX).contains(&new.arrival.nights_to(new.departure)))?;
    require((new.status == Status::Held) == new.hold_expires_at.is_some())?;
    require((new.status == Status::NoShow) == new.released_from.is_some())?;
    require(new.released_from.is_none_or(|from| (new.arrival..=new.departure).contains(&from)))?;
    require(new.room.is_some() || new.status != Status::InHouse)?;
    require(new.room_from.is_none_or(|from| new.room.is_some() && new.arrival < from))?;
    require(new.price.amounts.iter().all(|amount| (0..=AMOUNT_MAX).contains(amount)))?;
    require(new.price.amounts.len() <= NIGHTS_MAX as usize)?;
    require(book.room_types.contains_key(&new.room_type))?;
    if let Some(room) = &new.room {
        require(book.rooms_by_id.get(room).is_some())?;
    }
    if old.is_some_and(|old| claim(old) == claim(new)) {
        return Ok(());
    }
    room_is_free(ledger, book, new)?;
    type_has_space(book, old, new)
}

/// What is taken: nights of a type, and nights of a room.
fn claim(of: &Reservation) -> (&RoomTypeId, Option<(Date, Date)>, Option<&RoomId>, Option<(Date, Date)>) {
    (&of.room_type, of.nights(), of.room.as_ref(), of.room_nights())
}

/// Nobody but the reservation itself has the room on any of its nights.
fn room_is_free(ledger: &Ledger, book: &Book, new: &Reservation) -> Result<(), Failure> {
    let (Some(room), Some((from, to))) = (&new.room, new.room_nights()) else { return Ok(()) };
    let calendar = &book.room(room).map_err(|_| Failure::Invariant)?.calendar;
    let own = ledger.reservations_by_id.get(&new.id).copied();
    require(calendar.is_free_for(own, from, to))
}

fn type_has_space(book: &Book, old: Option<&Reservation>, new: &Reservation) -> Result<(), Failure> {
    let Some((from, to)) = new.nights() else { return Ok(()) };
    let room_type = book.room_type(&new.room_type).map_err(|_| Failure::Invariant)?;
    let old = old.filter(|old| old.room_type == new.room_type).and_then(Reservation::nights);
    let own = |night: Date| old.is_some_and(|(from, to)| (from..to).contains(&night));
    let capacity = room_type.capacity();
    let mut nights = from.max(book.business_date()).until(to);
    require(nights.all(|night| {
        let others = room_type.nights.get(night).stays().saturating_sub(u64::from(own(night)));
        others < capacity
    }))
}
