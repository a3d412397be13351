//! A store that takes nothing more: its disk is full, or fails. What is on that is left as it is, and tried again.
//!
//! What is told meanwhile stands in memory, as far as there is room for it: behind a failure that was short nothing is
//! missing. What had no room is fetched from a peer. Of the store only that counts which it is found to hold then. One of
//! which the disk does not give some any more would fail again and again: it is set aside once that is found to be so.

use std::collections::VecDeque;
use std::mem::ManuallyDrop;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::time::Instant;

use super::aside::set_aside_and_open;
use super::sled_store::{self, SledStore};
use super::store::{MemoryStore, Store};
use super::writer::Writer;
use super::{History, HistoryError, Inner, Keeping, mark_of};
use crate::ledger::{Commit, EventChain, Lsn};

/// Commits that stand in memory while nothing is kept, and their changes: half of what may wait to be kept, so that apply does
/// not wait once they do. Tests get by with fewer.
const HELD: usize = if cfg!(test) { 5_000 } else { 32_768 };
const HELD_CHANGES: usize = 4 * 32_768;
/// How long after a failure the store is tried again; then each time twice as long, up to the second.
const WAIT_MIN: Duration = Duration::from_secs(1);
const WAIT_MAX: Duration = Duration::from_secs(60);

/// Each time that a store has failed so often, and could be opened again or not, all of it is read before: five minutes after it
/// was first tried, at the earliest, where it can't be opened. A disk that is full, or a file that is locked, does not count.
const READ_THROUGH_EVERY: u32 = if cfg!(test) { 3 } else { 10 };

/// What is left of a store that takes nothing more.
pub(super) struct Suspension {
    /// The one that failed, until it is let go of. Never in passing: see [`end`].
    failed: Option<ManuallyDrop<Arc<dyn Store>>>,
}

/// When a store that takes nothing is tried again.
pub(super) struct Again {
    wait: Duration,
    due: Option<Instant>,
    /// One that has not failed until then begins with the shortest wait again.
    calm_at: Instant,
}

impl Again {
    pub(super) fn new(now: Instant) -> Again {
        Again { wait: WAIT_MIN, due: None, calm_at: now }
    }

    /// Whether it is to be tried now. Asked again and again, with whether it takes nothing.
    pub(super) fn is_time(&mut self, is_suspended: bool, now: Instant) -> bool {
        if !is_suspended {
            self.due = None;
            if now >= self.calm_at {
                self.wait = WAIT_MIN;
            }
            return false;
        }
        let due = *self.due.get_or_insert(now + self.wait);
        if now < due {
            return false;
        }
        self.wait = (2 * self.wait).min(WAIT_MAX);
        (self.due, self.calm_at) = (Some(now + self.wait), now + WAIT_MAX);
        true
    }
}

impl History {
    /// Whether nothing is kept now.
    pub fn is_suspended(&self) -> bool {
        self.lock().is_suspended()
    }

    /// Opens the store again, and goes on with what it holds. False where it still can't be. Only the one who writes does it.
    /// Blocks, and for some seconds where the store that failed does not end.
    pub(super) fn resume(&self) -> bool {
        let mut writer = self.lock_writer();
        if !self.is_suspended() {
            return true;
        }
        let found = match self.open_again(&mut writer) {
            Err(error @ HistoryError::Disk(_)) => {
                tracing::warn!(%error, "the history still can't be kept; it will be tried again");
                return false;
            }
            found => found,
        };
        let mut inner = self.lock();
        inner.suspended = None;
        let mut let_go = VecDeque::new();
        match found {
            Ok(Some(found)) => {
                let_go = inner.take_up(found);
                let (upto, is_missing) = (inner.stored.lsn.0, inner.gap.is_some());
                tracing::info!(upto, is_missing, "the history is kept again");
            }
            Ok(None) => {}
            Err(error) => {
                tracing::error!(%error, "the history can't be read any more: it is set aside and rebuilt");
                inner.begin_anew();
            }
        }
        let kept = if inner.has_store() { inner.stored.lsn } else { Lsn(0) };
        self.kept.send_replace(kept);
        self.told(inner);
        // Tens of thousands take their time to drop, and apply waits for the lock.
        drop(let_go);
        true
    }

