//! What a crash or a power cut leaves of a store.
//!
//! A note tells only of what was flushed before it. What was written behind that may be there in part, with a later chunk
//! and without an earlier one, and so may the pieces of a gap that was being filled.

use super::chunk::Chunk;
use super::store::{Store, remove};
use super::{HistoryError, Inner};
use crate::ledger::{Lsn, Mark};

impl Inner {
    /// Leaves what follows from the beginning on without a break, and makes that durable; the rest is told or fetched again.
    /// Blocks.
    pub(super) fn repair(&mut self, noted: Mark) -> Result<(), HistoryError> {
        let mut bytes = remove(&*self.store, self.stored.lsn, Lsn(u64::MAX))?;
        // What stood behind the note was not counted with it.
        let mut counted = if self.stored.lsn < noted.lsn { bytes } else { 0 };
        if let Some(gap) = &mut self.gap {
            gap.filled = None;
            let of_gap = remove(&*self.store, gap.after.lsn, gap.upto.lsn)?;
            (bytes, counted) = (bytes + of_gap, counted + of_gap);
        }
        self.bytes = self.bytes.saturating_sub(counted);
        if bytes > 0 {
            tracing::warn!(
                after = self.stored.lsn.0,
                bytes,
                "a part of the history that was not flushed to its end is left out and found anew"
            );
        }
        self.find_again(noted.lsn)?;
        self.store.sync()
    }

    /// Notes again what the chunks tell of that were perhaps not flushed: a chunk may be there whose entries are lost. Counts
    /// those behind the note.
    fn find_again(&mut self, noted: Lsn) -> Result<(), HistoryError> {
        let Some(frame) = self.store.at_or_before(noted)? else { return Ok(()) };
        let mut from = Chunk::decode(&frame)?.after.lsn;
        while let Some(frame) = self.store.next(from)? {
            let chunk = Chunk::decode(&frame)?;
            self.store.put(chunk.after.lsn, &frame, &chunk.properties())?;
            if chunk.after.lsn >= noted {
                self.bytes += frame.len() as u64;
            }
            from = chunk.after.lsn.next();
        }
        Ok(())
    }
}

/// The last command of the chunks that follow from one another, of which the first is that in which `noted` is, or the nearest
/// before it that can be read. What stands behind a break does not count.
pub fn last_following(store: &dyn Store, start: Mark, noted: Mark) -> Result<Mark, HistoryError> {
    let (mut last, mut from) = (start, start.lsn);
    if let Some(chunk) = readable(store, start.lsn, noted.lsn)?.filter(|chunk| chunk.last().lsn > start.lsn) {
        // Commands behind its last that changed nothing leave the chain as it was.
        let at_note = chunk.mark_at(noted.lsn);
        if chunk.last().lsn >= noted.lsn && at_note.chain != noted.chain {
            return Err(HistoryError::Damaged("another past than it says"));
        }
        (last, from) = (chunk.last(), chunk.after.lsn.next());
    }
    loop {
        let next = store.next(from).and_then(|frame| frame.map(|frame| Chunk::decode(&frame)).transpose());
        match next {
            Ok(Some(chunk)) if chunk.after.chain == last.chain => {
                (last, from) = (chunk.last(), chunk.after.lsn.next());
            }
            Err(error @ HistoryError::Disk(_)) => return Err(error),
            Ok(_) | Err(_) => return Ok(last),
        }
    }
}

