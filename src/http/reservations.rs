//! Reservations: made, shown, listed, and brought from one state to the next.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::{Deserialize, Deserializer, Serialize};
use uuid::Uuid;

use super::access::{read, read_towards, read_until};
use super::asked::Asked;
use super::extract::{Params, Segments, if_match, json, judge_currency, nothing};
use super::fields::{Amount, Text, Whole};
use super::lists;
use super::problem::Problem;
use super::render;
use crate::ledger::{
    Amend, Assign, BlockId, BookingId, Change, Command, Date, Ledger, Lsn, Page, PropertyId, Refusal,
    ReservationFilter, ReservationId, Reserve, RoomChange, RoomId, RoomTypeId, Status, Wanted,
};
use crate::node::{IdSource, Node};
use crate::wire;

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReserveFields {
    guest: Text,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    room: Option<RoomId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    room_type: Option<RoomTypeId>,
    arrival: Date,
    departure: Date,
    occupancy: Whole,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    currency: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hold_seconds: Option<Whole>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expected_total: Option<Amount>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    block: Option<BlockId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    external_ref: Option<Text>,
}

impl ReserveFields {
    pub fn at(self, ids: &IdSource, property: PropertyId) -> Result<Asked<ReserveFields>, Problem> {
        let (currency, currency_known) = judge_currency(self.currency.as_deref());
        let path = vec![property.to_string()];
        let command = Command::Reserve(Box::new(Reserve {
            id: ReservationId(ids.next()),
            booking_id: BookingId(ids.next()),
            property,
            guest: self.guest.0.clone(),
            wanted: wanted("room", self.room.as_ref(), self.room_type.as_ref())?,
            arrival: self.arrival,
            departure: self.departure,
            occupancy: self.occupancy.count(),
            currency,
            currency_known,
            hold_seconds: self.hold_seconds.map(|seconds| seconds.0),
            expected_total: self.expected_total.map(|total| total.0),
            block: self.block.clone(),
            external_ref: self.external_ref.as_ref().map(|text| text.0.clone()),
        }));
        Ok(Asked { call: "reserve", path, fields: self, command })
    }
}

/// A room or a room type, and not both; complaints call the room `name`.
pub fn wanted(name: &str, room: Option<&RoomId>, room_type: Option<&RoomTypeId>) -> Result<Wanted, Problem> {
    match (room, room_type) {
        (Some(room), None) => Ok(Wanted::Room(room.clone())),
        (None, Some(room_type)) => Ok(Wanted::RoomType(room_type.clone())),
        (Some(_), Some(_)) => Err(Problem::malformed(name, "excludes `room_type`; give one of them")),
        (None, None) => Err(Problem::malformed(name, "is missing; give it or `room_type`")),
    }
}

pub async fn reserve(
    State(node): State<Arc<Node>>,
    segments: Segments,
    headers: HeaderMap,
    request: Request,
) -> Result<Response, Problem> {
    let fields: ReserveFields = json(request).await?;
    let property: PropertyId = segments.get(0, "property")?;
    fields.at(&node.ids, property)?.send(&node, &headers).await
}

fn reservation_id(segments: &Segments) -> Result<ReservationId, Problem> {
    segments.get::<PlainReservationId>(0, "id").map(|PlainReservationId(id)| id)
}

/// What takes a reservation to its next state, and has no fields.
#[derive(Clone, Copy)]
pub struct Step {
    call: &'static str,
    command: fn(Change) -> Command,
}

pub const CONFIRM: Step = Step { call: "confirm", command: Command::Confirm };
pub const CANCEL: Step = Step { call: "cancel", command: Command::Cancel };
pub const CHECK_IN: Step = Step { call: "check_in", command: Command::CheckIn };
pub const CHECK_OUT: Step = Step { call: "check_out", command: Command::CheckOut };
pub const NO_SHOW: Step = Step { call: "no_show", command: Command::NoShow };

impl Step {
    pub fn of(self, reservation: ReservationId, if_match: Option<u64>) -> Asked<()> {
        let path = vec![reservation.to_string()];
        let command = (self.command)(Change { reservation, if_match });
        Asked { call: self.call, path, fields: (), command }
    }
}

