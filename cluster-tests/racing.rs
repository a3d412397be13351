//! Many clients want the same: as many get it as there are rooms.

use std::collections::BTreeSet;

use serde_json::json;

use crate::support::hotel::date;
use crate::support::http::Call;
use crate::support::{Answer, Cluster, Hotel};

const RACERS: u64 = 64;

#[tokio::test]
async fn of_64_clients_for_one_room_one_wins() {
    let cluster = Cluster::start(3).await;
    let hotel = Hotel::open(&cluster, "grand", 3).await;
    let apis = cluster.apis();

    // The same nights, and then nights that all share one.
    for (round, arrival, spread) in [("same", 10, 1), ("overlapping", 100, 5)] {
        let calls = (0..RACERS).map(|n| {
            let (from, to) = (arrival - n % spread, arrival + 1 + n % 3);
            hotel.reserve(&apis[n as usize % apis.len()], "n1", from, to, &format!("{round}-{n}"))
        });
        let answers = race(calls.collect()).await;
        let (won, lost) = winners(answers);
        assert_eq!(won.len(), 1, "{round}: {}", in_words(&won));
        for answer in &lost {
            let problem = answer.problem();
            assert_eq!(
                (answer.status, &problem["code"]),
                (409, &json!("room_unavailable")),
                "{}",
                answer.in_words()
            );
            let nights = problem["nights"].as_array().expect("the nights that are taken");
            assert!(nights.contains(&date(arrival).into()), "{}", answer.in_words());
        }
    }
    cluster.agree().await;
    assert_eq!(hotel.reservations(&cluster.api(1)).await.len(), 2);
}

#[tokio::test]
async fn of_64_clients_for_three_rooms_of_a_type_three_win() {
    let cluster = Cluster::start(3).await;
    let hotel = Hotel::open(&cluster, "grand", 3).await;
    let apis = cluster.apis();
    let calls = (0..RACERS).map(|n| {
        let stay = json!({"guest": "racer", "room_type": "counted", "arrival": date(10), "departure": date(12),
                          "occupancy": 2, "external_ref": format!("racer-{n}")});
        hotel.post(&apis[n as usize % apis.len()], &stay).key(&format!("racer-{n}"))
    });
    let (won, lost) = winners(race(calls.collect()).await);

    assert_eq!(won.len() as u64, hotel.rooms, "{}", in_words(&won));
    let rooms: BTreeSet<String> = won.iter().map(|answer| answer.json()["room"].to_string()).collect();
    assert_eq!(rooms.len() as u64, hotel.rooms, "each winner has a room of its own: {rooms:?}");
    for answer in &lost {
        let problem = answer.problem();
        assert_eq!(
            (answer.status, &problem["code"]),
            (409, &json!("no_availability")),
            "{}",
            answer.in_words()
        );
        assert_eq!(problem["nights"], json!([date(10), date(11)]));
    }
    assert_eq!(hotel.reservations(&cluster.api(2)).await.len() as u64, hotel.rooms);
    assert_eq!(hotel.availability(&cluster.api(2)).await["counted"][10]["available"], 0);
}

/// All at once.
async fn race(calls: Vec<Call>) -> Vec<Answer> {
    let running: Vec<_> =
        calls.into_iter().map(|call| tokio::spawn(async move { call.answer().await })).collect();
    let mut answers = Vec::new();
    for call in running {
        answers.push(call.await.expect("an answer"));
    }
    answers
}

fn winners(answers: Vec<Answer>) -> (Vec<Answer>, Vec<Answer>) {
    answers.into_iter().partition(|answer| answer.status == 201)
}

fn in_words(answers: &[Answer]) -> String {
    answers.iter().map(Answer::in_words).collect::<Vec<_>>().join("\n")
}
