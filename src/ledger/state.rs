//! The ledger's state: records, and what is derived from them so that commands and queries find their way.
//!
//! [`Ledger::set`] and [`Ledger::unset`] are the only places that change it, together with [`Ledger::set_beside_keys`] and
//! [`Ledger::move_in`], which do the first in parts. [`Txn`](super::txn::Txn) and [`Restoring`](super::restore::Restoring) call
//! them after the record has been checked against the rest, [`Ledger::rewind`] with what stood there before.

use std::fmt;
use std::ops::Bound;
use std::sync::Arc;

use super::book::{Book, RoomBook, TypeBook, fold_case};
use super::command::RateTarget;
use super::date::Date;
use super::digest::{StateHash, digest_fields, digest_of};
use super::due::Due;
use super::event::{Digests, EventChain, Mark};
use super::id::{BlockId, BookingId, Lsn, PropertyId, ReservationId, RoomId, Timestamp, WaitlistId};
use super::idempotency::{KeyHolder, OUTCOMES_MAX};
use super::kept_outcome::KeptOutcome;
use super::occupancy::RoomStays;
use super::outcome::Refusal;
use super::packed::Packed;
use super::quarantine::Quarantined;
use super::rate::RateTable;
use super::record::{
    BlockRecord, Header, OutOfOrderRecord, Persisted, PropertyRecord, RateRecord, Record, RecordCounts,
    RecordKey, ReservationRecord, RestrictionRecord, RoomRecord, RoomTypeRecord, WaitlistRecord,
};
use super::segments::Segment;
use super::store::{DigestMap, Shared, Slab, Slot, SortedMap};

/// The booking state machine. A clone shares everything below the roots of the containers, and costs a count for each of
/// their branches: some thousands where there are ten million records.
#[derive(Clone)]
pub struct Ledger {
    pub(super) lsn: Lsn,
    pub(super) stamp: Timestamp,
    /// The wrapping sum over the hashes of all records.
    pub(super) sum: u128,
    pub(super) counts: RecordCounts,
    pub(super) books: SortedMap<PropertyId, Shared<Book>>,
    pub(super) locations: SortedMap<(Arc<str>, PropertyId), ()>,
    pub(super) reservations: Slab<Packed>,
    pub(super) reservations_by_id: SortedMap<ReservationId, Slot>,
    /// By booking, and by the place in it.
    pub(super) bookings: SortedMap<(BookingId, u32), Slot>,
    /// Holds by their end.
    pub(super) due: SortedMap<(Timestamp, ReservationId), ()>,
    /// Properties whose night audit has not marked all its no-shows.
    pub(super) audits: SortedMap<PropertyId, ()>,
    /// Properties some block of which has to be released.
    pub(super) releasing: SortedMap<PropertyId, ()>,
    /// Properties whose waitlist is being gone through.
    pub(super) offering: SortedMap<PropertyId, ()>,
    /// What is due and failed before the last command. Nothing that a command does depends on it.
    pub(super) failing: Vec<Due>,
    /// Entries of the waitlist by the hold that is offered.
    pub(super) offers: SortedMap<ReservationId, (PropertyId, WaitlistId)>,
    /// What idempotency keys are answered from, by the key's digest.
    pub(super) keys: DigestMap<KeyHolder>,
    pub(super) outcomes: SortedMap<Lsn, Arc<KeptOutcome>>,
    /// Outcomes kept, at most; another value than [`OUTCOMES_MAX`] only in tests.
    pub(super) outcomes_max: usize,
    pub(super) quarantined: SortedMap<Lsn, Arc<Quarantined>>,
    pub(super) event_chain: EventChain,
    /// What was changed up to here is not kept any more, where something is not.
    pub(super) history_from: Option<Mark>,
}

/// What a change did to a record: the old one, and the digests of both as the state hash has them; 0 where there is none.
pub(super) struct Replaced {
    pub old: Option<Record>,
    pub digests: Digests,
}

/// What of the header takes part in the state hash.
struct Position {
    lsn: Lsn,
    stamp: Timestamp,
    event_chain: EventChain,
    history_from: Option<Mark>,
}

digest_fields! {
    Position { lsn, stamp, event_chain; history_from = 1 }
}

impl Default for Ledger {
    fn default() -> Ledger {
        Ledger::new()
    }
}

/// The header stands for the state, which is too large to show.
impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Ledger").field(&self.header()).finish()
    }
}

