//! What every replica and every replay compares before it applies a batch.

use std::collections::VecDeque;

use super::batch::{Check, Payload};
use super::codec::CodecError;
use super::witness::Witness;
use crate::ledger::{Applied, Broken, Ledger, Lsn, Mark, StateHash, Submission, Timestamp};

/// Positions that are remembered. A proposer is behind its own log by the batches in flight, which are far fewer.
const POSITIONS: usize = 8_192;

/// A batch, wholly decoded.
pub struct DecodedBatch {
    pub stamp: Timestamp,
    pub check: Check,
    pub submissions: Vec<Submission>,
}

impl DecodedBatch {
    /// Decodes everything before anything is applied.
    pub fn decode(payload: &Payload) -> Result<DecodedBatch, CodecError> {
        let batch = payload.decode()?;
        Ok(DecodedBatch { stamp: batch.stamp, check: batch.check, submissions: batch.submissions()? })
    }

    /// Applies its commands, and tells what they changed.
    pub fn apply(&self, ledger: &mut Ledger, witness: &dyn Witness) -> Result<Vec<Applied>, Broken> {
        let (before, forgotten) = (Mark::of(ledger), ledger.history_from());
        let (applied, commits) = ledger.apply_all(self.stamp, &self.submissions)?;
        witness.applied(before, Mark::of(ledger), commits);
        if let Some(mark) = ledger.history_from().filter(|mark| Some(*mark) != forgotten) {
            witness.forget(mark);
        }
        Ok(applied)
    }
}

/// Where this node's own ledger stood after each of the latest batches.
pub struct OwnChecks(VecDeque<Check>);

/// A batch was proposed on a state that this node never had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Difference {
    #[error("at LSN {lsn} the proposer's state hash was {theirs}, this node's is {own}")]
    Hash { lsn: Lsn, theirs: StateHash, own: StateHash },
    #[error("the proposer stood at LSN {theirs}, where this node never stood; it stands at {own}")]
    Position { theirs: Lsn, own: Lsn },
}

impl OwnChecks {
    pub fn new(ledger: &Ledger) -> OwnChecks {
        OwnChecks(VecDeque::from([own_check(ledger)]))
    }

    /// To be called after each batch.
    pub fn remember(&mut self, ledger: &Ledger) {
        let check = own_check(ledger);
        if self.0.back().is_some_and(|last| last.lsn == check.lsn) {
            return;
        }
        if self.0.len() == POSITIONS {
            self.0.pop_front();
        }
        self.0.push_back(check);
    }

    /// Compares with this node's state at the same LSN. What lies before all that is remembered can't be compared; a
    /// difference there shows in the hashes since.
    pub fn compare(&self, theirs: Check) -> Result<(), Difference> {
        let at = self.0.partition_point(|own| own.lsn < theirs.lsn);
        match self.0.get(at) {
            Some(own) if own.lsn == theirs.lsn && own.state_hash == theirs.state_hash => Ok(()),
            Some(own) if own.lsn == theirs.lsn => {
                Err(Difference::Hash { lsn: own.lsn, theirs: theirs.state_hash, own: own.state_hash })
            }
            Some(_) if at == 0 => Ok(()),
            _ => {
                let own = self.0.back().map(|newest| newest.lsn).unwrap_or_default();
                Err(Difference::Position { theirs: theirs.lsn, own })
            }
        }
    }
}

fn own_check(ledger: &Ledger) -> Check {
    Check { lsn: ledger.lsn(), state_hash: ledger.state_hash() }
}

#[cfg(test)]
mod tests {
    use super::super::tests::support::put_room_type;
    use super::*;

    #[test]
    fn only_so_many_positions_are_remembered() {
        let mut ledger = Ledger::default();
        let mut own = OwnChecks::new(&ledger);
        let first = own_check(&ledger);
        for n in 0..POSITIONS + 10 {
            // Refused, and a command all the same.
            ledger.apply_all(Timestamp(1), &[put_room_type(&n.to_string())]).unwrap();
            own.remember(&ledger);
        }
        assert_eq!(own.0.len(), POSITIONS);
        assert_eq!(own.compare(first), Ok(()), "it can't be compared any more");
        let newest = own_check(&ledger);
        assert_eq!(own.compare(newest), Ok(()));
        let other = Check { state_hash: StateHash(newest.state_hash.0 ^ 1), ..newest };
        assert!(matches!(own.compare(other), Err(Difference::Hash { .. })));
    }
}
