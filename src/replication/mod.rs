//! Shim: not to be merged.
use crate::ledger::Lsn;
use std::path::Path;
#[derive(Debug)]
pub struct Identity {
    pub cluster_id: Option<uuid::Uuid>,
    pub node_id: u64,
}
#[derive(Debug)]
pub struct Report {
    pub identity: Identity,
    pub first_lsn: Lsn,
    pub last_lsn: Lsn,
    pub snapshots: usize,
    pub entries: u64,
    pub audited: u64,
    pub state_hash: u128,
}
#[derive(Debug, thiserror::Error)]
#[error("shim")]
pub struct Wrong;
pub fn verify(_: &Path) -> Result<Report, Wrong> {
    Err(Wrong)
}
