//! The records of the log as they stand on disk.
//!
//! A record is its type, its fields and a checksum of both: CRC-32 (ISO-HDLC) in the lower half of eight bytes. Everything
//! is big-endian. Entries and votes bear a mark: how far the log was flushed when the record was written. A damaged record
//! below the mark of a later one was once durable, so it is no torn write, see [`log_scan`](super::log_scan).
//!
//! The layout is that of raft-log 0.4, with which earlier builds wrote the log.

use std::io;

use bytes::Bytes;
use openraft::EntryPayload;
use openraft::impls::leader_id_adv::LeaderId;

use super::batch::Payload;
use super::codec::{BATCH_BYTES_MAX, from_message_pack, to_message_pack};
use super::log_state::LoggedState;
use super::types::{Entry, LogId, Member, Membership, Vote};

/// The longest body of a record: a batch, or a membership.
pub const BODY_BYTES_MAX: usize = BATCH_BYTES_MAX;
/// No record is longer: its body and what is around it.
pub const RECORD_BYTES_MAX: usize = BODY_BYTES_MAX + 1_024;
/// A record begins with its type.
pub const TYPE_BYTES: usize = 4;
pub const CHECKSUM_BYTES: usize = 8;

/// The layout of [`LoggedPayload`] and [`LoggedVote`].
const LAYOUT: u8 = 1;
/// The layout of [`LoggedState`].
const STATE_LAYOUT: u8 = 1;

/// Bytes of the log, from its very first record on, that a flush has made durable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark(pub u64);

/// What is written to the log.
#[derive(Clone, Debug)]
pub enum LogRecord {
    SaveVote(LoggedVote),
    Append(LogId, LoggedPayload),
    /// Committed up to here.
    Commit(LogId),
    /// This entry becomes the last one; the first is removed, too, where there is none.
    TruncateAfter(Option<LogId>),
    /// Entries up to this one are removed.
    PurgeUpto(LogId),
    /// What the records before this one came to; the first of each file.
    Checkpoint(LoggedState),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

impl LoggedPayload {
    /// Fails on a payload that is longer than the log takes. The mark is set when the record is written.
    pub fn new(payload: &EntryPayload<Payload, u64, Member>) -> io::Result<LoggedPayload> {
        let (kind, body) = match payload {
            EntryPayload::Blank => (PayloadKind::Blank, Bytes::new()),
            EntryPayload::Normal(batch) => (PayloadKind::Batch, batch.0.clone()),
            EntryPayload::Membership(membership) => {
                (PayloadKind::Membership, to_message_pack(membership).map_err(invalid)?.into())
            }
        };
        bounded(body.len())?;
        Ok(LoggedPayload { mark: Mark::default(), kind, body })
    }

    pub fn marked(self, mark: Mark) -> LoggedPayload {
        LoggedPayload { mark, ..self }
    }

    pub fn is_membership(&self) -> bool {
        self.kind == PayloadKind::Membership
    }

    /// The membership, if the entry holds one.
    pub fn membership(&self) -> io::Result<Option<Membership>> {
        match self.kind {
            PayloadKind::Membership => from_message_pack(&self.body).map(Some).map_err(invalid),
            PayloadKind::Blank | PayloadKind::Batch => Ok(None),
        }
    }

