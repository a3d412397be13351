//! Whose answers count: those of the node that was asked, of its disk and of its cluster. Where none counts for a while, that
//! is known.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{BoxFuture, ready};
use futures_util::{StreamExt, stream};
use openraft::network::RPCOption;
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse};
use openraft::{RaftNetworkFactory, RaftNetworkV2, Vote};
use tokio::sync::watch;
use uuid::Uuid;

use super::support::membership;
use crate::ledger::Timestamp;
use crate::replication::{
    DiskId, DiskThreads, Endpoint, Envelope, Estrangement, GROUP, GroupId, Hello, HttpTransport, Kind, Line,
    Link, Lost, NodeId, PeerError, PeerRefusal, Peers, Reply, Request, Sender, Timeouts, Transport,
    TypeConfig, encode,
};

const CLUSTER: Uuid = Uuid::from_u128(7);
const OTHER: Uuid = Uuid::from_u128(8);

/// Remembers whose clocks it was told.
#[derive(Default)]
struct Me(Mutex<Vec<NodeId>>);

impl Sender for Me {
    fn cluster(&self) -> Option<Uuid> {
        Some(CLUSTER)
    }

    fn endpoint(&self) -> Endpoint {
        endpoint(1, 1)
    }

    fn wall(&self) -> Timestamp {
        Timestamp(0)
    }

    fn saw_wall(&self, member: NodeId, _: Timestamp) {
        self.0.lock().unwrap().push(member);
    }
}

fn endpoint(node: NodeId, disk: u128) -> Endpoint {
    Endpoint { node, disk: Some(DiskId(Uuid::from_u128(disk))) }
}

/// As node 2 answers node 1.
fn answer(body: Reply) -> Envelope<Reply> {
    let (from, to, wall) = (endpoint(2, 2), endpoint(1, 1), Timestamp(0));
    Envelope { group: GROUP, cluster: Some(CLUSTER), from, to, wall, body }
}

fn refused(refusal: PeerRefusal) -> Envelope<Reply> {
    answer(Reply::Refused(refusal))
}

fn peers(me: Arc<Me>, transport: Arc<dyn Transport>) -> Peers {
    let timeouts = Timeouts { message: Duration::from_secs(2), snapshot_piece: Duration::from_secs(3) };
    Peers::new(transport, me, Arc::new(DiskThreads), timeouts, 1 << 20, watch::channel(None).1)
}

fn hello() -> Reply {
    Reply::Hello(Hello {
        node: 2,
        disk: DiskId(Uuid::from_u128(2)),
        client_addr: "127.0.0.1:7102".into(),
        peer_addr: "127.0.0.1:7202".into(),
        cluster: None,
        empty: true,
        members: BTreeMap::new(),
    })
}

/// What is made of an answer to what node 2 was asked.
fn made_of(peers: &Peers, asked: Endpoint, answer: &Envelope<Reply>) -> &'static str {
    match peers.reply(asked, &encode(Kind::Peer, answer).unwrap()) {
        Ok(_) => "taken",
        Err(PeerError::Refused { node: 2, .. }) => "refused",
        Err(PeerError::Stranger { node: 2, .. }) => "a stranger's",
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test]
async fn what_another_says_in_the_place_of_who_was_asked_counts_for_nothing() {
    let me = Arc::new(Me::default());
    let peers = peers(me.clone(), Arc::new(HttpTransport::new().unwrap()));
    let sound = || answer(Reply::ReadIndex(7));
    let (of_node_3, of_another_disk) = (endpoint(3, 2), endpoint(2, 9));
    let no_disk = Endpoint { disk: None, ..endpoint(2, 2) };
    let rows = [
        ("who was asked", sound(), "taken"),
        ("another node", Envelope { from: of_node_3, ..sound() }, "a stranger's"),
        ("another disk", Envelope { from: of_another_disk, ..sound() }, "a stranger's"),
        ("no disk", Envelope { from: no_disk, ..sound() }, "a stranger's"),
        ("another cluster", Envelope { cluster: Some(OTHER), ..sound() }, "a stranger's"),
        ("no cluster", Envelope { cluster: None, ..sound() }, "a stranger's"),
        ("another group", Envelope { group: GroupId(1), ..sound() }, "a stranger's"),
        // What is said before both are of one cluster.
        ("a hello", Envelope { cluster: None, ..answer(hello()) }, "taken"),
        ("a hello of another cluster", Envelope { cluster: Some(OTHER), ..answer(hello()) }, "taken"),
        ("a hello of another node", Envelope { from: of_node_3, ..answer(hello()) }, "a stranger's"),
        ("who was claimed", answer(Reply::Claimed), "taken"),
        (
            "another that was claimed",
            Envelope { from: of_another_disk, ..answer(Reply::Claimed) },
            "a stranger's",
        ),
        (
            "claimed by others",
            Envelope { cluster: Some(OTHER), ..refused(PeerRefusal::AlreadyClaimed) },
            "refused",
        ),
        // Whoever refuses what is not for it did nothing, and says no more than that.
        ("not for node 3", Envelope { from: of_node_3, ..refused(PeerRefusal::NotAddressee) }, "refused"),
        (
            "another cluster's node 2",
            Envelope { cluster: Some(OTHER), from: of_another_disk, ..refused(PeerRefusal::OtherCluster) },
            "refused",
        ),
        ("no leader", refused(PeerRefusal::NotLeader), "refused"),
        (
            "node 3 is no leader",
            Envelope { from: of_node_3, ..refused(PeerRefusal::NotLeader) },
            "a stranger's",
        ),
    ];
    for (case, answer, expected) in rows {
        assert_eq!(made_of(&peers, endpoint(2, 2), &answer), expected, "{case}");
    }
    assert_eq!(*me.0.lock().unwrap(), [2], "the clocks of strangers don't count");
    // At its first hello nobody knows its disk.
    assert_eq!(made_of(&peers, no_disk, &answer(hello())), "taken");
}

