//! The contract's refusals over HTTP: one row a case, asked at every node.
//!
//! A row says what is sent and what must come back: the exact status and code, the facts that the contract promises
//! for the code, and what the detail must name. What every answer has in common is checked on each.

mod batch;
mod blocks;
mod calendar;
mod changes;
mod codes;
mod desk;
mod headers;
mod imports;
mod inventory;
mod metrics;
mod openapi;
mod order;
mod past;
mod queries;
mod reserve;
mod restrictions;
mod waitlist;

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::hotel::date;
use crate::support::http::Call;
use crate::support::{Answer, Api, Cluster};

/// One request and the refusal that it must earn.
struct Row {
    what: &'static str,
    method: Method,
    path: String,
    headers: Vec<(&'static str, String)>,
    /// The body as it is sent; JSON unless a header says otherwise.
    body: Option<String>,
    status: u16,
    code: &'static str,
    /// Facts that the problem must show, to the letter.
    facts: Value,
    /// What the detail must name.
    names: &'static str,
}

impl Row {
    fn new(
        what: &'static str,
        method: Method,
        path: impl Into<String>,
        status: u16,
        code: &'static str,
    ) -> Row {
        Row {
            what,
            method,
            path: path.into(),
            headers: Vec::new(),
            body: None,
            status,
            code,
            facts: json!({}),
            names: "",
        }
    }

    fn get(what: &'static str, path: impl Into<String>, status: u16, code: &'static str) -> Row {
        Row::new(what, Method::GET, path, status, code)
    }

    fn put(what: &'static str, path: impl Into<String>, body: Value, status: u16, code: &'static str) -> Row {
        Row::new(what, Method::PUT, path, status, code).text(body.to_string())
    }

    fn post(
        what: &'static str,
        path: impl Into<String>,
        body: Value,
        status: u16,
        code: &'static str,
    ) -> Row {
        Row::new(what, Method::POST, path, status, code).text(body.to_string())
    }

    fn text(mut self, body: impl Into<String>) -> Row {
        self.body = Some(body.into());
        self
    }

    fn header(mut self, name: &'static str, value: impl Into<String>) -> Row {
        self.headers.push((name, value.into()));
        self
    }

    fn facts(mut self, facts: Value) -> Row {
        self.facts = facts;
        self
    }

    fn names(mut self, names: &'static str) -> Row {
        self.names = names;
        self
    }

    fn call(&self, api: &Api) -> Call {
        let mut call = api.call(self.method.clone(), &self.path);
        if let Some(body) = &self.body {
            call = call.body("application/json", body.clone());
        }
        self.headers.iter().fold(call, |call, (name, value)| call.header(name, value))
    }

    /// What is wrong with the answer, if anything is.
    fn check(&self, answer: &Answer) -> Result<(), String> {
        let found = (answer.status, answer.code());
        if found != (self.status, self.code.to_owned()) {
            return Err(format!("expected {} {}", self.status, self.code));
        }
        let problem = answer.problem();
        for (fact, value) in self.facts.as_object().expect("facts are an object") {
            if problem.get(fact) != Some(value) {
                return Err(format!("expected {fact}: {value}"));
            }
        }
        if !problem["detail"].as_str().is_some_and(|detail| detail.contains(self.names)) {
            return Err(format!("the detail should name `{}`", self.names));
        }
        has_its_headers(answer)
    }
}

/// Asks every row at every node, and fails with all rows that were answered otherwise.
async fn ask(cluster: &Cluster, rows: &[Row]) {
    let mut wrong = Vec::new();
    for row in rows {
        for (id, api) in cluster.ids().into_iter().zip(cluster.apis()) {
            let answer = row.call(&api).answer().await;
            if let Err(why) = row.check(&answer) {
                wrong.push(format!("{} (node {id}): {why}, got {}", row.what, answer.in_words()));
                break;
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {} rows:\n{}", wrong.len(), rows.len(), wrong.join("\n"));
}

/// `Innkeeper-Node`, `-Leader` and `-LSN` are on every answer under `/v1`.
fn has_its_headers(answer: &Answer) -> Result<(), String> {
    for name in ["innkeeper-node", "innkeeper-leader", "innkeeper-lsn"] {
        let number = answer.header(name).and_then(|text| text.parse::<u64>().ok());
        if number.is_none() {
            return Err(format!("{name} is missing or no number"));
        }
    }
    Ok(())
}

/// A property with a room type of everything that a refusal needs.
///
/// `double`: rooms 101 and 102, priced for one and two until mid 2030. `single`: room 201. `suite`: room 301, for up
/// to four, priced for two only, and only in January 2027. `closed`: no room.
async fn open_grand(cluster: &Cluster) {
    let api = cluster.api(1);
    api.put("/v1/properties/grand", &grand()).expect(201).await;
    for (room_type, max_occupancy) in [("double", 2), ("single", 1), ("suite", 4), ("closed", 2)] {
        let body = json!({"name": room_type, "max_occupancy": max_occupancy, "overbooking_limit": 0});
        api.put(&format!("/v1/properties/grand/room-types/{room_type}"), &body).expect(201).await;
    }
    for (room, room_type) in [("101", "double"), ("102", "double"), ("201", "single"), ("301", "suite")] {
        let body = json!({"room_type": room_type});
        api.put(&format!("/v1/properties/grand/rooms/{room}"), &body).expect(201).await;
    }
    for (room_type, to, prices) in [
        ("double", "2030-06-01", json!({"EUR": {"1": 10_900, "2": 14_000}})),
        ("single", "2030-06-01", json!({"EUR": {"1": 8_000}})),
        ("suite", "2027-02-01", json!({"EUR": {"2": 40_000}, "USD": {"2": 45_000}})),
        ("closed", "2030-06-01", json!({"EUR": {"1": 1}})),
    ] {
        let body = json!({"room_type": room_type, "from": date(0), "to": to, "prices": prices});
        api.put("/v1/properties/grand/rates", &body).expect(200).await;
    }
    cluster.agree().await;
}

fn grand() -> Value {
    json!({"name": "Grand", "location": "Budapest", "time_zone": "Europe/Budapest", "currency": "EUR",
           "business_date": date(0)})
}

const RESERVATIONS: &str = "/v1/properties/grand/reservations";

/// A stay of two in room 101; the changes replace fields, `null` leaves one out.
fn stay(changes: Value) -> Value {
    with(
        json!({"guest": "guest", "room": "101", "arrival": date(10), "departure": date(12), "occupancy": 2}),
        changes,
    )
}

fn with(mut body: Value, changes: Value) -> Value {
    let fields = body.as_object_mut().expect("a body is an object");
    for (field, value) in changes.as_object().expect("changes are an object") {
        if value.is_null() {
            fields.remove(field);
        } else {
            fields.insert(field.clone(), value.clone());
        }
    }
    body
}

/// Makes a reservation and answers it.
async fn reserve(api: &Api, changes: Value) -> Value {
    api.post(RESERVATIONS, &stay(changes)).expect(201).await
}

fn path_of(reservation: &Value) -> String {
    format!("/v1/reservations/{}", reservation["id"].as_str().expect("an id"))
}
