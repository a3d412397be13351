//! Blocks and rooms that are retired: what they take, what is shown, and what is refused.

use reqwest::Method;
use serde_json::{Value, json};

use super::{RESERVATIONS, Row, ask, open_grand, path_of, reserve, stay, with};
use crate::support::Cluster;
use crate::support::hotel::date;

const GRAND: &str = "/v1/properties/grand";
const FAIR: &str = "/v1/properties/grand/blocks/fair";

fn fair(changes: Value) -> Value {
    let body =
        json!({"room_type": "double", "from": date(10), "to": date(12), "rooms": 1, "status": "definite"});
    with(body, changes)
}

fn shown(block: Value, picked_up: [u32; 2]) -> Value {
    let nights =
        json!([{"date": date(10), "rooms": picked_up[0]}, {"date": date(11), "rooms": picked_up[1]}]);
    let rest = json!({"block": "fair", "picked_up": nights});
    let mut block = with(json!({"release_date": null, "released": false}), block);
    block["block"] = rest["block"].clone();
    block["picked_up"] = rest["picked_up"].clone();
    block
}

#[tokio::test]
async fn a_block_keeps_rooms_for_those_who_name_it() {
    let cluster = Cluster::start(3).await;
    open_grand(&cluster).await;
    let api = cluster.api(2);
    let body = fair(json!({}));
    assert_eq!(api.put(FAIR, &body).expect(201).await, shown(body.clone(), [0, 0]));
    assert_eq!(api.put(FAIR, &body).expect(200).await, shown(body.clone(), [0, 0]));
    reserve(&api, json!({"room": null, "room_type": "double", "departure": date(11)})).await;
    let nights = json!([date(10)]);
    let by_type = json!({"room": null, "room_type": "double"});
    let rows = [
        Row::post("full beside the block", RESERVATIONS, stay(by_type), 409, "no_availability")
            .facts(json!({"nights": nights})),
        Row::post(
            "a night that is not of the block",
            RESERVATIONS,
            stay(json!({"block": "fair", "departure": date(13)})),
            409,
            "no_availability",
        )
        .facts(json!({"nights": [date(12)]})),
        Row::post(
            "no such block",
            RESERVATIONS,
            stay(json!({"block": "unfair", "departure": date(10)})),
            404,
            "block_not_found",
        ),
        Row::put("more than there is", FAIR, fair(json!({"rooms": 2})), 409, "no_availability")
            .facts(json!({"nights": nights})),
        Row::put("no night", FAIR, fair(json!({"to": date(10)})), 400, "malformed").names("to"),
        Row::put("far too long", FAIR, fair(json!({"to": "2199-01-01"})), 400, "malformed").names("to"),
        Row::put("beyond the horizon", FAIR, fair(json!({"to": date(1_200)})), 422, "beyond_horizon"),
        Row::put("no such status", FAIR, fair(json!({"status": "firm"})), 400, "malformed").names("status"),
        Row::put("an object", FAIR, fair(json!({"status": {"definite": null}})), 400, "malformed")
            .names("status"),
        Row::put("a negative count", FAIR, fair(json!({"rooms": -1})), 400, "malformed").names("rooms"),
        Row::put("no such type", FAIR, fair(json!({"room_type": "x"})), 404, "room_type_not_found"),
        Row::put("an unknown field", FAIR, fair(json!({"name": "x"})), 400, "malformed").names("name"),
    ];
    ask(&cluster, &rows).await;

    let picked = reserve(&api, json!({"block": "fair"})).await;
    assert_eq!(picked["block"], json!("fair"));
    cluster.agree().await;
    for api in cluster.apis() {
        let list = api.get(&format!("{GRAND}/blocks")).expect(200).await;
        assert_eq!(list, json!({"blocks": [shown(body.clone(), [1, 1])]}));
        let told = api.get("/v1/events?limit=1000").expect(200).await;
        let events = told["events"].as_array().expect("events");
        let made = events.iter().find(|event| event["type"] == "block.defined").expect("the block was made");
        assert_eq!(made["after"], shown(body.clone(), [0, 0]));
    }
    let later = fair(json!({"release_date": date(9)}));
    assert_eq!(api.put(FAIR, &later).expect(200).await, shown(later.clone(), [1, 1]));
    cluster.agree().await;
    let told = api.get("/v1/events?limit=1000").expect(200).await;
    let changed = told["events"].as_array().expect("events").last().expect("the block was changed");
    assert_eq!(changed["type"], "block.changed");
    assert_eq!((&changed["before"], &changed["after"]), (&shown(body, [1, 1]), &shown(later, [1, 1])));
    let path = format!("{GRAND}/availability?from={}&to={}", date(10), date(11));
    let night = api.get(&path).expect(200).await["room_types"]["double"][0].clone();
    assert_eq!((&night["sold"], &night["blocked"], &night["available"]), (&json!(2), &json!(0), &json!(0)));
    let rows = [
        Row::put("fewer than picked up", FAIR, fair(json!({"rooms": 0})), 409, "capacity_below_sold")
            .facts(json!({"nights": [date(10), date(11)]})),
        Row::put("shorter than picked up", FAIR, fair(json!({"to": date(11)})), 409, "capacity_below_sold")
            .facts(json!({"nights": [date(11)]})),
    ];
    ask(&cluster, &rows).await;
    api.post(&format!("{}/cancel", path_of(&picked)), &json!({})).expect(200).await;
    let tentative = fair(json!({"status": "tentative", "release_date": date(5)}));
    assert_eq!(api.put(FAIR, &tentative).expect(200).await, shown(tentative.clone(), [0, 0]));
    let row = Row::post("tentative", RESERVATIONS, stay(json!({"block": "fair"})), 409, "invalid_state")
        .facts(json!({"state": "tentative"}));
    ask(&cluster, &[row]).await;

    // From the release date on, what is left is free.
    api.put(FAIR, &fair(json!({"release_date": date(5)}))).expect(200).await;
    let blocked = async || {
        let night = api.get(&path).expect(200).await["room_types"]["double"][0].clone();
        (night["blocked"].clone(), night["available"].clone())
    };
    assert_eq!(blocked().await, (json!(1), json!(0)));
    let audit = json!({"business_date": date(5)});
    api.post(&format!("{GRAND}/night-audit"), &audit).expect(200).await;
    assert_eq!(blocked().await, (json!(0), json!(1)));
    assert_eq!(api.get(&format!("{GRAND}/blocks")).expect(200).await["blocks"][0]["released"], true);
    let told = api.get("/v1/events?limit=1000").expect(200).await;
    let events = told["events"].as_array().expect("events");
    let released = events.iter().rfind(|event| event["type"] == "block.changed").expect("it was released");
    assert_eq!(
        (&released["before"]["released"], &released["after"]["released"]),
        (&json!(false), &json!(true))
    );
}

