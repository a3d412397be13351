//! A property's book: its room types and rooms, with the rates, calendars and counts that belong to them.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::Arc;

use foldhash::fast::FixedState;
use uuid::Uuid;

use super::block::BlockBook;
use super::calendar::{NightCounts, RoomCalendar, RoomStay};
use super::date::Date;
use super::id::{BlockId, Lsn, ReservationId, RoomId, RoomTypeId, WaitlistId};
use super::outcome::Refusal;
use super::property::BusinessDateMode;
use super::rate::RateTable;
use super::record::{OutOfOrderRecord, PropertyRecord, RoomRecord, RoomTypeRecord, WaitlistRecord};
use super::reservation::{Reservation, Status};
use super::restriction::RuleTable;
use super::room_nights::RoomNights;
use super::store::{Shared, Slab, Slot, SortedMap};
use crate::planted::{Bug, planted};

#[derive(Clone)]
pub struct Book {
    pub record: PropertyRecord,
    /// What `search` compares: the location, its [case folded](fold_case).
    pub location: Arc<str>,
    pub room_types: BTreeMap<RoomTypeId, Shared<TypeBook>>,
    /// Those that were retired too.
    pub rooms: Slab<Shared<RoomBook>>,
    pub rooms_by_id: SortedMap<RoomId, Slot>,
    /// The same, where no order is asked for: a room is what is looked for most.
    slots: Shared<HashMap<RoomId, Slot, FixedState>>,
    /// The rank of each room, by slot, among the rooms of its type.
    pub places: Shared<Vec<u32>>,
    pub reservations: SortedMap<ReservationId, Slot>,
    /// Confirmed stays by arrival, which night audits look through. Empty where the business date follows the clock:
    /// nothing looks for them there.
    pub expected: SortedMap<(Date, ReservationId), Slot>,
    /// Guests in house, by the room in which they are.
    pub in_house: SortedMap<(RoomId, ReservationId), Slot>,
    pub blocks: SortedMap<BlockId, Arc<BlockBook>>,
    /// The nights of all of them.
    pub block_nights: u64,
    /// Blocks that take rooms and have a release date, by it.
    pub releases: SortedMap<(Date, BlockId), ()>,
    pub waitlist: SortedMap<WaitlistId, Arc<WaitlistRecord>>,
    /// Entries that wait, in their order.
    pub waiting: SortedMap<(Lsn, WaitlistId), ()>,
}

#[derive(Clone)]
pub struct TypeBook {
    pub record: RoomTypeRecord,
    pub rates: RateTable,
    pub rules: RuleTable,
    /// The rooms of this type in service, by id. A room's place is its rank here.
    pub rooms: Shared<Vec<Slot>>,
    pub nights: NightCounts,
    /// Which of its rooms are taken, by stays or out of order.
    pub taken: RoomNights,
    /// Stays that count for this type and have no room.
    pub roomless: SortedMap<Roomless, Slot>,
}

/// By arrival, then by the command that made it, so that those around a night are found, and the oldest of them.
pub type Roomless = (Date, Lsn, ReservationId);

#[derive(Clone)]
pub struct RoomBook {
    pub record: RoomRecord,
    pub rates: RateTable,
    pub calendar: RoomCalendar,
    /// By first night; they don't overlap.
    pub out_of_order: Vec<Arc<OutOfOrderRecord>>,
}

/// The same text for all that differ in case only. The standard library has no case folding: the way by the upper case makes
/// `ss` of `ß`, and the lower case before it `ß` of `ẞ`, which is an upper case itself.
pub fn fold_case(location: &str) -> Arc<str> {
    location.to_lowercase().to_uppercase().to_lowercase().into()
}

impl Book {
    pub fn new(record: PropertyRecord) -> Book {
        Book {
            location: fold_case(&record.property.location),
            record,
            room_types: BTreeMap::new(),
            rooms: Slab::new(),
            rooms_by_id: SortedMap::new(),
            slots: Shared::default(),
            places: Shared::default(),
            reservations: SortedMap::new(),
            expected: SortedMap::new(),
            in_house: SortedMap::new(),
            blocks: SortedMap::new(),
            block_nights: 0,
            releases: SortedMap::new(),
            waitlist: SortedMap::new(),
            waiting: SortedMap::new(),
        }
    }

    pub fn business_date(&self) -> Date {
        self.record.property.business_date
    }

    /// Whether the reservation is one of [`expected`](Book::expected).
    pub fn expects(&self, reservation: &Reservation) -> bool {
        reservation.status == Status::Confirmed
            && self.record.property.business_date_mode == BusinessDateMode::Manual
    }

    /// The reservations of the guests who are in the room.
    pub fn guests_in(&self, room: &RoomId) -> impl Iterator<Item = Slot> {
        let first = (room.clone(), ReservationId(Uuid::nil()));
        let there = self.in_house.from(Bound::Included(&first)).take_while(move |((of, _), _)| of == room);
        there.map(|(_, slot)| *slot)
    }

