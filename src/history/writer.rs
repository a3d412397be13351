//! The one who writes: takes what was told into the store, in chunks, behind the commit.

use std::collections::BTreeSet;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::chunk::{StoredChunk, StoredCommit, properties_of};
use super::store::Store;
use super::{History, HistoryError, Inner, Mark, Note, RECENT};
use crate::ledger::{Commit, Lsn, PropertyId};
use crate::replication::{Disk, blocking, codec};

/// A chunk is full with so many commits, or so many bytes.
pub const CHUNK_COMMITS: usize = 512;
const CHUNK_BYTES: usize = 96 << 10;
/// So many commits that wait fill a chunk, whatever they hold. It is written then, and flushed later: sled's flush costs more
/// than a chunk, and who writes everything at once takes the processor from those who book.
pub const WORTH_A_WRITE: usize = CHUNK_COMMITS;
/// Then it is looked whether something is to be flushed.
const CHUNKS_AT_ONCE: usize = 16;
/// How long what was told is not durable, where nobody waits for it.
const FLUSH_EVERY: Duration = Duration::from_secs(1);

/// The chunk that is not full yet.
#[derive(Default)]
pub struct Writer {
    open: Option<Open>,
    generation: u64,
    /// In which generation a note was put before the first chunk.
    begun: Option<u64>,
    /// What was last said of the store, and flushed.
    noted: Option<Noted>,
}

#[derive(Clone, Copy, PartialEq)]
struct Noted {
    generation: u64,
    note: Note,
}

struct Open {
    chunk: StoredChunk,
    bytes: usize,
    of: BTreeSet<PropertyId>,
    /// Bytes that the store was last given of it.
    stored: u64,
    /// Commits that the store was given of it.
    stored_commits: usize,
}

/// How much is written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Amount {
    /// Some chunks, as far as they are full.
    FullChunks,
    /// All that was told, and it is made durable.
    All,
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
    let mut due = Instant::now() + FLUSH_EVERY;
    while let Some(history) = history.upgrade() {
        let amount = tokio::select! {
            biased;
            () = history.hurry.notified() => Amount::All,
            () = sleep_until(due) => Amount::All,
            () = history.work.notified() => Amount::FullChunks,
        };
        let writing = history.clone();
        blocking(&*disk, move || writing.write(amount)).await?;
        if amount == Amount::All {
            due = Instant::now() + FLUSH_EVERY;
        }
    }
    Ok(())
}

impl History {
    /// Writes what was told. Blocks.
    pub(super) fn write(&self, amount: Amount) {
        let mut writer = self.writer.lock().expect("a panic while the history is written ends its writing");
        self.replace_unusable();
        let generation = self.lock().generation;
        let written = self.write_told(&mut writer, amount).and_then(|()| self.remove_forgotten());
        if let Err(error) = written {
            self.fail(generation, &error);
            writer.open = None;
        }
    }

    fn write_told(&self, writer: &mut Writer, amount: Amount) -> Result<(), HistoryError> {
        let mut written = 0;
        // What is told meanwhile has to wait: there is always an end.
        let mut upto = None;
        loop {
            let (store, pending, note) = {
                let inner = self.lock();
                if inner.unusable {
                    return Ok(());
                }
                if upto.is_none_or(|(generation, _)| generation != inner.generation) {
                    upto = Some((inner.generation, inner.tip));
                }
                let tip = upto.map_or(inner.tip, |(_, tip)| tip);
                let pending = writer.pending(&inner, tip.lsn);
                let Inner { gap, first, bytes, .. } = *inner;
                (inner.store.clone(), pending, Note { tip, first, gap, indexed: true, bytes })
            };
            if writer.begun != Some(pending.generation) {
                // What a crash leaves of a store must say what it lacks: chunks alone would be taken for everything.
                store.put_note(&codec::to_message_pack(&Note { tip: pending.after, ..note })?)?;
                writer.begun = Some(pending.generation);
            }
            let is_end = pending.commits.is_empty();
            let is_full = writer.fill(&pending)?;
            if !is_full && amount == Amount::FullChunks {
                return Ok(());
            }
            if !is_full && !is_end {
                continue;
            }
            let Some(open) = writer.open.as_mut().filter(|open| open.is_unstored()) else {
                return self.flush(&*store, writer, Noted { generation: pending.generation, note });
            };
            let frame = open.chunk.encode()?;
            store.put(open.chunk.after.lsn, &frame, &open.of)?;
            let more = open.has_stored(frame.len());
            self.has_stored(pending.generation, open.last(), more);
            if is_full {
                (writer.open, written) = (None, written + 1);
                if written == CHUNKS_AT_ONCE && amount == Amount::FullChunks {
                    return Ok(());
                }
            }
        }
    }

    /// Makes what the store holds durable, and says what that is.
    fn flush(&self, store: &dyn Store, writer: &mut Writer, noted: Noted) -> Result<(), HistoryError> {
        let tip = noted.note.tip.lsn;
        if writer.noted != Some(noted) {
            store.put_note(&codec::to_message_pack(&noted.note)?)?;
            store.sync()?;
            writer.noted = Some(noted);
        }
        self.kept.send_replace(tip);
        Ok(())
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
    /// What follows the open chunk, where that is still of what the store holds, up to a command.
    fn pending(&mut self, inner: &Inner, upto: Lsn) -> Pending {
        if self.generation != inner.generation {
            (self.open, self.generation) = (None, inner.generation);
        }
        let after = self.open.as_ref().map_or(inner.stored, Open::last);
        let at = inner.recent.partition_point(|commit| commit.lsn <= after.lsn);
        let commits = inner.recent.range(at..).take_while(|commit| commit.lsn <= upto);
        let commits = commits.take(CHUNK_COMMITS).cloned().collect();
        Pending { commits, after, generation: inner.generation }
    }

    /// Takes of what is pending into the open chunk until that is full, and says whether it is.
    fn fill(&mut self, pending: &Pending) -> Result<bool, HistoryError> {
        for commit in &pending.commits {
            let stored = StoredCommit::new(commit)?;
            let open = self.open.get_or_insert_with(|| Open::after(pending.after));
            open.bytes += stored.bytes();
            open.chunk.commits.push(stored);
            for property in properties_of(commit) {
                if !open.of.contains(property) {
                    open.of.insert(property.clone());
                }
            }
            if open.chunk.commits.len() >= CHUNK_COMMITS || open.bytes >= CHUNK_BYTES {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

impl Open {
    fn after(after: Mark) -> Open {
        let chunk = StoredChunk { after, commits: Vec::new() };
        Open { chunk, bytes: 0, of: BTreeSet::new(), stored: 0, stored_commits: 0 }
    }

    fn last(&self) -> Mark {
        self.chunk.last().unwrap_or(self.chunk.after)
    }

    fn is_unstored(&self) -> bool {
        self.chunk.commits.len() > self.stored_commits
    }

    /// The store was given all of it. Returns how many bytes more than it was given before.
    fn has_stored(&mut self, bytes: usize) -> u64 {
        let more = (bytes as u64).saturating_sub(self.stored);
        self.stored += more;
        self.stored_commits = self.chunk.commits.len();
        more
    }
}
