//! Hotels in the format of the public booking kata are imported, and sell what their files say and nothing else.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::node::{Said, run};
use crate::support::{Api, Cluster};

const DONE_WITHIN: Duration = Duration::from_secs(60);

/// Two dates with a gap between them, a room that is there on one of them only, and one without a price for two.
fn hotel_file() -> Value {
    let room = |name: &str, one: f64, two: f64| {
        json!({"RoomIdentifier": name, "OneAdultOccupancyPrice": {"Currency": "EUR", "Value": one},
               "TwoAdultsOccupancyPrice": {"Currency": "EUR", "Value": two}})
    };
    json!({
        "HotelId": 7, "HotelName": "Hôtel du Nord", "Location": "Paris", "NumberOfRooms": 3,
        "AvailabilitiesAt": {
            "2027-09-16T00:00:00": [room("101", 109.0, 140.5), room("102", 89.99, 0.0)],
            "2027-09-17T00:00:00": [room("101", 119.0, 150.0)],
            "2027-09-20T00:00:00": [room("101", 129.0, 160.0), room("301", 200.0, 260.0)],
        }
    })
}

#[tokio::test]
async fn a_kata_hotel_is_imported_and_sells_what_its_file_says() {
    let cluster = Cluster::start(3).await;
    let file = write(cluster.dir(), "nord.json", "\u{feff}", &hotel_file());
    let api = cluster.api(2);

    // A dry run reads the file and writes nothing.
    let said = import(&cluster, &file, &["--dry-run"]).await;
    assert_eq!(said.code, Some(0), "{}", said.in_words());
    api.get("/v1/properties/7").refused(404, "property_not_found").await;

    // Twice: the second import finds all in place.
    for time in ["first", "second"] {
        let said = import(&cluster, &file, &[]).await;
        assert_eq!(said.code, Some(0), "{time}: {}", said.in_words());
        let property = api.get("/v1/properties/7").expect(200).await;
        let expected = json!({"property": "7", "name": "Hôtel du Nord", "location": "Paris", "time_zone": "UTC",
                              "currency": "EUR", "business_date": "2027-09-16", "business_date_mode": "manual"});
        assert_eq!(property, expected);
    }
    let rooms = api.get("/v1/properties/7/rooms").expect(200).await;
    let expected = ["101", "102", "301"].map(|room| json!({"room": room, "room_type": "room"}));
    assert_eq!(rooms["rooms"], json!(expected));

    // What is free, and at which price.
    let rows = [
        ("2027-09-16", "2027-09-17", 1, vec![("101", 10_900), ("102", 8_999)]),
        ("2027-09-16", "2027-09-17", 2, vec![("101", 14_050)]),
        ("2027-09-16", "2027-09-18", 1, vec![("101", 22_800)]),
        ("2027-09-20", "2027-09-21", 2, vec![("101", 16_000), ("301", 26_000)]),
        ("2027-09-17", "2027-09-19", 1, vec![]),
        ("2027-09-18", "2027-09-20", 1, vec![]),
    ];
    for (arrival, departure, occupancy, expected) in rows {
        let free = free_rooms(&api, arrival, departure, occupancy).await;
        let expected: Vec<(String, i64)> =
            expected.into_iter().map(|(room, total)| (room.to_owned(), total)).collect();
        assert_eq!(free, expected, "{arrival} to {departure} for {occupancy}");
    }

    // A booking at the file's price; nights that it doesn't have are not priced.
    let reserve = |room: &str, arrival: &str, departure: &str, occupancy: u32| {
        api.post(
            "/v1/properties/7/reservations",
            &json!({"guest": "guest", "room": room, "arrival": arrival, "departure": departure, "occupancy": occupancy}),
        )
    };
    let made = reserve("101", "2027-09-16", "2027-09-18", 2).expect(201).await;
    assert_eq!((&made["price"]["total"], &made["price"]["currency"]), (&json!(29_050), &json!("EUR")));
    for (room, arrival, departure, occupancy, nights) in [
        ("101", "2027-09-17", "2027-09-21", 1, vec!["2027-09-18", "2027-09-19"]),
        ("102", "2027-09-16", "2027-09-17", 2, vec!["2027-09-16"]),
        ("301", "2027-09-16", "2027-09-17", 1, vec!["2027-09-16"]),
    ] {
        let problem = reserve(room, arrival, departure, occupancy).refused(422, "not_priced").await;
        assert_eq!(problem["nights"], json!(nights), "{room}");
    }
    // The whole of it in a search, at another node.
    let found = cluster
        .api(3)
        .get("/v1/search?location=PARIS&arrival=2027-09-20&departure=2027-09-21&occupancy=1")
        .expect(200)
        .await;
    assert_eq!(found["properties"][0]["name"], "Hôtel du Nord", "{found}");
}

