//! What these tests share.

use std::collections::BTreeMap;

use openraft::EntryPayload;
use openraft::impls::leader_id_adv::LeaderId;
use uuid::Uuid;

use crate::ledger::{Command, PropertyId, PutRoomType, RoomTypeId, Submission, Timestamp};
use crate::replication::{
    Batch, Check, DiskId, EncodedSubmission, Entry, LogId, Member, Membership, NodeId, Payload,
};

pub fn log_id(term: u64, index: u64) -> LogId {
    LogId::new(LeaderId { term, node_id: 1 }, index)
}

pub fn blank(term: u64, index: u64) -> Entry {
    Entry { log_id: log_id(term, index), payload: EntryPayload::Blank }
}

/// An entry with a payload of so many bytes that no ledger could read.
pub fn opaque(term: u64, index: u64, bytes: usize) -> Entry {
    let payload = EntryPayload::Normal(Payload(vec![index as u8; bytes].into()));
    Entry { log_id: log_id(term, index), payload }
}

pub fn put_room_type(name: &str) -> Submission {
    let command = Command::PutRoomType(PutRoomType {
        property: PropertyId::new("grand").unwrap(),
        room_type: RoomTypeId::new("double").unwrap(),
        name: name.into(),
        max_occupancy: 2,
        overbooking_limit: 0,
    });
    Submission { key: None, command }
}

pub fn batch(stamp: u64, check: Check, submissions: &[Submission]) -> Batch {
    let submissions =
        submissions.iter().map(|submission| EncodedSubmission::new(submission).unwrap()).collect();
    Batch { stamp: Timestamp(stamp), check, submissions }
}

pub fn membership(nodes: &[NodeId]) -> Membership {
    let member = |id: NodeId| Member {
        peer_addr: format!("127.0.0.1:{}", 7_200 + id),
        client_addr: format!("127.0.0.1:{}", 7_100 + id),
        disk_id: DiskId(Uuid::from_u128(id.into())),
    };
    let nodes: BTreeMap<NodeId, Member> = nodes.iter().map(|id| (*id, member(*id))).collect();
    Membership::new(vec![nodes.keys().copied().collect()], nodes).unwrap()
}
