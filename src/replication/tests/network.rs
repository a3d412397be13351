//! What members of different builds say to one another keeps its bytes.

use std::collections::BTreeMap;

use bytes::Bytes;
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, VoteRequest};
use openraft::{EntryPayload, LogId, Vote};
use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use super::support::{batch, committed, put_room_type};
use crate::ledger::{Applied, EventChain, Lsn, Mark, Outcome, StateHash, Timestamp};
use crate::replication::codec::{self, Kind};
use crate::replication::{
    Check, Claim, DiskId, EncodedSubmission, Endpoint, Entry, Envelope, FetchedPiece, Forwarded, GROUP,
    Hello, HistoryPiece, HistoryRequest, MemberStatus, NotApplied, NotDecided, PeerRefusal, Reply, Request,
    SnapshotMeta, SnapshotPiece, SnapshotRequest,
};

const CLUSTER: Uuid = Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_00ff);

fn envelope<T>(body: T) -> Envelope<T> {
    let endpoint = |node: u64| Endpoint { node, disk: Some(DiskId(Uuid::from_u128(node.into()))) };
    let (from, to, wall) = (endpoint(1), endpoint(2), Timestamp(1_798_761_600_000));
    Envelope { group: GROUP, cluster: Some(CLUSTER), from, to, wall, body }
}

/// Compares with the bytes of an earlier build, and reads those back to the same bytes.
fn golden<T: Serialize + DeserializeOwned>(name: &str, body: T) {
    let frame = codec::encode(Kind::Peer, &envelope(body)).unwrap();
    let committed = committed(name, &frame);
    assert!(frame == committed, "{name} is no longer written as it was");
    let read: Envelope<T> = codec::decode(Kind::Peer, &committed).unwrap();
    assert!(codec::encode(Kind::Peer, &read).unwrap() == committed, "{name} loses something when it is read");
}

#[test]
fn golden_messages_keep_their_bytes() {
    let leader = |index| {
        LogId::new(Vote::<openraft::impls::leader_id_adv::LeaderId<u64, u64>>::new(3, 1).leader_id, index)
    };
    let vote = Vote::new_committed(3, 1);
    let check = Check { lsn: Lsn(41), state_hash: StateHash(7) };
    let payload = batch(1_798_761_600_000, check, &[put_room_type("Double")]).encode().unwrap();
    let disks = BTreeMap::from([(1, DiskId(Uuid::from_u128(1))), (2, DiskId(Uuid::from_u128(2)))]);

    golden(
        "peer-append.v1",
        Request::Append(AppendEntriesRequest {
            vote,
            prev_log_id: Some(leader(4)),
            entries: vec![Entry { log_id: leader(5), payload: EntryPayload::Normal(payload) }],
            leader_commit: Some(leader(4)),
        }),
    );
    golden("peer-vote.v1", Request::Vote(VoteRequest::new(Vote::new(4, 2), Some(leader(5)))));
    let submissions = vec![EncodedSubmission::new(&put_room_type("Double")).unwrap()];
    golden("peer-submit.v1", Request::Submit(Forwarded { submissions, wait_ms: 5_000 }));
    golden("peer-claim.v1", Request::Claim(Claim { cluster: CLUSTER, members: disks.clone() }));
    let bytes = Bytes::from_static(b"a piece");
    let (meta, transfer) = (Default::default(), Uuid::from_u128(9));
    golden(
        "peer-snapshot.v1",
        Request::Snapshot(SnapshotPiece { vote, meta, transfer, offset: 7, bytes, last: true, length: None }),
    );
    let bytes = Bytes::from_static(b"a piece");
    let (meta, length) = (Default::default(), Some(90_000));
    golden(
        "peer-snapshot-length.v1",
        Request::Snapshot(SnapshotPiece { vote, meta, transfer, offset: 7, bytes, last: false, length }),
    );
    golden("peer-snapshot-held.v1", Reply::SnapshotHeld { bytes: 70_000 });
    golden("peer-read-index.v1", Request::ReadIndex { wait_ms: 2_000 });

    golden("peer-appended.v1", Reply::Append(AppendEntriesResponse::Success));
    let done = Applied { lsn: Lsn(42), replayed: false, outcome: Outcome::Done };
    golden("peer-submitted.v1", Reply::Submitted(vec![Ok(done), Err(NotApplied::Unknown)]));
    golden(
        "peer-hello.v1",
        Reply::Hello(Hello {
            node: 1,
            disk: DiskId(Uuid::from_u128(1)),
            client_addr: "10.0.0.1:7101".into(),
            peer_addr: "10.0.0.1:7201".into(),
            cluster: Some(CLUSTER),
            empty: true,
            members: disks,
        }),
    );
    golden(
        "peer-status.v1",
        Reply::Status(MemberStatus {
            role: "follower".into(),
            term: 3,
            last_log_index: Some(5),
            committed_index: Some(5),
            applied_index: Some(4),
            snapshot_index: None,
            purged_index: Some(2),
            version: "0.1.0".into(),
            paused: Some("why".into()),
            paused_at: None,
            decided: None,
            history_suspended: false,
        }),
    );
    let meta = SnapshotMeta { last_log_id: Some(leader(5)), membership: Default::default() };
    let request = SnapshotRequest { from: 4, upto: 9, offset: 7, bytes: None };
    golden("peer-fetch-snapshot.v1", Request::FetchSnapshot(request));
    let request = SnapshotRequest { bytes: Some(65_536), ..request };
    golden("peer-fetch-snapshot-bytes.v1", Request::FetchSnapshot(request));
    let fetched = FetchedPiece { meta, length: 40, bytes: Bytes::from_static(b"a piece") };
    golden("peer-fetched-snapshot.v1", Reply::FetchedSnapshot(fetched));
    let (index, state_hash) = (17, StateHash(u128::MAX / 5));
    golden("peer-decide.v1", Request::Decide { index, state_hash });
    golden("peer-decided.v1", Reply::Decided(Ok(18)));
    let elsewhere = NotDecided::PausedElsewhere { leader: 2, index, state_hash };
    golden("peer-not-decided.v1", Reply::Decided(Err(elsewhere)));
    let after = Mark { lsn: Lsn(40), chain: EventChain(u128::MAX / 3) };
    golden("peer-history.v1", Request::History(HistoryRequest { after, upto: Lsn(90) }));
    let frame = Bytes::from_static(b"a chunk");
    golden("peer-history-piece.v1", Reply::History(HistoryPiece { frame }));
    golden(
        "peer-no-history.v1",
        Reply::Refused(PeerRefusal::NoHistory { reason: "why".to_owned(), begins: None }),
    );
    golden(
        "peer-no-history-begins.v1",
        Reply::Refused(PeerRefusal::NoHistory { reason: "why".to_owned(), begins: Some(after) }),
    );
    golden("peer-refused.v1", Reply::Refused(PeerRefusal::SnapshotRefused { reason: "why".to_owned() }));
}
