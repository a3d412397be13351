//! Bringing a batch to the leader, be it this node or another, and its outcomes back to who waits for them.

use std::time::Duration;

use openraft::async_runtime::WatchReceiver;
use tokio::time::Instant;

use super::admission::Origin;
use super::append::Appended;
use super::batcher::BATCH_OVERHEAD_BYTES;
use super::submit::{Outcomes, Pending};
use super::{Node, change_of_leader};
use crate::planted::{Bug, planted};
use crate::replication::{
    Batch, BatchReply, CodecError, EncodedSubmission, Forwarded, NodeId, NotApplied, Payload, Reply, Request,
};

/// How long to wait before a refused proposal is tried again, where no change of leader is seen earlier.
const RETRY_AFTER: Duration = Duration::from_millis(25);

/// How long an answer from the leader may be on its way. What that certainly did not do in time it says by then.
const ANSWER_ON_ITS_WAY: Duration = Duration::from_millis(200);

/// What became of an attempt to have a batch applied.
pub(super) enum Attempt {
    /// The commands that certainly were not taken and may be tried again.
    Again(Vec<Pending>),
    Answered,
}

/// Brings a batch to the leader, whoever that is, until it is answered or its time is up.
pub(super) async fn dispatch(node: &Node, mut batch: Vec<Pending>) {
    let mut leadership = node.raft.server_metrics();
    loop {
        let now = Instant::now();
        let (alive, expired) = batch.into_iter().partition(|pending| pending.deadline > now);
        answer_all(expired, NotApplied::NoLeader);
        batch = alive;
        if batch.is_empty() {
            return;
        }
        drop(leadership.borrow_and_update());
        let leader = node.leader();
        let attempt = if leader == Some(node.id()) {
            propose(node, batch).await
        } else {
            let (stale, own) = batch.into_iter().partition(|pending| pending.origin == Origin::Forwarded);
            answer_all(stale, NotApplied::NoLeader);
            if own.is_empty() {
                return;
            }
            match leader {
                Some(leader) => tokio::select! {
                    biased;
                    attempt = forward(node, leader, own) => attempt,
                    // The commands are dropped with the attempt: to who waits for them, their outcome is unknown.
                    () = node.deposed(leader) => Attempt::Answered,
                },
                None => Attempt::Again(own),
            }
        };
        match attempt {
            Attempt::Answered => return,
            Attempt::Again(rest) => batch = rest,
        }
        // Either a change of leader or the pause is what was waited for.
        change_of_leader(leadership.changed(), RETRY_AFTER).await;
    }
}

fn answer_all(batch: Vec<Pending>, not_applied: NotApplied) {
    for pending in batch {
        pending.answer_all(not_applied);
    }
}

/// The batch's commands in their order.
fn submissions(batch: &[Pending]) -> impl Iterator<Item = EncodedSubmission> {
    batch.iter().flat_map(|pending| &pending.submissions).cloned()
}

fn commands(batch: &[Pending]) -> usize {
    batch.iter().map(|pending| pending.submissions.len()).sum()
}

/// The time until which the most patient command of the batch waits.
fn latest_deadline(batch: &[Pending]) -> Instant {
    batch.iter().map(|pending| pending.deadline).max().unwrap_or_else(Instant::now)
}

/// The entry of the log with the batch's commands, and how many commands stand before them in it: those that do what is
/// due before them.
fn entry(node: &Node, batch: &[Pending]) -> Result<(Payload, usize), CodecError> {
    let stamp = node.log_time();
    let bytes: usize = batch.iter().map(|pending| pending.bytes).sum();
    let left = (node.config.limits.batch_bytes_max - BATCH_OVERHEAD_BYTES).saturating_sub(bytes);
    let mut all = node.ends_before(stamp, left)?;
    let ends = all.len();
    all.extend(submissions(batch));
    let entry = Batch { stamp, check: node.state.check(), submissions: all };
    Ok((entry.encode()?, ends))
}

/// Appends the batch to this leader's log and waits until it is applied here.
pub(super) async fn propose(node: &Node, batch: Vec<Pending>) -> Attempt {
    // It would be checked against a state that the others may not share, and not be applied here.
    if node.state.pause().is_some() {
        return Attempt::Again(batch);
    }
    let (payload, ends) = match entry(node, &batch) {
        Ok(entry) => entry,
        Err(error) => {
            tracing::error!(%error, "a batch could not be encoded");
            answer_all(batch, NotApplied::TooLarge);
            return Attempt::Answered;
        }
    };
    match node.append(payload, latest_deadline(&batch)).await {
        Appended::Applied(_, BatchReply::Applied(mut outcomes))
            if outcomes.len() == ends + commands(&batch) =>
        {
            outcomes.drain(..ends);
            if planted(Bug::AnswersSwapped) {
                outcomes.reverse();
            }
            let mut outcomes = outcomes.into_iter().map(Ok);
            for pending in batch {
                let own = outcomes.by_ref().take(pending.submissions.len()).collect();
                pending.answer(own);
            }
            Attempt::Answered
        }
        Appended::NotLeader => Attempt::Again(batch),
        // Committed on a node that could not apply it, or discarded here and perhaps committed elsewhere.
        Appended::Applied(..) | Appended::Unknown => {
            let denied = planted(Bug::UnknownDenied);
            answer_all(batch, if denied { NotApplied::NoLeader } else { NotApplied::Unknown });
            Attempt::Answered
        }
    }
}

/// Sends the batch to the leader and hands out what it answers.
async fn forward(node: &Node, leader: NodeId, batch: Vec<Pending>) -> Attempt {
    let Some(member) = node.member(leader) else { return Attempt::Again(batch) };
    let wait = latest_deadline(&batch).saturating_duration_since(Instant::now());
    let commands = commands(&batch);
    let wait_there = wait.saturating_sub(ANSWER_ON_ITS_WAY);
    let request = Request::Submit(Forwarded {
        submissions: submissions(&batch).collect(),
        wait_ms: wait_there.as_millis() as u64,
    });
    match node.peers.call_member(leader, &member, request, wait).await {
        Ok(Reply::Submitted(results)) if results.len() == commands => {
            let mut again = Vec::new();
            let mut results = results.into_iter();
            for pending in batch {
                let own: Outcomes = results.by_ref().take(pending.submissions.len()).collect();
                if own.iter().all(|result| *result == Err(NotApplied::NoLeader)) {
                    again.push(pending);
                } else {
                    pending.answer(own);
                }
            }
            if again.is_empty() { Attempt::Answered } else { Attempt::Again(again) }
        }
        Err(error) if error.nothing_happened() || planted(Bug::ForwardedTwice) => Attempt::Again(batch),
        result => {
            if let Err(error) = result {
                tracing::warn!(leader, %error, commands, "the outcome of forwarded commands is unknown");
            }
            let denied = planted(Bug::LostForwardDenied);
            answer_all(batch, if denied { NotApplied::NoLeader } else { NotApplied::Unknown });
            Attempt::Answered
        }
    }
}
