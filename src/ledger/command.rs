//! What may be asked of the ledger: the persisted vocabulary of the replicated log.
//!
//! Variant and field names are written to disk; they never change their meaning, and a new field comes with a default.
//! A command holds parsed values only. What needs a table that may differ between machines (time zones, currencies) or
//! a clock is judged by the node that took the request, and its verdict travels in the command.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::date::Date;
use super::event::Mark;
use super::id::{
    BlockId, BookingId, Currency, IdempotencyKey, Lsn, PropertyId, ReservationId, RoomId, RoomTypeId,
    Timestamp, WaitlistId,
};
use super::property::BlockStatus;
use super::reservation::{Price, Status};

/// A command and what came with it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Submission {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<IdempotencyKey>,
    pub command: Command,
}

/// Every change of the ledger. Serialised as `{"<variant>": {…}}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    PutProperty(PutProperty),
    PutRoomType(PutRoomType),
    PutRoom(PutRoom),
    PutRates(PutRates),
    PutRestrictions(PutRestrictions),
    Reserve(Box<Reserve>),
    Confirm(Change),
    Cancel(Change),
    CheckIn(Change),
    CheckOut(Change),
    NoShow(Change),
    NightAudit(NightAudit),
    Amend(Box<Amend>),
    Assign(Assign),
    BookGroup(BookGroup),
    ConfirmBooking(BookingChange),
    CancelBooking(BookingChange),
    ImportBooking(ImportBooking),
    PutOutOfOrder(PutOutOfOrder),
    EndOutOfOrder(EndOutOfOrder),
    PutBlock(PutBlock),
    RetireRoom(RetireRoom),
    JoinWaitlist(Box<JoinWaitlist>),
    LeaveWaitlist(LeaveWaitlist),
    /// An operator's: applies a command again that was set aside, and answers as that does.
    Retry(SetAside),
    /// An operator's: forgets a command that was set aside.
    Discard(SetAside),
    /// The ledger's own: a property on `clock` passed its midnight.
    RollBusinessDate(RollBusinessDate),
    /// The ledger's own: the history up to here is old enough, or too long, to be kept.
    ForgetHistory(Mark),
    /// The ledger's own: ends what is due at the stamp of the batch, and nothing else.
    EndDue(EndDue),
}

/// Defines or replaces a property. A property that exists keeps its business date and the way it moves.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PutProperty {
    pub property: PropertyId,
    /// 1–255 characters.
    pub name: Box<str>,
    /// 1–255 characters.
    pub location: Box<str>,
    /// An IANA name, 1–255 characters.
    pub time_zone: Box<str>,
    /// The edge's verdict: its time-zone database knows `time_zone`.
    pub time_zone_known: bool,
    /// `None` where the text was not even three upper-case letters; then `currency_known` is false.
    pub currency: Option<Currency>,
    /// The edge's verdict: ISO 4217 lists `currency`.
    pub currency_known: bool,
    pub business_date: FirstBusinessDate,
}

/// The business date with which a new property begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FirstBusinessDate {
    /// Follows the property's midnight; the date that the edge's clock showed there.
    Clock(Date),
    /// Moved by night audits only.
    Manual(Date),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PutRoomType {
    pub property: PropertyId,
    pub room_type: RoomTypeId,
    /// 1–255 characters.
    pub name: Box<str>,
    pub max_occupancy: u32,
    /// Rooms that may be sold beyond those in service, a night.
    pub overbooking_limit: u32,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PutRoom {
    pub property: PropertyId,
    pub room: RoomId,
    pub room_type: RoomTypeId,
}

/// What a rate is set for: every room of a type, or one room, whose rate goes before its type's.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RateTarget {
    RoomType(RoomTypeId),
    Room(RoomId),
}

/// Amounts of one night in minor units, by currency, then by exact occupancy.
pub type Prices = BTreeMap<Currency, BTreeMap<u32, i64>>;

/// Replaces all values of the target on each night of `[from, to)`; empty prices clear them. The edge saw `from < to`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PutRates {
    pub property: PropertyId,
    pub target: RateTarget,
    pub from: Date,
    pub to: Date,
    pub prices: Prices,
    /// The edge's verdict: ISO 4217 lists every currency of the request.
    pub currencies_known: bool,
}

/// Rules for the stays of a room type: those of its nights, of its arrival and of its departure date.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Rules {
    /// No stay may have the night.
    #[serde(skip_serializing_if = "is_false")]
    pub closed: bool,
    #[serde(skip_serializing_if = "is_false")]
    pub closed_to_arrival: bool,
    #[serde(skip_serializing_if = "is_false")]
    pub closed_to_departure: bool,
    /// Nights of a stay that arrives then, at least.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_stay: Option<u32>,
    /// Nights of a stay that arrives then, at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_stay: Option<u32>,
    /// Days from the business date to the arrival, at least.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_advance_days: Option<u32>,
    /// Days from the business date to the arrival, at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_advance_days: Option<u32>,
}

fn is_false(rule: &bool) -> bool {
    !rule
}

/// Replaces all rules of the type on each date of `[from, to)`; none clears them. The edge saw `from < to`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PutRestrictions {
    pub property: PropertyId,
    pub room_type: RoomTypeId,
    pub from: Date,
    pub to: Date,
    pub rules: Rules,
}

/// Takes a room out of order on the nights `[from, to)`; another reason there is replaced. The edge saw `from < to`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PutOutOfOrder {
    pub property: PropertyId,
    pub room: RoomId,
    pub from: Date,
    pub to: Date,
    /// 1–255 characters.
    pub reason: Box<str>,
}

