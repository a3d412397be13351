//! The leader goes away with clients writing: nothing acknowledged is lost, nothing is sold twice.

use std::time::{Duration, Instant};

use tokio::time::sleep;

use crate::support::load::Load;
use crate::support::{Cluster, Hotel, checker};

const CLIENTS: u64 = 16;

/// Rooms of each type: enough to be busy for a while, few enough that clients meet.
const ROOMS: u64 = 20;

/// Bookings that a phase waits for.
const SOME: u64 = 150;

/// How long a node waits for the answer to what it has forwarded.
const FORWARDED_WAIT: Duration = Duration::from_secs(5);

#[tokio::test]
async fn the_leader_is_killed_with_clients_writing() {
    let mut cluster = Cluster::start(3).await;
    let hotel = Hotel::open(&cluster, "grand", ROOMS).await;
    let load = Load::start(&cluster, &hotel, CLIENTS);
    load.acknowledges(SOME, "before the kill").await;

    // Twice, so that the second leader has entries that the first one made.
    for phase in ["first", "second"] {
        let leader = cluster.leader().await;
        cluster.kill9(leader);
        load.acknowledges(SOME, &format!("after the {phase} kill")).await;
        cluster.restart(leader).await;
        load.acknowledges(SOME, &format!("after the {phase} return")).await;
    }

    let history = load.stop().await;
    let kept = checker::holds(&cluster, &hotel, &history).await;
    assert!(kept as u64 >= 5 * SOME, "{kept} acknowledged");
}

#[tokio::test]
async fn the_leader_is_stopped_with_clients_writing() {
    let mut cluster = Cluster::start(3).await;
    let hotel = Hotel::open(&cluster, "grand", ROOMS).await;
    let load = Load::start(&cluster, &hotel, CLIENTS);
    load.acknowledges(SOME, "before the stop").await;

    let leader = cluster.leader().await;
    cluster.stop(leader).await;
    load.acknowledges(SOME, "after the stop").await;
    cluster.restart(leader).await;
    load.acknowledges(SOME, "after the return").await;

    let history = load.stop().await;
    checker::holds(&cluster, &hotel, &history).await;
}

/// A leader that was frozen wakes up believing that it still leads.
#[tokio::test]
async fn the_leader_is_frozen_and_thawed_with_clients_writing() {
    let cluster = Cluster::start(3).await;
    let hotel = Hotel::open(&cluster, "grand", ROOMS).await;
    let load = Load::start(&cluster, &hotel, CLIENTS);
    load.acknowledges(SOME, "before the freeze").await;

    let frozen = cluster.leader().await;
    cluster.pause(frozen);
    let silent_from = Instant::now();
    // Answers that were on their way when it froze.
    sleep(Duration::from_millis(200)).await;
    load.acknowledges(1, "once it is frozen").await;
    // Its connections are open, and the others have commands under way to it: they don't wait for the end of those.
    let silent = silent_from.elapsed();
    assert!(silent < FORWARDED_WAIT - Duration::from_millis(500), "nobody was answered for {silent:?}");
    cluster.leader_of_others(frozen).await;
    load.acknowledges(SOME, "while it is frozen").await;
    cluster.resume(frozen);
    load.acknowledges(SOME, "after the thaw").await;

    let history = load.stop().await;
    checker::holds(&cluster, &hotel, &history).await;
}
