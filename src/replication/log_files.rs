//! The log's files: records one after another, in files of some tens of mebibytes, of which the newest is written.
//!
//! Behind its last record the newest file holds zeros, a mebibyte at most. A flush of what is then written over them has data
//! to make durable and nothing else; one of a file that grows has its new size and room, too, for which ext4 writes its
//! journal: twice as long for twenty kilobytes. A log that is closed ends with its last record, and so does one that has
//! been [recovered](super::log_scan).
//!
//! A file is begun once the ones before it are durable, with a record of what they come to; so the oldest may be removed once
//! all their entries are purged and the record that says so is durable. Everything here blocks.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::durable;
use super::log_record::{LogRecord, LoggedPayload, Mark, RECORD_BYTES_MAX};
use super::log_scan::LogDamage;
use super::log_state::{LogIndex, LoggedState, Place};
use super::types::{LogId, Membership};
use crate::planted::{Bug, log_file_bytes, planted};

/// Of a file, at least: it ends with the record that comes so far. A restart reads all of them.
const FILE_BYTES: u64 = 32 << 20;
/// Zeros are written up to a multiple of this, and none behind a write as long: a flush of them takes a millisecond or more.
const AHEAD_BYTES: u64 = 1 << 20;
/// What is written of them at once. Memory that is asked for each time is cleared each time.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];
/// Of the memory in which records wait to be written, what is kept for the next ones.
const PENDING_KEPT_BYTES: usize = 4 << 20;
/// Read at once of entries that lie behind one another.
const READ_AHEAD_BYTES: usize = 256 << 10;

/// A log that is open.
#[derive(Debug)]
pub struct LogFiles {
    dir: PathBuf,
    index: LogIndex,
    /// Oldest first.
    full: VecDeque<FullFile>,
    newest: LogFile,
    /// Of each file.
    file_bytes: u64,
    /// Up to where the log has to be durable before a file is removed: behind the last purge, and the newest file's head.
    removable_at: u64,
    /// Records that are not written yet: the end of the newest file.
    pending: Vec<u8>,
}

#[derive(Debug)]
struct FullFile {
    file: LogFile,
    /// The last entry of the log when the file was full.
    last: Option<LogId>,
}

#[derive(Debug)]
struct LogFile {
    path: PathBuf,
    file: File,
    /// Bytes of the log before it.
    begins_at: u64,
    /// Bytes of its records, and of those that are known to be durable.
    written: u64,
    flushed: u64,
    /// Up to where it holds records or zeros.
    zeroed: u64,
}

/// Of a file's records, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileLength {
    pub written: u64,
    /// What is durable once a flush that comes now has returned: it flushes the newest file.
    pub flushed: u64,
}

/// Where a file lies, and how many bytes of the log come before it.
#[derive(Debug)]
pub struct Listed {
    pub path: PathBuf,
    pub begins_at: u64,
}

/// The files in `dir`, oldest first.
pub fn list(dir: &Path) -> io::Result<Vec<Listed>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if let Some(begins_at) = path.file_name().and_then(|name| position(name.to_str()?)) {
            files.push(Listed { path, begins_at });
        }
    }
    files.sort_by_key(|file| file.begins_at);
    Ok(files)
}

/// By the position at which a file begins, as raft-log 0.4 had it: `r-00_000_000_000_000_001_234.wal`.
pub fn file_name(begins_at: u64) -> String {
    let digits = format!("{begins_at:020}");
    let groups = digits.as_bytes().rchunks(3).rev().map(|group| String::from_utf8_lossy(group));
    format!("r-{}.wal", groups.collect::<Vec<_>>().join("_"))
}

fn position(name: &str) -> Option<u64> {
    let digits = name.strip_prefix("r-")?.strip_suffix(".wal")?.replace('_', "");
    let begins_at = digits.parse().ok()?;
    (file_name(begins_at) == name).then_some(begins_at)
}

impl LogFile {
    fn create(dir: &Path, begins_at: u64) -> io::Result<LogFile> {
        let path = dir.join(file_name(begins_at));
        let file = File::options().read(true).write(true).create_new(true).open(&path)?;
        durable::sync_dir(dir)?;
        Ok(LogFile { path, file, begins_at, written: 0, flushed: 0, zeroed: 0 })
    }

