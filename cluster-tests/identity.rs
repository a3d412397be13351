//! Who a node is, is on its disk: a node that lost it never votes under its old id, and nobody serves another's data.

use std::time::Duration;

use crate::support::node::{Addresses, Node, run};
use crate::support::{Cluster, Hotel, eventually, ports};

/// Longest that a node may take to find out that it can't serve.
const REFUSED_WITHIN: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_node_that_lost_its_disk_is_refused() {
    loses_its_disk(3).await;
}

/// The lowest id founds clusters, and must not found a second one.
#[tokio::test]
async fn a_founder_that_lost_its_disk_is_refused() {
    loses_its_disk(1).await;
}

async fn loses_its_disk(wiped: u64) {
    let mut cluster = Cluster::start(3).await;
    let hotel = Hotel::open(&cluster, "grand", 2).await;
    let made = hotel.reserve(&cluster.api(1), "n1", 0, 2, "before").expect(201).await;

    cluster.kill9(wiped);
    cluster.node(wiped).wipe();
    let seen = cluster.node(wiped).log().len();
    cluster.node(wiped).spawn();
    let status = cluster.node(wiped).ended(REFUSED_WITHIN).await;
    assert_eq!(status.code(), Some(1), "node {wiped}: {status}");
    let said = cluster.node(wiped).log()[seen..].to_lowercase();
    assert!(said.contains("give it its data directory back"), "it says what to do: {said}");

    // The others don't mind.
    cluster.leader_of_others(wiped).await;
    hotel.reserve(&cluster.api(2), "n2", 0, 1, "without").expect(201).await;
    let path = format!("/v1/reservations/{}", made["id"].as_str().expect("an id"));
    assert_eq!(cluster.api(2).get(&path).expect(200).await, made);
}

/// All that is left of the cluster is one old disk and one new: neither may believe that it is a cluster.
#[tokio::test]
async fn a_wiped_founder_founds_nothing_while_its_peers_are_away() {
    let mut cluster = Cluster::start(3).await;
    let hotel = Hotel::open(&cluster, "grand", 2).await;
    hotel.reserve(&cluster.api(1), "n1", 0, 2, "before").expect(201).await;
    cluster.kill9_all();
    cluster.node(1).wipe();
    cluster.node(1).spawn();
    cluster.node(2).spawn();

    // Node 2 knows the old disk of node 1. Until it answers, node 1 waits; after, node 1 is refused.
    let status = cluster.node(1).ended(REFUSED_WITHIN).await;
    assert_eq!(status.code(), Some(1), "{status}");
    assert_eq!(cluster.api(2).get("/readyz").answer().await.status, 503, "one of three is no majority");

    // With its old peer node 2 is a majority, of what was.
    cluster.node(3).spawn();
    cluster.wait_ready_of(&[2, 3]).await;
    assert_eq!(hotel.reservations(&cluster.api(2)).await.len(), 1);
    hotel.reserve(&cluster.api(3), "n2", 0, 2, "after").expect(201).await;
}

#[tokio::test]
async fn a_data_directory_serves_only_the_node_and_cluster_it_belongs_to() {
    let mut cluster = Cluster::start(3).await;
    let right = cluster.node(3).arguments();

    // While its node runs, nobody else may open it, whatever ports it takes.
    let mut again = replaced(&right, "--client-addr", &format!("127.0.0.1:{}", ports::free()));
    again = replaced(&again, "--peer-addr", &format!("127.0.0.1:{}", ports::free()));
    again.truncate(right.len() - 2);
    let data_dir = cluster.node(3).data_dir.display().to_string();
    refuses(&again, "another process on the directory", 1, &[&data_dir, "in use"]).await;
    cluster.stop(3).await;
    let mut other_id = replaced(&right, "--node-id", "2");
    other_id.truncate(right.len() - 2);
    refuses(&other_id, "another node's id", 78, &["belongs to node 3, and this is node 2", "--node-id 3"])
        .await;
    let swapped = swap_peers(&right);
    refuses(&swapped, "another cluster's members", 78, &["initial-cluster", "own --data-dir"]).await;
    let stranger = replaced(&right, "--node-id", "9");
    refuses(&stranger, "an id that the list doesn't have", 78, &["does not list node 9"]).await;

    // Refusals changed nothing.
    cluster.restart(3).await;
    cluster.agree().await;
}

