//! At one LSN every node has the same state, at the same log time.

use std::collections::BTreeMap;

use innkeeper::ledger::{Lsn, StateHash, Timestamp};
use innkeeper::replication::{NodeId, Position};

use super::Violation;

#[derive(Default)]
pub struct StateEquality {
    by_lsn: BTreeMap<Lsn, (StateHash, Timestamp)>,
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
        Ok(())
    }

    /// The log time of every LSN at which some node was seen.
    pub fn stamps(&self) -> BTreeMap<Lsn, Timestamp> {
        self.by_lsn.iter().map(|(lsn, (_, stamp))| (*lsn, *stamp)).collect()
    }
}
