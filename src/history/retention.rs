//! What is kept no longer: up to a mark that the log carries, so that all nodes forget the same.

use std::sync::Arc;
use std::time::Duration;

use super::chunk::Chunk;
use super::store::Store;
use super::{Gap, History, HistoryError, Inner, Mark, mark_of};
use crate::ledger::{Lsn, Timestamp};

/// Chunks that are looked at when the oldest that may be forgotten are looked for.
const LOOKED_AT: usize = 1_024;

/// How much of the past is kept; all of it where neither is set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// What happened longer ago is forgotten. Milliseconds of log time.
    pub age_ms: Option<u64>,
    /// Of more, the oldest is forgotten. Bytes before they are compressed, without what the store itself needs.
    pub bytes: Option<u64>,
}

impl Retention {
    pub fn keeps_all(&self) -> bool {
        self.age_ms.is_none() && self.bytes.is_none()
    }
}

/// What a history says of its extent.
#[derive(Clone, Copy, Debug, Default)]
pub struct Extent {
    /// The first command that is told of.
    pub first: Lsn,
    /// Bytes of what is on disk, before they were compressed, more or less.
    pub bytes: u64,
    /// Commits that are told of and not on disk yet.
    pub unkept: usize,
    /// Something in between is missing, and is fetched once the store takes it.
    pub is_missing: bool,
    /// Nothing is kept now: the disk takes nothing.
    pub is_suspended: bool,
    /// How long the disk has been at what it does for the history now.
    pub writing: Duration,
}

impl History {
    pub fn extent(&self) -> Extent {
        let inner = self.lock();
        Extent {
            first: inner.first.lsn.next(),
            bytes: inner.bytes,
            unkept: inner.backlog().unkept,
            is_missing: inner.gap.is_some(),
            is_suspended: inner.is_suspended(),
            writing: self.writing(),
        }
    }

    /// Up to where the history may be forgotten at log time `now`, where that is further than it is; `None` too where there is no
    /// store that could tell. Blocks.
    pub fn outdated(&self, retention: Retention, now: Timestamp) -> Result<Option<Mark>, HistoryError> {
        let (looking, generation) = {
            let inner = self.lock();
            if !inner.has_store() {
                return Ok(None);
            }
            let excess = retention.bytes.map_or(0, |kept| inner.bytes.saturating_sub(kept));
            let oldest = retention.age_ms.map_or(0, |age_ms| now.0.saturating_sub(age_ms));
            let (store, first, gap) = (inner.store.clone(), inner.first, inner.gap);
            (Looking { store, first, gap, excess, oldest }, inner.generation)
        };
        let mut at = Lsn(0);
        let found = looking.look(&mut at).or_else(|_| looking.look(&mut at));
        found.inspect_err(|error| {
            // What is forgotten already is removed meanwhile, piece by piece: that it can't be read is no failure yet.
            if at >= self.lock().first.lsn {
                // Perhaps nobody else ever reads what is this old, and as long as it is not found out nothing is forgotten.
                self.fail(generation, error);
            }
        })
    }

    /// Removes some of what is forgotten from the store, up to the command of which a flushed note says that it is.
    pub(super) fn remove_forgotten(&self, noted: Lsn) -> Result<(), HistoryError> {
        let (store, first, generation) = {
            let inner = self.lock();
            let first = inner.first.lsn.min(noted);
            if !inner.has_store() || inner.removed >= first {
                return Ok(());
            }
            (inner.store.clone(), first, inner.generation)
        };
        // The chunk stays that tells of the command at the mark.
        let Some(frame) = store.at_or_before(Lsn(first.0.saturating_sub(1)))? else { return Ok(()) };
        let bytes = store.remove_some(Lsn(0), Chunk::decode(&frame)?.after.lsn)?;
        let mut inner = self.lock();
        if inner.generation == generation {
            inner.bytes = inner.bytes.saturating_sub(bytes);
            if bytes == 0 {
                inner.removed = first;
            } else {
                self.work.notify_one();
            }
        }
        Ok(())
    }
}

/// A look for what may be forgotten.
struct Looking {
    store: Arc<dyn Store>,
    first: Mark,
    gap: Option<Gap>,
    /// Bytes that are too much.
    excess: u64,
    /// What happened before may be forgotten.
    oldest: u64,
}

impl Looking {
    /// Goes from chunk to chunk; `at` is the last command of those that could be read.
    fn look(&self, at: &mut Lsn) -> Result<Option<Mark>, HistoryError> {
        let (mut whole, mut upto, mut from, mut excess) = (None, None, Lsn(0), self.excess);
        *at = from;
        for _ in 0..LOOKED_AT {
            let Some(frame) = self.store.next(from)? else { break };
            let chunk = Chunk::decode(&frame)?;
            let Some(newest) = chunk.commits.last() else { break };
            if excess == 0 && newest.at.0 >= self.oldest {
                break;
            }
            excess = excess.saturating_sub(frame.len() as u64);
            (from, *at) = (chunk.after.lsn.next(), chunk.last().lsn);
            if self.is_told(&chunk) {
                let is_next = |mark: &Mark| mark.lsn > self.first.lsn;
                whole = last_that_is_whole(&chunk).filter(is_next).or(whole);
                upto = Some(chunk.last()).filter(is_next).or(upto);
            }
        }
        // Where no command had but one event the bound is kept all the same.
        Ok(whole.or(upto))
    }

    /// What lies in the gap was fetched from a peer, and has not met what comes behind it yet: no node may begin there.
    fn is_told(&self, chunk: &Chunk) -> bool {
        self.gap.is_none_or(|gap| chunk.last().lsn <= gap.after.lsn || gap.upto.lsn <= chunk.after.lsn)
    }
}

/// The last command of a chunk that has one event: whoever was told that was told all of it, and goes on behind it.
fn last_that_is_whole(chunk: &Chunk) -> Option<Mark> {
    let whole = chunk.commits.iter().rev().find(|commit| commit.events().take(2).count() == 1);
    whole.map(|commit| mark_of(commit))
}

impl History {
    /// Whether the command that is the last to be forgotten had more than one event, where that is known here. Blocks.
    pub fn had_more_than_one(&self, lsn: Lsn) -> bool {
        let store = self.lock().store.clone();
        let chunk = store.at_or_before(Lsn(lsn.0.saturating_sub(1))).ok().flatten();
        let chunk = chunk.and_then(|frame| Chunk::decode(&frame).ok());
        let commit = chunk.and_then(|chunk| chunk.commits.into_iter().find(|commit| commit.lsn == lsn));
        commit.is_some_and(|commit| commit.events().nth(1).is_some())
    }
}

impl Inner {
    /// Begins behind `mark`; what was missing before it is not missed any more.
    pub(super) fn forget(&mut self, mark: Mark) {
        if mark.lsn <= self.first.lsn {
            return;
        }
        self.first = mark;
        let gap = self.gap.filter(|gap| gap.upto.lsn > mark.lsn).map(|gap| match gap {
            gap if gap.after.lsn >= mark.lsn => gap,
            gap => Gap { after: mark, filled: gap.filled.filter(|filled| filled.lsn > mark.lsn), ..gap },
        });
        // Where the commands behind the mark changed nothing, nothing is missing.
        self.gap = gap.filter(|gap| gap.after.chain != gap.upto.chain);
    }
}
