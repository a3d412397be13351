//! Chunks on disk, in sled. Nothing else in the tree knows sled.
//!
//! sled's own `flush` does not make anything durable, so each is followed by a flush of its file of our own. Values of
//! more than 128 KiB go to files that sled never flushes: a longer chunk is cut into parts.

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use super::HistoryError;
use super::packed::{pack, unpack};
use super::store::Store;
use crate::ledger::Lsn;

const PART_BYTES_MAX: usize = 96 << 10;
const CACHE_BYTES: u64 = 16 << 20;
const NOTE: &[u8] = b"note";
const CHUNKS: &[u8] = b"chunks";

pub struct SledStore {
    dir: PathBuf,
    db: sled::Db,
    chunks: sled::Tree,
}

impl From<sled::Error> for HistoryError {
    fn from(error: sled::Error) -> HistoryError {
        HistoryError::Store(error.to_string())
    }
}

/// sled may panic on what it finds on a damaged disk.
fn guarded<T>(work: impl FnOnce() -> Result<T, HistoryError>) -> Result<T, HistoryError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err(HistoryError::Store("sled panicked".into())))
}

impl SledStore {
    pub fn open(dir: &Path) -> Result<SledStore, HistoryError> {
        guarded(|| {
            let config = sled::Config::new().path(dir).flush_every_ms(None).cache_capacity(CACHE_BYTES);
            let db = config.open()?;
            let chunks = db.open_tree(CHUNKS)?;
            Ok(SledStore { dir: dir.to_owned(), db, chunks })
        })
    }
}

/// Parts sort behind one another, and chunks by the command that they follow.
fn key(after: Lsn, part: u16) -> [u8; 10] {
    let mut key = [0; 10];
    key[..8].copy_from_slice(&after.0.to_be_bytes());
    key[8..].copy_from_slice(&part.to_be_bytes());
    key
}

impl Store for SledStore {
    fn put(&self, after: Lsn, frame: &[u8]) -> Result<(), HistoryError> {
        guarded(|| {
            let mut batch = sled::Batch::default();
            let mut end = 0;
            for (part, bytes) in (0..).zip(pack(frame).chunks(PART_BYTES_MAX)) {
                batch.insert(&key(after, part), bytes);
                end = part + 1;
            }
            // Of a longer one that stood there.
            while self.chunks.contains_key(key(after, end))? {
                batch.remove(&key(after, end));
                end += 1;
            }
            Ok(self.chunks.apply_batch(batch)?)
        })
    }

    fn remove(&self, from: Lsn, to: Lsn) -> Result<(), HistoryError> {
        guarded(|| {
            let mut batch = sled::Batch::default();
            for part in self.chunks.range(key(from, 0)..key(to, 0)) {
                batch.remove(part?.0);
            }
            Ok(self.chunks.apply_batch(batch)?)
        })
    }

    fn at_or_before(&self, after: Lsn) -> Result<Option<Vec<u8>>, HistoryError> {
        guarded(|| {
            let Some(nearest) = self.chunks.range(..=key(after, u16::MAX)).next_back() else {
                return Ok(None);
            };
            let (nearest, _) = nearest?;
            let prefix = nearest.get(..8).ok_or(HistoryError::Damaged("a key that is too short"))?;
            let mut packed = Vec::new();
            for part in self.chunks.scan_prefix(prefix) {
                packed.extend_from_slice(&part?.1);
            }
            unpack(packed).map(Some)
        })
    }

    fn put_note(&self, note: &[u8]) -> Result<(), HistoryError> {
        guarded(|| Ok(self.db.insert(NOTE, note).map(drop)?))
    }

    fn note(&self) -> Result<Option<Vec<u8>>, HistoryError> {
        guarded(|| Ok(self.db.get(NOTE)?.map(|note| note.to_vec())))
    }

    fn sync(&self) -> Result<(), HistoryError> {
        guarded(|| {
            self.db.flush()?;
            let file = File::open(self.dir.join("db")).and_then(|file| file.sync_data());
            file.map_err(|error| HistoryError::Store(format!("its file can't be flushed: {error}")))
        })
    }
}
