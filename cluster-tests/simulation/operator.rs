//! Whoever runs the cluster: takes a member out and puts it back, by Raft's own calls, at whichever node leads.

use std::collections::{BTreeMap, BTreeSet};

use innkeeper::replication::{Member, NodeId};

use super::machine::Machine;

/// Milliseconds between two looks at the cluster.
const LOOKS_EVERY_MS: u64 = 40;

/// The membership that is wanted.
#[derive(Clone, Debug)]
pub struct Wanted {
    pub voters: BTreeSet<NodeId>,
    /// Who is no voter stays as a learner, or else is removed.
    pub keeps_learners: bool,
}

pub struct Operator {
    wanted: Wanted,
    /// Every machine of the cluster, as the first membership had it.
    machines: BTreeMap<NodeId, Member>,
}

impl Operator {
    /// Finds the cluster as it is wanted.
    pub fn new(machines: BTreeMap<NodeId, Member>) -> Operator {
        let wanted = Wanted { voters: machines.keys().copied().collect(), keeps_learners: true };
        Operator { wanted, machines }
    }

    pub fn want(&mut self, wanted: Wanted) {
        self.wanted = wanted;
    }

    /// All are voters again.
    pub fn want_all(&mut self) {
        self.wanted.voters = self.machines.keys().copied().collect();
    }

    /// To be called every millisecond. Whoever believes to lead is asked for what is wanted and not there.
    pub fn work(&self, now_ms: u64, machines: &mut [Machine]) {
        if now_ms.is_multiple_of(LOOKS_EVERY_MS) {
            for machine in machines {
                machine.change_members(&self.wanted, &self.machines);
            }
        }
    }
}
