//! The network between the machines, and between them and their clients: it delays, loses, repeats, reorders and parts.
//!
//! Exchanges of a question and an answer, as over HTTP. A lost message is silence until the asker's deadline; a machine
//! that is down refuses; a machine that dies may reset what it had not answered.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::http::{HeaderMap, Method, StatusCode};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use innkeeper::replication::{Envelope, Kind, Lost, NodeId, Request, Transport, decode};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::builds::Build;

/// The clients' machine; nodes are 1, 2, ….
pub const CLIENTS: NodeId = 0;

#[derive(Clone, Debug)]
pub struct HttpRequest {
    pub method: Method,
    pub path: String,
    pub key: Option<String>,
    pub body: Bytes,
}

#[derive(Clone, Debug)]
pub struct HttpAnswer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

#[derive(Clone)]
pub enum Question {
    Frame(Bytes),
    Http(HttpRequest),
}

impl Question {
    /// A write without a key is not protected from being done twice, so its client takes care to send it once; and so
    /// does the node that forwards it.
    fn may_be_repeated(&self) -> bool {
        match self {
            Question::Frame(frame) => {
                let asked = decode::<Envelope<Request>>(Kind::Peer, frame);
                !asked.is_ok_and(|envelope| matches!(envelope.body, Request::Submit(_)))
            }
            Question::Http(request) => request.key.is_some() || request.method == Method::GET,
        }
    }
}

pub enum Answer {
    Frame(Bytes),
    Http(HttpAnswer),
    /// Nobody listens there.
    Refused,
    /// The machine died with the question.
    Reset,
}

impl Answer {
    /// Whether it says that nothing happened, or that nobody knows.
    fn denies(&self) -> bool {
        match self {
            Answer::Refused => true,
            Answer::Http(answer) => [429, 503].contains(&answer.status.as_u16()),
            Answer::Frame(_) | Answer::Reset => false,
        }
    }
}

/// What is to happen at a machine.
pub struct Delivery {
    pub exchange: u64,
    pub to: NodeId,
    pub question: Question,
}

enum InFlight {
    Question(Delivery),
    Answer { exchange: u64, from: NodeId, answer: Answer },
}

struct Exchange {
    asker: NodeId,
    answerer: NodeId,
    sender: oneshot::Sender<Answer>,
    /// A client's write is under way twice.
    is_write_twice: bool,
}

/// How bad the network is.
#[derive(Clone, Copy, Debug)]
pub struct Weather {
    pub delay_ms_max: u64,
    /// Per thousand messages.
    pub lost: u32,
    pub repeated: u32,
}

impl Weather {
    pub const FAIR: Weather = Weather { delay_ms_max: 2, lost: 0, repeated: 0 };
}

struct State {
    now_ms: u64,
    random: StdRng,
    weather: Weather,
    /// Pairs of sender and receiver whose messages do not arrive.
    cut: BTreeSet<(NodeId, NodeId)>,
    in_flight: BTreeMap<(u64, u64), InFlight>,
    exchanges: BTreeMap<u64, Exchange>,
    next: u64,
}

#[derive(Clone)]
pub struct Network {
    state: Arc<Mutex<State>>,
}

