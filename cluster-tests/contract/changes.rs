//! `GET /v1/reservations/{id}`, confirm and cancel: states, revisions and refusals.

use serde_json::json;

use super::{Row, ask, open_grand, path_of, reserve};
use crate::support::hotel::date;
use crate::support::{Cluster, eventually};

const UNKNOWN: &str = "/v1/reservations/0197a7a8-2f3b-7c4d-8e5f-0123456789ab";

#[tokio::test]
async fn what_a_change_is_refused_for() {
    let cluster = Cluster::start(3).await;
    open_grand(&cluster).await;
    let api = cluster.api(1);
    let made = reserve(&api, json!({})).await;
    let (confirmed, booking) = (path_of(&made), made["booking_id"].as_str().expect("an id").to_owned());
    let canceled = path_of(&reserve(&api, json!({"room": "102"})).await);
    api.post(&format!("{canceled}/cancel"), &json!({})).expect(200).await;
    let short = json!({"room": "201", "occupancy": 1, "hold_seconds": 1});
    let expired = path_of(&reserve(&api, short).await);
    let long = json!({"room": "301", "hold_seconds": 600});
    let held = path_of(&reserve(&api, long).await);
    eventually("the short hold has ended", async || {
        let read = api.get(&expired).expect(200).await;
        if read["status"] == "expired" { Ok(()) } else { Err(read.to_string()) }
    })
    .await;
    let post = |what, path: String, status, code| Row::post(what, path, json!({}), status, code);

    let rows = vec![
        Row::get("a reservation that isn't there", UNKNOWN, 404, "reservation_not_found"),
        post("confirming what isn't there", format!("{UNKNOWN}/confirm"), 404, "reservation_not_found"),
        post("cancelling what isn't there", format!("{UNKNOWN}/cancel"), 404, "reservation_not_found"),
        post("confirming the confirmed", format!("{confirmed}/confirm"), 409, "invalid_state")
            .facts(json!({"state": "confirmed"})),
        post("confirming the canceled", format!("{canceled}/confirm"), 409, "invalid_state")
            .facts(json!({"state": "canceled"})),
        post("cancelling the canceled", format!("{canceled}/cancel"), 409, "invalid_state")
            .facts(json!({"state": "canceled"})),
        post("confirming an ended hold", format!("{expired}/confirm"), 410, "hold_expired"),
        post("cancelling an ended hold", format!("{expired}/cancel"), 409, "invalid_state")
            .facts(json!({"state": "expired"})),
        post("cancelling an old revision", format!("{held}/cancel"), 412, "version_mismatch")
            .header("if-match", "\"2\"")
            .facts(json!({"revision": 1})),
        post("confirming an old revision", format!("{held}/confirm"), 412, "version_mismatch")
            .header("if-match", "\"7\"")
            .facts(json!({"revision": 1})),
        post("a revision that none has", format!("{held}/confirm"), 412, "version_mismatch")
            .header("if-match", "\"0\"")
            .facts(json!({"revision": 1})),
        post("a revision without quotes", format!("{held}/confirm"), 400, "malformed")
            .header("if-match", "1")
            .names("If-Match"),
        post("a revision in words", format!("{held}/confirm"), 400, "malformed")
            .header("if-match", "\"first\"")
            .names("If-Match"),
        Row::post("a body with a field", format!("{held}/confirm"), json!({"now": true}), 400, "malformed")
            .names("now"),
        Row::get("an unknown parameter", format!("{held}?verbose=1"), 400, "malformed").names("verbose"),
        Row::get("of the cluster", "/v1/cluster?verbose=1", 400, "malformed").names("verbose"),
        Row::get("of the hash", "/v1/cluster/state-hash?verbose=1", 400, "malformed").names("verbose"),
        Row::get("of what was set aside", "/v1/quarantine?verbose=1", 400, "malformed").names("verbose"),
        Row::get("a booking in braces", format!("/v1/bookings/%7B{booking}%7D"), 400, "malformed")
            .names("id"),
        Row::get(
            "a booking in capitals",
            format!("/v1/bookings/{}", booking.to_uppercase()),
            400,
            "malformed",
        )
        .names("id"),
    ];
    ask(&cluster, &rows).await;

    // What was refused is as it was; the right revision goes through, and counts.
    assert_eq!(api.get(&held).expect(200).await["revision"], 1);
    let call = api.post(&format!("{held}/confirm"), &json!({})).header("if-match", "\"1\"");
    let answer = call.answer().await;
    assert_eq!((answer.status, answer.header("etag")), (200, Some("\"2\"")), "{}", answer.in_words());
    let call = cluster.api(3).post(&format!("{held}/cancel"), &json!({})).header("if-match", "\"2\"");
    let answer = call.answer().await;
    assert_eq!((answer.status, answer.header("etag")), (200, Some("\"3\"")), "{}", answer.in_words());
    assert_eq!(answer.json()["status"], "canceled");
}

/// Neither call needs a body: none, an empty one and an empty object are the same.
#[tokio::test]
async fn a_change_needs_no_body() {
    let cluster = Cluster::start(3).await;
    open_grand(&cluster).await;
    let api = cluster.api(1);
    for n in 0..3 {
        let nights = json!({"arrival": date(n), "departure": date(n + 1)});
        let path = format!("{}/cancel", path_of(&reserve(&api, nights).await));
        let call = match n {
            0 => api.call(reqwest::Method::POST, &path),
            1 => api.call(reqwest::Method::POST, &path).body("application/json", ""),
            _ => api.post(&path, &json!({})),
        };
        assert_eq!(call.expect(200).await["status"], "canceled");
    }
}
