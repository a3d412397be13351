//! What a node answers messages that are not for it, not from a member, or no messages at all.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use uuid::Uuid;

use super::clock::{Clock, SystemClock};
use super::submit::Outcomes;
use super::{Config, IdSource, Limits, Node, StartError, Timings, World, bootstrap};
use crate::history::Keeping;
use crate::ledger::{
    Applied, Command, Currency, FirstBusinessDate, Outcome, PutProperty, Submission, Timestamp,
};
use crate::replication::{
    Claim, Disk, DiskId, DiskThreads, Endpoint, Envelope, GROUP, GroupId, Kind, Line, Lost, Member,
    NotApplied, PeerRefusal, Reply, Request, Transport, decode, encode,
};

/// Nobody else is there.
pub(super) struct Alone;

impl Transport for Alone {
    fn exchange(&self, address: &str, _: Bytes, _: Duration) -> BoxFuture<'static, Result<Bytes, Lost>> {
        let address = address.to_owned();
        Box::pin(async move { Err(Lost::NotSent { address, reason: "nobody is there".to_owned() }) })
    }

    fn open(&self, address: &str, _: Duration) -> BoxFuture<'static, Result<Box<dyn Line>, Lost>> {
        let address = address.to_owned();
        Box::pin(async move { Err(Lost::NotSent { address, reason: "nobody is there".to_owned() }) })
    }
}

/// A node whose only peer never answers.
pub(crate) async fn node(dir: &tempfile::TempDir) -> Arc<Node> {
    start(dir).await.unwrap()
}

async fn start(dir: &tempfile::TempDir) -> Result<Arc<Node>, StartError> {
    start_in(dir, [(1, "127.0.0.1:2"), (2, "127.0.0.1:3")].as_slice()).await
}

pub(super) async fn start_in(
    dir: &tempfile::TempDir,
    members: &[(u64, &str)],
) -> Result<Arc<Node>, StartError> {
    start_with(dir, members, Timings { refusal: Duration::from_millis(50), ..Timings::default() }).await
}

fn config(dir: &tempfile::TempDir) -> Config {
    Config {
        node_id: 1,
        data_dir: dir.path().to_owned(),
        client_addr: "127.0.0.1:1".to_owned(),
        peer_addr: "127.0.0.1:2".to_owned(),
        initial_cluster: None,
        limits: Limits::default(),
        timings: Timings::default(),
    }
}

pub(crate) async fn start_with(
    dir: &tempfile::TempDir,
    members: &[(u64, &str)],
    timings: Timings,
) -> Result<Arc<Node>, StartError> {
    start_over(Arc::new(Alone), dir, members, timings).await
}

/// Starts a node whose messages are carried by `transport`.
pub(super) async fn start_over(
    transport: Arc<dyn Transport>,
    dir: &tempfile::TempDir,
    members: &[(u64, &str)],
    timings: Timings,
) -> Result<Arc<Node>, StartError> {
    start_on(Arc::new(DiskThreads), transport, dir, members, timings).await
}

/// The same, with `disk` for what waits for the disk.
pub(super) async fn start_on(
    disk: Arc<dyn Disk>,
    transport: Arc<dyn Transport>,
    dir: &tempfile::TempDir,
    members: &[(u64, &str)],
    timings: Timings,
) -> Result<Arc<Node>, StartError> {
    let listed = members.iter().map(|(id, address)| (*id, address.to_string())).collect();
    let config = Config { initial_cluster: Some(listed), timings, ..config(dir) };
    let clock = Arc::new(SystemClock);
    let ids = IdSource::from_system(clock.clone());
    let history = Keeping::InMemory;
    Node::start(config, World { clock, transport, ids, disk, history }).await
}

pub(super) const CLUSTER: Uuid = Uuid::from_u128(7);
const OTHER: Uuid = Uuid::from_u128(8);
pub(super) const PEER: Endpoint = Endpoint { node: 2, disk: Some(DiskId(Uuid::from_u128(2))) };

