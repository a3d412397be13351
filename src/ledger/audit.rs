//! The invariants of the whole ledger, recomputed from the records alone in the plainest way.
//!
//! Shares no code with what keeps them from command to command, so that a defect there shows here.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::block::BlockBook;
use super::book::{Book, RoomBook};
use super::calendar::NightCount;
use super::date::Date;
use super::digest::digest_of;
use super::id::{BlockId, Lsn, PropertyId, ReservationId, RoomId, RoomTypeId, Timestamp, WaitlistId};
use super::idempotency::KeyHolder;
use super::property::{Block, BlockStatus, BusinessDateMode};
use super::record::{BlockRecord, Record, RecordCounts, RecordKey};
use super::reservation::{Reservation, Status, WaitlistStatus};
use super::state::Ledger;

/// The first rule that a state was found to break.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Violation {
    #[error("room {room} of {property} is sold twice on {night}")]
    SoldTwice { property: PropertyId, room: RoomId, night: Date },
    #[error("room {room} of {property} is sold on {night}, when it is out of order")]
    SoldOutOfOrder { property: PropertyId, room: RoomId, night: Date },
    #[error(
        "{room_type} of {property} has {stays} stays and rooms out of order on {night}, and space for {capacity}"
    )]
    OverCapacity { property: PropertyId, room_type: RoomTypeId, night: Date, stays: u64, capacity: u64 },
    #[error("{index} is not what the records say: {detail}")]
    Index { index: &'static str, detail: String },
}

fn differs(index: &'static str, detail: impl std::fmt::Debug) -> Violation {
    Violation::Index { index, detail: format!("{detail:?}") }
}

fn require(holds: bool, index: &'static str, detail: impl std::fmt::Debug) -> Result<(), Violation> {
    if holds { Ok(()) } else { Err(differs(index, detail)) }
}

/// A stay as the records tell it: `[arrival, departure)` of a reservation.
type Stay = (Date, Date, ReservationId);

/// What one property's records say about its nights.
#[derive(Default)]
struct Nights {
    by_room: BTreeMap<RoomId, Vec<Stay>>,
    by_type: BTreeMap<(RoomTypeId, Date), NightCount>,
    roomless: BTreeSet<(RoomTypeId, Date, Lsn, ReservationId)>,
    reservations: BTreeSet<ReservationId>,
    confirmed: BTreeSet<(Date, ReservationId)>,
    in_house: BTreeSet<(RoomId, ReservationId)>,
    picked_up: BTreeMap<(BlockId, RoomTypeId), BTreeMap<Date, u32>>,
}

impl Ledger {
    /// Recomputes both capacity rules for every night, every index and the state hash. Takes time and memory in
    /// proportion to the state.
    pub fn audit(&self) -> Result<(), Violation> {
        self.audit_records()?;
        let mut nights: BTreeMap<PropertyId, Nights> = BTreeMap::new();
        let mut due = BTreeSet::new();
        for (slot, record) in self.reservations.iter().map(|(slot, packed)| (slot, packed.unpack())) {
            let reservation = &*record.reservation;
            let indexed = self.reservations_by_id.get(&reservation.id);
            require(indexed == Some(&slot), "reservations by id", reservation.id)?;
            let place = (reservation.booking_id, record.index());
            require(self.bookings.get(&place) == Some(&slot), "reservations by booking", place)?;
            nights.entry(reservation.property.clone()).or_default().add(reservation, record.created_lsn);
            if let (Status::Held, Some(end)) = (reservation.status, reservation.hold_expires_at) {
                due.insert((end, reservation.id));
            }
        }
        let count = self.reservations.iter().count();
        require(count == self.reservations_by_id.len(), "reservations by id", count)?;
        require(count == self.bookings.len(), "reservations by booking", count)?;
        let indexed: BTreeSet<(Timestamp, ReservationId)> = self.due.iter().map(|(key, ())| *key).collect();
        require(indexed == due, "holds by end", indexed.symmetric_difference(&due).next())?;
        for (property, book) in self.books.iter() {
            let audited = book.record.auditing.is_some();
            require(self.audits.contains(property) == audited, "night audits", property)?;
            audit_releases(self, property, book)?;
            audit_waitlist(self, property, book)?;
            let mut nights = nights.remove(property).unwrap_or_default();
            nights.close(book);
            audit_book(self, property, book, &nights)?;
        }
        let unknown = nights.keys().next();
        require(unknown.is_none(), "reservations by property", unknown)
    }

