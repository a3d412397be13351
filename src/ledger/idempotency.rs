//! What a retried request is answered with.
//!
//! The key of a command that created something is kept in that thing's record, as long as it exists. Every other
//! outcome is kept for [`KEPT_MS`] of log time, or until [`OUTCOMES_MAX`] newer ones came.

use std::sync::Arc;

use super::block;
use super::id::{IdempotencyKey, Lsn, ReservationId};
use super::kept_outcome::KeptOutcome;
use super::outcome::{Booking, Outcome, Refusal};
use super::record::{CreatedUnder, OutcomeRecord, Record, RecordKey, ReservationRecord};
use super::state::Ledger;
use super::txn::{Halt, Txn};
use crate::planted::{Bug, planted};

/// Log time for which an outcome is kept: 24 h.
pub const KEPT_MS: u64 = 24 * 60 * 60 * 1_000;

/// Outcomes kept, at most.
pub const OUTCOMES_MAX: usize = 10_000_000;

/// Outdated outcomes that one command drops; more than one, so that a backlog shrinks.
const DROPPED_MAX: usize = 16;

/// Places before a retry's own that are looked at for a free one, nearly all of which are: commands without a key, and those
/// that create something, store nothing.
const PLACES_MAX: usize = 256;

/// Where the outcome under a key is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyHolder {
    Reservation(ReservationId),
    Outcome(Lsn),
    /// A property, room type, room, block or entry of the waitlist.
    Inventory(Arc<RecordKey>),
}

impl KeyHolder {
    pub fn of(record: &Record) -> KeyHolder {
        match record {
            Record::Reservation(record) => KeyHolder::Reservation(record.reservation.id),
            Record::Outcome(record) => KeyHolder::Outcome(record.lsn),
            other => KeyHolder::Inventory(Arc::new(other.key())),
        }
    }
}

/// The key of a new record.
pub fn created_under<T>(key: Option<&IdempotencyKey>) -> Option<CreatedUnder<T>> {
    let IdempotencyKey { text: _, digest, request_digest } = key.filter(|_| !planted(Bug::KeyForgotten))?;
    Some(CreatedUnder { digest: *digest, request_digest: *request_digest, original: None })
}

/// The outcome that is stored under the key; `idempotency_key_reused` if it is another request's. One that is outdated is
/// dropped.
pub fn stored(txn: &mut Txn<'_>, key: &IdempotencyKey) -> Result<Option<Outcome>, Halt> {
    let Some(holder) = txn.keys.get(&key.digest) else { return Ok(None) };
    match held(txn, holder) {
        Some((request_digest, outcome)) if request_digest == key.request_digest => Ok(Some(outcome)),
        Some(_) => Ok(Some(Outcome::Refused(Refusal::IdempotencyKeyReused))),
        None => {
            if let KeyHolder::Outcome(lsn) = *holder {
                txn.remove(&RecordKey::Outcome(lsn))?;
            }
            Ok(None)
        }
    }
}

/// What a holder answers, with the digest of the request that it answers. `None` where it is outdated.
fn held(ledger: &Ledger, holder: &KeyHolder) -> Option<(u128, Outcome)> {
    fn answer<T>(
        key: &Option<CreatedUnder<T>>,
        now: &Arc<T>,
        outcome: impl FnOnce(Arc<T>) -> Outcome,
    ) -> Option<(u128, Outcome)> {
        let key = key.as_ref()?;
        let original = key.original.as_ref().filter(|_| !planted(Bug::ReplayShowsNow)).unwrap_or(now);
        Some((key.request_digest, outcome(Arc::clone(original))))
    }
    match holder {
        KeyHolder::Outcome(lsn) => {
            let kept = ledger.outcomes.get(lsn).filter(|kept| !is_outdated(ledger, kept))?;
            Some((kept.request_digest, kept.outcome()))
        }
        KeyHolder::Reservation(id) => {
            let record = ledger.find(*id).ok()?;
            if record.member.is_some() {
                return booked(ledger, &record);
            }
            answer(&record.key, &record.reservation, Outcome::Reserved)
        }
        KeyHolder::Inventory(key) => match &**key {
            RecordKey::Property(property) => {
                let record = &ledger.book(property).ok()?.record;
                answer(&record.key, &record.property, |property| Outcome::Property {
                    created: true,
                    property,
                })
            }
            RecordKey::RoomType(property, room_type) => {
                let record = &ledger.book(property).ok()?.room_type(room_type).ok()?.record;
                answer(&record.key, &record.room_type, |room_type| Outcome::RoomType {
                    created: true,
                    room_type,
                })
            }
            RecordKey::Room(property, room) => {
                let record = &ledger.book(property).ok()?.room_ever(room)?.record;
                answer(&record.key, &record.room, |room| Outcome::Room { created: true, room })
            }
            RecordKey::Waitlist(property, id) => {
                let record = ledger.book(property).ok()?.waitlist.get(id)?;
                answer(&record.key, &record.entry, Outcome::Waitlisted)
            }
            RecordKey::Block(property, block) => {
                let record = ledger.book(property).ok()?.blocks.get(block)?.record.as_ref()?;
                answer(&record.key, &record.block, |block| {
                    Outcome::Block(block::as_created(block, record.made_released))
                })
            }
            _ => None,
        },
    }
}

