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
    pub fn exchanged(
        &mut self,
        answerer: NodeId,
        question: &Envelope<Request>,
        answer: &Reply,
    ) -> Result<(), Violation> {
        match (&question.body, answer) {
            (Request::Append(request), _) if request.vote.leader_id.node_id != question.from.node => {
                Err(format!(
                    "election safety: node {} sent entries as leader {}",
                    question.from.node, request.vote.leader_id
                ))
            }
            (Request::Vote(request), Reply::Vote(response)) if response.vote_granted => {
                let promised = self.promised.entry(answerer).or_insert(request.vote);
                if request.vote < *promised {
                    return Err(format!(
                        "election safety: node {answerer} granted {} after it had granted {promised}",
                        request.vote
                    ));
                }
                *promised = request.vote;
                Ok(())
            }
            _ => Ok(()),
        }
    }
}
