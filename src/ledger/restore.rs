//! Rebuilding a ledger from its persisted form.

use super::check::{self, Rooms};
use super::digest::{StateHash, digest_of};
use super::id::{PropertyId, RoomId};
use super::idempotency::KeyHolder;
use super::occupancy::{NotFree, RoomStays};
use super::packed::Packed;
use super::record::{Header, Record, RecordCounts};
use super::state::Ledger;
use super::store::{DigestMap, SortedMap};
use crate::planted::{Bug, planted};

/// Why a header and its records are not the state that was persisted.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Damage {
    #[error("record {number} ({record}) appears twice")]
    Twice { number: u64, record: String },
    #[error("record {number} ({record}) does not fit the records before it")]
    Unfit { number: u64, record: String },
    #[error("the stays in room {room} of {property} fit neither one another nor the room")]
    Room { property: PropertyId, room: RoomId },
    #[error("record {number} ({record}) answers for an idempotency key for which one before it does")]
    KeyTwice { number: u64, record: String },
    #[error("the header counts {expected:?}, there are {found:?}")]
    Counts { expected: RecordCounts, found: RecordCounts },
    #[error("the header's state hash is {expected}, that of the records {found}")]
    StateHash { expected: StateHash, found: StateHash },
}

/// Keys for which there is space before they come, at most: not all that is made need have one, and a header that is
/// damaged must not ask for all memory.
const KEYS_EXPECTED_MAX: u64 = 1 << 20;

/// A record with what its place in the ledger needs of it alone, so that another thread can see to that.
pub struct Prepared {
    record: Record,
    digest: u128,
    packed: Option<Packed>,
}

impl Prepared {
    /// From a reservation's [packed](Packed) form; `None` where it is none that this build can read.
    pub fn unpack(bytes: &[u8]) -> Option<Prepared> {
        let (packed, record) = Packed::read(bytes)?;
        let record = Record::Reservation(record);
        Some(Prepared { digest: digest_of(&record), packed: Some(packed), record })
    }
}

impl From<Record> for Prepared {
    fn from(record: Record) -> Prepared {
        Prepared { digest: digest_of(&record), packed: Packed::of(&record), record }
    }
}

/// A ledger whose records come one after the other.
pub struct Restoring {
    header: Header,
    ledger: Ledger,
    /// Records so far.
    number: u64,
    room_stays: RoomStays,
}

impl Restoring {
    /// Begins with a header; what belongs to it is what its ledger [persists](Ledger::persisted), in that order.
    pub fn new(header: Header) -> Restoring {
        let mut ledger = Ledger::new();
        ledger.lsn = header.lsn;
        ledger.stamp = header.stamp;
        ledger.event_chain = header.event_chain;
        ledger.history_from = header.history_from;
        // What mostly has a key.
        let keys = header.records.reservations.saturating_add(header.records.outcomes);
        ledger.keys = DigestMap::for_about(keys.min(KEYS_EXPECTED_MAX) as usize);
        Restoring { header, ledger, number: 0, room_stays: RoomStays::default() }
    }

    /// Puts the next record into every index. What is left of it is the caller's to drop, wherever that costs least. After
    /// an error nothing can be restored any more.
    pub fn put(&mut self, prepared: &mut Prepared) -> Result<(), Damage> {
        self.number += 1;
        let Prepared { record, digest, packed } = prepared;
        let described = |record: &Record| format!("{:?}", record.key());
        if check::beside_key(&self.ledger, record, Rooms::Together).is_err() {
            return Err(Damage::Unfit { number: self.number, record: described(record) });
        }
        let gathered = Some(&mut self.room_stays);
        if let Some(old) = self.ledger.set_beside_keys(record, *digest, packed.take(), gathered).old {
            return Err(Damage::Twice { number: self.number, record: described(&old) });
        }
        let Some(digest) = record.key_digest() else { return Ok(()) };
        let other = self.ledger.keys.insert(digest, KeyHolder::of(record));
        if other.is_some() {
            return Err(Damage::KeyTwice { number: self.number, record: described(record) });
        }
        Ok(())
    }

    /// The ledger, which is held against its header: a changed bit is found by the state hash.
    pub fn finish(self) -> Result<Ledger, Damage> {
        let Restoring { header, mut ledger, room_stays, number: _ } = self;
        ledger.move_in(room_stays).map_err(|NotFree { property, room }| Damage::Room { property, room })?;
        if ledger.counts != header.records {
            return Err(Damage::Counts { expected: header.records, found: ledger.counts });
        }
        let found = ledger.state_hash();
        if found != header.state_hash {
            return Err(Damage::StateHash { expected: header.state_hash, found });
        }
        if planted(Bug::KeysLostInSnapshot) {
            ledger.keys = DigestMap::new();
        }
        if planted(Bug::HoldsLostInSnapshot) {
            ledger.due = SortedMap::new();
        }
        Ok(ledger)
    }
}
