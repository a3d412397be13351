//! Bookings of several reservations: made, shown, confirmed and canceled together.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::access::{read, read_towards, write};
use super::asked::Asked;
use super::bodies::Bodies;
use super::extract::{Params, Segments, judge_currency, nothing};
use super::fields::{Amount, Text, Whole, objects};
use super::problem::Problem;
use super::render;
use super::reservations::{plain_uuid, wanted};
use crate::ledger::{
    BlockId, BookGroup, Booking, BookingChange, BookingId, Command, Date, GroupStay, Ledger, Lsn, PropertyId,
    Refusal, ReservationId, RoomId, RoomTypeId,
};
use crate::node::{IdSource, Node};

/// Reservations of one booking, at most.
pub const STAYS_MAX: usize = 500;

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BookFields {
    guest: Text,
    #[serde(deserialize_with = "objects")]
    reservations: Vec<StayFields>,
}

impl BookFields {
    pub fn at(self, ids: &IdSource, property: PropertyId) -> Result<Asked<BookFields>, Problem> {
        if !(1..=STAYS_MAX).contains(&self.reservations.len()) {
            return Err(Problem::malformed("reservations", "must be 1 to 500"));
        }
        let stays = self.reservations.iter().enumerate();
        let stays = stays.map(|(index, stay)| stay.stay(ids.next(), index)).collect::<Result<_, _>>()?;
        let path = vec![property.to_string()];
        let (booking_id, guest) = (BookingId(ids.next()), self.guest.0.clone());
        let command = Command::BookGroup(BookGroup { booking_id, property, guest, stays });
        Ok(Asked { call: "book_group", path, fields: self, command })
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StayFields {
    #[serde(default)]
    room: Option<RoomId>,
    #[serde(default)]
    room_type: Option<RoomTypeId>,
    arrival: Date,
    departure: Date,
    occupancy: Whole,
    #[serde(default)]
    currency: Option<String>,
    #[serde(default)]
    hold_seconds: Option<Whole>,
    #[serde(default)]
    expected_total: Option<Amount>,
    #[serde(default)]
    block: Option<BlockId>,
    #[serde(default)]
    external_ref: Option<Text>,
}

impl StayFields {
    fn stay(&self, id: Uuid, index: usize) -> Result<GroupStay, Problem> {
        let name = format!("reservations[{index}].room");
        let (currency, currency_known) = judge_currency(self.currency.as_deref());
        Ok(GroupStay {
            id: ReservationId(id),
            wanted: wanted(&name, self.room.as_ref(), self.room_type.as_ref())?,
            arrival: self.arrival,
            departure: self.departure,
            occupancy: self.occupancy.count(),
            currency,
            currency_known,
            hold_seconds: self.hold_seconds.map(|seconds| seconds.0),
            expected_total: self.expected_total.map(|total| total.0),
            block: self.block.clone(),
            external_ref: self.external_ref.as_ref().map(|text| text.0.clone()),
        })
    }
}

pub async fn book(
    State(node): State<Arc<Node>>,
    Extension(bodies): Extension<Bodies>,
    segments: Segments,
    headers: HeaderMap,
    request: Request,
) -> Result<Response, Problem> {
    let fields: BookFields = bodies.json(request).await?;
    let property: PropertyId = segments.get(0, "property")?;
    fields.at(&node.ids, property)?.send(&node, &headers).await
}

/// An id as answers write it.
struct PlainBookingId(BookingId);

impl std::str::FromStr for PlainBookingId {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<PlainBookingId, Self::Err> {
        plain_uuid(text).map(BookingId).map(PlainBookingId)
    }
}

fn booking_id(segments: &Segments) -> Result<BookingId, Problem> {
    segments.get(0, "id").map(|PlainBookingId(id)| id)
}

async fn change(
    node: &Node,
    segments: &Segments,
    headers: &HeaderMap,
    request: Request,
    call: &str,
    command: fn(BookingChange) -> Command,
) -> Result<Response, Problem> {
    nothing(request).await?;
    let booking = booking_id(segments)?;
    let path = [&*booking.to_string()];
    write(node, headers, call, &path, &(), command(BookingChange { booking })).await
}

pub async fn confirm(
    State(node): State<Arc<Node>>,
    segments: Segments,
    headers: HeaderMap,
    request: Request,
) -> Result<Response, Problem> {
    change(&node, &segments, &headers, request, "confirm_booking", Command::ConfirmBooking).await
}

pub async fn cancel(
    State(node): State<Arc<Node>>,
    segments: Segments,
    headers: HeaderMap,
    request: Request,
) -> Result<Response, Problem> {
    change(&node, &segments, &headers, request, "cancel_booking", Command::CancelBooking).await
}

pub async fn show(
    State(node): State<Arc<Node>>,
    segments: Segments,
    request: Request,
) -> Result<Response, Problem> {
    let id = booking_id(&segments)?;
    let mut params = Params::of(request.uri())?;
    let as_of = params.number("as_of")?.map(Lsn);
    let newest = |ledger: &Ledger| ledger.booking(id);
    let Some(as_of) = as_of else {
        let (newest, lsn) = read(&node, params, newest).await?;
        return Ok(render::json(StatusCode::OK, lsn, &render::booking(&newest)));
    };
    let deadline = node.deadline();
    let newest = read_towards(&node, params, as_of, deadline, newest).await?;
    let members = newest.reservations.iter().map(|member| member.id).collect();
    let reservations = node.reservations_at(members, as_of, deadline).await?;
    if reservations.is_empty() {
        return Err(Problem::from(Refusal::BookingNotFound).at(as_of));
    }
    Ok(render::json(StatusCode::OK, as_of, &render::booking(&Booking { id, reservations })))
}
