//! The way of a command from a handler to the log: queue, batch, propose or forward, answer.
//!
//! Commands that wait together travel as one entry of the log. On a follower they travel to the leader together, in one
//! hop. Every queue is bounded, by count and by bytes, and by how soon it will be answered; what does not fit is shed
//! before anything happened.
//!
//! What a client sends in one batch keeps its order: the commands of a run stand in one entry, here and where they are
//! forwarded to, and the next run sets out when the one before is answered.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};
use std::time::Duration;

use openraft::async_runtime::WatchReceiver;
use tokio::sync::{Notify, Semaphore, mpsc, oneshot};
use tokio::task::yield_now;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::admission::{Admission, Origin, Places};
use super::append::Appended;
use super::config::Limits;
use super::{Node, change_of_leader};
use crate::ledger::{Applied, Command, Submission};
use crate::planted::{Bug, planted};
use crate::replication::{
    Batch, BatchReply, EncodedSubmission, Forwarded, NodeId, NotApplied, Reply, Request,
};

/// Bytes that an entry of the log needs beside its commands.
const BATCH_OVERHEAD_BYTES: usize = 256;
/// How long to wait before a refused proposal is tried again, where no change of leader is seen earlier.
const RETRY_AFTER: Duration = Duration::from_millis(25);

/// While a batch is under way, the next waits for so many commands, or until nothing is under way any more, and no longer
/// than this. An entry costs every node a flush and every link a message, whatever it holds: few large ones carry more
/// than many small ones, and under light load nothing is under way.
const WORTH_AN_ENTRY: usize = 128;
const GATHER_WAIT: Duration = Duration::from_millis(5);
/// How long an entry waits, where nothing is under way, for as many commands as the last one took. tokio's timer counts
/// whole milliseconds: it may be twice that.
const COMPANY_WAIT: Duration = Duration::from_millis(1);

/// What a change of a whole booking counts for where an entry is filled: it may change 500 reservations, and what one
/// entry changes is applied in one go.
const BOOKING_CHANGE_WEIGHT: usize = 64;

/// How long after its deadline a command's answer is awaited, so that the batcher's more exact one is heard.
const ANSWER_GRACE: Duration = Duration::from_millis(100);

/// What became of commands, one outcome each, in their order.
pub type Outcomes = Vec<Result<Applied, NotApplied>>;

/// The bounded queue in front of the batcher.
pub struct Submitter {
    queue: mpsc::Sender<Pending>,
    admission: Arc<Admission>,
    run_commands_max: usize,
    run_bytes_max: usize,
}

/// A run of commands that waits for its outcomes, and is never torn apart.
struct Pending {
    submissions: Vec<EncodedSubmission>,
    /// What it counts for where an entry is filled.
    weight: usize,
    bytes: usize,
    deadline: Instant,
    origin: Origin,
    answer: oneshot::Sender<Outcomes>,
    /// None where it is ahead of the queue.
    places: Option<Arc<Places>>,
}

impl Pending {
    fn answer_all(self, not_applied: NotApplied) {
        let outcomes = vec![Err(not_applied); self.submissions.len()];
        self.answer(outcomes);
    }

    fn answer(self, outcomes: Outcomes) {
        if let Some(places) = &self.places {
            places.applied(outcomes.iter().filter(|outcome| outcome.is_ok()).count());
        }
        // A client that went away no longer waits for its answer.
        let _ = self.answer.send(outcomes);
    }
}

/// The other end of the queue, for [`Batcher::run`].
pub struct Batcher {
    queue: mpsc::Receiver<Pending>,
    admission: Arc<Admission>,
    in_flight: Arc<Semaphore>,
    /// Told when a batch has been answered.
    answered: Arc<Notify>,
    /// Commands that the next batch may hope for: those of the last, or half of what was hoped for then.
    expected: usize,
    limits: Limits,
}

pub fn queue(limits: &Limits) -> (Submitter, Batcher) {
    // Own and forwarded commands have as many places each.
    let (sender, receiver) = mpsc::channel(2 * limits.queued_commands_max);
    let admission = Arc::new(Admission::new(limits));
    let submitter = Submitter {
        queue: sender,
        admission: admission.clone(),
        run_commands_max: limits.batch_commands_max,
        run_bytes_max: limits.batch_bytes_max - BATCH_OVERHEAD_BYTES,
    };
    let in_flight = Arc::new(Semaphore::new(limits.batches_in_flight_max));
    let batcher = Batcher {
        queue: receiver,
        admission,
        in_flight,
        answered: Arc::default(),
        expected: 0,
        limits: limits.clone(),
    };
    (submitter, batcher)
}

impl Submitter {
    /// How many commands wait, and may.
    pub fn admission(&self) -> &Admission {
        &self.admission
    }

