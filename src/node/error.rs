//! Why a node does not start.

use crate::replication::{IdentityError, OpenError, TypeConfig};

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// What the operator wrote can't be; the text says what to change.
    #[error("{0}")]
    Configuration(String),
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error(transparent)]
    Storage(#[from] OpenError),
    #[error("raft did not start: {0}")]
    Raft(#[from] openraft::errors::Fatal<TypeConfig>),
    #[error("{what} {address} can't be listened on: {source}")]
    Listen { what: &'static str, address: String, source: std::io::Error },
    #[error("signals can't be handled: {0}")]
    Signals(std::io::Error),
    #[error("the HTTP client for peers can't be made: {0}")]
    PeerClient(String),
    /// The node ran and had to stop.
    #[error("{0}")]
    Stopped(String),
}
