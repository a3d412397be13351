//! A node whose disk has refused a flush stops: nobody knows what that disk holds (Rebello et al., "Can Applications
//! Recover from fsync Failures?", 2020).

use std::collections::BTreeMap;

use innkeeper::replication::NodeId;

use super::Violation;

/// Until then it may notice.
const STOPS_WITHIN_MS: u64 = 1_000;

#[derive(Default)]
pub struct FailedFlush {
    /// For how long a node has been running on.
    runs_on_ms: BTreeMap<NodeId, u64>,
}

impl FailedFlush {
    /// To be told of every millisecond that a node runs.
    pub fn runs(&mut self, node: NodeId, has_failed: bool) -> Result<(), Violation> {
        if !has_failed {
            self.runs_on_ms.remove(&node);
            return Ok(());
        }
        let runs_on_ms = self.runs_on_ms.entry(node).or_default();
        *runs_on_ms += 1;
        if *runs_on_ms > STOPS_WITHIN_MS {
            return Err(format!("failed flush: node {node} runs on although its disk has refused a flush"));
        }
        Ok(())
    }
}
