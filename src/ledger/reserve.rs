//! Making a reservation.

use std::sync::Arc;

use super::block::{self, BlockBook};
use super::book::{Book, RoomBook, TypeBook};
use super::command::{Reserve, Wanted};
use super::id::{IdempotencyKey, RoomId, Timestamp};
use super::idempotency::created_under;
use super::outcome::{Outcome, Refusal};
use super::plan::{self, Move};
use super::quarantine::Failure;
use super::rate::Quote;
use super::record::{Member, Record, ReservationRecord};
use super::reservation::{Price, Reservation, Status};
use super::restriction::{self, Asked};
use super::state::Ledger;
use super::stay;
use super::txn::{Halt, Txn};
use crate::planted::{Bug, drawn, planted};

pub fn reserve(txn: &mut Txn<'_>, key: Option<&IdempotencyKey>, command: &Reserve) -> Result<Outcome, Halt> {
    Ok(Outcome::Reserved(make(txn, key, command, None)?))
}

/// Makes one reservation, by itself or as a member of its booking.
pub fn make(
    txn: &mut Txn<'_>,
    key: Option<&IdempotencyKey>,
    command: &Reserve,
    member: Option<Member>,
) -> Result<Arc<Reservation>, Halt> {
    let (reservation, moves) = decide(txn, command)?;
    put(txn, key, reservation, &moves, member)
}

/// Puts a reservation that was decided on, once the others have moved for it.
pub fn put(
    txn: &mut Txn<'_>,
    key: Option<&IdempotencyKey>,
    reservation: Arc<Reservation>,
    moves: &[Move],
    member: Option<Member>,
) -> Result<Arc<Reservation>, Halt> {
    let place = (reservation.booking_id, member.map_or(0, |member| member.index));
    if txn.reservations_by_id.contains(&reservation.id) || txn.bookings.contains(&place) {
        return Err(Failure::IdTaken.into());
    }
    let record = ReservationRecord {
        reservation: Arc::clone(&reservation),
        created_lsn: reservation.lsn,
        key: created_under(key),
        moved_lsn: None,
        member,
    };
    plan::carry_out(txn, moves)?;
    txn.put(Record::Reservation(record))?;
    plan::give_left(txn, &reservation.property, moves)?;
    Ok(reservation)
}

/// A request against which nothing stands whatever is sold, with what it names.
struct Judged<'a> {
    book: &'a Book,
    room: Option<&'a RoomBook>,
    room_type: &'a TypeBook,
    block: Option<&'a BlockBook>,
    price: Price,
}

fn judged<'a>(ledger: &'a Ledger, command: &Reserve) -> Result<Judged<'a>, Refusal> {
    let book = ledger.book(&command.property)?;
    let (room, room_type) = find(book, &command.wanted)?;
    let block = block::find(book, command.block.as_ref())?;
    let price = judge(book, room, room_type, command)?;
    Ok(Judged { book, room, room_type, block, price })
}

/// What stands against the request whatever is sold.
pub fn stands_against(ledger: &Ledger, command: &Reserve) -> Option<Refusal> {
    judged(ledger, command).err()
}

/// The reservation and who moves for it, or the first reason against it in the contract's order.
fn decide(ledger: &Ledger, command: &Reserve) -> Result<(Arc<Reservation>, Vec<Move>), Refusal> {
    let Judged { book, room, room_type, block, price } = judged(ledger, command)?;
    let (planned, moves) = match room {
        Some(room) => {
            let moves = clear(book, room_type, room, command)?;
            type_has_space(room_type, block, command)?;
            (Some(room.record.room.room.clone()), moves)
        }
        None => plan_room(book, room_type, block, command)?,
    };
    let total = price.total();
    if command.expected_total.is_some_and(|expected| expected != total) {
        return Err(Refusal::PriceChanged { total });
    }
    let second_ms = if planted(Bug::HoldCutShort) { 900 } else { 1_000 };
    let held_until = command.hold_seconds.map(|seconds| Timestamp(ledger.stamp.0 + seconds * second_ms));
    let reservation = Arc::new(Reservation {
        id: command.id,
        booking_id: command.booking_id,
        property: book.record.property.property.clone(),
        room_type: room_type.record.room_type.room_type.clone(),
        room_pinned: room.is_some(),
        room: planned,
        guest: command.guest.clone(),
        arrival: command.arrival,
        departure: command.departure,
        occupancy: command.occupancy,
        status: if held_until.is_some() { Status::Held } else { Status::Confirmed },
        hold_expires_at: held_until,
        price,
        block: command.block.clone(),
        external_ref: command.external_ref.clone(),
        room_from: None,
        released_from: None,
        slept: None,
        revision: 1,
        lsn: ledger.lsn,
        created_at: ledger.stamp,
        updated_at: ledger.stamp,
    });
    Ok((reservation, moves))
}

