//! The disk of one simulated machine: a real folder whose flushes take simulated time.
//!
//! Writes reach the folder at once, as they reach a page cache. Of the log's newest file that is its records, and the zeros
//! behind them, which a power cut takes or leaves. A flush completes after a delay; what it covered is then durable, and
//! only then are its waiters told. The one at a full file's end takes no time and does not fail. A killed process finds
//! everything again. A power cut takes what was not durable: cut off, or with whole sectors missing. Other files are written
//! and renamed within one instant of simulated time, so they are there whole or not at all. A bit may turn over in what is
//! durable, or its end be cut off. A full disk refuses flushes, or breaks writes off in their middle.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use innkeeper::replication::{Disk, FileLength, Flush, GroupDirs, LogWorker, Work, Written};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use tokio::sync::mpsc;

const SECTOR_BYTES: u64 = 512;
/// Of the damage to a log, where it is cut off and no bit of it turns over.
const CUT_OFF_SHARE: f64 = 0.25;

/// What a full disk refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// Writes are taken, and their flushes fail.
    Flushes,
    /// After so many more bytes of snapshots no write is taken; one of the log breaks off in its middle.
    Writes { bytes_left: u64 },
}

/// Bytes of the records in each file of the log.
type Lengths = BTreeMap<PathBuf, u64>;

#[derive(Clone)]
pub struct SimulatedDisk {
    snapshots: PathBuf,
    state: Arc<Mutex<State>>,
}

struct State {
    random: StdRng,
    durable: Lengths,
    /// What the log's last whole write had come to.
    written: Lengths,
    /// What the last flush that was told of covered, and the one before it: behind that lie whole records.
    covered: Lengths,
    settled: Lengths,
    /// The longest that a flush takes.
    flush_ms_max: u64,
    /// The next flush reports an error, and what it covered stays undurable.
    fails_next: bool,
    full: Option<Full>,
    /// A flush has reported an error since the process was started.
    has_failed: bool,
}

/// What was done to a file that had been durable.
pub struct Damage {
    path: PathBuf,
    at: u64,
    kind: DamageKind,
    /// Whether the node can do without what it damaged: `None` where nobody knows.
    is_needed: Option<bool>,
}

enum DamageKind {
    /// A bit of the byte turned over.
    Flipped { bit: u8 },
    /// The file ends before the byte, and this is gone.
    CutOff { tail: Vec<u8> },
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (at, name) = (self.at, self.path.file_name().unwrap_or_default().to_string_lossy());
        match &self.kind {
            DamageKind::Flipped { bit } => write!(f, "bit {bit} of byte {at} of {name} turned over"),
            DamageKind::CutOff { tail } => {
                write!(f, "{name} cut off at byte {at}, {} before its end", tail.len())
            }
        }
    }
}

impl Damage {
    fn flip(path: PathBuf, at: u64, bit: u8, is_needed: Option<bool>) -> Damage {
        flip(&path, at, bit);
        Damage { path, at, kind: DamageKind::Flipped { bit }, is_needed }
    }

    fn cut_off(path: PathBuf, at: u64, is_needed: Option<bool>) -> Damage {
        let tail = fs::read(&path).expect("a file of the folder").split_off(at as usize);
        let file = File::options().write(true).open(&path);
        file.and_then(|file| file.set_len(at)).expect("the folder can be written");
        Damage { path, at, kind: DamageKind::CutOff { tail }, is_needed }
    }

    /// The node must not start.
    pub fn is_fatal(&self) -> bool {
        self.is_needed == Some(true)
    }

    /// The node may refuse to start.
    pub fn may_be_fatal(&self) -> bool {
        self.is_needed != Some(false)
    }

    pub fn repair(&self) {
        match &self.kind {
            DamageKind::Flipped { bit } => flip(&self.path, self.at, *bit),
            DamageKind::CutOff { tail } => {
                // As there.
                let Ok(file) = File::options().write(true).open(&self.path) else { return };
                file.write_all_at(tail, self.at).expect("the folder can be written");
            }
        }
    }
}

fn flip(path: &Path, at: u64, bit: u8) {
    // A file that was removed meanwhile needs no repair.
    let Ok(file) = File::options().read(true).write(true).open(path) else { return };
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).expect("a byte of the file");
    file.write_all_at(&[byte[0] ^ 1 << bit], at).expect("the folder can be written");
}

impl SimulatedDisk {
    pub fn new(data_dir: &Path, seed: u64) -> SimulatedDisk {
        let state = State {
            random: StdRng::seed_from_u64(seed),
            durable: Lengths::new(),
            written: Lengths::new(),
            covered: Lengths::new(),
            settled: Lengths::new(),
            flush_ms_max: FAST_MS,
            fails_next: false,
            full: None,
            has_failed: false,
        };
        let snapshots = GroupDirs::of(data_dir).snapshots;
        SimulatedDisk { snapshots, state: Arc::new(Mutex::new(state)) }
    }

    pub fn set_flush_ms_max(&self, ms: u64) {
        self.state().flush_ms_max = ms;
    }

    pub fn fail_next_flush(&self, fails: bool) {
        self.state().fails_next = fails;
    }

