//! The waitlist: who could not be given a stay, in the order in which they asked.
//!
//! Whenever something was freed, whatever freed it, [`follow`] goes through the property's entries, oldest first, and
//! makes a hold for each that fits now. So does [`join`] before it offers something to who joins; he waits where one
//! command does not come to the end of those before him. What one command does not come to is due:
//! [`PropertyRecord::offering`] says where to go on. What becomes of the hold becomes of the offer: confirmed it is booked,
//! ended it lapses, canceled it is withdrawn.
//!
//! A leader puts the rest of a pass into the log ahead of the next entry, see [`Ledger::ends_before`]. It can't where the
//! command that comes next stands in the same entry as the one that freed a room, or in one that was made before that was
//! applied. Such a command goes on with the pass only once before it is run, and may be given the room that somebody waits
//! for who stands further behind. To go to the end each time would have no bound: who fits by count alone takes a search
//! each, and any number of them may wait.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::Arc;

use uuid::Uuid;

use super::book::{Book, TypeBook};
use super::command::{Change, JoinWaitlist, LeaveWaitlist, Reserve, Wanted};
use super::date::Date;
use super::digest::{Digest, Digester, digest_of};
use super::due;
use super::event::RecordChange;
use super::id::{BookingId, IdempotencyKey, Lsn, PropertyId, ReservationId, RoomTypeId, WaitlistId};
use super::idempotency::created_under;
use super::outcome::{Outcome, Refusal};
use super::plan;
use super::quarantine::Failure;
use super::rate::Quote;
use super::record::{PropertyRecord, Record, RecordKey, WaitlistRecord};
use super::reservation::{Reservation, Status, WaitlistEntry, WaitlistStatus};
use super::reserve;
use super::state::Ledger;
use super::status;
use super::stay;
use super::txn::{Halt, Savepoint, Txn};
use crate::planted::{Bug, planted};

/// How long an offer is held.
const OFFERED_SECONDS: u64 = 60 * 60;

/// Entries that one command looks at, at most.
pub const LOOKED_AT_MAX: usize = 4_096;

/// Entries for which it looks for a room, at most.
const TRIED_MAX: usize = 256;

/// For how many of these one counts for which a plan was searched, and none found: in a large house that is work.
const SEARCH_COST: usize = 16;

/// Entries that one command comes to, at least, where there are as many.
const COME_TO_LEAST: usize = TRIED_MAX / SEARCH_COST;

pub fn join(
    txn: &mut Txn<'_>,
    key: Option<&IdempotencyKey>,
    command: &JoinWaitlist,
) -> Result<Outcome, Halt> {
    let JoinWaitlist { id, property, guest, room_type, arrival, departure, occupancy, .. } = command;
    let book = txn.book(property)?;
    let currency = judge(book, command)?;
    if book.waitlist.contains(id) {
        return Err(Failure::IdTaken.into());
    }
    let mut entry = WaitlistEntry {
        id: *id,
        property: property.clone(),
        guest: guest.clone(),
        room_type: room_type.clone(),
        arrival: *arrival,
        departure: *departure,
        occupancy: *occupancy,
        currency,
        status: WaitlistStatus::Waiting,
        reservation: None,
        created_at: txn.stamp(),
        updated_at: txn.stamp(),
    };
    if let Some(reservation) = hold_at_once(txn, &entry)? {
        (entry.status, entry.reservation) = (WaitlistStatus::Offered, Some(reservation));
    }
    let entry = Arc::new(entry);
    let record =
        WaitlistRecord { entry: Arc::clone(&entry), created_lsn: txn.lsn(), key: created_under(key) };
    txn.put(Record::Waitlist(record))?;
    Ok(Outcome::Waitlisted(entry))
}

