//! A reservation: one room for one stay, as it is persisted and shown.

use serde::{Deserialize, Serialize};

use super::date::Date;
use super::id::{
    BlockId, BookingId, Currency, Lsn, PropertyId, ReservationId, RoomId, RoomTypeId, Timestamp, WaitlistId,
};
use crate::planted::{Bug, planted};

/// Where a reservation stands in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    Held,
    Confirmed,
    Canceled,
    /// A hold that was not confirmed before its end.
    Expired,
    /// The guest has checked in.
    InHouse,
    CheckedOut,
    /// The guest did not arrive.
    NoShow,
}

/// Where an entry of the waitlist stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WaitlistStatus {
    Waiting,
    /// A hold was made for it.
    Offered,
    /// The hold was confirmed.
    Booked,
    /// The hold ended, or the arrival went by.
    Lapsed,
    /// It was taken back, or its hold was canceled.
    Withdrawn,
}

/// A stay that somebody waits for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WaitlistEntry {
    pub id: WaitlistId,
    pub property: PropertyId,
    pub guest: Box<str>,
    pub room_type: RoomTypeId,
    pub arrival: Date,
    pub departure: Date,
    pub occupancy: u32,
    pub currency: Currency,
    pub status: WaitlistStatus,
    /// The hold that is or was offered.
    pub reservation: Option<ReservationId>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

impl Status {
    /// Whether such a stay is still to come or going on.
    pub fn is_live(self) -> bool {
        match self {
            Status::Held | Status::Confirmed | Status::InHouse => true,
            Status::Canceled | Status::Expired | Status::CheckedOut | Status::NoShow => false,
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

    /// The amount of one night, if it is priced.
    pub fn on(&self, night: Date) -> Option<i64> {
        let at = usize::try_from(self.from.nights_to(night)).ok()?;
        self.amounts.get(at).copied()
    }

    /// Each night with its amount.
    pub fn nights(&self) -> impl Iterator<Item = (Date, i64)> + '_ {
        self.amounts.iter().enumerate().map(|(n, amount)| (self.from.plus(n as i32), *amount))
    }
}

/// Nights `[from, to)` that a stay takes of one type, and of one room where it has one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stretch {
    pub room_type: RoomTypeId,
    pub room: Option<RoomId>,
    pub from: Date,
    pub to: Date,
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
    /// The first night in `room`, where that is later than the arrival.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub room_from: Option<Date>,
    /// The night from which on a no-show takes nothing any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub released_from: Option<Date>,
    /// Where the guest had slept before a move to where the reservation is now: one after the other, from the arrival on. Of who
    /// was late and had not come, of which type those nights were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slept: Option<Box<[Stretch]>>,
    /// From 1, one more with every change that the guest could see.
    pub revision: u64,
    /// The command that made this revision.
    pub lsn: Lsn,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

impl Reservation {
    /// Where the guest had slept before, or should have, in order.
    pub fn slept(&self) -> &[Stretch] {
        self.slept.as_deref().unwrap_or_default()
    }

    /// The first night that is of its type and its room, as they are now.
    pub fn since(&self) -> Date {
        self.slept().last().map_or(self.arrival, |stretch| stretch.to)
    }

    /// The nights `[from, to)` that it takes of its type; nights that a guest was charged for stay taken when they are
    /// past. `None` where there are none. Those before are told by [`slept`](Reservation::slept).
    pub fn nights(&self) -> Option<(Date, Date)> {
        let to = match self.status {
            Status::Held | Status::Confirmed | Status::InHouse | Status::CheckedOut => self.departure,
            Status::NoShow => self.released_from?,
            Status::Canceled if planted(Bug::CanceledKeepsNight) => self.arrival.plus(1),
            Status::Canceled | Status::Expired => return None,
        };
        let from = self.since();
        (from < to).then_some((from, to))
    }

    /// Those of its nights on which it has its room.
    pub fn room_nights(&self) -> Option<(Date, Date)> {
        self.room.as_ref()?;
        let (first, to) = self.nights()?;
        let from = self.room_from.map_or(first, |from| from.max(first));
        (from < to).then_some((from, to))
    }

    /// Whether its room may be planned anew: before the guest is there, and where no room was named.
    pub fn is_movable(&self) -> bool {
        matches!(self.status, Status::Held | Status::Confirmed) && !self.room_pinned
    }

    /// Whether it is among those that get a room when one becomes free.
    pub fn waits_for_room(&self) -> bool {
        self.status.is_live() && self.room.is_none()
    }
}