    /// Submits a command of this node's client and waits for its outcome, at most until `deadline`.
    pub async fn submit(&self, submission: &Submission, deadline: Instant) -> Result<Applied, NotApplied> {
        let run = vec![self.encode(submission)?];
        let weight = weight(&submission.command);
        self.submit_run(run, weight, deadline, Origin::Own).await.pop().unwrap_or(Err(NotApplied::Unknown))
    }

    /// Places for commands that come together: those of the largest entry that they may become, kept from the first to the
    /// last, so that this node does not shed the rest of what it has begun.
    pub fn places_for(&self, commands: usize, bytes: usize) -> Result<Places, NotApplied> {
        let (commands, bytes) = (commands.min(self.run_commands_max), bytes.min(self.run_bytes_max));
        self.admission.admit(commands, bytes, Origin::Own)
    }

    /// Submits commands of one client, as few entries of the log as can hold them, and waits for their outcomes: for the
    /// first entry until `deadline`, for each other at most `wait`. Once a command is not known to be done, those in later
    /// entries are not tried.
    pub async fn submit_in_order(
        &self,
        submissions: &[Submission],
        places: Places,
        deadline: Instant,
        wait: Duration,
    ) -> Outcomes {
        let places = Arc::new(places);
        let mut encoded = submissions.iter().map(|submission| self.encode(submission));
        let mut outcomes = Vec::with_capacity(submissions.len());
        let mut deadline = deadline;
        let mut left_over = None;
        let mut stopped = None;
        while let Some(next) = left_over.take().or_else(|| encoded.next()) {
            let first = match next {
                Ok(first) => first,
                Err(refused) => {
                    outcomes.push(Err(refused));
                    continue;
                }
            };
            let run;
            (run, left_over) = self.run_from(first, &mut encoded);
            if let Some(not_applied) = stopped {
                outcomes.extend(run.iter().map(|_| Err(not_applied)));
                continue;
            }
            let weight = run.len();
            let answers = self.answers(run, weight, deadline, Origin::Own, places.clone()).await;
            stopped = answers.iter().find_map(|answer| answer.as_ref().err()).map(|error| match error {
                // It may be done yet; what was not sent certainly is not.
                NotApplied::Unknown => NotApplied::NoLeader,
                certain => *certain,
            });
            outcomes.extend(answers);
            deadline = Instant::now() + wait;
        }
        outcomes
    }

    /// Takes as many commands as one entry may hold, and what came behind them and does not fit.
    fn run_from(
        &self,
        first: EncodedSubmission,
        rest: &mut impl Iterator<Item = Result<EncodedSubmission, NotApplied>>,
    ) -> (Vec<EncodedSubmission>, Option<Result<EncodedSubmission, NotApplied>>) {
        let mut bytes = first.len();
        let mut run = vec![first];
        while run.len() < self.run_commands_max {
            match rest.next() {
                Some(Ok(next)) if bytes + next.len() <= self.run_bytes_max => {
                    bytes += next.len();
                    run.push(next);
                }
                behind => return (run, behind),
            }
        }
        (run, None)
    }

    /// Submits commands that a follower forwarded, in their order. What they weigh has bounded the run there.
    pub async fn submit_forwarded(&self, forwarded: Forwarded) -> Outcomes {
        let deadline = Instant::now() + Duration::from_millis(forwarded.wait_ms.min(60_000));
        let (run, is_readable) = readable(forwarded.submissions);
        let weight = run.len();
        let outcomes = match run.is_empty() {
            true => Outcomes::new(),
            false => self.submit_run(run, weight, deadline, Origin::Forwarded).await,
        };
        let mut outcomes = outcomes.into_iter();
        let outcome = |is_readable: bool| match is_readable {
            true => outcomes.next().unwrap_or(Err(NotApplied::Unknown)),
            false => Err(NotApplied::NoLeader),
        };
        is_readable.into_iter().map(outcome).collect()
    }

    fn encode(&self, submission: &Submission) -> Result<EncodedSubmission, NotApplied> {
        let encoded = EncodedSubmission::new(submission).map_err(|_| NotApplied::TooLarge)?;
        if encoded.len() > self.run_bytes_max { Err(NotApplied::TooLarge) } else { Ok(encoded) }
    }

    async fn submit_run(
        &self,
        run: Vec<EncodedSubmission>,
        weight: usize,
        deadline: Instant,
        origin: Origin,
    ) -> Outcomes {
        let (commands, bytes) = (run.len(), bytes(&run));
        if bytes > self.run_bytes_max {
            return vec![Err(NotApplied::TooLarge); commands];
        }
        match self.admission.admit(commands, bytes, origin) {
            Ok(places) => self.answers(run, weight, deadline, origin, Arc::new(places)).await,
            Err(refused) => vec![Err(refused); commands],
        }
    }

