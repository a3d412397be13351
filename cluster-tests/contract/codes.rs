//! Every code that a node knows, produced over HTTP: the document that the node serves says which those are, and a code
//! without a case here fails.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use innkeeper::history::Keeping;
use innkeeper::http::client_router;
use innkeeper::node::clock::{Clock, SystemClock};
use innkeeper::node::{Config, IdSource, Limits, Node, Timings, World};
use innkeeper::replication::{DiskThreads, HttpTransport};
use rand::SeedableRng;
use rand::rngs::StdRng;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};

use super::{RESERVATIONS, Row, ask, grand, open_grand, path_of, reserve, stay, with};
use crate::support::hotel::date;
use crate::support::http::client;
use crate::support::{Api, Cluster, eventually};

/// The contract's table.
const CODES: &[(u16, &[&str])] = &[
    (400, &["malformed", "idempotency_key_invalid"]),
    (401, &["unauthenticated"]),
    (403, &["forbidden"]),
    (
        404,
        &[
            "not_found",
            "property_not_found",
            "room_type_not_found",
            "room_not_found",
            "reservation_not_found",
            "booking_not_found",
            "block_not_found",
            "waitlist_entry_not_found",
        ],
    ),
    (405, &["method_not_allowed"]),
    (
        409,
        &[
            "no_availability",
            "room_unavailable",
            "restricted",
            "price_changed",
            "invalid_state",
            "capacity_below_sold",
        ],
    ),
    (410, &["hold_expired", "history_gone"]),
    (412, &["version_mismatch"]),
    (413, &["too_large"]),
    (415, &["unsupported_media_type"]),
    (
        422,
        &[
            "idempotency_key_reused",
            "invalid_stay",
            "stay_too_long",
            "arrival_in_past",
            "beyond_horizon",
            "occupancy_invalid",
            "hold_ttl_invalid",
            "not_priced",
            "invalid_time_zone",
            "invalid_currency",
            "invalid_amount",
            "position_in_future",
        ],
    ),
    (429, &["overloaded"]),
    (500, &["quarantined", "internal"]),
    (503, &["no_leader", "outcome_unknown", "too_stale", "not_ready"]),
];

/// Codes that were answered, with their statuses.
type Produced = BTreeMap<String, u16>;

#[tokio::test]
async fn every_code_of_a_node_is_one_of_the_contract_and_can_be_produced() {
    let mut produced = Produced::new();
    let cluster = Cluster::start(3).await;
    open_grand(&cluster).await;
    let known = codes_of(&cluster.api(1)).await;
    let rows: Vec<Row> =
        rows(&cluster).await.into_iter().filter(|row| known.contains(&row.code.to_owned())).collect();
    ask(&cluster, &rows).await;
    produced.extend(rows.iter().map(|row| (row.code.to_owned(), row.status)));
    overloaded(&cluster, &mut produced).await;
    without_majority(&cluster, &mut produced).await;
    bugs(&mut produced).await;
    forgotten(&mut produced).await;

    for code in &known {
        let listed = CODES.iter().find(|(_, codes)| codes.contains(&code.as_str())).map(|(status, _)| status);
        let status = listed.unwrap_or_else(|| panic!("{code} is not in the contract's table"));
        assert_eq!(produced.get(code), Some(status), "{code} has no case here, or another status");
    }
}

/// The codes that the node's document knows.
async fn codes_of(api: &Api) -> Vec<String> {
    let document = api.get("/openapi.json").expect(200).await;
    let codes = document["components"]["schemas"]["Code"]["enum"].as_array().cloned().unwrap_or_default();
    assert!(codes.len() > 30, "{codes:?}");
    codes.iter().map(|code| code.as_str().expect("a code").to_owned()).collect()
}

/// What a client alone can bring about.
async fn rows(cluster: &Cluster) -> Vec<Row> {
    let api = cluster.api(1);
    let confirmed = path_of(&reserve(&api, json!({})).await);
    let expired = reserve(&api, json!({"arrival": date(20), "departure": date(21), "hold_seconds": 1})).await;
    let sold_by_type = json!({"room": null, "room_type": "single", "occupancy": 1});
    reserve(&api, sold_by_type).await;
    let used = json!({"arrival": date(30), "departure": date(31)});
    api.post(RESERVATIONS, &stay(used)).key("used").expect(201).await;
    let rules = json!({"room_type": "suite", "from": date(0), "to": date(9), "closed": true});
    api.put("/v1/properties/grand/restrictions", &rules).expect(200).await;
    let expired = path_of(&expired);
    eventually("the hold has ended", async || {
        let status = api.get(&expired).expect(200).await["status"].clone();
        if status == "expired" { Ok(()) } else { Err(status.to_string()) }
    })
    .await;
    let mut rows = rows_of_requests();
    rows.extend(rows_of_stays());
    let closure = json!({"from": date(10), "to": date(11), "reason": "paint"});
    rows.extend([
        Row::post("confirmed twice", format!("{confirmed}/confirm"), json!({}), 409, "invalid_state")
            .facts(json!({"state": "confirmed"})),
        Row::post("too late", format!("{expired}/confirm"), json!({}), 410, "hold_expired"),
        Row::post("an old revision", format!("{confirmed}/cancel"), json!({}), 412, "version_mismatch")
            .header("if-match", "\"9\"")
            .facts(json!({"revision": 1})),
        Row::put(
            "the last room of a type that is sold",
            "/v1/properties/grand/rooms/201/out-of-order",
            closure,
            409,
            "capacity_below_sold",
        )
        .facts(json!({"nights": [date(10)]})),
    ]);
    rows
}

