//! The document that a node serves, held against what nodes really answer.

use std::collections::BTreeSet;
use std::sync::Mutex;

use reqwest::Method;
use serde_json::{Value, json};

use super::{RESERVATIONS, grand, has_its_headers, open_grand, path_of, stay, with};
use crate::support::hotel::date;
use crate::support::http::Call;
use crate::support::{Answer, Api, Cluster};

const PROPERTY: &str = "/v1/properties/grand";
const NOBODY: &str = "0197a7a8-2f3b-7c4d-8e5f-0123456789ab";

/// The document, and which of its answers were seen.
struct Document {
    whole: Value,
    seen: Mutex<BTreeSet<(String, String, u16)>>,
}

impl Document {
    async fn of(api: &Api) -> Document {
        let whole = api.get("/openapi.json").expect(200).await;
        Document { whole, seen: Mutex::default() }
    }

    /// The path of the document that this one is an instance of; the one with the fewest variables.
    fn path_of(&self, path: &str) -> Option<&String> {
        let path = path.split('?').next().unwrap_or(path);
        let fits = |known: &&String| {
            let (known, asked) = (known.split('/'), path.split('/'));
            known.clone().count() == asked.clone().count()
                && known.zip(asked).all(|(known, asked)| known.starts_with('{') || known == asked)
        };
        let paths = self.whole["paths"].as_object().expect("paths").keys();
        paths.filter(fits).min_by_key(|path| path.matches('{').count())
    }

    /// Checks `value` against a schema of the document.
    fn check(&self, what: &str, schema: &Value, value: &Value) {
        let mut schema = json!({ "allOf": [schema] });
        schema["components"] = self.whole["components"].clone();
        let validator = jsonschema::draft202012::new(&schema).expect("a schema");
        let wrong: Vec<_> = validator.iter_errors(value).map(|error| error.to_string()).collect();
        assert!(wrong.is_empty(), "{what}: {wrong:#?}\n{value}");
    }

    /// Sends the call, and checks its answer; where it succeeds, its request as well.
    async fn send(&self, api: &Api, method: Method, path: &str, body: Option<Value>) -> Answer {
        let call = api.call(method.clone(), path);
        let call = body.iter().fold(call, Call::json);
        self.answer_of(method, path, body, call).await
    }

    async fn answer_of(&self, method: Method, path: &str, body: Option<Value>, call: Call) -> Answer {
        let answer = call.answer().await;
        let known = self.path_of(path).unwrap_or_else(|| panic!("{path} is not in the document"));
        let operation = &self.whole["paths"][known][method.as_str().to_lowercase()];
        let response = &operation["responses"][answer.status.to_string()];
        let words = answer.in_words();
        assert!(response.is_object(), "this status is not in the document: {words}");
        has_its_headers(&answer).unwrap_or_else(|why| panic!("{why}: {words}"));
        let told = response["headers"].as_object().expect("headers");
        for name in ["ETag", "Location", "Retry-After", "Idempotent-Replayed"] {
            assert!(
                answer.header(name).is_none() || told.contains_key(name),
                "{name} is not told of: {words}"
            );
        }
        for name in ["ETag", "Location"].into_iter().filter(|name| told.contains_key(*name)) {
            assert!(answer.header(name).is_some(), "{name} was promised: {words}");
        }
        self.seen.lock().expect("no panic").insert((method.to_string(), known.clone(), answer.status));
        let media_type =
            answer.header("content-type").map(|it| it.split(';').next().unwrap_or(it).to_owned());
        let Some(media_type) = media_type else {
            assert!(response["content"].is_null() && answer.body.is_empty(), "nothing was promised: {words}");
            return answer;
        };
        let schema = &response["content"][&media_type]["schema"];
        assert!(schema.is_object(), "{media_type} is not in the document: {words}");
        // Lines are checked one by one, by who asked for them.
        if matches!(media_type.as_str(), "application/json" | "application/problem+json") {
            self.check(&words, schema, &answer.json());
        }
        if let (Some(body), true) = (body, answer.status < 300) {
            self.check(&words, &operation["requestBody"]["content"]["application/json"]["schema"], &body);
        }
        answer
    }

    async fn get(&self, api: &Api, path: &str, status: u16) -> Answer {
        let answer = self.send(api, Method::GET, path, None).await;
        assert_eq!(answer.status, status, "{}", answer.in_words());
        answer
    }

