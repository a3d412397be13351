//! Changing a stay: its dates, type, room or occupancy, in one step.
//!
//! The stay steps aside first, so that its own nights don't stand in its way; a refusal brings it back as it was.

use std::sync::Arc;

use super::block::{self, BlockBook};
use super::book::{Book, RoomBook, TypeBook};
use super::command::{Amend, Assign, RoomChange};
use super::date::Date;
use super::id::{PropertyId, RoomId, RoomTypeId};
use super::outcome::{Outcome, Refusal};
use super::plan::{self, Freed, Move};
use super::rate::Quote;
use super::record::{Record, ReservationRecord};
use super::reservation::{Price, Reservation, Status, Stretch};
use super::restriction::{self, Asked};
use super::state::Ledger;
use super::status::{change, matches, status};
use super::stay;
use super::txn::{Halt, Txn};
use crate::planted::{Bug, planted};

/// What a stay shall be.
#[derive(PartialEq)]
struct Target {
    arrival: Date,
    departure: Date,
    occupancy: u32,
    room_type: RoomTypeId,
    pinned: Option<RoomId>,
}

pub fn amend(txn: &mut Txn<'_>, command: &Amend) -> Result<Outcome, Halt> {
    let Amend { reservation, if_match, .. } = *command;
    let record = txn.find(reservation)?;
    let book = txn.book(&record.reservation.property)?;
    let named = match &command.room {
        Some(RoomChange::Pin(room)) => Some(book.room(room)?),
        Some(RoomChange::Unpin) | None => None,
    };
    if let Some(room_type) = &command.room_type {
        book.room_type(room_type)?;
    }
    matches(&record, if_match)?;
    let old = Arc::clone(&record.reservation);
    let before = Target::of(&old);
    let room_type = named.map(|room| room.record.room.room_type.clone()).or(command.room_type.clone());
    // A room that the stay keeps may have become one of another type, once its nights were over. Who is in house has had
    // what it was.
    let keeps = before.pinned.as_ref().filter(|_| command.room.is_none());
    let anew = keeps.filter(|_| old.status != Status::InHouse).and_then(|room| book.room(room).ok());
    let kept = anew.map_or(&old.room_type, |room| &room.record.room.room_type).clone();
    let room_type = room_type.unwrap_or_else(|| kept.clone());
    let target = Target {
        arrival: command.arrival.unwrap_or(old.arrival),
        departure: command.departure.unwrap_or(old.departure),
        occupancy: command.occupancy.unwrap_or(old.occupancy),
        pinned: match &command.room {
            Some(RoomChange::Pin(room)) => Some(room.clone()),
            Some(RoomChange::Unpin) => None,
            None => keeps.filter(|_| room_type == kept).cloned(),
        },
        room_type,
    };
    let state = allows(txn, &old)?;
    if asks_nothing(command, &before, named) {
        return Ok(Outcome::Changed(old));
    }
    let moves = |from: &Target, to: &Target| {
        (from.arrival, &from.room_type, &from.pinned) != (to.arrival, &to.room_type, &to.pinned)
    };
    if state == Status::InHouse && moves(&before, &target) {
        return Err(Refusal::InvalidState { state }.into());
    }
    let price = judge(book, &old, &before, &target)?;
    Ok(Outcome::Changed(place(txn, record, target, price)?))
}

/// Whether the stay is all that it shall be. A room that it keeps is no matter then, whatever became of that.
fn asks_nothing(command: &Amend, before: &Target, named: Option<&RoomBook>) -> bool {
    let Amend { arrival, departure, occupancy, room_type, room, .. } = command;
    let is_in = |named: &RoomBook| {
        let room = &named.record.room;
        before.pinned.as_ref() == Some(&room.room) && before.room_type == room.room_type
    };
    let keeps_room = match room {
        None => true,
        Some(RoomChange::Unpin) => before.pinned.is_none(),
        Some(RoomChange::Pin(_)) => named.is_some_and(is_in),
    };
    keeps_room
        && arrival.is_none_or(|arrival| arrival == before.arrival)
        && departure.is_none_or(|departure| departure == before.departure)
        && occupancy.is_none_or(|occupancy| occupancy == before.occupancy)
        && room_type.as_ref().is_none_or(|room_type| *room_type == before.room_type)
}

