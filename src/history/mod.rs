//! The past: what every command changed, in order, for good.
//!
//! Apply tells what was committed; it stands in memory at once, and a task of its own keeps it in a [`store`] in chunks,
//! behind the commit. Readers take both together. What is kept is checked by the hash chain that the ledger has in its
//! state: each commit follows from the one before. What is damaged or missing is never papered over: it is set aside,
//! said to be missing, and fetched again.
//!
//! Knows the ledger and what replication tells; knows no Raft, no HTTP, and nobody who asks.

mod aside;
mod backfill;
mod chunk;
mod kept;
mod of_property;
mod packed;
mod past;
mod repair;
mod retention;
mod sled_store;
mod store;
mod suspension;
#[cfg(test)]
mod tests;
mod witness;
mod writer;

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::ledger::{Commit, Lsn, Mark};
use crate::planted::{Bug, planted};
use crate::replication::{CodecError, codec};
use aside::{GivenUp, set_aside_and_open};
use chunk::Chunk;
use repair::last_following;
use sled_store::SledStore;
use store::{MemoryStore, Store};
use suspension::Suspension;
use writer::Writer;

pub use kept::Kept;
pub use past::{Asker, Version};
pub use retention::{Extent, Retention};
pub use writer::run;

/// Commits that stay in memory once they are kept, for those who follow closely, and the changes in them.
const RECENT: usize = 4_096;
const RECENT_CHANGES: usize = 16_384;
/// Commits that one read from memory gives, at most.
const RUN_MAX: usize = 1_024;
/// What is said where the disk fails.
const SUSPENDED: &str = "the history is not kept for now: what is on the disk is left as it is, new events are told from memory, and \
    it is tried again by itself, at least once a minute. Make room, or mend the disk; what is then lacking is fetched from a peer";

/// Where a history is kept.
#[derive(Clone, Debug)]
pub enum Keeping {
    /// In this folder.
    OnDisk(PathBuf),
    /// As long as the process runs.
    InMemory,
}

/// Why a store did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// What the system refused; what is on the disk may be sound.
    #[error("the disk does not take the history: {0}")]
    Disk(String),
    #[error("the history's store failed: {0}")]
    Store(String),
    #[error("the history is damaged: it holds {0}")]
    Damaged(&'static str),
    #[error("the history is damaged: what it tells of command {lsn} does not follow from what went before")]
    NotFollowing { lsn: Lsn },
    #[error("the history is damaged or of an unknown version: {0}")]
    Codec(#[from] CodecError),
}

/// Why the past was not told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotTold {
    /// What is kept begins with the command `first`.
    #[error("what is kept begins with command {first}")]
    Gone { first: Lsn },
    /// It is being fetched.
    #[error("this node's history is being rebuilt")]
    Missing,
    /// No command has that position yet.
    #[error("no command has that position yet")]
    InFuture,
}

/// Some commits, in order, and where to go on.
#[derive(Clone, Debug)]
pub struct Run {
    pub commits: Vec<Arc<Commit>>,
    /// Everything up to here was told, with this run.
    pub upto: Lsn,
}

/// What lies between two marks and is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    pub after: Mark,
    pub upto: Mark,
    /// Up to where it was fetched, and is not told yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filled: Option<Mark>,
}

/// What a store says of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Note {
    /// Everything up to here is kept.
    tip: Mark,
    /// Nothing up to here is kept any more.
    #[serde(default)]
    first: Mark,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    gap: Option<Gap>,
    /// Chunks are found by the properties that they tell of.
    #[serde(default)]
    indexed: bool,
    /// Bytes of chunks, more or less.
    #[serde(default)]
    bytes: u64,
}

pub struct History {
    keeping: Keeping,
    inner: Mutex<Inner>,
    tip: watch::Sender<Mark>,
    /// Up to which command everything is durable.
    kept: watch::Sender<Lsn>,
    backlog: watch::Sender<Backlog>,
    /// Something is there to be written.
    work: Notify,
    /// Somebody waits until all of it is durable.
    hurry: Notify,
    writer: Mutex<Writer>,
    /// Since when the disk has been at what the one who writes waits for; `None` where he waits for nothing.
    writing_since: Mutex<Option<Instant>>,
}

/// What stands in memory: most commands change one or two records, and one of a group five hundred.
#[derive(Clone, Copy, Debug, Default)]
struct Backlog {
    /// Commits that the store does not hold.
    unkept: usize,
    /// Changes of all commits, whether the store holds them or not.
    changes: usize,
}

