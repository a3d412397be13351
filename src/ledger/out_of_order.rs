//! Rooms that can't be sold for a time.
//!
//! A stay by type that was planned for the room moves to another; a stay that has the room by name, or is in it, is in
//! the way.

use std::sync::Arc;

use super::book::Book;
use super::command::{EndOutOfOrder, PutOutOfOrder};
use super::date::Date;
use super::id::{PropertyId, RoomId};
use super::outcome::{Outcome, Refusal};
use super::plan::{self, Freed, Move};
use super::record::{OutOfOrderRecord, Record, RecordKey};
use super::txn::{Halt, Txn};

/// Ranges in which one room may be out of order: retiring it takes all of them away by one command.
const RANGES_MAX: usize = 10_000;

pub fn put(txn: &mut Txn<'_>, command: &PutOutOfOrder) -> Result<Outcome, Halt> {
    let PutOutOfOrder { property, room, from, to, reason } = command;
    txn.book(property)?.room(room)?;
    if from >= to {
        return Err(Refusal::InvalidStay.into());
    }
    let before = ranges(txn.book(property)?, room)?;
    clear(txn, property, room, *from, *to)?;
    may_be(before, ranges(txn.book(property)?, room)? + 1)?;
    let moves = move_away(txn.book(property)?, room, *from, *to)?;
    plan::carry_out(txn, &moves)?;
    let (property, room, reason) = (property.clone(), room.clone(), reason.clone());
    let record = Arc::new(OutOfOrderRecord { property, room, from: *from, to: *to, reason });
    txn.put(Record::OutOfOrder(Arc::clone(&record)))?;
    plan::give_left(txn, &record.property, &moves)?;
    Ok(Outcome::OutOfOrder(record))
}

pub fn end(txn: &mut Txn<'_>, command: &EndOutOfOrder) -> Result<Outcome, Halt> {
    let EndOutOfOrder { property, room, from, to } = command;
    txn.book(property)?.room(room)?;
    if from >= to {
        return Err(Refusal::InvalidStay.into());
    }
    let before = ranges(txn.book(property)?, room)?;
    clear(txn, property, room, *from, *to)?;
    may_be(before, ranges(txn.book(property)?, room)?)?;
    plan::give(txn, &[Freed::new(property, room, *from, *to)])?;
    Ok(Outcome::Removed)
}

fn ranges(book: &Book, room: &RoomId) -> Result<usize, Refusal> {
    Ok(book.room(room)?.out_of_order.len())
}

/// Whether a room that was out of order in `before` ranges may be so in `after`.
fn may_be(before: usize, after: usize) -> Result<(), Refusal> {
    if after > RANGES_MAX && after > before { Err(Refusal::TooManyRanges) } else { Ok(()) }
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

/// Who has to move; else the nights on which somebody can't. Nights before the business date are gone.
fn move_away(book: &Book, room: &RoomId, from: Date, to: Date) -> Result<Vec<Move>, Refusal> {
    let room = book.room(room)?;
    let room_type = book.room_type(&room.record.room.room_type)?;
    let from = from.max(book.business_date());
    let mut nights = room_type.full(from, to);
    match plan::clear(book, room_type, room, (from, to), 0) {
        Some(moves) if nights.is_empty() => return Ok(moves),
        Some(_) => {}
        None => nights.extend(plan::not_cleared(book, room_type, room, (from, to), 0)),
    }
    nights.sort_unstable();
    nights.dedup();
    Err(Refusal::CapacityBelowSold { nights })
}
