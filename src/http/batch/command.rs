//! One command of a batch: which call it is, and the rest as that call reads it.

use std::borrow::Cow;

use serde::Deserialize;

use super::super::asked::Asked;
use super::super::bookings::BookFields;
use super::super::extract::{parse as parse_json, parse_beside, parse_strictly};
use super::super::fields::word;
use super::super::inventory::{RatesFields, RoomFields};
use super::super::key::Key;
use super::super::problem::Problem;
use super::super::reservations::{
    AmendFields, AssignFields, CANCEL, CHECK_IN, CHECK_OUT, CONFIRM, NO_SHOW, PlainReservationId,
    ReserveFields, Step,
};
use crate::ledger::{Command, PropertyId, ReservationId, RoomId, Submission};
use crate::node::IdSource;

/// A command that was read, or why it could not be.
pub struct Parsed {
    pub submission: Result<Submission, Problem>,
    /// The reservations that it counts for, at least one.
    pub reservations: usize,
}

/// Reads one command. Ids for what it creates come from `ids`.
pub fn parse(ids: &IdSource, text: &[u8]) -> Parsed {
    let submission = submission(ids, text);
    let reservations = match &submission {
        Ok(Submission { command: Command::BookGroup(group), .. }) => group.stays.len(),
        _ => 1,
    };
    Parsed { submission, reservations }
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Op {
    Reserve,
    BookGroup,
    Confirm,
    Cancel,
    Amend,
    CheckIn,
    CheckOut,
    NoShow,
    Assign,
    PutRoom,
    PutRate,
}

/// What a command is to do, its key, and its property where that can be read as well.
struct Head<'t> {
    op: Op,
    idempotency_key: Option<Cow<'t, str>>,
    property: Option<PropertyId>,
}

/// As it must be.
#[derive(Deserialize)]
struct AnyHead {
    #[serde(deserialize_with = "word")]
    op: Op,
    #[serde(default)]
    idempotency_key: Option<String>,
}

/// As nearly all are: with a key that stands in the text as it is, beside what most commands name.
#[derive(Deserialize)]
struct PlainHead<'t> {
    #[serde(deserialize_with = "word")]
    op: Op,
    #[serde(default)]
    idempotency_key: Option<&'t str>,
    #[serde(default)]
    property: Option<PropertyId>,
}

// What a call of its own has in its path.

#[derive(Deserialize)]
struct AtProperty {
    property: PropertyId,
}

#[derive(Deserialize)]
struct AtRoom {
    property: PropertyId,
    room: RoomId,
}

#[derive(Deserialize)]
struct AtReservation {
    reservation: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NoFields {}

const BESIDE_PROPERTY: &[&str] = &["op", "idempotency_key", "property"];
const BESIDE_ROOM: &[&str] = &["op", "idempotency_key", "property", "room"];
const BESIDE_RESERVATION: &[&str] = &["op", "idempotency_key", "reservation"];

fn submission(ids: &IdSource, text: &[u8]) -> Result<Submission, Problem> {
    let Head { op, idempotency_key, property: found } = head(text)?;
    let property = || found.clone().map_or_else(|| property(text), Ok);
    // Its form is judged behind all else that can be wrong with the request, as for a single call.
    let key = || idempotency_key.as_deref().map(|key| Key::new(key.as_bytes())).transpose();
    let step = |step: Step| {
        let reservation = reservation(text)?;
        let NoFields {} = parse_beside(text, BESIDE_RESERVATION)?;
        step.of(reservation, None).submission(key()?)
    };
    match op {
        Op::Reserve => {
            let fields: ReserveFields = parse_beside(text, BESIDE_PROPERTY)?;
            fields.at(ids, property()?)?.submission(key()?)
        }
        Op::BookGroup => {
            let fields: BookFields = parse_beside(text, BESIDE_PROPERTY)?;
            fields.at(ids, property()?)?.submission(key()?)
        }
        Op::Amend => {
            let fields: AmendFields = parse_beside(text, BESIDE_RESERVATION)?;
            fields.of(reservation(text)?, None)?.submission(key()?)
        }
        Op::Assign => {
            let fields: AssignFields = parse_beside(text, BESIDE_RESERVATION)?;
            fields.of(reservation(text)?, None).submission(key()?)
        }
        Op::Confirm => step(CONFIRM),
        Op::Cancel => step(CANCEL),
        Op::CheckIn => step(CHECK_IN),
        Op::CheckOut => step(CHECK_OUT),
        Op::NoShow => step(NO_SHOW),
        Op::PutRoom => put_room(text)?.submission(key()?),
        Op::PutRate => {
            let fields: RatesFields = parse_beside(text, BESIDE_PROPERTY)?;
            fields.at(property()?)?.submission(key()?)
        }
    }
}

/// The head alone. What is wrong with the property is said in its turn.
fn head(text: &[u8]) -> Result<Head<'_>, Problem> {
    if let Some(PlainHead { op, idempotency_key, property }) = parse_strictly(text, &[]) {
        return Ok(Head { op, idempotency_key: idempotency_key.map(Cow::Borrowed), property });
    }
    let AnyHead { op, idempotency_key } = parse_json(text)?;
    Ok(Head { op, idempotency_key: idempotency_key.map(Cow::Owned), property: None })
}

fn put_room(text: &[u8]) -> Result<Asked<RoomFields>, Problem> {
    let fields: RoomFields = parse_beside(text, BESIDE_ROOM)?;
    let AtRoom { property, room } = parse_json(text)?;
    Ok(fields.at(property, room))
}

fn property(text: &[u8]) -> Result<PropertyId, Problem> {
    let AtProperty { property } = parse_json(text)?;
    Ok(property)
}

fn reservation(text: &[u8]) -> Result<ReservationId, Problem> {
    let AtReservation { reservation } = parse_json(text)?;
    let id = reservation.parse::<PlainReservationId>();
    id.map(|PlainReservationId(id)| id).map_err(|error| Problem::malformed("reservation", error))
}