/// Nothing is written where any file is bad, and the error names the file and the place in it.
#[tokio::test]
async fn a_bad_file_is_refused_whole_and_by_name() {
    let cluster = Cluster::start(1).await;
    let good = write(cluster.dir(), "good.json", "", &hotel_file());
    let mut rows: Vec<(&str, Value, &str)> = Vec::new();
    let mut spoiled = hotel_file();
    spoiled["AvailabilitiesAt"]["2027-09-16T00:00:00"][0]["OneAdultOccupancyPrice"]["Value"] = json!(-1.0);
    rows.push(("negative", spoiled, "OneAdultOccupancyPrice"));
    let mut spoiled = hotel_file();
    spoiled["AvailabilitiesAt"]["2027-09-16T00:00:00"][0]["OneAdultOccupancyPrice"]["Value"] = json!(1.005);
    rows.push(("fraction", spoiled, "OneAdultOccupancyPrice"));
    let mut spoiled = hotel_file();
    spoiled["AvailabilitiesAt"]["2027-02-30T00:00:00"] = json!([]);
    rows.push(("date", spoiled, "2027-02-30"));
    let mut spoiled = hotel_file();
    spoiled["HotelName"] = Value::Null;
    rows.push(("name", spoiled, "HotelName"));
    let mut spoiled = hotel_file();
    spoiled["AvailabilitiesAt"]["2027-09-16T00:00:00"][0]["RoomIdentifier"] = json!("no such/name");
    rows.push(("room", spoiled, "RoomIdentifier"));

    for (name, content, place) in rows {
        let bad = write(cluster.dir(), &format!("{name}.json"), "\u{feff}", &content);
        let endpoint = format!("http://{}", cluster.nodes[0].client_addr);
        let said = run(
            &["import", "--endpoint", &endpoint, "--format", "kata", text(&good), text(&bad)],
            DONE_WITHIN,
        )
        .await;
        assert_eq!(said.code, Some(1), "{name}: {}", said.in_words());
        assert!(
            said.stderr.contains(text(&bad)) && said.stderr.contains(place),
            "{name}: {}",
            said.in_words()
        );
        let properties = cluster.api(1).get("/v1/properties").expect(200).await;
        assert_eq!(properties["properties"], json!([]), "{name}: something was written");
    }
}

fn write(dir: &Path, name: &str, mark: &str, content: &Value) -> PathBuf {
    let path = dir.join(name);
    let content = serde_json::to_string_pretty(content).expect("JSON");
    std::fs::write(&path, format!("{mark}{content}")).expect("a file for the import");
    path
}

async fn import(cluster: &Cluster, file: &Path, more: &[&str]) -> Said {
    // All nodes are endpoints; any of them takes writes.
    let endpoints: Vec<String> =
        cluster.nodes.iter().map(|node| format!("http://{}", node.client_addr)).collect();
    let endpoints = endpoints.join(",");
    let words = ["import", "--format", "kata", "--endpoint", &endpoints, text(file)];
    run(&[&words, more].concat(), DONE_WITHIN).await
}

async fn free_rooms(api: &Api, arrival: &str, departure: &str, occupancy: u32) -> Vec<(String, i64)> {
    let path =
        format!("/v1/properties/7/free-rooms?arrival={arrival}&departure={departure}&occupancy={occupancy}");
    let free = api.get(&path).expect(200).await;
    let rooms = free["rooms"].as_array().expect("a list of rooms").iter();
    rooms
        .map(|room| {
            let name = room["room"].as_str().expect("a room's name").to_owned();
            (name, room["price"]["total"].as_i64().expect("a total"))
        })
        .collect()
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a name in UTF-8")
}
