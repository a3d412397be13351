//! Tests of the whole ledger through its public face.

mod amend;
mod blocks;
mod booking;
mod capacity;
mod dates;
mod due;
mod events;
pub mod golden;
mod group;
mod hashing;
mod hostile;
mod idempotency;
mod import;
mod in_house;
mod inventory;
mod model;
mod out_of_order;
mod persistence;
mod plan;
mod queries;
mod refusals;
mod restrictions;
mod status;
pub mod support;
mod waitlist;
