//! What must hold, one property a file. Some are watched while the simulation runs, the others judge its history.

pub mod capacity;
pub mod damage;
pub mod durable;
pub mod election_safety;
pub mod failed_flush;
pub mod hold_expiry;
pub mod key_once;
pub mod leader_completeness;
pub mod linearizability;
pub mod log_clock;
pub mod log_matching;
pub mod room_night;
pub mod state_equality;

use innkeeper::replication::{Envelope, Kind, NodeId, Position, Reply, Request, Vote, decode};

use super::network::CLIENTS;

/// What was broken, in words.
pub type Violation = String;

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
    violations: Vec<Violation>,
}

impl Observer {
    /// What a node has promised by the time that it is asked something.
    pub fn promised(&self, node: NodeId) -> Option<Vote> {
        self.elections.promised(node)
    }

    /// `floor` is what the answerer had [promised](Observer::promised) when the question came.
    pub fn exchanged(&mut self, answerer: NodeId, floor: Option<Vote>, question: &[u8], answer: &[u8]) {
        debug_assert_ne!(answerer, CLIENTS);
        let Ok(question) = decode::<Envelope<Request>>(Kind::Peer, question) else { return };
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
