//! What another ledger sold is taken over as it stands: the refusals, and what one that was taken over looks like.

use serde_json::{Value, json};

use super::{Row, ask, open_grand};
use crate::support::Cluster;
use crate::support::hotel::date;

const IMPORTS: &str = "/v1/properties/grand/imports";

fn price(first: u64, amounts: &[i64]) -> Value {
    let nights = (first..).zip(amounts).map(|(night, amount)| json!({"date": date(night), "amount": amount}));
    json!({"currency": "EUR", "nights": nights.collect::<Vec<_>>()})
}

/// Two nights in room 101 that cost what the hotel never asked; the changes replace fields.
fn taken(changes: Value) -> Value {
    let mut stay = json!({"room_type": "double", "room": "101", "room_pinned": true, "arrival": date(10),
        "departure": date(12), "occupancy": 2, "status": "confirmed", "price": price(10, &[77, 78])});
    for (field, value) in changes.as_object().expect("changes are an object") {
        stay[field] = value.clone();
    }
    json!({"guest": "client-42", "reservations": [stay]})
}

#[tokio::test]
async fn what_another_ledger_sold_is_taken_over_or_refused_by_name() {
    let cluster = Cluster::start(3).await;
    open_grand(&cluster).await;
    let refused = |what, changes: Value, status, code| Row::post(what, IMPORTS, taken(changes), status, code);
    let rows = vec![
        refused("no such type", json!({"room_type": "none"}), 404, "room_type_not_found"),
        refused("no such room", json!({"room": "999"}), 404, "room_not_found").facts(json!({"index": 0})),
        refused("no such block", json!({"block": "none"}), 404, "block_not_found"),
        refused("no such status", json!({"status": "gone"}), 400, "malformed").names("status"),
        refused("a field too many", json!({"total": 1}), 400, "malformed").names("total"),
        refused("no nights", json!({"departure": date(10)}), 422, "invalid_stay"),
        refused("a night without a price", json!({"price": price(10, &[7])}), 422, "not_priced")
            .facts(json!({"nights": [date(11)]})),
        refused("an amount below nothing", json!({"price": price(10, &[7, -1])}), 422, "invalid_amount"),
        refused("a price without nights", json!({"price": price(10, &[])}), 400, "malformed").names("nights"),
        refused("a hold without an end", json!({"status": "held"}), 400, "malformed")
            .names("hold_expires_at"),
        refused("nobody", json!({"occupancy": 0}), 422, "occupancy_invalid"),
        refused("in house too early", json!({"status": "in_house"}), 409, "invalid_state")
            .facts(json!({"state": "in_house"})),
        refused("checked out too early", json!({"status": "checked_out"}), 409, "invalid_state"),
        Row::post("nothing", IMPORTS, json!({"guest": "g", "reservations": []}), 400, "malformed")
            .names("reservations"),
        Row::post("nowhere", "/v1/properties/none/imports", taken(json!({})), 404, "property_not_found"),
        Row::get("no range", "/v1/properties/grand/out-of-order", 400, "malformed").names("from"),
    ];
    ask(&cluster, &rows).await;

    let api = cluster.api(2);
    let made = api.post(IMPORTS, &taken(json!({}))).key("import-1").expect(201).await;
    let stay = &made["reservations"][0];
    assert_eq!((&stay["status"], &stay["price"]["total"]), (&json!("confirmed"), &json!(155)), "{made}");
    assert_eq!((&stay["room"], &stay["booking_id"]), (&json!("101"), &made["id"]), "{made}");
    let again = api.post(IMPORTS, &taken(json!({}))).key("import-1").answer().await;
    assert_eq!((again.replayed(), again.json()), (true, made.clone()));
    let full = vec![
        refused("the same room again", json!({}), 409, "room_unavailable")
            .facts(json!({"nights": [date(10), date(11)]})),
    ];
    ask(&cluster, &full).await;

    let closure = json!({"from": date(20), "to": date(23), "reason": "paint"});
    api.put("/v1/properties/grand/rooms/102/out-of-order", &closure).expect(200).await;
    let path = format!("/v1/properties/grand/out-of-order?from={}&to={}", date(21), date(40));
    let listed = cluster.api(3).get(&path).expect(200).await;
    let expected = json!([{"room": "102", "from": date(21), "to": date(23), "reason": "paint"}]);
    assert_eq!(listed["out_of_order"], expected);
    cluster.agree().await;
}
