//! The clients: they book, confirm, cancel and look, at any node, and retry what they do not know under the same key.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::http::Method;
use bytes::Bytes;
use innkeeper::ledger::{Date, Lsn, Status};
use innkeeper::replication::NodeId;
use innkeeper::wire;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use serde_json::json;
use tokio::runtime::Runtime;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::history::{Answered, Call, History, Operation, Outcome, Reply, Wanted};
use super::machine::{STEP, runtime};
use super::network::{Answer, CLIENTS, HttpAnswer, HttpRequest, Network, Question};
use super::trace::Trace;

pub const PROPERTY: &str = "inn";
/// Sold by room.
pub const ROOMS: [&str; 3] = ["101", "102", "103"];
/// Sold by type; no room of it is ever asked for by name.
pub const TYPE: &str = "double";
pub const TYPE_ROOMS: [&str; 2] = ["201", "202"];
/// The guest of what was reserved without a key.
const ALONE: &str = "alone";
/// Stays lie within these nights.
const NIGHTS: i32 = 6;
const STAY_NIGHTS_MAX: i32 = 3;
/// A little more than a node gives itself.
const ANSWER_WAIT: Duration = Duration::from_secs(2);
const ATTEMPTS: usize = 4;
const KNOWN_MAX: usize = 12;

fn first_night() -> Date {
    "2027-02-01".parse().expect("a date")
}

/// What all clients share.
#[derive(Clone)]
pub struct Desk {
    network: Network,
    nodes: u64,
    history: Arc<Mutex<History>>,
    trace: Arc<Mutex<Trace>>,
    epoch: Instant,
    is_open: Arc<Mutex<bool>>,
}

pub struct Clients {
    runtime: Runtime,
    desk: Desk,
}

impl Clients {
    pub fn new(network: Network, nodes: u64, trace: Arc<Mutex<Trace>>, seed: u64) -> Clients {
        let runtime = runtime(seed);
        let epoch = runtime.block_on(async { Instant::now() });
        let history = Arc::new(Mutex::new(History::default()));
        let desk = Desk { network, nodes, history, trace, epoch, is_open: Arc::new(Mutex::new(true)) };
        Clients { runtime, desk }
    }

    pub fn step(&self) {
        self.runtime.block_on(async { sleep(STEP).await });
    }

    pub fn history(&self) -> Arc<Mutex<History>> {
        self.desk.history.clone()
    }

    /// Runs `work` beside the simulation; the slot is filled when it is done.
    pub fn spawn<T: Send + 'static, F>(&self, work: impl FnOnce(Desk) -> F) -> Arc<Mutex<Option<T>>>
    where
        F: Future<Output = T> + Send + 'static,
    {
        let slot = Arc::new(Mutex::new(None));
        let (filled, work) = (slot.clone(), work(self.desk.clone()));
        self.runtime.spawn(async move {
            let done = work.await;
            *filled.lock().expect("one thread") = Some(done);
        });
        slot
    }

    /// Clients that go on until [`Clients::close`].
    pub fn open(&self, count: u64, seed: u64) -> Vec<Arc<Mutex<Option<()>>>> {
        *self.desk.is_open.lock().expect("one thread") = true;
        let client = |n: u64| self.spawn(|desk| desk.client(StdRng::seed_from_u64(seed ^ (n << 40))));
        (1..=count).map(client).collect()
    }

    /// Clients end the operation that they have begun, and then go.
    pub fn close(&self) {
        *self.desk.is_open.lock().expect("one thread") = false;
    }
}

impl Desk {
    fn now_ms(&self) -> u64 {
        self.epoch.elapsed().as_millis() as u64
    }

    /// How many nodes there are to ask.
    pub fn nodes(&self) -> u64 {
        self.nodes
    }

    /// Whether clients go on.
    pub fn is_open(&self) -> bool {
        *self.is_open.lock().expect("one thread")
    }

    /// Asks one node once.
    pub async fn ask(&self, node: NodeId, request: HttpRequest) -> Option<Answer> {
        self.network.ask(CLIENTS, node, Question::Http(request), ANSWER_WAIT).await
    }

