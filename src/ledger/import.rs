//! Taking over reservations that another ledger made: at the price they were sold at, and as they stand.
//!
//! What rules the making of a reservation (restrictions, today's prices, arrivals in the past, the largest occupancy) was
//! judged by whoever made it. What every state keeps is judged here: from the business date on no night is sold twice.

use std::sync::Arc;

use super::block::{self, BlockBook};
use super::book::{Book, TypeBook};
use super::command::{ImportBooking, ImportedStay};
use super::date::Date;
use super::id::{IdempotencyKey, RoomId};
use super::outcome::{Outcome, Refusal};
use super::plan::Move;
use super::rate::AMOUNT_MAX;
use super::record::Member;
use super::reservation::{Reservation, Status};
use super::state::Ledger;
use super::stay::{self, HOLD_SECONDS_MAX, NIGHTS_MAX};
use super::txn::{Halt, Txn};
use super::{group, plan, reserve};

/// The reservations are judged and taken over one after the other; the first that is refused is named.
pub fn import(
    txn: &mut Txn<'_>,
    key: Option<&IdempotencyKey>,
    command: &ImportBooking,
) -> Result<Outcome, Halt> {
    txn.book(&command.property)?;
    let of = command.stays.len() as u32;
    for (index, stay) in (0..of).zip(&command.stays) {
        let decided = decide(txn, command, stay);
        let of_member = |refusal| Refusal::Member { index, refusal: Box::new(refusal) };
        let (reservation, moves) = decided.map_err(of_member)?;
        reserve::put(txn, key, Arc::new(reservation), &moves, Some(Member { index, of }))?;
    }
    Ok(Outcome::Booked(group::shown(txn, command.booking_id)))
}

/// The reservation and who moves for it, or the first reason against it in the contract's order.
fn decide(
    ledger: &Ledger,
    command: &ImportBooking,
    stay: &ImportedStay,
) -> Result<(Reservation, Vec<Move>), Refusal> {
    let book = ledger.book(&command.property)?;
    book.room_type(&stay.room_type)?;
    stay.room.as_ref().map(|room| book.room(room)).transpose()?;
    let block = stay.block.as_ref().map(|block| book.blocks.get(block).ok_or(Refusal::BlockNotFound));
    let block = block.transpose()?.map(|block| &**block);
    state_is_possible(book, stay)?;
    judge(ledger, book, stay)?;
    let mut reservation = Reservation {
        id: stay.id,
        booking_id: command.booking_id,
        property: command.property.clone(),
        room_type: stay.room_type.clone(),
        room: stay.room.clone(),
        room_pinned: stay.room.is_some() && stay.room_pinned,
        guest: command.guest.clone(),
        arrival: stay.arrival,
        departure: stay.departure,
        occupancy: stay.occupancy,
        status: stay.status,
        hold_expires_at: stay.hold_expires_at.filter(|_| stay.status == Status::Held),
        price: stay.price.clone(),
        block: stay.block.clone(),
        external_ref: stay.external_ref.clone(),
        room_from: None,
        // Which of its nights went to others is not known; the nights are past.
        released_from: (stay.status == Status::NoShow).then_some(stay.arrival),
        slept: None,
        revision: 1,
        lsn: ledger.lsn,
        created_at: ledger.stamp,
        updated_at: ledger.stamp,
    };
    let moves = place(book, block, &mut reservation)?;
    Ok((reservation, moves))
}

/// Whether a stay can stand so on the business date.
fn state_is_possible(book: &Book, stay: &ImportedStay) -> Result<(), Refusal> {
    let today = book.business_date();
    let possible = match stay.status {
        Status::Held => stay.hold_expires_at.is_some(),
        Status::Confirmed | Status::Canceled | Status::Expired => true,
        Status::InHouse => stay.arrival <= today && stay.room.is_some(),
        Status::CheckedOut => stay.departure <= today,
        Status::NoShow => stay.arrival <= today,
    };
    if possible { Ok(()) } else { Err(Refusal::InvalidState { state: stay.status }) }
}