    /// The sum, the counts, the keys and the locations.
    fn audit_records(&self) -> Result<(), Violation> {
        let mut sum = 0u128;
        let mut counts = RecordCounts::default();
        let mut keys = BTreeMap::new();
        let mut locations = BTreeSet::new();
        let mut seen = BTreeSet::new();
        for record in self.records() {
            sum = sum.wrapping_add(digest_of(&record));
            let key = record.key();
            *counts.of(&record) += 1;
            if let Some(digest) = record.key_digest() {
                let taken = keys.insert(digest, KeyHolder::of(&record));
                require(taken.is_none(), "idempotency keys", &key)?;
            }
            if let Record::Property(record) = &record {
                let property = &record.property;
                let location = property.location.to_lowercase().to_uppercase().to_lowercase();
                locations.insert((Arc::from(location), property.property.clone()));
            }
            // Reservations are found apart from their index by the caller; the others are few enough to compare.
            if !matches!(key, RecordKey::Reservation(_)) {
                require(!seen.contains(&key), "records", &key)?;
                seen.insert(key);
            }
        }
        require(sum == self.sum, "state hash", (sum, self.sum))?;
        require(counts == self.counts, "record counts", (counts, self.counts))?;
        let is_kept = |(digest, holder): (&u128, &KeyHolder)| self.keys.get(digest) == Some(holder);
        let all_kept = keys.len() == self.keys.len() && keys.iter().all(is_kept);
        require(all_kept, "idempotency keys", keys.len())?;
        let indexed = self.locations.iter().map(|(key, ())| key);
        require(locations.iter().eq(indexed), "locations", locations.len())
    }
}

impl Nights {
    /// Counts the rooms that are out of order, and what is left of blocks.
    fn close(&mut self, book: &Book) {
        for (_, slot) in book.rooms_by_id.iter() {
            let room = book.room_at(*slot);
            for closure in &room.out_of_order {
                for night in closure.from.until(closure.to) {
                    let key = (room.record.room.room_type.clone(), night);
                    self.by_type.entry(key).or_default().out_of_order += 1;
                }
            }
        }
        for (id, block) in book.blocks.iter() {
            let Some(record) = block.record.as_ref() else { continue };
            if record.block.status == BlockStatus::Definite && !record.released {
                self.keep(id, &record.block);
            }
        }
    }

    /// Counts what is left of a block.
    fn keep(&mut self, id: &BlockId, block: &Block) {
        let counts = self.picked_up.get(&(id.clone(), block.room_type.clone()));
        for night in block.from.until(block.to) {
            let picked_up = counts.and_then(|nights| nights.get(&night)).copied().unwrap_or(0);
            if picked_up < block.rooms {
                let key = (block.room_type.clone(), night);
                self.by_type.entry(key).or_default().blocked += u64::from(block.rooms - picked_up);
            }
        }
    }

    fn add(&mut self, reservation: &Reservation, created: Lsn) {
        let Reservation { id, room_type, room, arrival, departure, status, .. } = reservation;
        self.reservations.insert(*id);
        let (held, sold, end) = match status {
            Status::Held => (1, 0, *departure),
            Status::Confirmed | Status::InHouse | Status::CheckedOut => (0, 1, *departure),
            Status::NoShow => (0, 1, reservation.released_from.unwrap_or(*arrival)),
            Status::Canceled | Status::Expired => return,
        };
        if *status == Status::Confirmed {
            self.confirmed.insert((*arrival, *id));
        }
        let slept = reservation.slept.as_deref().unwrap_or_default();
        for night in arrival.until(end) {
            let earlier = slept.iter().find(|earlier| (earlier.from..earlier.to).contains(&night));
            let room_type = earlier.map_or(room_type, |earlier| &earlier.room_type);
            let count = self.by_type.entry((room_type.clone(), night)).or_default();
            count.held += held;
            count.sold += sold;
            count.roomless += u32::from(room.is_none());
            if let Some(block) = &reservation.block {
                let key = (block.clone(), room_type.clone());
                *self.picked_up.entry(key).or_default().entry(night).or_default() += 1;
            }
        }
        for earlier in slept {
            if let Some(room) = &earlier.room {
                self.by_room.entry(room.clone()).or_default().push((earlier.from, earlier.to, *id));
            }
        }
        match room {
            Some(room) => {
                let since = slept.last().map_or(*arrival, |earlier| earlier.to);
                let first = reservation.room_from.unwrap_or(since).max(since);
                if first < end {
                    self.by_room.entry(room.clone()).or_default().push((first, end, *id));
                }
                if *status == Status::InHouse {
                    self.in_house.insert((room.clone(), *id));
                }
            }
            // Who is gone waits for no room.
            None if !status.is_live() => {}
            None => drop(self.roomless.insert((room_type.clone(), *arrival, created, *id))),
        }
    }
}

