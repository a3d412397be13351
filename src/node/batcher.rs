//! Filling entries of the log: what waits is gathered until it is worth one.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore, mpsc};
use tokio::task::yield_now;
use tokio::time::{Instant, sleep};

use super::Node;
use super::admission::Admission;
use super::config::Limits;
use super::dispatch::dispatch;
use super::submit::Pending;
use crate::replication::ApplyCost;

/// Bytes that an entry of the log needs beside its commands. All builds of a cluster count with the same: a follower fills
/// what it forwards up to here.
pub(super) const BATCH_OVERHEAD_BYTES: usize = 256;

/// While a batch is under way, the next waits for so many commands, or until nothing is under way any more, and no longer
/// than this. An entry costs every node a flush and every link a message, whatever it holds: few large ones carry more
/// than many small ones, and under light load nothing is under way.
const WORTH_AN_ENTRY: usize = 128;
const GATHER_WAIT: Duration = Duration::from_millis(5);
/// How long an entry waits, where nothing is under way, for as many commands as the last one took. tokio's timer counts
/// whole milliseconds: it may be twice that.
const COMPANY_WAIT: Duration = Duration::from_millis(1);

/// How long applying one entry may hold up everybody else. Of commands that are dear, such as those that have a small and
/// crowded house searched, an entry takes as many as are applied in that time, but never fewer than the least.
const APPLY_WAIT: Duration = Duration::from_millis(50);
const COMMANDS_LEAST: usize = 16;

/// The other end of the queue, for [`Batcher::run`].
pub struct Batcher {
    queue: mpsc::Receiver<Pending>,
    admission: Arc<Admission>,
    in_flight: Arc<Semaphore>,
    /// Told when a batch has been answered.
    answered: Arc<Notify>,
    /// Commands that the next batch may hope for: those of the last, or half of what was hoped for then.
    expected: usize,
    apply_cost: Arc<ApplyCost>,
    limits: Limits,
}

/// As many commands as one entry may hold, at what they cost of late.
pub(super) fn commands_max(apply_cost: &ApplyCost, most: usize) -> usize {
    apply_cost.commands_in(APPLY_WAIT).max(COMMANDS_LEAST).min(most)
}

impl Batcher {
    pub(super) fn new(
        queue: mpsc::Receiver<Pending>,
        admission: Arc<Admission>,
        apply_cost: Arc<ApplyCost>,
        limits: &Limits,
    ) -> Batcher {
        let in_flight = Arc::new(Semaphore::new(limits.batches_in_flight_max));
        Batcher {
            queue,
            admission,
            in_flight,
            answered: Arc::default(),
            expected: 0,
            apply_cost,
            limits: limits.clone(),
        }
    }

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
        // One timer for all turns: each would be entered and taken out of the runtime's by itself.
        let mut time_is_up = pin!(sleep(GATHER_WAIT));
        let mut commands: usize = waiting.iter().map(|pending| pending.submissions.len()).sum();
        while commands < self.worth_an_entry() && self.is_any_under_way() {
            tokio::select! {
                biased;
                next = self.queue.recv() => {
                    let Some(next) = next else { return };
                    commands += put_behind(waiting, next);
                }
                () = self.answered.notified() => {}
                () = &mut time_is_up => return,
            }
        }
        self.wait_for_company(waiting, commands).await;
    }

    /// Waits for those who are about to ask: who was answered by one entry comes back for the next, and the first of them
    /// must not travel alone. As many as the last entry took are waited for, a moment, and then whoever each turn of the
    /// runtime brings.
    async fn wait_for_company(&mut self, waiting: &mut VecDeque<Pending>, mut commands: usize) {
        let mut time_is_up = pin!(sleep(COMPANY_WAIT));
        while commands < self.expected.min(self.worth_an_entry()) {
            tokio::select! {
                biased;
                next = self.queue.recv() => {
                    let Some(next) = next else { return };
                    commands += put_behind(waiting, next);
                }
                () = &mut time_is_up => break,
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

    fn worth_an_entry(&self) -> usize {
        WORTH_AN_ENTRY.min(commands_max(&self.apply_cost, self.limits.batch_commands_max))
    }

    fn is_any_under_way(&self) -> bool {
        self.in_flight.available_permits() < self.limits.batches_in_flight_max
    }

    /// Takes as many runs as one entry may hold, one at least. What does not fit stays in `waiting`.
    fn fill(&mut self, waiting: &mut VecDeque<Pending>) -> Vec<Pending> {
        let mut batch = Vec::new();
        let (mut weight, mut commands, mut bytes) = (0, 0, BATCH_OVERHEAD_BYTES);
        let commands_max = commands_max(&self.apply_cost, self.limits.batch_commands_max);
        while weight < self.limits.batch_commands_max && commands < commands_max {
            let Some(next) = waiting.pop_front().or_else(|| self.queue.try_recv().ok()) else { break };
            weight += next.weight;
            commands += next.submissions.len();
            bytes += next.bytes;
            let fits = weight <= self.limits.batch_commands_max
                && commands <= commands_max
                && bytes <= self.limits.batch_bytes_max;
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

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::super::admission::Origin;
    use super::super::submit::{bytes, queue, weight};
    use super::*;
    use crate::ledger::{BookingChange, BookingId, Command, Submission};

    #[tokio::test]
    async fn an_entry_holds_few_commands_that_are_dear() {
        let limits = Limits::default();
        let apply_cost = Arc::new(ApplyCost::default());
        let (submitter, mut batcher) = queue(&limits, apply_cost.clone());
        let command = Command::CancelBooking(BookingChange { booking: BookingId(uuid::Uuid::nil()) });
        let submission = Submission { key: None, command };
        let deadline = Instant::now();
        let mut waiting: VecDeque<Pending> = VecDeque::new();
        let wait = |waiting: &mut VecDeque<Pending>, weight| {
            let submissions = vec![submitter.encode(&submission).unwrap()];
            let (bytes, answer, origin) = (bytes(&submissions), oneshot::channel().0, Origin::Own);
            waiting.push_back(Pending { submissions, weight, bytes, deadline, origin, answer, places: None });
        };
        (0..40).for_each(|_| wait(&mut waiting, weight(&submission.command)));
        let filled: Vec<usize> = (0..4).map(|_| batcher.fill(&mut waiting).len()).collect();
        assert_eq!(filled, [16, 16, 8, 0]);
        // Commands that took 2 ms each: one entry of them shall not take seconds.
        apply_cost.add(100, Duration::from_millis(200));
        (0..60).for_each(|_| wait(&mut waiting, 1));
        let filled: Vec<usize> = (0..4).map(|_| batcher.fill(&mut waiting).len()).collect();
        assert_eq!(filled, [25, 25, 10, 0]);
        // What a command weighs has nothing to do with what it cost.
        (0..20).for_each(|_| wait(&mut waiting, weight(&submission.command)));
        let filled: Vec<usize> = (0..2).map(|_| batcher.fill(&mut waiting).len()).collect();
        assert_eq!(filled, [16, 4]);
        apply_cost.add(100, Duration::from_secs(100));
        (0..20).for_each(|_| wait(&mut waiting, 1));
        let filled: Vec<usize> = (0..2).map(|_| batcher.fill(&mut waiting).len()).collect();
        assert_eq!(filled, [16, 4]);
    }
}
