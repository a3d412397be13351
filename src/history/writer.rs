//! The one who writes: takes what was told into the store, in chunks, behind the commit.

use std::collections::BTreeSet;
use std::io;
use std::pin::pin;
use std::sync::{Arc, MutexGuard, Weak};
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::aside::Aside;
use super::chunk::{COMMIT_BYTES_MAX, StoredChunk, StoredCommit, properties_of};
use super::store::Store;
use super::suspension::Again;
use super::{History, HistoryError, Inner, Mark, Note};
use crate::ledger::{Commit, Lsn, PropertyId};
use crate::replication::{Disk, blocking, codec};

/// A chunk is full with so many commits, or so many bytes. It is written then, and flushed later: sled's flush costs more than
/// a chunk, and who writes everything at once takes the processor from those who book.
pub const CHUNK_COMMITS: usize = 512;
const CHUNK_BYTES: usize = 96 << 10;
/// After so many it is looked whether something is to be flushed.
const CHUNKS_AT_ONCE: usize = 16;
/// How long what was told is not durable, where nobody waits for it.
const FLUSH_EVERY: Duration = Duration::from_secs(1);
/// What was damaged is left in peace for so long: each store that is opened anew costs memory.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(5);

/// A disk that has not answered for so long hangs, or opens or reads a history of many gigabytes.
const HANGS_AFTER: Duration = Duration::from_secs(60);

/// What stands between two turns.
#[derive(Default)]
pub struct Writer {
    /// The chunk that is not full yet.
    open: Option<Open>,
    generation: u64,
    /// In which generation a note was put before the first chunk, and flushed.
    begun: Option<u64>,
    /// What was last said of the store.
    noted: Option<Noted>,
    /// That was not flushed yet.
    is_note_new: bool,
    /// Where what is kept begins, as far as that was said and flushed.
    first_noted: Lsn,
    pub(super) aside: Aside,
    /// How often a store that failed was opened again, or was found to be one that can't be.
    pub(super) reopened: u32,
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

/// What became of the chunk that is open.
enum Filled {
    /// It takes more.
    InPart,
    /// It is to be written, and the next one begun.
    Full,
    /// It is empty, and what comes next is more than is kept of one command.
    TooLarge(Mark),
}

/// What is to be written next.
struct Pending {
    commits: Vec<Arc<Commit>>,
    after: Mark,
    generation: u64,
}

/// Writes until the history is gone. An error where writing panicked: nothing is kept any more, and sooner or later apply
/// would wait for that for ever.
pub async fn run(history: Weak<History>, disk: Arc<dyn Disk>) -> io::Result<()> {
    let mut due = Instant::now() + FLUSH_EVERY;
    let (mut again, mut aside_again) = (Again::new(Instant::now()), Again::new(Instant::now()));
    while let Some(history) = history.upgrade() {
        let amount = tokio::select! {
            biased;
            () = history.hurry.notified() => Amount::All,
            () = sleep_until(due) => Amount::All,
            () = history.work.notified() => Amount::FullChunks,
        };
        let (writing, now) = (history.clone(), Instant::now());
        let is_time = again.is_time(history.is_suspended(), now);
        let is_time_aside = aside_again.is_time(history.waits_to_set_aside(), now);
        let write = move || {
            if is_time_aside {
                writing.set_aside_again();
            }
            (!is_time || writing.resume()) && writing.write(amount)
        };
        let is_written = history.watch(blocking(&*disk, write)).await?;
        let is_left_alone = history.is_suspended();
        drop(history);
        if !is_written && !is_left_alone {
            sleep(PAUSE_AFTER_FAILURE).await;
        }
        if amount == Amount::All {
            due = Instant::now() + FLUSH_EVERY;
        }
    }
    Ok(())
}

impl History {
    /// Waits for work on the disk, and says where that hangs: nothing else can be done about it. Its thread holds the store, and no
    /// other opens it before it ends.
    async fn watch(&self, work: impl Future<Output = io::Result<bool>>) -> io::Result<bool> {
        let began = Instant::now();
        self.set_writing_since(Some(began));
        let mut work = pin!(work);
        let done = match timeout(HANGS_AFTER, work.as_mut()).await {
            Ok(done) => done,
            Err(_) => {
                tracing::error!(
                    "the disk has been at work for the history for {HANGS_AFTER:?}: what is told stands in memory, as far as there \
                     is room. Unless a large history is opened again or read through, it hangs: mend it; should it not answer \
                     then either, start this node anew"
                );
                let done = work.await;
                tracing::info!(took = ?began.elapsed(), "the disk has answered the history after all");
                done
            }
        };
        self.set_writing_since(None);
        done
    }

