//! Snapshots: files that hold the whole ledger at one position of the log.
//!
//! A file is a frame with the position, the membership and the ledger's header, frames with runs of its records, and a
//! frame with their number and a checksum over all before it. It is written under a temporary name, flushed, and
//! renamed; the two newest are kept. Neither writing nor reading one ever holds the whole state encoded in memory.

mod read;

use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::codec::{self, CodecError, Kind, ReadError, Run};
use super::disk::{Disk, blocking};
use super::durable::{self, NewFile};
use super::types::{LogId, RaftSnapshotMeta, StoredMembership};
use crate::ledger::{Damage, Header, Ledger, Persisted};
use read::Content;

/// Snapshots that are kept. The log reaches back to the older one, unless a leader sent the newer.
pub const KEPT: usize = 2;
/// A frame of records is written when it has grown to this. Tests get by with little, so that there are many.
const FRAME_BYTES: usize = if cfg!(test) { 16 << 10 } else { 256 << 10 };
const BUFFER_BYTES: usize = 1 << 20;
const EXTENSION: &str = "snapshot";

/// Which state a snapshot holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotMeta {
    /// The last entry of the log that it includes.
    pub last_log_id: Option<LogId>,
    pub membership: StoredMembership,
}

impl From<&RaftSnapshotMeta> for SnapshotMeta {
    fn from(meta: &RaftSnapshotMeta) -> SnapshotMeta {
        SnapshotMeta { last_log_id: meta.last_log_id, membership: meta.last_membership.clone() }
    }
}

impl From<&SnapshotMeta> for RaftSnapshotMeta {
    fn from(meta: &SnapshotMeta) -> RaftSnapshotMeta {
        RaftSnapshotMeta { last_log_id: meta.last_log_id, last_membership: meta.membership.clone() }
    }
}

impl SnapshotMeta {
    pub fn index(&self) -> Option<u64> {
        self.last_log_id.map(|id| id.index)
    }

    /// Names sort as positions do.
    fn file_name(&self) -> String {
        let (index, term, node) =
            self.last_log_id.map_or((0, 0, 0), |id| (id.index, id.leader_id.term, id.leader_id.node_id));
        format!("{index:020}-{term:020}-{node:020}.{EXTENSION}")
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct SnapshotHeader {
    meta: SnapshotMeta,
    ledger: Header,
}

#[derive(Debug, Serialize, Deserialize)]
struct SnapshotTrailer {
    records: u64,
    /// CRC-32C over all bytes before the trailer.
    checksum: u32,
}

/// Why a snapshot can't be written, read or taken.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    #[error("the snapshot {file}: {source}")]
    Io { file: PathBuf, source: io::Error },
    #[error("the snapshot {file} is damaged or of an unknown version: {source}")]
    Codec { file: PathBuf, source: CodecError },
    #[error("the snapshot {file} is damaged: {reason}")]
    Incomplete { file: PathBuf, reason: String },
    #[error("the snapshot {file} is damaged: {source}")]
    Ledger { file: PathBuf, source: Box<Damage> },
}

impl From<SnapshotError> for io::Error {
    fn from(error: SnapshotError) -> io::Error {
        match error {
            SnapshotError::Io { ref source, .. } => io::Error::new(source.kind(), error),
            _ => io::Error::new(io::ErrorKind::InvalidData, error),
        }
    }
}

impl SnapshotError {
    fn io(file: &Path) -> impl FnOnce(io::Error) -> SnapshotError + '_ {
        |source| SnapshotError::Io { file: file.to_owned(), source }
    }

    fn codec(file: &Path) -> impl FnOnce(CodecError) -> SnapshotError + '_ {
        |source| SnapshotError::Codec { file: file.to_owned(), source }
    }

    fn read(file: &Path, error: ReadError) -> SnapshotError {
        match error {
            ReadError::Io(source) => SnapshotError::Io { file: file.to_owned(), source },
            ReadError::Codec(source) => SnapshotError::Codec { file: file.to_owned(), source },
        }
    }
}

/// A finished snapshot. Its content stays readable through this even after the store has removed it.
#[derive(Clone, Debug)]
pub struct SnapshotFile {
    path: PathBuf,
    meta: SnapshotMeta,
    length: u64,
    file: Arc<File>,
    found: Arc<Found>,
    /// Removes a received file that nobody adopted.
    received: Option<Arc<NewFile>>,
}

/// What checks of a snapshot's content have found, for all who hold it.
#[derive(Debug, Default)]
struct Found {
    /// Stays so: what can't be read to its end once is replaced.
    damaged: AtomicBool,
    /// Of all but the end, where the last check found it sound.
    checksum: Mutex<Option<u32>>,
    /// Held while the content is read, so that nobody reads it who can wait for what another one finds.
    reading: Mutex<()>,
}