/// Never reprices. A room of another type counts there from now on.
pub fn assign(txn: &mut Txn<'_>, command: &Assign) -> Result<Outcome, Halt> {
    let Assign { reservation, if_match, ref room } = *command;
    let record = txn.find(reservation)?;
    let book = txn.book(&record.reservation.property)?;
    let room_type = book.room_type(&book.room(room)?.record.room.room_type)?;
    matches(&record, if_match)?;
    let old = Arc::clone(&record.reservation);
    let state = allows(txn, &old)?;
    let moves = old.room.as_ref() != Some(room);
    if state == Status::InHouse && moves && old.departure <= book.business_date() {
        // Who should have left has no night to come for which another room could be his: the departure is changed first.
        return Err(Refusal::InvalidState { state }.into());
    }
    let before = Target::of(&old);
    let room_type_id = room_type.record.room_type.room_type.clone();
    let target = Target { pinned: Some(room.clone()), room_type: room_type_id, ..Target::of(&old) };
    if target == before {
        return Ok(Outcome::Changed(old));
    }
    if target.room_type != before.room_type {
        stay::occupancy(old.occupancy, room_type)?;
    }
    Ok(Outcome::Changed(place(txn, record, target, old.price.clone())?))
}

/// Held, confirmed or in house.
fn allows(ledger: &Ledger, old: &Reservation) -> Result<Status, Refusal> {
    let state = status(ledger, old);
    if state.is_live() { Ok(state) } else { Err(Refusal::InvalidState { state }) }
}

impl Target {
    /// What the stay is.
    fn of(stay: &Reservation) -> Target {
        Target {
            arrival: stay.arrival,
            departure: stay.departure,
            occupancy: stay.occupancy,
            room_type: stay.room_type.clone(),
            pinned: stay.room.clone().filter(|_| stay.room_pinned),
        }
    }
}

/// What is wrong with the change whatever is sold; the new price where nothing is. Only what changes is judged.
fn judge(book: &Book, old: &Reservation, before: &Target, target: &Target) -> Result<Price, Refusal> {
    let Target { arrival, departure, occupancy, .. } = *target;
    let today = book.business_date();
    // A room that the stay keeps may have been retired once its nights were over. Who is in house has had it.
    let room = match &target.pinned {
        Some(room) if old.status == Status::InHouse => book.room(room).ok(),
        pinned => pinned.as_ref().map(|room| book.room(room)).transpose()?,
    };
    stay::length(arrival, departure)?;
    if arrival != before.arrival {
        stay::not_in_past(arrival, today)?;
    }
    if departure != before.departure {
        // Nights that are gone can't be given back.
        if departure < today {
            return Err(Refusal::InvalidStay);
        }
        stay::within_horizon(departure, today)?;
    }
    let room_type = book.room_type(&target.room_type)?;
    let reprices = (&target.room_type, occupancy) != (&before.room_type, before.occupancy);
    if reprices {
        stay::occupancy(occupancy, room_type)?;
    }
    let quote = Quote { arrival, departure, occupancy, currency: old.price.currency };
    // One that was imported may be priced for more nights than it has.
    let had = |night: &Date| (before.arrival..before.departure).contains(night);
    let kept = |night: Date| old.price.on(night).filter(|_| had(&night) && (!reprices || night < today));
    let price = quote.price_keeping(room_type, room, kept).map_err(|nights| Refusal::NotPriced { nights })?;
    let was = Some((before.arrival, before.departure)).filter(|_| target.room_type == before.room_type);
    restriction::judge(room_type, Asked { today, arrival, departure, was })?;
    Ok(price)
}

/// Where a stay is put: its room, and the first night there if that is later than the arrival; and who moves for it.
struct Place {
    room: Option<RoomId>,
    room_from: Option<Date>,
    moves: Vec<Move>,
}

fn place(
    txn: &mut Txn<'_>,
    record: ReservationRecord,
    target: Target,
    price: Price,
) -> Result<Arc<Reservation>, Halt> {
    let old = Arc::clone(&record.reservation);
    if !planted(Bug::OwnNightsInTheWay) {
        step_aside(txn, &record)?;
    }
    let Place { room, room_from, moves } = find_place(txn.book(&old.property)?, &old, &target)?;
    plan::carry_out(txn, &moves)?;
    let slept = slept(&old, &target, room.as_ref(), txn.book(&old.property)?.business_date());
    let Target { arrival, departure, occupancy, room_type, pinned } = target;
    let new = change(txn, record, |reservation| {
        reservation.arrival = arrival;
        reservation.departure = departure;
        reservation.occupancy = occupancy;
        reservation.room_type = room_type;
        reservation.room_pinned = pinned.is_some();
        reservation.room = room;
        reservation.room_from = room_from;
        reservation.slept = slept;
        reservation.price = price;
    })?;
    give_left(txn, &old.property, &old, &new)?;
    plan::give_left(txn, &old.property, &moves)?;
    Ok(new)
}