    async fn put(&self, api: &Api, path: &str, body: Value, status: u16) -> Value {
        let answer = self.send(api, Method::PUT, path, Some(body)).await;
        assert_eq!(answer.status, status, "{}", answer.in_words());
        answer.json()
    }

    async fn post(&self, api: &Api, path: &str, body: Option<Value>, status: u16) -> Value {
        let answer = self.send(api, Method::POST, path, body).await;
        assert_eq!(answer.status, status, "{}", answer.in_words());
        answer.json()
    }

    /// Every success that the document promises was seen.
    fn was_seen_whole(&self) {
        let seen = self.seen.lock().expect("no panic");
        let mut unseen = Vec::new();
        for (path, operations) in self.whole["paths"].as_object().expect("paths") {
            for (method, operation) in operations.as_object().expect("operations") {
                for status in operation["responses"].as_object().expect("responses").keys() {
                    let status: u16 = status.parse().expect("a status");
                    let row = (method.to_uppercase(), path.clone(), status);
                    // Nothing is set aside here, and nobody has paused: `poison.rs` asks these.
                    let elsewhere = path.starts_with("/v1/quarantine/") || path == "/v1/cluster/resume";
                    if status < 300 && !elsewhere && !seen.contains(&row) {
                        unseen.push(row);
                    }
                }
            }
        }
        assert!(unseen.is_empty(), "no answer was held against: {unseen:?}");
    }
}

#[tokio::test]
async fn what_is_answered_is_what_the_document_says() {
    let cluster = Cluster::start(3).await;
    open_grand(&cluster).await;
    let api = &cluster.api(2);
    let document = Document::of(api).await;
    inventory(&document, api).await;
    reservations(&document, api).await;
    bookings(&document, api).await;
    waitlist(&document, api).await;
    imports(&document, api).await;
    queries(&document, api).await;
    batches(&document, api).await;
    refusals(&document, api).await;
    for path in ["/v1/quarantine", "/v1/cluster", "/v1/cluster/state-hash"] {
        document.get(api, path, 200).await;
    }
    document.post(api, "/v1/cluster/snapshot", None, 202).await;
    let nowhere = json!({"index": 1, "state_hash": "0".repeat(32)});
    document.post(api, "/v1/cluster/resume", Some(nowhere), 409).await;
    other_reads(&document, api).await;
    for path in ["/livez", "/readyz", "/metrics", "/openapi.json", "/docs"] {
        document.get(api, path, 200).await;
    }
    document.was_seen_whole();
}

async fn inventory(document: &Document, api: &Api) {
    document.put(api, "/v1/properties/new", grand(), 201).await;
    document.put(api, "/v1/properties/new", grand(), 200).await;
    let room_type = json!({"name": "Double", "max_occupancy": 2, "overbooking_limit": null});
    document.put(api, "/v1/properties/new/room-types/double", room_type.clone(), 201).await;
    document.put(api, "/v1/properties/new/room-types/double", room_type, 200).await;
    document.put(api, "/v1/properties/new/rooms/1", json!({"room_type": "double"}), 201).await;
    document.put(api, "/v1/properties/new/rooms/1", json!({"room_type": "double"}), 200).await;
    let rate = json!({"room": "1", "from": date(0), "to": date(9), "prices": {"EUR": {"1": 10_900}}});
    document.put(api, "/v1/properties/new/rates", rate, 200).await;
    let rule = json!({"room_type": "double", "from": date(0), "to": date(9), "min_stay": 2, "closed": null});
    document.put(api, "/v1/properties/new/restrictions", rule, 200).await;
    let closure = json!({"from": date(0), "to": date(9), "reason": "paint"});
    document.put(api, "/v1/properties/new/rooms/1/out-of-order", closure, 200).await;
    let block =
        json!({"room_type": "double", "from": date(20), "to": date(22), "rooms": 1, "status": "tentative"});
    document.put(api, "/v1/properties/new/blocks/fair", block.clone(), 201).await;
    document.put(api, "/v1/properties/new/blocks/fair", block, 200).await;
    document.get(api, "/v1/properties/new/blocks", 200).await;
    document.put(api, "/v1/properties/new/rooms/2", json!({"room_type": "double"}), 201).await;
    let retired = document.send(api, Method::DELETE, "/v1/properties/new/rooms/2", None).await;
    assert_eq!(retired.status, 204, "{}", retired.in_words());
    let range = format!("from={}&to={}", date(0), date(9));
    for list in ["", "/room-types", "/rooms"] {
        document.get(api, &format!("/v1/properties/new{list}"), 200).await;
    }
    for list in ["rates", "restrictions", "out-of-order", "availability"] {
        document.get(api, &format!("/v1/properties/new/{list}?{range}"), 200).await;
    }
    document.get(api, "/v1/properties/new/rooms/1/calendar.ics", 200).await;
    document.get(api, "/v1/properties", 200).await;
    let path = format!("/v1/properties/new/rooms/1/out-of-order?{range}");
    assert_eq!(document.send(api, Method::DELETE, &path, None).await.status, 204);
    let audit = json!({"business_date": date(1)});
    document.post(api, "/v1/properties/new/night-audit", Some(audit), 200).await;
}