    /// Puts a run that has its places into the queue, and waits for what becomes of it.
    async fn answers(
        &self,
        submissions: Vec<EncodedSubmission>,
        weight: usize,
        deadline: Instant,
        origin: Origin,
        places: Arc<Places>,
    ) -> Outcomes {
        let (commands, bytes) = (submissions.len(), bytes(&submissions));
        let (answer, outcomes) = oneshot::channel();
        let pending = Pending { submissions, weight, bytes, deadline, origin, answer, places: Some(places) };
        let refused = match self.queue.try_send(pending) {
            Ok(()) => match timeout_at(deadline + ANSWER_GRACE, outcomes).await {
                Ok(Ok(outcomes)) => return outcomes,
                _ => NotApplied::Unknown,
            },
            Err(mpsc::error::TrySendError::Full(_)) => NotApplied::Overloaded,
            Err(mpsc::error::TrySendError::Closed(_)) => NotApplied::NoLeader,
        };
        vec![Err(refused); commands]
    }
}

/// Those that this build can read, and which of all they are. One that it can't would pause every node for good, once it is in
/// the log.
fn readable(mut all: Vec<EncodedSubmission>) -> (Vec<EncodedSubmission>, Vec<bool>) {
    let read = |it: &EncodedSubmission| match it.decode() {
        Ok(_) => true,
        Err(error) => {
            tracing::warn!(%error, "a peer forwarded a command that this build can't read; it is not proposed");
            false
        }
    };
    let is_readable: Vec<bool> = all.iter().map(read).collect();
    let mut each = is_readable.iter();
    all.retain(|_| each.next().is_some_and(|is_readable| *is_readable));
    (all, is_readable)
}

fn bytes(run: &[EncodedSubmission]) -> usize {
    run.iter().map(EncodedSubmission::len).sum()
}

fn weight(command: &Command) -> usize {
    match command {
        Command::ConfirmBooking(_) | Command::CancelBooking(_) => BOOKING_CHANGE_WEIGHT,
        _ => 1,
    }
}

impl Batcher {
    /// One permit a batch that may be under way.
    pub fn in_flight(&self) -> Arc<Semaphore> {
        self.in_flight.clone()
    }

    /// Batches what waits until the node is gone. While as many batches are under way as may be, the next one grows.
    pub async fn run(mut self, node: Weak<Node>) {
        let mut waiting = VecDeque::new();
        loop {
            if waiting.is_empty() {
                match self.queue.recv().await {
                    Some(first) => waiting.push_back(first),
                    None => return,
                }
            }
            self.gather(&mut waiting).await;
            let Ok(permit) = self.in_flight.clone().acquire_owned().await else { return };
            let batch = self.fill(&mut waiting);
            let taken: usize = batch.iter().map(|pending| pending.submissions.len()).sum();
            self.expected = taken.max(self.expected / 2);
            self.admission.filled(!waiting.is_empty() || !self.queue.is_empty(), Instant::now());
            let Some(node) = node.upgrade() else { return };
            let answered = self.answered.clone();
            tokio::spawn(async move {
                dispatch(&node, batch).await;
                drop(permit);
                answered.notify_one();
            });
        }
    }

    /// Waits until what waits is worth an entry of its own.
    async fn gather(&mut self, waiting: &mut VecDeque<Pending>) {
        let deadline = Instant::now() + GATHER_WAIT;
        let mut commands: usize = waiting.iter().map(|pending| pending.submissions.len()).sum();
        while commands < WORTH_AN_ENTRY && self.is_any_under_way() {
            tokio::select! {
                biased;
                next = self.queue.recv() => {
                    let Some(next) = next else { return };
                    commands += put_behind(waiting, next);
                }
                () = self.answered.notified() => {}
                () = sleep_until(deadline) => return,
            }
        }
        self.wait_for_company(waiting, commands).await;
    }

    /// Waits for those who are about to ask: who was answered by one entry comes back for the next, and the first of them
    /// must not travel alone. As many as the last entry took are waited for, a moment, and then whoever each turn of the
    /// runtime brings.
    async fn wait_for_company(&mut self, waiting: &mut VecDeque<Pending>, mut commands: usize) {
        let deadline = Instant::now() + COMPANY_WAIT;
        while commands < self.expected.min(WORTH_AN_ENTRY) {
            tokio::select! {
                biased;
                next = self.queue.recv() => {
                    let Some(next) = next else { return };
                    commands += put_behind(waiting, next);
                }
                () = sleep_until(deadline) => break,
            }
        }
        while commands < WORTH_AN_ENTRY {
            yield_now().await;
            let before = commands;
            while let Ok(next) = self.queue.try_recv() {
                commands += put_behind(waiting, next);
            }
            if commands == before {
                return;
            }
        }
    }

    fn is_any_under_way(&self) -> bool {
        self.in_flight.available_permits() < self.limits.batches_in_flight_max
    }

