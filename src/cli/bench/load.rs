//! The load itself: connections that ask, and what each measured.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until};

use super::house::House;
use super::{Kind, Mix};
use crate::cli::{output, progress};
use crate::client::{Call, Client, ClientError, Key, StatusChange, is_outcome};
use crate::ledger::ReservationId;

/// Latencies over this are counted as this: an hour, in microseconds.
const LATENCY_US_MAX: u64 = 3_600_000_000;
/// Three digits of every latency are kept.
const DIGITS: u8 = 3;
/// How much later than asked for tokio's timer, which counts whole milliseconds, may end a sleep.
const TIMER_SLACK: Duration = Duration::from_millis(2);
/// Reservations that a connection remembers, to read and cancel.
const OWN_MAX: usize = 10_000;
/// Without a rate, how long a connection rests after a request that was not answered.
const REST: Duration = Duration::from_millis(50);

/// What load is put on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    pub connections: u32,
    pub batch: u32,
    pub duration: Duration,
    pub mix: Mix,
    /// Requests a second of an open loop.
    pub rate: Option<f64>,
}

/// What came of the requests of one kind.
pub(super) struct Measured {
    pub kinds: BTreeMap<Kind, OfKind>,
    pub took: Duration,
    /// The first answer that is missing, in words.
    pub error: Option<String>,
}

pub(super) struct OfKind {
    /// Microseconds of each request, however many reservations it carried.
    pub latency: Histogram<u64>,
    /// Commands and reads that were answered, refusals included.
    pub answered: u64,
    pub refused: u64,
    /// Requests without an answer. Their latency, in an open loop, is how long they had waited at its end.
    pub errors: u64,
    /// Requests of an open loop that were due and not sent before its end. Their latency is how long they had waited then.
    pub unsent: u64,
}

impl OfKind {
    fn new() -> OfKind {
        let latency =
            Histogram::new_with_bounds(1, LATENCY_US_MAX, DIGITS).expect("bounds that fit the digits");
        OfKind { latency, answered: 0, refused: 0, errors: 0, unsent: 0 }
    }

    fn add(&mut self, other: &OfKind) {
        self.latency.add(&other.latency).expect("histograms of equal bounds");
        self.answered += other.answered;
        self.refused += other.refused;
        self.errors += other.errors;
        self.unsent += other.unsent;
    }
}

impl Measured {
    fn new() -> Measured {
        Measured { kinds: BTreeMap::new(), took: Duration::ZERO, error: None }
    }

    fn of(&mut self, kind: Kind) -> &mut OfKind {
        self.kinds.entry(kind).or_insert_with(OfKind::new)
    }

    pub fn all(&self) -> OfKind {
        let mut all = OfKind::new();
        self.kinds.values().for_each(|of_kind| all.add(of_kind));
        all
    }

    /// Of the requests that write, where there are any.
    pub fn median(&self) -> Duration {
        let writes = self.kinds.iter().filter(|(kind, _)| **kind != Kind::Read);
        let mut all = OfKind::new();
        writes.for_each(|(_, of_kind)| all.add(of_kind));
        Duration::from_micros(all.latency.value_at_quantile(0.5))
    }

    pub fn median_of(&self, kind: Kind) -> Option<Duration> {
        let of_kind = self.kinds.get(&kind).filter(|it| !it.latency.is_empty())?;
        Some(Duration::from_micros(of_kind.latency.value_at_quantile(0.5)))
    }

    /// The part of the requests of an open loop, due in `duration`, that was not sent or not answered.
    pub fn lag(&self, rate: Option<f64>, duration: Duration) -> Option<f64> {
        let due = rate? * duration.as_secs_f64();
        let all = self.all();
        Some((1.0 - (all.latency.len() - all.unsent - all.errors) as f64 / due).max(0.0))
    }
}

/// Puts the load on, and shows how it goes meanwhile.
pub(super) async fn run(client: &Client, house: &Arc<House>, plan: &Plan) -> Result<Measured, ClientError> {
    let answered = Arc::new(AtomicU64::new(0));
    let began = Instant::now();
    let end = began + plan.duration;
    let workers: Vec<_> = (0..plan.connections)
        .map(|index| {
            let worker = Worker {
                index,
                plan: *plan,
                client: client.separate(index as usize),
                house: Arc::clone(house),
                answered: Arc::clone(&answered),
                own: Vec::new(),
                measured: Measured::new(),
            };
            tokio::spawn(worker.work(began, end))
        })
        .collect();
    let watch = tokio::spawn(watch(Arc::clone(&answered), plan.duration));
    let mut all = Measured::new();
    for worker in workers {
        let measured = worker.await.expect("a worker ends by itself");
        for (kind, of_kind) in &measured.kinds {
            all.of(*kind).add(of_kind);
        }
        all.error = all.error.or(measured.error);
    }
    all.took = began.elapsed();
    watch.abort();
    Ok(all)
}

