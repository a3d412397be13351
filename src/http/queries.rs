//! What is free: rooms for a stay, nights of a type, properties of a place.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;

use super::access::shown_range;
use super::extract::{Params, Segments};
use super::fields::Whole;
use super::lists::{list, list_of_property};
use super::problem::{Code, Problem};
use super::render;
use crate::ledger::{
    AVAILABILITY_NIGHTS_MAX, Date, FoundPage, FreeRoom, FreeRoomsQuery, Ledger, NightAvailability,
    PropertyId, Refusal, RoomTypeId, SearchQuery, TYPE_NIGHTS_MAX,
};
use crate::node::Node;
use crate::wire;

/// Nights that are counted, or priced and shown, while a room or a reservation is looked at.
const NIGHTS_A_LOOK: usize = 10;

/// Rooms that may be looked at for the stay, where `looks` may be for a short one: each is priced night by night.
fn looks_for(arrival: Date, departure: Date, looks: usize) -> usize {
    let nights = arrival.nights_to(departure).max(0) as usize;
    looks / (1 + nights / NIGHTS_A_LOOK)
}

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
    let property = query.property.clone();
    let query = move |ledger: &Ledger, looks: usize| {
        ledger.free_rooms_within(&query, looks_for(query.arrival, query.departure, looks))
    };
    let show =
        |rooms: Vec<FreeRoom>| wire::FreeRooms { rooms: rooms.iter().map(render::free_room).collect() };
    list_of_property(&node, params, &property, query, show).await
}

pub async fn availability(
    State(node): State<Arc<Node>>,
    segments: Segments,
    request: Request,
) -> Result<Response, Problem> {
    let property: PropertyId = segments.get(0, "property")?;
    let mut params = Params::of(request.uri())?;
    let (from, to) = shown_range(&mut params, AVAILABILITY_NIGHTS_MAX)?;
    let of = property.clone();
    let query = move |ledger: &Ledger, looks: usize| {
        let nights = ledger.type_nights(&of, from, to);
        if nights > TYPE_NIGHTS_MAX {
            return Err(Refusal::StayTooLong);
        }
        let is_little = nights / NIGHTS_A_LOOK <= looks;
        is_little.then(|| ledger.availability(&of, from, to)).transpose()
    };
    let show = |by_type: BTreeMap<RoomTypeId, Vec<NightAvailability>>| {
        let types = by_type.into_iter();
        wire::Availability {
            room_types: types.map(|(id, nights)| (id, nights.iter().map(render::night).collect())).collect(),
        }
    };
    let shown = list_of_property(&node, params, &property, query, show).await;
    shown.map_err(|problem| match problem.code() {
        Code::StayTooLong => Problem::malformed("to", "asks for more than 1,000,000 nights of room types"),
        _ => problem,
    })
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
    let query = move |ledger: &Ledger, looks: usize| {
        ledger.search_within(&query, looks_for(query.arrival, query.departure, looks))
    };
    list(&node, params, query, found).await
}

fn found(page: FoundPage) -> wire::Found {
    let properties = page.properties.iter().map(|found| wire::FoundProperty {
        property: found.property.property.clone(),
        name: found.property.name.to_string(),
        location: found.property.location.to_string(),
        rooms: found.rooms.iter().map(render::free_room).collect(),
    });
    wire::Found {
        properties: properties.collect(),
        next_cursor: page.next.map(|property| property.to_string()),
    }
}