/// What is wrong with the stay whatever is sold.
fn judge(ledger: &Ledger, book: &Book, it: &ImportedStay) -> Result<(), Refusal> {
    // Who checked out on the day of arrival has had no night.
    if it.status != Status::CheckedOut || it.departure != it.arrival {
        stay::length(it.arrival, it.departure)?;
    }
    if it.price.amounts.len() > NIGHTS_MAX as usize {
        return Err(Refusal::StayTooLong);
    }
    if it.status.is_live() {
        stay::within_horizon(it.departure, book.business_date())?;
    }
    if it.occupancy == 0 {
        let max_occupancy = book.room_type(&it.room_type)?.record.room_type.max_occupancy;
        return Err(Refusal::OccupancyInvalid { max_occupancy });
    }
    let latest = ledger.stamp.0.saturating_add(HOLD_SECONDS_MAX * 1_000);
    if it.hold_expires_at.is_some_and(|end| end.0 > latest) {
        return Err(Refusal::HoldTtlInvalid);
    }
    let unpriced: Vec<Date> =
        it.arrival.until(it.departure).filter(|night| it.price.on(*night).is_none()).collect();
    if !unpriced.is_empty() {
        return Err(Refusal::NotPriced { nights: unpriced });
    }
    if !it.currency_known {
        return Err(Refusal::InvalidCurrency);
    }
    if !it.price.amounts.iter().all(|amount| (0..=AMOUNT_MAX).contains(amount)) {
        return Err(Refusal::InvalidAmount);
    }
    Ok(())
}

/// Finds the stay its nights and its room, and who moves for it. It is taken from its block while that keeps rooms.
fn place(book: &Book, block: Option<&BlockBook>, stay: &mut Reservation) -> Result<Vec<Move>, Refusal> {
    let Some((from, to)) = stay.nights() else { return Ok(Vec::new()) };
    let first = from.max(book.business_date());
    let taken_from = block.filter(|block| block.takes().is_some());
    let is_planned = matches!(stay.status, Status::Held | Status::Confirmed) && !stay.room_pinned;
    let mut moves = Vec::new();
    if is_planned {
        (stay.room, stay.room_from) = (None, None);
    } else if let Some(id) = stay.room.clone() {
        let room = book.room(&id)?;
        if stay.status.is_live() {
            // A room of another type is an upgrade, and counts there.
            stay.room_type = room.record.room.room_type.clone();
        }
        if first < to {
            let room_type = book.room_type(&room.record.room.room_type)?;
            let kept = block::kept_of(taken_from, &room.record.room.room_type);
            moves = plan::clear(book, room_type, room, (first, to), kept).ok_or_else(|| {
                let nights = plan::not_cleared(book, room_type, room, (first, to), kept);
                Refusal::RoomUnavailable { nights }
            })?;
        }
        // Nights that are gone are not argued about: who had the room then is known to others.
        if from < first && !room.calendar.is_free(from, to.min(first)) {
            stay.room_from = Some(first.min(to));
        }
    }
    let room_type = book.room_type(&stay.room_type)?;
    let kept = block::kept_of(taken_from, &stay.room_type);
    let mut none_left = match block {
        Some(block) if kept > 0 => block::not_left(block, first, to),
        // Who was upgraded keeps what he had, though the block moved since.
        Some(block) if block.is_of(&stay.room_type) => block::beyond(block, &stay.room_type, first, to),
        Some(_) | None => Vec::new(),
    };
    if none_left.is_empty() {
        none_left = first.until(to).filter(|night| room_type.is_full(*night, kept)).collect();
    }
    if !none_left.is_empty() {
        return Err(Refusal::NoAvailability { nights: none_left, fragmented: false });
    }
    if is_planned && first < to {
        (stay.room, moves) = planned(book, room_type, first, to);
        stay.room_from = Some(first).filter(|_| stay.room.is_some() && from < first);
    }
    Ok(moves)
}

/// The room that a stay by type is planned for. It has been sold, so that where no room fits it waits for one.
fn planned(book: &Book, room_type: &TypeBook, from: Date, to: Date) -> (Option<RoomId>, Vec<Move>) {
    match plan::choose(book, room_type, from, to) {
        plan::Choice::Room(room, moves) => (Some(room), moves),
        plan::Choice::Overbooked | plan::Choice::Fragmented => (None, Vec::new()),
    }
}