    pub fn into_entry(self, id: LogId) -> io::Result<Entry> {
        let payload = match self.kind {
            PayloadKind::Blank => EntryPayload::Blank,
            PayloadKind::Batch => EntryPayload::Normal(Payload(self.body)),
            PayloadKind::Membership => {
                EntryPayload::Membership(from_message_pack::<Membership>(&self.body).map_err(invalid)?)
            }
        };
        Ok(Entry { log_id: id, payload })
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

impl LogRecord {
    const SAVE_VOTE: u32 = 0;
    const APPEND: u32 = 1;
    const COMMIT: u32 = 2;
    const TRUNCATE_AFTER: u32 = 3;
    const PURGE_UPTO: u32 = 4;
    const CHECKPOINT: u32 = 5;

    /// Whether a record may begin with these bytes.
    pub fn may_begin(bytes: &[u8]) -> bool {
        matches!(bytes, [0, 0, 0, kind, ..] if u32::from(*kind) <= LogRecord::CHECKPOINT)
    }

    pub fn encode(&self, into: &mut Vec<u8>) {
        let begins_at = into.len();
        match self {
            LogRecord::SaveVote(vote) => {
                put_type(into, LogRecord::SAVE_VOTE);
                put_vote(into, vote);
            }
            LogRecord::Append(id, payload) => {
                put_type(into, LogRecord::APPEND);
                put_id(into, id);
                put_payload(into, payload);
            }
            LogRecord::Commit(id) => {
                put_type(into, LogRecord::COMMIT);
                put_id(into, id);
            }
            LogRecord::TruncateAfter(last) => {
                put_type(into, LogRecord::TRUNCATE_AFTER);
                put_option(into, last.as_ref(), put_id);
            }
            LogRecord::PurgeUpto(id) => {
                put_type(into, LogRecord::PURGE_UPTO);
                put_id(into, id);
            }
            LogRecord::Checkpoint(state) => {
                put_type(into, LogRecord::CHECKPOINT);
                put_state(into, state);
            }
        }
        let checksum = checksum(&into[begins_at..]);
        into.extend(checksum);
    }

    /// The record that `bytes` begin with, and its length.
    pub fn decode(bytes: &[u8]) -> io::Result<(LogRecord, usize)> {
        let mut fields = Fields(bytes);
        let record = match u32::from_be_bytes(fields.take()?) {
            LogRecord::SAVE_VOTE => LogRecord::SaveVote(fields.vote()?),
            LogRecord::APPEND => LogRecord::Append(fields.id()?, fields.payload()?),
            LogRecord::COMMIT => LogRecord::Commit(fields.id()?),
            LogRecord::TRUNCATE_AFTER => LogRecord::TruncateAfter(fields.option(Fields::id)?),
            LogRecord::PURGE_UPTO => LogRecord::PurgeUpto(fields.id()?),
            LogRecord::CHECKPOINT => LogRecord::Checkpoint(fields.state()?),
            other => return Err(invalid(format!("no record of the log is of type {other}"))),
        };
        let length = bytes.len() - fields.0.len();
        if fields.take()? != checksum(&bytes[..length]) {
            return Err(invalid("the checksum of a record is wrong"));
        }
        Ok((record, length + CHECKSUM_BYTES))
    }

    /// How far the log was flushed when the record was written, where it says so.
    pub fn mark(&self) -> Option<Mark> {
        match self {
            LogRecord::SaveVote(vote) => Some(vote.mark),
            LogRecord::Append(_, payload) => Some(payload.mark),
            LogRecord::Checkpoint(state) => state.vote.map(|vote| vote.mark),
            LogRecord::Commit(_) | LogRecord::TruncateAfter(_) | LogRecord::PurgeUpto(_) => None,
        }
    }
}

fn checksum(of: &[u8]) -> [u8; CHECKSUM_BYTES] {
    u64::from(crc32fast::hash(of)).to_be_bytes()
}

fn put_type(into: &mut Vec<u8>, kind: u32) {
    into.extend(kind.to_be_bytes());
}

fn put_leader(into: &mut Vec<u8>, term: u64, node: u64) {
    into.extend(term.to_be_bytes());
    into.extend(node.to_be_bytes());
}

/// Term and node of the leader, then the index.
fn put_id(into: &mut Vec<u8>, id: &LogId) {
    let leader = id.committed_leader_id();
    put_leader(into, leader.term, leader.node_id);
    into.extend(id.index.to_be_bytes());
}

fn put_option<T>(into: &mut Vec<u8>, value: Option<&T>, put: impl FnOnce(&mut Vec<u8>, &T)) {
    into.push(value.is_some().into());
    if let Some(value) = value {
        put(into, value);
    }
}

fn put_vote(into: &mut Vec<u8>, LoggedVote { vote, mark }: &LoggedVote) {
    into.push(LAYOUT);
    into.extend(mark.0.to_be_bytes());
    put_leader(into, vote.leader_id.term, vote.leader_id.node_id);
    into.push(vote.committed.into());
}

fn put_payload(into: &mut Vec<u8>, LoggedPayload { mark, kind, body }: &LoggedPayload) {
    into.push(LAYOUT);
    into.extend(mark.0.to_be_bytes());
    into.push(*kind as u8);
    into.extend((body.len() as u32).to_be_bytes());
    into.extend_from_slice(body);
}

fn put_state(into: &mut Vec<u8>, LoggedState { vote, last, committed, purged }: &LoggedState) {
    into.push(STATE_LAYOUT);
    put_option(into, vote.as_ref(), put_vote);
    put_option(into, last.as_ref(), put_id);
    put_option(into, committed.as_ref(), put_id);
    put_option(into, purged.as_ref(), put_id);
    // raft-log's place for what its user adds; of ours nothing.
    into.push(0);
}

/// The fields of a record that are still to be read.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let (field, rest) = self.0.split_first_chunk().ok_or(io::ErrorKind::UnexpectedEof)?;
        self.0 = rest;
        Ok(*field)
    }