pub(super) fn message(node: &Node, body: Request) -> Envelope<Request> {
    let to = Endpoint { node: node.id(), disk: Some(node.me.identity().disk_id) };
    Envelope { group: GROUP, cluster: Some(CLUSTER), from: PEER, to, wall: SystemClock.wall(), body }
}

pub(super) fn claim(node: &Node, cluster: Uuid) -> Request {
    let members = BTreeMap::from([(1, node.me.identity().disk_id), (2, DiskId(Uuid::from_u128(2)))]);
    Request::Claim(Claim { cluster, members })
}

pub(super) async fn answer(node: &Node, message: &Envelope<Request>) -> Reply {
    let frame = encode(Kind::Peer, message).unwrap();
    decode::<Envelope<Reply>>(Kind::Peer, &node.handle_frame(&frame).await).unwrap().body
}

pub(super) async fn assert_refused(node: &Node, message: Envelope<Request>, expected: PeerRefusal) {
    let before = node.me.identity();
    let Reply::Refused(refusal) = answer(node, &message).await else { panic!("{message:?} was not refused") };
    assert_eq!(refusal, expected, "{message:?}");
    assert_eq!(node.me.identity(), before, "{message:?} changed something");
}

#[tokio::test]
async fn a_message_is_refused_unless_group_cluster_sender_and_addressee_are_right() {
    let dir = tempfile::tempdir().unwrap();
    let node = node(&dir).await;
    let status = || message(&node, Request::Status);

    // Before the node belongs to a cluster it answers hellos and claims only.
    assert_refused(&node, status(), PeerRefusal::OtherCluster).await;
    assert!(
        matches!(answer(&node, &message(&node, Request::Hello)).await, Reply::Hello(hello) if hello.empty)
    );
    let mut for_another_disk = message(&node, claim(&node, CLUSTER));
    for_another_disk.to.disk = Some(DiskId(OTHER));
    assert_refused(&node, for_another_disk, PeerRefusal::NotAddressee).await;
    let without_me = Request::Claim(Claim { cluster: CLUSTER, members: BTreeMap::new() });
    assert_refused(&node, message(&node, without_me), PeerRefusal::AlreadyClaimed).await;

    assert!(matches!(answer(&node, &message(&node, claim(&node, CLUSTER))).await, Reply::Claimed));
    // The directory of another cluster's node in the place of one of this.
    let mut of_another_cluster = status();
    of_another_cluster.cluster = Some(OTHER);
    of_another_cluster.to.disk = Some(DiskId(OTHER));
    assert_refused(&node, of_another_cluster, PeerRefusal::OtherCluster).await;
    // The first node repeats a claim whose answer it did not get.
    assert!(matches!(answer(&node, &message(&node, claim(&node, CLUSTER))).await, Reply::Claimed));
    assert_refused(&node, message(&node, claim(&node, OTHER)), PeerRefusal::AlreadyClaimed).await;
    // One who was claimed too, and makes the same cluster of others.
    let with_another_disk = BTreeMap::from([(1, node.me.identity().disk_id), (2, DiskId(OTHER))]);
    let of_others = Request::Claim(Claim { cluster: CLUSTER, members: with_another_disk });
    assert_refused(&node, message(&node, of_others), PeerRefusal::AlreadyClaimed).await;

    assert!(matches!(answer(&node, &status()).await, Reply::Status(_)));
    assert_refused(&node, Envelope { group: GroupId(1), ..status() }, PeerRefusal::OtherGroup).await;
    assert_refused(&node, Envelope { cluster: None, ..status() }, PeerRefusal::OtherCluster).await;
    assert_refused(&node, Envelope { cluster: Some(OTHER), ..status() }, PeerRefusal::OtherCluster).await;
    let another_node = Endpoint { node: 2, ..status().to };
    assert_refused(&node, Envelope { to: another_node, ..status() }, PeerRefusal::NotAddressee).await;
    let no_disk = Endpoint { disk: None, ..status().to };
    assert_refused(&node, Envelope { to: no_disk, ..status() }, PeerRefusal::NotAddressee).await;
    let wiped = Endpoint { disk: Some(DiskId(OTHER)), ..PEER };
    assert_refused(&node, Envelope { from: wiped, ..status() }, PeerRefusal::UnknownSender).await;
    let stranger = Endpoint { node: 9, ..PEER };
    assert_refused(&node, Envelope { from: stranger, ..status() }, PeerRefusal::UnknownSender).await;
    node.shut_down().await;
}

