//! Which room a stay by type gets, and who moves so that one is free.
//!
//! A stay by type has a planned room until the guest is there. A new one gets the first room, by id, that is free
//! throughout: that fills the low rooms and leaves the high ones whole for long stays. Where there is none, others that
//! are only planned move, as [`chain`] says, and in small houses [`backtrack`] looks at what that did not find. Who has
//! a room by name, or is in it, never moves.
//!
//! What is chosen depends on nothing but the state: rooms are taken by id, stays by date.

mod backtrack;
mod chain;
mod clearing;
mod sketch;

use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::Arc;

use super::book::{Book, RoomBook, TypeBook};
use super::date::Date;
use super::due::ENDED_MAX;
use super::id::{Lsn, PropertyId, ReservationId, RoomId};
use super::record::{Record, ReservationRecord};
use super::reservation::Reservation;
use super::state::Ledger;
use super::stay::NIGHTS_MAX;
use super::store::Slot;
use super::txn::{Halt, Txn};
use crate::planted::{Bug, planted};
use chain::Chain;
pub use clearing::Clearing;
use sketch::Sketch;

/// Stays without a room that are looked at when one becomes free, at most.
const WAITING_MAX: usize = 4_096;

/// What a look for exchanges that comes to nothing is counted for, in steps of a [`backtrack`].
const CHAIN_STEPS: usize = 80;

/// Searches for them that come to nothing, at most, and one more for each room that was freed.
const FAILED_MAX: usize = 16;

/// A stay that gets another room, or none because its type is overbooked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Move {
    stay: Slot,
    room: Option<RoomId>,
    /// The room that it had, where it gets none.
    lost: Option<RoomId>,
}

/// Nights `[from, to)` of a room that stays no longer have.
#[derive(Clone, Debug)]
pub struct Freed {
    property: PropertyId,
    room: RoomId,
    from: Date,
    to: Date,
}

impl Freed {
    pub fn new(property: &PropertyId, room: &RoomId, from: Date, to: Date) -> Freed {
        Freed { property: property.clone(), room: room.clone(), from, to }
    }
}

pub enum Choice {
    /// A room that is free once the moves are made.
    Room(RoomId, Vec<Move>),
    /// On some night every room is taken, and the overbooking limit allows the stay all the same.
    Overbooked,
    /// Every night has a free room, but no plan was found that has one free for the whole stay.
    Fragmented,
}

/// A room for the nights `[from, to)`, none of which is before the business date. The caller has made sure that the type
/// has space on every night.
pub fn choose(book: &Book, room_type: &TypeBook, from: Date, to: Date) -> Choice {
    if room_type.has_no_room(from, to) {
        return Choice::Overbooked;
    }
    if let Some(room) = as_it_is(book, room_type, from, to) {
        return room;
    }
    let mut sketch = Sketch::new(book, room_type);
    let found = Chain::new(&mut sketch, from, to, None).run();
    match found.or_else(|| backtrack::run(&mut sketch, from, to, None, &mut 0)) {
        Some(place) => Choice::Room(room_at(book, room_type, place), moves(&sketch)),
        None => Choice::Fragmented,
    }
}

/// A room that nobody has to leave.
fn as_it_is(book: &Book, room_type: &TypeBook, from: Date, to: Date) -> Option<Choice> {
    let place = room_type.taken.first_free(from, to)?;
    Some(Choice::Room(room_at(book, room_type, place), Vec::new()))
}

/// What has to move so that this room is free on the nights `[from, to)`; none where something there can't be moved, the
/// type has no space, or no plan was found. Nights before the business date are gone. `kept` rooms of what is taken are
/// kept for whoever comes.
pub fn clear(
    book: &Book,
    room_type: &TypeBook,
    room: &RoomBook,
    nights: (Date, Date),
    kept: u64,
) -> Option<Vec<Move>> {
    clear_counted(book, room_type, room, nights, kept, &mut 0)
}