/// Makes the hold for an entry that joins, where it fits and those before it don't.
fn hold_at_once(txn: &mut Txn<'_>, entry: &WaitlistEntry) -> Result<Option<ReservationId>, Halt> {
    let book = txn.book(&entry.property)?;
    // While those before it are gone through, it is not its turn.
    if book.record.offering.is_some() {
        return Ok(None);
    }
    let is_first = book.waiting.first().is_none();
    let before = txn.savepoint();
    let held = hold(txn, entry)?.ok();
    if held.is_none() || is_first {
        return Ok(held);
    }
    // What was sold may have made one fit that waits: a stay that fits in no room may be overbooked once a night is full.
    txn.roll_back(before);
    offer_all(txn, &entry.property)?;
    if txn.book(&entry.property)?.record.offering.is_some() {
        return Ok(None);
    }
    Ok(hold(txn, entry)?.ok())
}

/// What is wrong with the entry whatever is sold; its currency where nothing is.
fn judge(book: &Book, command: &JoinWaitlist) -> Result<super::id::Currency, Refusal> {
    let JoinWaitlist { arrival, departure, occupancy, .. } = *command;
    let room_type = book.room_type(&command.room_type)?;
    stay::length(arrival, departure)?;
    stay::not_in_past(arrival, book.business_date())?;
    stay::within_horizon(departure, book.business_date())?;
    stay::occupancy(occupancy, room_type)?;
    if !command.currency_known {
        return Err(Refusal::InvalidCurrency);
    }
    let currency = command.currency.unwrap_or(book.record.property.currency);
    let quote = Quote { arrival, departure, occupancy, currency };
    quote.price(room_type, None).map_err(|nights| Refusal::NotPriced { nights })?;
    Ok(currency)
}

/// An offer that stands is given back. Who left already may leave again.
pub fn leave(txn: &mut Txn<'_>, command: &LeaveWaitlist) -> Result<Outcome, Halt> {
    let record = find(txn, &command.property, command.id)?.clone();
    match record.entry.status {
        WaitlistStatus::Waiting => set(txn, record, WaitlistStatus::Withdrawn, None)?,
        WaitlistStatus::Offered => {
            let reservation = record.entry.reservation.ok_or(Failure::Invariant)?;
            if txn.find(reservation)?.created_lsn == txn.lsn() {
                unmake(txn, record, reservation)?;
            } else {
                // The entry follows its hold.
                status::cancel(txn, &Change { reservation, if_match: None })?;
            }
        }
        WaitlistStatus::Withdrawn => {}
        state @ (WaitlistStatus::Booked | WaitlistStatus::Lapsed) => {
            return Err(Refusal::NotWaiting { state }.into());
        }
    }
    Ok(Outcome::Removed)
}

/// Takes back an offer that was made because it was due, just before its guest leaves: by the same command, so that nobody was
/// told of it. It is as if he had left earlier.
fn unmake(txn: &mut Txn<'_>, record: WaitlistRecord, hold: ReservationId) -> Result<(), Halt> {
    set(txn, record, WaitlistStatus::Withdrawn, None)?;
    let made = txn.find(hold)?.reservation;
    txn.remove(&RecordKey::Reservation(hold))?;
    plan::give(txn, status::freed_by(&made).as_slice())
}

fn find<'a>(
    ledger: &'a Ledger,
    property: &PropertyId,
    id: WaitlistId,
) -> Result<&'a WaitlistRecord, Refusal> {
    let record = ledger.book(property)?.waitlist.get(&id);
    record.map(Arc::as_ref).ok_or(Refusal::WaitlistEntryNotFound)
}

fn set(
    txn: &mut Txn<'_>,
    record: WaitlistRecord,
    status: WaitlistStatus,
    reservation: Option<ReservationId>,
) -> Result<(), Halt> {
    let before = record.entry;
    let entry = WaitlistEntry { status, reservation, updated_at: txn.stamp(), ..(*before).clone() };
    let key = record.key.map(|key| key.keeping(&before));
    Ok(txn.put(Record::Waitlist(WaitlistRecord { entry: Arc::new(entry), key, ..record }))?)
}

