//! The list, free-rooms, availability and search: what they show, page by page, and what they refuse.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{RESERVATIONS, Row, ask, grand, open_grand, path_of, reserve, with};
use crate::support::hotel::date;
use crate::support::{Api, Cluster};

const GRAND: &str = "/v1/properties/grand";

#[tokio::test]
async fn what_a_query_is_refused_for() {
    let cluster = Cluster::start(3).await;
    open_grand(&cluster).await;
    let nights = format!("arrival={}&departure={}", date(10), date(12));
    let free = |rest: &str| format!("{GRAND}/free-rooms?{rest}");
    let search = |rest: &str| format!("/v1/search?location=Budapest&{rest}");
    let list = |rest: &str| format!("{RESERVATIONS}?{rest}");
    let nowhere = "/v1/properties/nowhere";

    let mut rows = vec![
        Row::get(
            "free rooms of no property",
            format!("{nowhere}/free-rooms?{nights}&occupancy=2"),
            404,
            "property_not_found",
        ),
        Row::get(
            "a room that isn't there",
            free(&format!("{nights}&occupancy=2&room=999")),
            404,
            "room_not_found",
        ),
        Row::get(
            "a type that isn't there",
            free(&format!("{nights}&occupancy=2&room_type=cave")),
            404,
            "room_type_not_found",
        ),
        Row::get(
            "availability of no property",
            format!("{nowhere}/availability?from={}&to={}", date(0), date(1)),
            404,
            "property_not_found",
        ),
        Row::get("the list of no property", format!("{nowhere}/reservations"), 404, "property_not_found"),
        Row::get(
            "availability from nowhere",
            format!("{GRAND}/availability?to={}", date(1)),
            400,
            "malformed",
        )
        .names("from"),
        Row::get(
            "availability to nowhere",
            format!("{GRAND}/availability?from={}", date(1)),
            400,
            "malformed",
        )
        .names("to"),
        Row::get(
            "availability of a day that isn't",
            format!("{GRAND}/availability?from=2027-02-29&to=2027-03-01"),
            400,
            "malformed",
        )
        .names("from"),
        Row::get(
            "availability by an unknown parameter",
            format!("{GRAND}/availability?from={}&to={}&type=x", date(0), date(1)),
            400,
            "malformed",
        )
        .names("type"),
        Row::get("a status that isn't", list("status=sold"), 400, "malformed").names("status"),
        Row::get("a list from a day that isn't", list("arrival_from=2027-13-01"), 400, "malformed")
            .names("arrival_from"),
        Row::get("a list to a day that isn't", list("arrival_to=never"), 400, "malformed")
            .names("arrival_to"),
        Row::get("a list by an unknown parameter", list("order=id"), 400, "malformed").names("order"),
        Row::get("a parameter given twice", list("guest=a&guest=b"), 400, "malformed").names("guest"),
        Row::get("a cursor that isn't", list("cursor=%F0%9F%98%80"), 400, "malformed").names("cursor"),
        Row::get("another cursor that isn't", list("cursor=xyz"), 400, "malformed").names("cursor"),
    ];
    // What free-rooms and search have in common.
    type Path<'a> = &'a dyn Fn(&str) -> String;
    for path in [&free as Path, &search as Path] {
        let mut row = |what, rest: String, status, code, names| {
            rows.push(Row::get(what, path(&rest), status, code).names(names));
        };
        row("no arrival", format!("departure={}&occupancy=2", date(12)), 400, "malformed", "arrival");
        row("no departure", format!("arrival={}&occupancy=2", date(12)), 400, "malformed", "departure");
        row("no occupancy", nights.clone(), 400, "malformed", "occupancy");
        row("a negative occupancy", format!("{nights}&occupancy=-1"), 400, "malformed", "occupancy");
        row("an occupancy with a sign", format!("{nights}&occupancy=%2B2"), 400, "malformed", "occupancy");
        row("an occupancy in words", format!("{nights}&occupancy=two"), 400, "malformed", "occupancy");
        row("nobody", format!("{nights}&occupancy=0"), 422, "occupancy_invalid", "");
        row(
            "a day that isn't",
            format!("arrival=2027-02-30&departure={}&occupancy=2", date(99)),
            400,
            "malformed",
            "arrival",
        );
        row(
            "a timestamp for a date",
            format!("arrival=2027-02-03T00:00:00Z&departure={}&occupancy=2", date(99)),
            400,
            "malformed",
            "arrival",
        );
        row("no night", format!("arrival={0}&departure={0}&occupancy=2", date(12)), 422, "invalid_stay", "");
        row(
            "a stay backwards",
            format!("arrival={}&departure={}&occupancy=2", date(12), date(10)),
            422,
            "invalid_stay",
            "",
        );
        row(
            "367 nights",
            format!("arrival={}&departure={}&occupancy=2", date(0), date(367)),
            422,
            "stay_too_long",
            "",
        );
        row(
            "a currency that isn't",
            format!("{nights}&occupancy=2&currency=QQQ"),
            422,
            "invalid_currency",
            "",
        );
        row("an unknown parameter", format!("{nights}&occupancy=2&view=sea"), 400, "malformed", "view");
        row("a limit of 0", format!("{nights}&occupancy=2&limit=0"), 400, "malformed", "limit");
        row("a limit of 1,001", format!("{nights}&occupancy=2&limit=1001"), 400, "malformed", "limit");
    }
    for limit in ["0", "1001", "-1", "ten", "1.5", "", "%2B5", "05", "1e1"] {
        for path in [list(&format!("limit={limit}")), format!("{GRAND}/waitlist?limit={limit}")] {
            rows.push(Row::get("a limit out of bounds", path, 400, "malformed").names("limit"));
        }
    }
    let stay = format!("{nights}&occupancy=2&");
    for begun in [free(&stay), search(&stay), list("")] {
        for (what, rest, names) in [
            ("an age of what may be of any", "max_staleness_ms=1", "max_staleness_ms"),
            (
                "an age of what is the newest",
                "consistency=linearizable&max_staleness_ms=1",
                "max_staleness_ms",
            ),
            ("a consistency that isn't", "consistency=strong", "consistency"),
            ("a position that isn't", "min_lsn=1-0", "min_lsn"),
            ("a position with zeros ahead", "min_lsn=007", "min_lsn"),
        ] {
            rows.push(Row::get(what, format!("{begun}{rest}"), 400, "malformed").names(names));
        }
    }
    ask(&cluster, &rows).await;
    for limit in [1, 1_000] {
        cluster.api(2).get(&list(&format!("limit={limit}"))).expect(200).await;
    }
}

