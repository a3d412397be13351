//! The desk's calls: arrivals, departures, night audits, changes of a stay, and bookings of several.

use reqwest::Method;
use serde_json::{Value, json};

use super::{RESERVATIONS, Row, ask, open_grand, path_of, reserve, stay, with};
use crate::support::hotel::date;
use crate::support::{Api, Cluster};

const AUDIT: &str = "/v1/properties/grand/night-audit";
const BOOKINGS: &str = "/v1/properties/grand/bookings";
const UNKNOWN: &str = "0197a7a8-2f3b-7c4d-8e5f-0123456789ab";

fn patch(what: &'static str, path: &str, body: Value, status: u16, code: &'static str) -> Row {
    Row::new(what, Method::PATCH, path, status, code).text(body.to_string())
}

fn post(what: &'static str, path: String, status: u16, code: &'static str) -> Row {
    Row::post(what, path, json!({}), status, code)
}

async fn call(api: &Api, reservation: &str, call: &str) -> Value {
    api.post(&format!("{reservation}/{call}"), &json!({})).expect(200).await
}

async fn audit(api: &Api, to: u64) -> Value {
    api.post(AUDIT, &json!({"business_date": date(to)})).expect(200).await
}

#[tokio::test]
async fn guests_arrive_leave_or_do_not_come() {
    let cluster = Cluster::start(3).await;
    open_grand(&cluster).await;
    let api = cluster.api(1);
    let early = json!({"arrival": date(1), "departure": date(4)});
    let guest = path_of(&reserve(&api, early.clone()).await);
    let absent = path_of(&reserve(&api, with(early.clone(), json!({"room": "102"}))).await);
    let single = with(early, json!({"room": "201", "occupancy": 1}));
    let late = path_of(&reserve(&api, single).await);
    let unknown = format!("/v1/reservations/{UNKNOWN}");
    let confirmed = json!({"state": "confirmed"});
    let rows = vec![
        post("arriving too early", format!("{guest}/check-in"), 409, "invalid_state")
            .facts(confirmed.clone()),
        post("missed too early", format!("{guest}/no-show"), 409, "invalid_state").facts(confirmed.clone()),
        post("leaving before arriving", format!("{guest}/check-out"), 409, "invalid_state").facts(confirmed),
        post("arriving at nothing", format!("{unknown}/check-in"), 404, "reservation_not_found"),
        post("an old revision", format!("{guest}/check-in"), 412, "version_mismatch")
            .header("if-match", "\"4\"")
            .facts(json!({"revision": 1})),
        Row::post("a field too many", format!("{guest}/no-show"), json!({"why": 1}), 400, "malformed")
            .names("why"),
        Row::post("an audit backwards", AUDIT, json!({"business_date": "2026-12-31"}), 409, "invalid_state")
            .facts(json!({"state": "manual"})),
        Row::post("an audit without a date", AUDIT, json!({}), 400, "malformed").names("business_date"),
        Row::post("an audit to no date", AUDIT, json!({"business_date": "2027-02-30"}), 400, "malformed")
            .names("business_date"),
        Row::post(
            "an audit of nothing",
            "/v1/properties/nowhere/night-audit",
            json!({"business_date": date(1)}),
            404,
            "property_not_found",
        ),
    ];
    ask(&cluster, &rows).await;

    let property = audit(&cluster.api(2), 1).await;
    assert_eq!(
        (&property["business_date"], &property["business_date_mode"]),
        (&json!(date(1)), &json!("manual"))
    );
    let answer =
        api.post(&format!("{guest}/check-in"), &json!({})).header("if-match", "\"1\"").answer().await;
    assert_eq!((answer.status, answer.header("etag")), (200, Some("\"2\"")), "{}", answer.in_words());
    assert_eq!(answer.json()["status"], "in_house");
    assert_eq!(call(&api, &late, "no-show").await["status"], "no_show");

    audit(&api, 2).await;
    assert_eq!(cluster.api(3).get(&absent).expect(200).await["status"], "no_show");
    let left = call(&api, &guest, "check-out").await;
    assert_eq!((&left["status"], &left["departure"]), (&json!("checked_out"), &json!(date(2))));
    assert_eq!(left["price"]["total"], 3 * 14_000);
    // The nights left are free for the next.
    reserve(&api, json!({"arrival": date(2), "departure": date(4)})).await;
    for (reservation, state) in [(&guest, "checked_out"), (&absent, "no_show")] {
        let rows = ["check-in", "check-out", "no-show", "cancel", "confirm"].map(|call| {
            post("what is over", format!("{reservation}/{call}"), 409, "invalid_state")
                .facts(json!({"state": state}))
        });
        ask(&cluster, &rows).await;
        let path = format!("{RESERVATIONS}?status={state}");
        assert!(!api.get(&path).expect(200).await["reservations"].as_array().unwrap().is_empty());
    }
    cluster.agree().await;
}

