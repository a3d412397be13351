//! The peer port under messages that no honest member sends: forged, replayed, oversized, of a future version, or changed
//! inside with a checksum that is right. Each is answered, and the node goes on.

use std::time::Duration;

use axum::body::Body;
use axum::http::{Request as HttpRequest, StatusCode};
use bytes::Bytes;
use openraft::raft::{AppendEntriesRequest, VoteRequest};
use openraft::{SnapshotMeta, Vote};
use proptest::prelude::*;
use tokio::io::AsyncWriteExt;
use tower::ServiceExt;
use uuid::Uuid;

use super::Node;
use super::tests::{CLUSTER, PEER, answer, assert_refused, claim, message, node, start_in};
use crate::ledger::{Command, EndDue, StateHash, Submission};
use crate::replication::{
    DiskId, EncodedSubmission, Endpoint, Envelope, Forwarded, Kind, LINE_PATH, LINE_PROTOCOL, NotApplied,
    PeerRefusal, Reply, Request, SnapshotPiece, SnapshotRequest, decode, encode, serve_line,
};

/// Where a frame's version, and its checksum, stand.
const VERSION_AT: usize = 5;
const CHECKSUM_AT: usize = 11;
const HEADER_BYTES: usize = 15;
const CASES: u32 = 400;

fn with_checksum(mut frame: Vec<u8>) -> Vec<u8> {
    let length = (frame.len() - HEADER_BYTES) as u32;
    frame[CHECKSUM_AT - 4..CHECKSUM_AT].copy_from_slice(&length.to_le_bytes());
    let checksum = crc32c::crc32c_append(crc32c::crc32c(&frame[..CHECKSUM_AT]), &frame[HEADER_BYTES..]);
    frame[CHECKSUM_AT..HEADER_BYTES].copy_from_slice(&checksum.to_le_bytes());
    frame
}

fn heartbeat(term: u64) -> Request {
    let vote = Vote::new_committed(term, 2);
    Request::Append(AppendEntriesRequest {
        vote,
        prev_log_id: None,
        entries: Vec::new(),
        leader_commit: None,
    })
}

fn piece(offset: u64, bytes: &'static [u8], last: bool) -> Request {
    let meta = SnapshotMeta { last_log_id: None, last_membership: Default::default() };
    let (vote, transfer) = (Vote::new_committed(9, 2), Uuid::from_u128(5));
    let bytes = Bytes::from_static(bytes);
    Request::Snapshot(SnapshotPiece { vote, meta, transfer, offset, bytes, last, length: None })
}

/// One of each kind, as a member would send it.
fn requests(node: &Node) -> Vec<Request> {
    vec![
        heartbeat(3),
        Request::Vote(VoteRequest::new(Vote::new(4, 2), None)),
        Request::PreVote(VoteRequest::new(Vote::new(4, 2), None)),
        piece(0, b"no snapshot", false),
        Request::Submit(Forwarded { submissions: Vec::new(), wait_ms: 5 }),
        Request::ReadIndex { wait_ms: 5 },
        Request::FetchSnapshot(SnapshotRequest {
            from: 0,
            upto: u64::MAX,
            offset: u64::MAX,
            bytes: Some(u64::MAX),
        }),
        Request::Decide { index: 3, state_hash: StateHash(5) },
        Request::Status,
        Request::Hello,
        claim(node, CLUSTER),
    ]
}

fn reply_to(frame: &[u8]) -> Reply {
    decode::<Envelope<Reply>>(Kind::Peer, frame).unwrap().body
}

#[tokio::test]
async fn every_kind_of_a_future_version_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let node = node(&dir).await;
    for request in requests(&node) {
        let mut frame = encode(Kind::Peer, &message(&node, request)).unwrap();
        frame[VERSION_AT] += 1;
        let reply = reply_to(&node.handle_frame(&with_checksum(frame)).await);
        let Reply::Refused(PeerRefusal::Unreadable { reason }) = reply else { panic!("{reply:?}") };
        assert!(reason.contains("version 2"), "{reason}");
    }
    assert_eq!(node.me.identity().cluster_id, None);
    node.shut_down().await;
}

#[tokio::test]
async fn what_a_stranger_or_an_old_disk_says_is_refused_whatever_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let node = node(&dir).await;
    assert!(matches!(answer(&node, &message(&node, claim(&node, CLUSTER))).await, Reply::Claimed));
    let open_to_all = |request: &Request| matches!(request, Request::Hello | Request::Claim(_));
    let forged = [
        Endpoint { node: 9, ..PEER },
        Endpoint { disk: Some(DiskId(Uuid::from_u128(99))), ..PEER },
        Endpoint { disk: None, ..PEER },
        // This node itself, by another disk.
        Endpoint { node: 1, disk: PEER.disk },
    ];
    for from in forged {
        for request in requests(&node).into_iter().filter(|request| !open_to_all(request)) {
            let message = Envelope { from, ..message(&node, request) };
            assert_refused(&node, message, PeerRefusal::UnknownSender).await;
        }
    }
    for request in requests(&node).into_iter().filter(|request| !matches!(request, Request::Hello)) {
        let sound = message(&node, request);
        let to = Endpoint { disk: Some(DiskId(Uuid::from_u128(99))), ..sound.to };
        assert_refused(&node, Envelope { to, ..sound }, PeerRefusal::NotAddressee).await;
    }
    node.shut_down().await;
}

