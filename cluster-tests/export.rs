//! What a cluster holds is exported, imported into an empty cluster, and exported again: the same, but for ids.

use std::path::Path;

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::command::assert_same;
use crate::support::hotel::date;
use crate::support::node::Said;
use crate::support::{Api, Cluster, Hotel};

#[tokio::test]
async fn an_export_is_imported_into_an_empty_cluster_and_exported_again() {
    // A cluster in which everything has happened.
    let first = Cluster::start(1).await;
    live(&first).await;
    let before = first.export().await;
    drop(first);

    let second = Cluster::start(3).await;
    let file = second.dir().join("hotels.ndjson");
    std::fs::write(&file, &before).expect("a file for the import");
    let judged = import(&second, &file, &["--dry-run"]).await;
    assert_eq!((&judged["dry_run"], &judged["reservations"]), (&json!(true), &json!(12)), "{judged}");
    let nothing = "{\"innkeeper\":{\"format\":1,\"ended\":true}}\n{\"end\":{\"records\":0}}\n";
    assert_eq!(second.export().await, nothing, "a dry run wrote something");

    // Twice: the second import finds all in place.
    for already_there in [0, 12] {
        let summary = import(&second, &file, &[]).await;
        assert_eq!((&summary["bookings"], &summary["refused"]), (&json!(10), &json!([])), "{summary}");
        assert_eq!((&summary["blocks"], &summary["waitlist_entries"]), (&json!(2), &json!(2)), "{summary}");
        assert_eq!(summary["already_there"], already_there, "{summary}");
        assert_same(&second.export().await, &before);
    }
    // An export that comes home doubles nothing.
    std::fs::write(&file, second.export().await).expect("a file for the import");
    let summary = import(&second, &file, &[]).await;
    assert_eq!((&summary["already_there"], &summary["refused"]), (&json!(12), &json!([])), "{summary}");
    assert_same(&second.export().await, &before);
    // What was sold stays sold: the room that is taken by name, and the price of then.
    let api = second.api(2);
    let hotel = Hotel { property: "grand".to_owned(), rooms: 3 };
    let problem = hotel.reserve(&api, "n1", 21, 22, "late").refused(409, "room_unavailable").await;
    assert_eq!(problem["nights"], json!([date(21)]));
    // The block keeps what was not picked up of it, and who came first is offered what it gives back.
    let shown = api.get("/v1/properties/grand/blocks").expect(200).await;
    assert_eq!(shown["blocks"][0]["picked_up"][0], json!({"date": date(70), "rooms": 1}), "{shown}");
    let past = ["block", "release", "--property", "grand", "--block", "fair"];
    assert_eq!(second.innkeeper(&past).await.code, Some(0));
    let waitlist = api.get("/v1/properties/grand/waitlist").expect(200).await;
    let offered: Vec<&Value> = waitlist["waitlist"].as_array().into_iter().flatten().collect();
    assert_eq!(offered.iter().map(|entry| &entry["status"]).collect::<Vec<_>>(), ["offered", "offered"]);
    second.agree().await;
}

