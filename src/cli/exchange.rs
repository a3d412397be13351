//! The file that `export` writes and `import --format innkeeper` reads: one record a line, in JSON (NDJSON).
//!
//! The first line says which version of the format follows. A record stands behind what it needs: a property, its room
//! types, its rooms, what is set for them, its blocks, its bookings, then who waits. Where the first line says so, the
//! last one counts the records between them, so that a file that was cut off at the end of a line does not pass for a
//! whole one. Instants, revisions and positions belong to the cluster that wrote them and are left out, except the end
//! of a hold.

use serde::{Deserialize, Deserializer, Serialize};

use crate::client::{FirstBusinessDate, ImportedStay, null_is_default};
use crate::ledger::{BlockId, BlockStatus, Currency, Date, Prices, PropertyId, RoomId, RoomTypeId};
use crate::wire::UniqueMap;

/// The version of the format that is written, and the only one that is read.
pub(super) const FORMAT: u32 = 1;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Record {
    Innkeeper(Header),
    Property(Property),
    RoomType(RoomType),
    Room(Room),
    Rate(Rate),
    Restriction(Restriction),
    OutOfOrder(OutOfOrder),
    Block(Block),
    Booking(Booking),
    WaitlistEntry(WaitlistEntry),
    End(End),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Header {
    pub format: u32,
    /// Whether the file is whole only with an [`End`].
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "is_false")]
    pub ended: bool,
}

/// The last line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct End {
    /// Between the first line and this one.
    pub records: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Property {
    pub property: PropertyId,
    pub name: String,
    pub location: String,
    /// An IANA name.
    pub time_zone: String,
    pub currency: Currency,
    /// `clock`, also where it is left out, or the date on which a property stands that is moved by hand.
    #[serde(default, deserialize_with = "null_is_default")]
    pub business_date: FirstBusinessDate,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RoomType {
    pub property: PropertyId,
    pub room_type: RoomTypeId,
    pub name: String,
    pub max_occupancy: u32,
    #[serde(default, deserialize_with = "null_is_default")]
    pub overbooking_limit: u32,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Room {
    pub property: PropertyId,
    pub room: RoomId,
    pub room_type: RoomTypeId,
}

/// Exactly one of `room_type` and `room` is set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Rate {
    pub property: PropertyId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub room_type: Option<RoomTypeId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub room: Option<RoomId>,
    pub from: Date,
    pub to: Date,
    /// Minor units, by currency and occupancy.
    #[serde(deserialize_with = "prices")]
    pub prices: Prices,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Restriction {
    pub property: PropertyId,
    pub room_type: RoomTypeId,
    pub from: Date,
    pub to: Date,
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "is_false")]
    pub closed: bool,
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "is_false")]
    pub closed_to_arrival: bool,
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "is_false")]
    pub closed_to_departure: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_stay: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_stay: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_advance_days: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_advance_days: Option<u32>,
}

/// Prices of which none is there twice.
fn prices<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Prices, D::Error> {
    let by_currency = UniqueMap::<Currency, UniqueMap<u32, i64>>::deserialize(deserializer)?;
    Ok(by_currency.0.into_iter().map(|(currency, amounts)| (currency, amounts.0)).collect())
}

fn is_false(flag: &bool) -> bool {
    !flag
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OutOfOrder {
    pub property: PropertyId,
    pub room: RoomId,
    pub from: Date,
    pub to: Date,
    pub reason: String,
}

/// Rooms of a type that are kept for a group or a partner.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Block {
    pub property: PropertyId,
    pub block: BlockId,
    pub room_type: RoomTypeId,
    pub from: Date,
    pub to: Date,
    /// Of each night, those that are picked up too.
    pub rooms: u32,
    pub status: BlockStatus,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release_date: Option<Date>,
}

/// Reservations that were made together, in their order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Booking {
    pub property: PropertyId,
    /// What the writer of the file calls it: an import takes each over once.
    pub booking: String,
    pub guest: String,
    pub reservations: Vec<ImportedStay>,
}

/// Somebody who waits for a stay. Those of one property stand in the order in which they are offered one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WaitlistEntry {
    pub property: PropertyId,
    /// What the writer of the file calls it: an import takes each over once.
    pub entry: String,
    pub guest: String,
    pub room_type: RoomTypeId,
    pub arrival: Date,
    pub departure: Date,
    pub occupancy: u32,
    /// The property's where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub currency: Option<Currency>,
}

impl Record {
    /// The record as a line of the file, without its end.
    pub fn line(&self) -> String {
        serde_json::to_string(self).expect("records are structs with named fields and maps with text keys")
    }
}