    fn u8(&mut self) -> io::Result<u8> {
        let [byte] = self.take()?;
        Ok(byte)
    }

    fn u64(&mut self) -> io::Result<u64> {
        Ok(u64::from_be_bytes(self.take()?))
    }

    fn bool(&mut self, says: &str) -> io::Result<bool> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(invalid(format!("{other} says neither that {says} nor that it is not"))),
        }
    }

    fn option<T>(&mut self, read: impl FnOnce(&mut Self) -> io::Result<T>) -> io::Result<Option<T>> {
        if self.bool("a field is there")? { read(self).map(Some) } else { Ok(None) }
    }

    fn layout(&mut self, known: u8) -> io::Result<()> {
        match self.u8()? {
            layout if layout == known => Ok(()),
            other => Err(invalid(format!("a record in layout {other}, this build reads {known}"))),
        }
    }

    fn leader(&mut self) -> io::Result<LeaderId<u64, u64>> {
        Ok(LeaderId { term: self.u64()?, node_id: self.u64()? })
    }

    fn id(&mut self) -> io::Result<LogId> {
        Ok(LogId::new(self.leader()?, self.u64()?))
    }

    fn vote(&mut self) -> io::Result<LoggedVote> {
        self.layout(LAYOUT)?;
        let mark = Mark(self.u64()?);
        let leader_id = self.leader()?;
        let committed = self.bool("a vote is committed")?;
        Ok(LoggedVote { vote: Vote { leader_id, committed }, mark })
    }

    fn payload(&mut self) -> io::Result<LoggedPayload> {
        self.layout(LAYOUT)?;
        let mark = Mark(self.u64()?);
        let kind = match self.u8()? {
            0 => PayloadKind::Blank,
            1 => PayloadKind::Batch,
            2 => PayloadKind::Membership,
            other => return Err(invalid(format!("no entry of the log is of kind {other}"))),
        };
        let length = u32::from_be_bytes(self.take()?) as usize;
        bounded(length)?;
        let (body, rest) = self.0.split_at_checked(length).ok_or(io::ErrorKind::UnexpectedEof)?;
        self.0 = rest;
        Ok(LoggedPayload { mark, kind, body: Bytes::copy_from_slice(body) })
    }

    fn state(&mut self) -> io::Result<LoggedState> {
        self.layout(STATE_LAYOUT)?;
        let state = LoggedState {
            vote: self.option(Fields::vote)?,
            last: self.option(Fields::id)?,
            committed: self.option(Fields::id)?,
            purged: self.option(Fields::id)?,
        };
        match self.u8()? {
            0 => Ok(state),
            _ => Err(invalid("a state of the log holds more than this build reads")),
        }
    }
}

fn bounded(body_bytes: usize) -> io::Result<()> {
    if body_bytes > BODY_BYTES_MAX {
        return Err(invalid(format!("an entry of {body_bytes} bytes, where the log takes {BODY_BYTES_MAX}")));
    }
    Ok(())
}

fn invalid(reason: impl ToString) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason.to_string())
}