/// Makes the hold that is offered, or says why the stay does not fit now.
fn hold(txn: &mut Txn<'_>, entry: &WaitlistEntry) -> Result<Result<ReservationId, Refusal>, Halt> {
    let id = |of: u64| Derived { entry: entry.id, lsn: txn.lsn(), of }.uuid();
    let command = Reserve {
        id: ReservationId(id(1)),
        booking_id: BookingId(id(2)),
        property: entry.property.clone(),
        guest: entry.guest.clone(),
        wanted: Wanted::RoomType(entry.room_type.clone()),
        arrival: entry.arrival,
        departure: entry.departure,
        occupancy: entry.occupancy,
        currency: Some(entry.currency),
        currency_known: true,
        hold_seconds: Some(OFFERED_SECONDS),
        expected_total: None,
        block: None,
        external_ref: None,
    };
    let unlucky = planted(Bug::DuePanics) && entry.occupancy == 2;
    assert!(!unlucky, "what is due for two is broken, on purpose");
    match reserve::make(txn, None, &command, None) {
        Ok(made) => Ok(Ok(made.id)),
        Err(Halt::Refused(refusal)) => Ok(Err(refusal)),
        Err(failed) => Err(failed),
    }
}

/// What the ledger makes by itself has an id that is derived from its cause.
struct Derived {
    entry: WaitlistId,
    lsn: Lsn,
    of: u64,
}

impl Digest for Derived {
    fn digest(&self, digester: &mut Digester) {
        let Derived { entry, lsn, of } = self;
        entry.digest(digester);
        lsn.digest(digester);
        of.digest(digester);
    }
}

impl Derived {
    fn uuid(&self) -> Uuid {
        uuid::Builder::from_custom_bytes(digest_of(self).to_be_bytes()).into_uuid()
    }
}

/// Lets offers follow what became of their holds, and offers what was freed since.
pub fn follow(txn: &mut Txn<'_>, since: Savepoint) -> Result<(), Halt> {
    if txn.counts.waitlist == 0 {
        return Ok(());
    }
    let changes = txn.changes_since(since);
    let changed: Vec<ReservationId> = changes.iter().filter_map(reservation).collect();
    let freed: BTreeSet<PropertyId> = changes.iter().filter_map(freed).cloned().collect();
    for reservation in changed {
        let Some((property, id)) = txn.offers.get(&reservation).cloned() else { continue };
        // As it stands now: one that is amended steps aside on the way, and is not canceled for that.
        let becomes = match txn.find(reservation)?.reservation.status {
            Status::Held => continue,
            Status::Expired => WaitlistStatus::Lapsed,
            Status::Canceled => WaitlistStatus::Withdrawn,
            Status::Confirmed | Status::InHouse | Status::CheckedOut | Status::NoShow => {
                WaitlistStatus::Booked
            }
        };
        let record = find(txn, &property, id)?.clone();
        set(txn, record, becomes, Some(reservation))?;
    }
    for property in freed {
        offer_all(txn, &property)?;
    }
    Ok(())
}

/// Offers what there is to the entries of the property. An offer that fails must not undo what freed the room for it: the
/// waitlist is due then.
fn offer_all(txn: &mut Txn<'_>, property: &PropertyId) -> Result<(), Halt> {
    let offered = due::attempt(txn, |txn| offer(txn, property, Lsn(0)))?;
    if offered.is_none() {
        go_on_at(txn, property, Some(Lsn(0)))?;
    }
    Ok(())
}

fn reservation(change: &RecordChange) -> Option<ReservationId> {
    match change.key {
        RecordKey::Reservation(id) => Some(id),
        _ => None,
    }
}

