//! The persisted form of the whole state: one record for each thing that exists.
//!
//! Everything else in the ledger (calendars, counts, indexes) is derived from records and the [`Header`], and is
//! rebuilt from them. Names and tags here are written to disk and never change their meaning.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::command::{Prices, RateTarget, Rules};
use super::date::Date;
use super::digest::{Digest, Digester, StateHash, digest_fields, digest_later};
use super::event::{EventChain, Mark};
use super::id::{BlockId, Lsn, PropertyId, ReservationId, RoomId, RoomTypeId, Timestamp, WaitlistId};
use super::outcome::Outcome;
use super::packed::Packed;
use super::property::{Block, Property, Room, RoomType};
use super::quarantine::Quarantined;
use super::reservation::{Reservation, WaitlistEntry};
use super::segments::Segment;

/// What is in no record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Header {
    pub lsn: Lsn,
    pub stamp: Timestamp,
    /// The head of the hash chain over all events so far: a history that was fetched from elsewhere is compared with it.
    #[serde(default)]
    pub event_chain: EventChain,
    /// What was changed up to here is not kept any more, where something is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub history_from: Option<Mark>,
    /// Over these and all records.
    pub state_hash: StateHash,
    pub records: RecordCounts,
}

/// How many records there are of each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RecordCounts {
    pub properties: u64,
    pub room_types: u64,
    pub rooms: u64,
    pub rates: u64,
    pub reservations: u64,
    pub outcomes: u64,
    pub quarantined: u64,
    #[serde(skip_serializing_if = "is_none")]
    pub out_of_order: u64,
    #[serde(skip_serializing_if = "is_none")]
    pub restrictions: u64,
    #[serde(skip_serializing_if = "is_none")]
    pub blocks: u64,
    #[serde(skip_serializing_if = "is_none")]
    pub waitlist: u64,
}

/// Headers of ledgers that have no such records are written as ever.
fn is_none(count: &u64) -> bool {
    *count == 0
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Record {
    Property(PropertyRecord),
    RoomType(RoomTypeRecord),
    Room(RoomRecord),
    Rate(RateRecord),
    Reservation(ReservationRecord),
    Outcome(Arc<OutcomeRecord>),
    Quarantined(Arc<Quarantined>),
    OutOfOrder(Arc<OutOfOrderRecord>),
    Restriction(RestrictionRecord),
    Block(BlockRecord),
    Waitlist(WaitlistRecord),
}

/// A record as it is persisted.
pub enum Persisted<'a> {
    Plain(Record),
    /// A reservation's.
    Packed(&'a Packed),
}

impl From<Persisted<'_>> for Record {
    fn from(persisted: Persisted<'_>) -> Record {
        match persisted {
            Persisted::Plain(record) => record,
            Persisted::Packed(packed) => Record::Reservation(packed.unpack()),
        }
    }
}

/// The idempotency key under which something was created; kept for as long as that exists.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CreatedUnder<T> {
    pub digest: u128,
    pub request_digest: u128,
    /// What the key's command made, once it looks different.
    #[serde(default = "none", skip_serializing_if = "Option::is_none")]
    pub original: Option<Arc<T>>,
}

fn none<T>() -> Option<T> {
    None
}

