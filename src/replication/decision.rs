//! An operator's decision that paused nodes go on with what they themselves make of the log.
//!
//! It is for the case in which no node has a newer snapshot: all were started with a build that does otherwise with what
//! is in the log, and all have paused at the same entry. The log still works, and the decision is an entry of it, so that
//! every node, and every replay, comes to the same end.

use serde::{Deserialize, Serialize};

use super::batch::{Check, Payload};
use super::codec::{self, CodecError, Kind};
use super::state::Pause;
use super::types::NodeId;
use crate::ledger::StateHash;

/// Who paused at the entry `index` with its ledger at `check` applies that entry and all up to this one as its build does,
/// and compares nothing that was recorded there: it was recorded of states that no node comes to any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    pub index: u64,
    pub check: Check,
}

impl Decision {
    /// Whether it was made for this pause.
    pub fn is_for(&self, pause: &Pause) -> bool {
        *self == pause.to_decide()
    }

    pub fn encode(&self) -> Result<Payload, CodecError> {
        Ok(Payload(codec::encode(Kind::Decision, self)?.into()))
    }

    /// `None` where the payload is another one. A decision that can't be read is an error.
    pub fn of(payload: &Payload) -> Option<Result<Decision, CodecError>> {
        codec::begins(Kind::Decision, &payload.0).then(|| codec::decode(Kind::Decision, &payload.0))
    }
}

/// Why an operator's decision was not taken. Nothing happened, except where it is said to be unknown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum NotDecided {
    #[error(
        "the leader, node {leader}, has not paused: there is nothing to decide; `innkeeper status` shows who has"
    )]
    NotPaused { leader: NodeId },
    #[error(
        "the leader, node {leader}, has paused at index {index} with state hash {state_hash}: decide on that, after you \
         have looked at why"
    )]
    PausedElsewhere { leader: NodeId, index: u64, state_hash: StateHash },
    #[error(
        "the entry at index {index} can't be read by this build, so no decision applies it: start a newer build"
    )]
    Unreadable { index: u64 },
    #[error(
        "node {node} has not paused: a snapshot that it takes (`POST /v1/cluster/snapshot` there) mends the others without \
         a decision, and loses nothing"
    )]
    OthersGoOn { node: NodeId },
    #[error("no leader took the decision in time; nothing happened, retry later")]
    NoLeader,
    #[error("it is not known whether the decision was taken; `innkeeper status` shows it where it was")]
    Unknown,
}