    pub fn set_full(&self, full: Option<Full>) {
        self.state().full = full;
    }

    pub fn is_full(&self) -> bool {
        self.state().full.is_some()
    }

    /// How many more bytes of new files this disk takes; `None` for as many as there are.
    pub fn bytes_left(&self) -> Option<u64> {
        match self.state().full {
            Some(Full::Writes { bytes_left }) => Some(bytes_left),
            _ => None,
        }
    }

    /// What is left of the bytes that it takes.
    pub fn keep_bytes_left(&self, left: Option<u64>) {
        let mut state = self.state();
        if let (Some(Full::Writes { bytes_left }), Some(left)) = (&mut state.full, left) {
            *bytes_left = left;
        }
    }

    /// A flush has failed, and what the disk holds is not what the system believes.
    pub fn has_lied(&self) -> bool {
        let state = self.state();
        state.has_failed && !matches!(state.full, Some(Full::Writes { .. }))
    }

    pub fn has_failed(&self) -> bool {
        self.state().has_failed
    }

    /// Turns over a bit of the log that was durable before the last flush, or cuts the log off there. The machine's process
    /// is gone already.
    pub fn damage_log(&self) -> Option<Damage> {
        let mut state = self.state();
        let settled = state.settled.iter().filter_map(|(path, length)| {
            let length = length_of(path)?.min(*length);
            (length > 0).then(|| (path.clone(), length))
        });
        let settled: Vec<(PathBuf, u64)> = settled.collect();
        if state.random.random_bool(CUT_OFF_SHARE) {
            let (path, length) = settled.last()?.clone();
            let at = state.random.random_range(0..length);
            return Some(Damage::cut_off(path, at, Some(true)));
        }
        let (path, length) = settled.choose(&mut state.random)?.clone();
        let (at, bit) = (state.random.random_range(0..length), state.random.random_range(0..8));
        Some(Damage::flip(path, at, bit, Some(true)))
    }

    /// Turns over a bit of the newest snapshot. The machine's process is gone already. `sent` are the positions of the
    /// snapshots that leaders sent to this node: behind these its log began anew, and behind `begun`.
    pub fn flip_snapshot_bit(&self, sent: &BTreeSet<u64>, begun: Option<u64>) -> Option<Damage> {
        let entries = fs::read_dir(&self.snapshots).ok()?;
        let paths = entries.flatten().map(|entry| entry.path());
        let mut kept: Vec<PathBuf> =
            paths.filter(|path| path.extension().is_some_and(|extension| extension == "snapshot")).collect();
        kept.sort();
        let newest = kept.pop()?;
        let length = newest.metadata().ok()?.len();
        let mut state = self.state();
        let (at, bit) = (state.random.random_range(0..length), state.random.random_range(0..8));
        let index_of =
            |path: &Path| -> Option<u64> { path.file_stem()?.to_str()?.split('-').next()?.parse().ok() };
        // The log reaches back to the older one, unless it began anew.
        let older = kept.last().and_then(|older| index_of(older));
        let reaches_back = older.is_some_and(|older| begun.is_none_or(|begun| begun <= older));
        let is_needed = if reaches_back && !sent.contains(&index_of(&newest)?) { Some(false) } else { None };
        Some(Damage::flip(newest, at, bit, is_needed))
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().expect("one thread")
    }

    /// How long the flush that begins now takes; `Err` where it fails at its end.
    fn begin_flush(&self) -> (Duration, io::Result<()>) {
        let mut state = self.state();
        let flush_ms_max = state.flush_ms_max;
        let took = Duration::from_millis(state.random.random_range(0..=flush_ms_max));
        let result = if state.full == Some(Full::Flushes) {
            Err(io::ErrorKind::StorageFull.into())
        } else if std::mem::take(&mut state.fails_next) {
            Err(io::Error::other("simulated: input/output error"))
        } else {
            Ok(())
        };
        state.has_failed |= result.is_err();
        (took, result)
    }

    /// Tells the waiters of each flush. One that begins covers all that was written before it.
    async fn complete_flushes(self, mut written: mpsc::UnboundedReceiver<(Flush, Lengths)>) {
        while let Some((first, mut covered)) = written.recv().await {
            let mut flushes = vec![first];
            while let Ok((flush, lengths)) = written.try_recv() {
                flushes.push(flush);
                covered = lengths;
            }
            let (took, result) = self.begin_flush();
            tokio::time::sleep(took).await;
            if result.is_ok() {
                let mut state = self.state();
                for (path, length) in &covered {
                    let durable = state.durable.entry(path.clone()).or_default();
                    *durable = (*durable).max(*length);
                }
                state.settled = std::mem::replace(&mut state.covered, covered);
            }
            for flush in flushes {
                let result = result.as_ref().copied().map_err(|error| io::Error::other(error.to_string()));
                flush.complete(result);
            }
        }
    }

    /// What the log has flushed by itself of files that are full, before it began the next one.
    fn note_full(&self, lengths: &BTreeMap<PathBuf, FileLength>) {
        let full = lengths.iter().rev().skip(1).map(|(path, length)| (path.clone(), length.flushed));
        self.state().durable.extend(full);
    }

