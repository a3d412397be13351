//! Restrictions: rules for the stays of a room type, by date.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::response::Response;
use serde::{Deserialize, Serialize};

use super::access::{check_range, write};
use super::extract::{Segments, json};
use super::lists::list_dates;
use super::problem::Problem;
use super::render;
use crate::ledger::{Command, Date, Ledger, PropertyId, PutRestrictions, RoomTypeId, Rules};
use crate::node::Node;
use crate::wire;

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RestrictionsFields {
    room_type: RoomTypeId,
    from: Date,
    to: Date,
    #[serde(default)]
    closed: Option<bool>,
    #[serde(default)]
    closed_to_arrival: Option<bool>,
    #[serde(default)]
    closed_to_departure: Option<bool>,
    #[serde(default)]
    min_stay: Option<u32>,
    #[serde(default)]
    max_stay: Option<u32>,
    #[serde(default)]
    min_advance_days: Option<u32>,
    #[serde(default)]
    max_advance_days: Option<u32>,
}

pub async fn put(
    State(node): State<Arc<Node>>,
    segments: Segments,
    headers: HeaderMap,
    request: Request,
) -> Result<Response, Problem> {
    let fields: RestrictionsFields = json(request).await?;
    let property: PropertyId = segments.get(0, "property")?;
    check_range(fields.from, fields.to)?;
    let path = [property.as_str()];
    let command = Command::PutRestrictions(PutRestrictions {
        property: property.clone(),
        room_type: fields.room_type.clone(),
        from: fields.from,
        to: fields.to,
        rules: Rules {
            closed: fields.closed.unwrap_or(false),
            closed_to_arrival: fields.closed_to_arrival.unwrap_or(false),
            closed_to_departure: fields.closed_to_departure.unwrap_or(false),
            min_stay: fields.min_stay,
            max_stay: fields.max_stay,
            min_advance_days: fields.min_advance_days,
            max_advance_days: fields.max_advance_days,
        },
    });
    write(&node, &headers, "put_restrictions", &path, &fields, command).await
}

pub async fn list(
    State(node): State<Arc<Node>>,
    segments: Segments,
    request: Request,
) -> Result<Response, Problem> {
    let list = |ledger: &Ledger, property: &PropertyId, (from, to)| {
        let restrictions = ledger.restrictions(property, from, to)?;
        Ok(wire::Restrictions { restrictions: restrictions.iter().map(render::restriction).collect() })
    };
    list_dates(&node, &segments, request.uri(), list).await
}
