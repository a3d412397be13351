//! Reservations that another ledger made, taken over as they stand.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::access::write;
use super::bodies::Bodies;
use super::bookings::STAYS_MAX;
use super::extract::{Segments, judge_currency};
use super::fields::{Amount, Text, object, objects, word};
use super::problem::Problem;
use crate::ledger::{
    BlockId, BookingId, Command, Currency, Date, ImportBooking, ImportedStay, Price, PropertyId,
    ReservationId, RoomId, RoomTypeId, Status, Timestamp,
};
use crate::node::Node;

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ImportFields {
    guest: Text,
    #[serde(deserialize_with = "objects")]
    reservations: Vec<StayFields>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StayFields {
    room_type: RoomTypeId,
    #[serde(default)]
    room: Option<RoomId>,
    #[serde(default)]
    room_pinned: Option<bool>,
    arrival: Date,
    departure: Date,
    occupancy: u32,
    #[serde(deserialize_with = "word")]
    status: Status,
    #[serde(default)]
    hold_expires_at: Option<String>,
    #[serde(deserialize_with = "object")]
    price: PriceFields,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    block: Option<BlockId>,
    #[serde(default)]
    external_ref: Option<Text>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PriceFields {
    currency: String,
    #[serde(deserialize_with = "objects")]
    nights: Vec<NightFields>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct NightFields {
    date: Date,
    amount: Amount,
}

pub async fn import(
    State(node): State<Arc<Node>>,
    Extension(bodies): Extension<Bodies>,
    segments: Segments,
    headers: HeaderMap,
    request: Request,
) -> Result<Response, Problem> {
    let fields: ImportFields = bodies.json(request).await?;
    if !(1..=STAYS_MAX).contains(&fields.reservations.len()) {
        return Err(Problem::malformed("reservations", "must be 1 to 500"));
    }
    let property: PropertyId = segments.get(0, "property")?;
    let stays = fields.reservations.iter().enumerate();
    let stays = stays.map(|(index, stay)| stay.stay(node.ids.next(), index)).collect::<Result<_, _>>()?;
    let path = [property.as_str()];
    let command = Command::ImportBooking(ImportBooking {
        booking_id: BookingId(node.ids.next()),
        property: property.clone(),
        guest: fields.guest.0.clone(),
        stays,
    });
    write(&node, &headers, "import_booking", &path, &fields, command).await
}

impl StayFields {
    fn stay(&self, id: Uuid, index: usize) -> Result<ImportedStay, Problem> {
        let (price, currency_known) = self.price.price(index)?;
        let hold_expires_at = self.hold_expires_at.as_deref().map(|text| instant(text, index)).transpose()?;
        if hold_expires_at.is_some() != (self.status == Status::Held) {
            let name = format!("reservations[{index}].hold_expires_at");
            return Err(Problem::malformed(&name, "goes with a reservation that is held, and only there"));
        }
        Ok(ImportedStay {
            id: ReservationId(id),
            room_type: self.room_type.clone(),
            room: self.room.clone(),
            room_pinned: self.room_pinned.unwrap_or(false),
            arrival: self.arrival,
            departure: self.departure,
            occupancy: self.occupancy,
            status: self.status,
            hold_expires_at,
            price,
            currency_known,
            block: self.block.clone(),
            external_ref: self.external_ref.as_ref().map(|text| text.0.clone()),
        })
    }
}

impl PriceFields {
    /// The price, and whether its currency exists. The nights follow one another.
    fn price(&self, index: usize) -> Result<(Price, bool), Problem> {
        let wrong =
            |field: &str, why: &str| Problem::malformed(&format!("reservations[{index}].price.{field}"), why);
        let Some(currency) = Currency::new(&self.currency) else {
            return Err(wrong("currency", "is no code of three upper-case letters"));
        };
        let Some(first) = self.nights.first() else { return Err(wrong("nights", "is empty")) };
        let follows = |pair: &[NightFields]| pair[0].date.nights_to(pair[1].date) == 1;
        if !self.nights.windows(2).all(follows) {
            return Err(wrong("nights", "must follow one another"));
        }
        let amounts = self.nights.iter().map(|night| night.amount.0).collect();
        let (_, currency_known) = judge_currency(Some(&self.currency));
        Ok((Price { currency, from: first.date, amounts }, currency_known))
    }
}

/// RFC 3339.
fn instant(text: &str, index: usize) -> Result<Timestamp, Problem> {
    let instant = text.parse::<jiff::Timestamp>().ok();
    let milliseconds = instant.and_then(|instant| u64::try_from(instant.as_millisecond()).ok());
    milliseconds.map(Timestamp).ok_or_else(|| {
        let name = format!("reservations[{index}].hold_expires_at");
        Problem::malformed(&name, "must be an instant as 2027-03-01T10:00:00.000Z, from 1970 on")
    })
}
