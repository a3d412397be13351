//! How far the log was flushed, told beside it.
//!
//! A log that was cut off at its end, by a disk or by somebody, looks like one that a power cut tore: only something
//! outside of it can tell. So the position up to which it was flushed stands in a small file of its own, written after each
//! flush. That file is flushed more seldom: after a power cut it may tell of an earlier flush, never of a later one.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use super::durable;
use super::log_record::Mark;

/// So much of the log is flushed, at most, before what is told of it is, too: as much as a file of it holds.
const TOLD_BYTES: u64 = 32 << 20;

/// The position up to which the log is durable: in memory, and beside the log for the next start.
#[derive(Debug)]
pub struct Flushed {
    position: AtomicU64,
    /// `None` once it could not be written: the log itself is whole without it.
    note: Mutex<Option<Note>>,
}

#[derive(Debug)]
struct Note {
    file: File,
    /// The position that it tells even after a power cut.
    durable: u64,
}

impl Note {
    fn write(&mut self, upto: Mark) -> io::Result<()> {
        self.file.write_all_at(line(upto).as_bytes(), 0)?;
        if upto.0.saturating_sub(self.durable) >= TOLD_BYTES {
            self.file.sync_data()?;
            self.durable = upto.0;
        }
        Ok(())
    }
}

impl Flushed {
    /// `upto` is where the log in `dir` ends, all of which is durable.
    pub fn begin(dir: &Path, upto: Mark) -> Flushed {
        let file = open_at(&path(dir), upto).map_err(|error| not_noted(&error)).ok();
        let note = file.map(|file| Note { file, durable: upto.0 });
        Flushed { position: AtomicU64::new(upto.0), note: Mutex::new(note) }
    }

    pub fn mark(&self) -> Mark {
        Mark(self.position.load(Ordering::Acquire))
    }

    /// A flush of all before `upto` has returned. It is still to be [noted](Flushed::note).
    pub fn advance(&self, upto: Mark) {
        self.position.fetch_max(upto.0, Ordering::AcqRel);
    }

    /// Writes down how far the log is durable. Nobody has to wait for that: what is told may be of an earlier flush.
    pub fn note(&self) {
        let mut note = self.note.lock().expect("no panic while the note is locked");
        let upto = self.mark();
        if let Some(error) = note.as_mut().and_then(|note| note.write(upto).err()) {
            not_noted(&error);
            *note = None;
        }
    }
}

/// A disk that is full has room for what is written over.
fn open_at(path: &Path, upto: Mark) -> io::Result<File> {
    if !path.exists() {
        durable::write(path, line(upto).as_bytes())?;
    }
    let (file, line) = (File::options().write(true).open(path)?, line(upto));
    file.write_all_at(line.as_bytes(), 0)?;
    file.set_len(line.len() as u64)?;
    file.sync_all()?;
    Ok(file)
}

/// The log itself is whole without it.
fn not_noted(error: &io::Error) {
    tracing::warn!(%error, "how far the log is flushed can't be noted: that it was cut off would not be noticed");
}

/// What was told of the log in `dir`; `None` where nothing sound is there. `is_due`: the log has been served before. Builds
/// before this file told nothing.
pub fn read(dir: &Path, is_due: bool) -> io::Result<Option<Mark>> {
    let path = path(dir);
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if is_due {
                let file = path.display();
                tracing::warn!(%file, "how far the log was flushed is not noted: whether its end was cut off is not known");
            }
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    let told = parse(&text);
    if told.is_none() {
        let file = path.display();
        tracing::warn!(%file, "how far the log was flushed can't be read: whether its end was cut off is not known");
    }
    Ok(told)
}

fn path(dir: &Path) -> PathBuf {
    dir.with_extension("flushed")
}

/// Always of one length, so that a write in place replaces it whole: the bytes of the log, and their checksum.
fn line(upto: Mark) -> String {
    let position = format!("{:020}", upto.0);
    let checksum = crc32c::crc32c(position.as_bytes());
    format!("{position} {checksum:08x}\n")
}

fn parse(text: &[u8]) -> Option<Mark> {
    let position = std::str::from_utf8(text).ok()?.split(' ').next()?.parse().ok().map(Mark)?;
    (line(position).as_bytes() == text).then_some(position)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_flushed_is_told_to_the_next_start() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        assert_eq!(read(&log, false).unwrap(), None);
        let flushed = Flushed::begin(&log, Mark(7));
        assert_eq!(read(&log, true).unwrap(), Some(Mark(7)));
        for upto in [u64::MAX, 12] {
            flushed.advance(Mark(upto));
            flushed.note();
        }
        assert_eq!((read(&log, true).unwrap(), flushed.mark()), (Some(Mark(u64::MAX)), Mark(u64::MAX)));
    }

    #[test]
    fn what_is_told_is_flushed_once_a_files_worth_of_the_log_is() {
        let dir = tempfile::tempdir().unwrap();
        let flushed = Flushed::begin(&dir.path().join("log"), Mark(7));
        let durable = |upto| {
            flushed.advance(Mark(upto));
            flushed.note();
            flushed.note.lock().unwrap().as_ref().unwrap().durable
        };
        assert_eq!(durable(TOLD_BYTES), 7);
        assert_eq!(durable(TOLD_BYTES + 7), TOLD_BYTES + 7);
        assert_eq!(durable(2 * TOLD_BYTES), TOLD_BYTES + 7);
    }

    #[test]
    fn nothing_is_believed_that_is_not_sound() {
        let sound = line(Mark(1_234));
        assert_eq!(parse(sound.as_bytes()), Some(Mark(1_234)));
        for at in 0..sound.len() {
            let mut damaged = sound.clone().into_bytes();
            damaged[at] ^= 1;
            assert_eq!(parse(&damaged), None, "byte {at}");
            assert_eq!(parse(&sound.as_bytes()[..at]), None, "cut at {at}");
        }
    }
}
