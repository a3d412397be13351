//! A room's calendar, read back by an iCalendar parser.

use icalendar::{Calendar, Component};
use serde_json::json;

use super::{Row, ask, open_grand, reserve};
use crate::support::Cluster;
use crate::support::hotel::date;

const CALENDAR: &str = "/v1/properties/grand/rooms/101/calendar.ics";

#[tokio::test]
async fn other_channels_read_when_a_room_is_taken() {
    let cluster = Cluster::start(3).await;
    open_grand(&cluster).await;
    let api = cluster.api(1);
    let first = reserve(&api, json!({"guest": "Nobody, to be named; here"})).await;
    // The departure day is free, and the next stay, by type, is planned for the same room.
    let held = json!({"room": null, "room_type": "double", "arrival": date(12), "departure": date(13), "hold_seconds": 600});
    let second = reserve(&api, held).await;
    assert_eq!(second["room"], "101");
    let closed = json!({"from": date(20), "to": date(22), "reason": "paint"});
    api.put("/v1/properties/grand/rooms/101/out-of-order", &closed).expect(200).await;

    for (id, api) in cluster.ids().into_iter().zip(cluster.apis()) {
        let answer = api.get(CALENDAR).answer().await;
        let words = format!("node {id}: {}", answer.in_words());
        assert_eq!(answer.header("content-type"), Some("text/calendar; charset=utf-8"), "{words}");
        assert!(answer.lsn() > 0, "{words}");
        let text = String::from_utf8(answer.body.clone()).expect("UTF-8");
        assert!(!text.contains("Nobody"), "a guest is shown: {words}");
        let lines: Vec<&str> = text.split("\r\n").collect();
        assert!(lines.iter().all(|line| line.len() <= 75 && !line.contains('\n')), "{words}");
        let calendar: Calendar = text.parse().unwrap_or_else(|error| panic!("{error}: {words}"));
        let events: Vec<_> = (calendar.events())
            .map(|event| {
                ["UID", "DTSTART", "DTEND", "SUMMARY"]
                    .map(|name| event.property_value(name).unwrap_or_default())
            })
            .collect();
        let day = |days| date(days).replace('-', "");
        let uid =
            |reservation: &serde_json::Value| format!("{}@innkeeper", reservation["id"].as_str().unwrap());
        let expected = [
            [uid(&first), day(10), day(12), "Reserved".to_owned()],
            [uid(&second), day(12), day(13), "Held".to_owned()],
            [
                "9183b174-1a47-899e-80e7-1f07c8b0a506@innkeeper".to_owned(),
                day(20),
                day(22),
                "Out of order".to_owned(),
            ],
        ];
        assert_eq!(events, expected, "{words}");
        let whole_days = text.matches(";VALUE=DATE:").count();
        assert_eq!(whole_days, 2 * events.len(), "{words}");
    }

    api.post(&format!("/v1/reservations/{}/cancel", first["id"].as_str().unwrap()), &json!({}))
        .expect(200)
        .await;
    let left: Calendar = String::from_utf8(api.get(CALENDAR).answer().await.body).unwrap().parse().unwrap();
    assert_eq!(left.events().count(), 2);

    let rows = [
        Row::get(
            "the calendar of no property",
            CALENDAR.replace("grand", "nowhere"),
            404,
            "property_not_found",
        ),
        Row::get("the calendar of no room", CALENDAR.replace("101", "999"), 404, "room_not_found"),
        Row::get(
            "a parameter that it does not know",
            format!("{CALENDAR}?from={}", date(0)),
            400,
            "malformed",
        )
        .names("from"),
    ];
    ask(&cluster, &rows).await;
}