async fn change(
    node: &Node,
    segments: &Segments,
    headers: &HeaderMap,
    request: Request,
    step: Step,
) -> Result<Response, Problem> {
    nothing(request).await?;
    let reservation = reservation_id(segments)?;
    step.of(reservation, if_match(headers)?).send(node, headers).await
}

pub async fn confirm(
    State(node): State<Arc<Node>>,
    segments: Segments,
    headers: HeaderMap,
    request: Request,
) -> Result<Response, Problem> {
    change(&node, &segments, &headers, request, CONFIRM).await
}

pub async fn cancel(
    State(node): State<Arc<Node>>,
    segments: Segments,
    headers: HeaderMap,
    request: Request,
) -> Result<Response, Problem> {
    change(&node, &segments, &headers, request, CANCEL).await
}

pub async fn check_in(
    State(node): State<Arc<Node>>,
    segments: Segments,
    headers: HeaderMap,
    request: Request,
) -> Result<Response, Problem> {
    change(&node, &segments, &headers, request, CHECK_IN).await
}

pub async fn check_out(
    State(node): State<Arc<Node>>,
    segments: Segments,
    headers: HeaderMap,
    request: Request,
) -> Result<Response, Problem> {
    change(&node, &segments, &headers, request, CHECK_OUT).await
}