/// Gives every message the same answer, until it is told another.
#[derive(Default)]
struct Answers {
    answer: Mutex<Bytes>,
    /// How often its lines were given up.
    forgotten: AtomicUsize,
}

impl Answers {
    fn tell(&self, answer: &Envelope<Reply>) {
        *self.answer.lock().unwrap() = encode(Kind::Peer, answer).unwrap().into();
    }
}

impl Transport for Answers {
    fn exchange(&self, _: &str, _: Bytes, _: Duration) -> BoxFuture<'static, Result<Bytes, Lost>> {
        Box::pin(ready(Ok(self.answer.lock().unwrap().clone())))
    }

    fn open(&self, address: &str, _: Duration) -> BoxFuture<'static, Result<Box<dyn Line>, Lost>> {
        let lost = Lost::NotSent { address: address.to_owned(), reason: "it has no lines".to_owned() };
        Box::pin(ready(Err(lost)))
    }

    fn forget(&self, _: &str) {
        self.forgotten.fetch_add(1, Ordering::Relaxed);
    }
}

/// What a leader sends where it has nothing to say: a session of one append. True where it was taken.
async fn heartbeat(link: &mut Link) -> bool {
    let request = AppendEntriesRequest::<TypeConfig> {
        vote: Vote::new_committed(3, 1),
        prev_log_id: None,
        entries: Vec::new(),
        leader_commit: None,
    };
    let option = RPCOption::new(Duration::from_millis(75));
    let mut answers = link.stream_append(stream::iter([request]), option).await.unwrap();
    answers.next().await.unwrap().is_ok()
}

/// What is known of node 2 after so many tenths of a second of heartbeats, all of which are taken or none.
async fn known_after(tenths: u32, link: &mut Link, are_taken: bool) -> Vec<Estrangement> {
    for _ in 0..tenths {
        tokio::time::advance(Duration::from_millis(100)).await;
        assert_eq!(heartbeat(link).await, are_taken);
    }
    link.peers.estranged()
}

#[tokio::test(start_paused = true)]
async fn a_leader_knows_who_refuses_its_heartbeats_once_that_has_lasted() {
    let answers = Arc::new(Answers::default());
    let members = membership(&[2]);
    let mut peers = peers(Arc::default(), answers.clone());
    let mut link = peers.new_client(2, members.get_node(&2).unwrap()).await;
    let of_another_cluster =
        Envelope { cluster: Some(OTHER), from: endpoint(2, 9), ..refused(PeerRefusal::OtherCluster) };
    let of_node_3 = Envelope { from: endpoint(3, 3), ..refused(PeerRefusal::NotAddressee) };
    let rows = [
        (of_another_cluster, Estrangement::AnotherCluster { node: 2 }),
        (of_node_3, Estrangement::AnotherNode { node: 2, other: 3 }),
    ];
    for (refusal, expected) in rows {
        answers.tell(&refusal);
        assert!(known_after(30, &mut link, false).await.is_empty());
        assert_eq!(known_after(1, &mut link, false).await, [expected]);
        answers.tell(&answer(Reply::Append(AppendEntriesResponse::Success)));
        assert!(known_after(1, &mut link, true).await.is_empty());
    }
    // What it can't do for now is no such thing, for however long.
    for refusal in [PeerRefusal::Stopping, PeerRefusal::NotLeader] {
        answers.tell(&refused(refusal));
        assert!(known_after(100, &mut link, false).await.is_empty());
    }
}

/// The name may be mended, or the proxy. Heartbeats come too often for a new line each.
#[tokio::test(start_paused = true)]
async fn lines_over_which_another_answers_are_given_up_once_in_three_seconds() {
    let answers = Arc::new(Answers::default());
    let members = membership(&[2]);
    let mut peers = peers(Arc::default(), answers.clone());
    let mut link = peers.new_client(2, members.get_node(&2).unwrap()).await;
    let forgotten = || answers.forgotten.load(Ordering::Relaxed);
    answers.tell(&Envelope { from: endpoint(3, 3), ..refused(PeerRefusal::NotAddressee) });
    for (tenths, expected) in [(1, 1), (29, 1), (1, 2), (29, 2), (1, 3)] {
        known_after(tenths, &mut link, false).await;
        assert_eq!(forgotten(), expected);
    }
    answers.tell(&refused(PeerRefusal::NotLeader));
    known_after(40, &mut link, false).await;
    answers.tell(&answer(Reply::Append(AppendEntriesResponse::Success)));
    known_after(40, &mut link, true).await;
    assert_eq!(forgotten(), 3);
}

/// A hello is answered by whoever is the node that was asked, of whatever cluster.
#[tokio::test(start_paused = true)]
async fn a_hello_that_another_answers_is_known_like_any_message() {
    let answers = Arc::new(Answers::default());
    let peers = peers(Arc::default(), answers.clone());
    let say_hello = async || {
        tokio::time::advance(Duration::from_secs(3)).await;
        let said = peers.call(2, "127.0.0.1:7202", None, Request::Hello, Duration::from_secs(1)).await;
        (said.is_ok(), peers.estranged().len())
    };
    answers.tell(&Envelope { from: endpoint(3, 3), ..refused(PeerRefusal::NotAddressee) });
    assert_eq!(say_hello().await, (false, 0));
    assert_eq!(say_hello().await, (false, 1));
    answers.tell(&Envelope { cluster: Some(OTHER), ..answer(hello()) });
    assert_eq!(say_hello().await, (true, 0));
}
