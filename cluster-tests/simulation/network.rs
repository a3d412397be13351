//! The network between the machines, and between them and their clients: it delays, loses, repeats, reorders and parts.
//!
//! Exchanges of a question and an answer. A lost message is silence until the asker's deadline; a machine
//! that is down refuses; a machine that dies may reset what it had not answered. On a line the messages of a direction keep
//! their order, and nothing arrives behind one that was lost.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::http::{HeaderMap, Method, StatusCode};
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::{BoxFuture, pending, ready};
use futures_util::stream::FuturesOrdered;
use innkeeper::replication::{Envelope, Kind, Line, Lost, NodeId, Request, Transport, decode};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

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
    line: Option<u64>,
}

/// A line between two machines.
struct OpenLine {
    asker: NodeId,
    answerer: NodeId,
    /// When the last message of each direction arrives, questions first.
    last_ms: [u64; 2],
    /// Something was lost, or an end of it is gone.
    is_broken: bool,
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
    lines: BTreeMap<u64, OpenLine>,
    /// Machines whose process is gone.
    down: BTreeSet<NodeId>,
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
            lines: BTreeMap::new(),
            down: BTreeSet::new(),
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
        timeout(deadline, answered(answer)).await.ok()
    }

    /// Opens a line, which takes a message there and one back.
    async fn open(&self, asker: NodeId, answerer: NodeId, deadline: Duration) -> Option<u64> {
        let takes = self.state().round_trip(asker, answerer).filter(|takes| *takes < deadline);
        sleep(takes.unwrap_or(deadline)).await;
        let mut state = self.state();
        if takes.is_none() || state.is_cut(asker, answerer) || state.down.contains(&answerer) {
            return None;
        }
        let line = state.number();
        state.lines.insert(line, OpenLine { asker, answerer, last_ms: [0; 2], is_broken: false });
        Some(line)
    }

    /// Asks on a line. The answer may never come.
    fn ask_on(&self, line: u64, question: Question) -> oneshot::Receiver<Answer> {
        let (sender, answer) = oneshot::channel();
        self.state().send_on(line, question, sender);
        answer
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
                    let known = state.exchanges.get(&delivery.exchange);
                    let (asker, line) = known.map_or((None, None), |it| (Some(it.asker), it.line));
                    // A cut that came while the message was under way takes it too. One whose exchange is over already
                    // was repeated, and arrives all the same.
                    let is_cut = asker.is_some_and(|asker| state.cut.contains(&(asker, delivery.to)));
                    if !state.passes(line, is_cut) {
                        continue;
                    }
                    deliveries.push(delivery);
                }
                InFlight::Answer { exchange, from, answer } => {
                    let Some(known) = state.exchanges.get(&exchange) else { continue };
                    let (line, is_cut) = (known.line, state.cut.contains(&(from, known.asker)));
                    let denied = known.is_write_twice && answer.denies();
                    if !state.passes(line, is_cut) {
                        continue;
                    }
                    // True of the one that was answered, and not of the other: the client waits for more.
                    if denied {
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

    /// The machine's process runs.
    pub fn started(&self, node: NodeId) {
        self.state().down.remove(&node);
    }

    /// The machine's process is gone: what it asked is forgotten, what it was asked may be reset.
    pub fn died(&self, node: NodeId, resets: bool) {
        let mut state = self.state();
        state.down.insert(node);
        for line in state.lines.values_mut().filter(|line| [line.asker, line.answerer].contains(&node)) {
            line.is_broken = true;
        }
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
        let known = Exchange { asker, answerer: to, sender, is_write_twice: false, line: None };
        self.exchanges.insert(exchange, known);
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

    fn send_on(&mut self, line: u64, question: Question, sender: oneshot::Sender<Answer>) {
        let exchange = self.number();
        let OpenLine { asker, answerer, .. } = self.lines[&line];
        let known = Exchange { asker, answerer, sender, is_write_twice: false, line: Some(line) };
        self.exchanges.insert(exchange, known);
        let is_lost = self.cut.contains(&(asker, answerer)) || self.is_lost();
        if self.passes(Some(line), is_lost) {
            self.put_in_order(line, 0, InFlight::Question(Delivery { exchange, to: answerer, question }));
        }
    }

    fn send_answer(&mut self, id: u64, answer: Answer) {
        let Some(exchange) = self.exchanges.get(&id) else { return };
        let (from, asker, line) = (exchange.answerer, exchange.asker, exchange.line);
        let is_lost = self.cut.contains(&(from, asker)) || self.is_lost();
        if !self.passes(line, is_lost) {
            return;
        }
        let answer = InFlight::Answer { exchange: id, from, answer };
        match line {
            Some(line) => self.put_in_order(line, 1, answer),
            None => self.put(answer),
        }
    }

    /// Whether a message gets through. On a line nothing does behind one that did not.
    fn passes(&mut self, line: Option<u64>, is_lost: bool) -> bool {
        let Some(line) = line.and_then(|line| self.lines.get_mut(&line)) else { return !is_lost };
        line.is_broken |= is_lost;
        !line.is_broken
    }

    /// In one of the two directions.
    fn is_cut(&self, one: NodeId, other: NodeId) -> bool {
        self.cut.contains(&(one, other)) || self.cut.contains(&(other, one))
    }

    fn is_lost(&mut self) -> bool {
        let lost = self.weather.lost;
        self.random.random_range(0..1_000) < lost
    }

    /// How long a message there and one back take, unless one of them is lost.
    fn round_trip(&mut self, asker: NodeId, answerer: NodeId) -> Option<Duration> {
        let mut takes_ms = 0;
        if self.is_cut(asker, answerer) {
            return None;
        }
        for _ in 0..2 {
            if self.is_lost() {
                return None;
            }
            takes_ms += 1 + self.random.random_range(0..=self.weather.delay_ms_max);
        }
        Some(Duration::from_millis(takes_ms))
    }

    /// Messages overtake one another where their delays say so.
    fn put(&mut self, in_flight: InFlight) {
        let delay = self.random.random_range(0..=self.weather.delay_ms_max);
        let at = (self.now_ms + 1 + delay, self.number());
        self.in_flight.insert(at, in_flight);
    }

    /// As [`put`](State::put), behind what goes in the same direction of the line.
    fn put_in_order(&mut self, line: u64, direction: usize, in_flight: InFlight) {
        let delay = self.random.random_range(0..=self.weather.delay_ms_max);
        let number = self.number();
        let last_ms = self.lines.get_mut(&line).map(|line| &mut line.last_ms[direction]);
        let at = last_ms.map_or(0, |last_ms| {
            *last_ms = (*last_ms).max(self.now_ms + 1 + delay);
            *last_ms
        });
        self.in_flight.insert((at, number), in_flight);
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }
}

/// The answer, once it comes.
async fn answered(answer: oneshot::Receiver<Answer>) -> Answer {
    match answer.await {
        Ok(answer) => answer,
        // Lost: nothing ever comes.
        Err(_) => pending().await,
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
        let (address, to) = (address.to_owned(), node_at(address));
        Box::pin(async move {
            match network.ask(from, to, Question::Frame(build.says(frame)), deadline).await {
                Some(answer) => heard(address, build, answer),
                None => Err(Lost::NoAnswer { address, reason: "timed out".into() }),
            }
        })
    }

    fn open(&self, address: &str, deadline: Duration) -> BoxFuture<'static, Result<Box<dyn Line>, Lost>> {
        let (network, from, build) = (self.network.clone(), self.from, self.build);
        let (address, to) = (address.to_owned(), node_at(address));
        Box::pin(async move {
            let Some(line) = network.open(from, to, deadline).await else {
                return Err(Lost::NotSent { address, reason: "no line could be opened".into() });
            };
            let line = SimulatedLine { address, build, network, line, answers: FuturesOrdered::new() };
            Ok(Box::new(line) as Box<dyn Line>)
        })
    }
}

fn node_at(address: &str) -> NodeId {
    let id = address.strip_prefix("node-").and_then(|rest| rest.split(':').next());
    id.and_then(|id| id.parse().ok()).expect("addresses are those of the simulation")
}

fn heard(address: String, build: Build, answer: Answer) -> Result<Bytes, Lost> {
    match answer {
        Answer::Frame(answer) => Ok(build.hears(answer)),
        Answer::Refused => Err(Lost::NotSent { address, reason: "connection refused".into() }),
        Answer::Http(_) | Answer::Reset => Err(Lost::NoAnswer { address, reason: "connection reset".into() }),
    }
}

/// A node's end of a line.
struct SimulatedLine {
    address: String,
    build: Build,
    network: Network,
    line: u64,
    answers: FuturesOrdered<BoxFuture<'static, Answer>>,
}

impl Line for SimulatedLine {
    fn send(&mut self, frame: Bytes) -> BoxFuture<'_, Result<(), Lost>> {
        let answer = self.network.ask_on(self.line, Question::Frame(self.build.says(frame)));
        self.answers.push_back(Box::pin(answered(answer)));
        Box::pin(ready(Ok(())))
    }

    fn receive(&mut self) -> BoxFuture<'_, Result<Bytes, Lost>> {
        Box::pin(async {
            match self.answers.next().await {
                // The line was open: what was sent may have arrived.
                Some(Answer::Refused) => heard(self.address.clone(), self.build, Answer::Reset),
                Some(answer) => heard(self.address.clone(), self.build, answer),
                None => pending().await,
            }
        })
    }
}