fn audit_book(ledger: &Ledger, property: &PropertyId, book: &Book, nights: &Nights) -> Result<(), Violation> {
    let listed: BTreeSet<ReservationId> = book.reservations.iter().map(|(id, _)| *id).collect();
    require(listed == nights.reservations, "reservations by property", property)?;
    for (id, slot) in book.reservations.iter() {
        let indexed = ledger.reservations_by_id.get(id);
        require(indexed == Some(slot), "reservations by property", id)?;
    }
    let expected: BTreeSet<(Date, ReservationId)> = book.expected.iter().map(|(key, _)| *key).collect();
    let manual = book.record.property.business_date_mode == BusinessDateMode::Manual;
    require(if manual { expected == nights.confirmed } else { expected.is_empty() }, "expected", property)?;
    let in_house: BTreeSet<(RoomId, ReservationId)> =
        book.in_house.iter().map(|(key, _)| key.clone()).collect();
    require(in_house == nights.in_house, "guests in house", property)?;
    for ((_, id), slot) in book.in_house.iter() {
        require(ledger.reservations_by_id.get(id) == Some(slot), "guests in house", id)?;
    }
    audit_blocks(book, nights)?;
    audit_rooms(ledger, property, book, nights)?;
    audit_types(property, book, nights)
}

/// What is picked up of each block is what its reservations say, and no more than it has from the business date on.
fn audit_blocks(book: &Book, nights: &Nights) -> Result<(), Violation> {
    let records = book.blocks.iter().filter_map(|(_, block)| block.record.as_ref());
    let block_nights: u64 = records.map(|record| record.block.nights()).sum();
    require(block_nights == book.block_nights, "nights of blocks", &book.record.property.property)?;
    let of_block = |(id, block): (&BlockId, &Arc<BlockBook>)| {
        let by_type = block.named_by.clone().into_iter();
        let keyed = by_type.map(|(room_type, nights)| ((id.clone(), room_type), nights));
        keyed.collect::<Vec<_>>()
    };
    let found: BTreeMap<_, _> = book.blocks.iter().flat_map(of_block).collect();
    require(found == nights.picked_up, "pick-ups by block", book.record.property.property.clone())?;
    for (id, block) in book.blocks.iter() {
        let Some(record) = &block.record else { return Err(differs("blocks", id)) };
        let block_record = &record.block;
        let mut late = block.picked_up_of(&block_record.room_type).range(book.business_date()..);
        let of_block = |night: &Date| (block_record.from..block_record.to).contains(night);
        let fits = late.all(|(night, count)| of_block(night) && *count <= block_record.rooms);
        let is_active = block_record.status == BlockStatus::Definite && !record.released;
        require(fits || !is_active, "pick-ups by block", id)?;
    }
    Ok(())
}

/// Blocks with a release date are found by it, and properties that have one to release.
fn audit_releases(ledger: &Ledger, property: &PropertyId, book: &Book) -> Result<(), Violation> {
    let takes = |record: &BlockRecord| record.block.status == BlockStatus::Definite && !record.released;
    let records = book.blocks.iter().filter_map(|(_, block)| block.record.as_ref());
    let with_date = records.filter(|record| takes(record));
    let with_date =
        with_date.filter_map(|record| Some((record.block.release_date?, record.block.block.clone())));
    let expected: BTreeSet<(Date, BlockId)> = with_date.collect();
    let found: BTreeSet<(Date, BlockId)> = book.releases.iter().map(|(key, ())| key.clone()).collect();
    require(found == expected, "blocks by release date", property)?;
    let due = expected.first().is_some_and(|(date, _)| *date <= book.business_date());
    require(ledger.releasing.contains(property) == due, "properties with blocks to release", property)
}

/// Who waits is found in order, and who is offered something by it.
fn audit_waitlist(ledger: &Ledger, property: &PropertyId, book: &Book) -> Result<(), Violation> {
    let mut waiting = BTreeSet::new();
    for (id, record) in book.waitlist.iter() {
        let entry = &record.entry;
        if entry.status == WaitlistStatus::Waiting {
            waiting.insert((record.created_lsn, *id));
        }
        if entry.status == WaitlistStatus::Offered {
            let indexed = entry.reservation.and_then(|reservation| ledger.offers.get(&reservation));
            require(indexed == Some(&(property.clone(), *id)), "offers", id)?;
            let made = entry.reservation.and_then(|reservation| ledger.find(reservation).ok());
            let status = made.map(|made| made.reservation.status);
            require(status == Some(Status::Held), "offers", id)?;
        }
    }
    let indexed: BTreeSet<(Lsn, WaitlistId)> = book.waiting.iter().map(|(key, ())| *key).collect();
    require(indexed == waiting, "who waits", property)?;
    let going_on = book.record.offering.is_some();
    require(ledger.offering.contains(property) == going_on, "waitlists that are gone through", property)
}