#[tokio::test]
async fn bytes_that_are_no_message_are_answered_and_change_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let node = node(&dir).await;
    let sound = encode(Kind::Peer, &message(&node, claim(&node, CLUSTER))).unwrap();
    let mut of_a_later_version = sound.clone();
    of_a_later_version[5] += 1;
    let mut flipped = sound.clone();
    *flipped.last_mut().unwrap() ^= 1;
    let batch = encode(Kind::Identity, &7).unwrap();
    let cases: [&[u8]; 6] =
        [b"", b"GET / HTTP/1.1", &sound[..sound.len() - 1], &of_a_later_version, &flipped, &batch];
    for frame in cases {
        let reply = decode::<Envelope<Reply>>(Kind::Peer, &node.handle_frame(frame).await).unwrap();
        assert!(matches!(reply.body, Reply::Refused(PeerRefusal::Unreadable { .. })), "{:?}", reply.body);
    }
    assert_eq!(node.me.identity().cluster_id, None);
    node.shut_down().await;
}

#[tokio::test]
async fn a_stranger_does_not_move_the_clock() {
    let dir = tempfile::tempdir().unwrap();
    let node = node(&dir).await;
    assert!(matches!(answer(&node, &message(&node, claim(&node, CLUSTER))).await, Reply::Claimed));
    let tomorrow = Timestamp(node.clock.wall().0 + 86_400_000);
    let offset = || node.median_offset_ms();
    for id in 100..105 {
        let from = Endpoint { node: id, disk: Some(DiskId(OTHER)) };
        for body in [Request::Hello, Request::Status] {
            answer(&node, &Envelope { from, wall: tomorrow, ..message(&node, body) }).await;
        }
    }
    answer(&node, &Envelope { wall: tomorrow, ..message(&node, Request::Hello) }).await;
    assert_eq!(offset(), 0);
    assert_eq!(node.me.sightings.last(2), None);
    answer(&node, &Envelope { wall: node.clock.wall(), ..message(&node, Request::Status) }).await;
    assert!(node.me.sightings.last(2).is_some(), "a member counts");
    node.shut_down().await;
}

/// Its votes are gone with its log; as an empty node it could elect a leader that lacks what it had acknowledged.
#[tokio::test]
async fn a_member_whose_log_is_gone_does_not_start() {
    let dir = tempfile::tempdir().unwrap();
    let first = node(&dir).await;
    assert!(matches!(answer(&first, &message(&first, claim(&first, CLUSTER))).await, Reply::Claimed));
    first.shut_down().await;
    drop(first);
    std::fs::remove_dir_all(dir.path().join("group-0")).unwrap();
    let refused = start(&dir).await.err().unwrap();
    assert!(matches!(refused, StartError::Storage(_)), "{refused}");
}

/// Submits commands as a batch does.
pub(crate) async fn in_order(node: &Node, submissions: &[Submission]) -> Outcomes {
    match node.places_for(submissions.len(), 100 * submissions.len()) {
        Ok(places) => node.submit_in_order(submissions, places, node.deadline()).await,
        Err(refused) => vec![Err(refused); submissions.len()],
    }
}

/// A property of this number, with a name of so many bytes.
pub(crate) fn property(n: usize, name_bytes: usize) -> Submission {
    let command = Command::PutProperty(PutProperty {
        property: format!("p{n}").parse().unwrap(),
        name: "x".repeat(name_bytes).into(),
        location: "Budapest".into(),
        time_zone: "UTC".into(),
        time_zone_known: true,
        currency: Currency::new("EUR"),
        currency_known: true,
        business_date: FirstBusinessDate::Manual("2027-01-01".parse().unwrap()),
    });
    Submission { key: None, command }
}

