//! The way of a command from a handler to the log: the queue, and the wait for what becomes of it. The
//! [`batcher`](super::batcher) fills entries from the queue, and [`dispatch`](super::dispatch) proposes or forwards them.
//!
//! Commands that wait together travel as one entry of the log. On a follower they travel to the leader together, in one
//! hop. Every queue is bounded, by count and by bytes, and by how soon it will be answered; what does not fit is shed
//! before anything happened.
//!
//! What a client sends in one batch keeps its order: the commands of a run stand in one entry, here and where they are
//! forwarded to, and the next run sets out when the one before is answered.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout_at};

use super::Node;
use super::admission::{Admission, Origin, Places};
use super::batcher::{BATCH_OVERHEAD_BYTES, Batcher, commands_max};
use super::config::Limits;
use super::dispatch::{Attempt, propose};
use crate::ledger::{Applied, Command, Submission};
use crate::replication::{ApplyCost, CodecError, EncodedSubmission, Forwarded, NotApplied};

/// What a change of a whole booking counts for where an entry is filled: it may change 500 reservations, and what one
/// entry changes is applied in one go.
const BOOKING_CHANGE_WEIGHT: usize = 64;

/// How long after its deadline a command's answer is awaited, so that the batcher's more exact one is heard.
const ANSWER_GRACE: Duration = Duration::from_millis(100);

/// Commands that came together are tried for so many times as long as one entry may take: less than the silence after which
/// the port closes the connection of who waits for their outcomes.
const RUNS_WAIT_MAX: u32 = 12;

/// What became of commands, one outcome each, in their order.
pub type Outcomes = Vec<Result<Applied, NotApplied>>;

/// The bounded queue in front of the batcher.
pub struct Submitter {
    queue: mpsc::Sender<Pending>,
    admission: Arc<Admission>,
    apply_cost: Arc<ApplyCost>,
    run_commands_max: usize,
    run_bytes_max: usize,
}

/// A run of commands that waits for its outcomes, and is never torn apart.
pub(super) struct Pending {
    pub submissions: Vec<EncodedSubmission>,
    /// What it counts for where an entry is filled.
    pub weight: usize,
    pub bytes: usize,
    pub deadline: Instant,
    pub origin: Origin,
    pub answer: oneshot::Sender<Outcomes>,
    /// None where it is ahead of the queue.
    pub places: Option<Arc<Places>>,
}

impl Pending {
    pub fn answer_all(self, not_applied: NotApplied) {
        let outcomes = vec![Err(not_applied); self.submissions.len()];
        self.answer(outcomes);
    }

    pub fn answer(self, outcomes: Outcomes) {
        if let Some(places) = &self.places {
            places.applied(outcomes.iter().filter(|outcome| outcome.is_ok()).count());
        }
        // A client that went away no longer waits for its answer.
        let _ = self.answer.send(outcomes);
    }
}

pub fn queue(limits: &Limits, apply_cost: Arc<ApplyCost>) -> (Submitter, Batcher) {
    // Own and forwarded commands have as many places each.
    let (sender, receiver) = mpsc::channel(2 * limits.queued_commands_max);
    let admission = Arc::new(Admission::new(limits));
    let submitter = Submitter {
        queue: sender,
        admission: admission.clone(),
        apply_cost: apply_cost.clone(),
        run_commands_max: limits.batch_commands_max,
        run_bytes_max: limits.batch_bytes_max - BATCH_OVERHEAD_BYTES,
    };
    (submitter, Batcher::new(receiver, admission, apply_cost, limits))
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
    /// first entry until `deadline`, for each other at most `wait`, for all at most [`RUNS_WAIT_MAX`] times that. Once a
    /// command is not known to be done, or time is up, those in later entries are not tried.
    pub async fn submit_in_order(
        &self,
        submissions: &[Submission],
        places: Places,
        deadline: Instant,
        wait: Duration,
    ) -> Outcomes {
        let places = Arc::new(places);
        let runs = submissions.chunks(self.run_commands_max);
        let mut encoded = runs.flat_map(EncodedSubmission::all).map(|encoded| self.short(encoded));
        let mut outcomes = Vec::with_capacity(submissions.len());
        let last_deadline = Instant::now() + RUNS_WAIT_MAX * wait;
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
            deadline = last_deadline.min(Instant::now() + wait);
            if deadline <= Instant::now() {
                stopped = stopped.or(Some(NotApplied::NoLeader));
            }
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
        let commands_max = commands_max(&self.apply_cost, self.run_commands_max);
        while run.len() < commands_max {
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

    pub(super) fn encode(&self, submission: &Submission) -> Result<EncodedSubmission, NotApplied> {
        self.short(EncodedSubmission::new(submission))
    }

    /// What an entry has room for.
    fn short(&self, encoded: Result<EncodedSubmission, CodecError>) -> Result<EncodedSubmission, NotApplied> {
        let encoded = encoded.map_err(|_| NotApplied::TooLarge)?;
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

pub(super) fn bytes(run: &[EncodedSubmission]) -> usize {
    run.iter().map(EncodedSubmission::len).sum()
}

pub(super) fn weight(command: &Command) -> usize {
    match command {
        Command::ConfirmBooking(_) | Command::CancelBooking(_) => BOOKING_CHANGE_WEIGHT,
        _ => 1,
    }
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