/// The property in which the change may have freed something.
fn freed(change: &RecordChange) -> Option<&PropertyId> {
    match change.key {
        RecordKey::Reservation(_) => {
            let before = change.before.as_ref()?.as_reservation()?;
            let after = change.after.as_ref().and_then(Record::as_reservation);
            let claim = |stay: &Reservation| (stay.nights(), stay.room_type.clone());
            (Some(claim(before)) != after.map(claim)).then_some(&before.property)
        }
        RecordKey::Waitlist(..) | RecordKey::Outcome(_) | RecordKey::Quarantined(_) => None,
        // With its business date wishes of yesterday lapse and more days can be booked; what else it says frees nothing.
        RecordKey::Property(_) => {
            let date = |record: &Option<Record>| match record {
                Some(Record::Property(it)) => Some(it.property.business_date),
                _ => None,
            };
            change.property().filter(|_| date(&change.before) != date(&change.after))
        }
        RecordKey::RoomType(..)
        | RecordKey::Room(..)
        | RecordKey::Rate(..)
        | RecordKey::OutOfOrder(..)
        | RecordKey::Restriction(..)
        | RecordKey::Block(..) => change.property(),
    }
}

/// Goes on with a property of which one command did not come to the end.
pub fn go_on(txn: &mut Txn<'_>, property: &PropertyId) -> Result<(), Halt> {
    let from = txn.book(property)?.record.offering.unwrap_or_default();
    offer(txn, property, from)
}

/// Commands that it takes until a pass that is under way has come to its end, at most, where nothing more is freed; not much
/// more than `most` are counted. At most `looked_at` entries are looked at: behind these each turn comes to the least.
pub fn turns(book: &Book, most: usize, looked_at: usize) -> usize {
    let Some(from) = book.record.offering else { return 0 };
    let next = (from, WaitlistId(Uuid::nil()));
    let mut waiting = book.waiting.from(Bound::Included(&next));
    let (mut over, mut turn) = (0, Turn::default());
    for ((_, id), ()) in waiting.by_ref().take(looked_at.min(LOOKED_AT_MAX)) {
        if turn.tried >= TRIED_MAX {
            (over, turn) = (over + 1, Turn::default());
        }
        if over >= most {
            return over;
        }
        if let Some(record) = book.waitlist.get(id) {
            turn.come_to(book, &record.entry);
        }
    }
    over + 1 + waiting.take(most * COME_TO_LEAST).count().div_ceil(COME_TO_LEAST)
}

/// What a turn tries, at most.
#[derive(Default)]
struct Turn<'a> {
    tried: usize,
    /// The nights for which a plan may be searched in vain, once each: those behind with the same are then known to be
    /// [fragmented](Fragmented).
    searched: Vec<(Date, Date, &'a RoomTypeId)>,
}

impl<'a> Turn<'a> {
    fn come_to(&mut self, book: &Book, entry: &'a WaitlistEntry) {
        let WaitlistEntry { arrival, departure, ref room_type, .. } = *entry;
        let has_space = || book.room_type(room_type).is_ok_and(|it| it.has_space(arrival, departure));
        if arrival < book.business_date() {
            self.tried += 1;
        } else if has_space() {
            let nights = (arrival, departure, room_type);
            if self.searched.contains(&nights) {
                self.tried += 1;
            } else {
                self.tried += SEARCH_COST;
                self.searched.push(nights);
            }
        }
    }
}

/// Nights `[from, to)` of types that one command has found to be fragmented: it searches for none of them twice, so that
/// many who want the same do not end its pass.
#[derive(Default)]
struct Fragmented(Vec<(RoomTypeId, Date, Date)>);

impl Fragmented {
    fn add(&mut self, entry: &WaitlistEntry) {
        self.0.push((entry.room_type.clone(), entry.arrival, entry.departure));
    }

    /// Whether the stay is fragmented because some of its nights are. One that has a night on which no room is free is not: it
    /// is overbooked.
    fn covers(&self, room_type: &TypeBook, entry: &WaitlistEntry) -> bool {
        let WaitlistEntry { arrival, departure, .. } = *entry;
        let has_all = |(of, from, to): &(RoomTypeId, Date, Date)| {
            *of == entry.room_type && arrival <= *from && *to <= departure
        };
        self.0.iter().any(has_all) && !room_type.has_no_room(arrival, departure)
    }
}