    /// Defines the house, whatever it takes.
    pub async fn define_house(self) {
        let mut puts = vec![
            (
                format!("/v1/properties/{PROPERTY}"),
                json!({"name": "Inn", "location": "Here", "time_zone": "UTC", "currency": "EUR", "business_date": "2027-01-15"}),
            ),
            (
                format!("/v1/properties/{PROPERTY}/room-types/single"),
                json!({"name": "S", "max_occupancy": 1}),
            ),
            (
                format!("/v1/properties/{PROPERTY}/room-types/{TYPE}"),
                json!({"name": "D", "max_occupancy": 1}),
            ),
        ];
        for (room_type, rooms) in [("single", &ROOMS[..]), (TYPE, &TYPE_ROOMS[..])] {
            for room in rooms {
                puts.push((
                    format!("/v1/properties/{PROPERTY}/rooms/{room}"),
                    json!({"room_type": room_type}),
                ));
            }
            let rates = json!({"room_type": room_type, "from": "2027-01-01", "to": "2028-01-01", "prices": {"EUR": {"1": 10_000}}});
            puts.push((format!("/v1/properties/{PROPERTY}/rates"), rates));
        }
        for (n, (path, body)) in puts.into_iter().enumerate() {
            let request = HttpRequest {
                method: Method::PUT,
                path,
                key: Some(format!("house-{n}")),
                body: body.to_string().into(),
            };
            for node in (1..=self.nodes).cycle() {
                if let Some(Answer::Http(answer)) = self.ask(node, request.clone()).await
                    && answer.status.is_success()
                {
                    break;
                }
                sleep(Duration::from_millis(50)).await;
            }
        }
    }

    async fn client(self, mut random: StdRng) {
        let mut known: Vec<Uuid> = Vec::new();
        loop {
            sleep(Duration::from_millis(random.random_range(1..60))).await;
            if !self.is_open() {
                return;
            }
            let call = choose(&mut random, &known);
            let answered = self.operate(call.clone(), &mut random).await;
            match answered.map(|answered| answered.reply) {
                Some(Reply::Reservation(it)) if it.status == Status::Canceled => {
                    known.retain(|id| *id != it.id.0)
                }
                Some(Reply::Reservation(it)) if matches!(call, Call::Reserve { keyed: true, .. }) => {
                    known.push(it.id.0)
                }
                // Others' reservations too: clients get into each other's way.
                Some(Reply::Reservations(all)) => {
                    let live: Vec<Uuid> = all
                        .iter()
                        .filter(|it| it.status.is_live() && it.guest != ALONE)
                        .map(|it| it.id.0)
                        .collect();
                    known.extend(live.choose(&mut random));
                }
                _ => {}
            }
            if known.len() > KNOWN_MAX {
                known.remove(0);
            }
        }
    }

    /// Carries out one operation, with retries, and records it.
    async fn operate(&self, call: Call, random: &mut StdRng) -> Option<Answered> {
        let number = {
            let mut history = self.history.lock().expect("one thread");
            let number = history.operations.len();
            let now_ms = self.now_ms();
            let outcome = Outcome::Unknown;
            let call = call.clone();
            history.operations.push(Operation {
                number,
                call,
                began_ms: now_ms,
                ended_ms: u64::MAX,
                outcome,
            });
            number
        };
        self.tell(format_args!("#{number} {call:?}"));
        let mut outcome = Outcome::NothingHappened;
        for _ in 0..ATTEMPTS {
            let node = random.random_range(1..=self.nodes);
            match self.attempt(number, &call, node).await {
                answered @ Outcome::Answered(_) => {
                    outcome = answered;
                    break;
                }
                Outcome::Unknown if call.is_keyless() => {
                    outcome = Outcome::Unknown;
                    break;
                }
                Outcome::Unknown => outcome = Outcome::Unknown,
                Outcome::NothingHappened => {}
            }
            sleep(Duration::from_millis(random.random_range(1..200))).await;
        }
        self.record(number, outcome.clone());
        match outcome {
            Outcome::Answered(answered) => Some(answered),
            _ => None,
        }
    }