impl Found {
    fn checksum(&self) -> MutexGuard<'_, Option<u32>> {
        self.checksum.lock().expect("no panic while a checksum is locked")
    }
}

impl SnapshotFile {
    fn new(path: &Path, meta: SnapshotMeta) -> io::Result<SnapshotFile> {
        let file = File::open(path)?;
        let length = file.metadata()?.len();
        Ok(SnapshotFile {
            path: path.to_owned(),
            meta,
            length,
            file: Arc::new(file),
            found: Arc::default(),
            received: None,
        })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn meta(&self) -> &SnapshotMeta {
        &self.meta
    }

    /// Whether somebody else holds it.
    fn is_read(&self) -> bool {
        Arc::strong_count(&self.file) > 1
    }

    /// Whether the other is a clone of this one: a file that was written in the place of another is not.
    pub(super) fn is_same(&self, other: &SnapshotFile) -> bool {
        Arc::ptr_eq(&self.found, &other.found)
    }

    /// Whether a [`check`](SnapshotFile::check) has failed.
    pub fn is_damaged(&self) -> bool {
        self.found.damaged.load(Ordering::Relaxed)
    }

    /// Bytes.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> u64 {
        self.length
    }

    /// Reads from the beginning, independently of other readers. Blocks on the disk.
    pub fn reader(&self) -> impl Read + Send + use<> {
        self.reader_at(0)
    }

    fn reader_at(&self, at: u64) -> FileReader {
        FileReader { file: self.file.clone(), at }
    }

    /// Up to so many bytes from `offset` on; fewer only at the end. Blocks, as long as it takes to read a piece.
    pub fn piece(&self, offset: u64, bytes: usize) -> io::Result<Vec<u8>> {
        let mut piece = Vec::with_capacity(bytes);
        self.reader_at(offset).take(bytes as u64).read_to_end(&mut piece)?;
        Ok(piece)
    }

    /// Reads the whole snapshot and compares its checksums, which is a small part of what loading it takes; gives the one
    /// over all but its end. Blocks.
    pub fn check(&self) -> Result<u32, SnapshotError> {
        let checked = self.checksum();
        *self.found.checksum() = checked.as_ref().ok().copied();
        if checked.is_err() {
            self.found.damaged.store(true, Ordering::Relaxed);
        }
        checked
    }

    /// What the last [`check`](SnapshotFile::check) gave, where it is not in doubt.
    pub fn checked(&self) -> Option<u32> {
        *self.found.checksum()
    }

    /// As [`check`](SnapshotFile::check), where that is not known yet. Waits for one that is under way.
    pub fn check_once(&self) -> Result<u32, SnapshotError> {
        // It guards no value that a panic could have left half changed.
        let _reading = self.found.reading.lock().unwrap_or_else(PoisonError::into_inner);
        self.checked().map_or_else(|| self.check(), Ok)
    }

    /// The content may be another than it was when it was checked: it is read again before it is sent.
    pub fn doubt(&self) {
        *self.found.checksum() = None;
    }

    fn checksum(&self) -> Result<u32, SnapshotError> {
        let mut content = Content::open(&self.path, self.reader());
        self.expects(&content.header()?)?;
        content.check()
    }

    fn expects(&self, header: &SnapshotHeader) -> Result<(), SnapshotError> {
        if header.meta == self.meta {
            return Ok(());
        }
        let reason = "it holds another position than was announced".into();
        Err(SnapshotError::Incomplete { file: self.path.clone(), reason })
    }

    /// Reads and verifies the whole snapshot. Blocks.
    pub fn load(&self) -> Result<Ledger, SnapshotError> {
        let mut content = Content::open(&self.path, self.reader());
        let header = content.header()?;
        self.expects(&header)?;
        content.restore(header.ledger)
    }
}

struct FileReader {
    file: Arc<File>,
    at: u64,
}

impl Read for FileReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.file.read_at(buffer, self.at)?;
        self.at += length as u64;
        Ok(length)
    }
}

/// The snapshots of one group, in one folder.
pub struct SnapshotStore {
    dir: PathBuf,
    /// Newest first, at most [`KEPT`].
    kept: Mutex<Vec<SnapshotFile>>,
    /// Makes the names of unfinished files unique.
    unfinished: AtomicU64,
    /// Held by who changes what is kept.
    keeping: Mutex<()>,
}

/// What the folder held: the newest good snapshot, and those newer ones that could not be read.
pub struct Newest {
    pub loaded: Option<(SnapshotMeta, Ledger)>,
    pub damaged: Vec<SnapshotError>,
}