/// The same. Adds the steps of a [`backtrack`] to `steps`, and some for the way to it.
fn clear_counted(
    book: &Book,
    room_type: &TypeBook,
    room: &RoomBook,
    (from, to): (Date, Date),
    kept: u64,
    steps: &mut usize,
) -> Option<Vec<Move>> {
    let from = from.max(book.business_date());
    let has_space = |night| !room_type.is_full(night, kept);
    if from >= to || room.is_free(from, to) {
        return Some(Vec::new());
    }
    let in_the_way = room.calendar.overlapping(from, to);
    let nights = in_the_way.iter().flat_map(|stay| stay.arrival.max(from).until(stay.departure.min(to)));
    if !is_movable(room, from, to) || !nights.clone().all(has_space) {
        return None;
    }
    let place = book.place_of(&room.record.room.room);
    let mut sketch = Sketch::new(book, room_type);
    // Where every room is taken, whoever has this one has none afterwards.
    let mut roomless = Vec::new();
    for span in sketch.between(place, from, to).to_vec() {
        if room_type.has_no_room(span.from.max(from), span.to.min(to)) {
            sketch.spans(place).retain(|other| *other != span);
            let lost = Some(room.record.room.room.clone());
            roomless.extend(span.stay.map(|stay| Move { stay, room: None, lost }));
        }
    }
    *steps += CHAIN_STEPS;
    if !move_out(&mut sketch, place, from, to) {
        Chain::new(&mut sketch, from, to, Some(place))
            .run()
            .or_else(|| backtrack::run(&mut sketch, from, to, Some(place), steps))?;
    }
    roomless.extend(moves(&sketch));
    Some(roomless)
}

/// The nights of `[from, to)`, from the business date on, for which the room can't be had: those on which something is
/// there that can't be moved, or has nowhere to go. Where no night is to blame by itself, all on which it is taken.
pub fn not_cleared(
    book: &Book,
    room_type: &TypeBook,
    room: &RoomBook,
    (from, to): (Date, Date),
    kept: u64,
) -> Vec<Date> {
    let from = from.max(book.business_date());
    let mut taken = room.taken(from, to);
    let is_full = |night| room_type.is_full(night, kept);
    let to_blame = |night: &Date| is_full(*night) || !is_movable(room, *night, night.plus(1));
    if taken.iter().any(to_blame) {
        taken.retain(to_blame);
    }
    taken
}

/// Whether all that takes the room on the nights `[from, to)` may be moved.
fn is_movable(room: &RoomBook, from: Date, to: Date) -> bool {
    room.closures(from, to).is_empty() && room.calendar.overlapping(from, to).iter().all(|stay| !stay.fixed)
}

/// Each stay of the room between the nights goes to another that is free for it, if all find one.
fn move_out(sketch: &mut Sketch<'_>, room: usize, from: Date, to: Date) -> bool {
    let mut moved = sketch.clone();
    for span in sketch.between(room, from, to).to_vec() {
        let Some(other) = moved.first_free(span.from, span.to, room) else { return false };
        moved.rearrange(vec![(span, other)]);
    }
    *sketch = moved;
    true
}

fn room_at(book: &Book, room_type: &TypeBook, place: usize) -> RoomId {
    book.room_at(room_type.rooms[place]).record.room.room.clone()
}

fn moves(sketch: &Sketch<'_>) -> Vec<Move> {
    let moved = sketch.moved();
    let room = |place| Some(sketch.room(place).record.room.room.clone());
    moved.map(|(stay, place)| Move { stay, room: room(place), lost: None }).collect()
}

/// Makes the moves. Rooms are left before others come into them.
pub fn carry_out(txn: &mut Txn<'_>, moves: &[Move]) -> Result<(), Halt> {
    if moves.len() > 1 {
        for Move { stay, .. } in moves {
            let record = txn.at(*stay);
            replan(txn, record, None, None)?;
        }
    }
    for Move { stay, room, .. } in moves {
        let record = txn.at(*stay);
        let stay = &record.reservation;
        let today = txn.book(&stay.property)?.business_date();
        let later = (room.is_some() && stay.arrival < today).then_some(today);
        if stay.room != *room {
            replan(txn, record, room.clone(), later)?;
        }
    }
    Ok(())
}

/// Offers what was freed of rooms to the stays of their types that have none and may get one by it, oldest first.
/// What one command frees is given at once: part of it may fit a younger stay, and all of it the oldest.
pub fn give(txn: &mut Txn<'_>, freed: &[Freed]) -> Result<(), Halt> {
    let mut found = BTreeSet::new();
    for freed in freed {
        found.extend(waiting(txn, freed)?);
    }
    give_to(txn, found, FAILED_MAX + freed.len())
}

/// Offers rooms to the stays that have none and whose first nights are gone, now that the business date is another: what was
/// full on those is not in their way any more. To the oldest, as many as else one command ends.
pub fn give_late(txn: &mut Txn<'_>, property: &PropertyId) -> Result<(), Halt> {
    let book = txn.book(property)?;
    let today = book.business_date();
    let late = book.room_types.values().flat_map(|room_type| roomless(txn, room_type, today, today));
    let late: BTreeSet<(Lsn, ReservationId)> = late.collect();
    give_to(txn, late.into_iter().take(ENDED_MAX), FAILED_MAX)
}

