//! The booking rules: a pure state machine.
//!
//! `apply(command at log time) → outcome`, and the queries. The same log gives the same bytes of state on any node and
//! any build: nothing here knows a clock, randomness, I/O, threads, floating point, or the order of a hash table.

mod command;
mod date;
mod id;
mod outcome;
mod property;
mod reservation;

pub use command::*;
pub use date::{Date, NotADate};
pub use id::*;
pub use outcome::*;
pub use property::*;
pub use reservation::*;
