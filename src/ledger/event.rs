//! Events: what a command changed, told to whoever follows.
//!
//! A [`Commit`] is read off the journal of a command's transaction: records before and after, shared with the state, so
//! that applying encodes and copies nothing. What each change is called, and what is no event at all, is derived from
//! it when somebody asks. A hash chain over all commits is part of the state: a history that was kept or fetched
//! elsewhere is checked against it at both ends.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::digest::{Digest, Digester, digest_later, digest_of};
use super::id::{Lsn, PropertyId, Timestamp};
use super::record::{Record, RecordKey, RoomRecord};
use super::reservation::{Reservation, Status, WaitlistStatus};
use super::state::Ledger;

/// The head of the chain: 128 bits over all commits from the first on. It tells apart histories that differ by
/// accident, like the state hash whose digests it is made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EventChain(pub u128);

impl Digest for EventChain {
    fn digest(&self, digester: &mut Digester) {
        self.0.digest(digester);
    }
}

/// A place in the chain of events: what was told up to and including a command.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    pub lsn: Lsn,
    pub chain: EventChain,
}

impl Mark {
    pub fn of(ledger: &Ledger) -> Mark {
        Mark { lsn: ledger.lsn(), chain: ledger.event_chain() }
    }
}

/// Digests of a record before and after a change; 0 where there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Digests {
    pub before: u128,
    pub after: u128,
}

/// One record's change by one command.
#[derive(Clone, Debug, PartialEq)]
pub struct RecordChange {
    pub key: RecordKey,
    pub before: Option<Record>,
    pub after: Option<Record>,
    pub digests: Digests,
    /// Made by the ledger because it was due, not by the command that came then.
    pub due: bool,
}

/// What one command changed. Commands that changed nothing that is told have none.
#[derive(Clone, Debug, PartialEq)]
pub struct Commit {
    pub lsn: Lsn,
    /// Log time.
    pub at: Timestamp,
    /// The command is the ledger's own, of no client.
    pub own: bool,
    /// The idempotency key, as the client sent it.
    pub key: Option<Arc<str>>,
    /// The command assigned a room: it is told from other changes of a stay.
    pub assigned: bool,
    /// The command dealt with one that was set aside, and how.
    pub settled: Option<Settled>,
    pub changes: Vec<RecordChange>,
    /// The chain's head after this commit.
    pub chain: EventChain,
}

/// How a command that was set aside was dealt with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Settled {
    Retried,
    Discarded,
}

impl Digest for Settled {
    fn digest(&self, digester: &mut Digester) {
        digester.word(match self {
            Settled::Retried => 1,
            Settled::Discarded => 2,
        });
    }
}

/// The types of events, by the names that the contract gives them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventType {
    ReservationHeld,
    ReservationConfirmed,
    ReservationAmended,
    ReservationMoved,
    ReservationAssigned,
    ReservationCanceled,
    ReservationExpired,
    ReservationCheckedIn,
    ReservationCheckedOut,
    ReservationNoShow,
    Defined(Resource),
    Changed(Resource),
    Retired(Resource),
    WaitlistOffered,
    CommandQuarantined,
    CommandRetried,
    CommandDiscarded,
}

/// What is defined, changed and retired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    Property,
    RoomType,
    Room,
    Rate,
    Restriction,
    Block,
    Waitlist,
}