/// Requests that can't be read, or lead nowhere.
fn rows_of_requests() -> Vec<Row> {
    let nobody = "0197a7a8-2f3b-7c4d-8e5f-0123456789ab";
    let property =
        |what, changes, code| Row::put(what, "/v1/properties/new", with(grand(), changes), 422, code);
    let rate = json!({"room_type": "double", "from": date(0), "to": date(1), "prices": {"EUR": {"1": -1}}});
    vec![
        Row::post("no fields", RESERVATIONS, json!({}), 400, "malformed"),
        Row::post("a blank in the key", RESERVATIONS, stay(json!({})), 400, "idempotency_key_invalid")
            .header("idempotency-key", "a b"),
        Row::post("a key of another request", RESERVATIONS, stay(json!({})), 422, "idempotency_key_reused")
            .header("idempotency-key", "used"),
        Row::get("no route", "/v1/nothing", 404, "not_found"),
        Row::new("no method", Method::DELETE, "/v1/properties", 405, "method_not_allowed"),
        Row::get("no property", "/v1/properties/nowhere", 404, "property_not_found"),
        Row::get("no reservation", format!("/v1/reservations/{nobody}"), 404, "reservation_not_found"),
        Row::get("no booking", format!("/v1/bookings/{nobody}"), 404, "booking_not_found"),
        Row::get(
            "nobody waits",
            format!("/v1/properties/grand/waitlist/{nobody}"),
            404,
            "waitlist_entry_not_found",
        ),
        Row::get("what is to come", "/v1/events?after=999999999999-0", 422, "position_in_future"),
        Row::post("too long", RESERVATIONS, json!({}), 413, "too_large").text("x".repeat(2 << 20)),
        Row::post("another media type", RESERVATIONS, json!({}), 415, "unsupported_media_type")
            .header("content-type", "text/plain"),
        property("no such zone", json!({"time_zone": "Europe/Atlantis"}), "invalid_time_zone"),
        property("no such currency", json!({"currency": "QQQ"}), "invalid_currency"),
        Row::put("a negative price", "/v1/properties/grand/rates", rate, 422, "invalid_amount"),
    ]
}

/// Stays that the rules refuse.
fn rows_of_stays() -> Vec<Row> {
    let row = |what, changes: Value, status, code| Row::post(what, RESERVATIONS, stay(changes), status, code);
    let by_type =
        |room_type: &str, changes: Value| with(json!({"room": null, "room_type": room_type}), changes);
    let nights = json!({"nights": [date(10), date(11)]});
    let free = json!({"arrival": date(40), "departure": date(41)});
    vec![
        row("no such type", by_type("cave", json!({})), 404, "room_type_not_found"),
        row("no such room", json!({"room": "999"}), 404, "room_not_found"),
        row("no such block", json!({"block": "tour"}), 404, "block_not_found"),
        row("a full type", by_type("closed", json!({"occupancy": 1})), 409, "no_availability")
            .facts(nights.clone()),
        row("a taken room", json!({}), 409, "room_unavailable").facts(nights.clone()),
        row(
            "a closed type",
            by_type("suite", json!({"arrival": date(8), "departure": date(9)})),
            409,
            "restricted",
        )
        .facts(json!({"rule": "closed", "date": date(8)})),
        row("another price", with(free, json!({"expected_total": 1})), 409, "price_changed")
            .facts(json!({"total": 14_000})),
        row("no night", json!({"departure": date(10)}), 422, "invalid_stay"),
        row("over a year", json!({"departure": date(377)}), 422, "stay_too_long"),
        row("yesterday", json!({"arrival": "2026-12-31"}), 422, "arrival_in_past"),
        row("too far", json!({"arrival": date(1_100), "departure": date(1_101)}), 422, "beyond_horizon"),
        row("ages ago", json!({"arrival": "0001-01-01", "departure": "0001-01-02"}), 422, "arrival_in_past"),
        row(
            "the last night of all",
            json!({"arrival": "9999-12-30", "departure": "9999-12-31"}),
            422,
            "beyond_horizon",
        ),
        row("nobody", json!({"occupancy": 0}), 422, "occupancy_invalid"),
        row("a hold of no time", json!({"hold_seconds": 0}), 422, "hold_ttl_invalid"),
        row("no price", json!({"currency": "USD"}), 422, "not_priced").facts(nights),
    ]
}

