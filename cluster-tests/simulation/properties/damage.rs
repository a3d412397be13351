//! A bit that turned over on a disk, or a log that was cut off at its end, is found: no node serves from a log that it
//! can't read to its end, and a damaged snapshot costs nothing where an older one is kept and the log reaches back to it.

use std::collections::BTreeMap;

use innkeeper::replication::NodeId;

use super::Violation;
use crate::disk::Damage;

/// The damage that is on the disks.
#[derive(Default)]
pub struct Damaged {
    by_node: BTreeMap<NodeId, Damage>,
    /// Behind which index a node's log began anew. One does that ends before the newest snapshot when its node starts, as that
    /// of a leader may which applied what the others had flushed.
    begun: BTreeMap<NodeId, u64>,
}

impl Damaged {
    pub fn add(&mut self, node: NodeId, damage: Damage) {
        self.by_node.insert(node, damage);
    }

    /// A node's log begins anew behind this index.
    pub fn begins_behind(&mut self, node: NodeId, index: u64) {
        self.begun.insert(node, index);
    }

    /// Behind which index the log of a node began anew, when it last did.
    pub fn log_begins_behind(&self, node: NodeId) -> Option<u64> {
        self.begun.get(&node).copied()
    }

    /// A node started. It must not have, from a damaged log.
    pub fn started(&mut self, node: NodeId) -> Result<(), Violation> {
        match self.by_node.remove(&node) {
            Some(damage) if damage.is_fatal() => {
                Err(format!("damage: node {node} started, although {damage}"))
            }
            _ => Ok(()),
        }
    }

    /// A node did not start. The damage is repaired and handed back; `None` where there was none.
    pub fn refused(&mut self, node: NodeId, reason: &str) -> Option<Result<(), Violation>> {
        let damage = self.by_node.remove(&node)?;
        damage.repair();
        if damage.may_be_fatal() {
            return Some(Ok(()));
        }
        Some(Err(format!("damage: {damage}, and node {node} did not start: {reason}")))
    }

    /// Repairs one disk.
    pub fn repair_of(&mut self, node: NodeId) {
        if let Some(damage) = self.by_node.remove(&node) {
            damage.repair();
        }
    }

    /// Repairs all disks.
    pub fn repair(&mut self) {
        for damage in std::mem::take(&mut self.by_node).into_values() {
            damage.repair();
        }
    }
}