#[tokio::test]
async fn a_list_loses_and_repeats_nothing_across_its_pages() {
    let cluster = Cluster::start(3).await;
    open_grand(&cluster).await;
    let mut made = BTreeSet::new();
    for n in 0..23 {
        let api = cluster.api(1 + n % 3);
        let guest = format!("guest-{}", n % 2);
        let stay = json!({"guest": guest, "arrival": date(n), "departure": date(n + 1), "external_ref": format!("ref-{n}")});
        let reservation = reserve(&api, stay).await;
        made.insert(reservation["id"].as_str().expect("an id").to_owned());
        if n % 5 == 0 {
            api.post(&format!("{}/cancel", path_of(&reservation)), &json!({})).expect(200).await;
        }
    }
    for (api, limit) in cluster.apis().iter().zip([1, 7, 23]) {
        let mut seen = Vec::new();
        let mut cursor = String::new();
        loop {
            let page = api.get(&format!("{RESERVATIONS}?limit={limit}{cursor}")).expect(200).await;
            let reservations = page["reservations"].as_array().expect("a list").clone();
            assert!(reservations.len() <= limit);
            seen.extend(reservations.iter().map(|found| found["id"].as_str().expect("an id").to_owned()));
            // What is booked meanwhile may show or not; what was there stays where it was.
            if seen.len() == limit {
                let late = json!({"room": "102", "arrival": date(200 + limit as u64), "departure": date(201 + limit as u64)});
                reserve(api, late).await;
            }
            let Some(next) = page["next_cursor"].as_str() else { break };
            cursor = format!("&cursor={next}");
        }
        let ordered: Vec<String> = seen.iter().cloned().collect::<BTreeSet<_>>().into_iter().collect();
        assert_eq!(seen, ordered, "by id, each once");
        assert!(made.iter().all(|id| seen.contains(id)), "{limit} a page lost some of {made:?}: {seen:?}");
    }

    // Filters, alone and together; ranges are half-open.
    let api = cluster.api(3);
    let rows = [
        ("guest=guest-1&arrival_to=2027-01-24", 11),
        ("status=canceled", 5),
        ("status=held", 0),
        ("external_ref=ref-7", 1),
        ("external_ref=ref-7&guest=guest-0", 0),
        (&format!("arrival_from={}&arrival_to={}", date(3), date(6)), 3),
        (&format!("arrival_from={}&arrival_to={}&status=confirmed", date(3), date(6)), 2),
        (&format!("arrival_from={0}&arrival_to={0}", date(3)), 0),
    ];
    for (filter, count) in rows {
        let page = api.get(&format!("{RESERVATIONS}?{filter}&limit=1000")).expect(200).await;
        assert_eq!(page["reservations"].as_array().map(Vec::len), Some(count), "{filter}: {page}");
        assert_eq!(page["next_cursor"], Value::Null, "{filter}");
    }
}