    /// Takes as many runs as one entry may hold, one at least. What does not fit stays in `waiting`.
    fn fill(&mut self, waiting: &mut VecDeque<Pending>) -> Vec<Pending> {
        let mut batch = Vec::new();
        let (mut weight, mut bytes) = (0, BATCH_OVERHEAD_BYTES);
        while weight < self.limits.batch_commands_max {
            let Some(next) = waiting.pop_front().or_else(|| self.queue.try_recv().ok()) else { break };
            weight += next.weight;
            bytes += next.bytes;
            let fits = weight <= self.limits.batch_commands_max && bytes <= self.limits.batch_bytes_max;
            if !fits && !batch.is_empty() {
                waiting.push_front(next);
                break;
            }
            batch.push(next);
        }
        batch
    }
}

/// Puts a run behind those that wait, and answers how many commands it holds.
fn put_behind(waiting: &mut VecDeque<Pending>, run: Pending) -> usize {
    let commands = run.submissions.len();
    waiting.push_back(run);
    commands
}

impl Node {
    /// Proposes commands of the ledger's own, ahead of all that waits here: reads wait until what is due has ended.
    pub(super) async fn submit_ahead(&self, submissions: &[Submission], deadline: Instant) -> Outcomes {
        let encoded = submissions.iter().map(|submission| self.submitter.encode(submission)).collect();
        let submissions: Vec<_> = match encoded {
            Ok(encoded) => encoded,
            Err(refused) => return vec![Err(refused); submissions.len()],
        };
        let (commands, bytes) = (submissions.len(), bytes(&submissions));
        let (answer, outcomes) = oneshot::channel();
        let (weight, origin) = (commands, Origin::Own);
        let pending = Pending { submissions, weight, bytes, deadline, origin, answer, places: None };
        let unanswered = match propose(self, vec![pending]).await {
            Attempt::Answered => match outcomes.await {
                Ok(outcomes) => return outcomes,
                Err(_) => NotApplied::Unknown,
            },
            Attempt::Again(_) => NotApplied::NoLeader,
        };
        vec![Err(unanswered); commands]
    }
}

/// What became of an attempt to have a batch applied.
enum Attempt {
    /// The commands that certainly were not taken and may be tried again.
    Again(Vec<Pending>),
    Answered,
}

/// Brings a batch to the leader, whoever that is, until it is answered or its time is up.
async fn dispatch(node: &Node, mut batch: Vec<Pending>) {
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
fn submissions(batch: &[Pending]) -> Vec<EncodedSubmission> {
    batch.iter().flat_map(|pending| &pending.submissions).cloned().collect()
}

/// The time until which the most patient command of the batch waits.
fn latest_deadline(batch: &[Pending]) -> Instant {
    batch.iter().map(|pending| pending.deadline).max().unwrap_or_else(Instant::now)
}

/// Appends the batch to this leader's log and waits until it is applied here.
async fn propose(node: &Node, batch: Vec<Pending>) -> Attempt {
    // It would be checked against a state that the others may not share, and not be applied here.
    if node.state.pause().is_some() {
        return Attempt::Again(batch);
    }
    let submissions = submissions(&batch);
    let commands = submissions.len();
    let entry = Batch { stamp: node.log_time(), check: node.state.check(), submissions };
    let payload = match entry.encode() {
        Ok(payload) => payload,
        Err(error) => {
            tracing::error!(%error, "a batch could not be encoded");
            answer_all(batch, NotApplied::TooLarge);
            return Attempt::Answered;
        }
    };
    match node.append(payload, latest_deadline(&batch)).await {
        Appended::Applied(_, BatchReply::Applied(mut outcomes)) if outcomes.len() == commands => {
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
    let submissions = submissions(&batch);
    let commands = submissions.len();
    let request = Request::Submit(Forwarded { submissions, wait_ms: wait.as_millis() as u64 });
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{BookingChange, BookingId};

    #[tokio::test]
    async fn an_entry_holds_few_changes_of_whole_bookings() {
        let limits = Limits::default();
        let (submitter, mut batcher) = queue(&limits);
        let command = Command::CancelBooking(BookingChange { booking: BookingId(uuid::Uuid::nil()) });
        let submission = Submission { key: None, command };
        let deadline = Instant::now();
        let mut waiting: VecDeque<Pending> = VecDeque::new();
        for _ in 0..40 {
            let submissions = vec![submitter.encode(&submission).unwrap()];
            let (weight, bytes) = (weight(&submission.command), bytes(&submissions));
            let (answer, origin) = (oneshot::channel().0, Origin::Own);
            waiting.push_back(Pending { submissions, weight, bytes, deadline, origin, answer, places: None });
        }
        let filled: Vec<usize> = (0..4).map(|_| batcher.fill(&mut waiting).len()).collect();
        assert_eq!(filled, [16, 16, 8, 0]);
    }
}
