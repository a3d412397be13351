//! Which room a stay by type gets.
//!
//! The first room, by id, that is free for the whole stay: that fills the low rooms and leaves the high ones whole for
//! long stays. Stays are not moved once they are planned.

use std::ops::Bound;
use std::sync::Arc;

use super::book::{Book, TypeBook};
use super::date::Date;
use super::id::{Lsn, PropertyId, ReservationId, RoomId};
use super::record::{Record, ReservationRecord};
use super::reservation::Reservation;
use super::stay::NIGHTS_MAX;
use super::txn::{Halt, Txn};

/// Stays without a room that are looked at when one becomes free, at most.
const WAITING_MAX: usize = 4_096;

pub enum Choice {
    Room(RoomId),
    /// On some night every room is taken, and the overbooking limit allows the stay all the same.
    Overbooked,
    /// Every night has a free room, but none is free for the whole stay.
    Fragmented,
}

/// The caller has made sure that the type has space on every night.
pub fn choose(book: &Book, room_type: &TypeBook, arrival: Date, departure: Date) -> Choice {
    let rooms = room_type.rooms.len() as u64;
    let in_rooms = |night| {
        let count = room_type.nights.get(night);
        count.taken() - u64::from(count.roomless)
    };
    if arrival.until(departure).any(|night| in_rooms(night) >= rooms) {
        return Choice::Overbooked;
    }
    let mut free = room_type.rooms.iter();
    match free.find(|(_, slot)| book.room_at(**slot).is_free(arrival, departure)) {
        Some((room, _)) => Choice::Room(room.clone()),
        None => Choice::Fragmented,
    }
}

/// Offers the nights `[from, to)` of a room that became free to the stays of its type that have none, oldest first.
///
/// No other room can help them: whatever else was free to them they would have already.
pub fn give(
    txn: &mut Txn<'_>,
    property: &PropertyId,
    room: &RoomId,
    from: Date,
    to: Date,
) -> Result<(), Halt> {
    for id in waiting(txn, property, room, from, to)? {
        let record = txn.find(id)?;
        let stay = &record.reservation;
        if !txn.book(property)?.room(room)?.is_free(stay.arrival, stay.departure) {
            continue;
        }
        let record = record.clone();
        replan(txn, record, Some(room.clone()), None)?;
    }
    Ok(())
}

/// Plans another room, or none. A plan is nothing that the guest did: no new revision, and no new instant.
pub fn replan(
    txn: &mut Txn<'_>,
    record: ReservationRecord,
    room: Option<RoomId>,
    room_from: Option<Date>,
) -> Result<(), Halt> {
    let stay = &record.reservation;
    let key = record.key.as_ref().map(|key| key.keeping(stay));
    let moved_lsn = Some(txn.lsn()).filter(|lsn| *lsn != stay.lsn);
    let reservation = Arc::new(Reservation { room, room_from, ..(**stay).clone() });
    Ok(txn.put(Record::Reservation(ReservationRecord { reservation, key, moved_lsn, ..record }))?)
}

/// Stays without a room that have a night in `[from, to)` and end after the business date, oldest first.
fn waiting(
    txn: &Txn<'_>,
    property: &PropertyId,
    room: &RoomId,
    from: Date,
    to: Date,
) -> Result<Vec<ReservationId>, Halt> {
    let book = txn.book(property)?;
    let room_type = book.room_type(&book.room(room)?.record.room.room_type)?;
    let from = from.max(book.business_date());
    let first = (from.plus(-NIGHTS_MAX), Lsn(0), ReservationId(uuid::Uuid::nil()));
    let stays = room_type.roomless.from(Bound::Included(&first));
    let stays = stays.take_while(|((arrival, ..), _)| *arrival < to);
    let stays = stays.filter(|(_, slot)| txn.at(**slot).reservation.departure > from);
    let mut found: Vec<(Lsn, ReservationId)> =
        stays.take(WAITING_MAX).map(|((_, created, id), _)| (*created, *id)).collect();
    found.sort_unstable();
    Ok(found.into_iter().map(|(_, id)| id).collect())
}
