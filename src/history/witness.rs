//! What replication tells of: as it is applied, restored and forgotten.

use std::sync::{Arc, MutexGuard};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::time::timeout;

use super::writer::{Amount, CHUNK_COMMITS};
use super::{Backlog, History, HistoryError, Inner, RECENT_CHANGES};
use crate::ledger::{Commit, Lsn, Mark};
use crate::planted::{Bug, planted};
use crate::replication::Witness;

/// Commits that wait to be kept, at most, and changes that stand in memory; then apply waits.
const UNKEPT_MAX: usize = 65_536;
const CHANGES_MAX: usize = 4 * UNKEPT_MAX;
/// Where the disk has taken nothing for so long, though too much waits for it, the ledger goes on without the history.
const ROOM_WITHIN: Duration = Duration::from_secs(60);
const _: () = assert!(CHANGES_MAX > RECENT_CHANGES, "what is kept must never make apply wait");

impl Witness for History {
    fn tip(&self) -> Mark {
        *self.tip.borrow()
    }

    fn applied(&self, before: Mark, after: Mark, commits: Vec<Commit>) {
        let mut inner = self.lock();
        if after.lsn < inner.tip.lsn {
            return;
        }
        if planted(Bug::HistoryNotKept) {
            inner.go_on_at(after);
            self.kept.send_replace(after.lsn);
            return self.told(inner);
        }
        let known = inner.tip.lsn;
        let mut new: Vec<_> = commits.into_iter().map(Arc::new).collect();
        let at = new.partition_point(|commit| commit.lsn <= known);
        let follows = match new.get(at) {
            Some(commit) => inner.tip.chain.after(commit) == commit.chain,
            None => inner.tip.chain == after.chain,
        };
        if follows {
            new.drain(..at);
        } else {
            inner.diverge(before);
            self.kept.send_replace(Lsn(0));
        }
        new.into_iter().for_each(|commit| inner.push_recent(commit));
        inner.tip = after;
        if inner.is_suspended() {
            inner.hold();
        }
        self.told(inner);
    }

    fn restored(&self, mark: Mark) {
        let mut inner = self.lock();
        let tip = inner.tip;
        if mark.lsn < tip.lsn || mark == tip {
            return;
        }
        if mark.lsn == tip.lsn {
            inner.diverge(mark);
            self.kept.send_replace(Lsn(0));
        } else if mark.chain == tip.chain {
            inner.tip = mark;
        } else {
            let after = inner.gap.map_or(inner.stored, |gap| gap.after);
            inner.go_on_at(mark);
            if !planted(Bug::GapNotNoticed) {
                inner.miss(after, mark);
            }
        }
        self.told(inner);
    }

    fn diverged(&self, mark: Mark) {
        let mut inner = self.lock();
        inner.diverge(mark);
        self.kept.send_replace(Lsn(0));
        self.told(inner);
        self.hurry.notify_one();
    }

    fn forget(&self, mark: Mark) {
        let mut inner = self.lock();
        // A replay tells of earlier marks again.
        if inner.forgotten.lsn < mark.lsn {
            inner.forgotten = mark;
            inner.forget(mark);
        }
    }

    fn keep(&self) {
        self.write(Amount::All);
    }

    fn has_room(&self) -> BoxFuture<'_, ()> {
        if !self.backlog.borrow().is_full() {
            return Box::pin(std::future::ready(()));
        }
        self.work.notify_one();
        Box::pin(async {
            let mut backlog = self.backlog.subscribe();
            let mut stored = self.lock().stored;
            // An error where the time is up; the sender lives as long as this history.
            while timeout(ROOM_WITHIN, backlog.wait_for(|backlog| !backlog.is_full())).await.is_err() {
                self.give_up_if_stalled(&mut stored);
            }
        })
    }

    fn has_kept(&self, lsn: Lsn) -> BoxFuture<'_, ()> {
        self.hurry.notify_one();
        Box::pin(async move {
            // The sender lives as long as this history.
            let _ = self.kept.subscribe().wait_for(|kept| *kept >= lsn).await;
        })
    }
}

impl History {
    /// Gives up a store that holds no more than `stored`, which it held [`ROOM_WITHIN`] before, and has to.
    fn give_up_if_stalled(&self, stored: &mut Mark) {
        let mut inner = self.lock();
        if inner.stored == *stored && inner.backlog().is_full() && !inner.is_suspended() {
            let error = HistoryError::Disk(format!("nothing was written within {ROOM_WITHIN:?}"));
            self.give_up_store(&mut inner, &error);
        }
        *stored = inner.stored;
    }
}

impl Backlog {
    fn is_full(&self) -> bool {
        self.unkept >= UNKEPT_MAX || self.changes >= CHANGES_MAX
    }
}

impl History {
    /// Tells those who wait what there is now, in the order in which it came to be: before others may change it.
    pub(super) fn told(&self, inner: MutexGuard<'_, Inner>) {
        let (tip, mut backlog) = (inner.tip, inner.backlog());
        if inner.is_suspended() {
            // The log is not kept for the sake of what is fetched from a peer one day, and apply waits for nothing.
            self.kept.send_replace(tip.lsn);
            backlog = Backlog::default();
        }
        self.tip.send_replace(tip);
        self.backlog.send_replace(backlog);
        drop(inner);
        if backlog.unkept >= CHUNK_COMMITS || backlog.changes >= RECENT_CHANGES {
            self.work.notify_one();
        }
    }
}