    /// What the store holds now; `None` where that is set aside, whatever it is.
    fn open_again(&self, writer: &mut Writer) -> Result<Option<Inner>, HistoryError> {
        let failed = {
            let mut inner = self.lock();
            if inner.unusable {
                return Ok(None);
            }
            inner.take_failed()?
        };
        let store: Arc<dyn Store> = match (&self.keeping, failed) {
            (Keeping::OnDisk(dir), failed) => {
                if let Some(failed) = failed {
                    end(failed);
                }
                self.open_failed(dir, &mut writer.reopened)?
            }
            (Keeping::InMemory, Some(failed)) => failed,
            (Keeping::InMemory, None) => Arc::new(MemoryStore::default()),
        };
        let found = Inner::read(store.clone());
        let found = found.and_then(|(mut inner, noted)| inner.repair(noted).map(|()| inner));
        if found.is_err()
            && let Some(suspension) = &mut self.lock().suspended
        {
            suspension.failed = Some(ManuallyDrop::new(store));
        }
        found.map(Some)
    }

    /// Opens a store that failed once nobody has it open, and counts how often that was tried; an empty one where a part of it
    /// can't be read.
    fn open_failed(&self, dir: &Path, tried: &mut u32) -> Result<Arc<dyn Store>, HistoryError> {
        sled_store::let_go_of(dir)?;
        sled_store::has_room(dir)?;
        *tried += 1;
        if tried.is_multiple_of(READ_THROUGH_EVERY) {
            tracing::warn!(
                tried = *tried,
                "the history fails again and again: all of it is read, seconds for each gigabyte"
            );
            if let Some((file, error)) = sled_store::unreadable(dir)? {
                tracing::error!(
                    %error, file = %file.display(),
                    "the disk does not give all that it holds of the history, however often it is asked: it is set aside and \
                     rebuilt"
                );
                let not_set_aside =
                    || HistoryError::Disk("what can't be read could not be set aside".to_owned());
                return set_aside_and_open(&self.keeping).ok_or_else(not_set_aside);
            }
        }
        Ok(Arc::new(SledStore::open(dir)?))
    }
}

/// Lets go of a store that failed, on a thread of its own: one that was in the middle of a write may wait for that for ever.
/// Until it has ended it holds the lock of its file, so that no other is opened, and there is one such thread at most for the
/// history's own stores. `None` where there was no such thread.
pub(super) fn end(failed: Arc<dyn Store>) -> Option<JoinHandle<()>> {
    // Where there is no thread for it, it is never dropped.
    let failed = ManuallyDrop::new(failed);
    let end = move || drop(catch_unwind(AssertUnwindSafe(move || drop(ManuallyDrop::into_inner(failed)))));
    let ending = thread::Builder::new().name("history".to_owned()).spawn(end);
    if let Err(error) = &ending {
        tracing::warn!(%error, "there was no thread on which a store that failed could end");
    }
    ending.ok()
}

impl Inner {
    pub(super) fn begin_suspended() -> Inner {
        let suspended = Some(Suspension { failed: None });
        Inner { suspended, ..Inner::begin(Arc::new(MemoryStore::default())) }
    }

    pub(super) fn is_suspended(&self) -> bool {
        self.suspended.is_some()
    }

    /// Keeps nothing any more, and holds what stands in memory.
    pub(super) fn suspend(&mut self) {
        let nothing: Arc<dyn Store> = Arc::new(MemoryStore::default());
        let failed = std::mem::replace(&mut self.store, nothing);
        self.suspended = Some(Suspension { failed: Some(ManuallyDrop::new(failed)) });
        self.generation += 1;
        self.bytes = 0;
        self.hold();
    }

    /// Lets go of the oldest that stands in memory where that is too much. What went before the rest is not told: what the
    /// store holds of it is found out when it is opened again.
    pub(super) fn hold(&mut self) {
        while self.recent.len() > HELD || self.recent_changes > HELD_CHANGES {
            let Some(oldest) = self.recent.pop_front() else { break };
            self.recent_changes -= oldest.changes.len();
            self.recent_after = mark_of(&oldest);
        }
        self.stored = self.recent_after;
        self.miss(self.first, self.recent_after);
    }

