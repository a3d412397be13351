//! A slice of two real hotels' bookings is replayed day by day: nothing is sold twice, and two replays leave the same.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::support::command::assert_same;
use crate::support::node::Said;
use crate::support::{Api, Cluster};

/// About what was sold at the peak of the slice, less a tenth or so: some rows are one too many. Type H has no line.
const CAPACITY: &str = "hotel,room_type,rooms
City Hotel,A,42
City Hotel,B,1
City Hotel,D,2
City Hotel,E,1
city-hotel,F,1
Resort Hotel,A,4
Resort Hotel,B,1
Resort Hotel,C,11
Resort Hotel,D,24
Resort Hotel,E,20
Resort Hotel,F,9
resort-hotel,G,8
";

/// The slice as it is read without the product's help.
struct Slice {
    rows: u64,
    no_nights: u64,
    nobody: u64,
}

#[tokio::test]
async fn a_slice_of_real_bookings_is_replayed_as_the_hotels_lived_it() {
    let slice = slice();
    let mut exports = Vec::new();
    for size in [3, 1] {
        let cluster = Cluster::start(size).await;
        let said = import(&cluster, &["--output", "json"]).await;
        assert_eq!(said.code, Some(0), "{}", said.in_words());
        assert!(!said.stderr.contains("an earlier import"), "{}", said.in_words());
        let summary: Value = serde_json::from_str(&said.stdout).expect("JSON");
        check(&summary, &slice);
        no_night_is_over(&cluster.api(size)).await;
        cluster.agree().await;
        if size == 1 {
            // Again: all is found done, whoever broke off the first time.
            let again = import(&cluster, &["--output", "json"]).await;
            assert_eq!(again.code, Some(0), "{}", again.in_words());
            assert_eq!(serde_json::from_str::<Value>(&again.stdout).expect("JSON"), summary);
            assert!(
                again.stderr.contains("rows had been dealt with by an earlier import"),
                "{}",
                again.in_words()
            );
            let text = import(&cluster, &[]).await.stdout;
            for part in [
                "293 rows: ",
                "invalid_stay",
                "city-hotel: room nights sold",
                "2015-07",
                "no night of any type",
            ] {
                assert!(text.contains(part), "no `{part}` in {text}");
            }
        }
        exports.push((summary, cluster.export().await));
    }
    let (first, second) = (&exports[0], &exports[1]);
    assert_eq!(first.0, second.0);
    assert!(first.1.lines().count() > 200, "only {} records", first.1.lines().count());
    assert_same(&first.1, &second.1);
}

/// A refused row counts as refused until it is booked: with a waitlist more are accepted, in the same order each time.
#[tokio::test]
async fn rows_that_find_no_room_wait_for_one() {
    let slice = slice();
    let mut ended = Vec::new();
    for _ in 0..2 {
        // One after the other: who has a place and waits for another may wait for a story that does the same.
        let without: Value = match ended.is_empty() {
            true => {
                let other = Cluster::start(1).await;
                serde_json::from_str(&import(&other, &["--output", "json"]).await.stdout).expect("JSON")
            }
            false => Value::Null,
        };
        let cluster = Cluster::start(1).await;
        let said = import(&cluster, &["--waitlist", "--output", "json"]).await;
        assert_eq!(said.code, Some(0), "{}", said.in_words());
        assert!(!said.stderr.contains("on its day was refused"), "{}", said.in_words());
        let summary: Value = serde_json::from_str(&said.stdout).expect("JSON");
        let count = |value: &Value| value.as_u64().expect("a count");
        let refused: u64 = summary["refused"].as_object().expect("codes").values().map(count).sum();
        assert_eq!(count(&summary["accepted"]) + refused, slice.rows, "{summary}");
        no_night_is_over(&cluster.api(1)).await;
        if !without.is_null() {
            assert!(summary["accepted"].as_u64() > without["accepted"].as_u64(), "{summary} {without}");
        }
        // Again: who was booked from the waitlist is found so.
        let again = import(&cluster, &["--waitlist", "--output", "json"]).await;
        assert_eq!(serde_json::from_str::<Value>(&again.stdout).expect("JSON"), summary);
        let text = import(&cluster, &["--waitlist"]).await.stdout;
        assert!(text.contains(" rows waited, "), "{text}");
        ended.push((summary, cluster.export().await));
    }
    assert_eq!(ended[0].0, ended[1].0);
    assert_same(&ended[0].1, &ended[1].1);
}

