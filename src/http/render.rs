//! From the ledger's records to the shapes of the API.

use std::sync::Arc;

use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::problem::{Code, Problem};
use super::routes::LSN;
use crate::history;
use crate::ledger::{
    self, Applied, Command, Commit, EventType, Lsn, Outcome, RateTarget, Record, RecordChange, Timestamp,
};
use crate::wire;

/// More than a reservation takes: an answer that grows is copied each time.
const USUAL_BYTES: usize = 1 << 10;

const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// JSON with a status and the position that it reflects.
pub fn json(status: StatusCode, lsn: Lsn, body: &impl Serialize) -> Response {
    let mut bytes = Vec::with_capacity(USUAL_BYTES);
    let body = match serde_json::to_writer(&mut bytes, body) {
        Ok(()) => bytes,
        Err(error) => {
            return Problem::new(Code::Internal, format!("the answer could not be written: {error}"))
                .into_response();
        }
    };
    let mut response = (status, [(header::CONTENT_TYPE, "application/json")], body).into_response();
    reflect(&mut response, lsn);
    response
}

/// The answer to a write.
pub fn applied(applied: Applied) -> Response {
    let lsn = applied.lsn;
    let created = |created: bool| if created { StatusCode::CREATED } else { StatusCode::OK };
    let mut response = match applied.outcome {
        Outcome::Property { created: new, property: it } => json(created(new), lsn, &property(&it)),
        Outcome::RoomType { created: new, room_type: it } => json(created(new), lsn, &room_type(&it)),
        Outcome::Room { created: new, room: it } => json(created(new), lsn, &room(&it)),
        Outcome::Rates(set) => json(StatusCode::OK, lsn, &rate(&set)),
        Outcome::Reserved(it) => {
            let location = HeaderValue::from_str(&format!("/v1/reservations/{}", it.id));
            let mut response = tagged(StatusCode::CREATED, lsn, &it);
            response.headers_mut().insert(header::LOCATION, location.expect("an id is visible ASCII"));
            response
        }
        Outcome::Changed(it) => tagged(StatusCode::OK, lsn, &it),
        Outcome::Booked(it) => {
            let location = HeaderValue::from_str(&format!("/v1/bookings/{}", it.id));
            let mut response = json(StatusCode::CREATED, lsn, &booking(&it));
            response.headers_mut().insert(header::LOCATION, location.expect("an id is visible ASCII"));
            response
        }
        Outcome::BookingChanged(it) => json(StatusCode::OK, lsn, &booking(&it)),
        Outcome::Waitlisted(it) => {
            let location = format!("/v1/properties/{}/waitlist/{}", it.property, it.id);
            let mut response = json(StatusCode::CREATED, lsn, &waitlist_entry(&it));
            let location = HeaderValue::from_str(&location).expect("ids are visible ASCII");
            response.headers_mut().insert(header::LOCATION, location);
            response
        }
        Outcome::Block(it) => json(created(it.created), lsn, &block(&it)),
        Outcome::OutOfOrder(set) => json(StatusCode::OK, lsn, &out_of_order(&set)),
        Outcome::Restrictions(set) => json(StatusCode::OK, lsn, &restriction(&set)),
        Outcome::Removed => removed(lsn),
        Outcome::Done => json(StatusCode::OK, lsn, &serde_json::json!({})),
        Outcome::Refused(refusal) => Problem::from(refusal).at(lsn).into_response(),
        Outcome::Quarantined { lsn: at } => quarantined(at).at(lsn).into_response(),
    };
    if applied.replayed {
        response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    }
    response
}

/// The command was set aside at `at`.
pub fn quarantined(at: Lsn) -> Problem {
    let detail = "applying the command failed alike on every node; it was set aside and changed nothing";
    Problem::new(Code::Quarantined, detail).fact("lsn", serde_json::json!(at))
}

/// What was to be taken away is; there is nothing to show.
fn removed(lsn: Lsn) -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    reflect(&mut response, lsn);
    response
}

/// Says which position the answer reflects.
pub fn reflect(response: &mut Response, lsn: Lsn) {
    response.headers_mut().insert(LSN, HeaderValue::from(lsn.0));
}

/// One reservation, with its revision as the entity tag.
pub fn tagged(status: StatusCode, lsn: Lsn, it: &ledger::Reservation) -> Response {
    let mut response = json(status, lsn, &reservation(it));
    let tag =
        HeaderValue::from_str(&format!("\"{}\"", it.revision)).expect("digits in quotes are visible ASCII");
    response.headers_mut().insert(header::ETAG, tag);
    response
}

/// RFC 3339 in UTC, with milliseconds.
pub fn instant(at: Timestamp) -> wire::Instant {
    let at = jiff::Timestamp::from_millisecond(at.0.min(Timestamp::MAX.0) as i64);
    format!("{:.3}", at.expect("an instant before the year 3000 is in range"))
}

pub fn property(it: &ledger::Property) -> wire::Property {
    wire::Property {
        property: it.property.clone(),
        name: it.name.to_string(),
        location: it.location.to_string(),
        time_zone: it.time_zone.to_string(),
        currency: it.currency,
        business_date: it.business_date,
        business_date_mode: it.business_date_mode,
    }
}