#[tokio::test]
async fn commands_in_order_travel_together_and_one_that_is_too_large_alone_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let node = start_in(&dir, &[(1, "127.0.0.1:2")]).await.unwrap();
    let first = node.submit(&property(0, 1)).await.unwrap();
    // What the machine does beside this shall not bound the entries.
    node.state.apply_cost().add(1 << 30, Duration::from_secs(1));
    let index = || node.metrics().last_applied.map_or(0, |id| id.index);
    let before = index();
    let mut submissions: Vec<_> = (1..=2_500).map(|n| property(n, 1)).collect();
    submissions.insert(700, property(9_999, 2 << 20));
    let mut outcomes = in_order(&node, &submissions).await;
    assert_eq!(outcomes.remove(700), Err(NotApplied::TooLarge));
    let lsns: Vec<u64> = outcomes.iter().map(|outcome| outcome.as_ref().unwrap().lsn.0).collect();
    assert!(lsns.is_sorted_by(|a, b| a < b) && lsns[0] > first.lsn.0, "{lsns:?}");
    for (n, outcome) in outcomes.iter().enumerate() {
        let Ok(Applied { outcome: Outcome::Property { property, .. }, .. }) = outcome else {
            panic!("{outcome:?}")
        };
        assert_eq!(property.property.to_string(), format!("p{}", n + 1));
    }
    // 700, then 1,024, then the rest; and what the node may propose of its own in the meantime.
    assert!(index() - before <= 6, "{} entries", index() - before);
    node.shut_down().await;
}

/// Nobody leads: what waits behind a command that was not done does not wait as long again.
#[tokio::test]
async fn what_comes_behind_a_run_without_an_outcome_is_not_tried() {
    let dir = tempfile::tempdir().unwrap();
    let node = node(&dir).await;
    let submissions: Vec<_> = (0..5_000).map(|n| property(n, 1)).collect();
    let begun = std::time::Instant::now();
    let outcomes = in_order(&node, &submissions).await;
    assert!(begun.elapsed() < node.config.timings.request * 2, "{:?}", begun.elapsed());
    assert_eq!(outcomes.len(), submissions.len());
    assert!(outcomes.iter().all(|outcome| *outcome == Err(NotApplied::NoLeader)));
    node.shut_down().await;
}

#[tokio::test]
async fn more_commands_than_may_wait_are_shed() {
    let dir = tempfile::tempdir().unwrap();
    let node = node(&dir).await;
    let all: Vec<_> = (0..Limits::default().batch_commands_max).map(|n| property(n, 1)).collect();
    // A quarter of the places is for single commands.
    let runs = Limits::default().queued_commands_max * 3 / 4 / all.len();
    let waiting = (0..=runs).map(|_| in_order(&node, &all));
    let outcomes = futures_util::future::join_all(waiting).await;
    let shed = outcomes.iter().filter(|outcomes| outcomes[0] == Err(NotApplied::Overloaded)).count();
    assert_eq!(shed, 1);
    node.shut_down().await;
}

/// While batches are under way, others want their places whenever an entry was answered.
#[tokio::test]
async fn a_batch_that_was_begun_is_not_shed_halfway() {
    let dir = tempfile::tempdir().unwrap();
    let node = start_in(&dir, &[(1, "127.0.0.1:2")]).await.unwrap();
    node.submit(&property(0, 1)).await.unwrap();
    let Limits { queued_commands_max, batch_commands_max, .. } = Limits::default();
    let full = queued_commands_max * 3 / 4 / batch_commands_max;
    let batches: Vec<Vec<_>> =
        (0..full).map(|batch| (0..2_100).map(|n| property(batch * 2_100 + n, 1)).collect()).collect();
    let all = futures_util::future::join_all(batches.iter().map(|batch| in_order(&node, batch)));
    let run: Vec<_> = (0..batch_commands_max).map(|n| property(n, 1)).collect();
    let shed = std::cell::Cell::new(0);
    let newcomers = async {
        loop {
            match node.places_for(run.len(), run.len()) {
                Ok(places) => drop(node.submit_in_order(&run, places, node.deadline()).await),
                Err(_) => shed.set(shed.get() + 1),
            }
            tokio::task::yield_now().await;
        }
    };
    let outcomes = tokio::select! {
        // They take all places before the newcomers ask for the first.
        biased;
        outcomes = all => outcomes,
        () = newcomers => panic!("they never end"),
    };
    assert!(shed.get() > 0, "there was room for more");
    assert!(outcomes.iter().flatten().all(Result::is_ok));
    node.shut_down().await;
}