impl SnapshotStore {
    /// Opens the folder, removes unfinished files and loads the newest good snapshot. Blocks.
    pub fn open(dir: &Path) -> Result<(SnapshotStore, Newest), SnapshotError> {
        durable::create_dir(dir).map_err(SnapshotError::io(dir))?;
        durable::remove_temporary_files(dir).map_err(SnapshotError::io(dir))?;
        let mut newest = Newest { loaded: None, damaged: Vec::new() };
        let mut kept = Vec::new();
        for path in snapshot_paths(dir).map_err(SnapshotError::io(dir))?.into_iter().rev() {
            let found = read_meta(&path).and_then(|meta| {
                let file = SnapshotFile::new(&path, meta).map_err(SnapshotError::io(&path))?;
                // Only the newest is needed now; an older one is verified if ever it is.
                let ledger = if newest.loaded.is_none() { Some(file.load()?) } else { None };
                Ok((file, ledger))
            });
            match found {
                Ok((file, ledger)) => {
                    newest.loaded = newest.loaded.or(ledger.map(|ledger| (file.meta.clone(), ledger)));
                    kept.push(file);
                }
                Err(error) => newest.damaged.push(error),
            }
        }
        kept.truncate(KEPT);
        let store = SnapshotStore {
            dir: dir.to_owned(),
            kept: Mutex::new(kept),
            unfinished: AtomicU64::new(0),
            keeping: Mutex::new(()),
        };
        Ok((store, newest))
    }

    pub fn newest(&self) -> Option<SnapshotFile> {
        self.kept().into_iter().next()
    }

    /// Newest first.
    pub fn kept(&self) -> Vec<SnapshotFile> {
        self.kept.lock().expect("no panic while the list of snapshots is locked").clone()
    }

    /// Up to which index the log may be purged: the older of the two kept snapshots must be able to replay the rest.
    pub fn purge_upto(&self) -> Option<u64> {
        self.kept().get(KEPT - 1).and_then(|older| older.meta.index())
    }

    /// Writes the ledger as it stood at `meta`. Blocks.
    pub fn write(&self, meta: SnapshotMeta, ledger: &Ledger) -> Result<SnapshotFile, SnapshotError> {
        let file = self.new_file("built")?;
        let path = file.path().to_owned();
        let mut writer = ContentWriter { writer: BufWriter::with_capacity(BUFFER_BYTES, file), checksum: 0 };
        let header = SnapshotHeader { meta: meta.clone(), ledger: ledger.header() };
        writer.write(codec::encode(Kind::SnapshotHeader, &header), &path)?;
        let mut run = Run::new(Kind::SnapshotRecords);
        let mut records = 0;
        for record in ledger.persisted() {
            let kind = match &record {
                Persisted::Plain(_) => Kind::SnapshotRecords,
                Persisted::Packed(_) => Kind::SnapshotReservations,
            };
            if run.kind() != kind || run.bytes() >= FRAME_BYTES {
                let full = std::mem::replace(&mut run, Run::new(kind));
                writer.write(full.finish(), &path)?;
            }
            let pushed = match &record {
                Persisted::Plain(record) => run.push(record),
                Persisted::Packed(packed) => run.push_part(packed.as_bytes()),
            };
            pushed.map_err(SnapshotError::codec(&path))?;
            records += 1;
        }
        writer.write(run.finish(), &path)?;
        let trailer = SnapshotTrailer { records, checksum: writer.checksum };
        writer.write(codec::encode(Kind::SnapshotTrailer, &trailer), &path)?;
        let file =
            writer.writer.into_inner().map_err(|error| SnapshotError::io(&path)(error.into_error()))?;
        self.keep(&file, meta)
    }

    /// Begins to take a snapshot from a peer.
    pub fn begin_receive(&self) -> Result<IncomingSnapshot, SnapshotError> {
        Ok(IncomingSnapshot { file: self.new_file("received")?, received: 0 })
    }

    /// Makes a snapshot that was received, or that lies in another folder, one of this folder. Blocks.
    pub fn adopt(&self, snapshot: &SnapshotFile) -> Result<SnapshotFile, SnapshotError> {
        if snapshot.path == self.dir.join(snapshot.meta.file_name()) {
            return Ok(snapshot.clone());
        }
        if let Some(received) = snapshot.received.as_ref().filter(|file| file.path().starts_with(&self.dir)) {
            return self.keep(received, snapshot.meta.clone());
        }
        let mut copy = self.new_file("copied")?;
        let path = copy.path().to_owned();
        io::copy(&mut snapshot.reader(), &mut copy).map_err(SnapshotError::io(&path))?;
        self.keep(&copy, snapshot.meta.clone())
    }

