//! Appends an entry to the leader's own log.

use openraft::errors::ClientWriteError;
use openraft::impls::ProgressResponder;
use openraft::raft::ClientWriteResult;
use tokio::time::{Instant, timeout_at};

use super::Node;
use crate::replication::{BatchReply, Payload, TypeConfig};

/// What became of an entry that this node has proposed.
#[derive(Debug, PartialEq)]
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
            Ok(Ok(answer)) => appended(answer),
            _ => Appended::Unknown,
        }
    }
}

/// What openraft's answer says of the entry. Whoever is told [`Appended::NotLeader`] proposes it again.
fn appended(answer: ClientWriteResult<TypeConfig>) -> Appended {
    match answer {
        Ok(written) => Appended::Applied(written.log_id.index, written.data),
        Err(ClientWriteError::ForwardToLeader(_)) => Appended::NotLeader,
        // It names a leader too, and that one may have the entry and commit it yet.
        Err(ClientWriteError::LogEntryDiscarded(_)) => Appended::Unknown,
        // Neither is said of batches or decisions.
        Err(ClientWriteError::ChangeMembershipError(_) | ClientWriteError::PreconditionFailed(_)) => {
            Appended::Unknown
        }
    }
}

#[cfg(test)]
mod tests {
    use openraft::errors::{ChangeMembershipError, EmptyMembership, ForwardToLeader, PreconditionFailed};
    use openraft::raft::ClientWriteResponse;

    use super::*;
    use crate::replication::Member;
    use crate::replication::tests::support::log_id;

    #[test]
    fn only_an_entry_that_came_into_no_log_is_proposed_again() {
        let named = || ForwardToLeader::<TypeConfig>::new(2, Member::default());
        let nobody = ForwardToLeader::<TypeConfig>::empty;
        let written =
            |data| ClientWriteResponse::<TypeConfig> { log_id: log_id(3, 7), data, membership: None };
        let no_members = ChangeMembershipError::EmptyMembership(EmptyMembership {});
        let moved = PreconditionFailed::<TypeConfig>::LastLogIdMismatch {
            expected: None,
            actual: Some(log_id(3, 7)),
        };
        let cases: [(ClientWriteResult<TypeConfig>, Appended); 8] = [
            (Ok(written(BatchReply::NoBatch)), Appended::Applied(7, BatchReply::NoBatch)),
            (Ok(written(BatchReply::Paused)), Appended::Applied(7, BatchReply::Paused)),
            (Err(ClientWriteError::ForwardToLeader(named())), Appended::NotLeader),
            (Err(ClientWriteError::ForwardToLeader(nobody())), Appended::NotLeader),
            (Err(ClientWriteError::LogEntryDiscarded(named())), Appended::Unknown),
            (Err(ClientWriteError::LogEntryDiscarded(nobody())), Appended::Unknown),
            (Err(ClientWriteError::ChangeMembershipError(no_members)), Appended::Unknown),
            (Err(ClientWriteError::PreconditionFailed(moved)), Appended::Unknown),
        ];
        for (answer, expected) in cases {
            let told = format!("{answer:?}");
            assert_eq!(appended(answer), expected, "{told}");
        }
    }
}