/// Batches that announce bodies and never send them take all of a node's room for long ones.
async fn overloaded(cluster: &Cluster, produced: &mut Produced) {
    let api = cluster.api(2);
    let mut silent = Vec::new();
    let announce = async || {
        let mut connection = TcpStream::connect(api.address()).await.expect("a connection");
        let head = "POST /v1/batch HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
                    content-length: 33554432\r\n\r\n";
        connection.write_all(head.as_bytes()).await.expect("the head is sent");
        connection
    };
    for _ in 0..Limits::default().batch_bodies_bytes_max >> 25 {
        silent.push(announce().await);
    }
    let long = json!({"commands": ["x".repeat(1 << 20)]});
    eventually("a node that holds all the long batches it can sheds one more", async || {
        let answer = api.post("/v1/batch", &long).send().await?;
        if answer.status != 429 {
            // This question may have come before the last of them, and left it no room.
            silent.push(announce().await);
            return Err(answer.in_words());
        }
        assert!(answer.header("retry-after").is_some(), "{}", answer.in_words());
        produced.insert(answer.code(), answer.status);
        Ok(())
    })
    .await;
}

/// What a leader answers whose followers are frozen.
async fn without_majority(cluster: &Cluster, produced: &mut Produced) {
    cluster.agree().await;
    let leader = cluster.leader().await;
    for follower in cluster.followers().await {
        cluster.pause(follower);
    }
    let api = cluster.api(leader);
    // Appended here, and nobody else is there to say whether it will stand.
    let booked = stay(json!({"arrival": date(60), "departure": date(61)}));
    let problem = api.post(RESERVATIONS, &booked).key("unknown").refused(503, "outcome_unknown").await;
    produced.insert("outcome_unknown".to_owned(), problem["status"].as_u64().expect("a status") as u16);
    for (code, path) in [
        ("no_leader", "/v1/properties"),
        ("too_stale", "/v1/properties?consistency=local&max_staleness_ms=100"),
        ("not_ready", "/readyz"),
    ] {
        eventually(code, async || {
            let answer = api.get(path).send().await?;
            if answer.code() != code {
                return Err(answer.in_words());
            }
            assert_eq!(answer.header("retry-after").is_some(), code == "no_leader", "{}", answer.in_words());
            produced.insert(code.to_owned(), answer.status);
            Ok(())
        })
        .await;
    }
}

/// A clock for ids that stands still, so that a node which starts again gives the ids that it gave before, and that
/// breaks once when it is told to.
#[derive(Default)]
struct Stuck {
    breaks: AtomicBool,
}

impl Clock for Stuck {
    fn since_epoch(&self) -> Duration {
        assert!(!self.breaks.swap(false, Ordering::SeqCst), "the clock breaks, on purpose");
        Duration::from_secs(1_800_000_000)
    }

    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }
}

/// A cluster of one in this process, whose client port is a real one.
struct Alone {
    node: Arc<Node>,
    api: Api,
    serving: tokio::task::JoinHandle<()>,
}

impl Alone {
    async fn start(dir: &Path, stuck: Arc<Stuck>) -> Alone {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address").to_string();
        let config = Config {
            node_id: 1,
            data_dir: dir.to_owned(),
            client_addr: address.clone(),
            peer_addr: "127.0.0.1:1".to_owned(),
            initial_cluster: Some(BTreeMap::from([(1, "127.0.0.1:1".to_owned())])),
            limits: Limits::default(),
            timings: Timings::default(),
        };
        let world = World {
            clock: Arc::new(SystemClock),
            transport: Arc::new(HttpTransport::new().expect("a client")),
            ids: IdSource::new(stuck, StdRng::seed_from_u64(1)),
            disk: Arc::new(DiskThreads),
            // The next start finds none, and nobody else has one.
            history: Keeping::InMemory,
        };
        let node = Node::start(config, world).await.expect("a node that starts");
        let router = client_router(node.clone());
        let serving =
            tokio::spawn(async move { axum::serve(listener, router).await.expect("a port that is served") });
        let api = Api::new(&client(), &address);
        eventually("the node is ready", async || {
            let answer = api.get("/readyz").send().await?;
            if answer.status == 200 { Ok(()) } else { Err(answer.in_words()) }
        })
        .await;
        Alone { node, api, serving }
    }

    async fn stop(self) {
        self.serving.abort();
        // What the server still holds of the node goes with its task.
        let _ = self.serving.await;
        self.node.shut_down().await;
    }
}

