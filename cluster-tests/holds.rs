//! A hold ends at its millisecond: no linearizable read of any node shows it after, and its room is free.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::support::{Cluster, Hotel, eventually};

/// The log clock is set from the nodes' wall clocks through a network and then runs by itself; this story reads its
/// own wall clock. Both are clocks of one machine, so they differ by what it took to set one from the other.
const CLOCKS_DIFFER: Duration = Duration::from_millis(20);

/// One client a node reads without pause from before the end until after it.
#[tokio::test]
async fn a_hold_ends_at_its_millisecond_on_every_node() {
    let cluster = Cluster::start(3).await;
    let hotel = Hotel::open(&cluster, "grand", 2).await;
    let (path, ends) = hold(&cluster, &hotel, "n1", 0, "first").await;

    // While it lasts, the room is not to be had.
    hotel.reserve(&cluster.api(2), "n1", 1, 2, "too-early").refused(409, "room_unavailable").await;
    let shown = hotel.availability(&cluster.api(3)).await["named"][0].clone();
    assert_eq!((&shown["held"], &shown["sold"], &shown["available"]), (&json!(1), &json!(0), &json!(1)));

    let readers: Vec<_> = cluster
        .apis()
        .into_iter()
        .map(|api| {
            let (path, hotel) = (path.clone(), hotel.clone());
            tokio::spawn(async move {
                let mut seen = (0, 0);
                while Timestamp::now() < ends + Duration::from_secs(1) {
                    let asked = Timestamp::now();
                    let read = api.get(&path).expect(200).await;
                    let answered = Timestamp::now();
                    if asked > ends + CLOCKS_DIFFER {
                        assert_ne!(read["status"], "held", "asked at {asked}, ended at {ends}");
                        let free = hotel.free_rooms(&api, 0, 2).await;
                        assert!(free.contains(&"n1".to_owned()), "an ended hold keeps its room: {free:?}");
                        seen.1 += 1;
                    } else if answered + CLOCKS_DIFFER < ends {
                        assert_eq!(read["status"], "held", "answered at {answered}, ends at {ends}");
                        seen.0 += 1;
                    }
                }
                seen
            })
        })
        .collect();
    for reader in readers {
        let (before, after) = reader.await.expect("a reader that saw nothing wrong");
        assert!(before > 0 && after > 0, "it read {before} times before the end and {after} times after");
    }

    // What it left behind: a record that says so, and a room that sells.
    let ended = cluster.api(1).get(&path).expect(200).await;
    assert_eq!((&ended["status"], &ended["hold_expires_at"]), (&json!("expired"), &Value::Null));
    cluster.api(2).post(&format!("{path}/confirm"), &json!({})).refused(410, "hold_expired").await;
    let problem =
        cluster.api(2).post(&format!("{path}/cancel"), &json!({})).refused(409, "invalid_state").await;
    assert_eq!(problem["state"], "expired");
    hotel.reserve(&cluster.api(3), "n1", 1, 2, "after").expect(201).await;
}

#[tokio::test]
async fn a_confirmed_hold_does_not_end() {
    let cluster = Cluster::start(3).await;
    let hotel = Hotel::open(&cluster, "grand", 2).await;
    let (confirmed, ends) = hold(&cluster, &hotel, "n1", 0, "confirmed").await;
    let (other, _) = hold(&cluster, &hotel, "n2", 0, "other").await;
    let answer = cluster.api(2).post(&format!("{confirmed}/confirm"), &json!({})).expect(200).await;
    assert_eq!((&answer["status"], &answer["hold_expires_at"]), (&json!("confirmed"), &Value::Null));
    assert_eq!(answer["revision"], 2);

    eventually("the other hold has ended", async || {
        let read = cluster.api(3).get(&other).expect(200).await;
        if read["status"] == "expired" { Ok(()) } else { Err(read.to_string()) }
    })
    .await;
    assert!(Timestamp::now() + CLOCKS_DIFFER > ends);
    assert_eq!(cluster.api(1).get(&confirmed).expect(200).await, answer);
}

/// The leader that took it is gone when it ends; the next one ends it, and a restart doesn't bring it back.
#[tokio::test]
async fn a_hold_ends_although_its_leader_died() {
    let mut cluster = Cluster::start(3).await;
    let hotel = Hotel::open(&cluster, "grand", 2).await;
    let leader = cluster.leader().await;
    let (path, ends) = hold(&cluster, &hotel, "n1", 0, "first").await;
    cluster.kill9(leader);
    let next = cluster.leader_of_others(leader).await;

    eventually("the hold has ended", async || {
        let asked = Timestamp::now();
        let read = cluster.api(next).get(&path).send().await?;
        assert_eq!(read.status, 200, "{}", read.in_words());
        match read.json()["status"].as_str() {
            Some("expired") => Ok(()),
            status => {
                assert!(asked < ends + CLOCKS_DIFFER, "{status:?} at {asked}, ended at {ends}");
                Err(format!("{status:?}"))
            }
        }
    })
    .await;
    hotel.reserve(&cluster.api(next), "n1", 0, 2, "after").expect(201).await;
    cluster.restart(leader).await;
    assert_eq!(cluster.api(leader).get(&path).expect(200).await["status"], "expired");
    cluster.agree().await;
}

/// Holds a room for two nights and three seconds; answers the path of the hold and when it ends.
async fn hold(cluster: &Cluster, hotel: &Hotel, room: &str, arrival: u64, key: &str) -> (String, Timestamp) {
    let mut stay = hotel.stay(room, arrival, arrival + 2, key);
    stay["hold_seconds"] = json!(3);
    let held = hotel.post(&cluster.api(1), &stay).key(key).expect(201).await;
    assert_eq!(held["status"], "held");
    let instant = |field: &str| held[field].as_str().and_then(|text| text.parse::<Timestamp>().ok());
    let ends = instant("hold_expires_at").expect("a hold has an end");
    let created = instant("created_at").expect("a reservation has a beginning");
    assert_eq!(ends.duration_since(created).as_millis(), 3_000, "to the millisecond");
    (format!("/v1/reservations/{}", held["id"].as_str().expect("an id")), ends)
}