#[tokio::test]
async fn a_retired_room_is_no_longer_there() {
    let cluster = Cluster::start(3).await;
    open_grand(&cluster).await;
    let api = cluster.api(3);
    reserve(&api, json!({})).await;
    let room = |room: &str| format!("{GRAND}/rooms/{room}");
    let rows = [
        Row::new("sold by name", Method::DELETE, room("101"), 409, "capacity_below_sold")
            .facts(json!({"nights": [date(10), date(11)]})),
        Row::new("no such room", Method::DELETE, room("999"), 404, "room_not_found"),
    ];
    ask(&cluster, &rows).await;
    let gone = api.call(Method::DELETE, &room("102")).answer().await;
    assert_eq!(gone.status, 204, "{}", gone.in_words());
    cluster.agree().await;
    for api in cluster.apis() {
        let rooms = api.get(&format!("{GRAND}/rooms")).expect(200).await;
        let ids: Vec<&str> = rooms["rooms"]
            .as_array()
            .expect("rooms")
            .iter()
            .filter_map(|room| room["room"].as_str())
            .collect();
        assert_eq!(ids, ["101", "201", "301"]);
    }
    let gone = Row::post("retired", RESERVATIONS, stay(json!({"room": "102"})), 404, "room_not_found");
    ask(&cluster, &[gone]).await;
    api.put(&room("102"), &json!({"room_type": "double"})).expect(201).await;
    reserve(&api, json!({"room": "102"})).await;
}