/// A booking as it was made.
fn booked(ledger: &Ledger, first: &ReservationRecord) -> Option<(u128, Outcome)> {
    let id = first.reservation.booking_id;
    let original = |record: ReservationRecord| {
        let original = record.key.and_then(|key| key.original);
        original.unwrap_or(record.reservation)
    };
    let reservations = ledger.members(id).map(original).collect();
    Some((first.key.as_ref()?.request_digest, Outcome::Booked(Booking { id, reservations })))
}

fn is_outdated(ledger: &Ledger, kept: &KeptOutcome) -> bool {
    kept.at.0.saturating_add(KEPT_MS) <= ledger.stamp.0
}

/// Drops outcomes that are outdated, the oldest first.
pub fn drop_outdated(txn: &mut Txn<'_>) -> Result<(), Halt> {
    for _ in 0..DROPPED_MAX {
        let Some((lsn, kept)) = txn.outcomes.first() else { break };
        if !is_outdated(txn, kept) && txn.outcomes.len() <= txn.outcomes_max {
            break;
        }
        let lsn = *lsn;
        txn.remove(&RecordKey::Outcome(lsn))?;
    }
    Ok(())
}

/// Stores an outcome under its key, unless what it created holds the key already.
pub fn store(txn: &mut Txn<'_>, key: &IdempotencyKey, outcome: &Outcome) -> Result<(), Halt> {
    let forgets = match outcome {
        Outcome::Reserved(_) => planted(Bug::KeyForgotten),
        _ => planted(Bug::OutcomeForgotten),
    };
    if txn.keys.contains(&key.digest) || forgets {
        return Ok(());
    }
    let IdempotencyKey { text: _, digest, request_digest } = *key;
    store_as(txn, digest, request_digest, outcome.clone())
}

/// Takes away what answers for a key because the command at `lsn` was set aside under it, and gives it.
pub fn take_quarantined(
    txn: &mut Txn<'_>,
    key: &IdempotencyKey,
    lsn: Lsn,
) -> Result<Option<Arc<OutcomeRecord>>, Halt> {
    let Some(KeyHolder::Outcome(at)) = txn.keys.get(&key.digest) else { return Ok(None) };
    let record = txn.outcomes.get(at).map(|kept| kept.record(*at));
    let Some(record) = record.filter(|record| record.outcome == Outcome::Quarantined { lsn }) else {
        return Ok(None);
    };
    txn.remove(&RecordKey::Outcome(record.lsn))?;
    Ok(Some(record))
}

/// Stores what came of a command in the place of its failure, for as long as that would have been kept, unless what it
/// created holds the key.
pub fn store_in_place_of(txn: &mut Txn<'_>, failed: &OutcomeRecord, outcome: &Outcome) -> Result<(), Halt> {
    if txn.keys.contains(&failed.digest) {
        return Ok(());
    }
    let outcome = outcome.clone();
    Ok(txn.put(Record::Outcome(Arc::new(OutcomeRecord { outcome, ..*failed })))?)
}

/// What a command stored that was set aside at `lsn` and is retried now makes way for the retry's own outcome. It stands among
/// those that are about as old: at `lsn`, which may be much older, it would be the first to go, and until then keep what is
/// behind it from going. Where all of these places are taken it is forgotten.
pub fn make_way(txn: &mut Txn<'_>, lsn: Lsn) -> Result<(), Halt> {
    let own = txn.lsn;
    let Some(record) = txn.outcomes.get(&own).map(|kept| kept.record(own)) else { return Ok(()) };
    let near = (lsn.0..own.0).rev().take(PLACES_MAX).map(Lsn);
    let free = near.chain([lsn]).find(|place| !txn.outcomes.contains(place));
    let Some(lsn) = free else { return Ok(()) };
    txn.remove(&RecordKey::Outcome(own))?;
    let outcome = record.outcome.clone();
    Ok(txn.put(Record::Outcome(Arc::new(OutcomeRecord { lsn, outcome, ..*record })))?)
}

/// Stores an outcome for a time. One command stores one.
pub fn store_as(txn: &mut Txn<'_>, digest: u128, request_digest: u128, outcome: Outcome) -> Result<(), Halt> {
    let (lsn, at) = (txn.lsn, txn.stamp);
    txn.put(Record::Outcome(Arc::new(OutcomeRecord { lsn, at, digest, request_digest, outcome })))?;
    if txn.outcomes.len() > txn.outcomes_max {
        let oldest = txn.outcomes.first().map(|(lsn, _)| *lsn);
        if let Some(oldest) = oldest {
            txn.remove(&RecordKey::Outcome(oldest))?;
        }
    }
    Ok(())
}
