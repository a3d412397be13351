//! A look at the log's files before they are opened: torn by a crash, or damaged later?
//!
//! A crash leaves the zeros that are written ahead of the records, and maybe a torn tail before them: bytes that were written
//! and not flushed, so nobody was told of them, and cutting them is right. Four things tell a torn tail from a record that was
//! damaged on the disk, behind which nothing may be forgotten:
//!
//! - [How far the log was flushed](super::log_flushed) is told beside it: what is wrong or missing before that is damage.
//! - A later valid record whose [mark](super::log_record::Mark) lies beyond the damaged one was written after the
//!   damaged one had been flushed: it is damage.
//! - A file is begun only after the ones before it were flushed: anything wrong in those is damage.
//! - A torn write lacks whole sectors, at its end or in its middle; what a disk turns over does not look like that.
//!
//! Damage refuses to open. Without what is told beside the log it can't always be told of its end: a record that announces
//! more bytes than stand before the zeros is cut, as is one that ends early, or whose first bytes turned over where nothing but
//! zeros follows in their sector.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::durable;
use super::identity::GO_ON_WITHOUT;
use super::log_files::{self, Listed};
use super::log_record::{LogRecord, Mark, RECORD_BYTES_MAX, TYPE_BYTES};
use crate::planted::{Bug, planted};

/// What a disk writes or does not write as one.
const SECTOR_BYTES: usize = 512;

/// Something that was durable is no longer readable.
#[derive(Debug, thiserror::Error)]
pub enum LogDamage {
    #[error(
        "the log is damaged: {file}, byte {offset}: {reason}. The entries from there on were durable and can't be \
         read. Check the disk. {GO_ON_WITHOUT}"
    )]
    Damaged { file: PathBuf, offset: u64, reason: String },
    #[error("the log in {dir} can't be read: {source}")]
    Unreadable { dir: PathBuf, source: io::Error },
}

/// Cuts zeros and a torn tail, refuses damage, and makes all that is left durable: what a process wrote before it was killed may
/// still be in memory only, and from now on counts as durable. `flushed`: how far it is known to have been flushed.
pub fn recover(dir: &Path, flushed: Option<Mark>) -> Result<(), LogDamage> {
    let unreadable = |source| LogDamage::Unreadable { dir: dir.to_owned(), source };
    let mut files = log_files::list(dir).map_err(unreadable)?;
    while let Some(newest) = files.pop() {
        let bytes = fs::read(&newest.path).map_err(unreadable)?;
        let Scan { valid_bytes, is_torn } = scan(&newest, &bytes, flushed)?;
        if is_torn {
            if planted(Bug::TornTailKept) {
                break;
            }
            let (file, torn) = (newest.path.display(), unfinished(&bytes[valid_bytes..]));
            // One that was begun and not written has nothing to lose.
            if torn > 0 {
                tracing::warn!(%file, offset = valid_bytes, bytes = torn, "cutting what a crash left of an unfinished write");
            }
        }
        if valid_bytes > 0 {
            if valid_bytes < bytes.len() {
                let file = File::options().write(true).open(&newest.path).map_err(unreadable)?;
                file.set_len(valid_bytes as u64).and_then(|()| file.sync_all()).map_err(unreadable)?;
            }
            break;
        }
        // Not even the head of the file. An earlier build began one before the one before it was flushed.
        fs::remove_file(&newest.path).and_then(|()| durable::sync_dir(dir)).map_err(unreadable)?;
    }
    write_again(dir, flushed).and_then(|()| sync_files(dir)).map_err(unreadable)
}

/// Writes over themselves the bytes that are not known to have been flushed; of the newest file all, where nothing is known.
///
/// After a flush that failed the system takes what it could not write for written: it is read as if it were there, and
/// another flush has nothing to do (Rebello et al., "Can Applications Recover from fsync Failures?", USENIX ATC 2020). What is
/// written again is flushed again, or the disk says once more that it can't.
fn write_again(dir: &Path, flushed: Option<Mark>) -> io::Result<()> {
    let files = log_files::list(dir)?;
    let of_newest = files.last().map_or(0, |newest| newest.begins_at);
    let known = flushed.map_or(of_newest, |flushed| flushed.0);
    for Listed { path, begins_at } in files {
        let length = fs::metadata(&path)?.len();
        let from = known.saturating_sub(begins_at);
        if from >= length {
            continue;
        }
        let file = File::options().read(true).write(true).open(&path)?;
        let mut bytes = vec![0; (length - from) as usize];
        file.read_exact_at(&mut bytes, from)?;
        file.write_all_at(&bytes, from)?;
    }
    Ok(())
}

/// Flushes every file of the log and its folder.
pub fn sync_files(dir: &Path) -> io::Result<()> {
    for file in log_files::list(dir)? {
        File::open(&file.path)?.sync_all()?;
    }
    durable::sync_dir(dir)
}

/// Whether the folder holds a log, or anything of one.
pub fn exists(dir: &Path) -> io::Result<bool> {
    Ok(dir.is_dir() && !log_files::list(dir)?.is_empty())
}

/// What a look at the newest file found.
struct Scan {
    /// Of sound records, from its beginning on. Behind them lie zeros, if anything, or what was never durable.
    valid_bytes: usize,
    is_torn: bool,
}