/// Puts a room back in order on the nights `[from, to)`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EndOutOfOrder {
    pub property: PropertyId,
    pub room: RoomId,
    pub from: Date,
    pub to: Date,
}

/// Defines or replaces a block. The edge saw `from < to`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PutBlock {
    pub property: PropertyId,
    pub block: BlockId,
    pub room_type: RoomTypeId,
    pub from: Date,
    pub to: Date,
    /// Of each night.
    pub rooms: u32,
    pub status: BlockStatus,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release_date: Option<Date>,
}

/// Takes a room out of service for good; what happened in it stays known.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RetireRoom {
    pub property: PropertyId,
    pub room: RoomId,
}

/// Waits for a stay by type.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JoinWaitlist {
    /// Made by the node that took the request; no part of what the request is compared by.
    pub id: WaitlistId,
    pub property: PropertyId,
    /// The caller's opaque reference, 1–255 characters.
    pub guest: Box<str>,
    pub room_type: RoomTypeId,
    pub arrival: Date,
    pub departure: Date,
    pub occupancy: u32,
    /// The property's when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub currency: Option<Currency>,
    /// The edge's verdict: no currency was asked for, or ISO 4217 lists it.
    pub currency_known: bool,
}

/// Waits no longer, and gives back what was offered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LeaveWaitlist {
    pub property: PropertyId,
    pub id: WaitlistId,
}

/// Names a command that was set aside, by its own position.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SetAside {
    pub lsn: Lsn,
}

/// What a reservation asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wanted {
    Room(RoomId),
    RoomType(RoomTypeId),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reserve {
    /// Made by the node that took the request; no part of what the request is compared by.
    pub id: ReservationId,
    /// Made like `id`.
    pub booking_id: BookingId,
    pub property: PropertyId,
    /// The caller's opaque reference, 1–255 characters.
    pub guest: Box<str>,
    pub wanted: Wanted,
    pub arrival: Date,
    pub departure: Date,
    pub occupancy: u32,
    /// The property's when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub currency: Option<Currency>,
    /// The edge's verdict: no currency was asked for, or ISO 4217 lists it.
    pub currency_known: bool,
    /// Seconds after which an unconfirmed hold ends; a confirmed reservation when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold_seconds: Option<u64>,
    /// Minor units; another total is refused as `price_changed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected_total: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub block: Option<BlockId>,
    /// The caller's own number, 1–255 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_ref: Option<Box<str>>,
}

/// A change of a reservation's status.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Change {
    pub reservation: ReservationId,
    /// The revision that the caller saw; another one is refused as `version_mismatch`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub if_match: Option<u64>,
}

/// Reservations that are made together, all or none.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BookGroup {
    /// Made by the node that took the request, like the ids of the stays.
    pub booking_id: BookingId,
    pub property: PropertyId,
    /// The caller's opaque reference, 1–255 characters.
    pub guest: Box<str>,
    /// 1–500.
    pub stays: Vec<GroupStay>,
}

/// One reservation of a group; see [`Reserve`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GroupStay {
    pub id: ReservationId,
    pub wanted: Wanted,
    pub arrival: Date,
    pub departure: Date,
    pub occupancy: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub currency: Option<Currency>,
    pub currency_known: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold_seconds: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected_total: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub block: Option<BlockId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_ref: Option<Box<str>>,
}

/// Reservations of one booking that another ledger made, to be taken over as they stand, all or none.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ImportBooking {
    /// Made by the node that took the request, like the ids of the stays.
    pub booking_id: BookingId,
    pub property: PropertyId,
    /// The caller's opaque reference, 1–255 characters.
    pub guest: Box<str>,
    /// 1–500.
    pub stays: Vec<ImportedStay>,
}

/// A reservation as it stood where it was made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ImportedStay {
    pub id: ReservationId,
    pub room_type: RoomTypeId,
    /// Left alone where a stay by type is still to come: its room is planned anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub room: Option<RoomId>,
    pub room_pinned: bool,
    pub arrival: Date,
    pub departure: Date,
    pub occupancy: u32,
    pub status: Status,
    /// Of a hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold_expires_at: Option<Timestamp>,
    /// What it was sold at; covers every night.
    pub price: Price,
    /// The edge's verdict: ISO 4217 lists the price's currency.
    pub currency_known: bool,
    /// The block from which it was taken; one that takes rooms here has to have them left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub block: Option<BlockId>,
    /// The caller's own number, 1–255 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_ref: Option<Box<str>>,
}

/// A change of the status of all reservations of a booking.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BookingChange {
    pub booking: BookingId,
}

/// A change of a stay. What is absent stays as it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Amend {
    pub reservation: ReservationId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub if_match: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arrival: Option<Date>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub departure: Option<Date>,
    /// Another type than that of a pinned room unpins the stay. A room that is named goes before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub room_type: Option<RoomTypeId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub room: Option<RoomChange>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub occupancy: Option<u32>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RoomChange {
    /// A room of another type changes the type.
    Pin(RoomId),
    Unpin,
}

/// Pins a room at the price that stands; one of another type is an upgrade.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Assign {
    pub reservation: ReservationId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub if_match: Option<u64>,
    pub room: RoomId,
}

/// Moves the business date of a property that is moved by hand, and marks those that did not arrive.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NightAudit {
    pub property: PropertyId,
    /// Days may be skipped; the date that the property has already changes nothing.
    pub business_date: Date,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RollBusinessDate {
    pub property: PropertyId,
    /// Where it is not later than the property's, nothing happens.
    pub date: Date,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EndDue {}