impl<T> CreatedUnder<T> {
    /// The key after a change: holds on to what was first made.
    pub fn keeping(&self, before: &Arc<T>) -> CreatedUnder<T> {
        let original = self.original.as_ref().unwrap_or(before);
        CreatedUnder { original: Some(Arc::clone(original)), ..*self }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PropertyRecord {
    pub property: Arc<Property>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<CreatedUnder<Property>>,
    /// The night audit that has not marked all its no-shows: confirmed stays that arrive before the business date and
    /// were last changed before this command.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auditing: Option<Lsn>,
    /// The waitlist is being gone through: who joined by this command or later has not been looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offering: Option<Lsn>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RoomTypeRecord {
    pub room_type: Arc<RoomType>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<CreatedUnder<RoomType>>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RoomRecord {
    pub room: Arc<Room>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<CreatedUnder<Room>>,
    /// The command that took it out of service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retired: Option<Lsn>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BlockRecord {
    pub block: Arc<Block>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<CreatedUnder<Block>>,
    /// Its release date has come: what is left of it is free.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub released: bool,
    /// Reservations that had a night from it when this was written, which the events tell; no night has none. What is
    /// picked up now is counted from the reservations themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub picked_up: Option<Arc<BTreeMap<Date, u32>>>,
    /// Its release date had come when it was made under its key, which a retry of that is told.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub made_released: bool,
}

/// Prices of a target on each night of `[from, to)`. Those of one target don't overlap.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RateRecord {
    pub property: PropertyId,
    pub target: RateTarget,
    pub from: Date,
    pub to: Date,
    pub prices: Arc<Prices>,
}

impl RateRecord {
    pub(super) fn new(property: &PropertyId, target: &RateTarget, segment: Segment<Prices>) -> RateRecord {
        let Segment { from, to, value: prices } = segment;
        RateRecord { property: property.clone(), target: target.clone(), from, to, prices }
    }
}

/// Rules for stays of a type on each date of `[from, to)`. Those of one type don't overlap.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RestrictionRecord {
    pub property: PropertyId,
    pub room_type: RoomTypeId,
    pub from: Date,
    pub to: Date,
    pub rules: Arc<Rules>,
}

impl RestrictionRecord {
    pub(super) fn new(
        property: &PropertyId,
        room_type: &RoomTypeId,
        segment: Segment<Rules>,
    ) -> RestrictionRecord {
        let Segment { from, to, value: rules } = segment;
        RestrictionRecord { property: property.clone(), room_type: room_type.clone(), from, to, rules }
    }
}

/// A room that can't be sold on the nights of `[from, to)`. Those of one room don't overlap.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OutOfOrderRecord {
    pub property: PropertyId,
    pub room: RoomId,
    pub from: Date,
    pub to: Date,
    pub reason: Box<str>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReservationRecord {
    pub reservation: Arc<Reservation>,
    /// The command that made it: stays without a room are served in this order.
    pub created_lsn: Lsn,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<CreatedUnder<Reservation>>,
    /// The command that last planned another room for it, where that came after the reservation's own last change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moved_lsn: Option<Lsn>,
    /// Where it was made together with others. Each keeps the key under which they were made; the first answers for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member: Option<Member>,
}

/// The place of a reservation in its booking.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// From 0.
    pub index: u32,
    /// How many were made together.
    pub of: u32,
}

impl ReservationRecord {
    /// The command that last changed it, be it only its plan.
    pub fn changed_lsn(&self) -> Lsn {
        self.moved_lsn.unwrap_or(self.reservation.lsn)
    }

    /// Which of its booking it is, from 0.
    pub(super) fn index(&self) -> u32 {
        self.member.map_or(0, |member| member.index)
    }
}

/// The outcome of a command that created nothing, under its idempotency key, for a time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OutcomeRecord {
    /// The command's own position; one command stores one outcome. A retry leaves a second one at a position before its own.
    pub lsn: Lsn,
    pub at: Timestamp,
    pub digest: u128,
    pub request_digest: u128,
    pub outcome: Outcome,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WaitlistRecord {
    pub entry: Arc<WaitlistEntry>,
    /// The command that made it: entries are served in this order.
    pub created_lsn: Lsn,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<CreatedUnder<WaitlistEntry>>,
}

/// What a record is found by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RecordKey {
    Property(PropertyId),
    RoomType(PropertyId, RoomTypeId),
    Room(PropertyId, RoomId),
    /// By its first night.
    Rate(PropertyId, RateTarget, Date),
    Reservation(ReservationId),
    Outcome(Lsn),
    Quarantined(Lsn),
    /// By its first night.
    OutOfOrder(PropertyId, RoomId, Date),
    /// By its first date.
    Restriction(PropertyId, RoomTypeId, Date),
    Block(PropertyId, BlockId),
    Waitlist(PropertyId, WaitlistId),
}

impl Record {
    pub fn key(&self) -> RecordKey {
        match self {
            Record::Property(record) => RecordKey::Property(record.property.property.clone()),
            Record::RoomType(record) => {
                let room_type = &record.room_type;
                RecordKey::RoomType(room_type.property.clone(), room_type.room_type.clone())
            }
            Record::Room(record) => RecordKey::Room(record.room.property.clone(), record.room.room.clone()),
            Record::Rate(record) => {
                RecordKey::Rate(record.property.clone(), record.target.clone(), record.from)
            }
            Record::Reservation(record) => RecordKey::Reservation(record.reservation.id),
            Record::Outcome(record) => RecordKey::Outcome(record.lsn),
            Record::Quarantined(record) => RecordKey::Quarantined(record.lsn),
            Record::OutOfOrder(record) => {
                RecordKey::OutOfOrder(record.property.clone(), record.room.clone(), record.from)
            }
            Record::Restriction(record) => {
                RecordKey::Restriction(record.property.clone(), record.room_type.clone(), record.from)
            }
            Record::Waitlist(record) => RecordKey::Waitlist(record.entry.property.clone(), record.entry.id),
            Record::Block(record) => {
                RecordKey::Block(record.block.property.clone(), record.block.block.clone())
            }
        }
    }

