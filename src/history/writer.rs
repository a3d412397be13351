//! The one who writes: takes what was told into the store, in chunks, behind the commit.

use std::collections::BTreeSet;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::time::timeout;

use super::chunk::{StoredChunk, StoredCommit, properties_of};
use super::{History, HistoryError, Mark, Note, RECENT};
use crate::ledger::{Commit, PropertyId};
use crate::replication::{Disk, blocking, codec};

/// A chunk is full with so many commits, or so many bytes.
pub const CHUNK_COMMITS: usize = 512;
const CHUNK_BYTES: usize = 64 << 10;
/// So many commits that wait are written before their time has come. Each write ends with a flush of sled's, which costs
/// more than a chunk.
pub const WORTH_A_WRITE: usize = 16 * CHUNK_COMMITS;
/// How long what was told stays only in memory, where nobody waits for it.
const WRITE_EVERY: Duration = Duration::from_millis(500);

/// The chunk that is not full yet: it is written again with what comes next.
#[derive(Default)]
pub struct Writer {
    open: Option<Open>,
    generation: u64,
    /// What was last said of the store.
    noted: Option<(u64, Note)>,
}

struct Open {
    chunk: StoredChunk,
    bytes: usize,
    of: BTreeSet<PropertyId>,
    /// Bytes that the store was last given of it.
    stored: u64,
}

/// What is to be written next.
struct Pending {
    commits: Vec<Arc<Commit>>,
    after: Mark,
    generation: u64,
}

/// Writes until the history is gone. An error where writing panicked: nothing is kept any more, and sooner or later apply
/// would wait for that for ever.
pub async fn run(history: Weak<History>, disk: Arc<dyn Disk>) -> std::io::Result<()> {
    while let Some(history) = history.upgrade() {
        // Either there is work, or the time has come to look for some.
        let _ = timeout(WRITE_EVERY, history.work.notified()).await;
        let writing = history.clone();
        blocking(&*disk, move || writing.write()).await?;
    }
    Ok(())
}

impl History {
    /// Writes all that was told and makes it durable. Blocks.
    pub(super) fn write(&self) {
        let mut writer = self.writer.lock().expect("a panic while the history is written ends its writing");
        self.replace_unusable();
        let generation = self.lock().generation;
        let written = self.write_all(&mut writer).and_then(|()| self.remove_forgotten());
        if let Err(error) = written {
            self.fail(generation, &error);
            writer.open = None;
        }
    }

    fn write_all(&self, writer: &mut Writer) -> Result<(), HistoryError> {
        loop {
            let (store, pending, tip, gap, first, bytes) = {
                let inner = self.lock();
                if inner.unusable {
                    return Ok(());
                }
                let at = inner.recent.partition_point(|commit| commit.lsn <= inner.stored.lsn);
                let commits = inner.recent.range(at..).take(CHUNK_COMMITS).cloned().collect();
                let pending = Pending { commits, after: inner.stored, generation: inner.generation };
                (inner.store.clone(), pending, inner.tip, inner.gap, inner.first, inner.bytes)
            };
            if pending.commits.is_empty() {
                let note = Note { tip, first, gap, indexed: true, bytes };
                let noted = Some((pending.generation, note));
                if writer.noted == noted {
                    return Ok(());
                }
                store.put_note(&codec::to_message_pack(&note)?)?;
                store.sync()?;
                writer.noted = noted;
                self.kept.send_replace(tip.lsn);
                return Ok(());
            }
            if writer.noted.as_ref().is_none_or(|(generation, _)| *generation != pending.generation) {
                // What a crash leaves of a store must say what it lacks: chunks alone would be taken for everything.
                let note = Note { tip: pending.after, first, gap, indexed: true, bytes };
                store.put_note(&codec::to_message_pack(&note)?)?;
                writer.noted = Some((pending.generation, note));
            }
            let (open, is_full) = writer.fill(&pending)?;
            let frame = open.chunk.encode()?;
            store.put(open.chunk.after.lsn, &frame, &open.of)?;
            let stored = open.chunk.last().unwrap_or(pending.after);
            let more = (frame.len() as u64).saturating_sub(open.stored);
            open.stored += more;
            if is_full {
                writer.open = None;
            }
            self.has_stored(pending.generation, stored, more);
        }
    }

    fn has_stored(&self, generation: u64, stored: Mark, more: u64) {
        let mut inner = self.lock();
        if inner.generation != generation {
            return;
        }
        inner.stored = stored;
        inner.bytes += more;
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
    fn fill(&mut self, pending: &Pending) -> Result<(&mut Open, bool), HistoryError> {
        let follows = self.open.as_ref().and_then(|open| open.chunk.last()) == Some(pending.after);
        if !follows || self.generation != pending.generation {
            self.open = None;
        }
        self.generation = pending.generation;
        let open = self.open.get_or_insert_with(|| Open {
            chunk: StoredChunk { after: pending.after, commits: Vec::new() },
            bytes: 0,
            of: BTreeSet::new(),
            stored: 0,
        });
        let mut is_full = false;
        for commit in &pending.commits {
            let stored = StoredCommit::new(commit)?;
            open.bytes += stored.bytes();
            open.chunk.commits.push(stored);
            for property in properties_of(commit) {
                if !open.of.contains(property) {
                    open.of.insert(property.clone());
                }
            }
            is_full = open.chunk.commits.len() >= CHUNK_COMMITS || open.bytes >= CHUNK_BYTES;
            if is_full {
                break;
            }
        }
        Ok((open, is_full))
    }
}