/// Bad configuration is told apart from failure: exit 78, and the name of what is wrong.
#[tokio::test]
async fn bad_configuration_is_refused_by_name() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let peer = format!("127.0.0.1:{}", ports::free());
    let node = Node::new(
        1,
        dir.path(),
        &Addresses { client: format!("127.0.0.1:{}", ports::free()), peer: peer.clone() },
        &format!("1={peer}"),
        Vec::new(),
    );
    let right = node.arguments();
    let rows = [
        ("--client-addr", "nowhere", 2, "--client-addr"),
        ("--peer-addr", "127.0.0.1:notaport", 2, "--peer-addr"),
        ("--initial-cluster", "1=127.0.0.1:1,1=127.0.0.1:2", 2, "--initial-cluster"),
        ("--initial-cluster", "2=127.0.0.1:1", 78, "does not list node 1"),
        ("--initial-cluster", "one", 2, "--initial-cluster"),
        ("--node-id", "0", 78, "does not list node 0"),
    ];
    for (flag, value, code, named) in rows {
        let arguments = replaced(&right, flag, value);
        let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let said = run(&words, REFUSED_WITHIN).await;
        assert_eq!(said.code, Some(code), "{flag} {value}: {}", said.in_words());
        assert!(said.stderr.contains(named), "{flag} {value}: {}", said.in_words());
        assert!(said.stdout.is_empty(), "errors go to stderr: {}", said.in_words());
    }
    // An empty data directory belongs to no cluster until it is told of one.
    let empty = tempfile::tempdir().expect("a temporary directory");
    let mut bare = replaced(&right, "--data-dir", empty.path().to_str().expect("a name in UTF-8"));
    bare.truncate(right.len() - 2);
    let words: Vec<&str> = bare.iter().map(String::as_str).collect();
    let said = run(&words, REFUSED_WITHIN).await;
    assert_eq!(said.code, Some(78), "{}", said.in_words());
    assert!(said.stderr.contains("initial-cluster"), "{}", said.in_words());
    // Not even an identity, which would hold on to a node id that was mistyped.
    assert_eq!(std::fs::read_dir(empty.path()).expect("the directory").count(), 0);
}

/// Nodes that no member knows, or that come from another cluster, are turned away by those who do.
#[tokio::test]
async fn strangers_are_turned_away() {
    let cluster = Cluster::start(3).await;
    let hotel = Hotel::open(&cluster, "grand", 2).await;
    let before = cluster.agree().await;
    let term = cluster.cluster_seen_by(1).await.expect("a node that answers")["term"].clone();

    // A fourth node that lists the three, and a second node 2 that lists the first as its peer.
    let members = |own: u64, addr: &str| {
        let listed =
            cluster.nodes.iter().filter(|node| node.id != own).map(|node| (node.id, node.peer_addr.as_str()));
        let mut all: Vec<(u64, &str)> = listed.chain([(own, addr)]).collect();
        all.sort_unstable();
        all.iter().map(|(id, addr)| format!("{id}={addr}")).collect::<Vec<_>>().join(",")
    };
    for id in [4, 2] {
        let addresses = Addresses {
            client: format!("127.0.0.1:{}", ports::free()),
            peer: format!("127.0.0.1:{}", ports::free()),
        };
        let dir = tempfile::tempdir_in(cluster.dir()).expect("a directory");
        let mut stranger = Node::new(id, dir.path(), &addresses, &members(id, &addresses.peer), Vec::new());
        stranger.spawn();
        let api = crate::support::Api::new(&crate::support::http::client(), &addresses.client);
        eventually(&format!("the stranger {id} is turned away, or waits and says so"), async || {
            if let Some(status) = stranger.exit() {
                assert!(matches!(status.code(), Some(1 | 78)), "{status}\n{}", stranger.log_tail(20));
                return Ok(());
            }
            let answer = api.get("/readyz").send().await?;
            assert_eq!(answer.status, 503, "{}", answer.in_words());
            let says_so = stranger.log().contains("not formed");
            if says_so { Ok(()) } else { Err(stranger.log_tail(5)) }
        })
        .await;
    }
    assert_eq!(cluster.agree().await, before);
    let seen = cluster.cluster_seen_by(1).await.expect("a node that answers");
    assert_eq!(seen["term"], term, "no stranger made them elect");
    assert_eq!(seen["nodes"].as_array().map(Vec::len), Some(3), "{seen}");
    hotel.reserve(&cluster.api(2), "n1", 0, 1, "after").expect(201).await;
}