    /// The digest of the idempotency key that this record is found by.
    pub(super) fn key_digest(&self) -> Option<u128> {
        match self {
            Record::Property(record) => record.key.as_ref().map(|key| key.digest),
            Record::RoomType(record) => record.key.as_ref().map(|key| key.digest),
            Record::Room(record) => record.key.as_ref().map(|key| key.digest),
            Record::Reservation(record) => {
                record.key.as_ref().filter(|_| record.index() == 0).map(|key| key.digest)
            }
            Record::Block(record) => record.key.as_ref().map(|key| key.digest),
            Record::Waitlist(record) => record.key.as_ref().map(|key| key.digest),
            Record::Outcome(record) => Some(record.digest),
            Record::Rate(_) | Record::Quarantined(_) | Record::OutOfOrder(_) | Record::Restriction(_) => None,
        }
    }
}

impl RecordCounts {
    pub(super) fn of(&mut self, record: &Record) -> &mut u64 {
        match record {
            Record::Property(_) => &mut self.properties,
            Record::RoomType(_) => &mut self.room_types,
            Record::Room(_) => &mut self.rooms,
            Record::Rate(_) => &mut self.rates,
            Record::Reservation(_) => &mut self.reservations,
            Record::Outcome(_) => &mut self.outcomes,
            Record::Quarantined(_) => &mut self.quarantined,
            Record::OutOfOrder(_) => &mut self.out_of_order,
            Record::Restriction(_) => &mut self.restrictions,
            Record::Block(_) => &mut self.blocks,
            Record::Waitlist(_) => &mut self.waitlist,
        }
    }
}

impl Digest for Record {
    fn digest(&self, digester: &mut Digester) {
        match self {
            Record::Property(record) => {
                digester.word(1);
                record.digest(digester);
            }
            Record::RoomType(record) => {
                digester.word(2);
                record.digest(digester);
            }
            Record::Room(record) => {
                digester.word(3);
                record.digest(digester);
            }
            Record::Rate(record) => {
                digester.word(4);
                record.digest(digester);
            }
            Record::Reservation(record) => {
                digester.word(5);
                record.digest(digester);
            }
            Record::Outcome(record) => {
                digester.word(6);
                record.digest(digester);
            }
            Record::Quarantined(record) => {
                digester.word(7);
                record.digest(digester);
            }
            Record::OutOfOrder(record) => {
                digester.word(8);
                record.digest(digester);
            }
            Record::Restriction(record) => {
                digester.word(9);
                record.digest(digester);
            }
            Record::Block(record) => {
                digester.word(10);
                record.digest(digester);
            }
            Record::Waitlist(record) => {
                digester.word(11);
                record.digest(digester);
            }
        }
    }
}

impl<T: Digest> Digest for CreatedUnder<T> {
    fn digest(&self, digester: &mut Digester) {
        let CreatedUnder { digest, request_digest, original } = self;
        digest.digest(digester);
        request_digest.digest(digester);
        original.digest(digester);
    }
}

impl Digest for BlockRecord {
    fn digest(&self, digester: &mut Digester) {
        let BlockRecord { block, key, released, picked_up, made_released } = self;
        block.digest(digester);
        key.digest(digester);
        released.digest(digester);
        digest_later(1, picked_up, digester);
        digest_later(2, &made_released.then_some(true), digester);
    }
}

digest_fields! {
    PropertyRecord { property, key; auditing = 1, offering = 2 }
    WaitlistRecord { entry, created_lsn, key }
    RoomTypeRecord { room_type, key }
    RoomRecord { room, key; retired = 1 }
    RateRecord { property, target, from, to, prices }
    ReservationRecord { reservation, created_lsn, key; member = 1, moved_lsn = 2 }
    Member { index, of }
    OutOfOrderRecord { property, room, from, to, reason }
    RestrictionRecord { property, room_type, from, to, rules }
    OutcomeRecord { lsn, at, digest, request_digest, outcome }
}