/// Plans rooms for those for whom there are any, the oldest first. Once more than `failed_max` searches have come to nothing
/// only rooms are planned that are free as they are.
fn give_to(
    txn: &mut Txn<'_>,
    waiting: impl IntoIterator<Item = (Lsn, ReservationId)>,
    failed_max: usize,
) -> Result<(), Halt> {
    let mut failed = 0;
    for (_, id) in waiting {
        let record = txn.find(id)?;
        let stay = &record.reservation;
        let unlucky = planted(Bug::DuePanics) && stay.occupancy == 2;
        assert!(!unlucky, "what is due for two is broken, on purpose");
        let book = txn.book(&stay.property)?;
        let later = Some(book.business_date()).filter(|today| stay.arrival < *today);
        let first = later.unwrap_or(stay.arrival);
        let room_type = book.room_type(&stay.room_type)?;
        let choice = if failed <= failed_max {
            choose(book, room_type, first, stay.departure)
        } else {
            as_it_is(book, room_type, first, stay.departure).unwrap_or(Choice::Fragmented)
        };
        match choice {
            Choice::Room(room, moves) => {
                carry_out(txn, &moves)?;
                replan(txn, record, Some(room), later)?;
            }
            Choice::Overbooked => {}
            Choice::Fragmented => failed += 1,
        }
    }
    Ok(())
}

/// Offers what stays that lost their room had of other nights, once who they made way for has come.
pub fn give_left(txn: &mut Txn<'_>, property: &PropertyId, moves: &[Move]) -> Result<(), Halt> {
    let Some(room) = moves.iter().find_map(|made| made.lost.as_ref()) else { return Ok(()) };
    give(txn, &[Freed::new(property, room, Date::MIN, Date::MAX)])
}

/// Plans another room, or none. A plan is nothing that the guest did: no new revision, and no new instant.
fn replan(
    txn: &mut Txn<'_>,
    record: ReservationRecord,
    room: Option<RoomId>,
    room_from: Option<Date>,
) -> Result<(), Halt> {
    let stay = &record.reservation;
    // What it looks like in the middle of the command that makes it is nothing that a retry is told.
    let is_new = record.created_lsn == txn.lsn();
    let key = record.key.clone().map(|key| if is_new { key } else { key.keeping(stay) });
    let moved_lsn = Some(txn.lsn()).filter(|lsn| *lsn != stay.lsn);
    let reservation = Arc::new(Reservation { room, room_from, ..(**stay).clone() });
    Ok(txn.put(Record::Reservation(ReservationRecord { reservation, key, moved_lsn, ..record }))?)
}

/// Stays without a room that end after the business date and whom it may help that the nights are free, and the commands that
/// made them. On whatever nights they are, while each can be searched for: who is there may move to where nights were freed,
/// and another to where he was. Of more only those that want one of the nights.
fn waiting(txn: &Txn<'_>, freed: &Freed) -> Result<Vec<(Lsn, ReservationId)>, Halt> {
    let Freed { property, room, from, to } = freed;
    let book = txn.book(property)?;
    // One that was retired meanwhile helps nobody.
    let Ok(room) = book.room(room) else { return Ok(Vec::new()) };
    let room_type = book.room_type(&room.record.room.room_type)?;
    let today = book.business_date();
    let all: Vec<_> = roomless(txn, room_type, today, Date::MAX).take(FAILED_MAX + 1).collect();
    if all.len() <= FAILED_MAX {
        return Ok(all);
    }
    Ok(roomless(txn, room_type, (*from).max(today), *to).collect())
}

/// Stays of the type without a room that arrive before `to` and leave after `from`.
fn roomless<'a>(
    ledger: &'a Ledger,
    room_type: &'a TypeBook,
    from: Date,
    to: Date,
) -> impl Iterator<Item = (Lsn, ReservationId)> + 'a {
    let first = (from.plus(-NIGHTS_MAX), Lsn(0), ReservationId(uuid::Uuid::nil()));
    let stays = room_type.roomless.from(Bound::Included(&first));
    let stays = stays.take_while(move |((arrival, ..), _)| *arrival < to);
    let stays = stays.filter(move |(_, slot)| ledger.at(**slot).reservation.departure > from);
    stays.take(WAITING_MAX).map(|((_, created, id), _)| (*created, *id))
}