impl Ledger {
    pub fn new() -> Ledger {
        Ledger {
            lsn: Lsn::default(),
            stamp: Timestamp::default(),
            sum: 0,
            counts: RecordCounts::default(),
            books: SortedMap::new(),
            locations: SortedMap::new(),
            reservations: Slab::new(),
            reservations_by_id: SortedMap::new(),
            bookings: SortedMap::new(),
            due: SortedMap::new(),
            audits: SortedMap::new(),
            releasing: SortedMap::new(),
            offering: SortedMap::new(),
            failing: Vec::new(),
            offers: SortedMap::new(),
            keys: DigestMap::new(),
            outcomes: SortedMap::new(),
            outcomes_max: OUTCOMES_MAX,
            quarantined: SortedMap::new(),
            event_chain: EventChain::default(),
            history_from: None,
        }
    }

    /// The last command that was applied.
    pub fn lsn(&self) -> Lsn {
        self.lsn
    }

    /// The log time of the last command.
    pub fn stamp(&self) -> Timestamp {
        self.stamp
    }

    /// The head of the hash chain over all events up to the last command.
    pub fn event_chain(&self) -> EventChain {
        self.event_chain
    }

    /// What was changed up to here is kept nowhere any more.
    pub fn history_from(&self) -> Option<Mark> {
        self.history_from
    }

    pub fn state_hash(&self) -> StateHash {
        let Ledger { lsn, stamp, event_chain, history_from, .. } = *self;
        let position = Position { lsn, stamp, event_chain, history_from };
        StateHash(self.sum.wrapping_add(digest_of(&position)))
    }

    /// Everything that is in no record.
    pub fn header(&self) -> Header {
        Header {
            lsn: self.lsn,
            stamp: self.stamp,
            event_chain: self.event_chain,
            history_from: self.history_from,
            state_hash: self.state_hash(),
            records: self.counts,
        }
    }

