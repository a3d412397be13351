//! Properties, room types, rooms and rates.

use std::collections::BTreeMap;
use std::convert::identity;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::response::Response;
use serde::{Deserialize, Deserializer, Serialize, de};

use super::access::{check_range, counted_range, show, submit, write};
use super::asked::Asked;
use super::extract::{Params, Segments, json, judge_currency, no_body, nothing};
use super::fields::{Amount, Text};
use super::lists::{list, list_dates};
use super::problem::Problem;
use super::render;
use crate::ledger::{
    Command, Currency, Date, EndOutOfOrder, FirstBusinessDate, Ledger, NightAudit, PropertyId, PutOutOfOrder,
    PutProperty, PutRates, PutRoom, PutRoomType, RateTarget, Refusal, RetireRoom, RoomId, RoomTypeId,
};
use crate::node::{Consistency, Node, date_at, time_zone_known};
use crate::wire::{self, UniqueMap};

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PropertyFields {
    name: Text,
    location: Text,
    time_zone: Text,
    currency: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    business_date: Option<BusinessDate>,
}

/// `"clock"` or a date.
#[derive(Clone, Copy, Debug, Serialize)]
enum BusinessDate {
    Clock,
    From(Date),
}

impl<'de> Deserialize<'de> for BusinessDate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<BusinessDate, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text == "clock" {
            return Ok(BusinessDate::Clock);
        }
        text.parse()
            .map(BusinessDate::From)
            .map_err(|error| de::Error::custom(format!("\"clock\", or {error}")))
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RoomTypeFields {
    name: Text,
    max_occupancy: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    overbooking_limit: Option<u32>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RoomFields {
    room_type: RoomTypeId,
}

impl RoomFields {
    pub fn at(self, property: PropertyId, room: RoomId) -> Asked<RoomFields> {
        let path = vec![property.to_string(), room.to_string()];
        let command = Command::PutRoom(PutRoom { property, room, room_type: self.room_type.clone() });
        Asked { call: "put_room", path, fields: self, command }
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct OutOfOrderFields {
    from: Date,
    to: Date,
    reason: Text,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct NightAuditFields {
    business_date: Date,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RatesFields {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    room_type: Option<RoomTypeId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    room: Option<RoomId>,
    from: Date,
    to: Date,
    prices: UniqueMap<String, UniqueMap<u32, Amount>>,
}

/// Amounts that one call sets for each night, over all currencies and occupancies. A later call may replace thousands of such
/// ranges by one command, and what a command changed has to fit into a chunk of the history.
const AMOUNTS_MAX: usize = 500;

impl RatesFields {
    pub fn at(self, property: PropertyId) -> Result<Asked<RatesFields>, Problem> {
        let target = self.target()?;
        check_range(self.from, self.to)?;
        if self.prices.0.values().map(|amounts| amounts.0.len()).sum::<usize>() > AMOUNTS_MAX {
            let reason =
                format!("holds more than {AMOUNTS_MAX} amounts; set those that guests are asked for");
            return Err(Problem::malformed("prices", reason));
        }
        let mut prices: BTreeMap<Currency, BTreeMap<u32, i64>> = BTreeMap::new();
        let mut currencies_known = true;
        for (code, amounts) in &self.prices.0 {
            let amounts = amounts.0.iter().map(|(occupancy, amount)| (*occupancy, amount.0));
            match judge_currency(Some(code)) {
                (Some(currency), known) => {
                    prices.insert(currency, amounts.collect());
                    currencies_known &= known;
                }
                // Refused for what it is, once the rest has been judged.
                (None, _) => {
                    currencies_known = false;
                    prices.entry(Currency::NONE).or_default().extend(amounts);
                }
            }
        }
        let path = vec![property.to_string()];
        let (from, to) = (self.from, self.to);
        let command = Command::PutRates(PutRates { property, target, from, to, prices, currencies_known });
        Ok(Asked { call: "put_rates", path, fields: self, command })
    }

    fn target(&self) -> Result<RateTarget, Problem> {
        match (&self.room_type, &self.room) {
            (Some(room_type), None) => Ok(RateTarget::RoomType(room_type.clone())),
            (None, Some(room)) => Ok(RateTarget::Room(room.clone())),
            (Some(_), Some(_)) => Err(Problem::malformed("room", "excludes `room_type`; give one of them")),
            (None, None) => Err(Problem::malformed("room_type", "is missing; give it or `room`")),
        }
    }
}

pub async fn put_property(
    State(node): State<Arc<Node>>,
    segments: Segments,
    headers: HeaderMap,
    request: Request,
) -> Result<Response, Problem> {
    let fields: PropertyFields = json(request).await?;
    let property: PropertyId = segments.get(0, "property")?;
    let (currency, currency_known) = judge_currency(Some(&fields.currency));
    let today = date_at(node.wall(), &fields.time_zone.0);
    let time_zone_known = time_zone_known(&fields.time_zone.0);
    let business_date = match fields.business_date {
        Some(BusinessDate::From(date)) => FirstBusinessDate::Manual(date),
        // Where the zone is not known the command is refused, whatever the date.
        Some(BusinessDate::Clock) | None => FirstBusinessDate::Clock(today.unwrap_or(Date::MIN)),
    };
    let path = [property.as_str()];
    let command = Command::PutProperty(PutProperty {
        property: property.clone(),
        name: fields.name.0.clone(),
        location: fields.location.0.clone(),
        time_zone: fields.time_zone.0.clone(),
        time_zone_known,
        currency,
        currency_known,
        business_date,
    });
    write(&node, &headers, "put_property", &path, &fields, command).await
}

/// Answers once all no-shows are marked, and at a position at which they are, where that is in time; it is certain in any case.
pub async fn night_audit(
    State(node): State<Arc<Node>>,
    segments: Segments,
    headers: HeaderMap,
    request: Request,
) -> Result<Response, Problem> {
    let fields: NightAuditFields = json(request).await?;
    let property: PropertyId = segments.get(0, "property")?;
    let business_date = fields.business_date;
    let command = Command::NightAudit(NightAudit { property: property.clone(), business_date });
    let path = [property.as_str()];
    // Of the whole call: what was done must be told before the client gives up.
    let deadline = node.deadline();
    let mut applied = submit(&node, &headers, "night_audit", &path, &fields, command).await?;
    // What is due has ended before such a read, and the no-shows that the command left are due.
    match node.ready_to_read(Consistency::Linearizable, None, deadline).await {
        Ok(()) => applied.lsn = applied.lsn.max(node.position().lsn),
        Err(error) => tracing::debug!(%property, ?error, "a night audit goes on behind its answer"),
    }
    Ok(render::applied(applied))
}

pub async fn put_room_type(
    State(node): State<Arc<Node>>,
    segments: Segments,
    headers: HeaderMap,
    request: Request,
) -> Result<Response, Problem> {
    let fields: RoomTypeFields = json(request).await?;
    let property: PropertyId = segments.get(0, "property")?;
    let room_type: RoomTypeId = segments.get(1, "room_type")?;
    let path = [property.as_str(), room_type.as_str()];
    let command = Command::PutRoomType(PutRoomType {
        property: property.clone(),
        room_type: room_type.clone(),
        name: fields.name.0.clone(),
        max_occupancy: fields.max_occupancy,
        overbooking_limit: fields.overbooking_limit.unwrap_or(0),
    });
    write(&node, &headers, "put_room_type", &path, &fields, command).await
}

pub async fn put_room(
    State(node): State<Arc<Node>>,
    segments: Segments,
    headers: HeaderMap,
    request: Request,
) -> Result<Response, Problem> {
    let fields: RoomFields = json(request).await?;
    let property: PropertyId = segments.get(0, "property")?;
    let room: RoomId = segments.get(1, "room")?;
    fields.at(property, room).send(&node, &headers).await
}

pub async fn retire_room(
    State(node): State<Arc<Node>>,
    segments: Segments,
    headers: HeaderMap,
    request: Request,
) -> Result<Response, Problem> {
    nothing(request).await?;
    let property: PropertyId = segments.get(0, "property")?;
    let room: RoomId = segments.get(1, "room")?;
    let path = [property.as_str(), room.as_str()];
    let command = Command::RetireRoom(RetireRoom { property: property.clone(), room: room.clone() });
    write(&node, &headers, "retire_room", &path, &(), command).await
}

pub async fn put_out_of_order(
    State(node): State<Arc<Node>>,
    segments: Segments,
    headers: HeaderMap,
    request: Request,
) -> Result<Response, Problem> {
    let fields: OutOfOrderFields = json(request).await?;
    let property: PropertyId = segments.get(0, "property")?;
    let room: RoomId = segments.get(1, "room")?;
    counted_range(fields.from, fields.to)?;
    let path = [property.as_str(), room.as_str()];
    let command = Command::PutOutOfOrder(PutOutOfOrder {
        property: property.clone(),
        room: room.clone(),
        from: fields.from,
        to: fields.to,
        reason: fields.reason.0.clone(),
    });
    write(&node, &headers, "put_out_of_order", &path, &fields, command).await
}

pub async fn end_out_of_order(
    State(node): State<Arc<Node>>,
    segments: Segments,
    headers: HeaderMap,
    request: Request,
) -> Result<Response, Problem> {
    let params = Params::of(request.uri());
    no_body(request).await?;
    let mut params = params?;
    let (from, to): (Date, Date) = (params.required("from")?, params.required("to")?);
    params.finish()?;
    check_range(from, to)?;
    let property: PropertyId = segments.get(0, "property")?;
    let room: RoomId = segments.get(1, "room")?;
    let path = [property.as_str(), room.as_str()];
    let (property, room) = (property.clone(), room.clone());
    let command = Command::EndOutOfOrder(EndOutOfOrder { property, room, from, to });
    write(&node, &headers, "end_out_of_order", &path, &(from, to), command).await
}

pub async fn put_rates(
    State(node): State<Arc<Node>>,
    segments: Segments,
    headers: HeaderMap,
    request: Request,
) -> Result<Response, Problem> {
    let fields: RatesFields = json(request).await?;
    let property: PropertyId = segments.get(0, "property")?;
    fields.at(property)?.send(&node, &headers).await
}

pub async fn list_properties(State(node): State<Arc<Node>>, request: Request) -> Result<Response, Problem> {
    let all = |ledger: &Ledger| wire::Properties {
        properties: ledger.properties().map(render::property).collect(),
    };
    let few =
        move |ledger: &Ledger, looks: usize| Ok((ledger.properties_len() <= looks).then(|| all(ledger)));
    list(&node, Params::of(request.uri())?, few, identity).await
}

pub async fn get_property(
    State(node): State<Arc<Node>>,
    segments: Segments,
    request: Request,
) -> Result<Response, Problem> {
    let query = |ledger: &Ledger, property: &PropertyId| {
        ledger.property(property).map(render::property).ok_or(Refusal::PropertyNotFound)
    };
    show(&node, &segments, request.uri(), query).await
}

pub async fn list_room_types(
    State(node): State<Arc<Node>>,
    segments: Segments,
    request: Request,
) -> Result<Response, Problem> {
    let list = |ledger: &Ledger, property: &PropertyId| {
        let room_types = ledger.room_types(property)?.into_iter().map(render::room_type).collect();
        Ok(wire::RoomTypes { room_types })
    };
    show(&node, &segments, request.uri(), list).await
}

pub async fn list_rooms(
    State(node): State<Arc<Node>>,
    segments: Segments,
    request: Request,
) -> Result<Response, Problem> {
    let property: PropertyId = segments.get(0, "property")?;
    let few = move |ledger: &Ledger, looks: usize| {
        if ledger.rooms_len(&property) > looks {
            return Ok(None);
        }
        let rooms = ledger.rooms(&property)?.into_iter().map(render::room).collect();
        Ok(Some(wire::Rooms { rooms }))
    };
    list(&node, Params::of(request.uri())?, few, identity).await
}

pub async fn list_out_of_order(
    State(node): State<Arc<Node>>,
    segments: Segments,
    request: Request,
) -> Result<Response, Problem> {
    let list = |ledger: &Ledger, property: &PropertyId, (from, to)| {
        let closures = ledger.out_of_order(property, from, to)?;
        Ok(wire::OutOfOrders { out_of_order: closures.iter().map(render::out_of_order).collect() })
    };
    list_dates(&node, &segments, request.uri(), list).await
}

pub async fn list_rates(
    State(node): State<Arc<Node>>,
    segments: Segments,
    request: Request,
) -> Result<Response, Problem> {
    let list = |ledger: &Ledger, property: &PropertyId, (from, to)| {
        let rates = ledger.rates(property, from, to)?;
        Ok(wire::Rates { rates: rates.iter().map(render::rate).collect() })
    };
    list_dates(&node, &segments, request.uri(), list).await
}