struct Inner {
    store: Arc<dyn Store>,
    /// Changes when what the store holds is no longer what it held.
    generation: u64,
    first: Mark,
    /// What came up to here is not asked for any more: the state says so.
    forgotten: Mark,
    gap: Option<Gap>,
    /// Everything after this is in `recent`.
    recent_after: Mark,
    recent: VecDeque<Arc<Commit>>,
    /// Their changes.
    recent_changes: usize,
    /// The last commit that the store holds.
    stored: Mark,
    /// Bytes of chunks in the store, more or less.
    bytes: u64,
    /// Chunks that end before this are not in the store any more.
    removed: Lsn,
    tip: Mark,
    /// Where this state's past was last found to be another than what was told.
    diverged_at: Option<Mark>,
    /// What the store held can't be used, or is not the past of this state: it is to be set aside for an empty one.
    unusable: bool,
    /// A hole that nobody can fill, until what stands before it is set aside.
    given_up: Option<GivenUp>,
    /// The disk took nothing more. What is on it is left alone, and nothing is kept.
    suspended: Option<Suspension>,
}

fn mark_of(commit: &Commit) -> Mark {
    Mark { lsn: commit.lsn, chain: commit.chain }
}

impl History {
    /// Opens what is kept, or begins anew where that can't be read. Blocks.
    pub fn open(keeping: Keeping) -> Arc<History> {
        aside::clear(&keeping);
        let found = Inner::open(&keeping).and_then(|(mut inner, noted)| inner.repair(noted).map(|()| inner));
        let inner = match found {
            Ok(inner) => inner,
            Err(HistoryError::Disk(error)) => {
                tracing::error!(%error, "{SUSPENDED}");
                Inner::begin_suspended()
            }
            Err(error) => {
                tracing::error!(%error, "the history can't be read: it is set aside and rebuilt");
                set_aside_and_open(&keeping).map_or_else(Inner::begin_suspended, Inner::begin)
            }
        };
        Arc::new(History {
            keeping,
            tip: watch::Sender::new(inner.tip),
            // What was found, and perhaps never flushed before, is flushed now.
            kept: watch::Sender::new(inner.tip.lsn),
            backlog: watch::Sender::default(),
            inner: Mutex::new(inner),
            work: Notify::new(),
            hurry: Notify::new(),
            writer: Mutex::new(Writer::default()),
            writing_since: Mutex::default(),
        })
    }

    /// Changes when more can be told.
    pub fn tips(&self) -> watch::Receiver<Mark> {
        self.tip.subscribe()
    }

    /// Up to which command the past is known.
    pub fn known(&self) -> Lsn {
        self.tip.borrow().lsn
    }

    /// The commits after `position`: some of them. Blocks on the disk where they are not recent.
    pub fn after(&self, position: Lsn) -> Result<Run, NotTold> {
        let (store, generation, limit) = {
            let inner = self.lock();
            inner.check(position)?;
            if position > inner.tip.lsn {
                return Err(NotTold::InFuture);
            }
            if position >= inner.recent_after.lsn {
                return Ok(inner.recent_run(position));
            }
            let limit = inner.gap.map(|gap| gap.after).filter(|after| position < after.lsn);
            (inner.store.clone(), inner.generation, limit.unwrap_or(inner.recent_after))
        };
        self.read(generation, position, || self.stored_after(&*store, position, limit))
    }

    /// What a store tells of what follows `position`. Meanwhile a part of it may have been forgotten, or written anew: it has
    /// failed where it fails again.
    fn read<T>(
        &self,
        generation: u64,
        position: Lsn,
        work: impl Fn() -> Result<T, HistoryError>,
    ) -> Result<T, NotTold> {
        let told = work().or_else(|_| work());
        self.lock().check(position)?;
        told.map_err(|error| self.fail(generation, &error))
    }

    fn stored_after(&self, store: &dyn Store, position: Lsn, limit: Mark) -> Result<Run, HistoryError> {
        let floor = self.lock().floor(position);
        let chunk = store.at_or_before(position)?.map(|frame| Chunk::decode(&frame)).transpose()?;
        let nothing = Chunk { after: floor, commits: Vec::new() };
        let chunk = chunk.filter(|chunk| chunk.last().lsn >= floor.lsn).unwrap_or(nothing);
        let last = chunk.last();
        if last.lsn <= position {
            // Commands that changed nothing come next, up to the next chunk or to the end; or something is lost.
            if last.chain == limit.chain || planted(Bug::GapNotNoticed) {
                return Ok(Run { commits: Vec::new(), upto: limit.lsn });
            }
            let next = store.next(position)?.map(|frame| Chunk::decode(&frame)).transpose()?;
            return match next.filter(|next| next.after.chain == last.chain) {
                Some(next) => Ok(Run { commits: Vec::new(), upto: next.after.lsn.min(limit.lsn) }),
                None => Err(HistoryError::Damaged("less than was kept")),
            };
        }
        let commits = chunk.commits.into_iter();
        let commits = commits.filter(|commit| commit.lsn > position && commit.lsn <= limit.lsn).collect();
        Ok(Run { commits, upto: last.lsn.min(limit.lsn) })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("no panic while the history is locked")
    }