/// A bar of seconds with the speed of the last one; lines where nobody watches a terminal.
async fn watch(answered: Arc<AtomicU64>, duration: Duration) {
    let bar = progress::bar(duration.as_secs(), "s");
    let mut before = 0;
    for second in 1..=duration.as_secs() {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let now = answered.load(Ordering::Relaxed);
        let speed = format!("{}/s", now - before);
        before = now;
        if bar.is_hidden() {
            output::tell!("{second} s: {speed}");
        } else {
            bar.set_position(second);
            bar.set_message(speed);
        }
    }
}

/// One connection.
struct Worker {
    index: u32,
    plan: Plan,
    client: Client,
    house: Arc<House>,
    answered: Arc<AtomicU64>,
    /// Reservations that it made and did not cancel.
    own: Vec<ReservationId>,
    measured: Measured,
}

/// What one request brought.
#[derive(Default)]
struct Brought {
    answered: u64,
    refused: u64,
    /// Some of a batch have no answer, and why.
    unanswered: Option<String>,
}

impl Worker {
    async fn work(mut self, began: Instant, end: Instant) -> Measured {
        for turn in 0.. {
            // The turns of all connections follow one another evenly.
            let n = turn * u64::from(self.plan.connections) + u64::from(self.index);
            let due = match self.plan.rate {
                Some(rate) => began + Duration::from_secs_f64(n as f64 / rate),
                None => Instant::now(),
            };
            if due >= end {
                break;
            }
            if Instant::now() >= end {
                let of_kind = self.measured.of(self.plan.mix.kind(n));
                of_kind.unsent += 1;
                of_kind.latency.saturating_record((end - due).as_micros() as u64);
                continue;
            }
            let mut since = due;
            if self.plan.rate.is_some() && Instant::now() < due {
                // A closed loop has no sleep, which takes a millisecond at least.
                sleep_until(due).await;
                // It was free in time: what the timer took is not the cluster's.
                since = Instant::now().min(due + TIMER_SLACK);
            }
            self.turn(self.plan.mix.kind(n), since, end).await;
        }
        self.measured
    }

    /// Latency counts from `since`.
    async fn turn(&mut self, kind: Kind, since: Instant, end: Instant) {
        // What there is not, can't be read or canceled.
        let kind = if self.own.is_empty() { Kind::Reserve } else { kind };
        let sent = match (kind, self.plan.batch) {
            (Kind::Read, _) => self.read().await,
            (Kind::Reserve, 1) => self.reserve().await,
            (Kind::Cancel, 1) => self.cancel().await,
            (Kind::Reserve, batch) => self.reserve_many(batch).await,
            (Kind::Cancel, batch) => self.cancel_many(batch).await,
        };
        let took = since.elapsed().as_micros() as u64;
        let of_kind = self.measured.of(kind);
        let unanswered = match sent {
            Ok(brought) => {
                of_kind.answered += brought.answered;
                of_kind.refused += brought.refused;
                self.answered.fetch_add(brought.answered, Ordering::Relaxed);
                brought.unanswered
            }
            Err(error) => Some(error.to_string()),
        };
        match unanswered {
            None => of_kind.latency.saturating_record(took.max(1)),
            Some(error) => {
                of_kind.errors += 1;
                self.measured.error.get_or_insert(error);
                if self.plan.rate.is_some() {
                    // One that failed soon would make the load look quick: it has no answer at the end either.
                    let left = end.saturating_duration_since(since).as_micros() as u64;
                    let unanswered = took.max(left);
                    self.measured.of(kind).latency.saturating_record(unanswered);
                } else {
                    tokio::time::sleep(REST).await;
                }
            }
        }
    }

    async fn reserve(&mut self) -> Result<Brought, ClientError> {
        let made = self.client.reserve(&self.house.property, &self.house.stay(), Key::Fresh).await;
        let id = counted(made.map(|answer| answer.value.id))?;
        id.into_iter().for_each(|id| self.remember(id));
        Ok(Brought { answered: 1, refused: u64::from(id.is_none()), unanswered: None })
    }

