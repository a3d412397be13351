//! Power fails, at one node or at all of them, with clients writing: what was acknowledged is there when it is back.
//!
//! A few cuts by default; `scripts/power-cuts` asks for many by `INNKEEPER_POWER_CUTS_ONE` and `INNKEEPER_POWER_CUTS_ALL`.

use std::time::Duration;

use serde_json::Value;

use crate::events::all_events;
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
async fn tells_all(cluster: &Cluster, bookings: usize) -> usize {
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
