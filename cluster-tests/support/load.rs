//! Clients that book, retry, give up and cancel, as clients do, and a record of all that they were told.
//!
//! Every booking has its key as `external_ref` too, so that the ledger's own list shows which attempts became a
//! reservation. A client asks for a named room of one type or for any room of the other, at a node of its choice,
//! and on silence or `outcome_unknown` either tries the same key elsewhere or gives up, in which case nobody knows.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::cluster::Cluster;
use super::hotel::{Hotel, date};
use super::http::{Answer, Api};
use super::seed::Chance;
use super::wait::eventually;

/// Nights of the season in which the load books, from the hotel's opening.
pub const SEASON: u64 = 300;

/// Longest that a client waits for one answer.
const PATIENCE: Duration = Duration::from_secs(4);

/// Longest that a client that doesn't give up tries one key.
const PERSISTENCE: Duration = Duration::from_secs(40);

/// What a client does before it asks again where nothing happened.
const BACKOFF: Duration = Duration::from_millis(25);

/// What a client knows of a call at the end.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// Done, with this reservation.
    Acknowledged(Value),
    /// Refused by the ledger, with this problem.
    Refused(Value),
    /// Every attempt was answered by a promise that nothing happened.
    NothingHappened,
    /// May or may not have happened.
    Unknown(String),
}

/// One call with all its attempts.
#[derive(Clone, Debug)]
pub struct Told {
    pub started: Instant,
    pub ended: Instant,
    pub outcome: Outcome,
    /// The nodes that were asked, in order.
    pub nodes: Vec<u64>,
}

/// One booking: what was asked, what came of it, and of its cancellation where that was tried.
#[derive(Clone, Debug)]
pub struct Booking {
    pub key: String,
    pub request: Value,
    pub booked: Told,
    pub canceled: Option<Told>,
}

/// A load that runs until it is stopped.
pub struct Load {
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU64>,
    clients: Vec<JoinHandle<Vec<Booking>>>,
}

impl Load {
    pub fn start(cluster: &Cluster, hotel: &Hotel, clients: u64) -> Load {
        let stop = Arc::new(AtomicBool::new(false));
        let acknowledged = Arc::new(AtomicU64::new(0));
        let clients = (0..clients)
            .map(|number| {
                let client = Client {
                    number,
                    hotel: hotel.clone(),
                    nodes: cluster.ids().into_iter().zip(cluster.apis()).collect(),
                    chance: Chance::new(cluster.seed.wrapping_mul(1_000).wrapping_add(number)),
                    acknowledged: acknowledged.clone(),
                };
                tokio::spawn(client.book_until(stop.clone()))
            })
            .collect();
        Load { stop, acknowledged, clients }
    }

    /// Waits until `more` bookings have been acknowledged from now on.
    pub async fn acknowledges(&self, more: u64, phase: &str) {
        let goal = self.acknowledged.load(Ordering::Relaxed) + more;
        eventually(&format!("{phase}: {more} more bookings are acknowledged"), async || {
            let now = self.acknowledged.load(Ordering::Relaxed);
            if now >= goal { Ok(()) } else { Err(format!("{now} of {goal}")) }
        })
        .await;
    }

    /// Lets every client finish what it is at, and answers what all were told.
    pub async fn stop(self) -> Vec<Booking> {
        self.stop.store(true, Ordering::Relaxed);
        let mut history = Vec::new();
        for client in self.clients {
            history.extend(client.await.expect("a client that ends"));
        }
        history
    }
}

struct Client {
    number: u64,
    hotel: Hotel,
    nodes: Vec<(u64, Api)>,
    chance: Chance,
    acknowledged: Arc<AtomicU64>,
}

impl Client {
    async fn book_until(mut self, stop: Arc<AtomicBool>) -> Vec<Booking> {
        let mut history = Vec::new();
        while !stop.load(Ordering::Relaxed) {
            // Of its own in each property, where a story has one load after the other.
            let key = format!("{}-{}-{}", self.hotel.property, self.number, history.len());
            let request = self.stay(&key);
            let path = self.hotel.path("/reservations");
            let booked = self.call(&path, &request, &key, 201).await;
            let mut canceled = None;
            if let Outcome::Acknowledged(reservation) = &booked.outcome {
                self.acknowledged.fetch_add(1, Ordering::Relaxed);
                if self.chance.once_in(8) {
                    let id = reservation["id"].as_str().expect("a reservation has an id");
                    let path = format!("/v1/reservations/{id}/cancel");
                    canceled = Some(self.call(&path, &json!({}), &format!("{key}-cancel"), 200).await);
                }
            }
            history.push(Booking { key, request, booked, canceled });
        }
        history
    }

    fn stay(&mut self, key: &str) -> Value {
        let arrival = self.chance.below(SEASON - 7);
        let departure = arrival + 1 + self.chance.below(7);
        let mut stay = json!({"guest": format!("guest-{}", self.number), "arrival": date(arrival),
                              "departure": date(departure), "occupancy": 1 + self.chance.below(2),
                              "external_ref": key});
        if self.chance.once_in(2) {
            stay["room"] = format!("n{}", 1 + self.chance.below(self.hotel.rooms)).into();
        } else {
            stay["room_type"] = "counted".into();
        }
        stay
    }

    /// One call under one key, tried until it is known what came of it or the client gives up.
    async fn call(&mut self, path: &str, body: &Value, key: &str, done: u16) -> Told {
        let started = Instant::now();
        let gives_up = self.chance.once_in(4);
        let mut at = self.chance.below(self.nodes.len() as u64) as usize;
        let (mut nodes, mut doubt) = (Vec::new(), None);
        let outcome = loop {
            let (id, api) = &self.nodes[at];
            nodes.push(*id);
            match api
                .post(path, body)
                .key(key)
                .timeout(PATIENCE)
                .send()
                .await
                .map(|answer| meaning(answer, done))
            {
                Ok(Meaning::Final(outcome)) => break outcome,
                Ok(Meaning::NothingHappened) => tokio::time::sleep(BACKOFF).await,
                Ok(Meaning::Unknown(why)) | Err(why) => doubt = Some(why),
            }
            match &doubt {
                Some(why) if gives_up || started.elapsed() > PERSISTENCE => {
                    break Outcome::Unknown(why.clone());
                }
                None if started.elapsed() > PERSISTENCE => break Outcome::NothingHappened,
                _ => at = (at + 1) % self.nodes.len(),
            }
        };
        Told { started, ended: Instant::now(), outcome, nodes }
    }
}

enum Meaning {
    Final(Outcome),
    NothingHappened,
    Unknown(String),
}

/// What the contract says that an answer means.
fn meaning(answer: Answer, done: u16) -> Meaning {
    match (answer.status, answer.code().as_str()) {
        (status, _) if status == done => Meaning::Final(Outcome::Acknowledged(answer.json())),
        (429, "overloaded") | (503, "no_leader" | "not_ready") => Meaning::NothingHappened,
        (503, "outcome_unknown") => Meaning::Unknown(answer.in_words()),
        _ => Meaning::Final(Outcome::Refused(answer.json())),
    }
}