pub fn room_type(it: &ledger::RoomType) -> wire::RoomType {
    wire::RoomType {
        room_type: it.room_type.clone(),
        name: it.name.to_string(),
        max_occupancy: it.max_occupancy,
        overbooking_limit: it.overbooking_limit,
    }
}

pub fn room(it: &ledger::Room) -> wire::Room {
    wire::Room { room: it.room.clone(), room_type: it.room_type.clone() }
}

pub fn rate(it: &ledger::RatesSet) -> wire::Rate {
    let (room_type, room) = match &it.target {
        RateTarget::RoomType(room_type) => (Some(room_type.clone()), None),
        RateTarget::Room(room) => (None, Some(room.clone())),
    };
    wire::Rate { room_type, room, from: it.from, to: it.to, prices: it.prices.clone() }
}

pub fn out_of_order(it: &ledger::OutOfOrderRecord) -> wire::OutOfOrder {
    wire::OutOfOrder { room: it.room.clone(), from: it.from, to: it.to, reason: it.reason.to_string() }
}

pub fn waitlist_entry(it: &ledger::WaitlistEntry) -> wire::WaitlistEntry {
    wire::WaitlistEntry {
        id: it.id,
        property: it.property.clone(),
        guest: it.guest.to_string(),
        room_type: it.room_type.clone(),
        arrival: it.arrival,
        departure: it.departure,
        occupancy: it.occupancy,
        currency: it.currency,
        status: it.status,
        reservation: it.reservation,
        created_at: instant(it.created_at),
        updated_at: instant(it.updated_at),
    }
}

pub fn block(it: &ledger::BlockShown) -> wire::Block {
    let ledger::BlockShown { created: _, block, picked_up, released } = it;
    let nights = block.from.until(block.to).zip(picked_up);
    wire::Block {
        block: block.block.clone(),
        room_type: block.room_type.clone(),
        from: block.from,
        to: block.to,
        rooms: block.rooms,
        status: block.status,
        release_date: block.release_date,
        released: *released,
        picked_up: nights.map(|(date, rooms)| wire::PickedUp { date, rooms: *rooms }).collect(),
    }
}

pub fn restriction(it: &ledger::RestrictionRecord) -> wire::Restriction {
    wire::Restriction {
        room_type: it.room_type.clone(),
        from: it.from,
        to: it.to,
        closed: it.rules.closed,
        closed_to_arrival: it.rules.closed_to_arrival,
        closed_to_departure: it.rules.closed_to_departure,
        min_stay: it.rules.min_stay,
        max_stay: it.rules.max_stay,
        min_advance_days: it.rules.min_advance_days,
        max_advance_days: it.rules.max_advance_days,
    }
}

pub fn price(it: &ledger::Price) -> wire::Price {
    wire::Price {
        currency: it.currency,
        nights: it.nights().map(|(date, amount)| wire::PricedNight { date, amount }).collect(),
        total: it.total(),
    }
}

pub fn reservation(it: &ledger::Reservation) -> wire::Reservation {
    let created_at = instant(it.created_at);
    wire::Reservation {
        id: it.id,
        booking_id: it.booking_id,
        property: it.property.clone(),
        room_type: it.room_type.clone(),
        room: it.room.clone(),
        room_pinned: it.room_pinned,
        guest: it.guest.to_string(),
        arrival: it.arrival,
        departure: it.departure,
        occupancy: it.occupancy,
        status: it.status,
        hold_expires_at: it.hold_expires_at.map(instant),
        price: price(&it.price),
        block: it.block.clone(),
        external_ref: it.external_ref.as_deref().map(str::to_owned),
        revision: it.revision,
        lsn: it.lsn,
        updated_at: if it.updated_at == it.created_at { created_at.clone() } else { instant(it.updated_at) },
        created_at,
    }
}

pub fn booking(it: &ledger::Booking) -> wire::Booking {
    wire::Booking { id: it.id, reservations: reservations(&it.reservations) }
}

pub fn free_room(it: &ledger::FreeRoom) -> wire::FreeRoom {
    wire::FreeRoom { room: it.room.clone(), room_type: it.room_type.clone(), price: price(&it.price) }
}

pub fn night(it: &ledger::NightAvailability) -> wire::NightAvailability {
    wire::NightAvailability {
        date: it.date,
        rooms: it.rooms,
        out_of_order: it.out_of_order,
        held: it.held,
        sold: it.sold,
        blocked: it.blocked,
        available: it.available,
    }
}