fn find<'a>(book: &'a Book, wanted: &Wanted) -> Result<(Option<&'a RoomBook>, &'a TypeBook), Refusal> {
    match wanted {
        Wanted::Room(room) => {
            let room = book.room(room)?;
            Ok((Some(room), book.room_type(&room.record.room.room_type)?))
        }
        Wanted::RoomType(room_type) => Ok((None, book.room_type(room_type)?)),
    }
}

/// What is wrong with the request whatever is sold; the price where nothing is.
fn judge(
    book: &Book,
    room: Option<&RoomBook>,
    room_type: &TypeBook,
    command: &Reserve,
) -> Result<Price, Refusal> {
    let Reserve { arrival, departure, occupancy, .. } = *command;
    stay::length(arrival, departure)?;
    stay::not_in_past(arrival, book.business_date())?;
    stay::within_horizon(departure, book.business_date())?;
    stay::occupancy(occupancy, room_type)?;
    stay::hold(command.hold_seconds)?;
    // A currency that does not exist has no prices either, but that is not what the caller got wrong.
    if !command.currency_known {
        return Err(Refusal::InvalidCurrency);
    }
    let currency = command.currency.unwrap_or(book.record.property.currency);
    let quote = Quote { arrival, departure, occupancy, currency };
    let price = quote.price(room_type, room).map_err(|nights| Refusal::NotPriced { nights })?;
    if command.expected_total.is_some_and(|total| total < 0) {
        return Err(Refusal::InvalidAmount);
    }
    restriction::judge(room_type, Asked { today: book.business_date(), arrival, departure, was: None })?;
    Ok(price)
}

/// Who moves so that the room is free.
fn clear(
    book: &Book,
    room_type: &TypeBook,
    room: &RoomBook,
    command: &Reserve,
) -> Result<Vec<Move>, Refusal> {
    let stay = (command.arrival, command.departure);
    // A block keeps a room of each of its nights for its pick-ups; whether there is one left is looked at behind this.
    let kept = u64::from(command.block.is_some());
    plan::clear(book, room_type, room, stay, kept).ok_or_else(|| Refusal::RoomUnavailable {
        nights: plan::not_cleared(book, room_type, room, stay, kept),
    })
}

/// A stay from a block has what that keeps, any other what nobody has.
fn type_has_space(room_type: &TypeBook, block: Option<&BlockBook>, command: &Reserve) -> Result<(), Refusal> {
    let Reserve { arrival, departure, .. } = *command;
    let nights = match block {
        Some(block) => block::not_had(block, &room_type.record.room_type.room_type, arrival, departure),
        None => room_type.full(arrival, departure),
    };
    if nights.is_empty() { Ok(()) } else { Err(Refusal::NoAvailability { nights, fragmented: false }) }
}

/// The room that a stay by type is planned for, and who moves for it; no room where it is overbooked.
fn plan_room(
    book: &Book,
    room_type: &TypeBook,
    block: Option<&BlockBook>,
    command: &Reserve,
) -> Result<(Option<RoomId>, Vec<Move>), Refusal> {
    type_has_space(room_type, block, command)?;
    if planted(Bug::RoomByChance) && drawn().is_multiple_of(2) {
        let free = |room: &&RoomBook| room.is_free(command.arrival, command.departure);
        let chosen = book.rooms_of(room_type).filter(free).last();
        return Ok((chosen.map(|room| room.record.room.room.clone()), Vec::new()));
    }
    match plan::choose(book, room_type, command.arrival, command.departure) {
        plan::Choice::Room(room, moves) => Ok((Some(room), moves)),
        plan::Choice::Overbooked => Ok((None, Vec::new())),
        plan::Choice::Fragmented => Err(Refusal::NoAvailability { nights: Vec::new(), fragmented: true }),
    }
}
