//! The one who writes: takes what was told into the store, in chunks, behind the commit.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::time::timeout;

use super::chunk::{StoredChunk, StoredCommit};
use super::{Gap, History, HistoryError, Mark, Note, RECENT};
use crate::ledger::Commit;
use crate::replication::{Disk, blocking, codec};

/// A chunk is full with so many commits, or so many bytes.
pub const CHUNK_COMMITS: usize = 512;
/// Compressed, sixteen of them stay below the 128 KiB from which sled writes a file for itself: so many it keeps together.
const CHUNK_BYTES: usize = 24 << 10;
/// How long what was told stays only in memory, where nobody waits for it.
const WRITE_EVERY: Duration = Duration::from_millis(500);

/// The chunk that is not full yet: it is written again with what comes next.
#[derive(Default)]
pub struct Writer {
    open: Option<Open>,
    generation: u64,
    /// What was last said of the store.
    noted: Option<(u64, Mark, Mark, Option<Gap>)>,
}

struct Open {
    chunk: StoredChunk,
    bytes: usize,
}

/// What is to be written next.
struct Pending {
    commits: Vec<Arc<Commit>>,
    after: Mark,
    generation: u64,
}

/// Writes until the history is gone.
pub async fn run(history: Weak<History>, disk: Arc<dyn Disk>) {
    while let Some(history) = history.upgrade() {
        // Either there is work, or the time has come to look for some.
        let _ = timeout(WRITE_EVERY, history.work.notified()).await;
        let writing = history.clone();
        if let Err(error) = blocking(&*disk, move || writing.write()).await {
            tracing::error!(%error, "the history was not written");
        }
    }
}

impl History {
    /// Writes all that was told and makes it durable. Blocks.
    pub(super) fn write(&self) {
        let mut writer = self.writer.lock().expect("a panic while the history is written ends its writing");
        self.set_aside_if_diverged();
        let generation = self.lock().generation;
        if let Err(error) = self.write_all(&mut writer) {
            self.fail(generation, &error);
            writer.open = None;
        }
    }

    fn set_aside_if_diverged(&self) {
        let mut inner = self.lock();
        if inner.diverged {
            inner.store = super::set_aside_and_open(&self.keeping);
            inner.generation += 1;
            inner.diverged = false;
        }
    }

    fn write_all(&self, writer: &mut Writer) -> Result<(), HistoryError> {
        loop {
            let (store, pending, tip, gap, first) = {
                let inner = self.lock();
                let at = inner.recent.partition_point(|commit| commit.lsn <= inner.stored.lsn);
                let commits = inner.recent.range(at..).take(CHUNK_COMMITS).cloned().collect();
                let pending = Pending { commits, after: inner.stored, generation: inner.generation };
                (inner.store.clone(), pending, inner.tip, inner.gap, inner.first)
            };
            if pending.commits.is_empty() {
                let note = Some((pending.generation, tip, first, gap));
                if writer.noted == note {
                    return Ok(());
                }
                store.put_note(&codec::to_message_pack(&Note { tip, first, gap })?)?;
                store.sync()?;
                writer.noted = note;
                self.kept.send_replace(tip.lsn);
                return Ok(());
            }
            let (chunk, is_full) = writer.fill(&pending)?;
            store.put(chunk.after.lsn, &chunk.encode()?)?;
            let stored = chunk.last().unwrap_or(pending.after);
            if is_full {
                writer.open = None;
            }
            self.has_stored(pending.generation, stored);
        }
    }

    fn has_stored(&self, generation: u64, stored: Mark) {
        let mut inner = self.lock();
        if inner.generation != generation {
            return;
        }
        inner.stored = stored;
        while inner.recent.len() > RECENT && inner.recent[0].lsn <= stored.lsn {
            if let Some(oldest) = inner.recent.pop_front() {
                inner.recent_after = super::mark_of(&oldest);
            }
        }
        let unkept = inner.unkept();
        drop(inner);
        self.unkept.send_replace(unkept);
    }
}

impl Writer {
    /// Takes of what is pending into the open chunk until that is full.
    fn fill(&mut self, pending: &Pending) -> Result<(&StoredChunk, bool), HistoryError> {
        let follows = self.open.as_ref().and_then(|open| open.chunk.last()) == Some(pending.after);
        if !follows || self.generation != pending.generation {
            self.open = None;
        }
        self.generation = pending.generation;
        let open = self.open.get_or_insert_with(|| Open {
            chunk: StoredChunk { after: pending.after, commits: Vec::new() },
            bytes: 0,
        });
        let mut is_full = false;
        for commit in &pending.commits {
            let stored = StoredCommit::new(commit)?;
            open.bytes += stored.bytes();
            open.chunk.commits.push(stored);
            is_full = open.chunk.commits.len() >= CHUNK_COMMITS || open.bytes >= CHUNK_BYTES;
            if is_full {
                break;
            }
        }
        Ok((&open.chunk, is_full))
    }
}