/// Two properties, and a reservation in each state, of which some were sold at other prices than today's.
async fn live(cluster: &Cluster) {
    let api = cluster.api(1);
    let hotel = Hotel::open(cluster, "grand", 3).await;
    let by_type = |arrival, departure, more: Value| {
        let mut stay = json!({"guest": "by-type", "room_type": "counted", "arrival": date(arrival),
            "departure": date(departure), "occupancy": 2});
        merge(&mut stay, more);
        hotel.post(&api, &stay)
    };
    let gone = made(&by_type(0, 3, json!({"external_ref": "their-7"})).expect(201).await);
    let absent = made(&by_type(1, 2, json!({})).expect(201).await);
    let guest = made(&by_type(1, 9, json!({})).expect(201).await);
    change(&api, &gone, "check-in").await;
    audit(&api, 1).await;
    change(&api, &guest, "check-in").await;
    audit(&api, 2).await;
    // Two of three nights, of which three were paid.
    change(&api, &gone, "check-out").await;
    let shown = api.get(&absent).expect(200).await;
    assert_eq!(shown["status"], "no_show");

    hotel.reserve(&api, "n1", 20, 23, "named").expect(201).await;
    by_type(20, 22, json!({})).expect(201).await;
    let canceled = made(&by_type(20, 22, json!({})).expect(201).await);
    change(&api, &canceled, "cancel").await;
    by_type(30, 31, json!({"hold_seconds": 86_400})).expect(201).await;
    let members = [("named", 40), ("counted", 41), ("counted", 40)].map(|(room_type, arrival)| {
        json!({"room_type": room_type, "arrival": date(arrival), "departure": date(44), "occupancy": 1})
    });
    let group = json!({"guest": "group", "reservations": members});
    api.post(&hotel.path("/bookings"), &group).expect(201).await;

    // A block of which one was picked up, one that was released, and two who wait: for what the block keeps.
    let block =
        json!({"room_type": "named", "from": date(70), "to": date(73), "rooms": 3, "status": "definite"});
    api.put(&hotel.path("/blocks/fair"), &block).expect(201).await;
    let picked_up = json!({"guest": "fair-1", "room_type": "named", "block": "fair", "arrival": date(70),
        "departure": date(72), "occupancy": 1});
    hotel.post(&api, &picked_up).expect(201).await;
    let released = json!({"room_type": "counted", "from": date(70), "to": date(73), "rooms": 1,
        "status": "definite", "release_date": date(1)});
    api.put(&hotel.path("/blocks/past"), &released).expect(201).await;
    for (guest, arrival) in [("waiting-1", 70), ("waiting-2", 69)] {
        let wish = json!({"guest": guest, "room_type": "named", "arrival": date(arrival), "departure": date(72),
            "occupancy": 1});
        let entry = api.post(&hotel.path("/waitlist"), &wish).expect(201).await;
        assert_eq!(entry["status"], "waiting", "{entry}");
    }

    // Nothing of this changes what was sold.
    let dearer = json!({"room_type": "counted", "from": date(10), "to": "2032-01-01",
        "prices": {"EUR": {"1": 20_000}, "USD": {"2": 25_000}}});
    api.put(&hotel.path("/rates"), &dearer).expect(200).await;
    let own = json!({"room": "n2", "from": date(10), "to": date(11), "prices": {"EUR": {"1": 1}}});
    api.put(&hotel.path("/rates"), &own).expect(200).await;
    let rules =
        json!({"room_type": "named", "from": date(24), "to": date(50), "closed": true, "min_stay": 3});
    api.put(&hotel.path("/restrictions"), &rules).expect(200).await;
    let closure = json!({"from": date(3), "to": date(60), "reason": "flood"});
    api.put(&hotel.path("/rooms/n3/out-of-order"), &closure).expect(200).await;

    let clock = json!({"name": "Clock House", "location": "Győr", "time_zone": "Europe/Budapest",
        "currency": "HUF", "business_date": "clock"});
    let today = api.put("/v1/properties/clock", &clock).expect(201).await["business_date"].clone();
    let kind = |max: u32| json!({"name": "Single", "max_occupancy": max, "overbooking_limit": 2});
    api.put("/v1/properties/clock/room-types/single", &kind(2)).expect(201).await;
    let prices = json!({"room_type": "single", "from": "2020-01-01", "to": "2999-12-31",
        "prices": {"HUF": {"1": 3_000_000, "2": 4_000_000}, "EUR": {"2": 9_900}}});
    api.put("/v1/properties/clock/rates", &prices).expect(200).await;
    // Prices stay that nobody can book at any more.
    api.put("/v1/properties/clock/rooms/retired", &json!({"room_type": "single"})).expect(201).await;
    let own = json!({"room": "retired", "from": "2027-01-01", "to": "2027-02-01",
        "prices": {"HUF": {"1": 2_000_000}}});
    api.put("/v1/properties/clock/rates", &own).expect(200).await;
    api.call(Method::DELETE, "/v1/properties/clock/rooms/retired").expect(204).await;
    let today: jiff::civil::Date = today.as_str().expect("a date").parse().expect("a date");
    // Overbooked: the house has no room yet.
    let stay = json!({"guest": "early", "room_type": "single", "occupancy": 1,
        "arrival": today.to_string(), "departure": today.tomorrow().expect("not the end of time").to_string()});
    api.post("/v1/properties/clock/reservations", &stay).expect(201).await;
}

fn merge(stay: &mut Value, more: Value) {
    for (field, value) in more.as_object().expect("changes are an object") {
        stay[field] = value.clone();
    }
}

fn made(reservation: &Value) -> String {
    format!("/v1/reservations/{}", reservation["id"].as_str().expect("an id"))
}

async fn change(api: &Api, reservation: &str, call: &str) {
    api.post(&format!("{reservation}/{call}"), &json!({})).expect(200).await;
}

async fn audit(api: &Api, to: u64) {
    api.post("/v1/properties/grand/night-audit", &json!({"business_date": date(to)})).expect(200).await;
}

