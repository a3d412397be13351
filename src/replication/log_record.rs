//! The records of the log as they stand on disk: what raft-log is told to write.
//!
//! raft-log frames each record with a type and a checksum. Ours add a mark: how far the log was flushed when the record
//! was written. A damaged record below the mark of a later one was once durable, so it is no torn write, see
//! [`log_scan`](super::log_scan). Everything is big-endian, as raft-log's own fields are.

use std::cmp::Ordering;
use std::io::{self, Read, Write};

use bytes::Bytes;
use codeq::{Decode, Encode};
use openraft::EntryPayload;
use openraft::impls::leader_id_adv::LeaderId;

use super::batch::Payload;
use super::codec::{BATCH_BYTES_MAX, from_message_pack, to_message_pack};
use super::types::{Entry, LogId, Membership, Vote};

/// The longest body of a record: a batch, or a membership.
pub const BODY_BYTES_MAX: usize = BATCH_BYTES_MAX;

/// The layout of [`LoggedPayload`] and [`LoggedVote`].
const LAYOUT: u8 = 1;

/// raft-log's parameters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogTypes;

impl raft_log::Types for LogTypes {
    type LogId = LoggedId;
    type LogPayload = LoggedPayload;
    type Vote = LoggedVote;
    type Callback = super::log_worker::Flush;
    type UserData = ();

    fn log_index(id: &LoggedId) -> u64 {
        id.0.index
    }

    fn payload_size(payload: &LoggedPayload) -> u64 {
        payload.body.len() as u64
    }
}

/// Bytes of the log, from its very first record on, that a flush has made durable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark(pub u64);

/// Term and node of the leader, then the index.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LoggedId(pub LogId);

#[derive(Clone, Debug)]
pub struct LoggedVote {
    pub vote: Vote,
    pub mark: Mark,
}

#[derive(Clone, Debug)]
pub struct LoggedPayload {
    pub mark: Mark,
    kind: PayloadKind,
    body: Bytes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum PayloadKind {
    Blank = 0,
    Batch = 1,
    Membership = 2,
}

/// The content decides; where the log was flushed to does not.
impl PartialEq for LoggedVote {
    fn eq(&self, other: &LoggedVote) -> bool {
        self.vote == other.vote
    }
}

impl Eq for LoggedVote {}

impl PartialOrd for LoggedVote {
    fn partial_cmp(&self, other: &LoggedVote) -> Option<Ordering> {
        self.vote.partial_cmp(&other.vote)
    }
}

impl LoggedPayload {
    /// Fails on a payload that is longer than the log takes. The mark is set when the record is written.
    pub fn new(payload: &EntryPayload<Payload, u64, super::types::Member>) -> io::Result<LoggedPayload> {
        let (kind, body) = match payload {
            EntryPayload::Blank => (PayloadKind::Blank, Bytes::new()),
            EntryPayload::Normal(batch) => (PayloadKind::Batch, batch.0.clone()),
            EntryPayload::Membership(membership) => {
                (PayloadKind::Membership, to_message_pack(membership).map_err(invalid)?.into())
            }
        };
        if body.len() > BODY_BYTES_MAX {
            let length = body.len();
            return Err(invalid(format!("an entry of {length} bytes, where the log takes {BODY_BYTES_MAX}")));
        }
        Ok(LoggedPayload { mark: Mark::default(), kind, body })
    }

    pub fn marked(self, mark: Mark) -> LoggedPayload {
        LoggedPayload { mark, ..self }
    }

    /// The membership, if the entry holds one.
    pub fn membership(&self) -> io::Result<Option<Membership>> {
        match self.kind {
            PayloadKind::Membership => from_message_pack(&self.body).map(Some).map_err(invalid),
            PayloadKind::Blank | PayloadKind::Batch => Ok(None),
        }
    }

