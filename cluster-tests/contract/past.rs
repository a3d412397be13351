//! What the contract says of the past: events, versions, and reads as of a position.

use serde_json::{Value, json};

use super::{Row, ask, open_grand, path_of, reserve};
use crate::support::hotel::date;
use crate::support::{Api, Cluster};

const EVENTS: &str = "/v1/events";
const UNKNOWN: &str = "0197a7a8-2f3b-7c4d-8e5f-0123456789ab";

fn event_types(page: &Value) -> Vec<&str> {
    let events = page["events"].as_array().expect("a list of events");
    events.iter().map(|event| event["type"].as_str().expect("a type")).collect()
}

async fn lsn_now(api: &Api) -> u64 {
    let answer = api.get("/v1/properties/grand").answer().await;
    answer.header("innkeeper-lsn").and_then(|lsn| lsn.parse().ok()).expect("a position")
}

fn free_rooms(rest: &str) -> String {
    let (arrival, departure) = (date(10), date(12));
    format!("/v1/properties/grand/free-rooms?arrival={arrival}&departure={departure}&occupancy=2{rest}")
}

fn availability(rest: &str) -> String {
    format!("/v1/properties/grand/availability?from={}&to={}{rest}", date(9), date(13))
}

#[tokio::test]
async fn the_past_is_refused_where_it_can_not_be_told() {
    let cluster = Cluster::start(3).await;
    open_grand(&cluster).await;
    let api = cluster.api(1);
    let path = path_of(&reserve(&api, json!({})).await);
    let booking = reserve(&api, json!({"room": "102"})).await["booking_id"].as_str().unwrap().to_owned();
    let rows = [
        Row::get("no position", format!("{EVENTS}?after=x"), 400, "malformed").names("after"),
        Row::get("half a position", format!("{EVENTS}?after=4"), 400, "malformed").names("after"),
        Row::get("a padded position", format!("{EVENTS}?after=04-0"), 400, "malformed").names("after"),
        Row::get("no event", format!("{EVENTS}?limit=0"), 400, "malformed").names("limit"),
        Row::get("too many events", format!("{EVENTS}?limit=1001"), 400, "malformed").names("limit"),
        Row::get("a negative wait", format!("{EVENTS}?wait_ms=-1"), 400, "malformed").names("wait_ms"),
        Row::get("too long a wait", format!("{EVENTS}?wait_ms=60001"), 400, "malformed").names("wait_ms"),
        Row::get("no name", format!("{EVENTS}?property=-"), 400, "malformed").names("property"),
        Row::get("an unknown parameter", format!("{EVENTS}?before=1-0"), 400, "malformed").names("before"),
        Row::get("a position to come", format!("{EVENTS}?after=1000000-0"), 422, "position_in_future"),
        Row::get("a resume to come", EVENTS, 422, "position_in_future")
            .header("accept", "text/event-stream")
            .header("last-event-id", "1000000-0"),
        Row::get("a resume from nowhere", EVENTS, 400, "malformed")
            .header("accept", "text/event-stream")
            .header("last-event-id", "here")
            .names("Last-Event-ID"),
        Row::new("a write of events", reqwest::Method::POST, EVENTS, 405, "method_not_allowed"),
        Row::get(
            "versions of nothing",
            format!("/v1/reservations/{UNKNOWN}/history"),
            404,
            "reservation_not_found",
        ),
        Row::get("versions of no id", "/v1/reservations/x/history", 400, "malformed").names("id"),
        Row::get("a negative position", format!("{path}?as_of=-1"), 400, "malformed").names("as_of"),
        Row::get("a position of letters", free_rooms("&as_of=x"), 400, "malformed").names("as_of"),
        Row::get("as of nowhere", "/v1/properties?as_of=1", 400, "malformed").names("as_of"),
        Row::get("a reservation to come", format!("{path}?as_of=1000000"), 422, "position_in_future"),
        Row::get("free rooms to come", free_rooms("&as_of=1000000"), 422, "position_in_future"),
        Row::get("nights to come", availability("&as_of=1000000"), 422, "position_in_future"),
        Row::get("before it was made", format!("{path}?as_of=3"), 404, "reservation_not_found"),
        Row::get(
            "before they were made",
            format!("/v1/bookings/{booking}?as_of=3"),
            404,
            "booking_not_found",
        ),
        Row::get("before the house", free_rooms("&as_of=0"), 404, "property_not_found"),
        Row::get("nights before the house", availability("&as_of=0"), 404, "property_not_found"),
        Row::get("before the type", free_rooms("&room_type=double&as_of=1"), 404, "room_type_not_found"),
    ];
    ask(&cluster, &rows).await;
}