impl EventType {
    pub fn as_str(self) -> &'static str {
        use Resource::*;
        match self {
            EventType::ReservationHeld => "reservation.held",
            EventType::ReservationConfirmed => "reservation.confirmed",
            EventType::ReservationAmended => "reservation.amended",
            EventType::ReservationMoved => "reservation.moved",
            EventType::ReservationAssigned => "reservation.assigned",
            EventType::ReservationCanceled => "reservation.canceled",
            EventType::ReservationExpired => "reservation.expired",
            EventType::ReservationCheckedIn => "reservation.checked_in",
            EventType::ReservationCheckedOut => "reservation.checked_out",
            EventType::ReservationNoShow => "reservation.no_show",
            EventType::Defined(Property) => "property.defined",
            EventType::Defined(RoomType) => "room_type.defined",
            EventType::Defined(Room) => "room.defined",
            EventType::Defined(Rate) => "rate.defined",
            EventType::Defined(Restriction) => "restriction.defined",
            EventType::Defined(Block) => "block.defined",
            EventType::Defined(Waitlist) => "waitlist.defined",
            EventType::Changed(Property) => "property.changed",
            EventType::Changed(RoomType) => "room_type.changed",
            EventType::Changed(Room) => "room.changed",
            EventType::Changed(Rate) => "rate.changed",
            EventType::Changed(Restriction) => "restriction.changed",
            EventType::Changed(Block) => "block.changed",
            EventType::Changed(Waitlist) => "waitlist.changed",
            EventType::Retired(Property) => "property.retired",
            EventType::Retired(RoomType) => "room_type.retired",
            EventType::Retired(Room) => "room.retired",
            EventType::Retired(Rate) => "rate.retired",
            EventType::Retired(Restriction) => "restriction.retired",
            EventType::Retired(Block) => "block.retired",
            EventType::Retired(Waitlist) => "waitlist.retired",
            EventType::WaitlistOffered => "waitlist.offered",
            EventType::CommandQuarantined => "command.quarantined",
            EventType::CommandRetried => "command.retried",
            EventType::CommandDiscarded => "command.discarded",
        }
    }
}

impl EventChain {
    /// The head after a commit whose own [`Commit::chain`] is not looked at.
    pub fn after(self, commit: &Commit) -> EventChain {
        struct Link<'a>(EventChain, &'a Commit);

        impl Digest for Link<'_> {
            fn digest(&self, digester: &mut Digester) {
                let Link(chain, Commit { lsn, at, own, key, assigned, settled, changes, chain: _ }) = self;
                chain.digest(digester);
                lsn.digest(digester);
                at.digest(digester);
                own.digest(digester);
                key.digest(digester);
                assigned.digest(digester);
                digest_later(1, settled, digester);
                digester.word(changes.len() as u64);
                for RecordChange { key: _, before: _, after: _, digests, due } in changes {
                    digests.before.digest(digester);
                    digests.after.digest(digester);
                    due.digest(digester);
                }
            }
        }

        EventChain(digest_of(&Link(self, commit)))
    }
}

impl Commit {
    /// The events, each with its number within the command, from 0.
    pub fn events(&self) -> impl Iterator<Item = (u32, EventType, &RecordChange)> {
        let told = self.changes.iter().filter_map(|change| Some((self.event_type(change)?, change)));
        (0..).zip(told).map(|(n, (event_type, change))| (n, event_type, change))
    }

    /// What the change is told as; `None` for what nobody outside can see.
    fn event_type(&self, change: &RecordChange) -> Option<EventType> {
        use Resource::*;
        let (before, after) = (change.before.as_ref(), change.after.as_ref());
        match after.or(before)? {
            Record::Property(_) => defined(Property, before, after),
            Record::RoomType(_) => defined(RoomType, before, after),
            Record::Room(_) => defined(Room, before.filter(in_service), after.filter(in_service)),
            Record::Rate(_) => defined(Rate, before, after),
            Record::Restriction(_) => defined(Restriction, before, after),
            Record::Block(_) => defined(Block, before, after),
            Record::Waitlist(_) if after.is_some_and(is_offered) => Some(EventType::WaitlistOffered),
            Record::Waitlist(_) => defined(Waitlist, before, after),
            // A room's time out of order is no resource of its own.
            Record::OutOfOrder(_) => Some(EventType::Changed(Room)),
            Record::Reservation(record) => {
                let before = before.and_then(Record::as_reservation);
                after.and_then(Record::as_reservation)?;
                reservation_event(before, &record.reservation, self.assigned)
            }
            Record::Quarantined(_) if after.is_some() => Some(EventType::CommandQuarantined),
            // That one is forgotten because newer ones came is not told.
            Record::Quarantined(_) => self.settled.map(|settled| match settled {
                Settled::Retried => EventType::CommandRetried,
                Settled::Discarded => EventType::CommandDiscarded,
            }),
            Record::Outcome(_) => None,
        }
    }
}

impl RecordChange {
    /// A change read back from where it was kept; `None` where it changes nothing.
    pub fn new(before: Option<Record>, after: Option<Record>, due: bool) -> Option<RecordChange> {
        let key = after.as_ref().or(before.as_ref())?.key();
        let digest = |record: &Option<Record>| record.as_ref().map_or(0, digest_of);
        let digests = Digests { before: digest(&before), after: digest(&after) };
        Some(RecordChange { key, before, after, digests, due })
    }