    /// The store that failed, once nobody reads it any more.
    fn take_failed(&mut self) -> Result<Option<Arc<dyn Store>>, HistoryError> {
        let Some(suspension) = &mut self.suspended else { return Ok(None) };
        if suspension.failed.as_ref().is_some_and(|failed| Arc::strong_count(failed) > 1) {
            return Err(HistoryError::Disk("the store that failed is still being read".to_owned()));
        }
        Ok(suspension.failed.take().map(ManuallyDrop::into_inner))
    }

    /// Goes on with a store that was found to hold this. What was told behind it and does not stand in memory is missing.
    /// Gives what need not stand there any more: as with [`pop_kept`](Inner::pop_kept), the caller drops it without the lock.
    fn take_up(&mut self, found: Inner) -> VecDeque<Arc<Commit>> {
        let Inner { store, first, gap, stored, bytes, tip, .. } = found;
        self.set_store(store);
        if self.unusable {
            // Meanwhile this state was found to have another past.
            return VecDeque::new();
        }
        let mut let_go = VecDeque::new();
        let forgotten = std::mem::replace(&mut self.first, first);
        (self.bytes, self.removed) = (bytes, Lsn(0));
        if tip.lsn > self.tip.lsn {
            // As at a start: the state has not come to it yet.
            let_go = std::mem::take(&mut self.recent);
            self.go_on_at(tip);
            (self.stored, self.gap) = (stored, gap);
        } else if self.chain_at(tip.lsn) == tip.chain {
            (self.stored, self.gap) = (stored, gap);
            let_go = self.pop_kept().into();
        } else if tip.lsn < self.recent_after.lsn {
            self.stored = self.recent_after;
            self.miss(gap.map_or(stored, |gap| gap.after), self.recent_after);
        } else {
            tracing::error!(
                lsn = tip.lsn.0,
                "the history is not that of this node's state: it is set aside and rebuilt"
            );
            self.first = forgotten;
            self.begin_anew();
        }
        self.forget(forgotten);
        let_go
    }

    /// Where the chain of events stood after a command, or at the first that stands in memory where it came before that.
    fn chain_at(&self, lsn: Lsn) -> EventChain {
        let told = self.recent.partition_point(|commit| commit.lsn <= lsn);
        told.checked_sub(1).map_or(self.recent_after.chain, |last| self.recent[last].chain)
    }
}

#[cfg(test)]
mod tests {
    use super::super::RECENT;
    use super::super::tests::Told;
    use super::*;
    use crate::replication::Witness;

    /// Where they are dropped under the lock, apply waits for that.
    #[test]
    fn what_the_store_is_found_to_hold_is_given_out_of_the_lock() {
        let (mut told, history) = (Told::new(), History::open(Keeping::InMemory));
        told.open(&history);
        told.book(&history, 4_800);
        history.keep();
        let generation = history.lock().generation;
        history.fail(generation, &HistoryError::Disk("it is full".to_owned()));
        told.book(&history, 600);
        let found = history.open_again(&mut history.lock_writer()).unwrap().expect("the store that failed");
        let stored = found.stored;
        let mut inner = history.lock();
        inner.suspended = None;
        let held = inner.recent.clone();
        assert!(held.len() > RECENT, "{} commits", held.len());
        let let_go = inner.take_up(found);
        assert!(!let_go.is_empty() && let_go.iter().all(|commit| commit.lsn <= stored.lsn));
        assert!(inner.recent.len() <= RECENT, "{} commits", inner.recent.len());
        assert!(let_go.iter().chain(&inner.recent).eq(&held));
    }

    #[test]
    fn a_store_is_tried_again_after_longer_and_longer_waits() {
        let (begun, mut tried) = (Instant::now(), Vec::new());
        let at = |second: u64| begun + Duration::from_secs(second);
        let mut again = Again::new(begun);
        // It is opened at the second of them, and fails again some seconds later.
        for second in 0..=300 {
            let is_suspended = !(7..17).contains(&second);
            if again.is_time(is_suspended, at(second)) {
                tried.push(second);
            }
        }
        assert_eq!(tried, [1, 3, 21, 29, 45, 77, 137, 197, 257]);
        // What has lasted begins anew.
        assert!(!again.is_time(false, at(301)) && !again.is_time(false, at(317)));
        assert!(!again.is_time(true, at(400)) && again.is_time(true, at(401)));
    }
}
