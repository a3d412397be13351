//! `POST …/reservations`: each refusal, and the step before it that is still taken.

use serde_json::{Value, json};

use super::{RESERVATIONS, Row, ask, open_grand, path_of, reserve, stay};
use crate::support::Cluster;
use crate::support::hotel::date;

fn row(what: &'static str, changes: Value, status: u16, code: &'static str) -> Row {
    Row::post(what, RESERVATIONS, stay(changes), status, code)
}

#[tokio::test]
async fn what_a_reservation_is_refused_for() {
    let cluster = Cluster::start(3).await;
    open_grand(&cluster).await;
    let api = cluster.api(2);
    reserve(&api, json!({"room": "102", "arrival": date(20), "departure": date(23)})).await;
    reserve(&api, json!({"room": "101", "arrival": date(21), "departure": date(22)})).await;

    let rows = vec![
        Row::post(
            "a property that isn't there",
            "/v1/properties/nowhere/reservations",
            stay(json!({})),
            404,
            "property_not_found",
        ),
        row("a room that isn't there", json!({"room": "999"}), 404, "room_not_found"),
        row(
            "a type that isn't there",
            json!({"room": null, "room_type": "cave"}),
            404,
            "room_type_not_found",
        ),
        row("a block that isn't there", json!({"block": "tour"}), 404, "block_not_found"),
        row("departure on arrival", json!({"departure": date(10)}), 422, "invalid_stay"),
        row("departure before arrival", json!({"departure": date(9)}), 422, "invalid_stay"),
        row("367 nights", json!({"departure": date(377)}), 422, "stay_too_long"),
        row("arrival in the past", json!({"arrival": "2026-12-31"}), 422, "arrival_in_past"),
        row(
            "past the horizon",
            json!({"arrival": date(1_100), "departure": date(1_101)}),
            422,
            "beyond_horizon",
        ),
        row("nobody", json!({"occupancy": 0}), 422, "occupancy_invalid"),
        row("three in a double", json!({"occupancy": 3}), 422, "occupancy_invalid"),
        row("far too many", json!({"occupancy": 4_294_967_295u32}), 422, "occupancy_invalid"),
        row("more than can be counted", json!({"occupancy": 4_294_967_296u64}), 422, "occupancy_invalid"),
        row("more than any number", json!({"occupancy": 1e30}), 422, "occupancy_invalid"),
        row("a hold without end", json!({"hold_seconds": 1e30}), 422, "hold_ttl_invalid"),
        row("a hold of no time", json!({"hold_seconds": 0}), 422, "hold_ttl_invalid"),
        row("a hold of over a day", json!({"hold_seconds": 86_401}), 422, "hold_ttl_invalid"),
        row("an occupancy without a price", json!({"room": "301", "occupancy": 3}), 422, "not_priced")
            .facts(json!({"nights": [date(10), date(11)]})),
        row("a currency without a price", json!({"currency": "USD"}), 422, "not_priced")
            .facts(json!({"nights": [date(10), date(11)]})),
        row(
            "some nights without a price",
            json!({"room": "301", "arrival": "2027-01-30", "departure": "2027-02-03"}),
            422,
            "not_priced",
        )
        .facts(json!({"nights": ["2027-02-01", "2027-02-02"]})),
        row("a currency that isn't", json!({"currency": "QQQ"}), 422, "invalid_currency"),
        row("a currency in small letters", json!({"currency": "eur"}), 422, "invalid_currency"),
        row(
            "a taken room",
            json!({"room": "102", "arrival": date(19), "departure": date(25)}),
            409,
            "room_unavailable",
        )
        .facts(json!({"nights": [date(20), date(21), date(22)]})),
        row(
            "a room taken on the last night",
            json!({"room": "101", "arrival": date(19), "departure": date(22)}),
            409,
            "room_unavailable",
        )
        .facts(json!({"nights": [date(21)]})),
        row(
            "a full type",
            json!({"room": null, "room_type": "double", "arrival": date(19), "departure": date(24)}),
            409,
            "no_availability",
        )
        .facts(json!({"nights": [date(21)]})),
        row(
            "a type without rooms",
            json!({"room": null, "room_type": "closed", "occupancy": 1}),
            409,
            "no_availability",
        )
        .facts(json!({"nights": [date(10), date(11)]})),
        row("another price", json!({"expected_total": 27_999}), 409, "price_changed")
            .facts(json!({"total": 28_000})),
    ];
    ask(&cluster, &rows).await;
    let listed = api.get(RESERVATIONS).expect(200).await;
    assert_eq!(listed["reservations"].as_array().map(Vec::len), Some(2), "a refusal leaves nothing");
}

