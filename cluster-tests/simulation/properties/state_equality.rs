//! What is applied at one index is the same entry everywhere and for ever, and at one LSN every node has the same state.

use std::collections::BTreeMap;

use innkeeper::ledger::{Lsn, StateHash, Timestamp};
use innkeeper::replication::{LogId, NodeId, Position};

use super::Violation;

#[derive(Default)]
pub struct StateEquality {
    by_lsn: BTreeMap<Lsn, (StateHash, Timestamp)>,
    by_index: BTreeMap<u64, LogId>,
}

impl StateEquality {
    pub fn applied(&mut self, node: NodeId, position: Position) -> Result<(), Violation> {
        let state = (position.state_hash, position.stamp);
        let known = *self.by_lsn.entry(position.lsn).or_insert(state);
        if known != state {
            return Err(format!(
                "state equality: node {node} has {state:?} at LSN {}, another {known:?}",
                position.lsn
            ));
        }
        let Some(id) = position.log_id else { return Ok(()) };
        let known = *self.by_index.entry(id.index).or_insert(id);
        if known != id {
            return Err(format!(
                "leader completeness: node {node} applied {id}, and {known} was applied before"
            ));
        }
        Ok(())
    }

    /// The log time of every LSN at which some node was seen.
    pub fn stamps(&self) -> BTreeMap<Lsn, Timestamp> {
        self.by_lsn.iter().map(|(lsn, (_, stamp))| (*lsn, *stamp)).collect()
    }
}