    fn record(&self, number: usize, outcome: Outcome) {
        self.tell(format_args!("#{number} {}", told(&outcome)));
        let mut history = self.history.lock().expect("one thread");
        let operation = &mut history.operations[number];
        operation.ended_ms = self.now_ms();
        operation.outcome = outcome;
    }

    fn tell(&self, what: std::fmt::Arguments<'_>) {
        self.trace.lock().expect("one thread").event(self.now_ms(), what);
    }

    async fn attempt(&self, number: usize, call: &Call, node: NodeId) -> Outcome {
        let answer = self.ask(node, request(number, call)).await;
        match answer {
            Some(Answer::Http(answer)) => read_answer(answer),
            Some(Answer::Refused) => Outcome::NothingHappened,
            _ => Outcome::Unknown,
        }
    }

    /// Retries every operation whose outcome is unknown until it is known. Returns how many there were.
    pub async fn resolve_unknown(self) -> usize {
        let unknown: Vec<(usize, Call)> = {
            let history = self.history.lock().expect("one thread");
            let is_unknown = |it: &&Operation| {
                matches!(it.outcome, Outcome::Unknown) && it.call.is_write() && !it.call.is_keyless()
            };
            history.operations.iter().filter(is_unknown).map(|it| (it.number, it.call.clone())).collect()
        };
        let count = unknown.len();
        for (number, call) in unknown {
            for node in (1..=self.nodes).cycle() {
                let outcome = self.attempt(number, &call, node).await;
                if matches!(outcome, Outcome::Answered(_)) {
                    self.record(number, outcome);
                    break;
                }
                sleep(Duration::from_millis(20)).await;
            }
        }
        count
    }

