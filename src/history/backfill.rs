//! What is missing, given by one node to another.

use super::aside::GivenUp;
use super::chunk::{Chunk, StoredChunk, StoredCommit};
use super::store::remove;
use super::writer::Writer;
use super::{Gap, History, HistoryError, Keeping, NotTold};
use crate::ledger::{Lsn, Mark};

/// A piece holds no more than what brings it past so many bytes.
const PIECE_BYTES: usize = 64 << 10;

impl History {
    /// What lies between and is not there, where something does, and can be kept.
    pub fn gap(&self) -> Option<Gap> {
        let inner = self.lock();
        inner.gap.filter(|_| !inner.is_suspended())
    }

    /// What lies between because what was told of it was not this state's past.
    pub fn gap_of_divergence(&self) -> Option<Gap> {
        let diverged_at = self.lock().diverged_at;
        self.gap().filter(|gap| diverged_at == Some(gap.upto))
    }

    /// Whether the disk has the room for what lies between. Blocks.
    pub fn has_room_for_gap(&self) -> Result<(), HistoryError> {
        let store = self.lock().store.clone();
        store.has_room_for_more()
    }

    /// The next commits after the mark that a peer has, up to `upto`, for [`fill`](History::fill). Blocks.
    pub fn piece(&self, after: Mark, upto: Lsn) -> Result<Vec<u8>, NotTold> {
        let mut chunk = StoredChunk { after, commits: Vec::new() };
        let (mut bytes, mut at) = (0, after.lsn);
        // Where a run of commands changed nothing, there is nothing to send before the next.
        while chunk.commits.is_empty() && at < upto {
            let run = self.after(at)?;
            for commit in run.commits.iter().take_while(|commit| commit.lsn <= upto) {
                let stored = StoredCommit::new(commit).map_err(|error| unsendable(&error))?;
                bytes += stored.bytes();
                chunk.commits.push(stored);
                if bytes >= PIECE_BYTES {
                    break;
                }
            }
            if chunk.commits.is_empty() && run.upto <= at {
                return Err(NotTold::InFuture);
            }
            at = run.upto;
        }
        chunk.encode().map_err(|error| unsendable(&error))
    }

    /// Takes a peer's piece into the gap, where it follows from what is there; false where it is another than the next, or the
    /// disk has no room for it: the peers keep it, and the log would stop the node. Nothing
    /// of a gap is told until its last piece has met what comes after it. Blocks.
    pub fn fill(&self, frame: &[u8]) -> Result<bool, HistoryError> {
        // What a peer has sent is looked at before anything is locked.
        let chunk = Chunk::decode(frame);
        let mut writer = self.lock_writer();
        let store = self.lock().store.clone();
        let filled = self.put_piece(&mut writer, frame, chunk);
        if let Err(error @ (HistoryError::Store(_) | HistoryError::Disk(_))) = &filled {
            self.fail_store(&store, error);
        }
        filled
    }

    fn put_piece(
        &self,
        writer: &mut Writer,
        frame: &[u8],
        chunk: Result<Chunk, HistoryError>,
    ) -> Result<bool, HistoryError> {
        if !self.has_begun(writer)? {
            return Ok(false);
        }
        let (store, generation, gap) = {
            let inner = self.lock();
            let Some(gap) = inner.gap.filter(|_| inner.has_store()) else { return Ok(false) };
            (inner.store.clone(), inner.generation, gap)
        };
        if !writer.has_begun_in(generation) {
            // It grew meanwhile.
            return Ok(false);
        }
        if store.has_room_for_more().is_err() {
            return Ok(false);
        }
        let begin_again = |error| {
            // The pieces of another past begin elsewhere than those that come now: none of them may stay.
            let removed = remove(&*store, gap.after.lsn, gap.upto.lsn)?;
            self.has_filled(generation, gap, gap.after, removed, 0);
            Err(error)
        };
        let chunk = match chunk {
            Ok(chunk) if chunk.after == gap.filled_upto() => chunk,
            Ok(_) => return Ok(false),
            // Either this piece is of another past, or those before it are.
            Err(error) => return begin_again(error),
        };
        let last = chunk.last();
        if last == chunk.after {
            // The peer changed nothing more up to the end, and the end is not met.
            return begin_again(HistoryError::Damaged("another past than this node's state"));
        }
        let is_past_end =
            last.lsn > gap.upto.lsn || (last.lsn == gap.upto.lsn && last.chain != gap.upto.chain);
        if is_past_end {
            return begin_again(HistoryError::Damaged("another past than this node's state"));
        }
        // Pieces begin where another peer's do not, and what was told before the gap grew is in chunks of its own: none of
        // those may stand within or behind this one.
        let removed = remove(&*store, chunk.after.lsn, gap.upto.lsn)?;
        store.put(chunk.after.lsn, frame, &chunk.properties())?;
        self.has_filled(generation, gap, last, removed, frame.len() as u64);
        Ok(true)
    }

    /// Where what follows `after` is not there: the mark after which the rest is.
    pub fn lacks(&self, after: Lsn) -> Option<Mark> {
        let inner = self.lock();
        match inner.check(after) {
            Ok(()) => None,
            // Its disk may hold it.
            Err(_) if inner.is_suspended() => None,
            Err(NotTold::Gone { .. }) => Some(inner.first),
            Err(_) => inner.gap.map(|gap| gap.upto),
        }
    }

    /// Nobody has what comes next in the gap. What is kept begins where a peer's does, or behind the gap: a history has no
    /// hole for good, and what went before one is given up with it. Where something did, it is set aside first, and until that
    /// is done the gap stays; whoever finds that again may say so again.
    pub fn give_up(&self, gap: Gap, peers: Option<Mark>) {
        let mut inner = self.lock();
        if inner.gap != Some(gap) || inner.is_suspended() {
            return;
        }
        let within = |mark: &Mark| mark.lsn > gap.filled_upto().lsn && mark.lsn < gap.upto.lsn;
        let first = peers.filter(within).unwrap_or(gap.upto);
        if let Some(given_up) = inner.given_up.as_mut().filter(|given_up| given_up.gap == gap) {
            // Meanwhile the peers may have forgotten more.
            given_up.first = first;
            return;
        }
        tracing::warn!(first = first.lsn.next().0, "nobody has the history before this command");
        // Nobody else may have what went before the hole: it is set aside before any of it is removed.
        let has_more = gap.filled_upto().chain != inner.first.chain;
        if has_more && matches!(self.keeping, Keeping::OnDisk(_)) {
            inner.given_up = Some(GivenUp::new(gap, first));
        } else {
            inner.forget(first);
        }
        self.hurry.notify_one();
    }

    fn has_filled(&self, generation: u64, gap: Gap, upto: Mark, removed: u64, put: u64) {
        let mut inner = self.lock();
        if inner.generation == generation && inner.gap == Some(gap) {
            inner.bytes = inner.bytes.saturating_sub(removed) + put;
            let is_whole = upto.chain == gap.upto.chain;
            inner.gap = (!is_whole).then_some(Gap { filled: Some(upto), ..gap });
        }
    }
}

impl Gap {
    /// Up to where pieces were taken; those that come next follow from there.
    pub fn filled_upto(&self) -> Mark {
        self.filled.unwrap_or(self.after)
    }
}

fn unsendable(error: &dyn std::error::Error) -> NotTold {
    tracing::error!(%error, "a piece of the history can't be sent");
    NotTold::Missing
}
