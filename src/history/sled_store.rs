//! Chunks on disk, in sled. Nothing else in the tree knows sled.
//!
//! sled's own `flush` does not make anything durable, so each is followed by a flush of its file of our own. Pages of
//! more than 128 KiB go to files that sled never flushes, and whose names it trips over after a crash. A page holds up to
//! 17 entries, and some more for a moment when two become one: a chunk is cut into parts of which 24 fit.

use std::collections::BTreeSet;
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::HistoryError;
use super::packed::{frame_bytes, pack, unpack};
use super::store::Store;
use crate::ledger::{Lsn, PropertyId};

const PART_BYTES_MAX: usize = 5 << 10;
const CACHE_BYTES: u64 = 16 << 20;
const NOTE: &[u8] = b"note";
const CHUNKS: &[u8] = b"chunks";
const BY_PROPERTY: &[u8] = b"chunks by property";
const PROPERTIES: &[u8] = b"properties of chunks";
/// Bytes of chunks that are forgotten at once, more or less.
const REMOVED_BYTES: u64 = 1 << 20;

pub struct SledStore {
    dir: PathBuf,
    db: sled::Db,
    chunks: sled::Tree,
    /// Keys without values: a property, and which command the chunk follows that tells of it.
    by_property: sled::Tree,
    /// What each chunk tells of, by the command that it follows.
    properties: sled::Tree,
}

impl From<sled::Error> for HistoryError {
    fn from(error: sled::Error) -> HistoryError {
        HistoryError::Store(error.to_string())
    }
}

/// sled's own threads hold on to its lock for a moment after the last handle was dropped.
const LOCK_WAIT: Duration = Duration::from_secs(5);

/// Opens what is not open elsewhere, or was until just now.
fn open_unlocked(config: &sled::Config) -> sled::Result<sled::Db> {
    let until = Instant::now() + LOCK_WAIT;
    loop {
        match config.open() {
            // It is told by its text alone.
            Err(sled::Error::Io(error))
                if error.to_string().contains("could not acquire lock") && Instant::now() < until =>
            {
                std::thread::sleep(Duration::from_millis(5));
            }
            opened => return opened,
        }
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
            let db = open_unlocked(&config)?;
            let [chunks, by_property, properties] =
                [CHUNKS, BY_PROPERTY, PROPERTIES].map(|tree| db.open_tree(tree));
            Ok(SledStore {
                dir: dir.to_owned(),
                db,
                chunks: chunks?,
                by_property: by_property?,
                properties: properties?,
            })
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

/// Where a chunk is found by a property that it tells of. Ids hold no zero byte.
fn key_of(property: &PropertyId, after: Lsn) -> Vec<u8> {
    [property.as_str().as_bytes(), &[0], &after.0.to_be_bytes()].concat()
}

fn lsn_in(bytes: &[u8]) -> Result<Lsn, HistoryError> {
    let bytes = bytes.try_into().map_err(|_| HistoryError::Damaged("a key of another length"))?;
    Ok(Lsn(u64::from_be_bytes(bytes)))
}

impl SledStore {
    /// All parts of the chunk of which one has this key.
    fn whole(&self, key: &[u8]) -> Result<Vec<u8>, HistoryError> {
        let prefix = key.get(..8).ok_or(HistoryError::Damaged("a key that is too short"))?;
        let mut packed = Vec::new();
        for part in self.chunks.scan_prefix(prefix) {
            packed.extend_from_slice(&part?.1);
        }
        unpack(packed)
    }

    /// Notes what a chunk tells of, before it is kept: none is kept that can't be found.
    fn index(&self, after: Lsn, of: &BTreeSet<PropertyId>) -> Result<(), HistoryError> {
        let known = self.told_of(after)?;
        if of.iter().all(|property| known.contains(property)) {
            return Ok(());
        }
        let mut batch = sled::Batch::default();
        of.iter().for_each(|property| batch.insert(key_of(property, after), &[]));
        self.by_property.apply_batch(batch)?;
        let names: Vec<&str> = known.union(of).map(PropertyId::as_str).collect();
        self.properties.insert(after.0.to_be_bytes(), names.join("\n").as_bytes())?;
        Ok(())
    }

    fn told_of(&self, after: Lsn) -> Result<BTreeSet<PropertyId>, HistoryError> {
        let Some(names) = self.properties.get(after.0.to_be_bytes())? else { return Ok(BTreeSet::new()) };
        let unreadable = || HistoryError::Damaged("a property that is none");
        let names = std::str::from_utf8(&names).map_err(|_| unreadable())?;
        names.split('\n').map(|name| PropertyId::new(name).map_err(|_| unreadable())).collect()
    }

    fn unindex(&self, after: Lsn) -> Result<(), HistoryError> {
        let mut batch = sled::Batch::default();
        self.told_of(after)?.iter().for_each(|property| batch.remove(key_of(property, after)));
        self.by_property.apply_batch(batch)?;
        self.properties.remove(after.0.to_be_bytes())?;
        Ok(())
    }
}

impl Store for SledStore {
    fn put(&self, after: Lsn, frame: &[u8], of: &BTreeSet<PropertyId>) -> Result<(), HistoryError> {
        guarded(|| {
            self.index(after, of)?;
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

    fn at_or_before(&self, after: Lsn) -> Result<Option<Vec<u8>>, HistoryError> {
        guarded(|| {
            let nearest = self.chunks.range(..=key(after, u16::MAX)).next_back().transpose()?;
            nearest.map(|(key, _)| self.whole(&key)).transpose()
        })
    }

    fn next(&self, from: Lsn) -> Result<Option<Vec<u8>>, HistoryError> {
        guarded(|| {
            let next = self.chunks.range(key(from, 0)..).next().transpose()?;
            next.map(|(key, _)| self.whole(&key)).transpose()
        })
    }

    fn first_of(&self, property: &PropertyId, from: Lsn) -> Result<Option<Lsn>, HistoryError> {
        guarded(|| {
            let found = self.by_property.range(key_of(property, from)..=key_of(property, Lsn(u64::MAX)));
            let first = found.into_iter().next().transpose()?;
            first.map(|(key, _)| lsn_in(&key[property.as_str().len() + 1..])).transpose()
        })
    }

    fn last_of(&self, property: &PropertyId, to: Lsn) -> Result<Option<Lsn>, HistoryError> {
        guarded(|| {
            let found = self.by_property.range(key_of(property, Lsn(0))..key_of(property, to));
            let last = found.into_iter().next_back().transpose()?;
            last.map(|(key, _)| lsn_in(&key[property.as_str().len() + 1..])).transpose()
        })
    }

    fn remove_some(&self, from: Lsn, to: Lsn) -> Result<u64, HistoryError> {
        guarded(|| {
            let mut batch = sled::Batch::default();
            let (mut bytes, mut last) = (0, None);
            for part in self.chunks.range(key(from, 0)..key(to, 0)) {
                let (key, part) = part?;
                let after = lsn_in(key.get(..8).unwrap_or_default())?;
                if bytes >= REMOVED_BYTES && last != Some(after) {
                    break;
                }
                if last != Some(after) {
                    self.unindex(after)?;
                    bytes += frame_bytes(&part);
                }
                last = Some(after);
                batch.remove(key);
            }
            self.chunks.apply_batch(batch)?;
            Ok(bytes)
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