    /// The position behind its last record.
    fn end(&self) -> u64 {
        self.begins_at + self.written
    }

    /// Zeros end where the file may be full, so that it then ends with its last record.
    fn write(&mut self, records: &[u8], file_bytes: u64) -> io::Result<()> {
        self.file.write_all_at(records, self.written)?;
        self.written += records.len() as u64;
        if self.written > self.zeroed {
            let ahead = self.written.next_multiple_of(AHEAD_BYTES).min(file_bytes);
            let is_long = records.len() as u64 >= AHEAD_BYTES;
            // A disk without room for them may have some for records.
            let is_zeroed = !is_long && self.write_zeros(ahead).is_ok();
            self.zeroed = if is_zeroed { self.written.max(ahead) } else { self.written };
        }
        Ok(())
    }

    /// Behind its last record, up to here.
    fn write_zeros(&self, end: u64) -> io::Result<()> {
        let mut at = self.written;
        while at < end {
            let zeros = &ZEROS[..ZEROS.len().min((end - at) as usize)];
            self.file.write_all_at(zeros, at)?;
            at += zeros.len() as u64;
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.sync_data()?;
        self.flushed = self.written;
        Ok(())
    }
}

impl LogFiles {
    /// Opens the log in `dir`, once it has been [recovered](super::log_scan::recover), or begins one there, whose first record is
    /// not flushed yet.
    pub fn open(dir: &Path) -> Result<LogFiles, LogDamage> {
        let unreadable = |source| LogDamage::Unreadable { dir: dir.to_owned(), source };
        let mut index = LogIndex::default();
        let mut full = VecDeque::new();
        let mut newest: Option<LogFile> = None;
        // One for all files: the system clears new memory more slowly than it reads a file that it holds.
        let mut bytes = Vec::new();
        for listed in list(dir).map_err(unreadable)? {
            if let Some(file) = newest.take() {
                check_end(&file, listed.begins_at)?;
                full.push_back(FullFile { last: index.state.last, file });
            }
            newest =
                Some(read_file(listed, u64::MAX, &mut index, &mut bytes).map_err(|error| error.of(dir))?);
        }
        let is_new = newest.is_none();
        let newest = newest.map_or_else(|| LogFile::create(dir, 0), Ok).map_err(unreadable)?;
        let (dir, file_bytes) = (dir.to_owned(), log_file_bytes(FILE_BYTES));
        let mut log = LogFiles { dir, index, full, newest, file_bytes, removable_at: 0, pending: Vec::new() };
        if is_new {
            let head = log.put(&LogRecord::Checkpoint(LoggedState::default()));
            head.and_then(|()| log.write()).map_err(unreadable)?;
        }
        Ok(log)
    }

    /// What stands before damage at `offset` of `damaged`, to be read only; `None` where nothing does.
    pub fn open_before(dir: &Path, damaged: &Path, offset: u64) -> Result<Option<LogFiles>, LogDamage> {
        let unreadable = |source| LogDamage::Unreadable { dir: dir.to_owned(), source };
        let (mut index, mut full, mut bytes) = (LogIndex::default(), VecDeque::new(), Vec::new());
        let files = list(dir).map_err(unreadable)?.into_iter();
        for listed in files.take_while(|listed| listed.path.as_path() <= damaged) {
            let upto = if listed.path == damaged { offset } else { u64::MAX };
            let file = read_file(listed, upto, &mut index, &mut bytes).map_err(|error| error.of(dir))?;
            full.push_back(FullFile { last: index.state.last, file });
        }
        let Some(FullFile { file: newest, .. }) = full.pop_back() else { return Ok(None) };
        let (dir, file_bytes) = (dir.to_owned(), log_file_bytes(FILE_BYTES));
        Ok(Some(LogFiles { dir, index, full, newest, file_bytes, removable_at: 0, pending: Vec::new() }))
    }

    /// Bytes of the log before its oldest file: those of files that were removed.
    pub fn begins_at(&self) -> u64 {
        self.full.front().map_or(self.newest.begins_at, |oldest| oldest.file.begins_at)
    }

    pub fn state(&self) -> &LoggedState {
        &self.index.state
    }

