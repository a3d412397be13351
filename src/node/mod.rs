//! Shim: not to be merged.
use std::collections::BTreeMap;
use std::path::PathBuf;
#[derive(Clone, Debug)]
pub struct Config {
    pub node_id: u64,
    pub data_dir: PathBuf,
    pub client_addr: String,
    pub peer_addr: String,
    pub initial_cluster: Option<BTreeMap<u64, String>>,
    pub limits: Limits,
    pub timings: Timings,
}
#[derive(Clone, Debug, Default)]
pub struct Limits {
    pub n: u8,
}
#[derive(Clone, Debug, Default)]
pub struct Timings {
    pub n: u8,
}
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("{0}")]
    Configuration(String),
    #[error("{0}")]
    Stopped(String),
}