#[tokio::test]
async fn every_change_is_told_once_and_alike_by_every_node() {
    let cluster = Cluster::start(3).await;
    open_grand(&cluster).await;
    let api = cluster.api(1);
    let opened = lsn_now(&api).await;
    let body = super::stay(json!({"hold_seconds": 600}));
    let held = api.post(super::RESERVATIONS, &body).key("the-key").expect(201).await;
    let path = path_of(&held);
    let confirmed = api.post(&format!("{path}/confirm"), &json!({})).expect(200).await;
    api.post(super::RESERVATIONS, &body).refused(409, "room_unavailable").await;
    let canceled = api.post(&format!("{path}/cancel"), &json!({})).expect(200).await;
    cluster.agree().await;

    let mut told = Vec::new();
    for api in cluster.apis() {
        let page = api.get(&format!("{EVENTS}?after={opened}-0")).expect(200).await;
        let expected = ["reservation.held", "reservation.confirmed", "reservation.canceled"];
        assert_eq!(event_types(&page), expected, "{page}");
        told.push(page);
    }
    assert!(told.iter().all(|page| *page == told[0]), "{told:#?}");
    let events = &told[0]["events"];
    let first = &events[0];
    let lsn = held["lsn"].as_u64().expect("a position");
    assert_eq!(first["position"], format!("{lsn}-0"));
    assert_eq!((&first["lsn"], &first["time"]), (&held["lsn"], &held["created_at"]));
    assert_eq!((&first["property"], &first["idempotency_key"]), (&json!("grand"), &json!("the-key")));
    assert_eq!((&first["before"], &first["after"]), (&Value::Null, &held));
    assert_eq!((&events[1]["before"], &events[1]["after"]), (&held, &confirmed));
    assert_eq!((&events[2]["before"], &events[2]["after"]), (&confirmed, &canceled));
    assert_eq!(events[1]["idempotency_key"], Value::Null);
    assert_eq!(told[0]["next"], events[2]["position"]);

    pages_join(&api, &told[0]).await;
    versions_and_states(&cluster, &path, &[held, confirmed, canceled]).await;
}

/// A page boundary neither loses nor repeats, an empty page goes on where it began, and a filter leaves out.
async fn pages_join(api: &Api, last: &Value) {
    let mut next = "0-0".to_owned();
    let mut one_by_one = Vec::new();
    loop {
        let page = api.get(&format!("{EVENTS}?after={next}&limit=1")).expect(200).await;
        let Some(event) = page["events"].get(0) else {
            assert_eq!(page["next"], json!(next), "an empty page's next is its after");
            break;
        };
        one_by_one.push(event.clone());
        next = page["next"].as_str().expect("a position").to_owned();
    }
    let whole = api.get(&format!("{EVENTS}?limit=1000")).expect(200).await;
    assert_eq!(whole["events"], json!(one_by_one));
    assert_eq!(whole["next"], last["next"]);
    assert_eq!(whole["events"][0]["type"], "property.defined");
    let other = api.get(&format!("{EVENTS}?property=other&wait_ms=50&after={next}")).expect(200).await;
    assert_eq!(other, json!({"events": [], "next": next}));
    // A change that comes while one waits is told at once.
    let waiting = api.get(&format!("{EVENTS}?after={next}&wait_ms=20000&property=grand"));
    let (page, made) = tokio::join!(waiting.expect(200), reserve(api, json!({"room": "102"})));
    assert_eq!(page["events"][0]["after"], made);
}

async fn versions_and_states(cluster: &Cluster, path: &str, versions: &[Value]) {
    for api in cluster.apis() {
        let history = api.get(&format!("{path}/history")).expect(200).await;
        let listed = history["versions"].as_array().expect("versions");
        let shown: Vec<&Value> = listed.iter().map(|version| &version["reservation"]).collect();
        assert_eq!(shown, versions.iter().collect::<Vec<_>>());
        assert_eq!(listed[1]["type"], "reservation.confirmed");
        assert_eq!((&listed[2]["revision"], &listed[2]["lsn"]), (&json!(3), &versions[2]["lsn"]));
        for version in versions {
            let lsn = version["lsn"].as_u64().expect("a position");
            let answer = api.get(&format!("{path}?as_of={lsn}")).answer().await;
            assert_eq!(answer.json(), *version, "{}", answer.in_words());
            assert_eq!(answer.header("innkeeper-lsn"), Some(lsn.to_string().as_str()));
            let booking = version["booking_id"].as_str().expect("an id");
            let booking = api.get(&format!("/v1/bookings/{booking}?as_of={lsn}")).expect(200).await;
            assert_eq!(booking["reservations"], json!([version]));
            let is_free = version["status"] == "canceled";
            let free = api.get(&free_rooms(&format!("&as_of={lsn}&room=101"))).expect(200).await;
            assert_eq!(free["rooms"].as_array().map(Vec::len), Some(usize::from(is_free)), "{lsn}: {free}");
            let nights = api.get(&availability(&format!("&as_of={lsn}"))).expect(200).await;
            let night = &nights["room_types"]["double"][1];
            let (held, sold) = match version["status"].as_str() {
                Some("held") => (1, 0),
                Some("confirmed") => (0, 1),
                _ => (0, 0),
            };
            assert_eq!((&night["held"], &night["sold"]), (&json!(held), &json!(sold)), "{lsn}");
        }
    }
}
