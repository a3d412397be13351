//! What every state keeps, checked before a record is put: the last line behind the handlers, and the first before a
//! restored record.
//!
//! A record that fails here changes nothing. The rules of capacity hold from the business date on; nights before it
//! are history, and the rooms of today say nothing about them.

use super::book::{Book, RoomBook};
use super::command::RateTarget;
use super::date::Date;
use super::idempotency::KeyHolder;
use super::quarantine::Failure;
use super::rate::AMOUNT_MAX;
use super::record::{
    BlockRecord, OutOfOrderRecord, RateRecord, Record, ReservationRecord, RestrictionRecord, RoomRecord,
    RoomTypeRecord, WaitlistRecord,
};
use super::reservation::{Reservation, Status, Stretch, WaitlistStatus};
use super::state::Ledger;
use super::stay::NIGHTS_MAX;
use super::store::Slot;

/// When it is checked that nobody else has a reservation's rooms.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Rooms {
    Now,
    /// By the caller, for all reservations together: see [`Ledger::move_in`].
    Together,
}

pub fn record(ledger: &Ledger, record: &Record) -> Result<(), Failure> {
    key_is_free(ledger, record)?;
    beside_key(ledger, record, Rooms::Now)
}

/// All that is checked but for the idempotency key.
pub fn beside_key(ledger: &Ledger, record: &Record, rooms: Rooms) -> Result<(), Failure> {
    match record {
        Record::Property(_) | Record::Outcome(_) | Record::Quarantined(_) => Ok(()),
        Record::RoomType(record) => room_type(ledger, record),
        Record::Room(record) => room(ledger, record),
        Record::Rate(record) => rate(ledger, record),
        Record::OutOfOrder(record) => out_of_order(ledger, record),
        Record::Restriction(record) => restriction(ledger, record),
        Record::Block(record) => block(ledger, record),
        Record::Waitlist(record) => waitlist(ledger, record),
        Record::Reservation(record) => reservation(ledger, record, rooms),
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
    if *old_type == record.room.room_type && record.retired.is_none() {
        return Ok(());
    }
    require(room.out_of_order.is_empty())?;
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

fn restriction(ledger: &Ledger, record: &RestrictionRecord) -> Result<(), Failure> {
    let RestrictionRecord { property, room_type, from, to, rules: _ } = record;
    let room_type = book(ledger, property)?.room_type(room_type).map_err(|_| Failure::Invariant)?;
    require(from < to)?;
    require(room_type.rules.overlapping(*from, *to).iter().all(|segment| segment.from == *from))
}

/// What is picked up from the business date on is of the block, and its type has space for the rest.
fn block(ledger: &Ledger, record: &BlockRecord) -> Result<(), Failure> {
    let block = &*record.block;
    let book = book(ledger, &block.property)?;
    let room_type = book.room_type(&block.room_type).map_err(|_| Failure::Invariant)?;
    require(block.from < block.to && block.from.nights_to(block.to) <= super::block::NIGHTS_MAX)?;
    let today = book.business_date();
    let old = book.blocks.get(&block.block);
    let picked_up = old.map(|old| old.picked_up_of(&block.room_type));
    let picked_up_on = |night: Date| picked_up.and_then(|nights| nights.get(&night)).copied().unwrap_or(0);
    let covers = |night: &Date| (block.from..block.to).contains(night) && picked_up_on(*night) <= block.rooms;
    if !record.is_active() {
        return Ok(());
    }
    require(picked_up.is_none_or(|nights| nights.range(today..).all(|(night, _)| covers(night))))?;
    let was_here = old.filter(|old| old.takes().is_some_and(|old| old.room_type == block.room_type));
    let capacity = room_type.capacity();
    let mut nights = block.from.max(today).until(block.to);
    require(nights.all(|night| {
        let before = was_here.map_or(0, |old| u64::from(old.left(night)));
        let others = room_type.nights.get(night).taken().saturating_sub(before);
        let left = u64::from(block.rooms.saturating_sub(picked_up_on(night)));
        left == 0 || others + left <= capacity
    }))
}

/// An offer is a reservation of the same property.
fn waitlist(ledger: &Ledger, record: &WaitlistRecord) -> Result<(), Failure> {
    let entry = &*record.entry;
    require(book(ledger, &entry.property)?.room_types.contains_key(&entry.room_type))?;
    require((1..=NIGHTS_MAX).contains(&entry.arrival.nights_to(entry.departure)))?;
    require(entry.status != WaitlistStatus::Waiting || entry.reservation.is_none())?;
    require(
        !matches!(entry.status, WaitlistStatus::Offered | WaitlistStatus::Booked)
            || entry.reservation.is_some(),
    )?;
    let Some(offered) = entry.reservation else { return Ok(()) };
    let made = ledger.find(offered).map_err(|_| Failure::Invariant)?;
    require(made.reservation.property == entry.property)?;
    let holder = ledger.offers.get(&offered);
    require(holder.is_none_or(|(_, id)| *id == entry.id))
}

/// Nobody has the room from the business date on, and its type can do without it.
fn out_of_order(ledger: &Ledger, record: &OutOfOrderRecord) -> Result<(), Failure> {
    let OutOfOrderRecord { property, room, from, to, .. } = record;
    let book = book(ledger, property)?;
    let room = book.room(room).map_err(|_| Failure::Invariant)?;
    require(from < to)?;
    let old = room.closures(*from, *to);
    require(old.iter().all(|other| other.from == *from && other.to <= *to))?;
    let first = book.business_date().max(*from);
    require(first >= *to || room.calendar.is_free(first, *to))?;
    let room_type = book.room_type(&room.record.room.room_type).map_err(|_| Failure::Invariant)?;
    let own = |night: Date| old.iter().any(|other| (other.from..other.to).contains(&night));
    let capacity = room_type.capacity();
    let fits = |night: Date| own(night) || room_type.nights.get(night).taken() < capacity;
    require(first.until(*to).all(fits))
}

fn reservation(ledger: &Ledger, record: &ReservationRecord, rooms: Rooms) -> Result<(), Failure> {
    let new = &*record.reservation;
    let book = book(ledger, &new.property)?;
    let own = ledger.reservations_by_id.get(&new.id).copied();
    // What has rooms that are put together with all others' can't be put anew.
    require(rooms == Rooms::Now || own.is_none())?;
    let old = own.map(|slot| ledger.at(slot).reservation);
    let old = old.as_deref();
    require(old.is_none_or(|old| old.property == new.property))?;
    let place = (new.booking_id, record.index());
    let booked = ledger.bookings.get(&place).copied();
    require(booked == own)?;
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
    // No more is read of what is packed.
    let made = record.key.as_ref().and_then(|key| key.original.as_deref());
    let prices = [Some(new), made].into_iter().flatten();
    require(prices.map(|stay| &stay.price).all(|price| price.amounts.len() <= NIGHTS_MAX as usize))?;
    require(book.room_types.contains_key(&new.room_type))?;
    slept(book, new, own, rooms)?;
    let room = new.room.as_ref().map(|room| book.room_ever(room).ok_or(Failure::Invariant)).transpose()?;
    if old.is_some_and(|old| same_claim(old, new)) {
        return Ok(());
    }
    if let (Some(room), Some(nights), Rooms::Now) = (room, new.room_nights(), rooms) {
        room_is_free(book, room, own, nights)?;
    }
    type_has_space(book, old, new)
}

/// The nights are gone, come one after the other from the arrival on, and nobody else had the room. Only who is or was in house
/// had one.
fn slept(book: &Book, new: &Reservation, own: Option<Slot>, rooms: Rooms) -> Result<(), Failure> {
    let Some(slept) = &new.slept else { return Ok(()) };
    require(!matches!(new.status, Status::Canceled | Status::Expired) && !slept.is_empty())?;
    let was_there = matches!(new.status, Status::InHouse | Status::CheckedOut);
    let mut next = new.arrival;
    for Stretch { room_type, room, from, to } in slept {
        require(*from == next && from < to && book.room_types.contains_key(room_type))?;
        require(room.is_none() || was_there)?;
        let room = room.as_ref().map(|room| book.room_ever(room).ok_or(Failure::Invariant)).transpose()?;
        if let (Some(room), Rooms::Now) = (room, rooms) {
            room_is_free(book, room, own, (*from, *to))?;
        }
        next = *to;
    }
    require(next <= new.released_from.unwrap_or(new.departure) && next <= book.business_date())
}

/// The same nights of the same type, and of the same room.
fn same_claim(old: &Reservation, new: &Reservation) -> bool {
    (&old.room_type, old.nights()) == (&new.room_type, new.nights())
        && (&old.room, old.room_nights()) == (&new.room, new.room_nights())
}

/// Nobody but the reservation itself has the room on any of the nights.
pub fn room_is_free(
    book: &Book,
    room: &RoomBook,
    own: Option<Slot>,
    (from, to): (Date, Date),
) -> Result<(), Failure> {
    // In a retired room there are only nights that are gone.
    require(room.is_in_service() || to <= book.business_date())?;
    require(room.calendar.is_free_for(own, from, to))?;
    // A room that was out of order on nights that are gone is no harm: the record may have come later.
    let first = from.max(book.business_date());
    require(first >= to || room.closures(first, to).is_empty())
}

fn type_has_space(book: &Book, old: Option<&Reservation>, new: &Reservation) -> Result<(), Failure> {
    let Some((from, to)) = new.nights() else { return Ok(()) };
    let room_type = book.room_type(&new.room_type).map_err(|_| Failure::Invariant)?;
    let has =
        |stay: &Reservation, night: Date| stay.nights().is_some_and(|(from, to)| (from..to).contains(&night));
    let block = new.block.as_ref().and_then(|block| book.blocks.get(block));
    let old_block = old.and_then(|old| old.block.as_ref());
    require(old.is_none() || old_block == new.block.as_ref())?;
    let own = |night: Date| old.is_some_and(|old| old.room_type == new.room_type && has(old, night));
    // What the stay takes from its block is no longer kept by that; one that is upgraded to another type takes nothing.
    let taken = block.filter(|block| block.takes().is_some_and(|block| block.room_type == new.room_type));
    let from = from.max(book.business_date());
    if taken.is_none() && room_type.has_space(from, to) {
        return Ok(());
    }
    require(from.until(to).all(|night| {
        let picks_up = taken.filter(|_| !own(night));
        let free = u64::from(own(night) || picks_up.is_some());
        let has_left = picks_up.is_none_or(|block| block.left(night) > 0);
        has_left && room_type.nights.get(night).taken() < room_type.capacity() + free
    }))
}
