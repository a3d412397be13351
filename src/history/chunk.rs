//! A chunk: hundreds of commits in one frame, as they are kept and as one node sends them to another.
//!
//! A record before its change is kept as what differs from the record after it. A chunk names the mark that it follows,
//! so that it is checked by itself: its commits link from there, one by one.

use std::collections::BTreeSet;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::HistoryError;
use crate::ledger::{
    Commit, EventChain, Lsn, Mark, Packed, PropertyId, Record, RecordChange, RecordKey, Settled, Timestamp,
};
use crate::replication::{CodecError, Kind, bytes_field, codec, decode, encode};

/// Bytes of one command's changes that are kept, at most. With those that stand before it in a chunk, and with what is around
/// them, it fits into a frame, and that into a message to a peer. What the ledger lets one command change stays far below.
pub const COMMIT_BYTES_MAX: usize = 32 << 20;

/// What commands changed, in order, from the mark on.
#[derive(Debug, Serialize, Deserialize)]
pub struct StoredChunk {
    /// What went before it.
    pub after: Mark,
    pub commits: Vec<StoredCommit>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StoredCommit {
    pub lsn: Lsn,
    at: Timestamp,
    #[serde(default, skip_serializing_if = "is_false")]
    own: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<std::sync::Arc<str>>,
    #[serde(default, skip_serializing_if = "is_false")]
    assigned: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    settled: Option<Settled>,
    changes: Vec<StoredChange>,
    pub chain: EventChain,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct StoredChange {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    after: Option<Encoded>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    before: Option<Before>,
    #[serde(default, skip_serializing_if = "is_false")]
    due: bool,
    /// Its records are reservations, as the state packs them: a third of what they take named, which builds before this
    /// wrote.
    #[serde(default, skip_serializing_if = "is_false")]
    packed: bool,
}

/// A record, encoded.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(transparent)]
struct Encoded(#[serde(with = "bytes_field")] Bytes);

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Before {
    Whole(Encoded),
    /// The bytes of the record after the change, but for those between `head` and `tail`.
    Like {
        head: u32,
        tail: u32,
        between: Encoded,
    },
}

fn is_false(flag: &bool) -> bool {
    !flag
}

impl StoredChunk {
    pub fn encode(&self) -> Result<Vec<u8>, CodecError> {
        encode(Kind::History, self)
    }

    /// The last command that it tells of.
    pub fn last(&self) -> Option<Mark> {
        self.commits.last().map(StoredCommit::mark)
    }
}

impl StoredCommit {
    pub fn new(commit: &Commit) -> Result<StoredCommit, CodecError> {
        Ok(StoredCommit {
            lsn: commit.lsn,
            at: commit.at,
            own: commit.own,
            key: commit.key.clone(),
            assigned: commit.assigned,
            settled: commit.settled,
            changes: commit.changes.iter().map(StoredChange::new).collect::<Result<_, _>>()?,
            chain: commit.chain,
        })
    }

    pub fn mark(&self) -> Mark {
        Mark { lsn: self.lsn, chain: self.chain }
    }

    /// Bytes that it takes, more or less.
    pub fn bytes(&self) -> usize {
        const AROUND: usize = 64;
        self.changes.iter().map(|change| change.bytes() + AROUND).sum::<usize>() + AROUND
    }

    fn commit(self) -> Result<Commit, HistoryError> {
        let changes = self.changes.iter().map(StoredChange::change).collect::<Result<_, _>>()?;
        let StoredCommit { lsn, at, own, key, assigned, settled, chain, .. } = self;
        Ok(Commit { lsn, at, own, key, assigned, settled, changes, chain })
    }
}

impl StoredChange {
    fn new(change: &RecordChange) -> Result<StoredChange, CodecError> {
        let encoded = |record: &Option<Record>| record.as_ref().map(encode_record).transpose();
        let (before, after) = (encoded(&change.before)?, encoded(&change.after)?);
        let before = before.map(|before| match &after {
            Some(after) => Before::like(before, after),
            None => Before::Whole(Encoded(before.into())),
        });
        let after = after.map(|after| Encoded(after.into()));
        let packed = matches!(change.key, RecordKey::Reservation(_));
        Ok(StoredChange { after, before, due: change.due, packed })
    }

    fn bytes(&self) -> usize {
        let before = match &self.before {
            Some(Before::Whole(bytes) | Before::Like { between: bytes, .. }) => bytes.0.len(),
            None => 0,
        };
        before + self.after.as_ref().map_or(0, |after| after.0.len())
    }

    fn change(&self) -> Result<RecordChange, HistoryError> {
        let after = self.after.as_ref().map(|after| after.0.clone());
        let before = match &self.before {
            Some(before) => Some(before.bytes(after.as_deref().unwrap_or_default())?),
            None => None,
        };
        let record = |bytes: &[u8]| match self.packed {
            true => match Packed::read(bytes) {
                Some((_, record)) => Ok(Record::Reservation(record)),
                None => Err(HistoryError::Damaged("a reservation that is damaged, or of a later build")),
            },
            false => Ok(codec::from_message_pack::<Record>(bytes)?),
        };
        let before = before.as_deref().map(record).transpose()?;
        let after = after.as_deref().map(record).transpose()?;
        RecordChange::new(before, after, self.due).ok_or(HistoryError::Damaged("a change of nothing"))
    }
}

fn encode_record(record: &Record) -> Result<Vec<u8>, CodecError> {
    match Packed::of(record) {
        Some(packed) => Ok(packed.into_bytes()),
        None => codec::to_message_pack(record),
    }
}

impl Before {
    fn like(before: Vec<u8>, after: &[u8]) -> Before {
        let same = |pair: &(&u8, &u8)| pair.0 == pair.1;
        let head = before.iter().zip(after).take_while(same).count();
        let tail = before[head..].iter().rev().zip(after[head..].iter().rev()).take_while(same).count();
        let between = Bytes::from(before).slice(head..).clone();
        let between = Encoded(between.slice(..between.len() - tail));
        Before::Like { head: head as u32, tail: tail as u32, between }
    }

    fn bytes(&self, after: &[u8]) -> Result<Vec<u8>, HistoryError> {
        match self {
            Before::Whole(bytes) => Ok(bytes.0.to_vec()),
            Before::Like { head, tail, between } => {
                let (head, tail) = (*head as usize, *tail as usize);
                if head.checked_add(tail).is_none_or(|kept| kept > after.len()) {
                    return Err(HistoryError::Damaged("a difference that is longer than its record"));
                }
                Ok([&after[..head], &between.0, &after[after.len() - tail..]].concat())
            }
        }
    }
}

/// The properties of which a command changed something.
pub fn properties_of(commit: &Commit) -> impl Iterator<Item = &PropertyId> {
    commit.changes.iter().filter_map(RecordChange::property)
}

/// A chunk, read back and checked: each commit follows from the one before.
#[derive(Clone)]
pub struct Chunk {
    pub after: Mark,
    pub commits: Vec<std::sync::Arc<Commit>>,
}

impl Chunk {
    pub fn decode(frame: &[u8]) -> Result<Chunk, HistoryError> {
        let StoredChunk { after, commits } = decode(Kind::History, frame)?;
        let mut mark = after;
        let mut read = Vec::with_capacity(commits.len());
        for stored in commits {
            let commit = stored.commit()?;
            if commit.lsn <= mark.lsn || mark.chain.after(&commit) != commit.chain {
                return Err(HistoryError::NotFollowing { lsn: commit.lsn });
            }
            mark = Mark { lsn: commit.lsn, chain: commit.chain };
            read.push(std::sync::Arc::new(commit));
        }
        Ok(Chunk { after, commits: read })
    }

    /// The properties that it tells of.
    pub fn properties(&self) -> BTreeSet<PropertyId> {
        self.commits.iter().flat_map(|commit| properties_of(commit)).cloned().collect()
    }

    pub fn last(&self) -> Mark {
        self.mark_at(Lsn(u64::MAX))
    }

    /// The last command up to `lsn` that it tells of.
    pub fn mark_at(&self, lsn: Lsn) -> Mark {
        let last = self.commits.iter().rev().find(|commit| commit.lsn <= lsn);
        last.map_or(self.after, |commit| Mark { lsn: commit.lsn, chain: commit.chain })
    }
}
