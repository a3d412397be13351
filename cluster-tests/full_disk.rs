//! A node's disk fills up: what is left is for the log and what it leads to. What others have, too, waits until there is room.

use serde_json::json;

use crate::power_cut::{book_and_purge, tells_all};
use crate::streams::{fill, metric};
use crate::support::{Cluster, Hotel, eventually};

const ROOMS: u64 = 3;
/// Less than the sixteenth of the disk that the log may need, and enough for what is booked here.
const LEFT_MIB: u64 = 6;
const SUSPENDED: &str = "innkeeper_history_suspended";
const MISSING: &str = "innkeeper_history_missing";

/// Books nights one after the other, at the node whose disk is full.
async fn book(cluster: &Cluster, hotel: &Hotel, at: u64, nights: std::ops::Range<u64>) {
    for night in nights {
        hotel.reserve(&cluster.api(at), "n1", night, night + 1, &format!("night-{night}")).expect(201).await;
    }
}

async fn eventually_reads(cluster: &Cluster, at: u64, name: &str, value: f64) {
    eventually(&format!("{name} of node {at} is {value}"), async || {
        let now = metric(&cluster.api(at), name).await?;
        if now == value { Ok(()) } else { Err(now.to_string()) }
    })
    .await;
}

async fn eventually_says(cluster: &mut Cluster, at: u64, words: &str) {
    eventually(&format!("node {at} says that {words}"), async || {
        if cluster.node(at).log().contains(words) { Ok(()) } else { Err("it does not".to_owned()) }
    })
    .await;
}

#[tokio::test]
async fn a_nearly_full_disk_takes_bookings_and_tells_of_them() {
    let mut cluster = Cluster::start_on_disks(3).await;
    let hotel = Hotel::open(&cluster, "grand", ROOMS).await;
    let large = Hotel::open(&cluster, "large", 60).await;
    let full = cluster.leader().await;
    book(&cluster, &hotel, full, 0..50).await;
    // More than is written of a snapshot before it is looked what is left.
    fill(&cluster.api(full), &large).await;

    // Phase 1: no room for a snapshot.
    cluster.disk(full).fill_up_to(LEFT_MIB);
    book(&cluster, &hotel, full, 50..150).await;
    cluster.api(full).post("/v1/cluster/snapshot", &json!({})).expect(202).await;
    eventually_says(&mut cluster, full, "snapshot could not be written").await;
    eventually_reads(&cluster, full, "innkeeper_history_unkept_commits", 0.0).await;
    eventually_reads(&cluster, full, SUSPENDED, 0.0).await;

    // Phase 2: it is killed, and starts on what is left, which is too little to open its history.
    cluster.kill9(full);
    cluster.restart(full).await;
    book(&cluster, &hotel, full, 150..200).await;
    eventually_reads(&cluster, full, SUSPENDED, 1.0).await;

    // Phase 3: there is room again, and nothing is lacking.
    cluster.disk(full).free();
    cluster.snapshot(full).await;
    eventually_reads(&cluster, full, SUSPENDED, 0.0).await;
    book(&cluster, &hotel, full, 200..250).await;
    cluster.agree().await;
    tells_all(&cluster, 20_250).await;
    cluster.stop_all().await;
    for id in cluster.ids() {
        cluster.verify(id).await;
    }
}

#[tokio::test]
async fn a_history_that_is_fetched_leaves_the_log_its_room() {
    let mut cluster = Cluster::start_on_disks(3).await;
    let hotel = Hotel::open(&cluster, "grand", ROOMS).await;
    book_and_purge(&cluster, &hotel).await;
    let booked = hotel.reservations(&cluster.api(1)).await.len() as u64;
    let lacking = cluster.followers().await[0];
    let others: Vec<u64> = cluster.ids().into_iter().filter(|id| *id != lacking).collect();

    // Phase 1: a node has lost its history, and nearly all room goes before it can be sent any of it.
    cluster.stop(lacking).await;
    std::fs::remove_dir_all(cluster.node(lacking).data_dir.join("history")).expect("a history");
    others.iter().for_each(|id| cluster.pause(*id));
    cluster.node(lacking).spawn();
    let api = cluster.api(lacking);
    eventually("the node answers", async || api.get("/livez").send().await.map(drop)).await;
    cluster.disk(lacking).fill_up_to(LEFT_MIB);
    others.iter().for_each(|id| cluster.resume(*id));
    cluster.wait_ready_of(&cluster.ids()).await;
    eventually_says(&mut cluster, lacking, "is not fetched: make room").await;
    book(&cluster, &hotel, lacking, 200..250).await;
    eventually_reads(&cluster, lacking, MISSING, 1.0).await;

    // Phase 2: there is room again, and it is fetched.
    cluster.disk(lacking).free();
    eventually_reads(&cluster, lacking, MISSING, 0.0).await;
    cluster.agree().await;
    tells_all(&cluster, booked as usize + 50).await;
}