#[tokio::test]
async fn what_a_file_gets_wrong_is_told_by_line() {
    let cluster = Cluster::start(1).await;
    let file = cluster.dir().join("bad.ndjson");
    let property = r#"{"property":{"property":"p","name":"P","location":"L","time_zone":"UTC","currency":"EUR","business_date":"2027-01-01"}}"#;
    let room_type = r#"{"room_type":{"property":"p","room_type":"t","name":"T","max_occupancy":2}}"#;
    let room = r#"{"room":{"property":"p","room":"1","room_type":"t"}}"#;
    let stay = |name: &str| {
        json!({"booking": {"property": "p", "booking": name, "guest": "g", "reservations": [{"room_type": "t",
            "room": "1", "room_pinned": true, "arrival": "2027-02-01", "departure": "2027-02-02", "occupancy": 1,
            "status": "confirmed",
            "price": {"currency": "EUR", "nights": [{"date": "2027-02-01", "amount": 100}]}}]}})
        .to_string()
    };
    let (one, two) = (stay("one"), stay("two"));
    let write = |lines: &[&str]| std::fs::write(&file, lines.join("\n")).expect("a file for the import");

    // Nothing is written where a line can't be read.
    write(&[r#"{"innkeeper":{"format":1}}"#, property, r#"{"room":{"property":"p"}}"#, room_type]);
    let said = says(&cluster, &file, &[]).await;
    assert_eq!(said.code, Some(1), "{}", said.in_words());
    assert!(said.stderr.contains("bad.ndjson:3: missing field `room`"), "{}", said.in_words());
    cluster.api(1).get("/v1/properties/p").refused(404, "property_not_found").await;

    // What the cluster refuses is named, and the rest is there.
    write(&[r#"{"innkeeper":{"format":1}}"#, property, room_type, room, &one, &two]);
    let said = says(&cluster, &file, &[]).await;
    assert_eq!(said.code, Some(1), "{}", said.in_words());
    let summary: Value = serde_json::from_str(&said.stdout).expect("JSON");
    let refused = &summary["refused"];
    assert_eq!(
        (refused.as_array().map(Vec::len), &refused[0]["code"]),
        (Some(1), &json!("room_unavailable"))
    );
    assert!(said.stderr.contains("1 records were refused") && said.stderr.contains("bad.ndjson:"));
    assert_eq!((cluster.export().await.lines().count(), &summary["ended_early"]), (6, &json!(false)));

    // Once what stood in its way is gone, the same is told for a day, with what to do; another name is taken at once.
    let api = cluster.api(1);
    let taken = api.get("/v1/properties/p/reservations").expect(200).await;
    change(&api, &made(&taken["reservations"][0]), "cancel").await;
    let said = says(&cluster, &file, &[]).await;
    assert!(said.stderr.contains("after a day, or now under another name"), "{}", said.in_words());
    write(&[r#"{"innkeeper":{"format":1}}"#, property, room_type, room, &one, &stay("again")]);
    for already_there in [1, 2] {
        let summary = import(&cluster, &file, &[]).await;
        assert_eq!(summary["already_there"], already_there, "{summary}");
    }

    // A line that says something else under a name that was sent is refused with what to do.
    write(&[
        r#"{"innkeeper":{"format":1}}"#,
        property,
        room_type,
        room,
        &stay("again").replace("2027-02", "2027-03"),
    ]);
    let said = says(&cluster, &file, &[]).await;
    assert_eq!(said.code, Some(1), "{}", said.in_words());
    assert!(said.stderr.contains("idempotency_key_reused") && said.stderr.contains("another name"));

    // On what is set for a house its bookings build: where that is refused, none is written.
    let (other_type, other_room) = (room_type.replace(r#""t""#, r#""u""#), room.replace(r#""t""#, r#""u""#));
    let elsewhere = stay("three").replace(r#""t""#, r#""u""#).replace("2027-02", "2027-05");
    write(&[r#"{"innkeeper":{"format":1}}"#, property, room_type, &other_type, &other_room, &elsewhere]);
    let said = says(&cluster, &file, &[]).await;
    let summary: Value = serde_json::from_str(&said.stdout).expect("JSON");
    assert_eq!(
        (said.code, &summary["ended_early"], &summary["refused"][0]["code"]),
        (Some(1), &json!(true), &json!("capacity_below_sold")),
        "{}",
        said.in_words()
    );
    let written = api.get("/v1/properties/p/reservations?arrival_from=2027-05-01").expect(200).await;
    assert_eq!(written["reservations"], json!([]));
}

async fn says(cluster: &Cluster, file: &Path, more: &[&str]) -> Said {
    let file = file.to_str().expect("a name in UTF-8");
    cluster.innkeeper(&[&["import", "--format", "innkeeper", "--output", "json", file], more].concat()).await
}

async fn import(cluster: &Cluster, file: &Path, more: &[&str]) -> Value {
    let said = says(cluster, file, more).await;
    assert_eq!(said.code, Some(0), "{}", said.in_words());
    serde_json::from_str(&said.stdout).unwrap_or_else(|error| panic!("{error}: {}", said.in_words()))
}
