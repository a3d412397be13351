//! What the records of the log add up to, and where in its files each entry stands.

use std::cmp::Ordering;
use std::collections::VecDeque;
use std::io;

use super::log_record::{LogRecord, LoggedVote};
use super::types::LogId;

/// What the records of the log add up to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LoggedState {
    pub vote: Option<LoggedVote>,
    pub last: Option<LogId>,
    pub committed: Option<LogId>,
    pub purged: Option<LogId>,
}

impl LoggedState {
    /// Refuses what can't come next. What has been checked is safe to write: a start would refuse it, too.
    fn check(&self, record: &LogRecord) -> io::Result<()> {
        let refused = match record {
            LogRecord::SaveVote(new) => match &self.vote {
                Some(old) if new.vote.partial_cmp(&old.vote).is_none_or(Ordering::is_lt) => {
                    format!("vote {} after vote {}", new.vote, old.vote)
                }
                _ => return Ok(()),
            },
            LogRecord::Append(id, _) => match &self.last {
                Some(last) if *id <= *last || id.index != last.index + 1 => {
                    format!("entry {id} after entry {last}")
                }
                _ => return Ok(()),
            },
            LogRecord::Commit(id) if Some(*id) < self.committed || Some(*id) > self.last => {
                let shown = |id: Option<LogId>| id.map_or_else(|| "none".into(), |id| id.to_string());
                let (committed, last) = (shown(self.committed), shown(self.last));
                format!("committed up to {id} after {committed}, in a log up to {last}")
            }
            LogRecord::TruncateAfter(last) => match self.committed {
                Some(committed) if *last < Some(committed) => {
                    format!("a truncation before entry {committed}, which was committed")
                }
                _ => return Ok(()),
            },
            LogRecord::Commit(_) | LogRecord::PurgeUpto(_) | LogRecord::Checkpoint(_) => return Ok(()),
        };
        Err(io::Error::new(io::ErrorKind::InvalidData, refused))
    }

    fn apply(&mut self, record: &LogRecord) {
        match record {
            LogRecord::SaveVote(vote) => self.vote = Some(*vote),
            LogRecord::Append(id, _) => self.last = Some(*id),
            LogRecord::Commit(id) => self.committed = Some(*id),
            LogRecord::TruncateAfter(last) => self.last = self.last.min(*last),
            LogRecord::PurgeUpto(id) => {
                self.purged = self.purged.max(Some(*id));
                self.last = last_behind(self.last, *id);
            }
            LogRecord::Checkpoint(state) => *self = *state,
        }
    }
}

/// The last entry of a log once it is purged. An entry of a later term may lie before the end of what is purged, as one of an
/// earlier term may lie behind it: neither was ever committed, and with both it goes on behind what is purged.
pub fn last_behind(last: Option<LogId>, purged: LogId) -> Option<LogId> {
    last.filter(|last| *last > purged && last.index > purged.index).or(Some(purged))
}

/// Where an entry stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub id: LogId,
    /// Bytes of the log before its record.
    pub at: u64,
    /// Of its record.
    pub bytes: usize,
    pub is_membership: bool,
}

impl Place {
    /// The position behind its record.
    pub fn end(&self) -> u64 {
        self.at + self.bytes as u64
    }
}

/// The state of the log, and the places of its entries.
#[derive(Debug, Default)]
pub struct LogIndex {
    pub state: LoggedState,
    /// Without a gap, up to the last.
    places: VecDeque<Place>,
}

impl LogIndex {
    /// Takes a record of `bytes` bytes that stands at `at`, or refuses what can't come next.
    pub fn note(&mut self, record: &LogRecord, at: u64, bytes: usize) -> io::Result<()> {
        self.state.check(record)?;
        self.state.apply(record);
        match record {
            LogRecord::Append(id, payload) => {
                let is_membership = payload.is_membership();
                self.places.push_back(Place { id: *id, at, bytes, is_membership });
            }
            LogRecord::TruncateAfter(last) => {
                while self.places.pop_back_if(|place| Some(place.id) > *last).is_some() {}
            }
            LogRecord::PurgeUpto(upto) => {
                while self.places.pop_front_if(|place| place.id.index <= upto.index).is_some() {}
                if self.state.last == Some(*upto) {
                    // What another leader's log had gone on with.
                    self.places.clear();
                }
            }
            LogRecord::SaveVote(_) | LogRecord::Commit(_) | LogRecord::Checkpoint(_) => {}
        }
        Ok(())
    }