/// What a command changed, as it is told.
pub fn event(position: String, commit: &Commit, event_type: EventType, change: &RecordChange) -> wire::Event {
    let moved = match (event_type, &change.before, &change.after) {
        (
            EventType::ReservationMoved,
            Some(Record::Reservation(before)),
            Some(Record::Reservation(after)),
        ) => {
            let (before, after) = (&before.reservation, &after.reservation);
            Some(wire::Moved { reservation: after.id, from: before.room.clone(), to: after.room.clone() })
        }
        _ => None,
    };
    wire::Event {
        position,
        lsn: commit.lsn,
        time: instant(commit.at),
        kind: event_type.as_str().to_owned(),
        property: change.property().cloned(),
        actor: actor(commit, change).to_owned(),
        idempotency_key: commit.key.as_deref().filter(|_| !change.due).map(str::to_owned),
        before: match (&change.before, &change.after) {
            (Some(Record::Block(before)), Some(Record::Block(after))) => Some(block_changed(before, after)),
            (before, _) => before.as_ref().and_then(record),
        },
        after: change.after.as_ref().and_then(record),
        moved,
    }
}

/// Whose doing a change was: the ledger's own, or a client's, of whom nothing is known without access control.
fn actor(commit: &Commit, change: &RecordChange) -> &'static str {
    if commit.own || change.due { "ledger" } else { "anonymous" }
}

/// A record as its resource is shown; `None` for what is no resource.
fn record(record: &Record) -> Option<serde_json::Value> {
    let shown = match record {
        Record::Property(it) => serde_json::to_value(property(&it.property)),
        Record::RoomType(it) => serde_json::to_value(room_type(&it.room_type)),
        // One that is retired is shown to nobody.
        Record::Room(it) if it.retired.is_some() => return None,
        Record::Room(it) => serde_json::to_value(room(&it.room)),
        Record::Block(it) => Ok(block_changed(it, it)),
        Record::Waitlist(it) => serde_json::to_value(waitlist_entry(&it.entry)),
        Record::Rate(it) => serde_json::to_value(rate_record(it)),
        Record::Reservation(it) => serde_json::to_value(reservation(&it.reservation)),
        Record::OutOfOrder(it) => serde_json::to_value(out_of_order(it)),
        Record::Restriction(it) => serde_json::to_value(restriction(it)),
        Record::Quarantined(it) => serde_json::to_value(set_aside(it)),
        Record::Outcome(_) => return None,
    };
    Some(shown.expect("a resource has string keys and finite numbers"))
}

/// A block before or after the change that left `after`.
fn block_changed(it: &ledger::BlockRecord, after: &ledger::BlockRecord) -> serde_json::Value {
    let shown = block(&ledger::as_changed(it, after));
    serde_json::to_value(shown).expect("a resource has string keys and finite numbers")
}

fn rate_record(it: &ledger::RateRecord) -> wire::Rate {
    let (target, prices) = (it.target.clone(), it.prices.as_ref().clone());
    rate(&ledger::RatesSet { target, from: it.from, to: it.to, prices })
}

/// A command that was set aside.
pub fn set_aside(it: &ledger::Quarantined) -> wire::SetAside {
    let command = match &it.submission.command {
        // A number of 128 bits is more than a JSON value holds: the digest is shown as the state hash is.
        Command::ForgetHistory(upto) => {
            let chain = format!("{:032x}", upto.chain.0);
            Ok(serde_json::json!({ "forget_history": { "lsn": upto.lsn, "chain": chain } }))
        }
        command => serde_json::to_value(command),
    };
    let command = command.expect("a command has string keys and numbers of 64 bits");
    wire::SetAside { lsn: it.lsn, code: it.code.as_str().to_owned(), command }
}

/// One version of a reservation; `None` where the command that made it left none, or told nothing.
pub fn version(it: &history::Version) -> Option<wire::Version> {
    let (record, event_type) = (it.record()?, it.event_type?);
    Some(wire::Version {
        revision: record.reservation.revision,
        lsn: it.commit.lsn,
        time: instant(it.commit.at),
        actor: actor(&it.commit, it.change()).to_owned(),
        kind: event_type.as_str().to_owned(),
        reservation: reservation(&record.reservation),
    })
}

/// A page of reservations, in its order.
pub fn reservations(page: &[Arc<ledger::Reservation>]) -> Vec<wire::Reservation> {
    page.iter().map(|it| reservation(it)).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;

    use super::*;
    use crate::ledger::tests::golden::unhex;
    use crate::ledger::{Failure, Quarantined};

    /// The ledger's golden bytes hold one of each kind.
    #[test]
    fn every_command_that_may_be_set_aside_can_be_shown() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/ledger/golden");
        let mut shown = BTreeMap::new();
        for file in std::fs::read_dir(folder).unwrap() {
            let path = file.unwrap().path();
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            let Some(name) = name.strip_prefix("command-") else { continue };
            let bytes = unhex(&std::fs::read_to_string(&path).unwrap());
            let submission = rmp_serde::from_slice(&bytes).unwrap();
            let it = set_aside(&Quarantined { lsn: Lsn(9), code: Failure::Panic, submission });
            assert_eq!(it.command.as_object().unwrap().len(), 1, "{name}: {}", it.command);
            shown.insert(name.to_owned(), it.command);
        }
        assert!(shown.len() >= 38, "{:?}", shown.keys());
        let chain = "5".repeat(32);
        let expected = serde_json::json!({"forget_history": {"lsn": 7, "chain": chain}});
        assert_eq!(shown["forget_history"], expected);
    }
}