    fn new_file(&self, purpose: &str) -> Result<NewFile, SnapshotError> {
        let number = self.unfinished.fetch_add(1, Ordering::Relaxed);
        NewFile::create(&self.dir, &format!("{purpose}-{number}")).map_err(SnapshotError::io(&self.dir))
    }

    /// Gives a complete file its name, durably, and removes what is then too old.
    fn keep(&self, file: &NewFile, meta: SnapshotMeta) -> Result<SnapshotFile, SnapshotError> {
        // Not the list's own lock, which everybody takes who asks for it: flushing and removing large files takes time.
        let _one_by_one = self.keeping.lock().expect("no panic while a snapshot is kept");
        let path = self.dir.join(meta.file_name());
        file.finish(&path).map_err(SnapshotError::io(&path))?;
        let snapshot = SnapshotFile::new(&path, meta).map_err(SnapshotError::io(&path))?;
        let (kept, given_up) = {
            let mut kept = self.kept.lock().expect("no panic while the list of snapshots is locked");
            kept.retain(|other| other.path != path);
            kept.push(snapshot.clone());
            kept.sort_by_key(|snapshot| std::cmp::Reverse(snapshot.meta.last_log_id));
            let given_up = kept.iter().skip(KEPT).cloned().collect::<Vec<_>>();
            kept.truncate(KEPT);
            (kept.clone(), given_up)
        };
        for old in snapshot_paths(&self.dir).map_err(SnapshotError::io(&self.dir))? {
            if kept.iter().all(|snapshot| snapshot.path != old) {
                // Nobody can begin to read it any more. Who does already reads on, whatever its name.
                let is_read = given_up.iter().any(|snapshot| snapshot.path == old && snapshot.is_read());
                let removed = if is_read { fs::remove_file(&old) } else { durable::remove(&old) };
                removed.map_err(SnapshotError::io(&old))?;
            }
        }
        durable::sync_dir(&self.dir).map_err(SnapshotError::io(&self.dir))?;
        Ok(snapshot)
    }
}

struct ContentWriter {
    writer: BufWriter<NewFile>,
    checksum: u32,
}

impl ContentWriter {
    fn write(&mut self, frame: Result<Vec<u8>, CodecError>, path: &Path) -> Result<(), SnapshotError> {
        let frame = frame.map_err(SnapshotError::codec(path))?;
        self.checksum = crc32c::crc32c_append(self.checksum, &frame);
        self.writer.write_all(&frame).map_err(SnapshotError::io(path))
    }
}

/// A snapshot under way from a peer. Dropped, it leaves nothing behind.
pub struct IncomingSnapshot {
    file: NewFile,
    received: u64,
}

impl IncomingSnapshot {
    /// Bytes taken so far.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Takes the next piece where that may block. After an error, or given up, nothing is left of what came before.
    pub async fn take(mut self, piece: Bytes, disk: &dyn Disk) -> Result<IncomingSnapshot, SnapshotError> {
        let path = self.file.path().to_owned();
        let written = blocking(disk, move || self.write(&piece).map(|()| self)).await;
        written.map_err(SnapshotError::io(&path))?
    }

    /// Takes the next piece. Blocks on the disk.
    pub fn write(&mut self, piece: &[u8]) -> Result<(), SnapshotError> {
        self.file.write_all(piece).map_err(SnapshotError::io(self.file.path()))?;
        self.received += piece.len() as u64;
        Ok(())
    }

    /// Verifies every frame and the whole. Blocks. The file goes with its last clone unless it is
    /// [adopted](SnapshotStore::adopt).
    pub fn finish(self) -> Result<SnapshotFile, SnapshotError> {
        let path = self.file.path().to_owned();
        let mut content = Content::open(&path, File::open(&path).map_err(SnapshotError::io(&path))?);
        let meta = content.header()?.meta;
        content.read_to_end()?;
        let snapshot = SnapshotFile::new(&path, meta).map_err(SnapshotError::io(&path))?;
        Ok(SnapshotFile { received: Some(Arc::new(self.file)), ..snapshot })
    }
}

/// By position, oldest first.
fn snapshot_paths(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == EXTENSION) {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

/// Whether the folder holds a snapshot, good or not.
pub fn exists(dir: &Path) -> io::Result<bool> {
    Ok(dir.is_dir() && !snapshot_paths(dir)?.is_empty())
}

fn read_meta(path: &Path) -> Result<SnapshotMeta, SnapshotError> {
    let file = File::open(path).map_err(SnapshotError::io(path))?;
    let header = Content::open(path, file).header()?;
    if path.file_name().is_some_and(|name| name.to_string_lossy() == header.meta.file_name()) {
        return Ok(header.meta);
    }
    let reason = "it holds another position than its name says".into();
    Err(SnapshotError::Incomplete { file: path.to_owned(), reason })
}