#[tokio::test]
async fn what_the_ledger_does_by_itself_does_not_wait_in_the_queue() {
    let dir = tempfile::tempdir().unwrap();
    let node = start_in(&dir, &[(1, "127.0.0.1:2")]).await.unwrap();
    node.submit(&property(0, 1)).await.unwrap();
    // Nothing leaves the queue, and it is full.
    let all_in_flight = node.config.limits.batches_in_flight_max as u32;
    let stalled = node.in_flight.clone().acquire_many_owned(all_in_flight).await.unwrap();
    let all: Vec<_> = (1..=node.config.limits.queued_commands_max).map(|n| property(n, 1)).collect();
    let full = all.iter().map(|one| in_order(&node, std::slice::from_ref(one)));
    let proposed = async {
        while !node.would_shed(1) {
            tokio::task::yield_now().await;
        }
        node.end_due(node.deadline()).await.unwrap();
        assert!(node.would_shed(1));
        drop(stalled);
    };
    let (outcomes, ()) = futures_util::join!(futures_util::future::join_all(full), proposed);
    assert!(outcomes.iter().flatten().all(Result::is_ok));
    node.shut_down().await;
}

#[tokio::test]
async fn a_panic_while_the_history_is_locked_stops_the_node_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let node = start_in(&dir, &[(1, "127.0.0.1:2")]).await.unwrap();
    let mut fatal = node.fatal();
    while node.ready().await.is_err() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(*fatal.borrow(), None);
    node.history.break_in_the_middle();
    let submission = property(0, 1);
    // Whoever sent it is not told that it failed.
    assert_eq!(node.submit(&submission).await, Err(NotApplied::Unknown));
    let stopped = tokio::time::timeout(Duration::from_secs(5), fatal.wait_for(Option::is_some)).await;
    let reason = stopped.unwrap().unwrap().clone().unwrap();
    assert!(reason.contains("panicked"), "{reason}");
}

#[tokio::test]
async fn what_is_replayed_at_a_start_waits_for_a_history_that_is_being_kept() {
    let dir = tempfile::tempdir().unwrap();
    let timings = Timings {
        snapshot_every: Duration::from_secs(1 << 32),
        snapshot_entries: 1 << 30,
        ..Timings::default()
    };
    let node = start_with(&dir, &[(1, "127.0.0.1:2")], timings.clone()).await.unwrap();
    node.submit(&property(0, 1)).await.unwrap();
    // More than may be behind the history, which is in memory and so is gone with the node.
    let changes: Vec<Submission> = (0..66_000).map(|n| property(0, 1 + n % 2)).collect();
    let places = node.places_for(changes.len(), 0).unwrap();
    let outcomes = node.submit_in_order(&changes, places, node.deadline()).await;
    assert!(outcomes.iter().all(Result::is_ok));
    let position = node.position();
    node.shut_down().await;
    drop(node);
    let again =
        tokio::time::timeout(Duration::from_secs(120), start_with(&dir, &[(1, "127.0.0.1:2")], timings));
    let again = again.await.expect("it starts").unwrap();
    assert!(again.position().lsn >= position.lsn);
    again.shut_down().await;
}

