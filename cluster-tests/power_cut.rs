//! Power fails, at one node or at all of them, with clients writing: what was acknowledged is there when it is back.
//!
//! A few cuts by default; `scripts/power-cuts` asks for many by `INNKEEPER_POWER_CUTS_ONE`, `INNKEEPER_POWER_CUTS_ALL` and
//! `INNKEEPER_POWER_CUTS_BOUNDED`.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use crate::events::{all_events, all_events_after, all_events_of};
use crate::streams::{all_are_booked, batch, metric};
use crate::support::load::Load;
use crate::support::{Cluster, Hotel, checker, eventually};

const CLIENTS: u64 = 8;
const ROOMS: u64 = 40;
/// Bookings between two cuts, at least.
const SOME: u64 = 15;
/// A cut comes up to so long after them, so that it meets any moment of a flush.
const CUT_WITHIN_MS: u64 = 60;
/// Cuts after which the record is checked and begun anew.
const CHECKED_EVERY: u64 = 10;
/// The first command that a history tells of.
const FIRST: &str = "innkeeper_history_first_lsn";
/// How often a node looks for what is to be forgotten.
const FORGOTTEN_WITHIN: Duration = Duration::from_secs(5);
/// So many bookings, so often, fill a mebibyte of history in some seconds, and no hotel meanwhile.
const AT_ONCE: u64 = 200;
const BOOKED_EVERY: Duration = Duration::from_millis(150);

#[derive(Clone, Copy, Debug)]
enum Struck {
    One,
    All,
}

#[tokio::test]
async fn what_was_acknowledged_survives_power_cuts_of_one_node() {
    survives(Struck::One, asked("INNKEEPER_POWER_CUTS_ONE", 3)).await;
}

#[tokio::test]
async fn what_was_acknowledged_survives_power_cuts_of_all_nodes_at_once() {
    survives(Struck::All, asked("INNKEEPER_POWER_CUTS_ALL", 2)).await;
}

/// From then on nothing but the snapshots has what was booked before, and nothing but the histories tells of it. Both are
/// small: neither is flushed because it grows.
#[tokio::test]
async fn what_the_log_is_purged_of_survives_a_cut_of_all_nodes_right_behind() {
    let mut cluster = Cluster::start_on_disks(3).await;
    let hotel = Hotel::open(&cluster, "grand", 3).await;
    let ids = cluster.ids();

    // Phase 1: the log up to the older of two snapshots goes.
    book_and_purge(&cluster, &hotel).await;
    let state = cluster.agree().await;
    let listed = hotel.reservations(&cluster.api(1)).await;

    // Phase 2: the power goes, and comes back.
    cluster.cut_power(&ids);
    cluster.restore_power(&ids).await;
    assert_eq!(cluster.agree().await, state);
    for api in cluster.apis() {
        assert_eq!(hotel.reservations(&api).await, listed);
    }
    tells_all(&cluster, listed.len()).await;
    cluster.stop_all().await;
    for id in ids {
        cluster.verify(id).await;
    }
}

/// Two snapshots of each node, with bookings before each, and no more log than since the older.
pub async fn book_and_purge(cluster: &Cluster, hotel: &Hotel) {
    let ids = cluster.ids();
    let mut older = Vec::new();
    for phase in 0..2 {
        for n in phase * SOME..(phase + 1) * SOME {
            let (api, key) = (cluster.api(1 + n % 3), format!("booking-{n}"));
            hotel.reserve(&api, "n1", n, n + 1, &key).expect(201).await;
        }
        cluster.agree().await;
        for &id in &ids {
            let index = cluster.snapshot(id).await;
            if phase == 0 {
                older.push((id, index));
            }
        }
    }
    for (id, index) in older {
        eventually(&format!("node {id} has purged its log up to {index}"), async || {
            let row = cluster.own_row(id).await?;
            if row["purged_index"].as_u64() >= Some(index) { Ok(()) } else { Err(row.to_string()) }
        })
        .await;
    }
}

/// How far the log is committed is written a moment behind what was booked, and not flushed: it is what every node writes
/// last. A process that is killed leaves it in memory, where the next one finds it and counts on it.
#[tokio::test]
async fn what_a_start_finds_in_memory_survives_a_power_cut_right_behind_it() {
    let mut cluster = Cluster::start_on_disks(3).await;
    let hotel = Hotel::open(&cluster, "grand", ROOMS).await;
    let load = Load::start(&cluster, &hotel, CLIENTS);
    load.acknowledges(SOME, "before the kill").await;
    let history = load.stop().await;
    cluster.agree().await;
    // Nothing else is written any more that it could come with: by itself it is written within a tenth of this.
    tokio::time::sleep(Duration::from_secs(1)).await;
    // A leader that is killed is followed by another, whose first entry flushes the logs.
    for id in cluster.followers().await {
        cluster.kill9(id);
        cluster.restart(id).await;
        cluster.cut_power(&[id]);
        cluster.restore_power(&[id]).await;
    }
    checker::holds(&cluster, &hotel, &history).await;
    cluster.stop_all().await;
    for id in cluster.ids() {
        cluster.verify(id).await;
    }
}

