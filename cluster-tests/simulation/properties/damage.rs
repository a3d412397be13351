//! A bit that turned over on a disk is found: no node serves from a log that it can't read to its end, and a damaged
//! snapshot costs nothing where an older one is kept and the log reaches back to it.

use std::collections::BTreeMap;

use innkeeper::replication::NodeId;

use super::Violation;
use crate::disk::Flipped;

/// The damage that is on the disks.
#[derive(Default)]
pub struct Damaged {
    by_node: BTreeMap<NodeId, Flipped>,
}

impl Damaged {
    pub fn add(&mut self, node: NodeId, flipped: Flipped) {
        self.by_node.insert(node, flipped);
    }

    /// A node started. It must not have, from a damaged log.
    pub fn started(&mut self, node: NodeId) -> Result<(), Violation> {
        match self.by_node.remove(&node) {
            Some(flipped) if flipped.is_fatal() => {
                Err(format!("damage: node {node} started, and {flipped} had been turned over"))
            }
            _ => Ok(()),
        }
    }

    /// A node did not start. The damage is repaired and handed back; `None` where there was none.
    pub fn refused(&mut self, node: NodeId, reason: &str) -> Option<Result<(), Violation>> {
        let flipped = self.by_node.remove(&node)?;
        flipped.turn_back();
        if flipped.may_be_fatal() {
            return Some(Ok(()));
        }
        Some(Err(format!("damage: {flipped} had been turned over, and node {node} did not start: {reason}")))
    }

    /// Repairs one disk.
    pub fn repair_of(&mut self, node: NodeId) {
        if let Some(flipped) = self.by_node.remove(&node) {
            flipped.turn_back();
        }
    }

    /// Repairs all disks.
    pub fn repair(&mut self) {
        for flipped in std::mem::take(&mut self.by_node).into_values() {
            flipped.turn_back();
        }
    }
}
