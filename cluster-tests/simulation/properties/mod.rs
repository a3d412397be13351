//! What must hold, one property a file. Some are watched while the simulation runs, the others judge its history.

pub mod capacity;
pub mod damage;
pub mod durable;
pub mod election_safety;
pub mod event_feed;
pub mod failed_flush;
pub mod hold_expiry;
pub mod key_once;
pub mod leader_completeness;
pub mod linearizability;
pub mod log_clock;
pub mod log_matching;
pub mod room_night;
pub mod state_equality;

use std::collections::{BTreeMap, BTreeSet};

use innkeeper::replication::{Envelope, Kind, NodeId, Position, Reply, Request, Vote, decode};

use super::network::CLIENTS;

/// What was broken, in words.
pub type Violation = String;

/// What a node was asked, and what it had promised by then.
pub struct Asked {
    question: Option<Envelope<Request>>,
    floor: Option<Vote>,
}

/// Watches every message that a node took and answered, and every position that it applied.
#[derive(Default)]
pub struct Observer {
    elections: election_safety::ElectionSafety,
    logs: log_matching::LogMatching,
    leaders: leader_completeness::LeaderCompleteness,
    pub states: state_equality::StateEquality,
    /// Snapshots that were begun to be sent, and those that were taken whole.
    pub snapshots_begun: u64,
    pub snapshots_installed: u64,
    /// The positions of those that a node was sent to their ends.
    sent: BTreeMap<NodeId, BTreeSet<u64>>,
    violations: Vec<Violation>,
}

impl Observer {
    /// A question has come to a node, which may never answer it.
    pub fn asked(&mut self, answerer: NodeId, question: &[u8]) -> Asked {
        let question = decode::<Envelope<Request>>(Kind::Peer, question).ok();
        if let Some(Request::Snapshot(piece)) = question.as_ref().map(|question| &question.body)
            && piece.last
        {
            self.sent.entry(answerer).or_default().extend(piece.meta.last_log_id.map(|id| id.index));
        }
        Asked { question, floor: self.elections.promised(answerer) }
    }

    /// The positions of the snapshots that leaders sent to a node.
    pub fn snapshots_sent(&self, node: NodeId) -> BTreeSet<u64> {
        self.sent.get(&node).cloned().unwrap_or_default()
    }

    pub fn exchanged(&mut self, answerer: NodeId, asked: Asked, answer: &[u8]) {
        debug_assert_ne!(answerer, CLIENTS);
        let Asked { question: Some(question), floor } = asked else { return };
        let Ok(answer) = decode::<Envelope<Reply>>(Kind::Peer, answer) else { return };
        let found = self.elections.exchanged(answerer, floor, &question, &answer.body);
        self.violations.extend(found.err());
        match (&question.body, &answer.body) {
            (Request::Append(request), _) => {
                self.violations.extend(self.logs.sent(&request.entries).err());
                self.violations.extend(self.leaders.sent(question.from.node, request).err());
            }
            (Request::Snapshot(piece), reply) => {
                self.snapshots_begun += u64::from(piece.offset == 0);
                self.snapshots_installed += u64::from(matches!(reply, Reply::SnapshotInstalled(_)));
            }
            _ => {}
        }
    }

    pub fn applied(&mut self, node: NodeId, position: Position) {
        self.violations.extend(self.states.applied(node, position).err());
        let applied = position.log_id.map(|id| self.leaders.applied(node, id));
        self.violations.extend(applied.and_then(Result::err));
    }

    /// The first violations, once.
    pub fn take_violations(&mut self) -> Vec<Violation> {
        std::mem::take(&mut self.violations)
    }
}