/// Where the guest has slept, once he has gone to a place: the nights that are gone are those of the place where he was. Of who
/// is late they stay those of the type that he had, and need no room.
fn slept(old: &Reservation, target: &Target, room: Option<&RoomId>, today: Date) -> Option<Box<[Stretch]>> {
    if target.arrival != old.arrival {
        // It begins on the business date, or later.
        return None;
    }
    let (first, end) = (old.since(), today.min(old.departure));
    let was_there = old.status == Status::InHouse;
    let moves = old.room_type != target.room_type || (was_there && old.room.as_ref() != room);
    if !moves || first >= end {
        return old.slept.clone();
    }
    let mut slept = old.slept().to_vec();
    let had_from = if was_there { old.room_from.unwrap_or(first).clamp(first, end) } else { end };
    for (room, from, to) in [(None, first, had_from), (old.room.clone(), had_from, end)] {
        let stretch = Stretch { room_type: old.room_type.clone(), room, from, to };
        match slept.last_mut() {
            _ if from == to => {}
            Some(last) if (&last.room_type, &last.room) == (&stretch.room_type, &stretch.room) => {
                last.to = to
            }
            _ => slept.push(stretch),
        }
    }
    Some(slept.into())
}

/// Takes nothing for the time in which the rest is looked at without it.
fn step_aside(txn: &mut Txn<'_>, record: &ReservationRecord) -> Result<(), Halt> {
    let mut record = record.clone();
    let reservation = Arc::make_mut(&mut record.reservation);
    reservation.status = Status::Canceled;
    reservation.hold_expires_at = None;
    reservation.slept = None;
    Ok(txn.put(Record::Reservation(record))?)
}

/// The old stay has stepped aside.
fn find_place(book: &Book, old: &Reservation, target: &Target) -> Result<Place, Refusal> {
    let room_type = book.room_type(&target.room_type)?;
    let in_house = old.status == Status::InHouse;
    match target.pinned.as_ref().or(old.room.as_ref().filter(|_| in_house)) {
        Some(room) => place_in(book, room_type, room, old, target),
        None => plan_place(book, room_type, old, target),
    }
}

/// The first night for which a room is planned, if that is later than the arrival: nights that are gone need none.
fn later(book: &Book, target: &Target) -> Option<Date> {
    let today = book.business_date();
    (target.arrival < today).then_some(today)
}

/// The same for this room: nights that are gone stay those of the room that the stay had then.
fn room_from(book: &Book, room: &RoomId, old: &Reservation, target: &Target) -> Option<Date> {
    match &old.room {
        Some(own) if own == room && target.arrival == old.arrival => old.room_from,
        _ => later(book, target),
    }
}

/// In the room that is named, or in which the guest is.
fn place_in(
    book: &Book,
    room_type: &TypeBook,
    id: &RoomId,
    old: &Reservation,
    target: &Target,
) -> Result<Place, Refusal> {
    let room_from = room_from(book, id, old, target);
    let next = target.arrival.max(book.business_date());
    // Nights that are gone are asked for too, where the guest has stayed past his departure.
    let adds_gone = target.arrival == old.arrival && target.departure > old.departure;
    let asked = if adds_gone { next.min(old.departure) } else { next };
    if asked >= target.departure && old.room.as_ref() == Some(id) {
        // It has had its nights there, whatever the room became since.
        return Ok(Place { room: Some(id.clone()), room_from, moves: Vec::new() });
    }
    // The room of who is in house may have become one of another type, or none, once he had no night left there.
    let is_of_type = |room: &RoomBook| room.record.room.room_type == target.room_type;
    if asked < target.departure && !book.room(id).is_ok_and(is_of_type) {
        return Err(Refusal::RoomUnavailable { nights: asked.until(target.departure).collect() });
    }
    let stay = (room_from.unwrap_or(target.arrival), target.departure);
    let kept = block::kept_of(own_block(book, old), &target.room_type);
    let moves = clear(book, room_type, book.room(id)?, stay, kept)?;
    has_space(book, room_type, old, target)?;
    Ok(Place { room: Some(id.clone()), room_from, moves })
}

/// In any room of the type: the one that is planned, where that can stay so, or another.
fn plan_place(
    book: &Book,
    room_type: &TypeBook,
    old: &Reservation,
    target: &Target,
) -> Result<Place, Refusal> {
    let next = target.arrival.max(book.business_date());
    let block = own_block(book, old);
    let kept = block::kept_of(block, &target.room_type);
    if block.is_some() && kept == 0 && target.room_type != old.room_type && next < target.departure {
        // Only a room by name is an upgrade.
        let nights = next.until(target.departure).collect();
        return Err(Refusal::NoAvailability { nights, fragmented: false });
    }
    has_space(book, room_type, old, target)?;
    if let Some(place) = as_planned(book, old, target) {
        return Ok(place);
    }
    if next >= target.departure {
        // There is no night left for which another room could be planned.
        return Ok(Place { room: None, room_from: None, moves: Vec::new() });
    }
    match plan::choose(book, room_type, next, target.departure) {
        plan::Choice::Room(room, moves) => {
            Ok(Place { room: Some(room), room_from: later(book, target), moves })
        }
        plan::Choice::Overbooked => Ok(Place { room: None, room_from: None, moves: Vec::new() }),
        // It was sold these nights, and waits for a room as before.
        plan::Choice::Fragmented if waits_still(old, target) => {
            Ok(Place { room: None, room_from: None, moves: Vec::new() })
        }
        plan::Choice::Fragmented => Err(Refusal::NoAvailability { nights: Vec::new(), fragmented: true }),
    }
}

