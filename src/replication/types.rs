//! The types that openraft is used with, and the names of nodes, groups and disks.

use std::fmt;

use openraft::alias::{EntryOf, LogIdOf, SnapshotMetaOf, StoredMembershipOf, VoteOf};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::batch::{BatchReply, Payload};
use super::runtime::Runtime;

pub type NodeId = u64;

/// One Raft group. Keys, peer messages and files carry it, so that a node can hold many without a change of format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct GroupId(pub u32);

/// The only group for now.
pub const GROUP: GroupId = GroupId(0);

impl fmt::Display for GroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Names a data directory from its creation on. A node that lost its disk comes back with another one, and so never
/// votes under what it had promised before.
#[cfg_attr(test, derive(Default))]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DiskId(pub Uuid);

impl fmt::Display for DiskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for DiskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// What the membership says of a node. Addresses are `host:port`.
#[cfg_attr(test, derive(Default))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Where the other members reach it.
    pub peer_addr: String,
    /// Where clients reach it.
    pub client_addr: String,
    pub disk_id: DiskId,
}

openraft::declare_raft_types!(
    /// openraft's parameters: many leaders may be elected in one term, so that split votes cost no term.
    pub TypeConfig:
        D = Payload,
        R = BatchReply,
        NodeId = NodeId,
        Node = Member,
        AsyncRuntime = Runtime,
);

pub type Entry = EntryOf<TypeConfig>;
pub type LogId = LogIdOf<TypeConfig>;
pub type Vote = VoteOf<TypeConfig>;
pub type Membership = openraft::Membership<NodeId, Member>;
pub type StoredMembership = StoredMembershipOf<TypeConfig>;
pub type RaftSnapshotMeta = SnapshotMetaOf<TypeConfig>;

/// [`bytes::Bytes`] as a byte string, not as a list of numbers.
pub mod bytes_field {
    use std::fmt;

    use bytes::Bytes;
    use serde::{Deserializer, Serializer, de};

    pub fn serialize<S: Serializer>(bytes: &Bytes, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(bytes)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
        struct Visitor;

        impl de::Visitor<'_> for Visitor {
            type Value = Bytes;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a byte string")
            }

            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Bytes, E> {
                Ok(Bytes::copy_from_slice(bytes))
            }

            fn visit_byte_buf<E: de::Error>(self, bytes: Vec<u8>) -> Result<Bytes, E> {
                Ok(bytes.into())
            }
        }

        deserializer.deserialize_byte_buf(Visitor)
    }
}
