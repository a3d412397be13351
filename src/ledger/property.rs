//! Properties, their room types and rooms, as they are persisted and shown.

use serde::{Deserialize, Serialize};

use super::date::Date;
use super::id::{Currency, PropertyId, RoomId, RoomTypeId};

/// How a property's business date moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BusinessDateMode {
    /// After the property's midnight, by an entry of the log that carries the date.
    Clock,
    /// By night audits.
    Manual,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Property {
    pub property: PropertyId,
    pub name: Box<str>,
    pub location: Box<str>,
    /// An IANA name that the edge knew.
    pub time_zone: Box<str>,
    pub currency: Currency,
    pub business_date: Date,
    pub business_date_mode: BusinessDateMode,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RoomType {
    pub property: PropertyId,
    pub room_type: RoomTypeId,
    pub name: Box<str>,
    /// At least 1.
    pub max_occupancy: u32,
    pub overbooking_limit: u32,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Room {
    pub property: PropertyId,
    pub room: RoomId,
    pub room_type: RoomTypeId,
}