/// Offers what there is to the entries of the property, from those on that came with the command `from`.
fn offer(txn: &mut Txn<'_>, property: &PropertyId, from: Lsn) -> Result<(), Halt> {
    let (mut looked_at, mut tried) = (0, 0);
    let mut fragmented = Fragmented::default();
    let mut next = (from, WaitlistId(Uuid::nil()));
    let left = loop {
        let book = txn.book(property)?;
        let Some((place, ())) = book.waiting.from(Bound::Included(&next)).next() else { break None };
        if looked_at >= LOOKED_AT_MAX || tried >= TRIED_MAX {
            break Some(place.0);
        }
        looked_at += 1;
        let (created, id) = *place;
        next = (created, WaitlistId(Uuid::from_u128(id.0.as_u128().saturating_add(1))));
        let record = find(txn, property, id)?;
        let entry = Arc::clone(&record.entry);
        let room_type = book.room_type(&entry.room_type)?;
        let has_space = room_type.has_space(entry.arrival, entry.departure);
        if entry.arrival < book.business_date() {
            tried += 1;
            let record = record.clone();
            set(txn, record, WaitlistStatus::Lapsed, None)?;
        } else if has_space && !fragmented.covers(room_type, &entry) {
            tried += 1;
            let record = record.clone();
            match hold(txn, &entry)? {
                Ok(reservation) => set(txn, record, WaitlistStatus::Offered, Some(reservation))?,
                Err(Refusal::NoAvailability { fragmented: true, .. }) => {
                    tried += SEARCH_COST - 1;
                    fragmented.add(&entry);
                }
                Err(_) => {}
            }
        }
    };
    go_on_at(txn, property, left)
}

/// Notes where the entries begin that were not come to, if any.
fn go_on_at(txn: &mut Txn<'_>, property: &PropertyId, from: Option<Lsn>) -> Result<(), Halt> {
    let record = &txn.book(property)?.record;
    if record.offering != from {
        let record = PropertyRecord { offering: from, ..record.clone() };
        txn.put(Record::Property(record))?;
    }
    Ok(())
}

impl Ledger {
    /// Puts an entry, and lets the indexes follow; gives the one that it replaces.
    pub(super) fn set_waitlist(&mut self, record: &WaitlistRecord) -> Option<WaitlistRecord> {
        let (property, id) = (record.entry.property.clone(), record.entry.id);
        let old = self.unset_waitlist(&property, id);
        let offered = record.entry.reservation.filter(|_| record.entry.status == WaitlistStatus::Offered);
        if let Some(reservation) = offered {
            self.offers.insert(reservation, (property.clone(), id));
        }
        let book = self.checked_book_mut(&property);
        if record.entry.status == WaitlistStatus::Waiting {
            book.waiting.insert((record.created_lsn, id), ());
        }
        book.waitlist.insert(id, Arc::new(record.clone()));
        old
    }

    pub(super) fn unset_waitlist(&mut self, property: &PropertyId, id: WaitlistId) -> Option<WaitlistRecord> {
        let book = self.book_mut(property)?;
        let old = Arc::unwrap_or_clone(book.waitlist.remove(&id)?);
        book.waiting.remove(&(old.created_lsn, id));
        if let Some(reservation) = old.entry.reservation {
            self.offers.remove(&reservation);
        }
        Some(old)
    }

    pub fn waitlist_entry(
        &self,
        property: &PropertyId,
        id: WaitlistId,
    ) -> Result<Arc<WaitlistEntry>, Refusal> {
        Ok(Arc::clone(&find(self, property, id)?.entry))
    }

    /// By id, those after `after`, `limit` at most; and where to go on.
    pub fn waitlist(
        &self,
        property: &PropertyId,
        after: Option<WaitlistId>,
        limit: usize,
    ) -> Result<(Vec<Arc<WaitlistEntry>>, Option<WaitlistId>), Refusal> {
        let start = after.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        let entries = self.book(property)?.waitlist.from(start);
        let mut found: Vec<Arc<WaitlistEntry>> =
            entries.take(limit + 1).map(|(_, record)| Arc::clone(&record.entry)).collect();
        let more = found.len() > limit;
        found.truncate(limit);
        let next = found.last().filter(|_| more).map(|entry| entry.id);
        Ok((found, next))
    }
}