/// One guest leaves on the day of arrival. His room is freed behind the time at which others come in.
#[tokio::test]
async fn who_is_given_a_room_late_on_the_day_of_arrival_comes_still() {
    let text = std::fs::read_to_string(data()).expect("the slice");
    let mut lines = text.lines();
    let head: Vec<&str> = lines.next().expect("a head").split(',').collect();
    let line = lines.next().expect("a row");
    let row = |lead_time: &str, nights: &str, left: &str| {
        let mut cells: Vec<&str> = line.split(',').collect();
        for (name, value) in [
            ("lead_time", lead_time),
            ("stays_in_week_nights", nights),
            ("reserved_room_type", "B"),
            ("reservation_status_date", left),
        ] {
            cells[head.iter().position(|column| *column == name).expect("a column")] = value;
        }
        cells.join(",")
    };
    let cluster = Cluster::start(1).await;
    let rows = cluster.dir().join("two.csv");
    let two = [head.join(","), row("5", "4", "7/8/2015"), row("4", "1", "7/9/2015"), String::new()];
    std::fs::write(&rows, two.join("\n")).expect("a file of two rows");
    let (rows, capacity) = (rows.to_str().expect("a name in UTF-8"), capacity(&cluster));
    let import =
        ["import", "--format", "demand", "--capacity", &capacity, "--waitlist", "--output", "json", rows];
    let said = cluster.innkeeper(&import).await;
    assert_eq!(said.code, Some(0), "{}", said.in_words());
    let summary: Value = serde_json::from_str(&said.stdout).expect("JSON");
    let expected = json!({"rows": 2, "accepted": 2, "refused": {}, "statuses": {"checked_out": 2}});
    assert_eq!(summary, expected, "{}", said.in_words());
}

/// The contract's four fields, which agree with one another and with the rows.
fn check(summary: &Value, slice: &Slice) {
    let count = |value: &Value| value.as_u64().unwrap_or_else(|| panic!("no count: {summary}"));
    let sum = |field: &str| -> u64 {
        summary[field]
            .as_object()
            .unwrap_or_else(|| panic!("no {field}: {summary}"))
            .values()
            .map(count)
            .sum()
    };
    let fields: Vec<&String> = summary.as_object().expect("an object").keys().collect();
    assert_eq!(fields, ["accepted", "refused", "rows", "statuses"]);
    assert_eq!(count(&summary["rows"]), slice.rows);
    assert_eq!(count(&summary["accepted"]) + sum("refused"), slice.rows, "{summary}");
    assert_eq!(count(&summary["accepted"]), sum("statuses"), "{summary}");
    let refused = &summary["refused"];
    assert_eq!(refused["invalid_stay"], slice.no_nights, "{summary}");
    assert_eq!(refused["occupancy_invalid"], slice.nobody, "{summary}");
    assert!(count(&refused["no_availability"]) > 5, "{summary}");
    assert_eq!(refused.as_object().expect("an object").len(), 3, "{summary}");
    let statuses: Vec<&String> = summary["statuses"].as_object().expect("an object").keys().collect();
    assert_eq!(statuses, ["canceled", "checked_out", "no_show"], "{summary}");
}