    /// Whose event it is; `None` for a command that was set aside.
    pub fn property(&self) -> Option<&PropertyId> {
        match self.after.as_ref().or(self.before.as_ref())? {
            Record::Property(record) => Some(&record.property.property),
            Record::RoomType(record) => Some(&record.room_type.property),
            Record::Room(record) => Some(&record.room.property),
            Record::Rate(record) => Some(&record.property),
            Record::Reservation(record) => Some(&record.reservation.property),
            Record::OutOfOrder(record) => Some(&record.property),
            Record::Restriction(record) => Some(&record.property),
            Record::Block(record) => Some(&record.block.property),
            Record::Waitlist(record) => Some(&record.entry.property),
            Record::Outcome(_) | Record::Quarantined(_) => None,
        }
    }
}

fn defined(resource: Resource, before: Option<&Record>, after: Option<&Record>) -> Option<EventType> {
    match (before, after) {
        (None, None) => None,
        (None, _) => Some(EventType::Defined(resource)),
        (_, None) => Some(EventType::Retired(resource)),
        (Some(before), Some(after)) => (!looks_same(before, after)).then_some(EventType::Changed(resource)),
    }
}

fn is_offered(record: &Record) -> bool {
    matches!(record, Record::Waitlist(record) if record.entry.status == WaitlistStatus::Offered)
}

/// A retired room is shown to nobody.
fn in_service(record: &&Record) -> bool {
    !matches!(record, Record::Room(RoomRecord { retired: Some(_), .. }))
}

/// Whether only what is kept for the ledger itself differs.
fn looks_same(before: &Record, after: &Record) -> bool {
    match (before, after) {
        (Record::Property(before), Record::Property(after)) => before.property == after.property,
        (Record::RoomType(before), Record::RoomType(after)) => before.room_type == after.room_type,
        (Record::Room(before), Record::Room(after)) => before.room == after.room,
        (Record::Block(before), Record::Block(after)) => {
            (&before.block, before.released) == (&after.block, after.released)
        }
        (before, after) => before == after,
    }
}

fn reservation_event(before: Option<&Reservation>, after: &Reservation, assigned: bool) -> Option<EventType> {
    let became = match after.status {
        Status::Held => EventType::ReservationHeld,
        Status::Confirmed => EventType::ReservationConfirmed,
        Status::Canceled => EventType::ReservationCanceled,
        Status::Expired => EventType::ReservationExpired,
        Status::InHouse => EventType::ReservationCheckedIn,
        Status::CheckedOut => EventType::ReservationCheckedOut,
        Status::NoShow => EventType::ReservationNoShow,
    };
    let Some(before) = before.filter(|before| before.status == after.status) else { return Some(became) };
    if before.revision != after.revision {
        return Some(if assigned { EventType::ReservationAssigned } else { EventType::ReservationAmended });
    }
    (before.room != after.room).then_some(EventType::ReservationMoved)
}

impl Record {
    pub fn as_reservation(&self) -> Option<&Reservation> {
        match self {
            Record::Reservation(record) => Some(&record.reservation),
            _ => None,
        }
    }
}

/// Joins the changes of each record into one, at the place of its first, and leaves out what came to nothing.
pub fn coalesce(journal: &mut Vec<RecordChange>) {
    // Outcomes are answers to clients, not changes of what there is.
    journal.retain(|change| !matches!(change.key, RecordKey::Outcome(_)));
    if journal.len() > 1 {
        let mut first: BTreeMap<RecordKey, usize> = BTreeMap::new();
        let mut repeats = Vec::new();
        for (at, change) in journal.iter().enumerate() {
            match first.get(&change.key) {
                Some(first) => repeats.push((*first, at)),
                None => drop(first.insert(change.key.clone(), at)),
            }
        }
        for (first, at) in repeats {
            let (after, digest) = (journal[at].after.take(), journal[at].digests.after);
            journal[first].after = after;
            journal[first].digests.after = digest;
            // What the command did as well is told as the doing of whoever sent it.
            journal[first].due &= journal[at].due;
            // Nothing before and nothing after: left out below.
            journal[at].before = None;
            journal[at].digests = Digests::default();
        }
    }
    journal.retain(|change| change.digests.before != change.digests.after);
}