impl Network {
    pub fn new(seed: u64) -> Network {
        let state = State {
            now_ms: 0,
            random: StdRng::seed_from_u64(seed),
            weather: Weather::FAIR,
            cut: BTreeSet::new(),
            in_flight: BTreeMap::new(),
            exchanges: BTreeMap::new(),
            next: 0,
        };
        Network { state: Arc::new(Mutex::new(state)) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("one thread")
    }

    pub fn set_weather(&self, weather: Weather) {
        self.state().weather = weather;
    }

    /// Messages of these pairs, sender first, do not arrive; all others do.
    pub fn cut(&self, pairs: BTreeSet<(NodeId, NodeId)>) {
        self.state().cut = pairs;
    }

    /// Asks from one machine another. Called, and awaited, inside the asker's runtime.
    pub async fn ask(
        &self,
        from: NodeId,
        to: NodeId,
        question: Question,
        deadline: Duration,
    ) -> Option<Answer> {
        let (sender, answer) = oneshot::channel();
        self.state().send_question(from, to, question, sender);
        let answered = timeout(deadline, async {
            match answer.await {
                Ok(answer) => answer,
                // Lost: nothing ever comes.
                Err(_) => std::future::pending().await,
            }
        });
        answered.await.ok()
    }

    /// Answers a question that was delivered.
    pub fn answer(&self, exchange: u64, answer: Answer) {
        self.state().send_answer(exchange, answer);
    }

    /// What arrives now, in order. Answers are handed over; questions are the caller's to deliver.
    pub fn arrivals(&self, now_ms: u64) -> Vec<Delivery> {
        let mut state = self.state();
        state.now_ms = now_ms;
        let later = state.in_flight.split_off(&(now_ms + 1, 0));
        let due = std::mem::replace(&mut state.in_flight, later);
        let mut deliveries = Vec::new();
        for in_flight in due.into_values() {
            match in_flight {
                InFlight::Question(delivery) => {
                    let asker = state.exchanges.get(&delivery.exchange).map(|exchange| exchange.asker);
                    // A cut that came while the message was under way takes it too. One whose exchange is over already
                    // was repeated, and arrives all the same.
                    if asker.is_none_or(|asker| !state.cut.contains(&(asker, delivery.to))) {
                        deliveries.push(delivery);
                    }
                }
                InFlight::Answer { exchange, from, answer } => {
                    let Some(known) = state.exchanges.get(&exchange) else { continue };
                    if state.cut.contains(&(from, known.asker)) {
                        continue;
                    }
                    // True of the one that was answered, and not of the other: the client waits for more.
                    if known.is_write_twice && answer.denies() {
                        continue;
                    }
                    if let Some(exchange) = state.exchanges.remove(&exchange) {
                        // The asker may have given up.
                        drop(exchange.sender.send(answer));
                    }
                }
            }
        }
        state.exchanges.retain(|_, exchange| !exchange.sender.is_closed());
        deliveries
    }

    /// The machine's process is gone: what it asked is forgotten, what it was asked may be reset.
    pub fn died(&self, node: NodeId, resets: bool) {
        let mut state = self.state();
        state.exchanges.retain(|_, exchange| exchange.asker != node);
        let asked: Vec<u64> = (state.exchanges.iter())
            .filter(|(_, exchange)| exchange.answerer == node)
            .map(|(id, _)| *id)
            .collect();
        let arrived = |state: &State, id: u64| {
            !state.in_flight.values().any(|in_flight| match in_flight {
                InFlight::Question(delivery) => delivery.exchange == id,
                InFlight::Answer { exchange, .. } => *exchange == id,
            })
        };
        for id in asked {
            if resets && arrived(&state, id) {
                state.send_answer(id, Answer::Reset);
            }
        }
    }
}

impl State {
    fn send_question(
        &mut self,
        asker: NodeId,
        to: NodeId,
        question: Question,
        sender: oneshot::Sender<Answer>,
    ) {
        let exchange = self.number();
        self.exchanges.insert(exchange, Exchange { asker, answerer: to, sender, is_write_twice: false });
        if self.cut.contains(&(asker, to)) || self.is_lost() {
            return;
        }
        let repeated = self.weather.repeated;
        let is_repeated = self.random.random_range(0..1_000) < repeated;
        if is_repeated && question.may_be_repeated() {
            if let (Question::Http(request), Some(known)) = (&question, self.exchanges.get_mut(&exchange)) {
                known.is_write_twice = request.method != Method::GET;
            }
            let question = question.clone();
            self.put(InFlight::Question(Delivery { exchange, to, question }));
        }
        self.put(InFlight::Question(Delivery { exchange, to, question }));
    }

    fn send_answer(&mut self, id: u64, answer: Answer) {
        let Some(exchange) = self.exchanges.get(&id) else { return };
        let (from, asker) = (exchange.answerer, exchange.asker);
        if self.cut.contains(&(from, asker)) || self.is_lost() {
            return;
        }
        self.put(InFlight::Answer { exchange: id, from, answer });
    }

    fn is_lost(&mut self) -> bool {
        let lost = self.weather.lost;
        self.random.random_range(0..1_000) < lost
    }

    /// Messages overtake one another where their delays say so.
    fn put(&mut self, in_flight: InFlight) {
        let delay = self.random.random_range(0..=self.weather.delay_ms_max);
        let at = (self.now_ms + 1 + delay, self.number());
        self.in_flight.insert(at, in_flight);
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }
}

/// Peer addresses are `node-<id>:7200`.
pub fn peer_addr(node: NodeId) -> String {
    format!("node-{node}:7200")
}

/// What a node speaks to its peers through.
pub struct SimulatedTransport {
    pub from: NodeId,
    pub build: Build,
    pub network: Network,
}

impl Transport for SimulatedTransport {
    fn exchange(
        &self,
        address: &str,
        frame: Bytes,
        deadline: Duration,
    ) -> BoxFuture<'static, Result<Bytes, Lost>> {
        let (network, from, build) = (self.network.clone(), self.from, self.build);
        let address = address.to_owned();
        let to = address
            .strip_prefix("node-")
            .and_then(|rest| rest.split(':').next())
            .and_then(|id| id.parse().ok());
        let to: NodeId = to.expect("addresses are those of the simulation");
        Box::pin(async move {
            match network.ask(from, to, Question::Frame(build.says(frame)), deadline).await {
                Some(Answer::Frame(answer)) => Ok(build.hears(answer)),
                Some(Answer::Refused) => Err(Lost::NotSent { address, reason: "connection refused".into() }),
                Some(Answer::Http(_) | Answer::Reset) => {
                    Err(Lost::NoAnswer { address, reason: "connection reset".into() })
                }
                None => Err(Lost::NoAnswer { address, reason: "timed out".into() }),
            }
        })
    }
}
