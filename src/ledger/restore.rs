//! Rebuilding a ledger from its persisted form.

use super::check;
use super::digest::StateHash;
use super::record::{Header, Record, RecordCounts};
use super::state::Ledger;
use super::store::{DigestMap, SortedMap};
use crate::planted::{Bug, planted};

/// Why a header and its records are not the state that was persisted.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Damage {
    #[error("record {number} ({record}) appears twice")]
    Twice { number: u64, record: String },
    #[error("record {number} ({record}) does not fit the records before it")]
    Unfit { number: u64, record: String },
    #[error("the header counts {expected:?}, there are {found:?}")]
    Counts { expected: RecordCounts, found: RecordCounts },
    #[error("the header's state hash is {expected}, that of the records {found}")]
    StateHash { expected: StateHash, found: StateHash },
}

impl Ledger {
    /// The ledger whose [`header`](Ledger::header) and [`records`](Ledger::records) these are, in that order. Rebuilds
    /// every index and compares the state hash, so that a changed bit is found.
    pub fn restore(header: Header, records: impl IntoIterator<Item = Record>) -> Result<Ledger, Damage> {
        let mut ledger = Ledger::new();
        ledger.lsn = header.lsn;
        ledger.stamp = header.stamp;
        ledger.event_chain = header.event_chain;
        ledger.history_from = header.history_from;
        for (number, record) in (1..).zip(records) {
            let described = |record: &Record| format!("{:?}", record.key());
            if check::record(&ledger, &record).is_err() {
                return Err(Damage::Unfit { number, record: described(&record) });
            }
            if let Some(old) = ledger.set(record).old {
                return Err(Damage::Twice { number, record: described(&old) });
            }
        }
        if ledger.counts != header.records {
            return Err(Damage::Counts { expected: header.records, found: ledger.counts });
        }
        let found = ledger.state_hash();
        if found != header.state_hash {
            return Err(Damage::StateHash { expected: header.state_hash, found });
        }
        if planted(Bug::KeysLostInSnapshot) {
            ledger.keys = DigestMap::new();
        }
        if planted(Bug::HoldsLostInSnapshot) {
            ledger.due = SortedMap::new();
        }
        Ok(ledger)
    }
}
