//! What must hold, one property a file. Some are watched while the simulation runs, the others judge its history.

pub mod capacity;
pub mod durable;
pub mod election_safety;
pub mod hold_expiry;
pub mod key_once;
pub mod linearizability;
pub mod log_matching;
pub mod room_night;
pub mod state_equality;

use innkeeper::replication::{Envelope, Kind, NodeId, Position, Reply, Request, decode};

use super::network::CLIENTS;

/// What was broken, in words.
pub type Violation = String;

/// Watches every message that a node took and answered, and every position that it applied.
#[derive(Default)]
pub struct Observer {
    elections: election_safety::ElectionSafety,
    logs: log_matching::LogMatching,
    pub states: state_equality::StateEquality,
    violations: Vec<Violation>,
}

impl Observer {
    pub fn exchanged(&mut self, answerer: NodeId, question: &[u8], answer: &[u8]) {
        debug_assert_ne!(answerer, CLIENTS);
        let Ok(question) = decode::<Envelope<Request>>(Kind::Peer, question) else { return };
        let Ok(answer) = decode::<Envelope<Reply>>(Kind::Peer, answer) else { return };
        let found = self.elections.exchanged(answerer, &question, &answer.body);
        self.violations.extend(found.err());
        if let Request::Append(request) = &question.body {
            self.violations.extend(self.logs.sent(&request.entries).err());
        }
    }

    pub fn applied(&mut self, node: NodeId, position: Position) {
        self.violations.extend(self.states.applied(node, position).err());
    }

    /// The first violations, once.
    pub fn take_violations(&mut self) -> Vec<Violation> {
        std::mem::take(&mut self.violations)
    }
}
