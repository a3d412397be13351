//! Where chunks are kept, by the command that each follows.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use super::HistoryError;
use crate::ledger::{Lsn, PropertyId};

/// Keeps encoded chunks and one small note. Every call may block on a disk.
pub trait Store: Send + Sync + 'static {
    /// Keeps a chunk that follows `after`, in place of one that stood there, to be found by what it tells of.
    fn put(&self, after: Lsn, frame: &[u8], of: &BTreeSet<PropertyId>) -> Result<(), HistoryError>;

    /// The chunk that follows `after`, or else the nearest before that.
    fn at_or_before(&self, after: Lsn) -> Result<Option<Vec<u8>>, HistoryError>;

    /// Which command the chunk follows that [`at_or_before`](Store::at_or_before) finds, whether it can be read or not.
    fn place(&self, after: Lsn) -> Result<Option<Lsn>, HistoryError>;

    /// The first chunk that follows `from` or a later command.
    fn next(&self, from: Lsn) -> Result<Option<Vec<u8>>, HistoryError>;

    /// Which command the first chunk follows that tells of the property and follows `from` or a later one.
    fn first_of(&self, property: &PropertyId, from: Lsn) -> Result<Option<Lsn>, HistoryError>;

    /// Which command the last chunk follows that tells of the property and follows one before `to`.
    fn last_of(&self, property: &PropertyId, to: Lsn) -> Result<Option<Lsn>, HistoryError>;

    /// Forgets chunks that follow a command from `from` on and before `to`: so many that it takes no long time. Answers how
    /// many bytes they held; 0 where none is left.
    fn remove_some(&self, from: Lsn, to: Lsn) -> Result<u64, HistoryError>;

    fn put_note(&self, note: &[u8]) -> Result<(), HistoryError>;

    fn note(&self) -> Result<Option<Vec<u8>>, HistoryError>;

    /// Makes durable what was put before.
    fn sync(&self) -> Result<(), HistoryError>;

    /// Fails where what others have, too, would take the room on the disk that the log may need.
    fn has_room_for_more(&self) -> Result<(), HistoryError> {
        Ok(())
    }
}

/// Forgets all chunks that follow a command from `from` on and before `to`. Answers how many bytes they held.
pub fn remove(store: &dyn Store, from: Lsn, to: Lsn) -> Result<u64, HistoryError> {
    let mut removed = 0;
    loop {
        match store.remove_some(from, to)? {
            0 => return Ok(removed),
            some => removed += some,
        }
    }
}

/// Keeps nothing beyond the process: for simulations.
#[derive(Default)]
pub struct MemoryStore(Mutex<Memory>);

struct Kept {
    frame: Arc<[u8]>,
    of: BTreeSet<PropertyId>,
}

#[derive(Default)]
struct Memory {
    chunks: BTreeMap<Lsn, Kept>,
    note: Option<Vec<u8>>,
}

impl MemoryStore {
    fn with<T>(&self, work: impl FnOnce(&mut Memory) -> T) -> Result<T, HistoryError> {
        Ok(work(&mut self.0.lock().expect("no panic while the chunks are locked")))
    }
}

impl Store for MemoryStore {
    fn put(&self, after: Lsn, frame: &[u8], of: &BTreeSet<PropertyId>) -> Result<(), HistoryError> {
        self.with(|memory| drop(memory.chunks.insert(after, Kept { frame: frame.into(), of: of.clone() })))
    }

    fn at_or_before(&self, after: Lsn) -> Result<Option<Vec<u8>>, HistoryError> {
        self.with(|memory| memory.chunks.range(..=after).next_back().map(|(_, kept)| kept.frame.to_vec()))
    }

    fn place(&self, after: Lsn) -> Result<Option<Lsn>, HistoryError> {
        self.with(|memory| memory.chunks.range(..=after).next_back().map(|(place, _)| *place))
    }

    fn next(&self, from: Lsn) -> Result<Option<Vec<u8>>, HistoryError> {
        self.with(|memory| memory.chunks.range(from..).next().map(|(_, kept)| kept.frame.to_vec()))
    }

    fn first_of(&self, property: &PropertyId, from: Lsn) -> Result<Option<Lsn>, HistoryError> {
        self.with(|memory| {
            let mut chunks = memory.chunks.range(from..);
            chunks.find(|(_, kept)| kept.of.contains(property)).map(|(after, _)| *after)
        })
    }

    fn last_of(&self, property: &PropertyId, to: Lsn) -> Result<Option<Lsn>, HistoryError> {
        self.with(|memory| {
            let mut chunks = memory.chunks.range(..to).rev();
            chunks.find(|(_, kept)| kept.of.contains(property)).map(|(after, _)| *after)
        })
    }

    fn remove_some(&self, from: Lsn, to: Lsn) -> Result<u64, HistoryError> {
        self.with(|memory| {
            let first = memory.chunks.range(from..to).next().map(|(after, _)| *after);
            let removed = first.and_then(|first| memory.chunks.remove(&first));
            removed.map_or(0, |removed| removed.frame.len() as u64)
        })
    }

    fn put_note(&self, note: &[u8]) -> Result<(), HistoryError> {
        self.with(|memory| memory.note = Some(note.to_vec()))
    }

    fn note(&self) -> Result<Option<Vec<u8>>, HistoryError> {
        self.with(|memory| memory.note.clone())
    }

    fn sync(&self) -> Result<(), HistoryError> {
        Ok(())
    }
}