    /// The position behind the last record, written or not.
    pub fn end(&self) -> Mark {
        Mark(self.newest.end() + self.pending.len() as u64)
    }

    /// Of each file, oldest first.
    pub fn lengths(&self) -> impl Iterator<Item = (&Path, FileLength)> {
        let full = self.full.iter().map(|FullFile { file, .. }| (file, file.flushed));
        let files = full.chain([(&self.newest, self.newest.written)]);
        files.map(|(file, flushed)| (&*file.path, FileLength { written: file.written, flushed }))
    }

    /// Puts a record behind the last one. One that can't come next is refused and changes nothing.
    pub fn push(&mut self, record: &LogRecord) -> io::Result<()> {
        self.put(record)?;
        if self.end().0 - self.newest.begins_at >= self.file_bytes {
            self.begin_file()?;
        }
        Ok(())
    }

    fn put(&mut self, record: &LogRecord) -> io::Result<()> {
        let (begins_at, at) = (self.pending.len(), self.end().0);
        record.encode(&mut self.pending);
        let noted = self.index.note(record, at, self.pending.len() - begins_at);
        if noted.is_err() {
            self.pending.truncate(begins_at);
        }
        noted
    }

    fn begin_file(&mut self) -> io::Result<()> {
        self.write()?;
        if !planted(Bug::BegunBeforeFlushed) {
            self.newest.flush()?;
        }
        let next = LogFile::create(&self.dir, self.newest.end())?;
        let file = std::mem::replace(&mut self.newest, next);
        self.full.push_back(FullFile { file, last: self.index.state.last });
        self.put(&LogRecord::Checkpoint(self.index.state))?;
        self.removable_at = self.end().0;
        Ok(())
    }

    /// Entries from `from` on are removed; what was committed must not be.
    pub fn truncate(&mut self, from: u64) -> io::Result<()> {
        let purged = self.index.state.purged;
        let before = from.checked_sub(1);
        let last = match before {
            Some(index) if purged.is_none_or(|purged| purged.index != index) => {
                let place = self.index.range(index, from).next();
                Some(place.map(|place| place.id).ok_or_else(|| gone(index))?)
            }
            _ => purged,
        };
        self.push(&LogRecord::TruncateAfter(last))
    }

    /// Entries up to this one are removed.
    pub fn purge(&mut self, upto: LogId) -> io::Result<()> {
        if self.index.state.purged.is_some_and(|purged| upto.index <= purged.index) {
            return Ok(());
        }
        self.push(&LogRecord::PurgeUpto(upto))?;
        self.removable_at = self.end().0;
        Ok(())
    }

    /// Writes what is pending: a killed process loses it no more, a power cut may.
    pub fn write(&mut self) -> io::Result<()> {
        self.newest.write(&self.pending, self.file_bytes)?;
        self.pending.clear();
        self.pending.shrink_to(PENDING_KEPT_BYTES);
        Ok(())
    }

    /// Makes all records durable.
    pub fn flush(&mut self) -> io::Result<()> {
        self.write()?;
        self.newest.flush()
    }

    /// Removes the files of which all entries are purged, once that is durable, and the state at the newest file's head.
    /// `durable`: up to where the log is.
    pub fn remove_purged(&mut self, durable: Mark) -> io::Result<()> {
        let purged = self.index.state.purged;
        let is_durable = durable.0 >= self.removable_at;
        while purged.is_some()
            && is_durable
            && let Some(FullFile { file, .. }) = self.full.pop_front_if(|full| full.last <= purged)
        {
            // One by one: a younger one that goes first would leave a gap.
            fs::remove_file(&file.path)?;
            durable::sync_dir(&self.dir)?;
        }
        Ok(())
    }

    /// Makes all records durable, and leaves no zeros behind the last one.
    pub fn close(mut self) -> io::Result<()> {
        self.write()?;
        self.newest.file.set_len(self.newest.written)?;
        self.newest.file.sync_all()
    }

    /// The entries of `[from, to)` that are there.
    pub fn read(&self, from: u64, to: u64) -> impl Iterator<Item = io::Result<(LogId, LoggedPayload)>> {
        let places = self.index.range(from, to);
        let mut read = ReadAhead::upto(self.index.range(from, to).next_back());
        places.map(move |place| self.read_at(place, &mut read))
    }

