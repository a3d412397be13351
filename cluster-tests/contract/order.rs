//! Where several refusals apply, the contract says which is given.

use reqwest::Method;
use serde_json::{Value, json};

use super::{RESERVATIONS, Row, ask, open_grand, path_of, reserve, stay};
use crate::support::hotel::date;
use crate::support::{Cluster, eventually};

/// Each row breaks the rule that it is refused for, and the next one in the contract's order as well.
#[tokio::test]
async fn of_several_refusals_the_first_of_the_contract_is_given() {
    let cluster = Cluster::start(3).await;
    open_grand(&cluster).await;
    let api = cluster.api(1);
    api.post(RESERVATIONS, &stay(json!({"arrival": date(90), "departure": date(91)})))
        .key("used")
        .expect(201)
        .await;
    for room in ["101", "102"] {
        reserve(&api, json!({"room": room})).await;
    }
    reserve(&api, json!({"room": "301"})).await;
    let block =
        json!({"room_type": "double", "from": date(10), "to": date(12), "rooms": 1, "status": "tentative"});
    api.put("/v1/properties/grand/blocks/pencil", &block).expect(201).await;
    let rules = json!({"room_type": "suite", "from": date(10), "to": date(12), "closed": true});
    api.put("/v1/properties/grand/restrictions", &rules).expect(200).await;
    let canceled = reserve(&api, json!({"room": "201", "occupancy": 1})).await;
    api.post(&format!("{}/cancel", path_of(&canceled)), &json!({})).expect(200).await;
    let expired = reserve(&api, json!({"room": "201", "occupancy": 1, "hold_seconds": 1})).await;
    eventually("the hold has ended", async || {
        let read = api.get(&path_of(&expired)).expect(200).await;
        if read["status"] == "expired" { Ok(()) } else { Err(read.to_string()) }
    })
    .await;

    let row = |what, changes: Value, status, code| Row::post(what, RESERVATIONS, stay(changes), status, code);
    let large = "x".repeat(2 * 1024 * 1024);
    let unknown = "/v1/reservations/0197a7a8-2f3b-7c4d-8e5f-0123456789ab";
    let rows = vec![
        Row::post("the route before the media type", "/v1/nothing", json!({}), 404, "not_found")
            .header("content-type", "text/plain"),
        Row::post("the method before the media type", "/v1/properties", json!({}), 405, "method_not_allowed")
            .header("content-type", "text/plain"),
        Row::post("the media type before the size", RESERVATIONS, json!({}), 415, "unsupported_media_type")
            .header("content-type", "text/plain")
            .text(large.clone()),
        Row::post("the size before what it says", RESERVATIONS, json!({}), 413, "too_large").text(large),
        row("what it says before the key", json!({"occupancy": -1}), 400, "malformed")
            .header("idempotency-key", "a b"),
        Row::post(
            "the key's form before the property",
            "/v1/properties/nowhere/reservations",
            stay(json!({})),
            400,
            "idempotency_key_invalid",
        )
        .header("idempotency-key", "a b"),
        Row::post(
            "the key before the property",
            "/v1/properties/nowhere/reservations",
            stay(json!({})),
            422,
            "idempotency_key_reused",
        )
        .header("idempotency-key", "used"),
        Row::post(
            "the key before the revision",
            format!("{}/cancel", path_of(&canceled)),
            json!({}),
            422,
            "idempotency_key_reused",
        )
        .header("idempotency-key", "used")
        .header("if-match", "\"9\""),
        Row::post(
            "existence before the revision",
            format!("{unknown}/cancel"),
            json!({}),
            404,
            "reservation_not_found",
        )
        .header("if-match", "\"9\""),
        Row::post(
            "the revision before the hold's end",
            format!("{}/confirm", path_of(&expired)),
            json!({}),
            412,
            "version_mismatch",
        )
        .header("if-match", "\"1\""),
        Row::post(
            "the revision before the state",
            format!("{}/cancel", path_of(&canceled)),
            json!({}),
            412,
            "version_mismatch",
        )
        .header("if-match", "\"1\""),
        Row::post(
            "the hold's end before the state",
            format!("{}/confirm", path_of(&expired)),
            json!({}),
            410,
            "hold_expired",
        ),
        Row::post(
            "the property before the stay",
            "/v1/properties/nowhere/reservations",
            stay(json!({"departure": date(1)})),
            404,
            "property_not_found",
        ),
        row("the room before the stay", json!({"room": "999", "departure": date(1)}), 404, "room_not_found"),
        row(
            "the type before the stay",
            json!({"room": null, "room_type": "cave", "occupancy": 0}),
            404,
            "room_type_not_found",
        ),
        row(
            "the block before the stay",
            json!({"block": "tour", "departure": date(1)}),
            404,
            "block_not_found",
        ),
        row(
            "the block's state before the stay",
            json!({"room": null, "room_type": "double", "block": "pencil", "departure": date(10)}),
            409,
            "invalid_state",
        ),
        row(
            "invalid_stay before arrival_in_past",
            json!({"arrival": "2026-12-30", "departure": "2026-12-30"}),
            422,
            "invalid_stay",
        ),
        row(
            "stay_too_long before arrival_in_past",
            json!({"arrival": "2026-12-30", "departure": "2028-12-30"}),
            422,
            "stay_too_long",
        ),
        row(
            "stay_too_long before beyond_horizon",
            json!({"arrival": date(900), "departure": date(1_300)}),
            422,
            "stay_too_long",
        ),
        row(
            "arrival_in_past before occupancy_invalid",
            json!({"arrival": "2026-12-30", "occupancy": 0}),
            422,
            "arrival_in_past",
        ),
        row(
            "beyond_horizon before occupancy_invalid",
            json!({"arrival": date(1_100), "departure": date(1_101), "occupancy": 0}),
            422,
            "beyond_horizon",
        ),
        row(
            "occupancy_invalid before hold_ttl_invalid",
            json!({"occupancy": 0, "hold_seconds": 0}),
            422,
            "occupancy_invalid",
        ),
        row(
            "hold_ttl_invalid before not_priced",
            json!({"currency": "USD", "hold_seconds": 0}),
            422,
            "hold_ttl_invalid",
        ),
        row("not_priced before room_unavailable", json!({"currency": "USD"}), 422, "not_priced"),
        row("not_priced before restricted", json!({"room": "301", "occupancy": 3}), 422, "not_priced"),
        row(
            "restricted before room_unavailable and price_changed",
            json!({"room": "301", "expected_total": 1}),
            409,
            "restricted",
        ),
        row("occupancy_invalid before room_unavailable", json!({"occupancy": 3}), 422, "occupancy_invalid"),
        row(
            "room_unavailable before no_availability and price_changed",
            json!({"expected_total": 1}),
            409,
            "room_unavailable",
        ),
        Row::post(
            "of a group what is the first of all, whoever's it is",
            "/v1/properties/grand/bookings",
            json!({"guest": "group", "reservations": [
                {"room_type": "double", "arrival": date(10), "departure": date(12), "occupancy": 2},
                {"room": "301", "arrival": date(10), "departure": date(12), "occupancy": 1},
                {"room": "101", "arrival": date(10), "departure": date(10), "occupancy": 2},
                {"room": "101", "arrival": date(9), "departure": date(9), "occupancy": 2},
            ]}),
            422,
            "invalid_stay",
        )
        .facts(json!({"index": 2})),
        Row::post(
            "of a group a room that is taken before a type that is full",
            "/v1/properties/grand/bookings",
            json!({"guest": "group", "reservations": [
                {"room_type": "double", "arrival": date(10), "departure": date(12), "occupancy": 2},
                {"room": "101", "arrival": date(10), "departure": date(12), "occupancy": 2},
            ]}),
            409,
            "room_unavailable",
        )
        .facts(json!({"index": 1})),
        Row::new(
            "the property before a position that is not there yet",
            Method::GET,
            format!("/v1/properties/nowhere/availability?from={}&to={}&as_of=999999999", date(1), date(2)),
            404,
            "property_not_found",
        ),
        Row::new(
            "the room type before a position that is not there yet",
            Method::GET,
            format!(
                "/v1/properties/grand/free-rooms?arrival={}&departure={}&occupancy=1&room_type=cave&as_of=999999999",
                date(1),
                date(2)
            ),
            404,
            "room_type_not_found",
        ),
        row(
            "no_availability before price_changed",
            json!({"room": null, "room_type": "double", "expected_total": 1}),
            409,
            "no_availability",
        ),
    ];
    ask(&cluster, &rows).await;
}