pub async fn no_show(
    State(node): State<Arc<Node>>,
    segments: Segments,
    headers: HeaderMap,
    request: Request,
) -> Result<Response, Problem> {
    change(&node, &segments, &headers, request, NO_SHOW).await
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AmendFields {
    #[serde(default)]
    arrival: Option<Date>,
    #[serde(default)]
    departure: Option<Date>,
    #[serde(default)]
    room_type: Option<RoomTypeId>,
    /// `null` unpins, which is another request than leaving it out.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    room: Option<Option<RoomId>>,
    #[serde(default)]
    occupancy: Option<Whole>,
}

/// The fields of a change, and nothing in the place where the revision of `If-Match` stood once: a key is looked up before
/// that, and stands for the same request with and without it.
type Unconditional<F> = (F, Option<u64>);

impl AmendFields {
    pub fn of(
        self,
        reservation: ReservationId,
        if_match: Option<u64>,
    ) -> Result<Asked<Unconditional<AmendFields>>, Problem> {
        if let (Some(Some(_)), Some(_)) = (&self.room, &self.room_type) {
            return Err(Problem::malformed("room", "excludes `room_type`: it has a type; give one of them"));
        }
        let path = vec![reservation.to_string()];
        let command = Command::Amend(Box::new(Amend {
            reservation,
            if_match,
            arrival: self.arrival,
            departure: self.departure,
            room_type: self.room_type.clone(),
            room: self.room.clone().map(|room| room.map_or(RoomChange::Unpin, RoomChange::Pin)),
            occupancy: self.occupancy.map(Whole::count),
        }));
        Ok(Asked { call: "amend", path, fields: (self, None), command })
    }
}

fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

pub async fn amend(
    State(node): State<Arc<Node>>,
    segments: Segments,
    headers: HeaderMap,
    request: Request,
) -> Result<Response, Problem> {
    let fields: AmendFields = json(request).await?;
    let reservation = reservation_id(&segments)?;
    fields.of(reservation, if_match(&headers)?)?.send(&node, &headers).await
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AssignFields {
    room: RoomId,
}

impl AssignFields {
    pub fn of(self, reservation: ReservationId, if_match: Option<u64>) -> Asked<Unconditional<AssignFields>> {
        let path = vec![reservation.to_string()];
        let command = Command::Assign(Assign { reservation, if_match, room: self.room.clone() });
        Asked { call: "assign", path, fields: (self, None), command }
    }
}

pub async fn assign(
    State(node): State<Arc<Node>>,
    segments: Segments,
    headers: HeaderMap,
    request: Request,
) -> Result<Response, Problem> {
    let fields: AssignFields = json(request).await?;
    let reservation = reservation_id(&segments)?;
    fields.of(reservation, if_match(&headers)?).send(&node, &headers).await
}

pub async fn show(
    State(node): State<Arc<Node>>,
    segments: Segments,
    request: Request,
) -> Result<Response, Problem> {
    let id = reservation_id(&segments)?;
    let mut params = Params::of(request.uri())?;
    let as_of = params.number("as_of")?.map(Lsn);
    let newest = |ledger: &Ledger| ledger.reservation(id);
    let Some(as_of) = as_of else {
        let (newest, lsn) = read(&node, params, newest).await?;
        return Ok(render::tagged(StatusCode::OK, lsn, &newest));
    };
    let deadline = node.deadline();
    read_towards(&node, params, as_of, deadline, newest).await?;
    let found = node.reservations_at(vec![id], as_of, deadline).await?;
    let not_yet = || Problem::from(Refusal::ReservationNotFound).at(as_of);
    Ok(render::tagged(StatusCode::OK, as_of, found.first().ok_or_else(not_yet)?))
}

/// Every version, oldest first.
pub async fn history(
    State(node): State<Arc<Node>>,
    segments: Segments,
    request: Request,
) -> Result<Response, Problem> {
    let id = reservation_id(&segments)?;
    let newest = |ledger: &Ledger| ledger.reservation_record(id);
    let deadline = node.deadline();
    let (newest, lsn) = read_until(&node, Params::of(request.uri())?, deadline, newest).await?;
    let versions = node.versions(newest, deadline).await?;
    let versions = versions.iter().filter_map(render::version).collect();
    Ok(render::json(StatusCode::OK, lsn, &wire::Versions { versions }))
}

pub async fn list(
    State(node): State<Arc<Node>>,
    segments: Segments,
    request: Request,
) -> Result<Response, Problem> {
    let property: PropertyId = segments.get(0, "property")?;
    let mut params = Params::of(request.uri())?;
    let filter = ReservationFilter {
        guest: params.optional::<String>("guest")?.map(Into::into),
        status: params.optional::<StatusWord>("status")?.map(|word| word.0),
        external_ref: params.optional::<String>("external_ref")?.map(Into::into),
        arrival_from: params.optional("arrival_from")?,
        arrival_to: params.optional("arrival_to")?,
    };
    let limit = params.limit()?;
    let after = params.optional::<Cursor>("cursor")?.map(|cursor| cursor.0);
    let query = move |ledger: &Ledger, looks: usize| {
        ledger.reservations_within(&property, &filter, after, limit, looks)
    };
    let show = |page: Page| wire::Reservations {
        reservations: render::reservations(&page.reservations),
        next_cursor: page.next.map(|id| Cursor(id).to_string()),
    };
    lists::list(&node, params, query, show).await
}

/// An id as answers write it: a UUID in lower case, with hyphens, and nothing around it.
pub struct PlainReservationId(pub ReservationId);

impl std::str::FromStr for PlainReservationId {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<PlainReservationId, Self::Err> {
        plain_uuid(text).map(ReservationId).map(PlainReservationId)
    }
}

/// A UUID in lower case, with hyphens, and nothing around it.
pub fn plain_uuid(text: &str) -> Result<Uuid, &'static str> {
    let id = Uuid::try_parse(text).ok().filter(|id| id.hyphenated().to_string() == text);
    id.ok_or("expected a UUID as answers write it, lower-case and with hyphens")
}

/// A status, spelled as in answers.
struct StatusWord(Status);

impl std::str::FromStr for StatusWord {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<StatusWord, Self::Err> {
        let quoted = serde_json::Value::String(text.to_owned());
        serde_json::from_value(quoted).map(StatusWord).map_err(|_| "is no status of a reservation")
    }
}

/// Where the next page begins: behind this id.
struct Cursor(ReservationId);

impl std::fmt::Display for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0.0.simple())
    }
}

impl std::str::FromStr for Cursor {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Cursor, Self::Err> {
        Uuid::try_parse(text).map(|id| Cursor(ReservationId(id))).map_err(|_| "is no cursor of this list")
    }
}