    fn set_writing_since(&self, since: Option<Instant>) {
        *self.writing_since.lock().expect("no panic while the moment is locked") = since;
    }

    /// How long the disk has been at what it does now.
    pub(super) fn writing(&self) -> Duration {
        let since = *self.writing_since.lock().expect("no panic while the moment is locked");
        since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// Writes what was told; false where the store failed. Blocks.
    pub(super) fn write(&self, amount: Amount) -> bool {
        let mut writer = self.lock_writer();
        self.replace_unusable();
        let store = self.lock().store.clone();
        let written = self.set_given_up_aside(&mut writer.aside);
        let written = written.and_then(|()| self.write_told(&mut writer, amount));
        // What is being copied stays until it is.
        let written = written.and_then(|()| match writer.aside.is_copying() {
            true => Ok(()),
            false => self.remove_forgotten(writer.first_noted),
        });
        if let Err(error) = &written {
            self.fail_store(&store, error);
            writer.open = None;
        }
        written.is_ok()
    }

    /// A store that was written to has failed, whatever else has happened meanwhile.
    pub(super) fn fail_store(&self, store: &Arc<dyn Store>, error: &HistoryError) {
        let mut inner = self.lock();
        if Arc::ptr_eq(&inner.store, store) {
            self.give_up_store(&mut inner, error);
        }
    }

    pub(super) fn lock_writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().expect("a panic while the history is written ends its writing")
    }

    /// Says what the store lacks before anything is put that comes behind: chunks alone would be taken for everything. What went
    /// before a gap is durable before that is noted. False where there is no store to write to. Blocks.
    pub(super) fn has_begun(&self, writer: &mut Writer) -> Result<bool, HistoryError> {
        let (store, generation, note) = {
            let inner = self.lock();
            if !inner.has_store() {
                return Ok(false);
            }
            let Inner { gap, first, bytes, stored, .. } = *inner;
            (inner.store.clone(), inner.generation, Note { tip: stored, first, gap, indexed: true, bytes })
        };
        if writer.begun != Some(generation) {
            store.sync()?;
            store.put_note(&codec::to_message_pack(&note)?)?;
            store.sync()?;
            (writer.begun, writer.first_noted) = (Some(generation), note.first.lsn);
        }
        Ok(true)
    }