/// By the cluster's own count, and by counting the stays.
async fn no_night_is_over(api: &Api) {
    for property in ["city-hotel", "resort-hotel"] {
        let path = format!("/v1/properties/{property}/availability?from=2015-06-01&to=2015-12-01");
        let types = api.get(&path).expect(200).await["room_types"].clone();
        let mut rooms: BTreeMap<String, u64> = BTreeMap::new();
        for (room_type, nights) in types.as_object().expect("types") {
            for night in nights.as_array().expect("nights") {
                let (has, sold) = (night["rooms"].as_u64(), night["sold"].as_u64());
                assert!(sold <= has, "{property} {room_type}: {night}");
                rooms.insert(room_type.clone(), has.expect("a count"));
            }
        }
        let path = format!("/v1/properties/{property}/reservations?status=checked_out&limit=1000");
        let stays = api.get(&path).expect(200).await;
        let mut taken: BTreeMap<(String, String), u64> = BTreeMap::new();
        for stay in stays["reservations"].as_array().expect("a list") {
            let text = |field: &str| stay[field].as_str().expect("a text").to_owned();
            let mut night: jiff::civil::Date = text("arrival").parse().expect("a date");
            while night.to_string() < text("departure") {
                let in_room = taken.entry((text("room"), night.to_string())).or_default();
                *in_room += 1;
                assert_eq!(*in_room, 1, "room {} is sold twice on {night}", text("room"));
                night = night.tomorrow().expect("not the end of time");
            }
            assert!(rooms.contains_key(&text("room_type")), "{stay}");
        }
    }
}

#[tokio::test]
async fn a_replay_without_rooms_or_with_a_bad_row_writes_nothing() {
    let cluster = Cluster::start(1).await;
    let data = data();
    let said =
        cluster.innkeeper(&["import", "--format", "demand", data.to_str().expect("a name in UTF-8")]).await;
    assert_eq!(said.code, Some(2), "{}", said.in_words());
    assert!(said.stderr.contains("--capacity"), "{}", said.in_words());

    let foreign =
        ["import", "--format", "demand", "--time-zone", "UTC", data.to_str().expect("a name in UTF-8")];
    let said = cluster.innkeeper(&foreign).await;
    assert_eq!(said.code, Some(2), "{}", said.in_words());
    assert!(said.stderr.contains("--time-zone is for --format kata only"), "{}", said.in_words());

    let bad = cluster.dir().join("bad.csv");
    let text = std::fs::read_to_string(&data).expect("the slice");
    std::fs::write(&bad, text.replacen(",July,", ",Julio,", 2)).expect("a bad file");
    let capacity = capacity(&cluster);
    let bad = bad.to_str().expect("a name in UTF-8");
    let said = cluster.innkeeper(&["import", "--format", "demand", "--capacity", &capacity, bad]).await;
    assert_eq!(said.code, Some(1), "{}", said.in_words());
    assert!(
        said.stderr.contains("bad.csv:2: `Julio`") && said.stderr.contains("bad.csv:3: "),
        "{}",
        said.in_words()
    );

    let judged = import(&cluster, &["--dry-run", "--output", "json"]).await;
    assert_eq!(serde_json::from_str::<Value>(&judged.stdout).expect("JSON")["rows"], slice().rows);
    let properties = cluster.api(1).get("/v1/properties").expect(200).await;
    assert_eq!(properties["properties"], json!([]));
}

fn data() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("cluster-tests/data/hotel-demand-slice.csv")
}

fn slice() -> Slice {
    let text = std::fs::read_to_string(data()).expect("the slice");
    let mut lines = text.lines();
    let head: Vec<&str> = lines.next().expect("a head").split(',').collect();
    let mut slice = Slice { rows: 0, no_nights: 0, nobody: 0 };
    for line in lines {
        let cells: Vec<&str> = line.split(',').collect();
        let number = |name: &str| -> u64 {
            let at = head.iter().position(|column| *column == name).expect("a column");
            // Unknown in a few rows: then there are none.
            if cells[at] == "NA" { 0 } else { cells[at].parse().expect("a number") }
        };
        let nights = number("stays_in_weekend_nights") + number("stays_in_week_nights");
        slice.rows += 1;
        slice.no_nights += u64::from(nights == 0);
        slice.nobody += u64::from(nights > 0 && !(1..=6).contains(&(number("adults") + number("children"))));
    }
    slice
}

fn capacity(cluster: &Cluster) -> String {
    let path = cluster.dir().join("rooms.csv");
    std::fs::write(&path, CAPACITY).expect("a file of capacities");
    path.to_str().expect("a name in UTF-8").to_owned()
}

async fn import(cluster: &Cluster, more: &[&str]) -> Said {
    let (data, capacity) = (data(), capacity(cluster));
    let data = data.to_str().expect("a name in UTF-8");
    cluster
        .innkeeper(&[&["import", "--format", "demand", "--capacity", &capacity, data], more].concat())
        .await
}