    pub fn room_type(&self, id: &RoomTypeId) -> Result<&TypeBook, Refusal> {
        self.room_types.get(id).map(Shared::as_ref).ok_or(Refusal::RoomTypeNotFound)
    }

    /// A room in service.
    pub fn room(&self, id: &RoomId) -> Result<&RoomBook, Refusal> {
        self.room_ever(id).filter(|room| room.is_in_service()).ok_or(Refusal::RoomNotFound)
    }

    /// A room, be it retired.
    pub fn room_ever(&self, id: &RoomId) -> Option<&RoomBook> {
        self.slot_of(id).map(|slot| self.room_at(slot))
    }

    pub fn slot_of(&self, id: &RoomId) -> Option<Slot> {
        self.slots.get(id).copied()
    }

    /// The slot of a room that the caller knows to be there.
    pub fn known_slot(&self, id: &RoomId) -> Slot {
        self.slot_of(id).expect("checked before the change")
    }

    /// Adds a room that is not there. It is among those of its type only once it is enlisted.
    pub fn add_room(&mut self, id: RoomId, room: RoomBook) {
        let slot = self.rooms.insert(Shared::new(room));
        self.rooms_by_id.insert(id.clone(), slot);
        Shared::make_mut(&mut self.slots).insert(id, slot);
    }

    /// Takes a room's id away and gives its slot.
    pub fn forget_room(&mut self, id: &RoomId) -> Option<Slot> {
        Shared::make_mut(&mut self.slots).remove(id);
        self.rooms_by_id.remove(id)
    }

    /// The rooms in service, by id.
    pub fn rooms_in_service(&self) -> impl Iterator<Item = &RoomBook> {
        self.rooms_by_id.iter().map(|(_, slot)| self.room_at(*slot)).filter(|room| room.is_in_service())
    }

    /// The place of a room in service among those of its type.
    pub fn place_of(&self, id: &RoomId) -> usize {
        self.places[self.known_slot(id) as usize] as usize
    }

    /// The rooms of a type in service, by id.
    pub fn rooms_of<'a>(&'a self, room_type: &'a TypeBook) -> impl Iterator<Item = &'a RoomBook> {
        room_type.rooms.iter().map(|slot| self.room_at(*slot))
    }

    pub fn room_at(&self, slot: Slot) -> &RoomBook {
        self.shared_room_at(slot)
    }

    pub fn shared_room_at(&self, slot: Slot) -> &Shared<RoomBook> {
        self.rooms.get(slot).expect("the index names rooms that exist")
    }

    pub fn room_type_mut(&mut self, id: &RoomTypeId) -> &mut TypeBook {
        Shared::make_mut(self.room_types.get_mut(id).expect("checked before the change"))
    }

    pub fn room_mut(&mut self, id: &RoomId) -> &mut RoomBook {
        let slot = self.known_slot(id);
        Shared::make_mut(self.rooms.get_mut(slot).expect("the index names rooms that exist"))
    }

    /// Puts a room among those of its type.
    pub fn enlist(&mut self, room: &RoomId) {
        let slot = self.known_slot(room);
        let book = self.rooms.get(slot).expect("the index names rooms that exist");
        let room_type = self.room_types.get_mut(&book.record.room.room_type);
        let room_type = Shared::make_mut(room_type.expect("checked before the change"));
        let before = |slot: &Slot| self.rooms.get(*slot).is_some_and(|other| other.record.room.room < *room);
        let place = room_type.rooms.partition_point(before);
        Shared::make_mut(&mut room_type.rooms).insert(place, slot);
        room_type.taken.insert_room(place);
        for stay in book.calendar.stays() {
            room_type.taken.take(place, stay.arrival, stay.departure);
        }
        for closure in &book.out_of_order {
            room_type.taken.take(place, closure.from, closure.to);
        }
        let places = Shared::make_mut(&mut self.places);
        places.resize(places.len().max(slot as usize + 1), 0);
        renumber(places, room_type, place);
    }

    /// Takes a room from those of its type.
    pub fn delist(&mut self, room_type: &RoomTypeId, room: &RoomId) {
        let place = self.place_of(room);
        let room_type = self.room_types.get_mut(room_type).expect("checked before the change");
        let room_type = Shared::make_mut(room_type);
        Shared::make_mut(&mut room_type.rooms).remove(place);
        room_type.taken.remove_room(place);
        let places = Shared::make_mut(&mut self.places);
        renumber(places, room_type, place);
    }

    /// Gives a room to a stay.
    pub fn move_in(&mut self, room: &RoomId, stay: RoomStay) {
        let slot = self.known_slot(room);
        let book = Shared::make_mut(self.rooms.get_mut(slot).expect("the index names rooms that exist"));
        book.calendar.insert(stay);
        if book.is_in_service() {
            let room_type = self.room_types.get_mut(&book.record.room.room_type);
            let taken = &mut Shared::make_mut(room_type.expect("a room has a type")).taken;
            taken.take(self.places[slot as usize] as usize, stay.arrival, stay.departure);
        }
    }

