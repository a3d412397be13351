//! Properties, their room types, rooms and blocks, as they are persisted and shown.

use serde::{Deserialize, Serialize};

use super::date::Date;
use super::id::{BlockId, Currency, PropertyId, RoomId, RoomTypeId};

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

/// How far a block (an allotment) is agreed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BlockStatus {
    /// Takes nothing, and nobody may take from it.
    Tentative,
    /// Takes rooms of its type until they are picked up.
    Definite,
    /// Takes nothing any more.
    Canceled,
}

/// Rooms of a type that are kept for a group or a partner on the nights `[from, to)`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Block {
    pub property: PropertyId,
    pub block: BlockId,
    pub room_type: RoomTypeId,
    pub from: Date,
    pub to: Date,
    /// Of each night.
    pub rooms: u32,
    pub status: BlockStatus,
    /// From this business date on, what is left of it is free.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release_date: Option<Date>,
}

impl Block {
    /// How many nights it has.
    pub fn nights(&self) -> u64 {
        u64::from(self.from.nights_to(self.to).max(0).unsigned_abs())
    }
}
