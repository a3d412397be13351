//! Innkeeper: a fault-tolerant ledger of hotel bookings.
//!
//! A booking's way: [`http`] parses it, [`node`] submits it (or forwards it to the leader), [`replication`] makes it
//! durable on a majority and applies it, [`ledger`] decides, [`http`] renders the outcome. An arrow is the only
//! direction in which code may know of other code: `ledger ← replication ← history ← node ← http ← server ← cli`;
//! [`history`] keeps what every command changed, and [`wire`] holds the shapes that [`http`] and [`client`] share.

pub mod cli;
pub mod client;
pub mod history;
pub mod http;
pub mod ledger;
pub mod node;
pub mod planted;
pub mod replication;
pub mod server;
pub mod wire;
