//! Chunks on disk, in sled. Nothing else in the tree knows sled.
//!
//! sled's own `flush` does not make anything durable, so each is followed by a flush of its file of our own. Pages of
//! more than 128 KiB go to files that sled never flushes, and whose names it trips over after a crash. A page holds up to
//! 17 entries, and some more for a moment when two become one: a chunk is cut into parts of which 24 fit.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};

use super::HistoryError;
use super::aside::parent_of;
use super::packed::{frame_bytes, pack, unpack};
use super::store::Store;
use crate::ledger::{Lsn, PropertyId};
use crate::replication::{leave_room, sync_dir};

/// sled's own, in its folder.
const FILE: &str = "db";
const PART_BYTES_MAX: usize = 5 << 10;
const CACHE_BYTES: u64 = 16 << 20;
const NOTE: &[u8] = b"note";
const CHUNKS: &[u8] = b"chunks";
const BY_PROPERTY: &[u8] = b"chunks by property";
const PROPERTIES: &[u8] = b"properties of chunks";
/// Bytes of chunks that are forgotten at once, more or less.
const REMOVED_BYTES: u64 = 1 << 20;

pub struct SledStore {
    db: sled::Db,
    /// sled's own, to flush it.
    file: File,
    chunks: sled::Tree,
    /// Keys without values: a property, and which command the chunk follows that tells of it.
    by_property: sled::Tree,
    /// What each chunk tells of, by the command that it follows; in parts, as chunks are. Earlier builds kept it as one entry,
    /// whose key names no part.
    properties: sled::Tree,
}

impl From<sled::Error> for HistoryError {
    fn from(error: sled::Error) -> HistoryError {
        match error {
            sled::Error::Io(error) => error.into(),
            error => HistoryError::Store(error.to_string()),
        }
    }
}

/// What the system refuses says nothing of what is on the disk; anything else may be damage.
impl From<std::io::Error> for HistoryError {
    fn from(error: std::io::Error) -> HistoryError {
        use std::io::ErrorKind::{InvalidData, InvalidInput, NotFound, Other, UnexpectedEof};
        // sled hands on copies without the system's number: kinds alone tell, and the rarer ones have no name.
        match error.kind() {
            UnexpectedEof | InvalidData | InvalidInput | NotFound | Other => {
                HistoryError::Store(error.to_string())
            }
            _ => HistoryError::Disk(error.to_string()),
        }
    }
}

/// sled's own threads hold on to its lock for a moment after the last handle was dropped.
const LOCK_WAIT: Duration = Duration::from_secs(5);
const LOCK_LOOK: Duration = Duration::from_millis(5);

/// Opens what is not open elsewhere, or was until just now.
fn open_unlocked(config: &sled::Config) -> Result<sled::Db, HistoryError> {
    let until = Instant::now() + LOCK_WAIT;
    loop {
        match config.open() {
            // It is told by its text alone.
            Err(sled::Error::Io(error)) if error.to_string().contains("could not acquire lock") => {
                if Instant::now() >= until {
                    // Whoever has it may use it well: that is no damage.
                    return Err(HistoryError::Disk(error.to_string()));
                }
                std::thread::sleep(LOCK_LOOK);
            }
            opened => return Ok(opened?),
        }
    }
}

/// Waits until nobody holds the lock of a store's file any more, and has the system forget what it has of it in memory: what
/// it could not write, it takes for written. What has failed in this process is opened again behind that. Blocks.
pub fn let_go_of(dir: &Path) -> Result<(), HistoryError> {
    let path = dir.join(FILE);
    if !path.exists() {
        return Ok(());
    }
    let file = File::options().read(true).write(true).open(path)?;
    let until = Instant::now() + LOCK_WAIT;
    while let Err(error) = flock(&file, FlockOperation::NonBlockingLockExclusive) {
        if Instant::now() >= until {
            let reason =
                format!("its file is locked still, by the store that failed or by another process: {error}");
            return Err(HistoryError::Disk(reason));
        }
        std::thread::sleep(LOCK_LOOK);
    }
    file.sync_all()?;
    #[cfg(target_os = "linux")]
    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).map_err(std::io::Error::from)?;
    Ok(())
}

