//! Commands that were set aside because applying them failed, alike on every node.

use serde::{Deserialize, Serialize};

use super::command::Submission;
use super::digest::{Digest, Digester, digest_fields};
use super::id::Lsn;
use super::outcome::{Outcome, Refusal};
use super::record::RecordKey;
use super::txn::{Halt, Txn};

/// Commands kept, the newest ones; a defect that hits every command must not fill the memory.
pub(super) const QUARANTINED_MAX: usize = 1_000;

/// A command that was rolled back whole, for an operator to look at.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Quarantined {
    pub lsn: Lsn,
    pub code: Failure,
    pub submission: Submission,
}

/// Why applying a command failed. Fixed names: a panic's text may differ between builds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Failure {
    /// The code that handles the command panicked.
    Panic,
    /// The command would have broken a rule that every state keeps.
    Invariant,
    /// The command's new id is taken by something else.
    IdTaken,
}

impl Failure {
    pub fn as_str(self) -> &'static str {
        match self {
            Failure::Panic => "panic",
            Failure::Invariant => "invariant",
            Failure::IdTaken => "id_taken",
        }
    }
}

impl Digest for Failure {
    fn digest(&self, digester: &mut Digester) {
        digester.bytes(self.as_str().as_bytes());
    }
}

/// Forgets a command that was set aside. Its key goes on to say that it was.
pub(super) fn discard(txn: &mut Txn<'_>, lsn: Lsn) -> Result<Outcome, Halt> {
    if !txn.quarantined.contains(&lsn) {
        return Err(Refusal::NotSetAside.into());
    }
    txn.remove(&RecordKey::Quarantined(lsn))?;
    Ok(Outcome::Removed)
}

digest_fields! {
    Quarantined { lsn, code, submission }
}