    /// Every record as it is persisted, in an order that depends on nothing but the state.
    pub fn persisted(&self) -> impl Iterator<Item = Persisted<'_>> {
        let inventory = self.books.iter().flat_map(|(_, book)| book_records(book));
        let reservations = self.reservations_by_id.iter().map(|(_, slot)| self.packed_at(*slot));
        let outcomes = self.outcomes.iter().map(|(lsn, kept)| Record::Outcome(kept.record(*lsn)));
        let set_aside = self.quarantined.iter().map(|(_, record)| Record::Quarantined(Arc::clone(record)));
        // They are compared with what is picked up of them.
        let blocks = self.books.iter().flat_map(|(_, book)| book.blocks.iter());
        let blocks = blocks.filter_map(|(_, block)| block.record.clone().map(Record::Block));
        let waitlist = self.books.iter().flat_map(|(_, book)| book.waitlist.iter());
        let waitlist = waitlist.map(|(_, record)| Record::Waitlist(WaitlistRecord::clone(record)));
        let later = blocks.chain(waitlist).chain(outcomes).chain(set_aside);
        let reservations = reservations.map(Persisted::Packed);
        inventory.map(Persisted::Plain).chain(reservations).chain(later.map(Persisted::Plain))
    }

    /// Every record, in that order.
    pub fn records(&self) -> impl Iterator<Item = Record> + '_ {
        self.persisted().map(Record::from)
    }

    pub(super) fn book(&self, property: &PropertyId) -> Result<&Book, Refusal> {
        self.books.get(property).map(Shared::as_ref).ok_or(Refusal::PropertyNotFound)
    }

    pub(super) fn packed_at(&self, slot: Slot) -> &Packed {
        self.reservations.get(slot).expect("indexes name reservations that exist")
    }

    pub(super) fn at(&self, slot: Slot) -> ReservationRecord {
        self.packed_at(slot).unpack()
    }

    pub(super) fn find(&self, id: ReservationId) -> Result<ReservationRecord, Refusal> {
        let slot = self.reservations_by_id.get(&id).ok_or(Refusal::ReservationNotFound)?;
        Ok(self.at(*slot))
    }

    /// The reservations of a booking, in their order.
    pub(super) fn members(&self, booking: BookingId) -> impl Iterator<Item = ReservationRecord> {
        let members = self.bookings.from(Bound::Included(&(booking, 0)));
        members.take_while(move |((of, _), _)| *of == booking).map(|(_, slot)| self.at(*slot))
    }

    /// Puts a record that [`check`](super::check) has passed, and gives the one that it replaces. A panic in here
    /// leaves the state damaged.
    pub(super) fn set(&mut self, record: &Record) -> Replaced {
        let replaced = self.set_beside_keys(record, digest_of(record), Packed::of(record), None);
        let digest = record.key_digest();
        let old_digest = replaced.old.as_ref().and_then(Record::key_digest);
        if old_digest != digest {
            if let Some(digest) = old_digest {
                self.keys.remove(&digest);
            }
            if let Some(digest) = digest {
                self.keys.insert(digest, KeyHolder::of(record));
            }
        }
        replaced
    }

    /// All of [`set`](Ledger::set) but for the idempotency keys. `digest` and `packed` are the record's own. What a
    /// reservation takes of rooms goes to `gathered`, where that is given.
    pub(super) fn set_beside_keys(
        &mut self,
        record: &Record,
        digest: u128,
        packed: Option<Packed>,
        gathered: Option<&mut RoomStays>,
    ) -> Replaced {
        let mut digests = Digests { before: 0, after: digest };
        self.sum = self.sum.wrapping_add(digests.after);
        let old = match record {
            Record::Property(record) => self.set_property(record).map(Record::Property),
            Record::RoomType(record) => self.set_room_type(record).map(Record::RoomType),
            Record::Room(record) => self.set_room(record).map(Record::Room),
            Record::Rate(record) => self.set_rate(record).map(Record::Rate),
            Record::Reservation(record) => {
                let packed = packed.expect("a reservation comes packed");
                self.set_reservation(record, packed, gathered).map(Record::Reservation)
            }
            Record::Outcome(record) => {
                let replaced = self.outcomes.insert(record.lsn, Arc::new(KeptOutcome::new(record)));
                replaced.map(|kept| Record::Outcome(kept.record(record.lsn)))
            }
            Record::OutOfOrder(record) => self.set_out_of_order(record).map(Record::OutOfOrder),
            Record::Restriction(record) => self.set_restriction(record).map(Record::Restriction),
            Record::Block(record) => {
                let (property, block) = (&record.block.property, &record.block.block);
                self.change_block(property, block, Some(record.clone())).map(Record::Block)
            }
            Record::Waitlist(record) => self.set_waitlist(record).map(Record::Waitlist),
            Record::Quarantined(record) => {
                self.quarantined.insert(record.lsn, Arc::clone(record)).map(Record::Quarantined)
            }
        };
        match &old {
            Some(old) => {
                digests.before = digest_of(old);
                self.sum = self.sum.wrapping_sub(digests.before);
            }
            None => *self.counts.of(record) += 1,
        }
        Replaced { old, digests }
    }

    /// Takes a record away and gives it.
    pub(super) fn unset(&mut self, key: &RecordKey) -> Option<Replaced> {
        let old = match key {
            RecordKey::Property(property) => self.unset_property(property).map(Record::Property),
            RecordKey::RoomType(property, room_type) => {
                let record = self.book_mut(property)?.room_types.remove(room_type)?.record.clone();
                Some(Record::RoomType(record))
            }
            RecordKey::Room(property, room) => {
                let book = self.book_mut(property)?;
                let record = book.room_ever(room)?.record.clone();
                if record.retired.is_none() {
                    book.delist(&record.room.room_type, room);
                }
                let slot = book.forget_room(room)?;
                book.rooms.remove(slot);
                Some(Record::Room(record))
            }
            RecordKey::Rate(property, target, from) => {
                let segment = self.rate_table(property, target).remove(*from)?;
                Some(Record::Rate(RateRecord::new(property, target, segment)))
            }
            RecordKey::Restriction(property, room_type, from) => {
                let book = self.checked_book_mut(property);
                let segment = book.room_type_mut(room_type).rules.remove(*from)?;
                Some(Record::Restriction(RestrictionRecord::new(property, room_type, segment)))
            }
            RecordKey::Reservation(id) => self.unset_reservation(*id).map(Record::Reservation),
            RecordKey::Outcome(lsn) => {
                self.outcomes.remove(lsn).map(|kept| Record::Outcome(kept.record(*lsn)))
            }
            RecordKey::OutOfOrder(property, room, from) => {
                self.unset_out_of_order(property, room, *from).map(Record::OutOfOrder)
            }
            RecordKey::Block(property, block) => self.change_block(property, block, None).map(Record::Block),
            RecordKey::Waitlist(property, id) => self.unset_waitlist(property, *id).map(Record::Waitlist),
            RecordKey::Quarantined(lsn) => self.quarantined.remove(lsn).map(Record::Quarantined),
        }?;
        let digests = Digests { before: digest_of(&old), after: 0 };
        self.sum = self.sum.wrapping_sub(digests.before);
        *self.counts.of(&old) -= 1;
        if let Some(digest) = old.key_digest() {
            self.keys.remove(&digest);
        }
        Some(Replaced { old: Some(old), digests })
    }

    pub(super) fn book_mut(&mut self, property: &PropertyId) -> Option<&mut Book> {
        self.books.get_mut(property).map(Shared::make_mut)
    }

    pub(super) fn checked_book_mut(&mut self, property: &PropertyId) -> &mut Book {
        self.book_mut(property).expect("checked before the change")
    }

    fn set_property(&mut self, record: &PropertyRecord) -> Option<PropertyRecord> {
        let id = record.property.property.clone();
        match record.auditing {
            Some(_) => drop(self.audits.insert(id.clone(), ())),
            None => drop(self.audits.remove(&id)),
        }
        match record.offering {
            Some(_) => drop(self.offering.insert(id.clone(), ())),
            None => drop(self.offering.remove(&id)),
        }
        let location = fold_case(&record.property.location);
        let Some(book) = self.book_mut(&id) else {
            self.locations.insert((Arc::clone(&location), id.clone()), ());
            self.books.insert(id, Shared::new(Book::new(record.clone())));
            return None;
        };
        let old_location = std::mem::replace(&mut book.location, Arc::clone(&location));
        let old = std::mem::replace(&mut book.record, record.clone());
        if old_location != location {
            self.locations.remove(&(old_location, id.clone()));
            self.locations.insert((location, id.clone()), ());
        }
        self.note_releases(&id);
        Some(old)
    }

    /// Follows a change of the property's date or blocks.
    fn note_releases(&mut self, property: &PropertyId) {
        let releases = self.book(property).is_ok_and(Book::has_releases);
        match releases {
            true => drop(self.releasing.insert(property.clone(), ())),
            false => drop(self.releasing.remove(property)),
        }
    }

    /// Puts a block in the place of what it was, or takes it away.
    fn change_block(
        &mut self,
        property: &PropertyId,
        block: &BlockId,
        record: Option<BlockRecord>,
    ) -> Option<BlockRecord> {
        let book = self.book_mut(property)?;
        let mut old = None;
        book.change_block(block, Date::MIN, Date::MAX, |block| {
            old = std::mem::replace(&mut block.record, record);
        });
        self.note_releases(property);
        old
    }

    fn unset_property(&mut self, property: &PropertyId) -> Option<PropertyRecord> {
        let book = self.books.remove(property)?;
        self.audits.remove(property);
        self.releasing.remove(property);
        self.offering.remove(property);
        self.locations.remove(&(Arc::clone(&book.location), property.clone()));
        Some(book.record.clone())
    }

    fn set_room_type(&mut self, record: &RoomTypeRecord) -> Option<RoomTypeRecord> {
        let book = self.checked_book_mut(&record.room_type.property);
        let id = record.room_type.room_type.clone();
        match book.room_types.get_mut(&id) {
            Some(room_type) => {
                Some(std::mem::replace(&mut Shared::make_mut(room_type).record, record.clone()))
            }
            None => {
                book.room_types.insert(id, Shared::new(TypeBook::new(record.clone())));
                None
            }
        }
    }

    fn set_room(&mut self, record: &RoomRecord) -> Option<RoomRecord> {
        let book = self.checked_book_mut(&record.room.property);
        let id = record.room.room.clone();
        // Retired rooms are in no type.
        let place = |record: &RoomRecord| record.retired.is_none().then(|| record.room.room_type.clone());
        let new_type = place(record);
        let old = match book.slot_of(&id) {
            Some(_) => Some(std::mem::replace(&mut book.room_mut(&id).record, record.clone())),
            None => {
                let room = RoomBook {
                    record: record.clone(),
                    rates: Default::default(),
                    calendar: Default::default(),
                    out_of_order: Vec::new(),
                };
                book.add_room(id.clone(), room);
                None
            }
        };
        let old_type = old.as_ref().and_then(place);
        if old_type == new_type {
            return old;
        }
        // The room takes with it the nights on which it is out of order.
        let closures = book.room_mut(&id).out_of_order.clone();
        if let Some(old_type) = old_type {
            book.delist(&old_type, &id);
            let nights = &mut book.room_type_mut(&old_type).nights;
            for closure in &closures {
                nights.change(closure.from, closure.to, |count| count.out_of_order -= 1);
            }
        }
        if let Some(new_type) = new_type {
            let nights = &mut book.room_type_mut(&new_type).nights;
            for closure in &closures {
                nights.change(closure.from, closure.to, |count| count.out_of_order += 1);
            }
            book.enlist(&id);
        }
        old
    }

    fn set_rate(&mut self, record: &RateRecord) -> Option<RateRecord> {
        let RateRecord { property, target, from, to, prices } = record;
        let segment = Segment { from: *from, to: *to, value: Arc::clone(prices) };
        let old = self.rate_table(property, target).insert(segment);
        old.map(|segment| RateRecord::new(property, target, segment))
    }

    fn set_restriction(&mut self, record: &RestrictionRecord) -> Option<RestrictionRecord> {
        let RestrictionRecord { property, room_type, from, to, rules } = record;
        let table = &mut self.checked_book_mut(property).room_type_mut(room_type).rules;
        let old = table.insert(Segment { from: *from, to: *to, value: Arc::clone(rules) });
        old.map(|segment| RestrictionRecord::new(property, room_type, segment))
    }

    fn rate_table(&mut self, property: &PropertyId, target: &RateTarget) -> &mut RateTable {
        let book = self.checked_book_mut(property);
        match target {
            RateTarget::RoomType(room_type) => &mut book.room_type_mut(room_type).rates,
            RateTarget::Room(room) => &mut book.room_mut(room).rates,
        }
    }

    fn set_out_of_order(&mut self, record: &Arc<OutOfOrderRecord>) -> Option<Arc<OutOfOrderRecord>> {
        let old = self.unset_out_of_order(&record.property, &record.room, record.from);
        let book = self.checked_book_mut(&record.property);
        let room = book.room_mut(&record.room);
        let at = room.out_of_order.partition_point(|other| other.from < record.from);
        room.out_of_order.insert(at, Arc::clone(record));
        let room_type = room.record.room.room_type.clone();
        let nights = &mut book.room_type_mut(&room_type).nights;
        nights.change(record.from, record.to, |count| count.out_of_order += 1);
        book.retake(&record.room, record.from, record.to);
        old
    }

    fn unset_out_of_order(
        &mut self,
        property: &PropertyId,
        room: &RoomId,
        from: Date,
    ) -> Option<Arc<OutOfOrderRecord>> {
        let book = self.checked_book_mut(property);
        let closed = book.room_mut(room);
        let at = closed.out_of_order.binary_search_by_key(&from, |closure| closure.from).ok()?;
        let old = closed.out_of_order.remove(at);
        let room_type = closed.record.room.room_type.clone();
        let nights = &mut book.room_type_mut(&room_type).nights;
        nights.change(old.from, old.to, |count| count.out_of_order -= 1);
        book.retake(room, old.from, old.to);
        Some(old)
    }
}

