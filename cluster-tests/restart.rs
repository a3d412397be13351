//! Nodes are stopped or killed and come back with what they had.

use std::fs::OpenOptions;
use std::io::Write;
use std::net::TcpStream;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::Command;

use rustix::fs::OFlags;

use crate::support::load::Load;
use crate::support::node::run;
use crate::support::wait::SETTLED_WITHIN;
use crate::support::{Api, Cluster, Hotel, checker, eventually};

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

/// A probe must be able to tell a node that starts from one that hangs, and a client must learn at once that it has to go
/// elsewhere. Here the start takes as long as the story likes: it does not get beyond reading whose folder it is.
#[tokio::test]
async fn a_node_that_starts_says_that_it_lives_and_takes_nothing_in() {
    let mut cluster = Cluster::start(3).await;
    let hotel = Hotel::open(&cluster, "grand", 1).await;
    cluster.stop(3).await;
    let pipe = cluster.node(3).data_dir.join("identity");
    let identity = hold_starts_at(&pipe);
    let api = cluster.api(3);

    // Phase 1: it starts, and does not get on.
    cluster.node(3).spawn();
    lives(&api).await;
    assert_eq!(api.get("/readyz").refused(503, "not_ready").await["check"], "starting");
    hotel.reserve(&api, "n1", 0, 2, "early").refused(503, "not_ready").await;
    let endpoint = format!("http://{}", api.address());
    let said = run(&["status", "--ready", "--endpoint", &endpoint], SETTLED_WITHIN).await;
    assert!(said.code == Some(1) && said.stderr.contains("starting"), "{}", said.in_words());
    cluster.stop(3).await;
    assert!(cluster.node(3).log().contains("asked to stop while starting"));

    // Phase 2: it starts again, and gets on.
    cluster.node(3).spawn();
    lives(&api).await;
    let_start(&pipe, &identity).await;
    cluster.wait_ready_of(&[3]).await;
    assert!(hotel.reservations(&api).await.is_empty(), "what was refused was done");
    hotel.reserve(&api, "n1", 0, 2, "early").expect(201).await;
    cluster.agree().await;
}

async fn lives(api: &Api) {
    eventually("the node says that it lives", async || {
        let answer = api.get("/livez").send().await?;
        if answer.status == 200 { Ok(()) } else { Err(answer.in_words()) }
    })
    .await;
}

/// Puts a pipe in a file's place, so that whoever opens it stands still; returns what the file held.
fn hold_starts_at(path: &Path) -> Vec<u8> {
    let held = std::fs::read(path).expect("a file of a stopped node");
    std::fs::remove_file(path).expect("a file that can be removed");
    let made = Command::new("mkfifo").arg(path).status().expect("mkfifo");
    assert!(made.success(), "mkfifo: {made}");
    held
}

/// Lets go on who has opened the pipe, with what the file held.
async fn let_start(pipe: &Path, held: &[u8]) {
    let mut end = eventually("the start has come to the pipe", async || {
        // Not waited for: it can be opened once the other end is.
        let end = OpenOptions::new().write(true).custom_flags(OFlags::NONBLOCK.bits() as i32).open(pipe);
        end.map_err(|error| error.to_string())
    })
    .await;
    end.write_all(held).expect("a pipe that takes some hundred bytes");
    // For later starts.
    std::fs::remove_file(pipe).expect("a pipe that can be removed");
    std::fs::write(pipe, held).expect("the file as it was");
}