/// In the room that is planned, where the changed stay is of its type and finds it free.
fn as_planned(book: &Book, old: &Reservation, target: &Target) -> Option<Place> {
    let id = old.room.as_ref().filter(|_| target.room_type == old.room_type)?;
    let room = book.room(id).ok().filter(|room| room.record.room.room_type == target.room_type)?;
    let room_from = room_from(book, id, old, target);
    let (today, departure) = (book.business_date(), target.departure);
    let first = room_from.unwrap_or(target.arrival);
    // That the room was out of order on a night that is gone is no matter any more; that somebody was in it is.
    let is_closed =
        target.arrival.max(today) < departure && !room.closures(first.max(today), departure).is_empty();
    let is_free = first >= departure || (room.calendar.is_free(first, departure) && !is_closed);
    is_free.then(|| Place { room: Some(id.clone()), room_from, moves: Vec::new() })
}

/// Whether the stay has had no room, and asks for no night that it did not have.
fn waits_still(old: &Reservation, target: &Target) -> bool {
    let is_within = old.arrival <= target.arrival && target.departure <= old.departure;
    old.room.is_none() && target.room_type == old.room_type && is_within
}

/// The block from which the changed stay is taken too: its own, while that keeps rooms.
fn own_block<'a>(book: &'a Book, old: &Reservation) -> Option<&'a BlockBook> {
    let block = book.blocks.get(old.block.as_ref()?)?;
    block.takes().map(|_| &**block)
}

/// Who moves so that the room is free. Nights that are gone can't be cleared; that the room was out of order on one of them
/// is no matter any more.
fn clear(
    book: &Book,
    room_type: &TypeBook,
    room: &RoomBook,
    (from, to): (Date, Date),
    kept: u64,
) -> Result<Vec<Move>, Refusal> {
    let gone = room.calendar.taken(from, to.min(book.business_date()));
    if !gone.is_empty() {
        return Err(Refusal::RoomUnavailable { nights: room.taken(from, to) });
    }
    let nights = || plan::not_cleared(book, room_type, room, (from, to), kept);
    plan::clear(book, room_type, room, (from, to), kept)
        .ok_or_else(|| Refusal::RoomUnavailable { nights: nights() })
}

/// A stay that was taken from a block stays within its dates and rooms, and takes from it as long as that keeps rooms of its
/// type.
fn has_space(book: &Book, room_type: &TypeBook, old: &Reservation, target: &Target) -> Result<(), Refusal> {
    let first = target.arrival.max(book.business_date());
    let active = own_block(book, old);
    let kept = block::kept_of(active, &target.room_type);
    let nights = match (active, old.block.as_ref().and_then(|block| book.blocks.get(block))) {
        (Some(active), _) if kept > 0 => block::not_left(active, first, target.departure),
        (_, Some(block)) => {
            let nights = first.until(target.departure);
            nights.filter(|night| is_beyond(block, old, target, *night)).collect()
        }
        (_, None) => Vec::new(),
    };
    if !nights.is_empty() {
        return Err(Refusal::NoAvailability { nights, fragmented: false });
    }
    let nights: Vec<Date> =
        first.until(target.departure).filter(|night| room_type.is_full(*night, kept)).collect();
    if nights.is_empty() { Ok(()) } else { Err(Refusal::NoAvailability { nights, fragmented: false }) }
}

/// Whether the stay asks for a night that its block, which keeps none of the type for it, never had for it. What it had
/// before it keeps.
fn is_beyond(block: &BlockBook, old: &Reservation, target: &Target, night: Date) -> bool {
    let had = (old.arrival..old.departure).contains(&night);
    let had_as_it_is = had && old.room_type == target.room_type;
    (!had && !block.covers(night)) || (!had_as_it_is && block.is_picked_up(&target.room_type, night))
}

/// Offers the nights of the old room that the new stay leaves, or may now leave, to whom they help.
fn give_left(
    txn: &mut Txn<'_>,
    property: &PropertyId,
    old: &Reservation,
    new: &Reservation,
) -> Result<(), Halt> {
    let (Some(room), Some((from, to))) = (&old.room, old.room_nights()) else { return Ok(()) };
    let stays = old.room == new.room && old.room_nights() == new.room_nights();
    if stays && old.room_pinned <= new.room_pinned {
        return Ok(());
    }
    plan::give(txn, &[Freed::new(property, room, from, to)])
}
