//! Files that are wholly there after a power cut, or not at all.
//!
//! A file is written under a temporary name, flushed, renamed, and the folder flushed; creating or removing a name is
//! durable only once its folder is.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use rustix::fs::fstatvfs;

use crate::planted::disk_takes;

/// The ending of a file that was never finished.
pub const TEMPORARY: &str = "tmp";
/// A file is flushed as often as so much was written: a flush of the log waits behind what the disk was given before it.
const FLUSH_BYTES: usize = 2 << 20;

/// What a file that is written bit by bit leaves free of its disk, for the log: a node without a new snapshot goes on, and one
/// whose log can't be written stops. A small disk keeps this part of itself.
const LEFT_FREE_BYTES: u64 = 256 << 20;
const LEFT_FREE_PART: u64 = 16;

/// Bytes of a file that are given back at once when it is removed, and the time that flushes of other files have then: while
/// ext4 gives back 0.8 GB all of them wait, for a tenth of a second.
const FREED_BYTES: u64 = if cfg!(test) { 16 << 10 } else { 16 << 20 };
const FREED_PAUSE: Duration = Duration::from_millis(10);

/// Flushes a folder: names created in it, renamed or removed are then durable.
pub fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Creates a folder and those above it, durably.
pub fn create_dir(dir: &Path) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    create_dir(parent)?;
    match fs::create_dir(dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    sync_dir(parent)
}

/// A file under its temporary name, removed unless it is [finished](NewFile::finish).
#[derive(Debug)]
pub struct NewFile {
    file: File,
    temporary: PathBuf,
    /// Bytes that were written since the last flush.
    unflushed: usize,
}

impl NewFile {
    /// `name` must not be used by another file that is still being written.
    pub fn create(dir: &Path, name: &str) -> io::Result<NewFile> {
        let temporary = dir.join(format!("{name}.{TEMPORARY}"));
        let file = File::create(&temporary)?;
        Ok(NewFile { file, temporary, unflushed: 0 })
    }

    pub fn path(&self) -> &Path {
        &self.temporary
    }

    /// Makes the content and then the name durable. `path` lies in the same folder; what was there is replaced.
    pub fn finish(&self, path: &Path) -> io::Result<()> {
        self.file.sync_all()?;
        fs::rename(&self.temporary, path)?;
        sync_dir(path.parent().expect("a file of ours lies in a folder"))
    }
}

/// Fails where no more than the log may need, and `bytes` that are to be written, are free of the disk on which a file or a
/// folder is.
pub fn leave_room(on: &File, bytes: u64) -> io::Result<()> {
    let disk = fstatvfs(on)?;
    let free = disk.f_bavail.saturating_mul(disk.f_frsize).saturating_sub(bytes);
    if is_left(free, disk.f_blocks.saturating_mul(disk.f_frsize)) {
        return Ok(());
    }
    let reason = "the disk is nearly full, and what is left is for the log";
    Err(io::Error::new(io::ErrorKind::StorageFull, reason))
}

/// Whether as much of a disk is free as the log may need.
fn is_left(free_bytes: u64, all_bytes: u64) -> bool {
    free_bytes >= LEFT_FREE_BYTES.min(all_bytes / LEFT_FREE_PART)
}

impl Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(&bytes[..disk_takes(bytes.len())?])?;
        self.unflushed += written;
        if self.unflushed >= FLUSH_BYTES {
            self.file.sync_data()?;
            self.unflushed = 0;
            leave_room(&self.file, 0)?;
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        // Renamed already, or left for the clean-up of the next start. The name was this file's alone.
        let _ = fs::remove_file(&self.temporary);
    }
}

/// Writes a small file whole.
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let dir = path.parent().expect("a file of ours lies in a folder");
    let name = path.file_name().expect("a file of ours has a name").to_string_lossy();
    let mut file = NewFile::create(dir, &name)?;
    file.write_all(bytes)?;
    file.finish(path)
}

/// Removes a file that nobody reads or writes any more, bit by bit where it is large. Blocks for that long. The name is gone
/// first, and never names a part.
pub fn remove(path: &Path) -> io::Result<()> {
    let file = OpenOptions::new().write(true).open(path)?;
    fs::remove_file(path)?;
    let mut left = file.metadata()?.len();
    while left > FREED_BYTES {
        left -= FREED_BYTES;
        file.set_len(left)?;
        thread::sleep(FREED_PAUSE);
    }
    Ok(())
}

/// Removes what a crash left unfinished in a folder.
pub fn remove_temporary_files(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == TEMPORARY) {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_appears_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("name");
        write(&path, b"first").unwrap();
        let mut unfinished = NewFile::create(dir.path(), "name").unwrap();
        unfinished.write_all(b"sec").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"first");
        // A crash here: nothing of ours runs any more.
        std::mem::forget(unfinished);
        remove_temporary_files(dir.path()).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"first");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_disk_is_not_filled_to_its_end() {
        let (gibibyte, mebibyte) = (1 << 30, 1 << 20);
        assert!(is_left(256 * mebibyte, 500 * gibibyte));
        assert!(!is_left(255 * mebibyte, 500 * gibibyte));
        assert!(is_left(10 * mebibyte, 160 * mebibyte));
        assert!(!is_left(9 * mebibyte, 160 * mebibyte));
    }

    #[test]
    fn a_removed_file_is_gone_and_small_at_once() {
        let dir = tempfile::tempdir().unwrap();
        for bytes in [0, 1, FREED_BYTES, 3 * FREED_BYTES + 1] {
            let path = dir.path().join("name");
            let file = File::create(&path).unwrap();
            file.set_len(bytes).unwrap();
            remove(&path).unwrap();
            assert!(!path.exists());
            assert_eq!(
                file.metadata().unwrap().len(),
                bytes - bytes.saturating_sub(1) / FREED_BYTES * FREED_BYTES
            );
        }
        assert_eq!(remove(&dir.path().join("name")).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
