//! Nodes are stopped or killed and come back with what they had.

use std::net::TcpStream;

use crate::support::load::Load;
use crate::support::{Cluster, Hotel, checker};

const CLIENTS: u64 = 8;
const ROOMS: u64 = 10;
const SOME: u64 = 80;

#[derive(Clone, Copy, Debug)]
enum How {
    /// SIGTERM.
    Stopped,
    /// SIGKILL.
    Killed,
}

#[tokio::test]
async fn a_follower_goes_and_comes_back() {
    let mut cluster = Cluster::start(3).await;
    let hotel = Hotel::open(&cluster, "grand", ROOMS).await;
    let load = Load::start(&cluster, &hotel, CLIENTS);
    for how in [How::Stopped, How::Killed] {
        load.acknowledges(SOME, &format!("before it is {how:?}")).await;
        let follower = cluster.followers().await[0];
        match how {
            How::Stopped => cluster.stop(follower).await,
            How::Killed => cluster.kill9(follower),
        }
        load.acknowledges(SOME, &format!("while it is {how:?}")).await;
        cluster.restart(follower).await;
    }
    let history = load.stop().await;
    checker::holds(&cluster, &hotel, &history).await;
}

#[tokio::test]
async fn all_nodes_are_stopped_and_come_back() {
    all_go_and_come_back(How::Stopped).await;
}

#[tokio::test]
async fn all_nodes_are_killed_at_once_and_come_back() {
    all_go_and_come_back(How::Killed).await;
}

async fn all_go_and_come_back(how: How) {
    let mut cluster = Cluster::start(3).await;
    let hotel = Hotel::open(&cluster, "grand", ROOMS).await;

    // With clients writing, so that something is in flight on every node. Clients that find nobody try again.
    let load = Load::start(&cluster, &hotel, CLIENTS);
    load.acknowledges(SOME, "before").await;
    match how {
        How::Stopped => cluster.stop_all().await,
        How::Killed => cluster.kill9_all(),
    }
    cluster.restart_all().await;
    load.acknowledges(SOME, "after").await;
    let history = load.stop().await;
    checker::holds(&cluster, &hotel, &history).await;

    // Quiet: what is shown after is what was shown before, to the byte of the state's hash.
    let (lsn, hash) = cluster.agree().await;
    let listed = hotel.reservations(&cluster.api(1)).await;
    match how {
        How::Stopped => cluster.stop_all().await,
        How::Killed => cluster.kill9_all(),
    }
    cluster.restart_all().await;
    assert_eq!(cluster.agree().await, (lsn, hash), "a start without commands changes nothing");
    assert_eq!(hotel.reservations(&cluster.api(3)).await, listed);
}

/// Whoever starts a node may think better of it before it serves.
#[tokio::test]
async fn a_node_that_is_stopped_while_it_starts_ends_in_order() {
    let mut cluster = Cluster::start(3).await;
    let hotel = Hotel::open(&cluster, "grand", ROOMS).await;
    let load = Load::start(&cluster, &hotel, CLIENTS);
    load.acknowledges(SOME, "before").await;
    let history = load.stop().await;
    for _ in 0..5 {
        cluster.stop(3).await;
        let seen = cluster.node(3).log().len();
        cluster.node(3).spawn();
        // Its ports are the first that it takes; it serves a good while later.
        let address = cluster.node(3).client_addr.clone();
        while TcpStream::connect(&address).is_err() {
            assert!(cluster.node(3).running(), "node 3 ended by itself");
        }
        cluster.node(3).stop().await;
        let said = cluster.node(3).log()[seen..].to_owned();
        assert!(said.contains("asked to stop"), "{said}");
        cluster.restart(3).await;
    }
    checker::holds(&cluster, &hotel, &history).await;
}