fn scan(file: &Listed, bytes: &[u8], flushed: Option<Mark>) -> Result<Scan, LogDamage> {
    let mut at = 0;
    // The first file of a log that was begun and not written is as torn as any.
    let error = loop {
        if at > 0 && is_zero(&bytes[at..]) {
            break None;
        }
        match record_at(bytes, at) {
            Ok((length, _)) => at += length,
            Err(error) => break Some(error),
        }
    };
    let damaged = |reason: String| LogDamage::Damaged { file: file.path.clone(), offset: at as u64, reason };
    let damage_at = file.begins_at + at as u64;
    let missing = flushed.map_or(0, |flushed| flushed.0.saturating_sub(damage_at));
    if missing > 0 && !planted(Bug::DamageTakenForTorn) {
        let found = error.map_or_else(|| "it ends here".to_owned(), |error| error.to_string());
        return Err(damaged(format!("{found}, and {missing} bytes from here on had been flushed")));
    }
    let Some(error) = error else { return Ok(Scan { valid_bytes: at, is_torn: false }) };
    let torn = Scan { valid_bytes: at, is_torn: true };
    if planted(Bug::DamageTakenForTorn) {
        return Ok(torn);
    }
    // The zeros behind the sector of the last byte that is none were there before: they are no part of what was written.
    let written = (at + unfinished(&bytes[at..])).next_multiple_of(SECTOR_BYTES).min(bytes.len());
    let bytes = &bytes[..written];
    let error = record_at(bytes, at).err().unwrap_or(error);
    let later = LaterRecords::search(bytes, at + 1);
    if later.newest_mark.is_some_and(|mark| mark.0 > damage_at) {
        return Err(damaged(format!(
            "{error}, and a later record was written after this one had been flushed"
        )));
    }
    let is_cut_short = error.kind() == io::ErrorKind::UnexpectedEof && later.count == 0;
    if is_cut_short || lacks_a_sector(&bytes[at..], at) {
        return Ok(torn);
    }
    Err(damaged(format!("{error}, and no part of it is missing, as it would be after a crash")))
}

/// The length of the valid record at `at`, and its mark if it bears one.
fn record_at(bytes: &[u8], at: usize) -> io::Result<(usize, Option<Mark>)> {
    let (record, length) = LogRecord::decode(&bytes[at..bytes.len().min(at + RECORD_BYTES_MAX)])?;
    Ok((length, record.mark()))
}

/// Bytes of a tail before the zeros at its end, of which the last may be a record's.
fn unfinished(tail: &[u8]) -> usize {
    tail.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1)
}

/// Valid records behind a damaged one.
#[derive(Default)]
struct LaterRecords {
    count: usize,
    newest_mark: Option<Mark>,
}

impl LaterRecords {
    /// Looks for records at every byte from `at` on. A chance hit would have to get a checksum right.
    fn search(bytes: &[u8], mut at: usize) -> LaterRecords {
        let mut found = LaterRecords::default();
        while at < bytes.len() {
            match LogRecord::may_begin(&bytes[at..]).then(|| record_at(bytes, at)) {
                Some(Ok((length, mark))) => {
                    found.count += 1;
                    found.newest_mark = found.newest_mark.max(mark);
                    at += length;
                }
                _ => at += 1,
            }
        }
        found
    }
}

/// Whether a sector of the tail, which begins at `at` of its file and ends with the last one that was, was never written.
fn lacks_a_sector(tail: &[u8], at: usize) -> bool {
    let to_sector = (at.next_multiple_of(SECTOR_BYTES) - at).min(tail.len());
    let (first, others) = tail.split_at(to_sector);
    // Fewer bytes of a record's type are zero in sound ones too.
    (first.len() >= TYPE_BYTES && is_zero(first)) || others.chunks(SECTOR_BYTES).any(is_zero)
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;

    #[test]
    fn what_is_not_known_to_be_flushed_is_written_again() {
        let dir = tempfile::tempdir().unwrap();
        let paths = [(0, 100), (100, 50)].map(|(begins_at, length)| {
            let path = dir.path().join(log_files::file_name(begins_at));
            fs::write(&path, vec![7; length]).unwrap();
            path
        });
        let before = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        for (flushed, written) in [
            (Some(150), [false, false]),
            (Some(u64::MAX), [false, false]),
            (Some(149), [false, true]),
            (Some(100), [false, true]),
            (Some(99), [true, true]),
            (Some(0), [true, true]),
            (None, [false, true]),
        ] {
            for path in &paths {
                File::options().write(true).open(path).unwrap().set_modified(before).unwrap();
            }
            write_again(dir.path(), flushed.map(Mark)).unwrap();
            let is_written =
                |path: &PathBuf| fs::metadata(path).unwrap().modified().is_ok_and(|at| at != before);
            assert_eq!([is_written(&paths[0]), is_written(&paths[1])], written, "{flushed:?}");
            assert_eq!(fs::read(&paths[0]).unwrap(), [7; 100]);
            assert_eq!(fs::read(&paths[1]).unwrap(), [7; 50]);
        }
    }
}
