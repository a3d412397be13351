//! The waitlist: who joins, what is offered, and what becomes of it.

use reqwest::Method;
use serde_json::{Value, json};

use super::{Row, ask, open_grand, path_of, reserve, with};
use crate::support::Cluster;
use crate::support::hotel::date;

const WAITLIST: &str = "/v1/properties/grand/waitlist";

fn wish(changes: Value) -> Value {
    let wish = json!({"guest": "patient", "room_type": "double", "arrival": date(10), "departure": date(12),
                      "occupancy": 2});
    with(wish, changes)
}

#[tokio::test]
async fn the_next_in_line_is_offered_what_others_give_back() {
    let cluster = Cluster::start(3).await;
    open_grand(&cluster).await;
    let api = cluster.api(2);
    let sold = reserve(&api, json!({})).await;
    reserve(&api, json!({"room": "102"})).await;

    let answer = api.post(WAITLIST, &wish(json!({}))).answer().await;
    let first = answer.json();
    let path = |entry: &Value| format!("{WAITLIST}/{}", entry["id"].as_str().expect("an id"));
    assert_eq!((answer.status, answer.header("location")), (201, Some(path(&first).as_str())));
    let state = |entry: &Value| (entry["status"].clone(), entry["reservation"].is_null());
    assert_eq!(state(&first), (json!("waiting"), true));
    let second = api.post(WAITLIST, &wish(json!({"currency": "EUR"}))).expect(201).await;

    let shown = async |entry: &Value| api.get(&path(entry)).expect(200).await;
    api.post(&format!("{}/cancel", path_of(&sold)), &json!({})).expect(200).await;
    let offered = shown(&first).await;
    assert_eq!(state(&offered), (json!("offered"), false));
    let hold = format!("/v1/reservations/{}", offered["reservation"].as_str().expect("a hold"));
    assert_eq!(api.get(&hold).expect(200).await["status"], json!("held"));
    assert_eq!(api.call(Method::DELETE, &path(&first)).answer().await.status, 204);
    assert_eq!(shown(&first).await["status"], json!("withdrawn"));
    let offered = shown(&second).await;
    let hold = format!("/v1/reservations/{}", offered["reservation"].as_str().expect("a hold"));
    api.post(&format!("{hold}/confirm"), &json!({})).expect(200).await;
    assert_eq!(shown(&second).await["status"], json!("booked"));

    cluster.agree().await;
    for api in cluster.apis() {
        let page = api.get(&format!("{WAITLIST}?limit=1")).expect(200).await;
        let cursor = page["next_cursor"].as_str().expect("a second page");
        let rest = api.get(&format!("{WAITLIST}?cursor={cursor}")).expect(200).await;
        assert_eq!((&page["waitlist"][0]["id"], &rest["waitlist"][0]["id"]), (&first["id"], &second["id"]));
        assert_eq!(rest["next_cursor"], Value::Null);
    }
    let refused = |what, changes: Value, code| Row::post(what, WAITLIST, wish(changes), 422, code);
    let rows = [
        Row::new("booked", Method::DELETE, path(&second), 409, "invalid_state")
            .facts(json!({"state": "booked"})),
        Row::get(
            "no such entry",
            format!("{WAITLIST}/01900000-0000-7000-8000-000000000000"),
            404,
            "waitlist_entry_not_found",
        ),
        Row::get("no id", format!("{WAITLIST}/7"), 400, "malformed"),
        Row::post("no type", WAITLIST, wish(json!({"room_type": "x"})), 404, "room_type_not_found"),
        Row::post("an unknown field", WAITLIST, wish(json!({"room": "101"})), 400, "malformed").names("room"),
        refused("no night", json!({"departure": date(10)}), "invalid_stay"),
        refused("too many", json!({"occupancy": 3}), "occupancy_invalid"),
        refused("no currency", json!({"currency": "XXZ"}), "invalid_currency"),
        refused("no price", json!({"currency": "USD"}), "not_priced"),
    ];
    ask(&cluster, &rows).await;
}
