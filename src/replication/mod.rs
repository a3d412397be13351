//! Shim: not to be merged.
use std::path::Path;
#[derive(Debug, serde::Serialize)]
pub struct Report {
    pub first_lsn: u64,
}
impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.first_lsn)
    }
}
#[derive(Debug, thiserror::Error)]
#[error("shim")]
pub struct Wrong;
pub fn verify(_: &Path) -> Result<Report, Wrong> {
    Err(Wrong)
}
