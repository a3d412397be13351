//! Replication without a network: log, snapshots and state machine on real folders.

mod conformance;