#[tokio::test]
async fn what_is_replayed_changes_nothing_more() {
    let dir = tempfile::tempdir().unwrap();
    let node = node(&dir).await;
    assert!(matches!(answer(&node, &message(&node, claim(&node, CLUSTER))).await, Reply::Claimed));
    let vote = |term| Request::Vote(VoteRequest::new(Vote::new(term, 2), None));
    let term = || node.metrics().current_term;
    // A later candidate was given the vote; an earlier one's message comes again.
    assert!(matches!(answer(&node, &message(&node, vote(7))).await, Reply::Vote(it) if it.vote_granted));
    let Reply::Vote(again) = answer(&node, &message(&node, vote(4))).await else { panic!("no vote") };
    assert!(!again.vote_granted && again.vote == Vote::new(7, 2), "{again:?}");
    // So does an earlier leader's.
    assert!(matches!(answer(&node, &message(&node, heartbeat(5))).await, Reply::Append(_)));
    assert_eq!((term(), node.leader()), (7, None));
    // A piece of a transfer comes twice, and one of another without its beginning.
    assert!(matches!(
        answer(&node, &message(&node, piece(0, b"ab", false))).await,
        Reply::SnapshotPieceTaken
    ));
    assert!(matches!(
        answer(&node, &message(&node, piece(2, b"cd", false))).await,
        Reply::SnapshotPieceTaken
    ));
    for late in [piece(2, b"cd", false), piece(9, b"cd", true)] {
        let reply = answer(&node, &message(&node, late)).await;
        assert!(matches!(reply, Reply::Refused(PeerRefusal::SnapshotRefused { .. })), "{reply:?}");
    }
    // What was taken is no snapshot.
    let reply = answer(&node, &message(&node, piece(4, b"ef", true))).await;
    assert!(matches!(reply, Reply::Refused(PeerRefusal::SnapshotRefused { .. })), "{reply:?}");
    assert_eq!(*node.fatal().borrow(), None);
    node.shut_down().await;
}

/// In the log it would pause every node, and no decision could help: nobody can say what it does.
#[tokio::test]
async fn a_forwarded_command_that_can_not_be_read_comes_into_no_log() {
    let dir = tempfile::tempdir().unwrap();
    let node = start_in(&dir, &[(1, "127.0.0.1:2")]).await.unwrap();
    let submission = Submission { key: None, command: Command::EndDue(EndDue {}) };
    let sound = EncodedSubmission::new(&submission).unwrap();
    let forward =
        async |submissions| node.submitter.submit_forwarded(Forwarded { submissions, wait_ms: 10_000 }).await;
    assert!(node.submit(&submission).await.is_ok());
    let before = node.position();
    let unreadable = EncodedSubmission::from_static(b"of a build to come");
    assert_eq!(forward(vec![unreadable.clone()]).await, [Err(NotApplied::NoLeader)]);
    assert_eq!((node.position(), node.paused()), (before, None));
    // Those beside it are none the worse for it.
    let outcomes = forward(vec![sound.clone(), unreadable, sound]).await;
    assert!(matches!(outcomes[..], [Ok(_), Err(NotApplied::NoLeader), Ok(_)]), "{outcomes:?}");
    assert_eq!(node.paused(), None);
    node.shut_down().await;
}

#[tokio::test]
async fn an_oversized_message_is_not_read_to_its_end() {
    let dir = tempfile::tempdir().unwrap();
    let node = node(&dir).await;
    // A frame that announces more than any message may hold.
    let mut frame = encode(Kind::Peer, &message(&node, Request::Status)).unwrap();
    frame[CHECKSUM_AT - 4..CHECKSUM_AT].copy_from_slice(&u32::MAX.to_le_bytes());
    let reply = reply_to(&node.handle_frame(&frame).await);
    assert!(matches!(reply, Reply::Refused(PeerRefusal::Unreadable { .. })), "{reply:?}");
    let (mut near, far) = tokio::io::duplex(1 << 10);
    near.write_all(&frame).await.unwrap();
    let handle = |_| std::future::ready(None);
    let ended = serve_line(far, Duration::from_secs(1), handle).await.unwrap_err();
    assert_eq!(ended.kind(), std::io::ErrorKind::InvalidData);
    node.shut_down().await;
}

/// A connection that asks for something else becomes no line.
#[tokio::test]
async fn only_who_asks_for_a_line_gets_one() {
    let dir = tempfile::tempdir().unwrap();
    let node = node(&dir).await;
    let router = crate::http::peer_router(node.clone());
    for wanted in [None, Some("websocket"), Some(LINE_PROTOCOL)] {
        let mut request = HttpRequest::get(LINE_PATH);
        if let Some(wanted) = wanted {
            request = request.header("upgrade", wanted);
        }
        // Here no connection is behind the request.
        let answer = router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(answer.status(), StatusCode::UPGRADE_REQUIRED, "{wanted:?}");
    }
    node.shut_down().await;
}

/// Bytes of sound messages are changed, under a checksum that is right.
#[test]
fn changed_messages_are_answered() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let node = runtime.block_on(node(&dir));
    let changes = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4);
    let of = any::<prop::sample::Index>();
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(CASES));
    let ran = runner.run(&(of, changes), |(of, changes)| {
        // Claims aside: by one of them the node would join a cluster in the middle of the test.
        let requests: Vec<Request> =
            requests(&node).into_iter().filter(|request| !matches!(request, Request::Claim(_))).collect();
        let kind = of.index(requests.len());
        let request = requests.into_iter().nth(kind).unwrap();
        let mut frame = encode(Kind::Peer, &message(&node, request)).unwrap();
        for (at, to) in changes {
            let at = HEADER_BYTES + at.index(frame.len() - HEADER_BYTES);
            frame[at] = to;
        }
        let reply = runtime.block_on(node.handle_frame(&with_checksum(frame)));
        prop_assert!(decode::<Envelope<Reply>>(Kind::Peer, &reply).is_ok());
        Ok(())
    });
    ran.unwrap();
    assert_eq!(*node.fatal().borrow(), None);
    runtime.block_on(node.shut_down());
}
