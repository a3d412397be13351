//! A leader is whom its vote names, and what a node has promised to a candidate outlives any crash and power cut.
//!
//! openraft tells leaders apart by term and node: a term may see several, one after the other. So the promise that keeps
//! two of them from leading at once is that a node's vote never goes back.

use std::collections::BTreeMap;

use innkeeper::replication::{Envelope, NodeId, Reply, Request, Vote};

use super::Violation;

#[derive(Default)]
pub struct ElectionSafety {
    promised: BTreeMap<NodeId, Vote>,
}

impl ElectionSafety {
    /// What this node has promised by now: what it is asked from now on, it answers with no earlier vote.
    pub fn promised(&self, node: NodeId) -> Option<Vote> {
        self.promised.get(&node).copied()
    }

    /// `floor` is what the answerer had promised when the question came.
    pub fn exchanged(
        &mut self,
        answerer: NodeId,
        floor: Option<Vote>,
        question: &Envelope<Request>,
        answer: &Reply,
    ) -> Result<(), Violation> {
        let asker = question.from.node;
        match &question.body {
            Request::Append(request) if request.vote.leader_id.node_id != asker => {
                return Err(format!(
                    "election safety: node {asker} sent entries as leader {}",
                    request.vote.leader_id
                ));
            }
            Request::Append(request) => self.promise(asker, request.vote),
            // Who asks for votes has given its own.
            Request::Vote(request) => self.promise(asker, request.vote),
            _ => {}
        }
        let Reply::Vote(response) = answer else { return Ok(()) };
        if Some(response.vote) < floor {
            return Err(format!(
                "election safety: node {answerer} is at vote {} after it had promised {}",
                response.vote,
                floor.expect("it is greater than another")
            ));
        }
        if let (Request::Vote(request), true) = (&question.body, response.vote_granted) {
            self.promise(answerer, request.vote);
        }
        Ok(())
    }

    /// Whether a vote has become a leader's is not promised: that is found out again.
    fn promise(&mut self, node: NodeId, vote: Vote) {
        let vote = Vote { committed: false, ..vote };
        let promised = self.promised.entry(node).or_insert(vote);
        if vote > *promised {
            *promised = vote;
        }
    }
}
