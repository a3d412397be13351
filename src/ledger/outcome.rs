//! What the ledger answers: the resource as a command left it, or the reason why it was refused.
//!
//! A refusal is an outcome, not an error: it is replicated, stored under its idempotency key and given again.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::command::{Prices, RateTarget};
use super::date::Date;
use super::id::{BookingId, Lsn, RoomId, RoomTypeId};
use super::property::{Block, BlockStatus, BusinessDateMode, Property, Room, RoomType};
use super::record::{OutOfOrderRecord, RestrictionRecord};
use super::reservation::{Reservation, Status, WaitlistEntry, WaitlistStatus};

/// The answer to one [`Submission`](super::command::Submission).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Applied {
    /// The position of this command, also where its outcome was stored by an earlier one.
    pub lsn: Lsn,
    /// The outcome was stored under the same key by an earlier command.
    pub replayed: bool,
    pub outcome: Outcome,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Property {
        created: bool,
        property: Arc<Property>,
    },
    RoomType {
        created: bool,
        room_type: Arc<RoomType>,
    },
    Room {
        created: bool,
        room: Arc<Room>,
    },
    Rates(RatesSet),
    OutOfOrder(Arc<OutOfOrderRecord>),
    /// What a change of restrictions set, as it was asked.
    Restrictions(RestrictionRecord),
    Block(BlockShown),
    /// An entry of the waitlist was made.
    Waitlisted(Arc<WaitlistEntry>),
    /// What was to be taken away is.
    Removed,
    /// A reservation was made.
    Reserved(Arc<Reservation>),
    /// A reservation was changed.
    Changed(Arc<Reservation>),
    /// The reservations of a booking were made together.
    Booked(Booking),
    /// Those of a booking were changed together.
    BookingChanged(Booking),
    /// The ledger's own commands have nothing to show.
    Done,
    Refused(Refusal),
    /// Set aside: applying it failed, alike on every node, and left nothing behind.
    Quarantined {
        lsn: Lsn,
    },
}

/// Reservations that were made together, in their order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Booking {
    pub id: BookingId,
    pub reservations: Vec<Arc<Reservation>>,
}

/// A block, with what was taken from it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BlockShown {
    /// By the command of which this is the outcome.
    pub created: bool,
    pub block: Arc<Block>,
    /// Rooms picked up, by night from the first on.
    pub picked_up: Vec<u32>,
    /// It was definite when its release date came: what is left of it is free.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub released: bool,
}

/// What a change of rates set, as it was asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RatesSet {
    pub target: RateTarget,
    pub from: Date,
    pub to: Date,
    pub prices: Prices,
}

/// The field of [`Rules`](super::command::Rules) that stands against a stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    Closed,
    ClosedToArrival,
    ClosedToDeparture,
    MinStay,
    MaxStay,
    MinAdvanceDays,
    MaxAdvanceDays,
}

/// Why a command was refused, with the facts that the contract promises.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    IdempotencyKeyReused,
    PropertyNotFound,
    RoomTypeNotFound,
    RoomNotFound,
    ReservationNotFound,
    BookingNotFound,
    BlockNotFound,
    WaitlistEntryNotFound,
    /// No command that was set aside has this position, or it was dealt with.
    NotSetAside,
    VersionMismatch {
        revision: u64,
    },
    HoldExpired,
    InvalidState {
        state: Status,
    },
    InvalidStay,
    StayTooLong,
    ArrivalInPast {
        business_date: Date,
    },
    BeyondHorizon {
        latest_departure: Date,
    },
    OccupancyInvalid {
        max_occupancy: u32,
    },
    HoldTtlInvalid,
    NotPriced {
        nights: Vec<Date>,
    },
    InvalidTimeZone,
    InvalidCurrency,
    InvalidAmount,
    /// A rule that is set for this date forbids the stay.
    Restricted {
        rule: Rule,
        date: Date,
    },
    RoomUnavailable {
        nights: Vec<Date>,
    },
    /// `fragmented`: every night has a room, but no assignment was found that keeps each stay in one room.
    NoAvailability {
        nights: Vec<Date>,
        fragmented: bool,
    },
    PriceChanged {
        total: i64,
    },
    /// The rooms that would be left are fewer than those sold on `nights`.
    CapacityBelowSold {
        nights: Vec<Date>,
    },
    /// Rates, rules or times out of order are set for one target in more ranges than it may have, or the blocks of a property
    /// have more nights.
    TooManyRanges,
    /// One reservation of a booking was refused, and so all of them.
    Member {
        /// Its place in the booking, from 0.
        index: u32,
        refusal: Box<Refusal>,
    },
    /// An entry of the waitlist that came to its end can't be taken back.
    NotWaiting {
        state: WaitlistStatus,
    },
    /// Nothing can be taken from a block that is not definite.
    BlockNotDefinite {
        state: BlockStatus,
    },
    /// A night audit of a property that follows the clock, or to a date before the one that it has.
    AuditNotAllowed {
        mode: BusinessDateMode,
        business_date: Date,
    },
}

impl Refusal {
    /// Its place in the contract's order, in which the first of several reasons is told. Those of equal place are told
    /// of whatever was looked at first.
    pub fn place(&self) -> u8 {
        match self {
            Refusal::IdempotencyKeyReused => 0,
            Refusal::PropertyNotFound
            | Refusal::RoomTypeNotFound
            | Refusal::RoomNotFound
            | Refusal::ReservationNotFound
            | Refusal::BookingNotFound
            | Refusal::BlockNotFound
            | Refusal::WaitlistEntryNotFound
            | Refusal::NotSetAside => 1,
            Refusal::VersionMismatch { .. } => 2,
            Refusal::HoldExpired => 3,
            Refusal::InvalidState { .. }
            | Refusal::NotWaiting { .. }
            | Refusal::BlockNotDefinite { .. }
            | Refusal::AuditNotAllowed { .. } => 4,
            Refusal::InvalidStay => 5,
            Refusal::StayTooLong => 6,
            Refusal::ArrivalInPast { .. } => 7,
            Refusal::BeyondHorizon { .. } => 8,
            Refusal::OccupancyInvalid { .. } => 9,
            Refusal::HoldTtlInvalid => 10,
            Refusal::NotPriced { .. } => 11,
            Refusal::InvalidTimeZone => 12,
            Refusal::InvalidCurrency => 13,
            Refusal::InvalidAmount => 14,
            Refusal::Restricted { .. } => 15,
            Refusal::RoomUnavailable { .. } => 16,
            Refusal::NoAvailability { .. } => 17,
            Refusal::PriceChanged { .. } => 18,
            Refusal::CapacityBelowSold { .. } => 19,
            Refusal::TooManyRanges => 20,
            Refusal::Member { refusal, .. } => refusal.place(),
        }
    }
}

/// A room that is free for a whole stay, with the price of the stay. What `free-rooms` and `search` list.
#[derive(Clone, Debug, PartialEq)]
pub struct FreeRoom {
    pub room: RoomId,
    pub room_type: RoomTypeId,
    pub price: super::reservation::Price,
}

/// One night of one room type. `available` is `rooms − out_of_order + overbooking_limit − held − sold − blocked`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NightAvailability {
    pub date: Date,
    pub rooms: u32,
    pub out_of_order: u32,
    pub held: u32,
    pub sold: u32,
    pub blocked: u64,
    pub available: i64,
}
