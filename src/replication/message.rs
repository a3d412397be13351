//! What members say to one another.
//!
//! The names and fields here are those that go over the wire: none changes its meaning, and what is added is left out or has a
//! default, so that other builds understand it.

use std::collections::BTreeMap;

use bytes::Bytes;
use openraft::alias::VoteOf;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::batch::{EncodedSubmission, encoded_together};
use super::decision::{Decision, NotDecided};
use super::log_record::entry_bytes;
use super::snapshot::SnapshotMeta;
use super::types::{DiskId, GroupId, NodeId, RaftSnapshotMeta, TypeConfig, bytes_field};
use crate::ledger::{Applied, Lsn, Mark, StateHash, Timestamp};

/// The sender or the addressee of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    pub node: NodeId,
    /// Unknown only of an addressee, before its first hello.
    pub disk: Option<DiskId>,
}

/// A message with all that is checked before it is looked at.
#[derive(Debug, Serialize, Deserialize)]
pub struct Envelope<T> {
    pub group: GroupId,
    /// `None` until the sender belongs to a cluster.
    pub cluster: Option<Uuid>,
    pub from: Endpoint,
    pub to: Endpoint,
    /// The sender's wall clock.
    pub wall: Timestamp,
    pub body: T,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    Append(AppendEntriesRequest<TypeConfig>),
    Vote(VoteRequest<TypeConfig>),
    PreVote(VoteRequest<TypeConfig>),
    TransferLeader(TransferLeaderRequest<TypeConfig>),
    Snapshot(SnapshotPiece),
    Submit(Forwarded),
    ReadIndex {
        wait_ms: u64,
    },
    Status,
    Hello,
    Claim(Claim),
    History(HistoryRequest),
    FetchSnapshot(SnapshotRequest),
    /// The decision on a pause at `index`, see [`Decision`].
    Decide {
        index: u64,
        state_hash: StateHash,
    },
}

impl Request {
    /// Bytes of what it carries that may be long, more or less.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Request::Append(append) => append.entries.iter().map(entry_bytes).sum(),
            Request::Submit(forwarded) => forwarded.submissions.iter().map(EncodedSubmission::len).sum(),
            Request::Snapshot(piece) => piece.bytes.len(),
            _ => 0,
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    Append(AppendEntriesResponse<TypeConfig>),
    Vote(VoteResponse<TypeConfig>),
    TransferLeader(TransferLeaderResponse<TypeConfig>),
    /// The piece was taken; more are expected.
    SnapshotPieceTaken,
    /// The piece is not the next: so many bytes of that transfer are there, from its beginning. Said only to who has told how
    /// long the snapshot is.
    SnapshotHeld {
        bytes: u64,
    },
    SnapshotInstalled(SnapshotResponse<TypeConfig>),
    Submitted(Vec<Result<Applied, NotApplied>>),
    /// The index that a linearizable read must have applied.
    ReadIndex(u64),
    Status(MemberStatus),
    Hello(Hello),
    Claimed,
    History(HistoryPiece),
    FetchedSnapshot(FetchedPiece),
    Decided(Result<u64, NotDecided>),
    Refused(PeerRefusal),
}

/// One piece of the file that [`SnapshotFile`](super::SnapshotFile) names; pieces come in order, each after the last was
/// taken, or again where no answer came.
#[derive(Debug, Serialize, Deserialize)]
pub struct SnapshotPiece {
    pub vote: VoteOf<TypeConfig>,
    pub meta: RaftSnapshotMeta,
    /// Tells one transfer from the next. The same file from the same leader has the same one, so that what came of it counts.
    pub transfer: Uuid,
    pub offset: u64,
    #[serde(with = "bytes_field")]
    pub bytes: Bytes,
    pub last: bool,
    /// Bytes of the whole. Who tells it goes on from where it is told that the receiver has come. Builds before did neither.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub length: Option<u64>,
}

/// A paused member's question for a piece of a snapshot with which it can go on: the newest that reaches at least to the
/// index `from`, and at most to `upto`. Who has begun with one names its index as both.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct SnapshotRequest {
    pub from: u64,
    pub upto: u64,
    pub offset: u64,
    /// Bytes of the piece, at most. Builds before don't ask for it, and give as many as they send to followers at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
}

/// A piece of the snapshot at `meta`, which is `length` bytes long. Whoever takes it checks it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FetchedPiece {
    pub meta: SnapshotMeta,
    pub length: u64,
    #[serde(with = "bytes_field")]
    pub bytes: Bytes,
}

