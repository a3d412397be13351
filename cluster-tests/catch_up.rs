//! A follower that was away catches up: from the log where the log reaches back, else from a snapshot and the log
//! past it.

use crate::support::{Cluster, Hotel, eventually};

/// Bookings that a phase makes.
const SOME: u64 = 30;

#[tokio::test]
async fn a_follower_catches_up_from_the_log() {
    let mut cluster = Cluster::start(3).await;
    let hotel = Hotel::open(&cluster, "grand", 5).await;
    let away = cluster.followers().await[0];
    cluster.kill9(away);
    let near = cluster.leader_of_others(away).await;
    book(&cluster, &hotel, near, 0..SOME).await;

    cluster.restart(away).await;
    has_caught_up(&cluster, &hotel, away, SOME).await;
}

#[tokio::test]
async fn a_follower_behind_the_purged_log_catches_up_from_a_snapshot() {
    let mut cluster = Cluster::start(3).await;
    let hotel = Hotel::open(&cluster, "grand", 5).await;
    let away = cluster.followers().await[0];
    let had = cluster.own_row(away).await.expect("a node that answers")["last_log_index"].as_u64();
    let had = had.expect("a node knows the end of its log");
    cluster.kill9(away);

    // Two snapshots on each node that stays, with bookings before each: the log up to the older one goes.
    let near = cluster.leader_of_others(away).await;
    let stays: Vec<u64> = cluster.ids().into_iter().filter(|&id| id != away).collect();
    let mut older = 0;
    for phase in 0..2 {
        book(&cluster, &hotel, near, phase * SOME..(phase + 1) * SOME).await;
        cluster.agree_among(&stays).await;
        for &id in &stays {
            let index = cluster.snapshot(id).await;
            if phase == 0 && id == near {
                older = index;
            }
        }
    }
    assert!(older > had, "the older snapshot, of {older}, is past what the follower had, {had}");
    for &id in &stays {
        eventually(&format!("node {id} has purged its log past {had}"), async || {
            let row = cluster.own_row(id).await?;
            row["purged_index"].as_u64().filter(|purged| *purged > had).ok_or_else(|| row.to_string())
        })
        .await;
    }
    // And some that only the log has.
    book(&cluster, &hotel, near, 2 * SOME..3 * SOME).await;

    cluster.restart(away).await;
    has_caught_up(&cluster, &hotel, away, 3 * SOME).await;
    let row = cluster.own_row(away).await.expect("a node that answers");
    let snapshot = row["snapshot_index"].as_u64().unwrap_or(0);
    assert!(snapshot >= older, "it was sent a snapshot of index {older} or later: {row}");

    // What it was sent is durable: it serves the same after a kill.
    let state = cluster.agree().await;
    cluster.kill9(away);
    cluster.restart(away).await;
    assert_eq!(cluster.agree().await, state);
}

/// One booking a number, each of its own night and room.
async fn book(cluster: &Cluster, hotel: &Hotel, at: u64, numbers: std::ops::Range<u64>) {
    let api = cluster.api(at);
    for n in numbers {
        let room = format!("n{}", 1 + n % hotel.rooms);
        hotel.reserve(&api, &room, n, n + 1, &format!("booking-{n}")).expect(201).await;
    }
}

async fn has_caught_up(cluster: &Cluster, hotel: &Hotel, away: u64, bookings: u64) {
    cluster.agree().await;
    let local = format!("/reservations?limit=1000&consistency=local&guest=guest-booking-{}", bookings - 1);
    let newest = cluster.api(away).get(&hotel.path(&local)).expect(200).await;
    assert_eq!(newest["reservations"].as_array().map(Vec::len), Some(1), "{newest}");
    assert_eq!(hotel.reservations(&cluster.api(away)).await.len() as u64, bookings);
    // It takes bookings like any other.
    hotel.reserve(&cluster.api(away), "c1", 300, 301, "through-the-returned").expect(201).await;
}