/// What is forgotten is removed from the store piece by piece, and what of that was not flushed a cut may bring back.
#[tokio::test]
async fn what_is_left_of_a_bounded_history_survives_power_cuts_of_all_nodes_at_once() {
    let mut cluster = Cluster::start_on_disks(3).await;
    let ids = cluster.ids();
    for &id in &ids {
        cluster.stop(id).await;
        cluster.node(id).set("--history-mib", "1");
        cluster.restart(id).await;
    }
    let (mut chance, mut hotels) = (cluster.chance(), Vec::new());
    for round in 0..asked("INNKEEPER_POWER_CUTS_BOUNDED", 2) {
        let hotel = Hotel::open(&cluster, &format!("grand-{round}"), 60).await;
        let began = metric(&cluster.api(1), FIRST).await.expect("where it begins");
        let (mut books, mut forgets) = (0, false);
        // It is removed when it was forgotten, and perhaps more is, when the power goes.
        let mut left = 1 + chance.below(FORGOTTEN_WITHIN.div_duration_f64(BOOKED_EVERY) as u64);
        while left > 0 {
            let nights = books..books + AT_ONCE;
            all_are_booked(&batch(&cluster.api(1 + left % 3), &hotel, nights).expect(200).await);
            tokio::time::sleep(BOOKED_EVERY).await;
            books += AT_ONCE;
            forgets |= metric(&cluster.api(1), FIRST).await.expect("where it begins") > began;
            left -= u64::from(forgets);
        }
        hotels.push(hotel);
        cluster.cut_power(&ids);
        cluster.restore_power(&ids).await;
        tell_what_is_left(&cluster, &hotels).await;
    }
    cluster.stop_all().await;
    for id in ids {
        cluster.verify(id).await;
        let folder = std::fs::read_dir(&cluster.node(id).data_dir).expect("a data directory");
        let names = folder.map(|entry| entry.expect("an entry").file_name().into_string().expect("a name"));
        let lost: Vec<String> = names.filter(|name| name.starts_with("history.")).collect();
        assert!(lost.is_empty(), "node {id} has set aside {lost:?}");
    }
}

/// All nodes tell of the same: of each reservation that was made since where the history begins.
async fn tell_what_is_left(cluster: &Cluster, hotels: &[Hotel]) {
    cluster.agree().await;
    let mut made = BTreeMap::new();
    for hotel in hotels {
        let listed = hotel.reservations(&cluster.api(1)).await;
        made.extend(
            listed.iter().map(|stay| (stay["lsn"].as_u64().expect("a number"), stay["id"].to_string())),
        );
    }
    eventually("all nodes tell of what is left", async || {
        let begins = metric(&cluster.api(1), FIRST).await? as u64;
        let expected: Vec<&String> = made.range(begins..).map(|(_, id)| id).collect();
        assert!(!expected.is_empty(), "nothing is left");
        for api in cluster.apis() {
            // More may have been forgotten meanwhile.
            let after = format!("{}-{}", begins - 1, u32::MAX);
            let told = all_events_after(&api, &after).await?;
            let of_stays = told.iter().filter(|event| event["type"] == "reservation.confirmed");
            let ids: Vec<String> = of_stays.map(|event| event["after"]["id"].to_string()).collect();
            if !ids.iter().eq(expected.iter().copied()) {
                return Err(format!("{} of {} are told from {begins} on", ids.len(), expected.len()));
            }
            // Found by their property, they are the same.
            for hotel in hotels {
                let found = all_events_of(&api, &after, &format!("&property={}", hotel.property)).await?;
                let of_hotel: Vec<&Value> =
                    told.iter().filter(|event| event["property"] == *hotel.property).collect();
                if !found.iter().eq(of_hotel.iter().copied()) {
                    return Err(format!(
                        "{} of {} are found by {}",
                        found.len(),
                        of_hotel.len(),
                        hotel.property
                    ));
                }
            }
        }
        Ok(())
    })
    .await;
}

fn asked(variable: &str, default: u64) -> u64 {
    match std::env::var(variable) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{variable} must be a number, got `{text}`")),
        Err(_) => default,
    }
}

async fn survives(struck: Struck, cuts: u64) {
    let mut cluster = Cluster::start_on_disks(3).await;
    let mut chance = cluster.chance();
    let (mut done, mut kept, mut round) = (0, 0, 0);
    while done < cuts {
        round += 1;
        let hotel = Hotel::open(&cluster, &format!("grand-{round}"), ROOMS).await;
        let load = Load::start(&cluster, &hotel, CLIENTS);
        for _ in 0..CHECKED_EVERY.min(cuts - done) {
            load.acknowledges(SOME, "before the cut").await;
            tokio::time::sleep(Duration::from_millis(chance.below(CUT_WITHIN_MS))).await;
            let ids = match struck {
                Struck::One => vec![1 + chance.below(3)],
                Struck::All => cluster.ids(),
            };
            cluster.cut_power(&ids);
            cluster.restore_power(&ids).await;
            done += 1;
        }
        load.acknowledges(SOME, "after the cuts").await;
        let history = load.stop().await;
        kept += checker::holds(&cluster, &hotel, &history).await;
    }
    let told = tells_all(&cluster, kept).await;
    eprintln!(
        "power was cut {done} times at {struck:?}; {kept} acknowledged bookings are there, and {told} events from the first on"
    );
    cluster.stop_all().await;
    for id in cluster.ids() {
        cluster.verify(id).await;
    }
}

/// Every node tells all that happened, from the first command on, and all the same.
pub async fn tells_all(cluster: &Cluster, bookings: usize) -> usize {
    let mut first: Option<Vec<Value>> = None;
    for id in cluster.ids() {
        let api = cluster.api(id);
        let told = eventually(&format!("node {id} tells all events"), || all_events(&api)).await;
        let confirmed = told.iter().filter(|event| event["type"] == "reservation.confirmed").count();
        assert!(
            confirmed >= bookings,
            "node {id} tells of {confirmed} bookings, {bookings} were acknowledged"
        );
        match &first {
            Some(first) => assert!(*first == told, "node {id} tells other events"),
            None => first = Some(told),
        }
    }
    first.expect("a cluster has nodes").len()
}