/// Free-rooms lists exactly the rooms that a reserve by name would get, at the price that it would get.
#[tokio::test]
async fn free_rooms_are_those_that_a_reserve_would_get() {
    let cluster = Cluster::start(3).await;
    open_grand(&cluster).await;
    let api = cluster.api(1);
    reserve(&api, json!({"room": "101", "arrival": date(10), "departure": date(12)})).await;
    let by_type = json!({"room": null, "room_type": "suite", "arrival": date(14), "departure": date(15)});
    reserve(&api, by_type).await;

    let stays = [(9, 10), (10, 11), (11, 13), (12, 14), (13, 16), (30, 33), (1_097, 1_100)];
    for (n, (arrival, departure)) in stays.into_iter().enumerate() {
        for occupancy in 1..=4 {
            let asked = cluster.api(1 + n as u64 % 3);
            let free = free_rooms(&asked, arrival, departure, occupancy).await;
            for room in ["101", "102", "201", "301"] {
                let mut stay = super::stay(
                    json!({"room": room, "arrival": date(arrival), "departure": date(departure)}),
                );
                stay["occupancy"] = occupancy.into();
                let answer = api.post(RESERVATIONS, &stay).answer().await;
                let listed = free.iter().find(|found| found["room"] == room);
                match answer.status {
                    201 => {
                        let listed = listed.unwrap_or_else(|| panic!("not listed: {}", answer.in_words()));
                        let made = answer.json();
                        assert_eq!(listed["price"], made["price"]);
                        assert_eq!(listed["room_type"], made["room_type"]);
                        api.post(&format!("{}/cancel", path_of(&made)), &json!({})).expect(200).await;
                    }
                    _ => assert!(listed.is_none(), "listed, but {}", answer.in_words()),
                }
            }
        }
    }
    // Dates before the business date may be asked; they have no price here.
    let past = format!("{GRAND}/free-rooms?arrival=2026-12-01&departure=2026-12-02&occupancy=1");
    assert_eq!(api.get(&past).expect(200).await, json!({"rooms": []}));
    let limited =
        format!("{GRAND}/free-rooms?arrival={}&departure={}&occupancy=1&limit=1", date(30), date(31));
    assert_eq!(api.get(&limited).expect(200).await["rooms"].as_array().map(Vec::len), Some(1));
    let by_type = format!(
        "{GRAND}/free-rooms?arrival={}&departure={}&occupancy=1&room_type=single",
        date(30),
        date(31)
    );
    assert_eq!(api.get(&by_type).expect(200).await["rooms"][0]["room"], "201");
}

