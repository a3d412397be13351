//! The HTTP surface of a node: the client API on its port, the peers' messages on theirs.
//!
//! A handler extracts, asks the node, mostly through `access.rs`, and renders. It decides nothing: refusals come from the
//! ledger, and `problem.rs` holds the one table that turns them into answers. Nothing here knows of files. Of Raft, `peer.rs`
//! takes in what other nodes send, and `cluster.rs` shows where they stand.

mod accept;
mod access;
mod answers;
mod asked;
mod batch;
mod blocks;
mod bodies;
mod bookings;
mod calendar;
mod client_port;
mod cluster;
mod drain;
mod events;
mod extract;
mod fields;
mod imports;
mod inventory;
mod key;
mod listen;
mod lists;
mod metrics;
mod openapi;
mod peer;
mod problem;
mod quarantine;
mod queries;
mod render;
mod reservations;
mod restrictions;
mod routes;
mod waitlist;

pub use bookings::STAYS_MAX;
pub use client_port::ClientPort;
pub use fields::{TEXT_CHARS_MAX, is_text};
pub use listen::BoundedListener;
pub use peer::router as peer_router;
pub use routes::router as client_router;
