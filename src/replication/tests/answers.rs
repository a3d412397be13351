//! Whose answers count: those of the node that was asked, of its disk and of its cluster.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use uuid::Uuid;

use crate::ledger::Timestamp;
use crate::replication::{
    DiskId, DiskThreads, Endpoint, Envelope, GROUP, GroupId, Hello, HttpTransport, Kind, NodeId, PeerError,
    PeerRefusal, Peers, Reply, Sender, Timeouts, encode,
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
    let (me, transport) = (Arc::new(Me::default()), Arc::new(HttpTransport::new().unwrap()));
    let timeouts = Timeouts { message: Duration::from_secs(2), snapshot_piece: Duration::from_secs(3) };
    let peers = Peers::new(transport, me.clone(), Arc::new(DiskThreads), timeouts, 1 << 20);
    let sound = || answer(Reply::ReadIndex(7));
    let refused = |refusal| answer(Reply::Refused(refusal));
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