    pub fn into_entry(self, id: LoggedId) -> io::Result<Entry> {
        let payload = match self.kind {
            PayloadKind::Blank => EntryPayload::Blank,
            PayloadKind::Batch => EntryPayload::Normal(Payload(self.body)),
            PayloadKind::Membership => {
                EntryPayload::Membership(from_message_pack::<Membership>(&self.body).map_err(invalid)?)
            }
        };
        Ok(Entry { log_id: id.0, payload })
    }
}

/// What the entry takes in memory and in a message, roughly.
pub fn entry_bytes(entry: &Entry) -> usize {
    const OVERHEAD: usize = 64;
    match &entry.payload {
        EntryPayload::Blank => OVERHEAD,
        EntryPayload::Normal(batch) => OVERHEAD + batch.0.len(),
        EntryPayload::Membership(membership) => OVERHEAD * (1 + 2 * membership.nodes().count()),
    }
}

impl Encode for LoggedId {
    fn encode<W: Write>(&self, mut w: W) -> io::Result<usize> {
        let leader = self.0.committed_leader_id();
        Ok(leader.term.encode(&mut w)? + leader.node_id.encode(&mut w)? + self.0.index.encode(&mut w)?)
    }
}

impl Decode for LoggedId {
    fn decode<R: Read>(mut r: R) -> io::Result<LoggedId> {
        let leader = LeaderId { term: u64::decode(&mut r)?, node_id: u64::decode(&mut r)? };
        Ok(LoggedId(LogId::new(leader, u64::decode(&mut r)?)))
    }
}

impl Encode for LoggedVote {
    fn encode<W: Write>(&self, mut w: W) -> io::Result<usize> {
        let mut written = LAYOUT.encode(&mut w)? + self.mark.0.encode(&mut w)?;
        written += self.vote.leader_id.term.encode(&mut w)?;
        written += self.vote.leader_id.node_id.encode(&mut w)?;
        Ok(written + u8::from(self.vote.committed).encode(&mut w)?)
    }
}

impl Decode for LoggedVote {
    fn decode<R: Read>(mut r: R) -> io::Result<LoggedVote> {
        known_layout(u8::decode(&mut r)?)?;
        let mark = Mark(u64::decode(&mut r)?);
        let leader_id = LeaderId { term: u64::decode(&mut r)?, node_id: u64::decode(&mut r)? };
        let committed = match u8::decode(&mut r)? {
            0 => false,
            1 => true,
            other => {
                return Err(invalid(format!(
                    "{other} says neither that a vote is committed nor that it is not"
                )));
            }
        };
        Ok(LoggedVote { vote: Vote { leader_id, committed }, mark })
    }
}

impl Encode for LoggedPayload {
    fn encode<W: Write>(&self, mut w: W) -> io::Result<usize> {
        let mut written = LAYOUT.encode(&mut w)? + self.mark.0.encode(&mut w)?;
        written += (self.kind as u8).encode(&mut w)?;
        written += (self.body.len() as u32).encode(&mut w)?;
        w.write_all(&self.body)?;
        Ok(written + self.body.len())
    }
}

impl Decode for LoggedPayload {
    fn decode<R: Read>(mut r: R) -> io::Result<LoggedPayload> {
        known_layout(u8::decode(&mut r)?)?;
        let mark = Mark(u64::decode(&mut r)?);
        let kind = match u8::decode(&mut r)? {
            0 => PayloadKind::Blank,
            1 => PayloadKind::Batch,
            2 => PayloadKind::Membership,
            other => return Err(invalid(format!("no entry of the log is of kind {other}"))),
        };
        let length = u32::decode(&mut r)? as usize;
        if length > BODY_BYTES_MAX {
            return Err(invalid(format!("an entry of {length} bytes, where the log takes {BODY_BYTES_MAX}")));
        }
        let mut body = Vec::with_capacity(length);
        r.take(length as u64).read_to_end(&mut body)?;
        if body.len() < length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(LoggedPayload { mark, kind, body: body.into() })
    }
}

fn known_layout(layout: u8) -> io::Result<()> {
    if layout == LAYOUT {
        Ok(())
    } else {
        Err(invalid(format!("a record in layout {layout}, this build reads {LAYOUT}")))
    }
}

fn invalid(reason: impl ToString) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason.to_string())
}
