//! What is free: rooms for a stay, nights of a type, properties of a place.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;

use super::access::{read, read_property, shown_range};
use super::extract::{Params, Segments};
use super::fields::Whole;
use super::problem::Problem;
use super::render;
use crate::ledger::{AVAILABILITY_NIGHTS_MAX, FreeRoomsQuery, Ledger, PropertyId, SearchQuery};
use crate::node::Node;
use crate::wire;

pub async fn free_rooms(
    State(node): State<Arc<Node>>,
    segments: Segments,
    request: Request,
) -> Result<Response, Problem> {
    let mut params = Params::of(request.uri())?;
    let (currency, currency_known) = params.currency()?;
    let query = FreeRoomsQuery {
        property: segments.get(0, "property")?,
        arrival: params.required("arrival")?,
        departure: params.required("departure")?,
        occupancy: params.required::<Whole>("occupancy")?.count(),
        currency,
        currency_known,
        room: params.optional("room")?,
        room_type: params.optional("room_type")?,
        limit: params.limit()?,
    };
    let list = |ledger: &Ledger| Ok(ledger.free_rooms(&query)?.iter().map(render::free_room).collect());
    let (rooms, lsn) = read_property(&node, params, &query.property, list).await?;
    Ok(render::json(StatusCode::OK, lsn, &wire::FreeRooms { rooms }))
}

pub async fn availability(
    State(node): State<Arc<Node>>,
    segments: Segments,
    request: Request,
) -> Result<Response, Problem> {
    let property: PropertyId = segments.get(0, "property")?;
    let mut params = Params::of(request.uri())?;
    let (from, to) = shown_range(&mut params, AVAILABILITY_NIGHTS_MAX)?;
    let list = |ledger: &Ledger| {
        let by_type = ledger.availability(&property, from, to)?;
        Ok(by_type.into_iter().map(|(id, nights)| (id, nights.iter().map(render::night).collect())).collect())
    };
    let (room_types, lsn) = read_property(&node, params, &property, list).await?;
    Ok(render::json(StatusCode::OK, lsn, &wire::Availability { room_types }))
}

pub async fn search(State(node): State<Arc<Node>>, request: Request) -> Result<Response, Problem> {
    let mut params = Params::of(request.uri())?;
    let (currency, currency_known) = params.currency()?;
    let query = SearchQuery {
        location: params.optional::<String>("location")?.map(Into::into),
        arrival: params.required("arrival")?,
        departure: params.required("departure")?,
        occupancy: params.required::<Whole>("occupancy")?.count(),
        currency,
        currency_known,
        limit: params.limit()?,
        after: params.optional("cursor")?,
    };
    let list = |ledger: &Ledger| ledger.search(&query);
    let (page, lsn) = read(&node, params, list).await?;
    let properties = (page.properties.into_iter())
        .map(|found| wire::FoundProperty {
            property: found.property.property.clone(),
            name: found.property.name.to_string(),
            location: found.property.location.to_string(),
            rooms: found.rooms.iter().map(render::free_room).collect(),
        })
        .collect();
    let next_cursor = page.next.map(|property| property.to_string());
    Ok(render::json(StatusCode::OK, lsn, &wire::Found { properties, next_cursor }))
}
