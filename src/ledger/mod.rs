//! The booking rules: a pure state machine.
//!
//! `apply(command at log time) → outcome`, and the queries. The same log gives the same bytes of state on any node and
//! any build: nothing here knows a clock, randomness, I/O, threads, floating point, or the order of a hash table.
//!
//! A command goes through [`apply`], which runs its handler ([`inventory`], [`block`], [`rate`], [`reserve`],
//! [`restriction`], [`group`], [`import`], [`waitlist`], [`amend`], [`status`], [`in_house`], [`night_audit`],
//! [`out_of_order`]) in a [`txn`]: refuse, decide, then change records. [`check`] is passed by every record that is put;
//! [`state`] derives calendars, counts and indexes from it, for reservations in [`occupancy`]; [`audit`] recomputes them.
//! What is [`due`] is done before it. What a command changed is its [`event`]s, by which [`rewind`] goes back.
//! [`restore`] makes the state from its records.

mod command;
mod date;
mod event;
mod id;
mod outcome;
mod property;
mod quarantine;
mod record;
mod reservation;

mod amend;
mod apply;
mod audit;
mod block;
mod book;
mod calendar;
mod check;
mod digest;
mod digest_vocabulary;
mod due;
mod group;
mod idempotency;
mod import;
mod in_house;
mod inventory;
mod kept_outcome;
mod look_ahead;
mod night_audit;
mod occupancy;
mod out_of_order;
mod packed;
mod plan;
mod query;
mod rate;
mod reserve;
mod restore;
mod restriction;
mod rewind;
mod room_nights;
mod search;
mod segments;
mod state;
mod status;
mod stay;
mod store;
mod txn;
mod waitlist;

#[cfg(test)]
pub(crate) mod tests;

pub use apply::Broken;
pub use audit::Violation;
pub use block::{NIGHTS_MAX as BLOCK_NIGHTS_MAX, as_changed};
pub use command::*;
pub use date::{Date, NotADate};
pub use digest::StateHash;
pub use due::Due;
pub use event::{Commit, EventChain, EventType, Mark, RecordChange, Resource, Settled};
pub use id::*;
pub use outcome::*;
pub use packed::Packed;
pub use property::*;
pub use quarantine::{Failure, Quarantined};
pub use query::{
    AVAILABILITY_NIGHTS_MAX, FreeRoomsQuery, LISTED_NIGHTS_MAX, Page, ReservationFilter, RoomOccupation,
    TYPE_NIGHTS_MAX,
};
pub use rate::AMOUNT_MAX;
pub use record::*;
pub use reservation::*;
pub use restore::{Damage, Prepared, Restoring};
pub use search::{Found, FoundPage, SearchQuery};
pub use state::Ledger;
pub use stay::{HORIZON_DAYS, NIGHTS_MAX as STAY_NIGHTS_MAX};