fn book_records(book: &Book) -> impl Iterator<Item = Record> + '_ {
    let property = std::iter::once(Record::Property(book.record.clone()));
    let types = book.room_types.values().map(|room_type| Record::RoomType(room_type.record.clone()));
    let rooms = || book.rooms_by_id.iter().map(|(_, slot)| book.room_at(*slot));
    let room_records = rooms().map(|room| Record::Room(room.record.clone()));
    let type_rates = book.room_types.iter().flat_map(|(id, room_type)| {
        let target = RateTarget::RoomType(id.clone());
        room_type.rates.all().iter().map(move |segment| (target.clone(), segment.clone()))
    });
    let room_rates = rooms().flat_map(|room| {
        let target = RateTarget::Room(room.record.room.room.clone());
        room.rates.all().iter().map(move |segment| (target.clone(), segment.clone()))
    });
    let closures = rooms().flat_map(|room| room.out_of_order.iter().cloned().map(Record::OutOfOrder));
    let property_id = &book.record.property.property;
    let rates = type_rates.chain(room_rates);
    let rates =
        rates.map(move |(target, segment)| Record::Rate(RateRecord::new(property_id, &target, segment)));
    let rules = book.room_types.iter().flat_map(move |(id, room_type)| {
        let segments = room_type.rules.all().iter();
        segments
            .map(move |segment| Record::Restriction(RestrictionRecord::new(property_id, id, segment.clone())))
    });
    property.chain(types).chain(room_records).chain(rates).chain(closures).chain(rules)
}