/// One command marks 256 of them, and those behind it the others.
#[tokio::test]
async fn the_past_as_of_the_answer_of_a_night_audit_has_all_its_no_shows() {
    let cluster = Cluster::start(3).await;
    open_grand(&cluster).await;
    let api = cluster.api(1);
    let of_room = |n: usize| {
        let room = format!("a{n:03}");
        let made = json!({"op": "put_room", "property": "grand", "room": room, "room_type": "double"});
        let taken = stay(json!({"room": room, "arrival": date(1), "departure": date(4)}));
        [made, with(json!({"op": "reserve", "property": "grand"}), taken)]
    };
    let commands: Vec<Value> = (0..600).flat_map(of_room).collect();
    let made = api.post("/v1/batch", &json!({"commands": commands})).expect(200).await;
    let results = made["results"].as_array().expect("a list of results");
    assert!(results.iter().all(|result| result["status"] == 201), "{made}");
    let answer = api.post(AUDIT, &json!({"business_date": date(2)})).answer().await;
    assert_eq!(answer.status, 200, "{}", answer.in_words());
    let lsn = answer.header("innkeeper-lsn").expect("a position").to_owned();
    // The last reservations are the last to be marked.
    for result in results.iter().rev().step_by(2).take(20) {
        let path = path_of(&result["reservation"]);
        assert_eq!(api.get(&format!("{path}?as_of={lsn}")).expect(200).await["status"], "no_show");
    }
    cluster.agree().await;
}

#[tokio::test]
async fn a_stay_is_changed_or_stays_as_it_was() {
    let cluster = Cluster::start(3).await;
    open_grand(&cluster).await;
    let api = cluster.api(1);
    let made = reserve(&api, json!({})).await;
    let path = path_of(&made);
    reserve(&api, json!({"arrival": date(12), "departure": date(14)})).await;
    reserve(&api, json!({"room": "301"})).await;
    let assign = format!("{path}/assign");
    let rows = vec![
        patch(
            "what isn't there",
            &format!("/v1/reservations/{UNKNOWN}"),
            json!({}),
            404,
            "reservation_not_found",
        ),
        patch("another guest", &path, json!({"guest": "me"}), 400, "malformed").names("guest"),
        patch("a room and a type", &path, json!({"room": "102", "room_type": "double"}), 400, "malformed")
            .names("room"),
        patch("a room that isn't there", &path, json!({"room": "9"}), 404, "room_not_found"),
        patch("a type that isn't there", &path, json!({"room_type": "x"}), 404, "room_type_not_found"),
        patch("an old revision", &path, json!({"departure": date(13)}), 412, "version_mismatch")
            .header("if-match", "\"2\"")
            .facts(json!({"revision": 1})),
        patch("no night", &path, json!({"departure": date(10)}), 422, "invalid_stay"),
        patch("too many nights", &path, json!({"departure": date(400)}), 422, "stay_too_long"),
        patch("the past", &path, json!({"arrival": "2026-12-31"}), 422, "arrival_in_past"),
        patch("too many guests", &path, json!({"occupancy": 3}), 422, "occupancy_invalid"),
        patch("no price", &path, json!({"room_type": "closed"}), 422, "not_priced")
            .facts(json!({"nights": [date(10), date(11)]})),
        patch("a night of another's", &path, json!({"departure": date(14)}), 409, "room_unavailable")
            .facts(json!({"nights": [date(12), date(13)]})),
        patch("a full type", &path, json!({"room_type": "suite"}), 409, "no_availability")
            .facts(json!({"nights": [date(10), date(11)]})),
        Row::post("a room that isn't there", &assign, json!({"room": "9"}), 404, "room_not_found"),
        Row::post("no room", &assign, json!({}), 400, "malformed").names("room"),
        Row::post("a room that is too small", &assign, json!({"room": "201"}), 422, "occupancy_invalid"),
        Row::post("a room of another's", &assign, json!({"room": "301"}), 409, "room_unavailable"),
    ];
    ask(&cluster, &rows).await;
    assert_eq!(api.get(&path).expect(200).await, made);

    let change = |body: Value| api.call(Method::PATCH, &path).body("application/json", body.to_string());
    let answer = change(json!({"arrival": date(9)})).key("change").header("if-match", "\"1\"").answer().await;
    assert_eq!((answer.status, answer.header("etag")), (200, Some("\"2\"")), "{}", answer.in_words());
    let changed = answer.json();
    assert_eq!((&changed["arrival"], &changed["price"]["total"]), (&json!(date(9)), &json!(3 * 14_000)));
    let unpinned = change(json!({"room": null})).expect(200).await;
    assert_eq!((&unpinned["room_pinned"], &unpinned["revision"]), (&json!(false), &json!(3)));
    let assigned = cluster.api(2).post(&assign, &json!({"room": "102"})).expect(200).await;
    assert_eq!((&assigned["room"], &assigned["room_pinned"]), (&json!("102"), &json!(true)));
    // A retry gets what the first attempt did, whatever came since; leaving a field out is not the same as null.
    let retried =
        change(json!({"arrival": date(9)})).key("change").header("if-match", "\"1\"").answer().await;
    assert_eq!((retried.json(), retried.header("idempotent-replayed")), (changed, Some("true")));
    let reused = change(json!({"arrival": date(9), "room": null})).key("change").answer().await;
    assert_eq!((reused.status, reused.code()), (422, "idempotency_key_reused".to_owned()));
    cluster.agree().await;
}

