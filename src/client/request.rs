//! The bodies and the questions that the calls take. Fields are named as the contract names them.

use serde::{Deserialize, Deserializer, Serialize};

use super::call::Call;
use crate::ledger::{BlockId, BlockStatus, Currency, Date, PropertyId, RoomId, RoomTypeId, Status};
use crate::wire::{Instant, PricedNight};

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PutProperty {
    pub name: String,
    pub location: String,
    /// An IANA name.
    pub time_zone: String,
    pub currency: Currency,
    pub business_date: FirstBusinessDate,
}

/// The business date with which a new property begins; one that exists keeps its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FirstBusinessDate {
    /// Follows the property's midnight.
    #[default]
    Clock,
    /// Moved by night audits only.
    #[serde(untagged)]
    Manual(Date),
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PutRoomType {
    pub name: String,
    pub max_occupancy: u32,
    pub overbooking_limit: u32,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PutRoom {
    pub room_type: RoomTypeId,
}

/// The nights `[from, to)`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PutOutOfOrder {
    pub from: Date,
    pub to: Date,
    pub reason: String,
}

/// Rooms of a type that are kept on the nights `[from, to)`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PutBlock {
    pub room_type: RoomTypeId,
    pub from: Date,
    pub to: Date,
    /// Of each night.
    pub rooms: u32,
    pub status: BlockStatus,
    /// From this business date on, what is left of it is free.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub release_date: Option<Date>,
}

/// A stay by type that somebody waits for.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct JoinWaitlist {
    pub guest: String,
    pub room_type: RoomTypeId,
    pub arrival: Date,
    pub departure: Date,
    pub occupancy: u32,
    /// The property's when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub currency: Option<Currency>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Reserve {
    pub guest: String,
    #[serde(flatten)]
    pub stay: Stay,
}

/// Reservations that are made together, all or none.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Book {
    pub guest: String,
    pub reservations: Vec<Stay>,
}

/// One room for some nights. Exactly one of `room` and `room_type` is set.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Stay {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub room: Option<RoomId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub room_type: Option<RoomTypeId>,
    pub arrival: Date,
    pub departure: Date,
    pub occupancy: u32,
    /// The property's when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub currency: Option<Currency>,
    /// A hold that ends after so many seconds; a confirmed reservation when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hold_seconds: Option<u64>,
    /// Minor units; another total is refused as `price_changed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected_total: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub block: Option<BlockId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub external_ref: Option<String>,
}

/// Reservations of one booking that another ledger made, as they stand.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ImportBooking {
    pub guest: String,
    pub reservations: Vec<ImportedStay>,
}

/// A field that may be left out may be null.
pub(crate) fn null_is_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// A reservation as it stood where it was made. Read from files too, and strictly.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImportedStay {
    pub room_type: RoomTypeId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub room: Option<RoomId>,
    /// Whether the guest was promised this room.
    #[serde(default, deserialize_with = "null_is_default")]
    pub room_pinned: bool,
    pub arrival: Date,
    pub departure: Date,
    pub occupancy: u32,
    pub status: Status,
    /// Set while held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold_expires_at: Option<Instant>,
    pub price: ImportedPrice,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub block: Option<BlockId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_ref: Option<String>,
}

/// What a stay was sold at: its nights follow one another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImportedPrice {
    pub currency: Currency,
    pub nights: Vec<PricedNight>,
}

/// A change of a reservation's status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatusChange {
    Confirm,
    Cancel,
    CheckIn,
    CheckOut,
    NoShow,
}

impl StatusChange {
    /// The last segment of the call's path.
    pub(super) fn path(self) -> &'static str {
        match self {
            StatusChange::Confirm => "confirm",
            StatusChange::Cancel => "cancel",
            StatusChange::CheckIn => "check-in",
            StatusChange::CheckOut => "check-out",
            StatusChange::NoShow => "no-show",
        }
    }
}

/// A change of all reservations of a booking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BookingChange {
    Confirm,
    Cancel,
}

impl BookingChange {
    /// The last segment of the call's path.
    pub(super) fn path(self) -> &'static str {
        match self {
            BookingChange::Confirm => "confirm",
            BookingChange::Cancel => "cancel",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct NightAudit {
    pub business_date: Date,
}

/// A change of a stay. What is `None` stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Amend {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arrival: Option<Date>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub departure: Option<Date>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub room_type: Option<RoomTypeId>,
    /// `Some(None)`: any room of the type will do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub room: Option<Option<RoomId>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub occupancy: Option<u32>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Assign {
    pub room: RoomId,
}

/// Which reservations of a property to list.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ListQuery {
    pub guest: Option<String>,
    pub status: Option<Status>,
    pub external_ref: Option<String>,
    pub arrival_from: Option<Date>,
    pub arrival_to: Option<Date>,
    pub limit: Option<u32>,
    pub cursor: Option<String>,
}

impl ListQuery {
    pub(super) fn add_to(&self, call: Call) -> Call {
        call.query_opt("guest", self.guest.as_ref())
            .query_opt("status", self.status.map(status_name))
            .query_opt("external_ref", self.external_ref.as_ref())
            .query_opt("arrival_from", self.arrival_from)
            .query_opt("arrival_to", self.arrival_to)
            .query_opt("limit", self.limit)
            .query_opt("cursor", self.cursor.as_ref())
    }
}

/// The contract's name of a status.
fn status_name(status: Status) -> String {
    match serde_json::to_value(status) {
        Ok(serde_json::Value::String(name)) => name,
        other => unreachable!("a status is written as its name, got {other:?}"),
    }
}

/// Which rooms have to be free, for which stay.
#[derive(Clone, Debug, PartialEq)]
pub struct FreeRoomsQuery {
    pub arrival: Date,
    pub departure: Date,
    pub occupancy: u32,
    pub currency: Option<Currency>,
    pub room: Option<RoomId>,
    pub room_type: Option<RoomTypeId>,
    pub limit: Option<u32>,
}

impl FreeRoomsQuery {
    pub(super) fn add_to(&self, call: Call) -> Call {
        call.query("arrival", self.arrival)
            .query("departure", self.departure)
            .query("occupancy", self.occupancy)
            .query_opt("currency", self.currency)
            .query_opt("room", self.room.as_ref())
            .query_opt("room_type", self.room_type.as_ref())
            .query_opt("limit", self.limit)
    }
}

/// Which events to tell.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EventsQuery {
    /// Only those after this position.
    pub after: Option<String>,
    pub property: Option<PropertyId>,
    /// How long the node waits where there is none yet; shorter than this client waits for an answer.
    pub wait_ms: u64,
}

impl EventsQuery {
    pub(super) fn add_to(&self, call: Call) -> Call {
        call.query_opt("after", self.after.as_ref())
            .query_opt("property", self.property.as_ref())
            .query("wait_ms", self.wait_ms)
            .query("limit", 1_000)
    }
}

/// Which properties have a free room for a stay.
#[derive(Clone, Debug, PartialEq)]
pub struct SearchQuery {
    /// Compared without regard to case.
    pub location: String,
    pub arrival: Date,
    pub departure: Date,
    pub occupancy: u32,
    pub currency: Option<Currency>,
    pub limit: Option<u32>,
    pub cursor: Option<String>,
}

impl SearchQuery {
    pub(super) fn add_to(&self, call: Call) -> Call {
        call.query("location", &self.location)
            .query("arrival", self.arrival)
            .query("departure", self.departure)
            .query("occupancy", self.occupancy)
            .query_opt("currency", self.currency)
            .query_opt("limit", self.limit)
            .query_opt("cursor", self.cursor.as_ref())
    }
}