    /// What a panic in the middle of a change looks like to those who come after it.
    #[cfg(test)]
    pub fn break_in_the_middle(&self) {
        let broken = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _inner = self.lock();
            panic!("on purpose, with the history locked");
        }));
        assert!(broken.is_err());
    }

    /// Begins anew after a failure of the store; what is in memory is kept again.
    fn fail(&self, generation: u64, error: &HistoryError) -> NotTold {
        let mut inner = self.lock();
        if inner.generation == generation {
            self.give_up_store(&mut inner, error);
        }
        NotTold::Missing
    }

    /// The store has failed, whoever found it.
    fn give_up_store(&self, inner: &mut Inner, error: &HistoryError) {
        self.kept.send_replace(Lsn(0));
        if let HistoryError::Disk(_) = error {
            tracing::error!(%error, "{SUSPENDED}");
            inner.suspend();
            self.kept.send_replace(inner.tip.lsn);
            self.backlog.send_replace(Backlog::default());
            return;
        }
        tracing::error!(%error, "the history is set aside and rebuilt");
        inner.begin_anew();
        self.hurry.notify_one();
    }

    /// Opens an empty store in the place of one that can't be used. Only the one who writes does it, and without the lock:
    /// apply, which tells what it has done, never waits for a disk.
    fn replace_unusable(&self) {
        if !self.lock().is_to_be_replaced() {
            return;
        }
        let store = set_aside_and_open(&self.keeping);
        let mut inner = self.lock();
        match store {
            Some(store) => {
                inner.unusable = false;
                inner.set_store(store);
            }
            // What can't be used stays so, and is set aside once the disk takes another.
            None => {
                inner.suspend();
                self.told(inner);
            }
        }
    }
}

/// Makes every chunk of a store that an earlier release wrote to be found by what it tells of.
fn index(store: &dyn Store) -> Result<(), HistoryError> {
    let mut from = Lsn(0);
    while let Some(frame) = store.next(from)? {
        let chunk = Chunk::decode(&frame)?;
        store.put(chunk.after.lsn, &frame, &chunk.properties())?;
        from = chunk.after.lsn.next();
    }
    Ok(())
}

impl Inner {
    fn begin(store: Arc<dyn Store>) -> Inner {
        Inner {
            store,
            generation: 0,
            first: Mark::default(),
            forgotten: Mark::default(),
            gap: None,
            recent_after: Mark::default(),
            recent: VecDeque::new(),
            recent_changes: 0,
            stored: Mark::default(),
            bytes: 0,
            removed: Lsn(0),
            tip: Mark::default(),
            diverged_at: None,
            unusable: false,
            given_up: None,
            suspended: None,
        }
    }

    fn is_to_be_replaced(&self) -> bool {
        self.unusable && !self.is_suspended()
    }

    /// Whether the store is there, and is that of this state's past.
    fn has_store(&self) -> bool {
        !self.unusable && !self.is_suspended()
    }

    /// As [`read`](Inner::read), of a store that is not open.
    fn open(keeping: &Keeping) -> Result<(Inner, Mark), HistoryError> {
        let store: Arc<dyn Store> = match keeping {
            Keeping::OnDisk(dir) => Arc::new(SledStore::open(dir)?),
            Keeping::InMemory => Arc::new(MemoryStore::default()),
        };
        Inner::read(store)
    }

    /// What a store holds, and up to where it says that it does.
    fn read(store: Arc<dyn Store>) -> Result<(Inner, Mark), HistoryError> {
        let note: Option<Note> = store.note()?.map(|note| codec::from_message_pack(&note)).transpose()?;
        let is_empty = store.next(Lsn(0))?.is_none();
        if note.is_none() && !is_empty {
            return Err(HistoryError::Damaged("chunks, and no note of what they lack"));
        }
        let note = note.unwrap_or_default();
        let start = note.gap.map_or(note.first, |gap| gap.upto);
        let stored = last_following(&*store, start, note.tip)?;
        // The note alone tells of commands that changed nothing.
        let tip = if stored.lsn < note.tip.lsn && stored.chain == note.tip.chain { note.tip } else { stored };
        if tip.lsn < note.tip.lsn {
            tracing::error!(
                from = tip.lsn.next().0,
                upto = note.tip.lsn.0,
                "the end of the history is damaged"
            );
        }
        if !note.indexed && !is_empty {
            tracing::info!("the history is made to be found by property");
            index(&*store)?;
        }
        let (first, gap, bytes) = (note.first, note.gap, note.bytes);
        Ok((Inner { first, gap, recent_after: tip, stored, bytes, tip, ..Inner::begin(store) }, note.tip))
    }