/// Commands that a follower passes to the leader. The leader never passes them on.
#[derive(Debug, Serialize, Deserialize)]
pub struct Forwarded {
    #[serde(deserialize_with = "encoded_together")]
    pub submissions: Vec<EncodedSubmission>,
    /// Time left until the follower gives up.
    pub wait_ms: u64,
}

/// Why a command has no outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum NotApplied {
    /// Nothing happened.
    #[error("no leader took the command in time; nothing happened")]
    NoLeader,
    /// Nothing happened.
    #[error("too much is waiting already; nothing happened")]
    Overloaded,
    /// The command alone is larger than an entry of the log may be; nothing happened.
    #[error("the command is larger than the log takes; nothing happened")]
    TooLarge,
    /// It may or may not have happened.
    #[error("it is not known whether the command happened; retry it with the same idempotency key")]
    Unknown,
}

/// What a member says of itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MemberStatus {
    pub role: Box<str>,
    pub term: u64,
    pub last_log_index: Option<u64>,
    pub committed_index: Option<u64>,
    pub applied_index: Option<u64>,
    pub snapshot_index: Option<u64>,
    /// Up to which index its log is gone.
    #[serde(default)]
    pub purged_index: Option<u64>,
    pub version: Box<str>,
    #[serde(default)]
    pub paused: Option<Box<str>>,
    /// The entry of the log at which it has paused, and its ledger before that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused_at: Option<Decision>,
    /// The last decision that it has followed since it started, and where the log holds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decided: Option<(u64, Decision)>,
    /// Its history is not kept now, so that it can't say what of that is old.
    #[serde(default, skip_serializing_if = "is_false")]
    pub history_suspended: bool,
}

fn is_false(flag: &bool) -> bool {
    !flag
}

/// The answer to a hello, given to any node of any cluster: it is how a node learns what it must not join.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Hello {
    pub node: NodeId,
    pub disk: DiskId,
    pub client_addr: Box<str>,
    pub peer_addr: Box<str>,
    pub cluster: Option<Uuid>,
    /// Nothing was ever written to the log.
    pub empty: bool,
    /// The disks that this node knows the members by.
    pub members: BTreeMap<NodeId, DiskId>,
}

/// A question for what the sender's history lacks.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct HistoryRequest {
    /// Where the sender's own history ends.
    pub after: Mark,
    /// Where it goes on.
    pub upto: Lsn,
}

/// Some of what was lacking, as the history has it. Whoever takes it checks it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct HistoryPiece {
    #[serde(with = "bytes_field")]
    pub frame: Bytes,
}

/// The first node's word that the addressee belongs to its new cluster.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Claim {
    pub cluster: Uuid,
    pub members: BTreeMap<NodeId, DiskId>,
}

/// Why a member did not even look at a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum PeerRefusal {
    #[error("the message can't be read: {reason}")]
    Unreadable { reason: String },
    #[error("this node belongs to another cluster, or to none yet")]
    OtherCluster,
    #[error("this node has no such replication group")]
    OtherGroup,
    #[error("this node does not have that history: {reason}")]
    NoHistory {
        reason: String,
        /// Everything after this it has; `None` where it has not come that far, or can't tell.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        begins: Option<Mark>,
    },
    #[error("the message is addressed to another node or another disk")]
    NotAddressee,
    #[error("the sender's disk is not the one that this cluster knows it by")]
    UnknownSender,
    #[error("this node already holds data, or was claimed by another cluster or with other members")]
    AlreadyClaimed,
    #[error("this node does not lead")]
    NotLeader,
    #[error("no majority answered in time")]
    NoQuorum,
    #[error("this node has no snapshot that would help")]
    NoSnapshot,
    #[error("the snapshot was not taken: {reason}")]
    SnapshotRefused { reason: String },
    #[error("this node is stopping")]
    Stopping,
}

impl PeerRefusal {
    /// Whether the message was refused for what stands around it, or because it can't be read: whoever says so has not looked
    /// at what is asked, be it the addressee or not.
    pub(super) fn is_of_the_envelope(&self) -> bool {
        match self {
            PeerRefusal::Unreadable { .. }
            | PeerRefusal::OtherCluster
            | PeerRefusal::OtherGroup
            | PeerRefusal::NotAddressee
            | PeerRefusal::UnknownSender => true,
            PeerRefusal::NoHistory { .. }
            | PeerRefusal::AlreadyClaimed
            | PeerRefusal::NotLeader
            | PeerRefusal::NoQuorum
            | PeerRefusal::NoSnapshot
            | PeerRefusal::SnapshotRefused { .. }
            | PeerRefusal::Stopping => false,
        }
    }
}
