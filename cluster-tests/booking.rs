//! A booking made through each node is read back at each node, at once.

use serde_json::{Value, json};

use crate::support::hotel::{PRICES, date};
use crate::support::{Api, Cluster, Hotel};

#[tokio::test]
async fn a_booking_through_each_node_is_read_at_each() {
    let cluster = Cluster::start(3).await;
    let hotel = Hotel::open(&cluster, "grand", 3).await;

    // Through each node, one room each, with the whole answer that the contract promises.
    for id in cluster.ids() {
        let key = format!("through-{id}");
        let answer = hotel.reserve(&cluster.api(id), &format!("n{id}"), 10, 13, &key).answer().await;
        assert_eq!(answer.status, 201, "{}", answer.in_words());
        let made = answer.json();
        let reservation = made["id"].as_str().expect("an id");
        assert_eq!(answer.header("location"), Some(format!("/v1/reservations/{reservation}").as_str()));
        assert_eq!(answer.header("etag"), Some("\"1\""));
        assert_eq!(answer.header("innkeeper-node"), Some(id.to_string().as_str()));
        assert_eq!(answer.lsn(), made["lsn"].as_u64().expect("an LSN"));
        assert!(!answer.replayed());
        is_complete(&made, &hotel, id, &key);
        reads_alike_everywhere(&cluster, reservation, &made).await;
    }

    // What was sold is gone from every query of every node, and nothing else is.
    for api in cluster.apis() {
        assert_eq!(hotel.reservations(&api).await.len(), 3);
        assert_eq!(hotel.free_rooms(&api, 10, 13).await, ["c1", "c2", "c3"]);
        assert_eq!(sold_by_night(&hotel, &api, 9, 14).await, [0, 3, 3, 3, 0]);
    }

    // The departure day is free for the next arrival, and so is the night before the arrival.
    let api = cluster.api(1);
    hotel.reserve(&api, "n1", 13, 14, "next").expect(201).await;
    hotel.reserve(&api, "n1", 9, 10, "before").expect(201).await;
    for (arrival, departure, nights) in [(12, 13, vec![12]), (10, 11, vec![10]), (8, 20, (9..14).collect())] {
        let problem = hotel
            .reserve(&api, "n1", arrival, departure, &format!("across-{arrival}"))
            .refused(409, "room_unavailable")
            .await;
        let nights: Vec<Value> = nights.into_iter().map(|night| date(night).into()).collect();
        assert_eq!(problem["nights"], Value::from(nights));
    }
}

#[tokio::test]
async fn a_cancellation_at_one_node_frees_the_nights_at_all() {
    let cluster = Cluster::start(3).await;
    let hotel = Hotel::open(&cluster, "grand", 1).await;
    let made = hotel.reserve(&cluster.api(1), "n1", 0, 2, "first").expect(201).await;
    let reservation = made["id"].as_str().expect("an id");

    let canceled =
        cluster.api(2).post(&format!("/v1/reservations/{reservation}/cancel"), &json!({})).answer().await;
    assert_eq!(canceled.status, 200, "{}", canceled.in_words());
    assert_eq!(canceled.header("etag"), Some("\"2\""));
    let canceled = canceled.json();
    assert_eq!((&canceled["status"], &canceled["revision"]), (&json!("canceled"), &json!(2)));
    assert_eq!(canceled["price"], made["price"], "what was agreed stays on record");
    reads_alike_everywhere(&cluster, reservation, &canceled).await;

    for (id, api) in cluster.ids().into_iter().zip(cluster.apis()) {
        assert_eq!(hotel.free_rooms(&api, 0, 2).await, ["c1", "n1"], "at node {id}");
        assert_eq!(sold_by_night(&hotel, &api, 0, 2).await, [0, 0], "at node {id}");
    }
    hotel.reserve(&cluster.api(3), "n1", 0, 2, "second").expect(201).await;
}

/// Every field that the contract shows, no other, and each as it was asked.
fn is_complete(made: &Value, hotel: &Hotel, id: u64, key: &str) {
    let nights: Vec<Value> =
        (10..13).map(|night| json!({"date": date(night), "amount": PRICES[0]})).collect();
    let expected = json!({
        "id": made["id"], "booking_id": made["booking_id"], "property": hotel.property, "room_type": "named",
        "room": format!("n{id}"), "room_pinned": true, "guest": format!("guest-{key}"), "arrival": date(10),
        "departure": date(13), "occupancy": 1, "status": "confirmed", "hold_expires_at": null,
        "price": {"currency": "EUR", "nights": nights, "total": 3 * PRICES[0]}, "block": null,
        "external_ref": key, "revision": 1, "lsn": made["lsn"], "created_at": made["created_at"],
        "updated_at": made["created_at"],
    });
    assert_eq!(*made, expected);
    for field in ["id", "booking_id"] {
        let id = made[field].as_str().and_then(|text| uuid::Uuid::parse_str(text).ok());
        assert_eq!(id.map(|id| id.get_version_num()), Some(7), "{field} is a UUIDv7");
    }
    let created = made["created_at"].as_str().expect("an instant");
    assert!(created.len() == 24 && created.ends_with('Z'), "RFC 3339 in UTC with milliseconds: {created}");
    created.parse::<jiff::Timestamp>().expect("RFC 3339");
}

/// Linearizable: no waiting between the answer and the reads.
async fn reads_alike_everywhere(cluster: &Cluster, reservation: &str, expected: &Value) {
    for (id, api) in cluster.ids().into_iter().zip(cluster.apis()) {
        let read = api.get(&format!("/v1/reservations/{reservation}")).answer().await;
        assert_eq!(read.status, 200, "{}", read.in_words());
        assert_eq!(read.json(), *expected, "at node {id}");
        assert_eq!(read.header("etag"), Some(format!("\"{}\"", expected["revision"]).as_str()));
        assert!(read.lsn() >= expected["lsn"].as_u64().expect("an LSN"), "the answer reflects the booking");
    }
}

async fn sold_by_night(hotel: &Hotel, api: &Api, from: u64, to: u64) -> Vec<u64> {
    let path = hotel.path(&format!("/availability?from={}&to={}", date(from), date(to)));
    let shown = api.get(&path).expect(200).await;
    let rows = shown["room_types"]["named"].as_array().expect("a row a night").clone();
    for row in &rows {
        let number = |field: &str| row[field].as_u64().unwrap_or_else(|| panic!("{field}: {row}"));
        assert_eq!(number("available"), hotel.rooms - number("sold"), "{row}");
        assert_eq!((number("rooms"), number("held"), number("out_of_order")), (hotel.rooms, 0, 0), "{row}");
    }
    rows.iter().map(|row| row["sold"].as_u64().expect("checked above")).collect()
}