    /// Gives a room that nobody has to all stays of a calendar.
    pub fn move_all_in(&mut self, slot: Slot, calendar: RoomCalendar) {
        let book = Shared::make_mut(self.rooms.get_mut(slot).expect("the index names rooms that exist"));
        if book.is_in_service() {
            let room_type = self.room_types.get_mut(&book.record.room.room_type);
            let taken = &mut Shared::make_mut(room_type.expect("a room has a type")).taken;
            let place = self.places[slot as usize] as usize;
            calendar.stays().iter().for_each(|stay| taken.take(place, stay.arrival, stay.departure));
        }
        book.calendar = calendar;
    }

    /// Follows a change of the room's calendar or closures on the nights `[from, to)`.
    pub fn retake(&mut self, room: &RoomId, from: Date, to: Date) {
        let slot = self.known_slot(room);
        let book = self.rooms.get(slot).expect("the index names rooms that exist");
        if !book.is_in_service() {
            return;
        }
        let room_type = self.room_types.get_mut(&book.record.room.room_type);
        let taken = &mut Shared::make_mut(room_type.expect("a room has a type")).taken;
        let place = self.places[slot as usize] as usize;
        taken.free(place, from, to);
        for stay in book.calendar.overlapping(from, to) {
            taken.take(place, stay.arrival.max(from), stay.departure.min(to));
        }
        for closure in book.closures(from, to) {
            taken.take(place, closure.from.max(from), closure.to.min(to));
        }
    }
}

/// Gives the rooms from `first` on their places.
fn renumber(places: &mut [u32], room_type: &TypeBook, first: usize) {
    for (place, slot) in room_type.rooms.iter().enumerate().skip(first) {
        places[*slot as usize] = place as u32;
    }
}

impl RoomBook {
    pub fn is_in_service(&self) -> bool {
        self.record.retired.is_none()
    }

    /// Whether a stay may have the room on the nights `[from, to)`.
    pub fn is_free(&self, from: Date, to: Date) -> bool {
        self.calendar.is_free(from, to) && self.closures(from, to).is_empty()
    }

    /// When it is out of order within the nights `[from, to)`.
    pub fn closures(&self, from: Date, to: Date) -> &[Arc<OutOfOrderRecord>] {
        let first = self.out_of_order.partition_point(|closure| closure.to <= from);
        let after = self.out_of_order.partition_point(|closure| closure.from < to);
        &self.out_of_order[first..after.max(first)]
    }

    /// The nights of `[from, to)` on which no stay may have it.
    pub fn taken(&self, from: Date, to: Date) -> Vec<Date> {
        let mut nights = self.calendar.taken(from, to);
        for closure in self.closures(from, to) {
            nights.extend(closure.from.max(from).until(closure.to.min(to)));
        }
        nights.sort_unstable();
        nights.dedup();
        nights
    }
}

impl TypeBook {
    pub fn new(record: RoomTypeRecord) -> TypeBook {
        TypeBook {
            record,
            rates: RateTable::default(),
            rules: RuleTable::default(),
            rooms: Shared::default(),
            nights: NightCounts::default(),
            taken: RoomNights::default(),
            roomless: SortedMap::new(),
        }
    }

    /// Stays that may be taken for one night.
    pub fn capacity(&self) -> u64 {
        let oversold = u64::from(planted(Bug::TypeOversold));
        self.rooms.len() as u64 + u64::from(self.record.room_type.overbooking_limit) + oversold
    }

    /// The nights of `[from, to)` on which no further stay may be taken.
    pub fn full(&self, from: Date, to: Date) -> Vec<Date> {
        if self.has_space(from, to) {
            return Vec::new();
        }
        from.until(to).filter(|night| self.is_full(*night, 0)).collect()
    }

    /// Whether a further stay may be taken on each night of `[from, to)`.
    pub fn has_space(&self, from: Date, to: Date) -> bool {
        let capacity = self.capacity();
        self.nights.all(from, to, |night| night.taken() < capacity)
    }

    /// Whether no further stay may be taken, where `kept` of what is taken is kept for it.
    pub fn is_full(&self, night: Date, kept: u64) -> bool {
        self.nights.get(night).taken() >= self.capacity() + kept
    }

    /// Whether some night of `[from, to)` has no room that a stay could have.
    pub fn has_no_room(&self, from: Date, to: Date) -> bool {
        let rooms = self.rooms.len() as u64;
        from.until(to).any(|night| self.nights.get(night).rooms() >= rooms)
    }

    /// The nights from `from` on of which more is taken than `capacity`.
    pub fn over(&self, from: Date, capacity: u64) -> Vec<Date> {
        let nights = self.nights.from(from).filter(|(_, count)| count.taken() > capacity);
        nights.map(|(night, _)| night).collect()
    }
}