/// What only a fault of the program itself brings about: ids that were given before, and a panic.
async fn bugs(produced: &mut Produced) {
    let dir = tempfile::tempdir().expect("a directory");
    let stuck = Arc::new(Stuck::default());
    let alone = Alone::start(dir.path(), stuck.clone()).await;
    alone.api.put("/v1/properties/grand", &grand()).expect(201).await;
    let room_type = json!({"name": "double", "max_occupancy": 2});
    alone.api.put("/v1/properties/grand/room-types/double", &room_type).expect(201).await;
    alone.api.put("/v1/properties/grand/rooms/101", &json!({"room_type": "double"})).expect(201).await;
    let rate = json!({"room": "101", "from": date(0), "to": date(99), "prices": {"EUR": {"2": 1}}});
    alone.api.put("/v1/properties/grand/rates", &rate).expect(200).await;
    let members: Vec<Value> = (0..5)
        .map(|n| json!({"room": "101", "arrival": date(n), "departure": date(n + 1), "occupancy": 2}))
        .collect();
    let group = json!({"guest": "guest", "reservations": members});
    alone.api.post("/v1/properties/grand/bookings", &group).expect(201).await;
    alone.stop().await;

    // A start takes fewer ids than the first one did; after one or two reservations it comes to the group's.
    let alone = Alone::start(dir.path(), stuck.clone()).await;
    let mut again = None;
    for n in 20..23 {
        let nights = json!({"arrival": date(n), "departure": date(n + 1)});
        let call = alone.api.post(RESERVATIONS, &stay(nights)).key(&format!("again-{n}"));
        if call.answer().await.status == 500 {
            again = Some(call);
            break;
        }
    }
    let again = again.expect("an id that was given before");
    let quarantined = again.refused(500, "quarantined").await;
    let lsn = quarantined["lsn"].as_u64().expect("where it was set aside");
    assert_eq!(again.refused(500, "quarantined").await["lsn"], lsn, "it is stored under its key");
    let set_aside = alone.api.get("/v1/quarantine").expect(200).await;
    assert_eq!(set_aside["commands"][0]["lsn"], lsn, "{set_aside}");
    produced.insert("quarantined".to_owned(), 500);

    stuck.breaks.store(true, Ordering::SeqCst);
    let booked = stay(json!({"arrival": date(30), "departure": date(31)}));
    alone.api.post(RESERVATIONS, &booked).refused(500, "internal").await;
    produced.insert("internal".to_owned(), 500);
    // The node goes on.
    alone.api.post(RESERVATIONS, &booked).expect(201).await;
    alone.stop().await;
}

/// A node that lost its history, and has nobody who could tell it again what its log no longer holds.
async fn forgotten(produced: &mut Produced) {
    let dir = tempfile::tempdir().expect("a directory");
    let alone = Alone::start(dir.path(), Arc::new(Stuck::default())).await;
    for property in ["one", "two", "three"] {
        alone.api.put(&format!("/v1/properties/{property}"), &grand()).expect(201).await;
        let applied = own_row(&alone.api).await["applied_index"].as_u64();
        alone.api.post("/v1/cluster/snapshot", &json!({})).expect(202).await;
        eventually("a snapshot is there", async || {
            let row = own_row(&alone.api).await;
            if row["snapshot_index"].as_u64() >= applied { Ok(()) } else { Err(row.to_string()) }
        })
        .await;
    }
    eventually("the log is purged", async || {
        let row = own_row(&alone.api).await;
        if row["purged_index"].is_u64() { Ok(()) } else { Err(row.to_string()) }
    })
    .await;
    alone.stop().await;

    let alone = Alone::start(dir.path(), Arc::new(Stuck::default())).await;
    let first = eventually("it is known that nobody has it", async || {
        let answer = alone.api.get("/v1/events").send().await?;
        if answer.status == 410 { Ok(answer.problem()) } else { Err(answer.in_words()) }
    })
    .await;
    assert_eq!(first["code"], "history_gone");
    let first = first["first_lsn"].as_u64().expect("where it begins");
    let told = alone.api.get(&format!("/v1/events?after={}-0", first - 1)).expect(200).await;
    let properties = told["events"].as_array().expect("events").iter().map(|event| &event["property"]);
    assert_eq!(properties.collect::<Vec<_>>(), ["three"]);
    let gone = alone.api.get(&format!(
        "{}?from={}&to={}&as_of=1",
        "/v1/properties/one/availability",
        date(0),
        date(1)
    ));
    assert_eq!(gone.refused(410, "history_gone").await["first_lsn"], first);
    produced.insert("history_gone".to_owned(), 410);
    alone.stop().await;
}

async fn own_row(api: &Api) -> Value {
    api.get("/v1/cluster").expect(200).await["nodes"][0].clone()
}
