//! Nodes are cut off from each other, in network namespaces: those who are left sell on, the one that is cut off
//! doesn't, and after the cut all agree and nothing acknowledged is lost.

use serde_json::Value;

use crate::support::cluster::Machines;
use crate::support::load::Load;
use crate::support::{Api, Hotel, checker, eventually, in_namespaces};

const CLIENTS: u64 = 8;
const ROOMS: u64 = 20;
const SOME: u64 = 100;

#[test]
fn the_leader_is_cut_off_and_healed() {
    in_namespaces(Machines::Shared, async |mut cluster| {
        let hotel = Hotel::open(&cluster, "grand", ROOMS).await;
        let annex = Hotel::open(&cluster, "annex", 2).await;
        let leader = cluster.leader().await;
        let before = annex.reserve(&cluster.api(leader), "n1", 0, 2, "before").expect(201).await;
        let load = Load::start(&cluster, &hotel, CLIENTS);
        load.acknowledges(SOME, "before the cut").await;

        cluster.namespaces().script(&["cut", &leader.to_string()]);
        let next = cluster.leader_of_others(leader).await;
        load.acknowledges(SOME, "while it is cut off").await;
        let meanwhile = annex.reserve(&cluster.api(next), "n1", 2, 4, "meanwhile").expect(201).await;

        // Clients still reach the cut-off node. It neither sells nor pretends to know what is sold.
        let alone = cluster.api(leader);
        refuses_to_sell(&annex, &alone).await;
        alone.get(&path(&before)).refused(503, "no_leader").await;
        assert_eq!(alone.get(&format!("{}?consistency=local", path(&before))).expect(200).await, before);
        assert_eq!(alone.get("/readyz").answer().await.status, 503);

        cluster.namespaces().script(&["heal", &leader.to_string()]);
        cluster.wait_ready().await;
        load.acknowledges(SOME, "after the cut").await;
        let history = load.stop().await;
        checker::holds(&cluster, &hotel, &history).await;
        for api in cluster.apis() {
            assert_eq!(api.get(&path(&before)).expect(200).await, before);
            assert_eq!(api.get(&path(&meanwhile)).expect(200).await, meanwhile);
        }
        cluster.stop_all().await;
    });
}

/// What a follower says is lost, what it is told arrives: it can neither elect itself nor stop the others.
#[test]
fn a_follower_that_is_heard_by_nobody_disturbs_nobody() {
    in_namespaces(Machines::Shared, async |mut cluster| {
        let hotel = Hotel::open(&cluster, "grand", ROOMS).await;
        let mute = cluster.followers().await[0];
        let load = Load::start(&cluster, &hotel, CLIENTS);
        load.acknowledges(SOME, "before the cut").await;
        for other in cluster.ids().into_iter().filter(|&id| id != mute) {
            cluster.namespaces().script(&["cut-oneway", &mute.to_string(), &other.to_string()]);
        }
        let leader = cluster.leader_of_others(mute).await;
        load.acknowledges(SOME, "while it is mute").await;
        // Nor does it hear anybody for long, since nobody hears that it does.
        eventually("it knows no leader", async || {
            let seen = cluster.cluster_seen_by(mute).await?;
            if seen["leader"].is_null() { Ok(()) } else { Err(seen.to_string()) }
        })
        .await;
        load.acknowledges(SOME, "while it knows no leader").await;
        // One that stands for election in vain goes on to later terms, and comes back with them.
        let term = async |id| cluster.cluster_seen_by(id).await.expect("an answer")["term"].as_u64();
        let its = term(mute).await;
        assert!(its <= term(leader).await, "it stood for election in term {its:?}");
        cluster.namespaces().script(&["heal"]);
        cluster.wait_ready().await;
        load.acknowledges(SOME, "after the cut").await;
        let history = load.stop().await;
        checker::holds(&cluster, &hotel, &history).await;
        cluster.stop_all().await;
    });
}

/// The leader's heartbeats arrive and the answers to them are lost: it must give way, or nobody ever sells again.
#[test]
fn a_leader_that_hears_nobody_gives_way() {
    in_namespaces(Machines::Shared, async |mut cluster| {
        let hotel = Hotel::open(&cluster, "grand", ROOMS).await;
        let deaf = cluster.leader().await;
        let load = Load::start(&cluster, &hotel, CLIENTS);
        load.acknowledges(SOME, "before the cut").await;
        for other in cluster.ids().into_iter().filter(|&id| id != deaf) {
            cluster.namespaces().script(&["cut-oneway", &other.to_string(), &deaf.to_string()]);
        }
        cluster.leader_of_others(deaf).await;
        load.acknowledges(SOME, "while it is deaf").await;
        cluster.namespaces().script(&["heal"]);
        cluster.wait_ready().await;
        load.acknowledges(SOME, "after the cut").await;
        let history = load.stop().await;
        checker::holds(&cluster, &hotel, &history).await;
        cluster.stop_all().await;
    });
}

#[test]
fn nobody_sells_while_no_node_reaches_another() {
    in_namespaces(Machines::Shared, async |mut cluster| {
        let hotel = Hotel::open(&cluster, "grand", ROOMS).await;
        let annex = Hotel::open(&cluster, "annex", 2).await;
        let load = Load::start(&cluster, &hotel, CLIENTS);
        load.acknowledges(SOME, "before the cut").await;
        cluster.namespaces().script(&["isolate-bridge"]);
        for api in cluster.apis() {
            refuses_to_sell(&annex, &api).await;
        }
        cluster.namespaces().script(&["heal"]);
        cluster.wait_ready().await;
        load.acknowledges(SOME, "after the cut").await;
        let history = load.stop().await;
        checker::holds(&cluster, &hotel, &history).await;
        cluster.stop_all().await;
    });
}

async fn refuses_to_sell(hotel: &Hotel, api: &Api) {
    eventually("a node that reaches nobody takes no booking in", async || {
        let answer = hotel.reserve(api, "n2", 0, 1, "alone").send().await?;
        assert_eq!(answer.status, 503, "{}", answer.in_words());
        match answer.code().as_str() {
            "no_leader" => Ok(()),
            "outcome_unknown" => Err(answer.in_words()),
            _ => panic!("{}", answer.in_words()),
        }
    })
    .await;
}

fn path(reservation: &Value) -> String {
    format!("/v1/reservations/{}", reservation["id"].as_str().expect("an id"))
}