/// Bytes that are read at once.
const READ_BYTES: usize = 1 << 20;

/// Reads the files of a store that nobody has open to their ends, and gives the first of which the disk does not tell all,
/// with its reason. `None` where it does. Blocks for as long as that takes: seconds for each gigabyte.
pub fn unreadable(dir: &Path) -> io::Result<Option<(PathBuf, io::Error)>> {
    if !dir.exists() {
        return Ok(None);
    }
    let mut bytes = vec![0; READ_BYTES];
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if !path.is_file() {
            continue;
        }
        let mut file = File::open(&path)?;
        loop {
            match file.read(&mut bytes).or_else(|_| file.read(&mut bytes)) {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) => return Ok(Some((path, error))),
            }
        }
    }
    Ok(None)
}

/// sled writes where it opens, and what it finds no room for then it may damage: it is opened only where there is some.
const FREE_BYTES_MIN: u64 = 32 << 20;

/// Fails where the disk under the folder has no room for a store to be opened.
pub fn has_room(dir: &Path) -> Result<(), HistoryError> {
    let there = dir.ancestors().find(|folder| folder.exists()).unwrap_or(Path::new("."));
    let disk = rustix::fs::statvfs(there).map_err(std::io::Error::from)?;
    is_enough(disk.f_bavail.saturating_mul(disk.f_frsize))
}

fn is_enough(free: u64) -> Result<(), HistoryError> {
    if free >= FREE_BYTES_MIN {
        return Ok(());
    }
    Err(HistoryError::Disk(format!(
        "it has {} MiB left, and {} are needed to open it",
        free >> 20,
        FREE_BYTES_MIN >> 20
    )))
}

/// sled may panic on what it finds on a damaged disk.
fn guarded<T>(work: impl FnOnce() -> Result<T, HistoryError>) -> Result<T, HistoryError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err(HistoryError::Store("sled panicked".into())))
}

impl SledStore {
    pub fn open(dir: &Path) -> Result<SledStore, HistoryError> {
        guarded(|| {
            has_room(dir)?;
            let config = sled::Config::new().path(dir).flush_every_ms(None).cache_capacity(CACHE_BYTES);
            let db = open_unlocked(&config)?;
            let [chunks, by_property, properties] =
                [CHUNKS, BY_PROPERTY, PROPERTIES].map(|tree| db.open_tree(tree));
            let store = SledStore {
                file: File::open(dir.join(FILE))?,
                db,
                chunks: chunks?,
                by_property: by_property?,
                properties: properties?,
            };
            // sled flushes its files, and no folder.
            sync_dir(dir)?;
            sync_dir(parent_of(dir))?;
            Ok(store)
        })
    }