#[tokio::test]
async fn availability_counts_every_night_of_the_range() {
    let cluster = Cluster::start(3).await;
    open_grand(&cluster).await;
    let api = cluster.api(1);
    reserve(&api, json!({"room": "101", "arrival": date(10), "departure": date(12)})).await;
    reserve(&api, json!({"room": "102", "arrival": date(11), "departure": date(12), "hold_seconds": 600}))
        .await;
    let overbooked = json!({"name": "single", "max_occupancy": 1, "overbooking_limit": 2});
    api.put(&format!("{GRAND}/room-types/single"), &overbooked).expect(200).await;

    let path = format!("{GRAND}/availability?from={}&to={}", date(9), date(13));
    let shown = cluster.api(2).get(&path).expect(200).await;
    let row = |night: u64, held: u64, sold: u64| {
        json!({"date": date(night), "rooms": 2, "out_of_order": 0, "held": held, "sold": sold, "blocked": 0,
               "available": 2 - held - sold})
    };
    let types = shown["room_types"].as_object().expect("by room type");
    assert_eq!(types.keys().collect::<Vec<_>>(), ["closed", "double", "single", "suite"]);
    assert_eq!(types["double"], json!([row(9, 0, 0), row(10, 0, 1), row(11, 1, 1), row(12, 0, 0)]));
    assert_eq!(types["single"][0]["available"], 3, "one room and two that may be overbooked");
    assert_eq!(types["closed"][0]["rooms"], 0);
}

#[tokio::test]
async fn a_search_finds_properties_that_have_such_a_room() {
    let cluster = Cluster::start(3).await;
    open_grand(&cluster).await;
    let api = cluster.api(1);
    for (id, location, business_date) in
        [("aurora", "BUDAPEST", json!("clock")), ("beta", "Pécs", json!(date(0)))]
    {
        let changes = json!({"name": id, "location": location, "business_date": business_date});
        api.put(&format!("/v1/properties/{id}"), &with(grand(), changes)).expect(201).await;
    }
    let search = async |rest: &str| {
        let nights = format!("arrival={}&departure={}", date(10), date(12));
        cluster.api(2).get(&format!("/v1/search?{nights}&{rest}")).expect(200).await
    };
    // Without regard to case; a place without a free room is not listed.
    let found = search("location=bUDAPEST&occupancy=2").await;
    let properties = found["properties"].as_array().expect("a list of properties");
    assert_eq!(properties.len(), 1, "{found}");
    assert_eq!(
        (&properties[0]["property"], &properties[0]["location"]),
        (&json!("grand"), &json!("Budapest"))
    );
    let rooms: Vec<&str> = properties[0]["rooms"]
        .as_array()
        .expect("rooms")
        .iter()
        .filter_map(|room| room["room"].as_str())
        .collect();
    assert_eq!(rooms, ["101", "102", "301"]);
    assert_eq!(found["next_cursor"], Value::Null);
    for nothing in
        ["location=P%C3%A9cs&occupancy=1", "location=Vienna&occupancy=1", "location=Budapest&occupancy=3"]
    {
        assert_eq!(search(nothing).await["properties"], json!([]), "{nothing}");
    }
    // Page by page.
    for property in ["p1", "p2", "p3"] {
        let base = format!("/v1/properties/{property}");
        api.put(&base, &with(grand(), json!({"location": "Szeged"}))).expect(201).await;
        let room_type = json!({"name": "T", "max_occupancy": 2, "overbooking_limit": 0});
        api.put(&format!("{base}/room-types/t"), &room_type).expect(201).await;
        api.put(&format!("{base}/rooms/1"), &json!({"room_type": "t"})).expect(201).await;
        let rate = json!({"room_type": "t", "from": date(0), "to": date(30), "prices": {"EUR": {"1": 100}}});
        api.put(&format!("{base}/rates"), &rate).expect(200).await;
    }
    let mut seen = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = search(&format!("location=szeged&occupancy=1&limit=1{cursor}")).await;
        let properties = page["properties"].as_array().expect("a list of properties");
        seen.extend(properties.iter().map(|found| found["property"].as_str().expect("an id").to_owned()));
        let Some(next) = page["next_cursor"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(seen, ["p1", "p2", "p3"]);
}

async fn free_rooms(api: &Api, arrival: u64, departure: u64, occupancy: u64) -> Vec<Value> {
    let (arrival, departure) = (date(arrival), date(departure));
    let path = format!(
        "{GRAND}/free-rooms?arrival={arrival}&departure={departure}&occupancy={occupancy}&limit=1000"
    );
    api.get(&path).expect(200).await["rooms"].as_array().expect("a list of rooms").clone()
}
