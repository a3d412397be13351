//! The guest arrives, leaves, or does not come.

use std::sync::Arc;

use super::book::{Book, RoomBook};
use super::command::Change;
use super::date::Date;
use super::id::RoomId;
use super::inventory::overstays;
use super::outcome::{Outcome, Refusal};
use super::plan::{self, Freed, Move};
use super::record::ReservationRecord;
use super::reservation::{Reservation, Status};
use super::state::Ledger;
use super::status::{change, find, status};
use super::txn::{Halt, Txn};

/// A stay that has no room gets one for the nights from the business date on; those before it are gone. So does one by type
/// in whose planned room somebody is who should have left, where another room is empty.
pub fn check_in(txn: &mut Txn<'_>, command: &Change) -> Result<Outcome, Halt> {
    let record = find(txn, command)?;
    let stay = &record.reservation;
    let book = txn.book(&stay.property)?;
    let today = book.business_date();
    let state = status(txn, stay);
    if state != Status::Confirmed || !(stay.arrival..stay.departure).contains(&today) {
        return Err(Refusal::InvalidState { state }.into());
    }
    let (picked, moves) = match (&stay.room, empty_room(txn, book, stay)) {
        (_, Some(room)) => (Some(room), Vec::new()),
        (Some(_), None) => (None, Vec::new()),
        (None, None) => pick(book, stay, today).map(|(room, moves)| (Some(room), moves))?,
    };
    let left = stay.room.as_ref().filter(|_| picked.is_some());
    let left = left.map(|room| Freed::new(&stay.property, room, today, stay.departure));
    plan::carry_out(txn, &moves)?;
    let reservation = change(txn, record, |reservation| {
        reservation.status = Status::InHouse;
        if let Some(room) = picked {
            reservation.room = Some(room);
            reservation.room_from = (reservation.arrival < today).then_some(today);
        }
    })?;
    plan::give(txn, left.as_slice())?;
    Ok(Outcome::Changed(reservation))
}

/// The first room of the type that is free until the departure and that nobody is in, for a stay that has no such room. One that
/// somebody should have left counts as free by nights, but he is there.
fn empty_room(ledger: &Ledger, book: &Book, stay: &Reservation) -> Option<RoomId> {
    let is_occupied = |room: &RoomBook| overstays(ledger, book, room);
    let own_will_do = |room: &RoomId| !book.room(room).is_ok_and(is_occupied);
    if stay.room_pinned || stay.room.as_ref().is_some_and(own_will_do) {
        return None;
    }
    let is_empty =
        |room: &&RoomBook| room.is_free(book.business_date(), stay.departure) && !is_occupied(room);
    let room = book.rooms_of(book.room_type(&stay.room_type).ok()?).find(is_empty)?;
    Some(room.record.room.room.clone())
}

/// A room of the type for the nights from `today` to the departure, and who moves for it.
fn pick(book: &Book, stay: &Reservation, today: Date) -> Result<(RoomId, Vec<Move>), Refusal> {
    let room_type = book.room_type(&stay.room_type)?;
    if let plan::Choice::Room(room, moves) = plan::choose(book, room_type, today, stay.departure) {
        return Ok((room, moves));
    }
    let full = |night: &Date| book.rooms_of(room_type).all(|room| !room.is_free(*night, night.plus(1)));
    let mut nights: Vec<Date> = today.until(stay.departure).filter(full).collect();
    if nights.is_empty() {
        // Each has a free room, and no room is free on all of them.
        nights = today.until(stay.departure).collect();
    }
    Err(Refusal::RoomUnavailable { nights })
}

/// The price stays, whenever the guest leaves.
pub fn check_out(txn: &mut Txn<'_>, command: &Change) -> Result<Outcome, Halt> {
    let record = find(txn, command)?;
    let state = status(txn, &record.reservation);
    if state != Status::InHouse {
        return Err(Refusal::InvalidState { state }.into());
    }
    let today = txn.book(&record.reservation.property)?.business_date();
    let booked_to = record.reservation.departure;
    let reservation = change(txn, record, |reservation| {
        reservation.status = Status::CheckedOut;
        reservation.departure = booked_to.min(today);
    })?;
    let freed = freed(&reservation, today, booked_to);
    plan::give(txn, freed.as_slice())?;
    Ok(Outcome::Changed(reservation))
}

pub fn no_show(txn: &mut Txn<'_>, command: &Change) -> Result<Outcome, Halt> {
    let record = find(txn, command)?;
    let stay = &record.reservation;
    let state = status(txn, stay);
    if state != Status::Confirmed || stay.arrival > txn.book(&stay.property)?.business_date() {
        return Err(Refusal::InvalidState { state }.into());
    }
    let (reservation, freed) = mark_no_show(txn, record)?;
    plan::give(txn, freed.as_slice())?;
    Ok(Outcome::Changed(reservation))
}

/// The nights before the business date stay taken: nobody else had them. Those that are free are to be given.
pub fn mark_no_show(
    txn: &mut Txn<'_>,
    record: ReservationRecord,
) -> Result<(Arc<Reservation>, Option<Freed>), Halt> {
    let today = txn.book(&record.reservation.property)?.business_date();
    let reservation = change(txn, record, |reservation| {
        reservation.status = Status::NoShow;
        reservation.released_from = Some(today.min(reservation.departure));
    })?;
    let freed = freed(&reservation, today, reservation.departure);
    Ok((reservation, freed))
}

/// The nights that a stay no longer takes of its room.
fn freed(stay: &Reservation, from: Date, to: Date) -> Option<Freed> {
    let room = stay.room.as_ref().filter(|_| from < to)?;
    Some(Freed::new(&stay.property, room, from, to))
}