    /// Lets go of a store that has not failed. What is to last of it was synced before.
    pub fn close(self) -> Result<(), HistoryError> {
        guarded(move || {
            drop(self);
            Ok(())
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

/// The command that the chunk of a key follows, and which part of it that is.
fn place_in(key: &[u8]) -> Result<(Lsn, u16), HistoryError> {
    let read =
        key.split_first_chunk::<8>().and_then(|(after, part)| Some((after, *part.first_chunk::<2>()?)));
    let (after, part) = read.ok_or(HistoryError::Damaged("a key that is too short"))?;
    Ok((Lsn(u64::from_be_bytes(*after)), u16::from_be_bytes(part)))
}

/// The parts of a new chunk as they are put. The first comes last, and the end of a process loses what was written last:
/// what has a first part has all.
fn parts(packed: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let parts: Vec<(u16, &[u8])> = (0..).zip(packed.chunks(PART_BYTES_MAX)).collect();
    parts.into_iter().rev()
}

/// The names of properties, a line each, in parts that are no longer than a chunk's.
fn parts_of_names(of: &BTreeSet<PropertyId>) -> Vec<String> {
    let mut parts = vec![String::new()];
    for property in of {
        let name = property.as_str();
        let last = parts.last_mut().expect("there is one");
        if last.len() + 1 + name.len() > PART_BYTES_MAX {
            parts.push(name.to_owned());
        } else {
            if !last.is_empty() {
                last.push('\n');
            }
            last.push_str(name);
        }
    }
    parts
}

impl SledStore {
    /// All parts of a chunk, of which one was there; `None` where it was never written to its end, or is gone meanwhile.
    fn whole(&self, after: Lsn) -> Result<Option<Vec<u8>>, HistoryError> {
        let mut packed = Vec::new();
        for (place, part) in self.chunks.scan_prefix(after.0.to_be_bytes()).enumerate() {
            let (key, bytes) = part?;
            if place == 0 && place_in(&key)?.1 != 0 {
                return Ok(None);
            }
            packed.extend_from_slice(&bytes);
        }
        if packed.is_empty() {
            return Ok(None);
        }
        unpack(packed).map(Some)
    }

    /// Puts a chunk where none is, part by part. It is several times cheaper than a batch.
    fn put_new<'p>(
        &self,
        after: Lsn,
        parts: impl Iterator<Item = (u16, &'p [u8])>,
        of: &BTreeSet<PropertyId>,
    ) -> Result<(), HistoryError> {
        // What a crash left of one that was not written to its end.
        if !self.told_of(after)?.is_empty() {
            self.unindex(after)?;
        }
        self.index(after, of)?;
        for (part, bytes) in parts {
            self.chunks.insert(key(after, part), bytes)?;
        }
        Ok(())
    }

    /// Puts a chunk in the place of one that was shorter, or was not written to its end: at once, or not at all.
    fn replace(
        &self,
        old: Vec<sled::IVec>,
        after: Lsn,
        packed: &[u8],
        of: &BTreeSet<PropertyId>,
    ) -> Result<(), HistoryError> {
        self.index(after, &self.told_of(after)?.union(of).cloned().collect())?;
        let mut batch = sled::Batch::default();
        old.into_iter().for_each(|key| batch.remove(key));
        for (part, bytes) in (0..).zip(packed.chunks(PART_BYTES_MAX)) {
            batch.insert(&key(after, part), bytes);
        }
        Ok(self.chunks.apply_batch(batch)?)
    }

    /// Notes what a chunk tells of, before it is kept: none is kept that can't be found, but where the power goes before the next
    /// flush. What was noted may not be kept.
    pub(super) fn index(&self, after: Lsn, of: &BTreeSet<PropertyId>) -> Result<(), HistoryError> {
        for (part, names) in (0..).zip(parts_of_names(of)) {
            self.properties.insert(key(after, part), names.as_bytes())?;
        }
        self.properties.remove(after.0.to_be_bytes())?;
        for property in of {
            self.by_property.insert(key_of(property, after), &[])?;
        }
        Ok(())
    }

    fn told_of(&self, after: Lsn) -> Result<BTreeSet<PropertyId>, HistoryError> {
        let unreadable = || HistoryError::Damaged("a property that is none");
        let mut told_of = BTreeSet::new();
        for names in self.properties.scan_prefix(after.0.to_be_bytes()).values() {
            let names = names?;
            let names = std::str::from_utf8(&names).map_err(|_| unreadable())?;
            for name in names.split('\n').filter(|name| !name.is_empty()) {
                told_of.insert(PropertyId::new(name).map_err(|_| unreadable())?);
            }
        }
        Ok(told_of)
    }

    fn unindex(&self, after: Lsn) -> Result<(), HistoryError> {
        let mut batch = sled::Batch::default();
        self.told_of(after)?.iter().for_each(|property| batch.remove(key_of(property, after)));
        self.by_property.apply_batch(batch)?;
        let mut batch = sled::Batch::default();
        for told in self.properties.scan_prefix(after.0.to_be_bytes()).keys() {
            batch.remove(told?);
        }
        Ok(self.properties.apply_batch(batch)?)
    }
}

impl Store for SledStore {
    fn put(&self, after: Lsn, frame: &[u8], of: &BTreeSet<PropertyId>) -> Result<(), HistoryError> {
        guarded(|| {
            let packed = pack(frame);
            let old = self.chunks.scan_prefix(after.0.to_be_bytes()).keys().collect::<Result<Vec<_>, _>>()?;
            if old.is_empty() {
                self.put_new(after, parts(&packed), of)
            } else {
                self.replace(old, after, &packed, of)
            }
        })
    }

    fn at_or_before(&self, after: Lsn) -> Result<Option<Vec<u8>>, HistoryError> {
        guarded(|| {
            let mut end = key(after, u16::MAX);
            loop {
                let nearest = self.chunks.range(..=end).next_back().transpose()?;
                let Some((found, _)) = nearest else { return Ok(None) };
                let (found, _) = place_in(&found)?;
                if let Some(frame) = self.whole(found)? {
                    return Ok(Some(frame));
                }
                let Some(before) = found.0.checked_sub(1) else { return Ok(None) };
                end = key(Lsn(before), u16::MAX);
            }
        })
    }

    fn place(&self, after: Lsn) -> Result<Option<Lsn>, HistoryError> {
        guarded(|| {
            let mut end = key(after, u16::MAX);
            while let Some((found, _)) = self.chunks.range(..=end).next_back().transpose()? {
                let (found, _) = place_in(&found)?;
                if self.chunks.contains_key(key(found, 0))? {
                    return Ok(Some(found));
                }
                let Some(before) = found.0.checked_sub(1) else { break };
                end = key(Lsn(before), u16::MAX);
            }
            Ok(None)
        })
    }

    fn next(&self, mut from: Lsn) -> Result<Option<Vec<u8>>, HistoryError> {
        guarded(|| {
            loop {
                let next = self.chunks.range(key(from, 0)..).next().transpose()?;
                let Some((found, _)) = next else { return Ok(None) };
                let (found, _) = place_in(&found)?;
                if let Some(frame) = self.whole(found)? {
                    return Ok(Some(frame));
                }
                from = found.next();
            }
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
            // What a crash left of chunks that were not written to their end, and else those that go now.
            for told in self.properties.range(key(from, 0)[..8].to_vec()..key(to, 0)[..8].to_vec()) {
                // In parts, or as one.
                let after = lsn_in(told?.0.get(..8).unwrap_or_default())?;
                if self.chunks.scan_prefix(after.0.to_be_bytes()).next().is_some() {
                    break;
                }
                self.unindex(after)?;
            }
            for part in self.chunks.range(key(from, 0)..key(to, 0)) {
                let (key, part) = part?;
                let (after, place) = place_in(&key)?;
                if bytes >= REMOVED_BYTES && last != Some(after) {
                    break;
                }
                if last != Some(after) {
                    self.unindex(after)?;
                    bytes += if place == 0 { frame_bytes(&part) } else { 0 };
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
            Ok(self.file.sync_data()?)
        })
    }

    fn has_room_for_more(&self) -> Result<(), HistoryError> {
        Ok(leave_room(&self.file, 0)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(names: &[&str]) -> BTreeSet<PropertyId> {
        names.iter().map(|name| PropertyId::new(name).unwrap()).collect()
    }

    #[test]
    fn nothing_is_opened_where_there_is_no_room() {
        assert!(is_enough(FREE_BYTES_MIN).is_ok());
        let error = is_enough(FREE_BYTES_MIN - 1).unwrap_err();
        assert!(matches!(&error, HistoryError::Disk(reason) if reason.contains("31 MiB left")), "{error}");
        let dir = tempfile::tempdir().unwrap();
        has_room(&dir.path().join("not/there/yet")).unwrap();
    }

    /// Bytes that don't get shorter.
    fn frame(seed: u64, bytes: usize) -> Vec<u8> {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        };
        (0..bytes).map(|_| next()).collect()
    }

    #[test]
    fn a_chunk_is_there_once_all_its_parts_are() {
        let (first, second) = (frame(1, 12_000), frame(2, 12_000));
        let (packed, grand) = (pack(&second), of(&["grand"]));
        assert_eq!(parts(&packed).count(), 3);
        for written in 0..=3 {
            let dir = tempfile::tempdir().unwrap();
            let store = SledStore::open(dir.path()).unwrap();
            store.put(Lsn(0), &first, &grand).unwrap();
            store.put_new(Lsn(100), parts(&packed).take(written), &grand).unwrap();
            store.sync().unwrap();
            drop(store);
            let store = SledStore::open(dir.path()).unwrap();
            let (place, newest, next) =
                if written == 3 { (100, &second, Some(&second)) } else { (0, &first, None) };
            let end = Lsn(u64::MAX);
            assert_eq!(store.place(end).unwrap(), Some(Lsn(place)), "{written} parts");
            assert_eq!(store.at_or_before(end).unwrap().as_ref(), Some(newest), "{written} parts");
            assert_eq!(store.next(Lsn(1)).unwrap().as_ref(), next, "{written} parts");
            // It is told anew.
            store.put(Lsn(100), &second, &grand).unwrap();
            assert_eq!(store.next(Lsn(1)).unwrap().as_ref(), Some(&second), "{written} parts");
        }
    }

    /// Larger pages go to files that sled never flushes.
    #[test]
    fn chunks_that_tell_of_hundreds_of_properties_are_kept_in_pages() {
        let dir = tempfile::tempdir().unwrap();
        let store = SledStore::open(dir.path()).unwrap();
        let names: BTreeSet<PropertyId> =
            (0..512).map(|n| PropertyId::new(&format!("{n:064}")).unwrap()).collect();
        for chunk in 0..100 {
            // As the last chunk is put, again and again.
            for part in 0..4 {
                let told: BTreeSet<_> = names.iter().take(128 * (part + 1)).cloned().collect();
                store.put(Lsn(chunk * 1_000), &frame(chunk, 1_000), &told).unwrap();
            }
        }
        store.sync().unwrap();
        assert_eq!(store.told_of(Lsn(5_000)).unwrap(), names);
        let blobs = dir.path().join("blobs");
        assert_eq!(fs::read_dir(blobs).map_or(0, Iterator::count), 0);
        // As an earlier build kept it, until it is put again.
        store.properties.insert(Lsn(5_000).0.to_be_bytes(), "inn".as_bytes()).unwrap();
        assert_eq!(store.told_of(Lsn(5_000)).unwrap().len(), 513);
        store.index(Lsn(5_000), &names).unwrap();
        assert_eq!(store.told_of(Lsn(5_000)).unwrap(), names);
        store.properties.insert(Lsn(5_000).0.to_be_bytes(), "inn".as_bytes()).unwrap();
        store.unindex(Lsn(5_000)).unwrap();
        assert_eq!(store.told_of(Lsn(5_000)).unwrap(), BTreeSet::new());
    }

    #[test]
    fn what_was_not_written_to_its_end_is_not_there_and_gives_way() {
        let dir = tempfile::tempdir().unwrap();
        let store = SledStore::open(dir.path()).unwrap();
        let (first, second) = (frame(1, 20_000), frame(2, 30_000));
        store.put(Lsn(0), &first, &of(&["grand"])).unwrap();
        store.put(Lsn(100), &second, &of(&["grand", "inn"])).unwrap();
        assert_eq!(store.at_or_before(Lsn(u64::MAX)).unwrap().as_ref(), Some(&second));
        // As a crash leaves it: the first part is written last.
        for part in 0..2 {
            assert!(store.chunks.remove(key(Lsn(100), part)).unwrap().is_some());
        }
        assert_eq!(store.at_or_before(Lsn(u64::MAX)).unwrap().as_ref(), Some(&first));
        assert_eq!(store.next(Lsn(1)).unwrap(), None);
        let again = frame(3, 6_000);
        store.put(Lsn(100), &again, &of(&["grand"])).unwrap();
        assert_eq!(store.next(Lsn(1)).unwrap().as_ref(), Some(&again));
        let more = frame(4, 40_000);
        store.put(Lsn(100), &more, &of(&["grand", "inn"])).unwrap();
        assert_eq!(store.at_or_before(Lsn(300)).unwrap().as_ref(), Some(&more));
        assert_eq!(store.first_of(&PropertyId::new("inn").unwrap(), Lsn(0)).unwrap(), Some(Lsn(100)));
        assert_eq!(store.remove_some(Lsn(0), Lsn(200)).unwrap(), 60_000);
        assert_eq!(store.at_or_before(Lsn(300)).unwrap(), None);
        assert_eq!(store.last_of(&PropertyId::new("grand").unwrap(), Lsn(300)).unwrap(), None);
    }
}