    /// The last membership that an entry holds.
    pub fn last_membership(&self) -> io::Result<Option<Membership>> {
        let place = self.index.range(0, u64::MAX).rfind(|place| place.is_membership);
        let Some(place) = place else { return Ok(None) };
        let (_, payload) = self.read_at(place, &mut ReadAhead::upto(Some(place)))?;
        payload.membership()
    }

    fn read_at(&self, place: &Place, read: &mut ReadAhead) -> io::Result<(LogId, LoggedPayload)> {
        let record = match place.at.checked_sub(self.newest.end()) {
            Some(at) => &self.pending[at as usize..][..place.bytes],
            None => read.record(self.file_at(place.at), place)?,
        };
        match LogRecord::decode(record)? {
            (LogRecord::Append(id, payload), _) if id == place.id => Ok((id, payload)),
            _ => Err(gone(place.id.index)),
        }
    }

    /// The file in which the position lies.
    fn file_at(&self, at: u64) -> &LogFile {
        if at >= self.newest.begins_at {
            return &self.newest;
        }
        let behind = self.full.partition_point(|full| full.file.begins_at <= at);
        &self.full[behind - 1].file
    }
}

/// What was read of a file, from a record on.
struct ReadAhead {
    at: u64,
    bytes: Vec<u8>,
    /// Nothing behind it is asked for.
    end: u64,
}

impl ReadAhead {
    fn upto(last: Option<&Place>) -> ReadAhead {
        ReadAhead { at: 0, bytes: Vec::new(), end: last.map_or(0, Place::end) }
    }

    /// A record of the file, which may have been read with the one before.
    fn record(&mut self, file: &LogFile, place: &Place) -> io::Result<&[u8]> {
        if place.at < self.at || place.end() > self.at + self.bytes.len() as u64 {
            let ahead = (file.end().min(self.end) - place.at).min(READ_AHEAD_BYTES as u64) as usize;
            self.bytes.resize(ahead.max(place.bytes), 0);
            self.at = place.at;
            file.file.read_exact_at(&mut self.bytes, place.at - file.begins_at)?;
        }
        Ok(&self.bytes[(place.at - self.at) as usize..][..place.bytes])
    }
}

fn gone(index: u64) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("the log holds no entry {index}"))
}

/// Why a file could not be read.
enum NotRead {
    Damage(LogDamage),
    Io(io::Error),
}

impl NotRead {
    fn of(self, dir: &Path) -> LogDamage {
        match self {
            NotRead::Damage(damage) => damage,
            NotRead::Io(source) => LogDamage::Unreadable { dir: dir.to_owned(), source },
        }
    }
}

/// Reads a file up to a place in it into `bytes`, in place of what they held, and notes its records.
fn read_file(
    listed: Listed,
    upto: u64,
    index: &mut LogIndex,
    bytes: &mut Vec<u8>,
) -> Result<LogFile, NotRead> {
    let Listed { path, begins_at } = listed;
    bytes.clear();
    let file = File::options().read(true).write(true).open(&path).map_err(NotRead::Io)?;
    (&file).take(upto).read_to_end(bytes).map_err(NotRead::Io)?;
    let mut at = 0;
    while at < bytes.len() {
        let read = LogRecord::decode(&bytes[at..bytes.len().min(at + RECORD_BYTES_MAX)]);
        let noted = read.and_then(|(record, length)| {
            index.note(&record, begins_at + at as u64, length)?;
            Ok(length)
        });
        at += noted.map_err(|error| {
            let reason = error.to_string();
            NotRead::Damage(LogDamage::Damaged { file: path.clone(), offset: at as u64, reason })
        })?;
    }
    let written = bytes.len() as u64;
    Ok(LogFile { path, file, begins_at, written, flushed: written, zeroed: written })
}

/// A file ends where the next one begins.
fn check_end(file: &LogFile, next_begins_at: u64) -> Result<(), LogDamage> {
    let (offset, wanted) = (file.written, next_begins_at.saturating_sub(file.begins_at));
    if offset == wanted {
        return Ok(());
    }
    let reason = format!(
        "it ends here, and the next file was begun after {wanted} bytes of this one had been flushed"
    );
    Err(LogDamage::Damaged { file: file.path.clone(), offset, reason })
}