#[tokio::test]
async fn a_booking_of_several_is_all_or_none() {
    let cluster = Cluster::start(3).await;
    open_grand(&cluster).await;
    let api = cluster.api(1);
    let member = |changes: Value| with(stay(changes), json!({"guest": null}));
    let group = |members: Vec<Value>| json!({"guest": "group", "reservations": members});
    let second = member(json!({"room": "102", "hold_seconds": 600}));
    let rows = vec![
        Row::post("no member", BOOKINGS, group(vec![]), 400, "malformed").names("reservations"),
        Row::post("501 members", BOOKINGS, group(vec![second.clone(); 501]), 400, "malformed")
            .names("reservations"),
        Row::post("a member's guest", BOOKINGS, group(vec![stay(json!({}))]), 400, "malformed")
            .names("reservations[0].guest"),
        Row::post(
            "no room",
            BOOKINGS,
            group(vec![second.clone(), member(json!({"room": null}))]),
            400,
            "malformed",
        )
        .names("reservations[1].room"),
        Row::post(
            "a full room",
            BOOKINGS,
            group(vec![second.clone(), second.clone()]),
            409,
            "room_unavailable",
        )
        .facts(json!({"index": 1, "nights": [date(10), date(11)]})),
        Row::post(
            "a room that isn't there",
            BOOKINGS,
            group(vec![second.clone(), member(json!({"room": "9"}))]),
            404,
            "room_not_found",
        )
        .facts(json!({"index": 1})),
        Row::post(
            "no property",
            "/v1/properties/no/bookings",
            group(vec![second.clone()]),
            404,
            "property_not_found",
        ),
        Row::post("a field of a member twice", BOOKINGS, json!({}), 400, "malformed")
            .text(r#"{"guest":"g","reservations":[{"room":"101","room":"102"}]}"#)
            .names("room"),
        Row::get("no booking", format!("/v1/bookings/{UNKNOWN}"), 404, "booking_not_found"),
        post("confirming none", format!("/v1/bookings/{UNKNOWN}/confirm"), 404, "booking_not_found"),
        post("canceling none", format!("/v1/bookings/{UNKNOWN}/cancel"), 404, "booking_not_found"),
    ];
    ask(&cluster, &rows).await;
    let none = api.get(RESERVATIONS).expect(200).await;
    assert_eq!(none["reservations"], json!([]));

    let both = group(vec![second, member(json!({}))]);
    let answer = api.post(BOOKINGS, &both).key("group").answer().await;
    assert_eq!(answer.status, 201, "{}", answer.in_words());
    let booking = answer.json();
    let path = format!("/v1/bookings/{}", booking["id"].as_str().unwrap());
    assert_eq!(answer.header("location"), Some(&*path));
    let rooms: Vec<&Value> =
        booking["reservations"].as_array().unwrap().iter().map(|stay| &stay["room"]).collect();
    assert_eq!(rooms, [&json!("102"), &json!("101")]);
    for api in cluster.apis() {
        assert_eq!(api.get(&path).expect(200).await, booking);
    }
    let confirmed = cluster.api(2).post(&format!("{path}/confirm"), &json!({})).expect(200).await;
    let states = |booking: &Value| -> Vec<Value> {
        booking["reservations"].as_array().unwrap().iter().map(|stay| stay["status"].clone()).collect()
    };
    assert_eq!(states(&confirmed), ["confirmed", "confirmed"]);
    let retried = cluster.api(3).post(BOOKINGS, &both).key("group").answer().await;
    assert_eq!((retried.status, retried.json()), (201, booking.clone()));
    assert_eq!(retried.header("idempotent-replayed"), Some("true"));
    let canceled = api.post(&format!("{path}/cancel"), &json!({})).expect(200).await;
    assert_eq!(states(&canceled), ["canceled", "canceled"]);
    let refused = post("confirming the canceled", format!("{path}/confirm"), 409, "invalid_state");
    ask(&cluster, &[refused.facts(json!({"index": 0, "state": "canceled"}))]).await;
    // One that was made by itself is a booking too.
    let alone = reserve(&api, json!({})).await;
    let path = format!("/v1/bookings/{}", alone["booking_id"].as_str().unwrap());
    assert_eq!(api.get(&path).expect(200).await["reservations"], json!([alone]));
    cluster.agree().await;
}

#[tokio::test]
async fn a_room_is_out_of_order_for_a_time() {
    let cluster = Cluster::start(3).await;
    open_grand(&cluster).await;
    let api = cluster.api(1);
    let of = |room: &str| format!("/v1/properties/grand/rooms/{room}/out-of-order");
    let body = |changes: Value| with(json!({"from": date(10), "to": date(12), "reason": "paint"}), changes);
    let put = |what, path: String, changes, status, code| Row::put(what, path, body(changes), status, code);
    let delete = |what, path: String, status, code| Row::new(what, Method::DELETE, path, status, code);
    reserve(&api, json!({"arrival": date(11), "departure": date(15)})).await;
    let rows = vec![
        put("no reason", of("102"), json!({"reason": null}), 400, "malformed").names("reason"),
        put("no night", of("102"), json!({"to": date(10)}), 400, "malformed").names("to"),
        put("far too long", of("102"), json!({"to": "2199-01-01"}), 400, "malformed").names("to"),
        put("no room", of("9"), json!({}), 404, "room_not_found"),
        put("a room that is sold", of("101"), json!({}), 409, "capacity_below_sold")
            .facts(json!({"nights": [date(11)]})),
        delete("no range", of("102"), 400, "malformed").names("from"),
        delete(
            "a range without nights",
            format!("{}?from={}&to={}", of("102"), date(3), date(3)),
            400,
            "malformed",
        )
        .names("to"),
        delete("no room", format!("{}?from={}&to={}", of("9"), date(3), date(4)), 404, "room_not_found"),
    ];
    ask(&cluster, &rows).await;

    let set = api.put(&of("102"), &body(json!({}))).key("close").expect(200).await;
    assert_eq!(set, with(body(json!({})), json!({"room": "102"})));
    let nights = format!("/v1/properties/grand/availability?from={}&to={}", date(10), date(13));
    let counted = api.get(&nights).expect(200).await["room_types"]["double"].clone();
    let counted: Vec<(i64, i64)> = (counted.as_array().unwrap().iter())
        .map(|night| (night["out_of_order"].as_i64().unwrap(), night["available"].as_i64().unwrap()))
        .collect();
    assert_eq!(counted, [(1, 1), (1, 0), (0, 1)]);
    let closed =
        Row::post("a closed room", RESERVATIONS, stay(json!({"room": "102"})), 409, "room_unavailable");
    ask(&cluster, &[closed.facts(json!({"nights": [date(10), date(11)]}))]).await;

    let range = format!("{}?from={}&to={}", of("102"), date(10), date(12));
    let answer = cluster.api(2).call(Method::DELETE, &range).key("open").answer().await;
    assert_eq!(answer.status, 204, "{}", answer.in_words());
    let answer = cluster.api(3).call(Method::DELETE, &range).key("open").answer().await;
    assert_eq!((answer.status, answer.header("idempotent-replayed")), (204, Some("true")));
    reserve(&api, json!({"room": "102"})).await;
    cluster.agree().await;
}
