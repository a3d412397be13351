//! What was applied anywhere stays in the log of every later leader (Raft, section 5.4.3): no leader sends another entry
//! for an index that was applied, nor follows on another one.

use std::collections::BTreeMap;

use innkeeper::replication::{LogId, NodeId, TypeConfig};
use openraft::raft::AppendEntriesRequest;

use super::Violation;

#[derive(Default)]
pub struct LeaderCompleteness {
    applied: BTreeMap<u64, LogId>,
}

impl LeaderCompleteness {
    pub fn applied(&mut self, node: NodeId, id: LogId) -> Result<(), Violation> {
        let known = *self.applied.entry(id.index).or_insert(id);
        if known == id {
            return Ok(());
        }
        Err(format!("leader completeness: node {node} applied {id}, and {known} was applied before"))
    }

    pub fn sent(&self, leader: NodeId, request: &AppendEntriesRequest<TypeConfig>) -> Result<(), Violation> {
        let sent = request.entries.iter().map(|entry| entry.log_id).chain(request.prev_log_id);
        for id in sent.chain(request.leader_commit) {
            // Leaders of earlier terms still send what was theirs.
            let known = self.applied.get(&id.index).filter(|known| known.leader_id <= request.vote.leader_id);
            if let Some(known) = known.filter(|known| **known != id) {
                return Err(format!(
                    "leader completeness: node {leader}, leader {}, sent {id}, and {known} was applied",
                    request.vote.leader_id
                ));
            }
        }
        Ok(())
    }
}