    /// The places of the entries of `[from, to)` that are there.
    pub fn range(&self, from: u64, to: u64) -> impl DoubleEndedIterator<Item = &Place> {
        let first = self.places.front().map_or(0, |place| place.id.index);
        let within = |index: u64| index.saturating_sub(first).min(self.places.len() as u64) as usize;
        let (from, to) = (within(from), within(to));
        self.places.range(from..to.max(from))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replication::log_record::{LoggedPayload, Mark};
    use crate::replication::tests::support::log_id;
    use crate::replication::types::Vote;

    fn append(term: u64, index: u64) -> LogRecord {
        LogRecord::Append(log_id(term, index), LoggedPayload::new(&openraft::EntryPayload::Blank).unwrap())
    }

    fn vote(term: u64) -> LogRecord {
        LogRecord::SaveVote(LoggedVote { vote: Vote::new(term, 1), mark: Mark(0) })
    }

    fn index_of(records: impl IntoIterator<Item = LogRecord>) -> LogIndex {
        let mut index = LogIndex::default();
        for (at, record) in records.into_iter().enumerate() {
            index.note(&record, 10 * at as u64, 10).unwrap();
        }
        index
    }

    fn indexes(index: &LogIndex, from: u64, to: u64) -> Vec<u64> {
        index.range(from, to).map(|place| place.id.index).collect()
    }

    #[test]
    fn entries_are_found_between_what_was_purged_and_what_was_truncated() {
        let records = (5..15).map(|index| append(1, index));
        let changes = [
            LogRecord::TruncateAfter(Some(log_id(1, 11))),
            append(2, 12),
            LogRecord::PurgeUpto(log_id(1, 7)),
        ];
        let index = index_of(records.chain(changes));
        assert_eq!(indexes(&index, 0, u64::MAX), [8, 9, 10, 11, 12]);
        assert_eq!(indexes(&index, 9, 11), [9, 10]);
        assert_eq!((indexes(&index, 13, 20), indexes(&index, 11, 9)), (vec![], vec![]));
        let last = *index.range(12, 13).next().unwrap();
        assert_eq!(last, Place { id: log_id(2, 12), at: 110, bytes: 10, is_membership: false });
        let LoggedState { last, purged, .. } = index.state;
        assert_eq!((last, purged), (Some(log_id(2, 12)), Some(log_id(1, 7))));
    }

    /// A snapshot takes the place of a log that had not come so far.
    #[test]
    fn a_purge_beyond_the_end_leaves_a_log_that_goes_on_behind_it() {
        let mut index = index_of([append(1, 0), append(1, 1), LogRecord::PurgeUpto(log_id(3, 9))]);
        assert_eq!((index.state.last, indexes(&index, 0, 99)), (Some(log_id(3, 9)), vec![]));
        assert!(index.note(&append(3, 2), 0, 1).is_err());
        index.note(&append(3, 10), 0, 1).unwrap();
        assert_eq!(indexes(&index, 0, 99), [10]);
    }

    /// Its leader wrote it for itself alone; those that went on without it committed more of what was before.
    #[test]
    fn a_purge_beyond_the_end_takes_an_end_of_a_later_term_with_it() {
        let before = (5..8).map(|index| append(6, index)).chain([append(7, 8)]);
        let mut index = index_of(before.chain([LogRecord::PurgeUpto(log_id(6, 9))]));
        assert_eq!((index.state.last, indexes(&index, 0, 99)), (Some(log_id(6, 9)), vec![]));
        index.note(&append(8, 10), 0, 1).unwrap();
        assert_eq!(indexes(&index, 0, 99), [10]);
    }

    #[test]
    fn what_can_not_come_next_is_refused_and_changes_nothing() {
        let mut index = index_of([vote(2), append(1, 0), append(2, 1), LogRecord::Commit(log_id(1, 0))]);
        let before = index.state;
        for refused in [
            vote(1),
            append(2, 1),
            append(2, 3),
            append(1, 2),
            LogRecord::Commit(log_id(2, 2)),
            LogRecord::TruncateAfter(None),
        ] {
            assert!(index.note(&refused, 0, 1).is_err(), "{refused:?}");
            assert_eq!((index.state, indexes(&index, 0, 9)), (before, vec![0, 1]), "{refused:?}");
        }
        index.note(&LogRecord::Commit(log_id(2, 1)), 0, 1).unwrap();
        assert!(index.note(&LogRecord::Commit(log_id(1, 0)), 0, 1).is_err());
        index.note(&vote(2), 0, 1).unwrap();
    }
}
