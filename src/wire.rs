//! The shapes of the client API: what a node answers and what a client reads. See the contract's names and order.
//!
//! Known to the HTTP layer, which fills them from the ledger, and to the typed client, which reads them back. Nothing
//! here is persisted.

use std::collections::BTreeMap;
use std::fmt::{self, Display};
use std::marker::PhantomData;

use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::ledger::{
    BlockId, BlockStatus, BookingId, BusinessDateMode, Currency, Date, Lsn, Prices, PropertyId,
    ReservationId, RoomId, RoomTypeId, Status, WaitlistId, WaitlistStatus,
};

/// Commands that applying set aside, oldest first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Quarantine {
    pub commands: Vec<SetAside>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SetAside {
    pub lsn: Lsn,
    pub code: String,
    /// As the ledger keeps it.
    pub command: serde_json::Value,
}

/// A status, a mode or a rule as the API writes it.
pub fn word(value: &impl Serialize) -> String {
    match serde_json::json!(value) {
        serde_json::Value::String(word) => word,
        other => other.to_string(),
    }
}

/// An instant as RFC 3339 in UTC with milliseconds.
pub type Instant = String;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Property {
    pub property: PropertyId,
    pub name: String,
    pub location: String,
    pub time_zone: String,
    pub currency: Currency,
    pub business_date: Date,
    pub business_date_mode: BusinessDateMode,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Properties {
    pub properties: Vec<Property>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RoomType {
    pub room_type: RoomTypeId,
    pub name: String,
    pub max_occupancy: u32,
    pub overbooking_limit: u32,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RoomTypes {
    pub room_types: Vec<RoomType>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Room {
    pub room: RoomId,
    pub room_type: RoomTypeId,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rooms {
    pub rooms: Vec<Room>,
}

/// One range of nights with the same prices; exactly one of `room_type` and `room` is set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rate {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub room_type: Option<RoomTypeId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub room: Option<RoomId>,
    pub from: Date,
    pub to: Date,
    pub prices: Prices,
}

/// A room that is out of order on the nights `[from, to)`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OutOfOrder {
    pub room: RoomId,
    pub from: Date,
    pub to: Date,
    pub reason: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OutOfOrders {
    pub out_of_order: Vec<OutOfOrder>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rates {
    pub rates: Vec<Rate>,
}

/// One range of dates with the same rules for a room type.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Restriction {
    pub room_type: RoomTypeId,
    pub from: Date,
    pub to: Date,
    pub closed: bool,
    pub closed_to_arrival: bool,
    pub closed_to_departure: bool,
    /// Nights.
    pub min_stay: Option<u32>,
    pub max_stay: Option<u32>,
    /// Days from the business date to the arrival.
    pub min_advance_days: Option<u32>,
    pub max_advance_days: Option<u32>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Restrictions {
    pub restrictions: Vec<Restriction>,
}

/// Rooms that are kept for a group or a partner on the nights `[from, to)`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Block {
    pub block: BlockId,
    pub room_type: RoomTypeId,
    pub from: Date,
    pub to: Date,
    /// Of each night.
    pub rooms: u32,
    pub status: BlockStatus,
    pub release_date: Option<Date>,
    /// It was definite when its release date came: what is left of it is free.
    #[serde(default)]
    pub released: bool,
    /// Each night of the block.
    pub picked_up: Vec<PickedUp>,
}

/// A stay that somebody waits for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WaitlistEntry {
    pub id: WaitlistId,
    pub property: PropertyId,
    pub guest: String,
    pub room_type: RoomTypeId,
    pub arrival: Date,
    pub departure: Date,
    pub occupancy: u32,
    pub currency: Currency,
    pub status: WaitlistStatus,
    /// The hold that is or was offered.
    pub reservation: Option<ReservationId>,
    pub created_at: Instant,
    pub updated_at: Instant,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Waitlist {
    pub waitlist: Vec<WaitlistEntry>,
    pub next_cursor: Option<String>,
}

/// Rooms that reservations have taken from a block on one night.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PickedUp {
    pub date: Date,
    pub rooms: u32,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Blocks {
    pub blocks: Vec<Block>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PricedNight {
    pub date: Date,
    /// Minor units.
    pub amount: i64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Price {
    pub currency: Currency,
    pub nights: Vec<PricedNight>,
    /// Minor units.
    pub total: i64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reservation {
    pub id: ReservationId,
    pub booking_id: BookingId,
    pub property: PropertyId,
    pub room_type: RoomTypeId,
    pub room: Option<RoomId>,
    pub room_pinned: bool,
    pub guest: String,
    pub arrival: Date,
    pub departure: Date,
    pub occupancy: u32,
    pub status: Status,
    pub hold_expires_at: Option<Instant>,
    pub price: Price,
    pub block: Option<BlockId>,
    pub external_ref: Option<String>,
    pub revision: u64,
    pub lsn: Lsn,
    pub created_at: Instant,
    pub updated_at: Instant,
}

/// Reservations that were made together, in their order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Booking {
    pub id: BookingId,
    pub reservations: Vec<Reservation>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reservations {
    pub reservations: Vec<Reservation>,
    pub next_cursor: Option<String>,
}

/// What became of one command of a batch: the resource, or only its id, or why it was refused.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct BatchResult {
    /// The status that the command's own call would have answered.
    pub status: u16,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reservation: Option<Reservation>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub booking: Option<Booking>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub room: Option<Room>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<Rate>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<Problem>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FreeRoom {
    pub room: RoomId,
    pub room_type: RoomTypeId,
    pub price: Price,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FreeRooms {
    pub rooms: Vec<FreeRoom>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NightAvailability {
    pub date: Date,
    pub rooms: u32,
    pub out_of_order: u32,
    pub held: u32,
    pub sold: u32,
    pub blocked: u64,
    pub available: i64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Availability {
    pub room_types: BTreeMap<RoomTypeId, Vec<NightAvailability>>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FoundProperty {
    pub property: PropertyId,
    pub name: String,
    pub location: String,
    pub rooms: Vec<FreeRoom>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Found {
    pub properties: Vec<FoundProperty>,
    pub next_cursor: Option<String>,
}

/// One change of one resource.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// `<lsn>-<n>`, n from 0 within the command.
    pub position: String,
    pub lsn: Lsn,
    pub time: Instant,
    #[serde(rename = "type")]
    pub kind: String,
    /// `null` for a command that was set aside.
    pub property: Option<PropertyId>,
    /// `ledger` for what happens by itself; `anonymous` for a client, without access control.
    pub actor: String,
    pub idempotency_key: Option<String>,
    /// The resource as its GET shows it.
    pub before: Option<serde_json::Value>,
    pub after: Option<serde_json::Value>,
    /// With `reservation.moved` only.
    #[serde(flatten)]
    pub moved: Option<Moved>,
}

/// A change of the room that a stay is planned for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Moved {
    pub reservation: ReservationId,
    pub from: Option<RoomId>,
    pub to: Option<RoomId>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Events {
    pub events: Vec<Event>,
    /// Where the next page goes on.
    pub next: String,
}

/// How one command left a reservation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Version {
    pub revision: u64,
    pub lsn: Lsn,
    pub time: Instant,
    pub actor: String,
    #[serde(rename = "type")]
    pub kind: String,
    pub reservation: Reservation,
}

/// Oldest first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Versions {
    pub versions: Vec<Version>,
}

/// What a node knows of one member. Fields that only the leader can know are `null` elsewhere.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Member {
    pub id: u64,
    /// `leader`, `follower`, `learner` or `candidate`; of one that did not answer, what the answering node takes it for.
    pub role: String,
    pub client_addr: String,
    pub peer_addr: String,
    pub last_log_index: Option<u64>,
    pub committed_index: Option<u64>,
    pub applied_index: Option<u64>,
    pub snapshot_index: Option<u64>,
    /// Up to which index its log is gone; who lacks more is sent a snapshot.
    #[serde(default)]
    pub purged_index: Option<u64>,
    /// Entries of the leader's log that this member has not applied.
    pub lag_entries: Option<u64>,
    /// Milliseconds since this node last heard from it.
    pub last_contact_ms: Option<u64>,
    pub reachable: bool,
    /// Why it is not, where it refused to answer this node, or another answered in its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
    pub version: Option<String>,
    /// Why the member has paused applying, where it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<String>,
    /// What an operator would have to decide for it to go on, where it has paused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused_at: Option<PausedAt>,
    /// The last decision of an operator that the member has followed since it started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decided: Option<Decided>,
}

/// The entry of the log at which a member has paused, and the state hash of its ledger before that.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PausedAt {
    pub index: u64,
    pub state_hash: crate::ledger::StateHash,
}

/// A decision that members which paused at `paused_at` go on from there with what they themselves make of the log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Decided {
    /// Where the log holds the decision.
    pub index: u64,
    pub paused_at: PausedAt,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cluster {
    pub cluster_id: Option<String>,
    pub node_id: u64,
    pub leader: Option<u64>,
    pub term: u64,
    pub nodes: Vec<Member>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StateHash {
    pub lsn: Lsn,
    /// 32 hexadecimal digits.
    pub hash: String,
}

/// RFC 9457, with the contract's `code` and the facts that it promises for it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Problem {
    #[serde(rename = "type")]
    pub kind: String,
    pub title: String,
    pub status: u16,
    pub detail: String,
    pub code: String,
    #[serde(flatten)]
    pub facts: serde_json::Map<String, serde_json::Value>,
}

/// A JSON object as a map in which no key comes twice.
#[derive(Clone, Debug, Serialize)]
#[serde(transparent)]
pub struct UniqueMap<K, V>(pub BTreeMap<K, V>);

impl<'de, K: Deserialize<'de> + Ord + Display, V: Deserialize<'de>> Deserialize<'de> for UniqueMap<K, V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<UniqueMap<K, V>, D::Error> {
        struct Unique<K, V>(PhantomData<(K, V)>);

        impl<'de, K: Deserialize<'de> + Ord + Display, V: Deserialize<'de>> Visitor<'de> for Unique<K, V> {
            type Value = UniqueMap<K, V>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
                let mut map = BTreeMap::new();
                while let Some((key, value)) = access.next_entry::<K, V>()? {
                    if map.contains_key(&key) {
                        return Err(de::Error::custom(format!("duplicate field `{key}`")));
                    }
                    map.insert(key, value);
                }
                Ok(UniqueMap(map))
            }
        }
        deserializer.deserialize_map(Unique(PhantomData))
    }
}