#[test]
fn an_address_by_which_the_others_do_not_know_the_node_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let member = |peer_addr: &str| Member {
        peer_addr: peer_addr.to_owned(),
        client_addr: "127.0.0.1:1".to_owned(),
        disk_id: DiskId(OTHER),
    };
    let as_known = BTreeMap::from([(1, member("127.0.0.1:2")), (2, member("127.0.0.1:3"))]);
    assert!(bootstrap::check_agreement(&config(&dir), &as_known).is_ok());
    let elsewhere = BTreeMap::from([(1, member("127.0.0.1:9")), (2, member("127.0.0.1:3"))]);
    let refused = bootstrap::check_agreement(&config(&dir), &elsewhere).unwrap_err();
    assert!(matches!(refused, StartError::Configuration(_)), "{refused}");
    assert!(refused.to_string().contains("127.0.0.1:9; give that"), "{refused}");
}

/// Of a node whose directory is another cluster's, too: started without its list it would serve that one's hotels.
#[test]
fn a_list_that_does_not_agree_with_the_directory_is_refused_with_both_remedies() {
    let dir = tempfile::tempdir().unwrap();
    let member = Member {
        peer_addr: "127.0.0.1:2".to_owned(),
        client_addr: "127.0.0.1:1".to_owned(),
        disk_id: DiskId(OTHER),
    };
    let listed = BTreeMap::from([(1, "127.0.0.1:2".to_owned()), (2, "127.0.0.1:3".to_owned())]);
    let config = Config { initial_cluster: Some(listed), ..config(&dir) };
    let refused = bootstrap::check_agreement(&config, &BTreeMap::from([(1, member)]));
    let refused = refused.unwrap_err().to_string();
    for part in ["which is 1=127.0.0.1:2:", "leave the option out", "give the node its own --data-dir"] {
        assert!(refused.contains(part), "{refused}");
    }
}

/// Node 3 answers at every address that what comes there is not for it.
struct Misrouted;

impl Transport for Misrouted {
    fn exchange(&self, _: &str, _: Bytes, _: Duration) -> BoxFuture<'static, Result<Bytes, Lost>> {
        let (from, to) = (Endpoint { node: 3, ..PEER }, Endpoint { node: 1, disk: None });
        let body = Reply::Refused(PeerRefusal::NotAddressee);
        let answer = Envelope { group: GROUP, cluster: None, from, to, wall: SystemClock.wall(), body };
        let answer = Bytes::from(encode(Kind::Peer, &answer).unwrap());
        Box::pin(async move { Ok(answer) })
    }

    fn open(&self, address: &str, wait: Duration) -> BoxFuture<'static, Result<Box<dyn Line>, Lost>> {
        Alone.open(address, wait)
    }
}

#[tokio::test]
async fn who_answers_in_a_peers_place_is_told_to_whoever_asks_why_the_node_is_not_ready() {
    let dir = tempfile::tempdir().unwrap();
    let members = [(1, "127.0.0.1:2"), (2, "127.0.0.1:3")];
    let node = start_over(Arc::new(Misrouted), &dir, &members, Timings::default()).await.unwrap();
    let told = async {
        loop {
            let unready = node.ready().await.unwrap_err();
            assert_eq!(unready.check(), "leader");
            let text = unready.to_string();
            if text.contains("answer; node 3 answers in the place of node 2: check") {
                break;
            }
            assert!(text.ends_with("no leader is known, or it does not answer"), "{text}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), told).await.expect("it is told once it has lasted");
    node.shut_down().await;
}

#[tokio::test]
async fn a_node_of_which_a_task_has_panicked_stops() {
    let dir = tempfile::tempdir().unwrap();
    let node = node(&dir).await;
    node.spawn("ends in order", std::future::ready(()));
    node.spawn("is broken", async { panic!("on purpose") });
    let mut fatal = node.fatal();
    let told = tokio::time::timeout(Duration::from_secs(5), fatal.wait_for(Option::is_some)).await;
    let reason = told.expect("in time").unwrap().clone();
    assert_eq!(reason.as_deref(), Some("the task that is broken has panicked"));
    node.shut_down().await;
}
