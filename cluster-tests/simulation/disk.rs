//! The disk of one simulated machine: a real folder whose flushes take simulated time.
//!
//! Writes reach the folder at once, as they reach a page cache. A flush completes after a delay; what it covered is then
//! durable, and only then are its waiters told. A killed process finds everything again. A power cut takes what was not
//! durable: cut off, or with whole sectors missing. Other files are written and renamed within one instant of simulated
//! time, so they are there whole or not at all.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use innkeeper::replication::{Disk, Flush, GroupDirs, LogWorker, Work};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::mpsc;

const SECTOR_BYTES: u64 = 512;

/// Bytes of each file of the log.
type Lengths = BTreeMap<PathBuf, u64>;

#[derive(Clone)]
pub struct SimulatedDisk {
    dir: PathBuf,
    state: Arc<Mutex<State>>,
}

struct State {
    random: StdRng,
    durable: Lengths,
    /// The longest that a flush takes.
    flush_ms_max: u64,
    /// The next flush reports an error, and what it covered stays undurable.
    fails_next: bool,
}

impl SimulatedDisk {
    pub fn new(data_dir: &Path, seed: u64) -> SimulatedDisk {
        let state = State {
            random: StdRng::seed_from_u64(seed),
            durable: Lengths::new(),
            flush_ms_max: FAST_MS,
            fails_next: false,
        };
        SimulatedDisk { dir: GroupDirs::of(data_dir).log, state: Arc::new(Mutex::new(state)) }
    }

    pub fn set_flush_ms_max(&self, ms: u64) {
        self.state().flush_ms_max = ms;
    }

    pub fn fail_next_flush(&self, fails: bool) {
        self.state().fails_next = fails;
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().expect("one thread")
    }

    fn lengths(&self) -> Lengths {
        let Ok(entries) = fs::read_dir(&self.dir) else { return Lengths::new() };
        let mut lengths = Lengths::new();
        for entry in entries.flatten() {
            let length = entry.metadata().map_or(0, |metadata| metadata.len());
            lengths.insert(entry.path(), length);
        }
        lengths
    }

    /// How long the flush that begins now takes; `Err` where it fails at its end.
    fn begin_flush(&self) -> (Duration, io::Result<()>) {
        let mut state = self.state();
        let flush_ms_max = state.flush_ms_max;
        let took = Duration::from_millis(state.random.random_range(0..=flush_ms_max));
        let result = if std::mem::take(&mut state.fails_next) {
            Err(io::Error::other("simulated: input/output error"))
        } else {
            Ok(())
        };
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
                self.state().durable = covered;
            }
            for flush in flushes {
                let result = result.as_ref().copied().map_err(|error| io::Error::other(error.to_string()));
                flush.complete(result);
            }
        }
    }

    /// Takes what was not durable, as this seed has it. The machine's process is gone already.
    pub fn cut_power(&self) -> io::Result<()> {
        for (path, length) in self.lengths() {
            let durable = self.state().durable.get(&path).copied().unwrap_or(0);
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
            drop(state);
            if kept == 0 {
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
            (&file).flush()?;
        }
        Ok(())
    }
}

/// A flush of a disk that is well.
pub const FAST_MS: u64 = 3;

impl Disk for SimulatedDisk {
    fn run_log(&self, mut log: LogWorker) -> io::Result<()> {
        // Opening has flushed all that it found.
        self.state().durable = self.lengths();
        let (sender, written) = mpsc::unbounded_channel();
        tokio::spawn(self.clone().complete_flushes(written));
        let disk = self.clone();
        tokio::spawn(async move {
            while let Some(flush) = log.step().await {
                // The receiver ends with this runtime alone.
                drop(sender.send((flush, disk.lengths())));
            }
            log.close();
        });
        Ok(())
    }

    fn run(&self, work: Work) {
        work();
    }
}
