//! A stopped node's history, held against the state that its log leads to, command by command.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;

use super::chunk::Chunk;
use super::store::Store;
use super::{HistoryError, Inner, Keeping, Mark};
use crate::ledger::Lsn;
use crate::replication::Wrong;

/// Reads what is kept, from its beginning on.
pub struct Kept {
    store: Arc<dyn Store>,
    first: Mark,
    gap: Option<(Mark, Mark)>,
    tip: Mark,
    /// The last command that was read, and those of its chunk that come next.
    at: Mark,
    next: VecDeque<Mark>,
    /// Where the next chunk is looked for.
    from: Lsn,
    /// Commands of which what is kept was found to be what the log led to.
    pub compared: u64,
}

impl Kept {
    /// `None` where there is none. An error where it can't be read, or less is there than was flushed. Blocks.
    pub fn open(dir: &Path) -> Result<Option<Kept>, HistoryError> {
        if !dir.exists() {
            return Ok(None);
        }
        let (inner, noted) = Inner::open(&Keeping::OnDisk(dir.to_owned()))?;
        if inner.tip.lsn < noted.lsn {
            return Err(HistoryError::Damaged("less than was kept"));
        }
        Ok(Some(Kept {
            first: inner.first,
            gap: inner.gap.map(|gap| (gap.after, gap.upto)),
            tip: inner.tip,
            at: inner.first,
            next: VecDeque::new(),
            from: Lsn(0),
            compared: 0,
            store: inner.store,
        }))
    }

    /// The last command that is told of.
    pub fn tip(&self) -> Lsn {
        self.tip.lsn
    }

    /// Whether what is kept up to the state's command is what led to it. States come in their order. What the history does
    /// not tell of, because it was not written yet, is forgotten or is being fetched, is not compared. Blocks.
    pub fn compare(&mut self, state: Mark) -> Result<(), Wrong> {
        if state.lsn < self.first.lsn || state.lsn > self.tip.lsn {
            return Ok(());
        }
        if let Some((after, upto)) = self.gap {
            if after.lsn < state.lsn && state.lsn < upto.lsn {
                return Ok(());
            }
            if state.lsn >= upto.lsn && self.at.lsn < upto.lsn {
                (self.at, self.from) = (upto, upto.lsn);
                self.next.clear();
            }
        }
        self.read_up_to(state.lsn)?;
        if self.at.chain != state.chain {
            let what = "the history tells of other changes than the log leads to".to_owned();
            return Err(Wrong { lsn: state.lsn, what });
        }
        self.compared += 1;
        Ok(())
    }

    fn read_up_to(&mut self, lsn: Lsn) -> Result<(), Wrong> {
        loop {
            while let Some(next) = self.next.front().filter(|next| next.lsn <= lsn) {
                self.at = *next;
                self.next.pop_front();
            }
            if !self.next.is_empty() {
                return Ok(());
            }
            let chunk = self.next_chunk().map_err(|error| self.wrong(&error))?;
            let Some(chunk) = chunk.filter(|chunk| chunk.after.lsn < lsn) else { return Ok(()) };
            self.from = chunk.after.lsn.next();
            if chunk.last().lsn < self.first.lsn {
                // It is forgotten, and will be removed.
                continue;
            }
            // The history may begin in the middle of a chunk, and what is fetched in that of another.
            if chunk.mark_at(self.at.lsn).chain != self.at.chain {
                return Err(self.wrong(&HistoryError::Damaged("less than was kept")));
            }
            let marks = chunk.commits.iter().map(|commit| super::mark_of(commit));
            self.next = marks.filter(|mark| mark.lsn > self.at.lsn).collect();
        }
    }

    fn next_chunk(&self) -> Result<Option<Chunk>, HistoryError> {
        self.store.next(self.from)?.map(|frame| Chunk::decode(&frame)).transpose()
    }

    fn wrong(&self, error: &HistoryError) -> Wrong {
        let lsn = match error {
            HistoryError::NotFollowing { lsn } => *lsn,
            _ => self.at.lsn.next(),
        };
        Wrong { lsn, what: error.to_string() }
    }
}