async fn reservations(document: &Document, api: &Api) {
    let today = json!({"arrival": date(0), "departure": date(2), "room": null, "room_type": "double"});
    let full = json!({"currency": "EUR", "hold_seconds": 900, "expected_total": 28_000, "external_ref": "order",
                      "block": null});
    let made = document.post(api, RESERVATIONS, Some(with(stay(today), full)), 201).await;
    let path = path_of(&made);
    document.get(api, &path, 200).await;
    document.post(api, &format!("{path}/confirm"), None, 200).await;
    let change = json!({"departure": date(3), "room": null});
    let answer = document.send(api, Method::PATCH, &path, Some(change)).await;
    assert_eq!(answer.status, 200, "{}", answer.in_words());
    document.post(api, &format!("{path}/assign"), Some(json!({"room": "102"})), 200).await;
    document.post(api, &format!("{path}/check-in"), None, 200).await;
    document.post(api, &format!("{path}/check-out"), None, 200).await;
    for step in ["cancel", "no-show"] {
        let made = document.post(api, RESERVATIONS, Some(stay(json!({"arrival": date(0)}))), 201).await;
        document.post(api, &format!("{}/{step}", path_of(&made)), None, 200).await;
    }
    document.get(api, &format!("{RESERVATIONS}?limit=1"), 200).await;
}

async fn bookings(document: &Document, api: &Api) {
    for step in ["confirm", "cancel"] {
        let stay = json!({"room": "101", "arrival": date(20), "departure": date(21), "occupancy": 1, "hold_seconds": 60});
        let group = json!({"guest": "group", "reservations": [stay]});
        let made = document.post(api, &format!("{PROPERTY}/bookings"), Some(group), 201).await;
        let path = format!("/v1/bookings/{}", made["id"].as_str().expect("an id"));
        document.get(api, &path, 200).await;
        document.post(api, &format!("{path}/{step}"), None, 200).await;
        document.post(api, &format!("{path}/cancel"), None, 200).await;
    }
}

async fn imports(document: &Document, api: &Api) {
    let night = json!({"date": date(60), "amount": 1});
    let stay = json!({"room_type": "double", "room": null, "room_pinned": null, "arrival": date(60),
        "departure": date(61), "occupancy": 1, "status": "confirmed", "hold_expires_at": null, "block": null,
        "price": {"currency": "EUR", "nights": [night]}, "external_ref": null});
    let import = json!({"guest": "group", "reservations": [stay]});
    document.post(api, &format!("{PROPERTY}/imports"), Some(import), 201).await;
}

async fn waitlist(document: &Document, api: &Api) {
    // The type has no room: who waits for it goes on waiting.
    let wanted = json!({"guest": "patient", "room_type": "closed", "arrival": date(10), "departure": date(11),
                        "occupancy": 1, "currency": null});
    let list = format!("{PROPERTY}/waitlist");
    let entry = document.post(api, &list, Some(wanted), 201).await;
    assert_eq!(entry["status"], "waiting", "{entry}");
    let path = format!("{list}/{}", entry["id"].as_str().expect("an id"));
    document.get(api, &path, 200).await;
    document.get(api, &list, 200).await;
    let withdrawn = document.send(api, Method::DELETE, &path, None).await;
    assert_eq!(withdrawn.status, 204, "{}", withdrawn.in_words());
}

async fn queries(document: &Document, api: &Api) {
    let asked = format!("arrival={}&departure={}&occupancy=1", date(30), date(32));
    document.get(api, &format!("{PROPERTY}/free-rooms?{asked}"), 200).await;
    document.get(api, &format!("/v1/search?{asked}&location=budapest"), 200).await;
}