#[tokio::test]
async fn what_a_reservation_is_malformed_by() {
    let cluster = Cluster::start(3).await;
    open_grand(&cluster).await;
    let malformed = |what, changes| row(what, changes, 400, "malformed");
    let text = |what, body: &str| Row::post(what, RESERVATIONS, json!({}), 400, "malformed").text(body);
    let both_keys = |field: &str, value: &str| {
        let whole = stay(json!({})).to_string();
        format!("{},\"{field}\":{value}}}", whole.strip_suffix('}').expect("an object"))
    };
    let rows = vec![
        malformed("an unknown field", json!({"gust": "typo"})).names("gust"),
        text("a duplicate key", &both_keys("guest", "\"again\"")).names("guest"),
        text("a duplicate optional key", &both_keys("hold_seconds", "1,\"hold_seconds\":2"))
            .names("hold_seconds"),
        malformed("a number for a text", json!({"guest": 7})).names("guest"),
        malformed("a text for a number", json!({"occupancy": "2"})).names("occupancy"),
        malformed("a fraction for a count", json!({"occupancy": 1.5})).names("occupancy"),
        malformed("a negative count", json!({"occupancy": -1})).names("occupancy"),
        malformed("a negative hold", json!({"hold_seconds": -1})).names("hold_seconds"),
        malformed("a list for a text", json!({"room": ["101"]})).names("room"),
        malformed("an object for a date", json!({"arrival": {}})).names("arrival"),
        malformed("a day that isn't", json!({"arrival": "2027-02-30"})).names("arrival"),
        malformed("a 29th of February without one", json!({"departure": "2027-02-29"})).names("departure"),
        malformed("a timestamp for a date", json!({"arrival": "2027-03-01T00:00:00Z"})).names("arrival"),
        malformed("a date with a space", json!({"arrival": "2027-03-01 "})).names("arrival"),
        malformed("a date without zeros", json!({"arrival": "2027-3-1"})).names("arrival"),
        malformed("a number for a date", json!({"arrival": 20_270_301})).names("arrival"),
        malformed("room and type", json!({"room_type": "double"})).names("room_type"),
        malformed("neither room nor type", json!({"room": null})).names("room"),
        malformed("no guest", json!({"guest": null})).names("guest"),
        malformed("an empty guest", json!({"guest": ""})).names("guest"),
        malformed("no arrival", json!({"arrival": null})).names("arrival"),
        malformed("no departure", json!({"departure": null})).names("departure"),
        malformed("no occupancy", json!({"occupancy": null})).names("occupancy"),
        malformed("a room's name that is none", json!({"room": "10 1"})).names("room"),
        malformed("a fraction of a cent", json!({"expected_total": 28_000.5})).names("expected_total"),
        malformed("a guest of 100,000 characters", json!({"guest": "g".repeat(100_000)})).names("guest"),
    ];
    ask(&cluster, &rows).await;
}

#[tokio::test]
async fn the_last_step_before_a_refusal_is_taken() {
    let cluster = Cluster::start(3).await;
    open_grand(&cluster).await;
    let api = cluster.api(3);
    let rows = [
        ("366 nights", json!({"arrival": date(0), "departure": date(366)})),
        ("up to the horizon", json!({"arrival": date(1_099), "departure": date(1_100)})),
        ("arrival on the business date", json!({"room": "102", "arrival": date(0), "departure": date(1)})),
        (
            "the shortest hold",
            json!({"room": "102", "arrival": date(30), "departure": date(31), "hold_seconds": 1}),
        ),
        (
            "the longest hold",
            json!({"room": "102", "arrival": date(40), "departure": date(41), "hold_seconds": 86_400}),
        ),
        ("the price as expected", json!({"room": "102", "expected_total": 28_000})),
        ("fields that may be null", json!({"room": "201", "occupancy": 1})),
        ("another currency with a price", json!({"room": "301", "currency": "USD"})),
        (
            "by type",
            json!({"room": null, "room_type": "double", "arrival": date(400), "departure": date(402)}),
        ),
    ];
    for (what, changes) in rows {
        let mut body = stay(changes);
        if what == "fields that may be null" {
            for field in ["hold_seconds", "expected_total", "block", "external_ref", "currency", "room_type"]
            {
                body[field] = Value::Null;
            }
        }
        let answer = api.post(RESERVATIONS, &body).answer().await;
        assert_eq!(answer.status, 201, "{what}: {}", answer.in_words());
        let made = answer.json();
        let status = if body["hold_seconds"].is_u64() { "held" } else { "confirmed" };
        assert_eq!(made["status"], status, "{what}: {made}");
        assert_eq!(made["hold_expires_at"].is_string(), status == "held", "{what}: {made}");
        assert_eq!(made["room_pinned"], body["room"].is_string(), "{what}: {made}");
        assert_eq!(api.get(&path_of(&made)).expect(200).await["guest"], "guest");
    }
    // A stay by type has a planned room, and both rooms of the type go before it is refused.
    let by_type = json!({"room": null, "room_type": "double", "arrival": date(400), "departure": date(402)});
    let second = reserve(&api, by_type.clone()).await;
    assert!(["101", "102"].contains(&second["room"].as_str().unwrap_or_default()), "{second}");
    api.post(RESERVATIONS, &stay(by_type)).refused(409, "no_availability").await;
}