    fn write_told(&self, writer: &mut Writer, amount: Amount) -> Result<(), HistoryError> {
        let mut written = 0;
        // What is told meanwhile has to wait: there is always an end.
        let mut upto = None;
        loop {
            if !self.has_begun(writer)? {
                return Ok(());
            }
            let (store, pending, note) = {
                let inner = self.lock();
                if !inner.has_store() {
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
            if !writer.has_begun_in(pending.generation) {
                continue;
            }
            let is_end = pending.commits.is_empty();
            let is_full = match writer.fill(&pending)? {
                Filled::InPart => false,
                Filled::Full => true,
                Filled::TooLarge(mark) => {
                    self.leave_out(pending.generation, mark);
                    continue;
                }
            };
            if !is_full && amount == Amount::FullChunks {
                return Ok(());
            }
            if !is_full && !is_end {
                continue;
            }
            let Some(open) = writer.open.as_mut().filter(|open| open.is_unstored()) else {
                return self.flush(&*store, writer, Noted { generation: pending.generation, note });
            };
            self.put_open(&*store, open, pending.generation)?;
            if is_full {
                (writer.open, written) = (None, written + 1);
                if written == CHUNKS_AT_ONCE && amount == Amount::FullChunks {
                    return Ok(());
                }
            }
        }
    }

    fn put_open(&self, store: &dyn Store, open: &mut Open, generation: u64) -> Result<(), HistoryError> {
        let frame = open.chunk.encode()?;
        store.put(open.chunk.after.lsn, &frame, &open.of)?;
        let more = open.has_stored(frame.len());
        self.has_stored(generation, open.last(), more);
        Ok(())
    }

    /// Makes what the store holds durable, and then says what that is: a note never tells of more than a power cut leaves. It is
    /// made durable by the next flush; until then a start finds what it tells of behind what the one before told of.
    fn flush(&self, store: &dyn Store, writer: &mut Writer, noted: Noted) -> Result<(), HistoryError> {
        let is_news = writer.noted != Some(noted);
        if is_news || writer.is_note_new {
            store.sync()?;
            if let Some(flushed) = writer.noted.filter(|flushed| flushed.generation == noted.generation) {
                writer.first_noted = flushed.note.first.lsn;
            }
            writer.is_note_new = false;
        }
        let inner = self.lock();
        if inner.generation == noted.generation {
            self.kept.send_replace(noted.note.tip.lsn);
        }
        drop(inner);
        if is_news {
            store.put_note(&codec::to_message_pack(&noted.note)?)?;
            (writer.noted, writer.is_note_new) = (Some(noted), true);
        }
        Ok(())
    }

    /// Goes on behind a command that changed more than is kept of one. What it changed is missing, here as on every other node, and
    /// leaves the memory: that nobody can tell it is found out as it is of any hole, and the history begins behind it then.
    fn leave_out(&self, generation: u64, commit: Mark) {
        let mut inner = self.lock();
        if inner.generation != generation {
            return;
        }
        tracing::error!(
            lsn = commit.lsn.0,
            "this command changed more than {COMMIT_BYTES_MAX} bytes, and no node keeps that: the history goes on behind it, and \
             what came before is set aside"
        );
        let let_go = inner.leave_out(commit);
        self.told(inner);
        drop(let_go);
    }

    fn has_stored(&self, generation: u64, stored: Mark, more: u64) {
        let mut inner = self.lock();
        if inner.generation != generation {
            return;
        }
        inner.stored = stored;
        inner.bytes += more;
        let popped = inner.pop_kept();
        // Before others may change it: else what they tell could be told before this.
        self.backlog.send_replace(inner.backlog());
        drop(inner);
        drop(popped);
    }
}

impl Writer {
    pub fn has_begun_in(&self, generation: u64) -> bool {
        self.begun == Some(generation)
    }

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

    /// Takes of what is pending into the open chunk until that is full.
    fn fill(&mut self, pending: &Pending) -> Result<Filled, HistoryError> {
        for commit in &pending.commits {
            let stored = StoredCommit::new(commit)?;
            if stored.bytes() > COMMIT_BYTES_MAX {
                // What stands before it is written first.
                let is_next = self.open.as_ref().is_none_or(|open| !open.is_unstored());
                return Ok(if is_next { Filled::TooLarge(stored.mark()) } else { Filled::Full });
            }
            let open = self.open.get_or_insert_with(|| Open::after(pending.after));
            open.bytes += stored.bytes();
            open.chunk.commits.push(stored);
            for property in properties_of(commit) {
                if !open.of.contains(property) {
                    open.of.insert(property.clone());
                }
            }
            if open.chunk.commits.len() >= CHUNK_COMMITS || open.bytes >= CHUNK_BYTES {
                return Ok(Filled::Full);
            }
        }
        Ok(Filled::InPart)
    }
}

impl Inner {
    /// Begins behind a command that is not kept, where the store holds all that comes before it. Returns what it let go of.
    fn leave_out(&mut self, commit: Mark) -> Vec<Arc<Commit>> {
        let mut let_go = Vec::new();
        while let Some(oldest) = self.recent.pop_front_if(|oldest| oldest.lsn <= commit.lsn) {
            self.recent_changes -= oldest.changes.len();
            let_go.push(oldest);
        }
        let after = self.gap.map_or(self.stored, |gap| gap.after);
        self.generation += 1;
        (self.recent_after, self.stored) = (commit, commit);
        self.miss(after, commit);
        let_go
    }
}

impl Open {
    fn after(after: Mark) -> Open {
        let chunk = StoredChunk { after, commits: Vec::with_capacity(CHUNK_COMMITS) };
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