async fn batches(document: &Document, api: &Api) {
    let reserve = with(json!({"op": "reserve", "property": "grand"}), stay(json!({"arrival": date(11)})));
    let commands = json!([
        reserve, reserve, {"op": "cancel"},
        {"op": "put_room", "property": "grand", "room": "109", "room_type": "double"},
        {"op": "put_rate", "property": "grand", "room": "109", "from": date(0), "to": date(1), "prices": {}},
        {"op": "book_group", "property": "grand", "guest": "g", "reservations": [
            {"room": "102", "arrival": date(11), "departure": date(12), "occupancy": 1}]},
    ]);
    document.post(api, "/v1/batch", Some(json!({ "commands": commands })), 200).await;
    document.post(api, "/v1/batch?return=minimal", Some(json!({ "commands": commands })), 200).await;
    let line =
        &document.whole["paths"]["/v1/batch"]["post"]["responses"]["200"]["content"]["application/x-ndjson"];
    let call = api.call(Method::POST, "/v1/batch").body("application/x-ndjson", format!("{reserve}\n{{}}"));
    let answer = document.answer_of(Method::POST, "/v1/batch", None, call).await;
    for result in answer.body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let result: Value = serde_json::from_slice(result).expect("a result a line");
        document.check("a result of a batch in lines", &line["schema"], &result);
    }
}

/// Asks every read that nobody asked yet, of things that are there.
async fn other_reads(document: &Document, api: &Api) {
    let made = document
        .post(api, RESERVATIONS, Some(stay(json!({"arrival": date(70), "departure": date(71)}))), 201)
        .await;
    let id = made["id"].as_str().expect("an id");
    for (path, operations) in document.whole["paths"].as_object().expect("paths") {
        let read = &operations["get"];
        let is_seen =
            document.seen.lock().expect("no panic").contains(&("GET".to_owned(), path.clone(), 200));
        if read.is_null() || is_seen {
            continue;
        }
        let parameters = read["parameters"].as_array().expect("parameters").iter();
        let query =
            parameters.filter(|it| it["in"] == "query" && it["required"] == true).map(|it| match it["name"]
                .as_str()
                .expect("a name")
            {
                name @ ("from" | "arrival") => format!("{name}={}", date(0)),
                name @ ("to" | "departure") => format!("{name}={}", date(9)),
                name => format!("{name}=1"),
            });
        let query: Vec<String> = query.collect();
        let there = path.replace("{property}", "grand").replace("{room}", "101").replace("{id}", id);
        document.get(api, &format!("{there}?{}", query.join("&")), 200).await;
    }
}

async fn refusals(document: &Document, api: &Api) {
    let reservation = |step: &str| format!("/v1/reservations/{NOBODY}{step}");
    document.get(api, "/v1/properties/nowhere", 404).await;
    document.get(api, &reservation(""), 404).await;
    document.get(api, "/v1/properties?limit=0", 400).await;
    document.get(api, "/v1/properties?consistency=local&min_lsn=99999999", 503).await;
    document.post(api, &reservation("/cancel"), None, 404).await;
    document.post(api, "/v1/cluster/snapshot", Some(json!({"index": 1})), 400).await;
    document.post(api, RESERVATIONS, Some(json!({"guest": 7})), 400).await;
    let taken = stay(json!({"arrival": date(50), "departure": date(52)}));
    document.post(api, RESERVATIONS, Some(taken.clone()), 201).await;
    document.post(api, RESERVATIONS, Some(taken.clone()), 409).await;
    document.post(api, RESERVATIONS, Some(with(taken, json!({"occupancy": 9}))), 422).await;
    let call = api.call(Method::POST, RESERVATIONS).body("text/plain", "x");
    let answer = document.answer_of(Method::POST, RESERVATIONS, None, call).await;
    assert_eq!(answer.status, 415);
}

#[tokio::test]
async fn every_node_serves_the_same_document_and_a_page_of_it() {
    let cluster = Cluster::start(3).await;
    let mut documents = Vec::new();
    for api in cluster.apis() {
        let answer = api.get("/openapi.json").answer().await;
        assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")));
        let document = answer.json();
        assert_eq!(document["openapi"], "3.1.0");
        let events = &document["paths"]["/v1/events"]["get"]["responses"]["200"]["content"];
        assert_eq!(events["text/event-stream"]["schema"]["type"], "string");
        documents.push(answer.body);
        let page = api.get("/docs").answer().await;
        assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=utf-8")));
        assert!(page.body.starts_with(b"<!doctype html>"));
    }
    documents.dedup();
    assert_eq!(documents.len(), 1);
}