/// Its place is taken by a node of the same id that is a cluster by itself: nothing that is said there counts, and those who
/// sent it say so, since on that node nobody may look.
#[tokio::test]
async fn a_member_in_whose_place_another_clusters_node_stands_is_shown_as_that() {
    let mut cluster = Cluster::start(3).await;
    let hotel = Hotel::open(&cluster, "grand", 2).await;
    cluster.stop(3).await;
    let leader = cluster.leader_of_others(3).await;
    let right = cluster.node(3);
    let addresses = Addresses { client: right.client_addr.clone(), peer: right.peer_addr.clone() };
    let right = right.arguments();
    let dir = tempfile::tempdir_in(cluster.dir()).expect("a directory");
    let mut foreign = Node::new(3, dir.path(), &addresses, &format!("3={}", addresses.peer), Vec::new());
    foreign.spawn();
    let in_its_place = cluster.api(3);
    eventually("the foreign node is a cluster by itself", async || {
        let answer = in_its_place.get("/readyz").send().await?;
        if answer.status == 200 { Ok(()) } else { Err(answer.in_words()) }
    })
    .await;

    // By heartbeats alone: whoever asks the leader for the cluster has it send more.
    eventually("the leader tells of it in its log", async || {
        let node = &cluster.nodes[leader as usize - 1];
        if told_of_another_cluster(node) > 0 { Ok(()) } else { Err(node.log_tail(5)) }
    })
    .await;
    eventually("the leader shows it", async || {
        let seen = cluster.cluster_seen_by(leader).await?;
        let row = seen["nodes"].as_array().into_iter().flatten().find(|row| row["id"] == 3);
        let row = row.ok_or_else(|| seen.to_string())?;
        let is_shown = row["refused"].as_str().is_some_and(|why| why.contains("another cluster"));
        if is_shown && row["reachable"] == false { Ok(()) } else { Err(row.to_string()) }
    })
    .await;
    hotel.reserve(&cluster.api(leader), "n1", 0, 1, "meanwhile").expect(201).await;
    let told = told_of_another_cluster(cluster.node(leader));
    assert_eq!(told, 1, "it is told once:\n{}", cluster.node(leader).log_tail(20));

    // Its directory with this cluster's list: which of both is the wrong one only the operator knows.
    foreign.stop().await;
    let foreign_dir = foreign.data_dir.to_str().expect("a name in UTF-8");
    let named = ["leave the option out", "own --data-dir"];
    refuses(&replaced(&right, "--data-dir", foreign_dir), "another cluster's directory", 78, &named).await;

    let logged = cluster.node(leader).log().len();
    cluster.restart(3).await;
    eventually("node 3 is shown as before, and the leader tells that it is over", async || {
        let seen = cluster.cluster_seen_by(leader).await?;
        let rows = seen["nodes"].as_array().cloned().unwrap_or_default();
        let is_sound = |row: &serde_json::Value| row["reachable"] == true && row["refused"].is_null();
        let log = cluster.nodes[leader as usize - 1].log();
        // It was silent in between, for long enough to be told or not.
        let over = ["refuses this one no more", "a node answers again"];
        let is_over = over.iter().any(|line| log[logged..].contains(line));
        if rows.len() == 3 && rows.iter().all(is_sound) && is_over { Ok(()) } else { Err(seen.to_string()) }
    })
    .await;
    cluster.agree().await;
}

/// How often the node has logged that. Before the other has made its cluster, it refuses for its disk.
fn told_of_another_cluster(node: &Node) -> usize {
    let log = node.log();
    log.lines().filter(|line| line.contains("refuses this one") && line.contains("another cluster")).count()
}

async fn refuses(arguments: &[String], what: &str, code: i32, named: &[&str]) {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let said = run(&words, REFUSED_WITHIN).await;
    assert_eq!(said.code, Some(code), "{what}: {}", said.in_words());
    for word in named {
        assert!(said.stderr.contains(word), "{what}: it names `{word}`: {}", said.in_words());
    }
}

fn replaced(arguments: &[String], flag: &str, value: &str) -> Vec<String> {
    let mut arguments = arguments.to_vec();
    let at = arguments.iter().position(|word| word == flag).expect("a flag that is there");
    arguments[at + 1] = value.to_owned();
    arguments
}

/// The same ids at each other's addresses.
fn swap_peers(arguments: &[String]) -> Vec<String> {
    let listed = arguments.last().expect("the initial cluster").clone();
    let members: Vec<(&str, &str)> = listed.split(',').filter_map(|member| member.split_once('=')).collect();
    let swapped = format!("1={},2={},3={}", members[1].1, members[0].1, members[2].1);
    replaced(arguments, "--initial-cluster", &swapped)
}