/// The nearest chunk that can be read. One that was being written anew when the power went may be in parts. Those before
/// `start` are of a gap.
fn readable(store: &dyn Store, start: Lsn, upto: Lsn) -> Result<Option<Chunk>, HistoryError> {
    let mut at = Some(upto);
    let mut tries = 0;
    while let Some(lsn) = at.filter(|lsn| *lsn >= start) {
        match store.at_or_before(lsn).and_then(|frame| frame.map(|frame| Chunk::decode(&frame)).transpose()) {
            Ok(chunk) => return Ok(chunk),
            Err(error) if tries == 1 || matches!(error, HistoryError::Disk(_)) => return Err(error),
            Err(_) => at = store.place(lsn)?.and_then(|after| after.0.checked_sub(1)).map(Lsn),
        }
        tries += 1;
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::sled_store::SledStore;
    use super::super::tests::{Told, all_after, expected};
    use super::super::writer::Amount;
    use super::super::{History, Keeping, Kept, NotTold};
    use super::*;
    use crate::replication::Witness;

    fn open(dir: &Path) -> std::sync::Arc<History> {
        History::open(Keeping::OnDisk(dir.to_owned()))
    }

    /// A history of which all up to the mark was flushed, and thousands of commands behind it were written only.
    fn flushed_in_part(dir: &Path, told: &mut Told) -> Mark {
        let history = open(dir);
        told.open(&history);
        told.book(&history, 3_000);
        history.keep();
        history.keep();
        let flushed = Mark::of(&told.ledger);
        told.book(&history, 4_000);
        history.write(Amount::FullChunks);
        flushed
    }

    #[test]
    fn what_was_written_and_not_flushed_counts_where_it_follows() {
        let dir = tempfile::tempdir().unwrap();
        let mut told = Told::new();
        let flushed = flushed_in_part(dir.path(), &mut told);
        let history = open(dir.path());
        let (tip, end) = (history.tip(), told.ledger.lsn());
        assert!(tip.lsn.0 > flushed.lsn.0 + 2_000 && tip.lsn < end, "{tip:?} of {end}");
        let whole = expected(&told, Lsn(0)).into_iter().filter(|mark| mark.lsn <= tip.lsn).collect();
        assert_eq!(all_after(&history, Lsn(0)), (whole, None));
        let counted = history.extent().bytes;
        drop(history);
        let store = SledStore::open(dir.path()).unwrap();
        let (mut kept, mut from) = (0, Lsn(0));
        while let Some(frame) = store.next(from).unwrap() {
            kept += frame.len() as u64;
            from = Chunk::decode(&frame).unwrap().after.lsn.next();
        }
        // But for what the chunk in which the note is has grown by.
        assert!(counted <= kept && kept - counted < kept / 8, "{counted} of {kept}");
    }

    #[test]
    fn what_stands_behind_a_hole_is_cut_off_and_told_anew() {
        let dir = tempfile::tempdir().unwrap();
        let mut told = Told::new();
        let flushed = flushed_in_part(dir.path(), &mut told);
        let store = SledStore::open(dir.path()).unwrap();
        let hole = Chunk::decode(&store.next(Lsn(flushed.lsn.0 + 1_000)).unwrap().unwrap()).unwrap();
        assert!(store.remove_some(hole.after.lsn, hole.after.lsn.next()).unwrap() > 0);
        assert!(store.next(hole.after.lsn).unwrap().is_some(), "a chunk behind it");
        drop(store);

        let history = open(dir.path());
        assert_eq!(history.tip(), hole.after);
        assert!(history.lock().store.next(hole.after.lsn).unwrap().is_none(), "what stood behind it");
        assert_eq!(history.after(hole.after.lsn.next()).unwrap_err(), NotTold::InFuture);
        // As the log is replayed.
        let mut again = Told::new();
        again.open(&history);
        again.book(&history, 7_000);
        history.keep();
        assert_eq!(all_after(&history, Lsn(0)), (expected(&told, Lsn(0)), None));
    }

    #[test]
    fn what_was_flushed_and_is_not_there_is_lost_alone() {
        for broken in [false, true] {
            let dir = tempfile::tempdir().unwrap();
            let mut told = Told::new();
            let flushed = flushed_in_part(dir.path(), &mut told);
            let store = SledStore::open(dir.path()).unwrap();
            let last = Chunk::decode(&store.at_or_before(flushed.lsn).unwrap().unwrap()).unwrap();
            if broken {
                store.put(last.after.lsn, b"no chunk", &last.properties()).unwrap();
            } else {
                assert!(store.remove_some(last.after.lsn, last.after.lsn.next()).unwrap() > 0);
            }
            drop(store);
            assert!(Kept::open(dir.path()).is_err(), "verify says it");
            let history = open(dir.path());
            assert_eq!(history.tip(), last.after);
            assert!(!dir.path().with_extension("damaged").exists());
            history.restored(Mark::of(&told.ledger));
            let whole: Vec<Mark> =
                expected(&told, Lsn(0)).into_iter().filter(|mark| mark.lsn <= last.after.lsn).collect();
            assert_eq!(all_after(&history, Lsn(0)), (whole, Some(NotTold::Missing)));
        }
    }
}