    /// Where no write is taken: breaks the last one off in its middle, which came to `lengths`. Returns whether it did.
    fn break_off(&self, lengths: &Lengths) -> io::Result<bool> {
        if self.bytes_left().is_none() {
            return Ok(false);
        }
        let mut state = self.state();
        let before = std::mem::take(&mut state.written);
        let before = |path: &Path| before.get(path).copied().unwrap_or(0);
        let more: u64 = lengths.iter().map(|(path, length)| length - before(path)).sum();
        let mut left = state.random.random_range(0..=more);
        state.has_failed = true;
        for (path, length) in lengths {
            let taken = left.min(length - before(path));
            left -= taken;
            let kept = before(path) + taken;
            // One that was not begun yet.
            if kept == 0 {
                fs::remove_file(path)?;
                continue;
            }
            File::options().write(true).open(path)?.set_len(kept)?;
            state.written.insert(path.clone(), kept);
        }
        // What came before one that was begun had been flushed.
        let full: Vec<_> = state.written.clone().into_iter().rev().skip(1).collect();
        state.durable.extend(full);
        Ok(true)
    }

    /// Takes what was not durable, as this seed has it. The machine's process is gone already.
    pub fn cut_power(&self) -> io::Result<()> {
        let written = self.state().written.clone();
        for (path, length) in written {
            let durable = self.state().durable.get(&path).copied().unwrap_or(0);
            // One that was purged is gone, and a cut before this one may have left less.
            let Some(with_zeros) = length_of(&path) else { continue };
            let length = length.min(with_zeros);
            if length <= durable {
                continue;
            }
            let mut state = self.state();
            let kept = match state.random.random_range(0..4) {
                0 => durable,
                1 => length,
                _ => state.random.random_range(durable..=length),
            };
            let loses_a_sector = state.random.random_bool(0.3);
            let at = state.random.random_range(durable..=kept);
            let leaves_zeros = state.random.random_bool(0.5);
            drop(state);
            // A sector is written whole or not at all.
            let is_cut = leaves_zeros && kept < length;
            let kept = if is_cut { (kept / SECTOR_BYTES * SECTOR_BYTES).max(durable) } else { kept };
            let at = at.min(kept);
            // Its name is durable before its first byte, which not every build saw to.
            if kept == 0 && !leaves_zeros {
                fs::remove_file(&path)?;
                continue;
            }
            let file = File::options().write(true).open(&path)?;
            file.set_len(kept)?;
            if loses_a_sector && kept > durable {
                // From a sector's beginning, or where the durable bytes of that sector end, to its end.
                let begin = (at / SECTOR_BYTES * SECTOR_BYTES).max(durable);
                let end = ((begin / SECTOR_BYTES + 1) * SECTOR_BYTES).min(kept);
                file.write_all_at(&vec![0; (end - begin) as usize], begin)?;
            }
            if leaves_zeros && with_zeros > kept {
                file.set_len(with_zeros)?;
            }
            (&file).flush()?;
        }
        Ok(())
    }
}

fn bytes(lengths: &BTreeMap<PathBuf, FileLength>, of: impl Fn(&FileLength) -> u64) -> Lengths {
    lengths.iter().map(|(path, length)| (path.clone(), of(length))).collect()
}

/// Of the whole file; `None` where it is gone.
fn length_of(path: &Path) -> Option<u64> {
    Some(path.metadata().ok()?.len())
}

/// A flush of a disk that is well.
pub const FAST_MS: u64 = 3;

impl Disk for SimulatedDisk {
    fn run_log(&self, mut log: LogWorker) -> io::Result<()> {
        // Opening has flushed all that it found.
        let lengths = log.lengths();
        let mut state = self.state();
        state.written = bytes(&lengths, |length| length.written);
        state.durable = bytes(&lengths, |length| length.written);
        state.covered = state.durable.clone();
        state.has_failed = false;
        drop(state);
        let (sender, written) = mpsc::unbounded_channel();
        tokio::spawn(self.clone().complete_flushes(written));
        let disk = self.clone();
        tokio::spawn(async move {
            while let Some(step) = log.step().await {
                let lengths = log.lengths();
                let written = bytes(&lengths, |length| length.written);
                let Written::Flushed(flush) = step else {
                    // One that no disk takes breaks off with what is flushed behind it.
                    disk.note_full(&lengths);
                    if disk.bytes_left().is_none() {
                        disk.state().written = written;
                    }
                    continue;
                };
                if disk.break_off(&written).expect("the folder of the simulation can be written") {
                    flush.complete(Err(io::ErrorKind::StorageFull.into()));
                    break;
                }
                disk.note_full(&lengths);
                disk.state().written = written;
                // The receiver ends with this runtime alone.
                drop(sender.send((flush, bytes(&lengths, |length| length.flushed))));
            }
            log.close();
        });
        Ok(())
    }

    fn run(&self, work: Work) {
        work();
    }

    fn run_behind(&self, work: Work) -> io::Result<()> {
        work();
        Ok(())
    }
}
