//! Reservations: made, shown, listed, and brought from one state to the next.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::{Deserialize, Deserializer, Serialize};
use uuid::Uuid;

use super::extract::{Params, Segments, Text, if_match, json, judge_currency, no_body};
use super::inventory::{read, write};
use super::problem::Problem;
use super::render;
use crate::ledger::{
    Amend, Assign, BlockId, BookingId, Change, Command, Date, Ledger, PropertyId, ReservationFilter,
    ReservationId, Reserve, RoomChange, RoomId, RoomTypeId, Status, Wanted,
};
use crate::node::Node;
use crate::wire;

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ReserveFields {
    guest: Text,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    room: Option<RoomId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    room_type: Option<RoomTypeId>,
    arrival: Date,
    departure: Date,
    occupancy: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    currency: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hold_seconds: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expected_total: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    block: Option<BlockId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    external_ref: Option<Text>,
}

impl ReserveFields {
    fn wanted(&self) -> Result<Wanted, Problem> {
        wanted("room", self.room.as_ref(), self.room_type.as_ref())
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
    let (currency, currency_known) = judge_currency(fields.currency.as_deref());
    let path = [property.as_str()];
    let command = Command::Reserve(Box::new(Reserve {
        id: ReservationId(node.ids.next()),
        booking_id: BookingId(node.ids.next()),
        property: property.clone(),
        guest: fields.guest.0.clone(),
        wanted: fields.wanted()?,
        arrival: fields.arrival,
        departure: fields.departure,
        occupancy: fields.occupancy,
        currency,
        currency_known,
        hold_seconds: fields.hold_seconds,
        expected_total: fields.expected_total,
        block: fields.block.clone(),
        external_ref: fields.external_ref.as_ref().map(|text| text.0.clone()),
    }));
    write(&node, &headers, "reserve", &path, &fields, command).await
}

fn reservation_id(segments: &Segments) -> Result<ReservationId, Problem> {
    segments.get::<PlainUuid>(0, "id").map(|PlainUuid(id)| ReservationId(id))
}

async fn change(
    node: &Node,
    segments: &Segments,
    headers: &HeaderMap,
    request: Request,
    call: &str,
    command: fn(Change) -> Command,
) -> Result<Response, Problem> {
    no_body(request).await?;
    let reservation = reservation_id(segments)?;
    let if_match = if_match(headers)?;
    let path = [&*reservation.to_string()];
    // Without If-Match: a key is looked up before it, and stands for the same request with and without it.
    write(node, headers, call, &path, &(), command(Change { reservation, if_match })).await
}

pub async fn confirm(
    State(node): State<Arc<Node>>,
    segments: Segments,
    headers: HeaderMap,
    request: Request,
) -> Result<Response, Problem> {
    change(&node, &segments, &headers, request, "confirm", Command::Confirm).await
}

pub async fn cancel(
    State(node): State<Arc<Node>>,
    segments: Segments,
    headers: HeaderMap,
    request: Request,
) -> Result<Response, Problem> {
    change(&node, &segments, &headers, request, "cancel", Command::Cancel).await
}

pub async fn check_in(
    State(node): State<Arc<Node>>,
    segments: Segments,
    headers: HeaderMap,
    request: Request,
) -> Result<Response, Problem> {
    change(&node, &segments, &headers, request, "check_in", Command::CheckIn).await
}

pub async fn check_out(
    State(node): State<Arc<Node>>,
    segments: Segments,
    headers: HeaderMap,
    request: Request,
) -> Result<Response, Problem> {
    change(&node, &segments, &headers, request, "check_out", Command::CheckOut).await
}

pub async fn no_show(
    State(node): State<Arc<Node>>,
    segments: Segments,
    headers: HeaderMap,
    request: Request,
) -> Result<Response, Problem> {
    change(&node, &segments, &headers, request, "no_show", Command::NoShow).await
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct AmendFields {
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
    occupancy: Option<u32>,
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
    if let (Some(Some(_)), Some(_)) = (&fields.room, &fields.room_type) {
        return Err(Problem::malformed("room", "excludes `room_type`: it has a type; give one of them"));
    }
    let reservation = reservation_id(&segments)?;
    let if_match = if_match(&headers)?;
    let path = [&*reservation.to_string()];
    let command = Command::Amend(Box::new(Amend {
        reservation,
        if_match,
        arrival: fields.arrival,
        departure: fields.departure,
        room_type: fields.room_type.clone(),
        room: fields.room.clone().map(|room| room.map_or(RoomChange::Unpin, RoomChange::Pin)),
        occupancy: fields.occupancy,
    }));
    write(&node, &headers, "amend", &path, &(&fields, if_match), command).await
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct AssignFields {
    room: RoomId,
}

pub async fn assign(
    State(node): State<Arc<Node>>,
    segments: Segments,
    headers: HeaderMap,
    request: Request,
) -> Result<Response, Problem> {
    let fields: AssignFields = json(request).await?;
    let reservation = reservation_id(&segments)?;
    let if_match = if_match(&headers)?;
    let path = [&*reservation.to_string()];
    let command = Command::Assign(Assign { reservation, if_match, room: fields.room.clone() });
    write(&node, &headers, "assign", &path, &(&fields, if_match), command).await
}

pub async fn show(
    State(node): State<Arc<Node>>,
    segments: Segments,
    request: Request,
) -> Result<Response, Problem> {
    let id = reservation_id(&segments)?;
    let show = |ledger: &Ledger| ledger.reservation(id);
    let (found, lsn) = read(&node, Params::of(request.uri())?, show).await?;
    Ok(render::tagged(StatusCode::OK, lsn, &found))
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
    let list = |ledger: &Ledger| ledger.reservations(&property, &filter, after, limit);
    let (page, lsn) = read(&node, params, list).await?;
    let body = wire::Reservations {
        reservations: render::reservations(&page.reservations),
        next_cursor: page.next.map(|id| Cursor(id).to_string()),
    };
    Ok(render::json(StatusCode::OK, lsn, &body))
}

/// A UUID as answers write it: lower-case, with hyphens, nothing around it.
struct PlainUuid(Uuid);

impl std::str::FromStr for PlainUuid {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<PlainUuid, Self::Err> {
        let id = Uuid::try_parse(text).ok().filter(|id| id.hyphenated().to_string() == text);
        id.map(PlainUuid).ok_or("expected a UUID as answers write it, lower-case and with hyphens")
    }
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