/// Per room and night: at most one.
fn audit_rooms(
    ledger: &Ledger,
    property: &PropertyId,
    book: &Book,
    nights: &Nights,
) -> Result<(), Violation> {
    let unknown = nights.by_room.keys().find(|room| book.room_ever(room).is_none());
    require(unknown.is_none(), "rooms", unknown)?;
    let none = Vec::new();
    for (id, slot) in book.rooms_by_id.iter() {
        let room = book.room_at(*slot);
        require(room.record.room.room == *id && book.slot_of(id) == Some(*slot), "rooms", id)?;
        let mut stays = nights.by_room.get(id).unwrap_or(&none).clone();
        stays.sort_unstable();
        for pair in stays.windows(2) {
            let ((_, departure, _), (arrival, ..)) = (pair[0], pair[1]);
            if arrival < departure {
                return Err(Violation::SoldTwice {
                    property: property.clone(),
                    room: id.clone(),
                    night: arrival,
                });
            }
        }
        audit_closures(property, book.business_date(), room, &stays)?;
        let calendar = room.calendar.stays().iter();
        let calendar =
            calendar.map(|stay| (stay.arrival, stay.departure, ledger.packed_at(stay.reservation).id()));
        require(calendar.eq(stays), "room calendars", id)?;
    }
    Ok(())
}

/// Nobody has a room that is out of order, from the business date on.
fn audit_closures(
    property: &PropertyId,
    today: Date,
    room: &RoomBook,
    stays: &[Stay],
) -> Result<(), Violation> {
    let id = &room.record.room.room;
    for pair in room.out_of_order.windows(2) {
        require(pair[0].to <= pair[1].from, "out of order", id)?;
    }
    for closure in &room.out_of_order {
        let own = (&closure.property, &closure.room) == (property, id) && closure.from < closure.to;
        require(own, "out of order", id)?;
        for (arrival, departure, _) in stays {
            let night = closure.from.max(*arrival).max(today);
            if night < closure.to.min(*departure) {
                return Err(Violation::SoldOutOfOrder {
                    property: property.clone(),
                    room: id.clone(),
                    night,
                });
            }
        }
    }
    Ok(())
}

/// Per room type and night, from the business date on: rooms in service and the overbooking limit cover held and sold.
fn audit_types(property: &PropertyId, book: &Book, nights: &Nights) -> Result<(), Violation> {
    let rooms = book.rooms_by_id.iter().map(|(_, slot)| (book.room_at(*slot), slot));
    let rooms = rooms.filter(|(room, _)| room.is_in_service());
    let mut by_type: BTreeMap<&RoomTypeId, Vec<_>> = BTreeMap::new();
    for (room, slot) in rooms {
        by_type.entry(&room.record.room.room_type).or_default().push(*slot);
    }
    for ((room_type, night), count) in &nights.by_type {
        let record = book.room_types.get(room_type).map(|room_type| &room_type.record.room_type);
        let Some(record) = record else { return Err(differs("room types", room_type)) };
        let rooms = by_type.get(room_type).map_or(0, Vec::len) as u64;
        let capacity = rooms + u64::from(record.overbooking_limit);
        if *night >= book.business_date() && count.taken() > capacity && count.stays() + count.blocked > 0 {
            let (property, room_type) = (property.clone(), room_type.clone());
            let (night, stays) = (*night, count.taken());
            return Err(Violation::OverCapacity { property, room_type, night, stays, capacity });
        }
    }
    for (id, room_type) in &book.room_types {
        let rooms = by_type.get(id).into_iter().flatten().copied();
        require(room_type.rooms.iter().copied().eq(rooms), "rooms by type", id)?;
        for pair in room_type.rules.all().windows(2) {
            require(pair[0].to <= pair[1].from, "restrictions", id)?;
        }
        let counted = room_type.nights.from(Date::MIN).map(|(night, count)| ((id.clone(), night), count));
        let expected = nights.by_type.iter().filter(|((room_type, _), _)| room_type == id);
        let expected = expected.map(|(key, count)| (key.clone(), *count));
        require(counted.eq(expected), "nights by type", id)?;
        let waiting = room_type
            .roomless
            .iter()
            .map(|((arrival, lsn, reservation), _)| (id.clone(), *arrival, *lsn, *reservation));
        let expected = nights.roomless.iter().filter(|(room_type, ..)| room_type == id).cloned();
        require(waiting.eq(expected), "stays without a room", id)?;
    }
    Ok(())
}