    async fn cancel(&mut self) -> Result<Brought, ClientError> {
        let Some(id) = self.own.pop() else { return Ok(Brought::default()) };
        let changed = counted(self.client.change(id, StatusChange::Cancel, None, Key::Fresh).await)?;
        Ok(Brought { answered: 1, refused: u64::from(changed.is_none()), unanswered: None })
    }

    async fn read(&mut self) -> Result<Brought, ClientError> {
        let Some(id) = self.own.last() else { return Ok(Brought::default()) };
        let shown = counted(self.client.reservation(*id).await)?;
        Ok(Brought { answered: 1, refused: u64::from(shown.is_none()), unanswered: None })
    }

    async fn reserve_many(&mut self, batch: u32) -> Result<Brought, ClientError> {
        let commands = (0..batch).map(|_| {
            let mut command = json!(self.house.stay());
            command["op"] = json!("reserve");
            command["property"] = json!(self.house.property);
            keyed(command)
        });
        let results = self.send_many(commands.collect()).await?;
        let made = results.iter().filter_map(|result| result.id);
        made.for_each(|id| self.remember(id));
        Ok(brought(&results))
    }

    async fn cancel_many(&mut self, batch: u32) -> Result<Brought, ClientError> {
        let from = self.own.len().saturating_sub(batch as usize);
        let commands = self.own.split_off(from).into_iter();
        let commands = commands.map(|id| keyed(json!({"op": "cancel", "reservation": id})));
        Ok(brought(&self.send_many(commands.collect()).await?))
    }

    async fn send_many(&self, commands: Vec<Value>) -> Result<Vec<OneResult>, ClientError> {
        let call = Call::post(["batch"], Some(&json!({ "commands": commands }))).key(Key::None);
        let answer = self.client.send::<Results>(call.query("return", "minimal").long()).await?;
        Ok(answer.value.results)
    }

    fn remember(&mut self, id: ReservationId) {
        if self.own.len() < OWN_MAX {
            self.own.push(id);
        }
    }
}

fn keyed(mut command: Value) -> Value {
    command["idempotency_key"] = json!(uuid::Uuid::now_v7());
    command
}

/// A refusal is an answer; one that says "not now" to the end is not.
fn counted<T>(sent: Result<T, ClientError>) -> Result<Option<T>, ClientError> {
    match sent {
        Ok(value) => Ok(Some(value)),
        Err(ClientError::Refused(refused)) if refused.is_outcome() => Ok(None),
        Err(error) => Err(error),
    }
}

#[derive(Deserialize)]
struct Results {
    results: Vec<OneResult>,
}

#[derive(Deserialize)]
struct OneResult {
    status: u16,
    #[serde(default)]
    id: Option<ReservationId>,
}

fn brought(results: &[OneResult]) -> Brought {
    let answered = results.iter().filter(|result| is_outcome(result.status));
    let refused = results.iter().filter(|result| is_outcome(result.status) && result.status >= 300);
    let unanswered = results.iter().find(|result| !is_outcome(result.status));
    Brought {
        answered: answered.count() as u64,
        refused: refused.count() as u64,
        unanswered: unanswered
            .map(|it| format!("a command of a batch had no answer but status {}", it.status)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_answered_was_not_kept_up_with() {
        let mut measured = Measured::new();
        let of_kind = measured.of(Kind::Reserve);
        (0..100).for_each(|_| of_kind.latency.record(1_000).unwrap());
        assert_eq!(measured.lag(None, Duration::from_secs(1)), None);
        assert_eq!(measured.lag(Some(100.0), Duration::from_secs(1)), Some(0.0));
        (measured.of(Kind::Reserve).errors, measured.of(Kind::Reserve).unsent) = (30, 20);
        assert_eq!(measured.lag(Some(100.0), Duration::from_secs(1)), Some(0.5));
    }

    #[test]
    fn a_batch_of_which_one_has_no_answer_has_none() {
        let result = |status| OneResult { status, id: None };
        let some = brought(&[result(201), result(409), result(503)]);
        assert_eq!((some.answered, some.refused), (2, 1));
        assert!(some.unanswered.is_some_and(|why| why.contains("503")));
        assert_eq!(brought(&[result(201), result(409)]).unanswered, None);
    }
}
