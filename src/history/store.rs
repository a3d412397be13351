//! Where chunks are kept, by the command that each follows.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use super::HistoryError;
use crate::ledger::Lsn;

/// Keeps encoded chunks and one small note. Every call may block on a disk.
pub trait Store: Send + Sync + 'static {
    /// Keeps a chunk that follows `after`, in place of one that stood there.
    fn put(&self, after: Lsn, frame: &[u8]) -> Result<(), HistoryError>;

    /// The chunk that follows `after`, or else the nearest before that.
    fn at_or_before(&self, after: Lsn) -> Result<Option<Vec<u8>>, HistoryError>;

    /// Forgets the chunks that follow a command from `from` on and before `to`.
    fn remove(&self, from: Lsn, to: Lsn) -> Result<(), HistoryError>;

    fn put_note(&self, note: &[u8]) -> Result<(), HistoryError>;

    fn note(&self) -> Result<Option<Vec<u8>>, HistoryError>;

    /// Makes durable what was put before.
    fn sync(&self) -> Result<(), HistoryError>;
}

/// Keeps nothing beyond the process: for simulations, and for a node whose disk takes no history.
#[derive(Default)]
pub struct MemoryStore(Mutex<Memory>);

#[derive(Default)]
struct Memory {
    chunks: BTreeMap<Lsn, Arc<[u8]>>,
    note: Option<Vec<u8>>,
}

impl MemoryStore {
    fn with<T>(&self, work: impl FnOnce(&mut Memory) -> T) -> Result<T, HistoryError> {
        Ok(work(&mut self.0.lock().expect("no panic while the chunks are locked")))
    }
}

impl Store for MemoryStore {
    fn put(&self, after: Lsn, frame: &[u8]) -> Result<(), HistoryError> {
        self.with(|memory| drop(memory.chunks.insert(after, frame.into())))
    }

    fn at_or_before(&self, after: Lsn) -> Result<Option<Vec<u8>>, HistoryError> {
        self.with(|memory| memory.chunks.range(..=after).next_back().map(|(_, frame)| frame.to_vec()))
    }

    fn remove(&self, from: Lsn, to: Lsn) -> Result<(), HistoryError> {
        self.with(|memory| memory.chunks.retain(|after, _| !(from..to).contains(after)))
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
