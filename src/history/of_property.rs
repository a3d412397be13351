//! What is told of one property: found by an index, however much is told of others meanwhile.

use std::sync::Arc;

use super::chunk::{Chunk, properties_of};
use super::store::Store;
use super::{History, HistoryError, Inner, NotTold, RUN_MAX, Run};
use crate::ledger::{Commit, Lsn, PropertyId};

impl History {
    /// The commits after `position` that changed something of the property: some of them. Blocks on the disk where they are
    /// not recent; see [`recent_of`](History::recent_of).
    pub fn after_of(&self, position: Lsn, property: &PropertyId) -> Result<Run, NotTold> {
        let (store, generation, limit) = {
            let inner = self.lock();
            if let Some(told) = inner.recent_of(position, property) {
                return told;
            }
            let limit = inner.gap.map(|gap| gap.after).filter(|after| position < after.lsn);
            (inner.store.clone(), inner.generation, limit.unwrap_or(inner.recent_after).lsn)
        };
        self.read(generation, position, || self.stored_after_of(&*store, position, limit, property))
    }

    /// Like [`after_of`](History::after_of), where all that is asked for stands in memory; never blocks.
    pub fn recent_of(&self, position: Lsn, property: &PropertyId) -> Option<Result<Run, NotTold>> {
        self.lock().recent_of(position, property)
    }

    /// The commits after `from` up to and with `upto` that changed something of the property, newest first: some of them, and
    /// up to where none other is told of. Blocks on the disk where they are not recent.
    pub(super) fn before_of(
        &self,
        upto: Lsn,
        from: Lsn,
        property: &PropertyId,
    ) -> Result<(Vec<Arc<Commit>>, Lsn), NotTold> {
        let (store, generation) = {
            let inner = self.lock();
            inner.check_back_to(from)?;
            if upto > inner.recent_after.lsn {
                let end = inner.recent.partition_point(|commit| commit.lsn <= upto);
                let commits = inner.recent.range(..end).rev().filter(|commit| is_of(commit, property));
                return Ok((commits.cloned().collect(), inner.recent_after.lsn));
            }
            (inner.store.clone(), inner.generation)
        };
        let told = self.read(generation, from, || self.stored_before(&*store, upto, property));
        self.lock().check_back_to(from)?;
        told
    }

    fn stored_after_of(
        &self,
        store: &dyn Store,
        position: Lsn,
        limit: Lsn,
        property: &PropertyId,
    ) -> Result<Run, HistoryError> {
        // The chunk in which the position is, and those after it. One may be noted that was not kept with all that it was to tell.
        let mut next = store.last_of(property, position.next())?;
        if next.is_none() {
            next = store.first_of(property, position.next())?;
        }
        while let Some(after) = next.filter(|after| *after < limit) {
            let wanted = |commit: &Arc<Commit>| {
                commit.lsn > position && commit.lsn <= limit && is_of(commit, property)
            };
            if let Some(chunk) = self.indexed(store, after)? {
                let upto = chunk.last().lsn.min(limit);
                let commits: Vec<_> = chunk.commits.into_iter().filter(wanted).collect();
                if !commits.is_empty() {
                    return Ok(Run { commits, upto });
                }
            }
            next = store.first_of(property, after.max(position).next())?;
        }
        Ok(Run { commits: Vec::new(), upto: limit })
    }

    fn stored_before(
        &self,
        store: &dyn Store,
        upto: Lsn,
        property: &PropertyId,
    ) -> Result<(Vec<Arc<Commit>>, Lsn), HistoryError> {
        let Some(after) = store.last_of(property, upto)? else { return Ok((Vec::new(), Lsn(0))) };
        let Some(chunk) = self.indexed(store, after)? else { return Ok((Vec::new(), after)) };
        let after = chunk.after.lsn;
        let commits = chunk.commits.into_iter().rev();
        let commits = commits.filter(|commit| commit.lsn <= upto && is_of(commit, property));
        Ok((commits.collect(), after))
    }

    /// The chunk of which the index told, or another that tells of the same. `None` where it is not there and need not be: it is
    /// noted before it is written, what is forgotten goes after its entry, and a crash leaves either.
    fn indexed(&self, store: &dyn Store, after: Lsn) -> Result<Option<Chunk>, HistoryError> {
        let next = store.next(after)?.map(|frame| Chunk::decode(&frame)).transpose()?;
        if let Some(next) = &next
            && next.after.lsn == after
        {
            return Ok(Some(next.clone()));
        }
        let (floor, is_fetched, first) = {
            let inner = self.lock();
            let is_fetched = inner.gap.is_some_and(|gap| gap.after.lsn <= after && after < gap.upto.lsn);
            (inner.floor(after), is_fetched, inner.first)
        };
        if is_fetched {
            return Ok(None);
        }
        let before = store.at_or_before(after)?.map(|frame| Chunk::decode(&frame)).transpose()?;
        let before = before.filter(|chunk| chunk.last().lsn >= floor.lsn);
        // Another tells of what this one was to tell of.
        if before.as_ref().is_some_and(|chunk| chunk.last().lsn > after) {
            return Ok(before);
        }
        let Some(next) = next.filter(|_| after >= first.lsn) else { return Ok(None) };
        // Nothing lies between the two around it.
        if before.map_or(floor, |chunk| chunk.last()).chain == next.after.chain {
            Ok(None)
        } else {
            Err(HistoryError::Damaged("less than was kept"))
        }
    }
}

impl Inner {
    fn recent_of(&self, position: Lsn, property: &PropertyId) -> Option<Result<Run, NotTold>> {
        if let Err(not_told) = self.check(position) {
            return Some(Err(not_told));
        }
        if position > self.tip.lsn {
            return Some(Err(NotTold::InFuture));
        }
        if position < self.recent_after.lsn {
            return None;
        }
        let at = self.recent.partition_point(|commit| commit.lsn <= position);
        let commits = self.recent.range(at..).filter(|commit| is_of(commit, property));
        let commits: Vec<_> = commits.take(RUN_MAX).cloned().collect();
        let is_full = commits.len() == RUN_MAX;
        let upto = commits.last().filter(|_| is_full).map_or(self.tip.lsn, |last| last.lsn);
        Some(Ok(Run { commits, upto }))
    }
}

fn is_of(commit: &Commit, property: &PropertyId) -> bool {
    properties_of(commit).any(|of| of == property)
}
