//! Replication without a network: log, snapshots and state machine on real folders.

mod answers;
mod appends;
mod codec;
mod conformance;
mod fetch;
mod fuzz;
mod log;
mod log_files;
mod network;
mod pause;
mod raft;
mod reserve_reader;
mod snapshot;
pub mod support;
mod transfer;
mod verify;
