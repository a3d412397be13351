//! A reservation: one room for one stay, as it is persisted and shown.

use serde::{Deserialize, Serialize};

use super::date::Date;
use super::id::{
    BlockId, BookingId, Currency, Lsn, PropertyId, ReservationId, RoomId, RoomTypeId, Timestamp,
};

/// Where a reservation stands in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    Held,
    Confirmed,
    Canceled,
    /// A hold that was not confirmed before its end.
    Expired,
}

impl Status {
    /// Whether such a reservation takes its nights.
    pub fn is_live(self) -> bool {
        match self {
            Status::Held | Status::Confirmed => true,
            Status::Canceled | Status::Expired => false,
        }
    }
}

/// The price of a stay: one amount a night, in minor units.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Price {
    pub currency: Currency,
    /// The first night that is priced; the others follow one by one.
    pub from: Date,
    pub amounts: Box<[i64]>,
}

impl Price {
    /// Minor units. Amounts are bounded so that it can't overflow, see `rate.rs`.
    pub fn total(&self) -> i64 {
        self.amounts.iter().sum()
    }

    /// Each night with its amount.
    pub fn nights(&self) -> impl Iterator<Item = (Date, i64)> + '_ {
        self.amounts.iter().enumerate().map(|(n, amount)| (self.from.plus(n as i32), *amount))
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reservation {
    pub id: ReservationId,
    pub booking_id: BookingId,
    pub property: PropertyId,
    pub room_type: RoomTypeId,
    /// The pinned room, or the planned one of a stay by type; `None` where the stay is overbooked.
    pub room: Option<RoomId>,
    pub room_pinned: bool,
    pub guest: Box<str>,
    pub arrival: Date,
    pub departure: Date,
    pub occupancy: u32,
    pub status: Status,
    /// Set while held.
    pub hold_expires_at: Option<Timestamp>,
    pub price: Price,
    pub block: Option<BlockId>,
    pub external_ref: Option<Box<str>>,
    /// From 1, one more with every change that the guest could see.
    pub revision: u64,
    /// The command that made this revision.
    pub lsn: Lsn,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}