    /// A write through this node, retried until it has an outcome.
    pub async fn write_at(self, node: NodeId) {
        let number = {
            let mut history = self.history.lock().expect("one thread");
            let number = history.operations.len();
            // A name of its own, so that it takes nobody's nights: its outcome is a refusal, which is logged as well.
            let call = Call::Cancel(Uuid::from_u128(number as u128));
            let (began_ms, outcome) = (self.now_ms(), Outcome::Unknown);
            history.operations.push(Operation { number, call, began_ms, ended_ms: u64::MAX, outcome });
            number
        };
        let call = Call::Cancel(Uuid::from_u128(number as u128));
        loop {
            let outcome = self.attempt(number, &call, node).await;
            if matches!(outcome, Outcome::Answered(_)) {
                return self.record(number, outcome);
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// What this node shows, confirmed by the leader.
    pub async fn list_at(self, node: NodeId) -> Answered {
        loop {
            let answer = self.attempt(0, &Call::List { local: false }, node).await;
            if let Outcome::Answered(answered) = answer {
                return answered;
            }
            sleep(Duration::from_millis(20)).await;
        }
    }
}

fn choose(random: &mut StdRng, known: &[Uuid]) -> Call {
    let stay = |random: &mut StdRng| {
        let from = random.random_range(0..NIGHTS);
        let nights = random.random_range(1..=STAY_NIGHTS_MAX.min(NIGHTS - from));
        (first_night().plus(from), first_night().plus(from + nights))
    };
    let one = |random: &mut StdRng| known.choose(random).copied();
    let dice = random.random_range(0..100);
    match (dice, one(random)) {
        (0..12, Some(id)) => Call::Confirm(id),
        (12..32, Some(id)) => Call::Cancel(id),
        (32..40, Some(id)) => {
            let (arrival, departure) = stay(random);
            Call::Amend { id, arrival, departure }
        }
        (40..48, Some(id)) => Call::Show(id),
        (48..58, _) => Call::List { local: false },
        (58..62, _) => Call::List { local: true },
        _ => {
            let by_room = random.random_bool(0.65);
            let wanted = if by_room {
                Wanted::Room(ROOMS[random.random_range(0..ROOMS.len())])
            } else {
                Wanted::Type(TYPE)
            };
            let (arrival, departure) = stay(random);
            let hold_seconds = random.random_bool(0.4).then(|| random.random_range(1..5));
            let keyed = hold_seconds.is_some() || random.random_bool(0.6);
            Call::Reserve { wanted, arrival, departure, hold_seconds, keyed }
        }
    }
}

fn request(number: usize, call: &Call) -> HttpRequest {
    let key = Some(format!("op-{number}"));
    let (method, path, key, body) = match call {
        Call::Reserve { wanted, arrival, departure, hold_seconds, keyed } => {
            let (guest, key) = if *keyed { ("g", key) } else { (ALONE, None) };
            let mut body = json!({
                "guest": guest, "arrival": arrival, "departure": departure, "occupancy": 1,
                "hold_seconds": hold_seconds, "external_ref": format!("op-{number}"),
            });
            match wanted {
                Wanted::Room(room) => body["room"] = json!(room),
                Wanted::Type(room_type) => body["room_type"] = json!(room_type),
            }
            (Method::POST, format!("/v1/properties/{PROPERTY}/reservations"), key, body.to_string())
        }
        Call::Confirm(id) => (Method::POST, format!("/v1/reservations/{id}/confirm"), key, String::new()),
        Call::Cancel(id) => (Method::POST, format!("/v1/reservations/{id}/cancel"), key, String::new()),
        Call::Amend { id, arrival, departure } => {
            let body = json!({"arrival": arrival, "departure": departure});
            (Method::PATCH, format!("/v1/reservations/{id}"), key, body.to_string())
        }
        Call::Show(id) => (Method::GET, format!("/v1/reservations/{id}"), None, String::new()),
        Call::List { local } => {
            let consistency = if *local { "local" } else { "linearizable" };
            let path = format!("/v1/properties/{PROPERTY}/reservations?limit=1000&consistency={consistency}");
            (Method::GET, path, None, String::new())
        }
    };
    HttpRequest { method, path, key, body: Bytes::from(body) }
}

fn read_answer(answer: HttpAnswer) -> Outcome {
    let header = |name: &str| answer.headers.get(name).and_then(|value| value.to_str().ok());
    let lsn = Lsn(header("innkeeper-lsn").and_then(|text| text.parse().ok()).unwrap_or(0));
    let replayed = header("idempotent-replayed") == Some("true");
    let reply = if answer.status.is_success() {
        match serde_json::from_slice::<wire::Reservations>(&answer.body) {
            Ok(page) => Reply::Reservations(page.reservations),
            Err(_) => {
                Reply::Reservation(serde_json::from_slice(&answer.body).expect("an answer of the contract"))
            }
        }
    } else {
        let problem: wire::Problem = serde_json::from_slice(&answer.body).expect("a problem of the contract");
        match problem.code.as_str() {
            "no_leader" | "overloaded" | "too_stale" | "not_ready" => return Outcome::NothingHappened,
            "outcome_unknown" => return Outcome::Unknown,
            _ => Reply::Refused(Box::new(problem)),
        }
    };
    Outcome::Answered(Answered { lsn, replayed, reply })
}

fn told(outcome: &Outcome) -> String {
    match outcome {
        Outcome::NothingHappened => "nothing happened".into(),
        Outcome::Unknown => "unknown".into(),
        Outcome::Answered(Answered { lsn, replayed, reply }) => {
            let replayed = if *replayed { ", replayed" } else { "" };
            let reply = match reply {
                Reply::Reservation(it) => {
                    format!(
                        "{} {:?} in {:?}, its LSN {}",
                        it.id,
                        it.status,
                        it.room.as_ref().map(|room| room.as_str()),
                        it.lsn
                    )
                }
                Reply::Reservations(all) => format!("{} reservations", all.len()),
                Reply::Refused(problem) => problem.code.clone(),
            };
            format!("at LSN {lsn}{replayed}: {reply}")
        }
    }
}
