//! Appends an entry to the leader's own log.

use openraft::errors::ClientWriteError;
use openraft::impls::ProgressResponder;
use tokio::time::{Instant, timeout_at};

use super::Node;
use crate::replication::{BatchReply, Payload};

/// What became of an entry that this node has proposed.
pub(super) enum Appended {
    /// It is committed at this index, and applied here.
    Applied(u64, BatchReply),
    /// It was refused before it was appended.
    NotLeader,
    /// Whether it is or will be committed is not known.
    Unknown,
}

impl Node {
    /// Appends an entry to this leader's log and waits until it is applied here.
    pub(super) async fn append(&self, payload: Payload, deadline: Instant) -> Appended {
        let (responder, applied) = ProgressResponder::complete_only();
        let sent = timeout_at(deadline, self.raft.client_write_ff(payload, Some(responder))).await;
        if !matches!(sent, Ok(Ok(()))) {
            return Appended::Unknown;
        }
        match timeout_at(deadline, applied).await {
            Ok(Ok(Ok(written))) => Appended::Applied(written.log_id.index, written.data),
            Ok(Ok(Err(ClientWriteError::ForwardToLeader(_)))) => Appended::NotLeader,
            _ => Appended::Unknown,
        }
    }
}
