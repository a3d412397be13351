//! The waitlist: stays that somebody waits for, and what becomes of them.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::access::{read, show, write};
use super::extract::{Params, Segments, json, judge_currency, nothing};
use super::fields::{Text, Whole};
use super::problem::Problem;
use super::render;
use super::reservations::plain_uuid;
use crate::ledger::{Command, Date, JoinWaitlist, LeaveWaitlist, Ledger, PropertyId, RoomTypeId, WaitlistId};
use crate::node::Node;
use crate::wire;

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WaitlistFields {
    guest: Text,
    room_type: RoomTypeId,
    arrival: Date,
    departure: Date,
    occupancy: Whole,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    currency: Option<String>,
}

/// An id as answers write it.
struct EntryId(WaitlistId);

impl std::str::FromStr for EntryId {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<EntryId, Self::Err> {
        plain_uuid(text).map(WaitlistId).map(EntryId)
    }
}

pub async fn join(
    State(node): State<Arc<Node>>,
    segments: Segments,
    headers: HeaderMap,
    request: Request,
) -> Result<Response, Problem> {
    let fields: WaitlistFields = json(request).await?;
    let property: PropertyId = segments.get(0, "property")?;
    let (currency, currency_known) = judge_currency(fields.currency.as_deref());
    let path = [property.as_str()];
    let command = Command::JoinWaitlist(Box::new(JoinWaitlist {
        id: WaitlistId(node.ids.next()),
        property: property.clone(),
        guest: fields.guest.0.clone(),
        room_type: fields.room_type.clone(),
        arrival: fields.arrival,
        departure: fields.departure,
        occupancy: fields.occupancy.count(),
        currency,
        currency_known,
    }));
    write(&node, &headers, "join_waitlist", &path, &fields, command).await
}

pub async fn leave(
    State(node): State<Arc<Node>>,
    segments: Segments,
    headers: HeaderMap,
    request: Request,
) -> Result<Response, Problem> {
    nothing(request).await?;
    let property: PropertyId = segments.get(0, "property")?;
    let EntryId(id) = segments.get(1, "id")?;
    let (of, entry) = (property.to_string(), id.to_string());
    let command = Command::LeaveWaitlist(LeaveWaitlist { property, id });
    write(&node, &headers, "leave_waitlist", &[&of, &entry], &(), command).await
}

pub async fn get(
    State(node): State<Arc<Node>>,
    segments: Segments,
    request: Request,
) -> Result<Response, Problem> {
    let EntryId(id) = segments.get(1, "id")?;
    let find = |ledger: &Ledger, property: &PropertyId| {
        ledger.waitlist_entry(property, id).map(|entry| render::waitlist_entry(&entry))
    };
    show(&node, &segments, request.uri(), find).await
}

pub async fn list(
    State(node): State<Arc<Node>>,
    segments: Segments,
    request: Request,
) -> Result<Response, Problem> {
    let property: PropertyId = segments.get(0, "property")?;
    let mut params = Params::of(request.uri())?;
    let limit = params.limit()?;
    let after = params.optional::<Uuid>("cursor")?.map(WaitlistId);
    let list = |ledger: &Ledger| ledger.waitlist(&property, after, limit);
    let ((entries, next), lsn) = read(&node, params, list).await?;
    let body = wire::Waitlist {
        waitlist: entries.iter().map(|entry| render::waitlist_entry(entry)).collect(),
        next_cursor: next.map(|id| id.0.simple().to_string()),
    };
    Ok(render::json(StatusCode::OK, lsn, &body))
}
