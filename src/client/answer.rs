//! What a call comes to: an answer with its metadata, or one of five ways to have none.

use std::fmt;

use crate::ledger::Lsn;
use crate::wire::Problem;

/// A node's answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer<T> {
    pub value: T,
    pub meta: Meta,
}

/// What a node says beside the body.
#[derive(Clone, Debug, PartialEq)]
pub struct Meta {
    /// The HTTP status.
    pub status: u16,
    /// The position that the answer reflects.
    pub lsn: Option<Lsn>,
    /// The node that answered.
    pub node: Option<u64>,
    /// The leader, where the node knows it.
    pub leader: Option<u64>,
    /// The outcome was stored by an earlier request with the same key.
    pub replayed: bool,
    /// The reservation's revision, from its `ETag`.
    pub revision: Option<u64>,
    /// Where the answer came from, as `http://host:port`.
    pub endpoint: String,
    /// Requests that were made for this answer, this one included.
    pub attempts: u32,
    /// One of those before was left open: it may have been taken, and answered by nobody.
    pub was_left_open: bool,
    /// The write's key: sent again with it, it is answered so again.
    pub key: Option<String>,
}

impl Meta {
    /// Whether the outcome is that of an earlier call. What an attempt of this one left open it may have done itself.
    pub fn is_of_earlier_call(&self) -> bool {
        self.replayed && !self.was_left_open
    }
}

/// A node said no.
#[derive(Clone, Debug, PartialEq)]
pub struct Refused {
    pub problem: Problem,
    pub meta: Meta,
}

/// Whether a status is an answer to what was asked, yes or no: from 429 on it says "not now", or that something is broken.
pub fn is_outcome(status: u16) -> bool {
    status < 429
}

impl Refused {
    /// The same request would be refused again as long as nothing changes.
    pub fn is_outcome(&self) -> bool {
        is_outcome(self.problem.status)
    }

    /// Sent again under its key it is answered so again: what was set aside, too.
    pub fn is_final(&self) -> bool {
        self.is_outcome() || self.problem.code == "quarantined"
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.problem.code, self.problem.detail)?;
        if self.problem.facts.is_empty() {
            return Ok(());
        }
        write!(f, " {}", serde_json::Value::Object(self.problem.facts.clone()))
    }
}

/// Why there is no answer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ClientError {
    /// The cluster understood and refused; nothing changed. `no_leader` and `overloaded` only after all retries.
    #[error("{0}")]
    Refused(Box<Refused>),
    /// No node took the request; nothing happened.
    #[error("no node answers: {reason}")]
    Unreachable { reason: String },
    /// The write may or may not have happened. Sending it again with the same key tells, and can't do it twice.
    #[error("whether it happened is unknown: {reason}")]
    OutcomeUnknown { key: Option<String>, reason: String },
    /// The answer is longer than is read.
    #[error("{endpoint} sent an answer of more than {max} bytes: ask for less at once")]
    TooLong { endpoint: String, max: usize },
    /// Something answered, and not as the contract says.
    #[error("{endpoint} gave an answer that can't be read: {reason}")]
    Malformed { endpoint: String, reason: String },
}

impl ClientError {
    /// The contract's code of a refusal.
    pub fn code(&self) -> Option<&str> {
        match self {
            ClientError::Refused(refused) => Some(&refused.problem.code),
            _ => None,
        }
    }
}

/// Whether a node may serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    Ready,
    /// It answers, and names the check that fails.
    NotReady(String),
    /// It does not answer.
    Silent(String),
}