    /// Whether what follows `position` is there.
    fn check(&self, position: Lsn) -> Result<(), NotTold> {
        if position < self.first.lsn {
            return Err(NotTold::Gone { first: self.first.lsn.next() });
        }
        let missing = self.gap.is_some_and(|gap| gap.after.lsn <= position && position < gap.upto.lsn);
        if missing { Err(NotTold::Missing) } else { Ok(()) }
    }

    /// Where the part begins in which `position` is: behind the gap, or at the beginning.
    fn floor(&self, position: Lsn) -> Mark {
        self.gap.map(|gap| gap.upto).filter(|upto| upto.lsn <= position).unwrap_or(self.first)
    }

    /// Whether everything after `position` is there.
    fn check_back_to(&self, position: Lsn) -> Result<(), NotTold> {
        self.check(position)?;
        let is_missing = self.gap.is_some_and(|gap| position < gap.upto.lsn);
        if is_missing { Err(NotTold::Missing) } else { Ok(()) }
    }

    fn recent_run(&self, position: Lsn) -> Run {
        let at = self.recent.partition_point(|commit| commit.lsn <= position);
        let commits: Vec<_> = self.recent.range(at..).take(RUN_MAX).cloned().collect();
        let is_end = at + commits.len() == self.recent.len();
        let upto = commits.last().filter(|_| !is_end).map_or(self.tip.lsn, |last| last.lsn);
        Run { commits, upto }
    }

    fn begin_anew(&mut self) {
        // Until the one who writes has opened another, nothing is kept.
        self.set_store(Arc::new(MemoryStore::default()));
        self.unusable = true;
        self.stored = self.recent_after;
        self.miss(self.first, self.recent_after);
    }

    /// Puts an empty store in the place of the one that was, with what was fetched into that.
    fn set_store(&mut self, store: Arc<dyn Store>) {
        // A sled that failed in the middle of a write waits for that write for ever when it is dropped. It is not: its
        // memory is the price of a failure, of which there are few.
        std::mem::forget(std::mem::replace(&mut self.store, store));
        self.generation += 1;
        self.bytes = 0;
        self.gap = self.gap.map(|gap| Gap { filled: None, ..gap });
    }

    fn miss(&mut self, after: Mark, upto: Mark) {
        let after = if after.lsn < self.first.lsn { self.first } else { after };
        if upto.lsn <= after.lsn {
            self.gap = None;
            return;
        }
        self.gap = (after.chain != upto.chain).then_some(Gap { after, upto, filled: None });
    }

    fn backlog(&self) -> Backlog {
        let kept = self.recent.partition_point(|commit| commit.lsn <= self.stored.lsn);
        Backlog { unkept: self.recent.len() - kept, changes: self.recent_changes }
    }

    fn push_recent(&mut self, commit: Arc<Commit>) {
        self.recent_changes += commit.changes.len();
        self.recent.push_back(commit);
    }

    /// Lets go of what the store holds and nobody follows so closely. To drop it takes time, which the caller spends where
    /// nobody waits for the lock.
    fn pop_kept(&mut self) -> Vec<Arc<Commit>> {
        let mut popped = Vec::new();
        while self.recent.len() > RECENT || self.recent_changes > RECENT_CHANGES {
            let Some(oldest) = self.recent.pop_front_if(|oldest| oldest.lsn <= self.stored.lsn) else {
                break;
            };
            self.recent_changes -= oldest.changes.len();
            self.recent_after = mark_of(&oldest);
            popped.push(oldest);
        }
        popped
    }

    /// Goes on at `mark`, with nothing in memory.
    fn go_on_at(&mut self, mark: Mark) {
        self.generation += 1;
        self.recent.clear();
        self.recent_changes = 0;
        self.recent_after = mark;
        self.stored = mark;
        self.tip = mark;
    }

    /// Forgets what was told: it is not the past of the state that stands at `mark`.
    fn diverge(&mut self, mark: Mark) {
        tracing::error!(
            lsn = mark.lsn.0,
            "the history is not that of this node's state: it is set aside and rebuilt"
        );
        self.go_on_at(mark);
        self.diverged_at = Some(mark);
        self.unusable = true;
        self.first = self.forgotten;
        self.miss(self.first, mark);
    }
}
