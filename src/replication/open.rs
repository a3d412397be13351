//! Opens what a data directory holds of one group.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use openraft::EntryPayload;
use tokio::sync::watch;

use super::check::DecodedBatch;
use super::decision::Decision;
use super::disk::Disk;
use super::identity::GO_ON_WITHOUT;
use super::log_files::LogFiles;
use super::log_state::LoggedState;
use super::log_store::{self, LogError, LogStore};
use super::log_worker::Fatal;
use super::snapshot::{self, SnapshotError, SnapshotMeta, SnapshotStore};
use super::state_machine::StateMachine;
use super::types::{GROUP, LogId, Member, NodeId};
use super::witness::Witness;
use crate::ledger::{Ledger, Mark};

/// A group's log and state, for openraft.
pub struct Storage {
    pub log: LogStore,
    pub state_machine: StateMachine,
    /// True once everything is flushed and closed, after the last [`LogStore`] was dropped.
    pub log_closed: watch::Receiver<bool>,
    membership: BTreeMap<NodeId, Member>,
}

impl Storage {
    /// The members that this node knows of, from its log or its snapshot; none on a new disk.
    pub fn membership(&self) -> &BTreeMap<NodeId, Member> {
        &self.membership
    }
}

/// Why a group could not be opened. The data is left as it is.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    #[error(
        "no snapshot can be read, and the log begins only after index {purged}: {damage}. Check the disk. {GO_ON_WITHOUT}"
    )]
    StateLost { purged: u64, damage: String },
}

/// Where a group's log and snapshots lie.
pub struct GroupDirs {
    pub log: PathBuf,
    pub snapshots: PathBuf,
}

impl GroupDirs {
    pub fn of(data_dir: &Path) -> GroupDirs {
        let group = data_dir.join(format!("group-{GROUP}"));
        GroupDirs { log: group.join("log"), snapshots: group.join("snapshots") }
    }

    /// Whether anything of a group lies there.
    pub fn hold_data(&self) -> io::Result<bool> {
        Ok(log_store::exists(&self.log)? || snapshot::exists(&self.snapshots)?)
    }
}

/// Opens the group in `data_dir`, or creates it. Loads the newest good snapshot; openraft then replays the log past it.
/// Blocks.
///
/// `is_claimed`: the node belongs to a cluster, so that a group must be there.
pub fn open(
    data_dir: &Path,
    is_claimed: bool,
    disk: &Arc<dyn Disk>,
    witness: Arc<dyn Witness>,
) -> Result<Storage, OpenError> {
    let dirs = GroupDirs::of(data_dir);
    let fatal = Fatal::default();
    let (snapshots, newest) = SnapshotStore::open(&dirs.snapshots)?;
    let mut log = log_store::open_files(&dirs.log, is_claimed || newest.loaded.is_some())?;
    let purged = log.state().purged;
    reaches_back(purged, newest.loaded.as_ref(), &newest.damaged)?;
    if let Some((meta, ledger)) = &newest.loaded {
        retell(&log, &snapshots, meta, ledger, &*witness);
    }
    if let Some(at) = newest.loaded.as_ref().and_then(|(meta, _)| meta.last_log_id)
        && ends_beside(log.state(), at)
    {
        tracing::info!(
            index = at.index,
            "the log ends beside the snapshot of a peer, and goes on behind that"
        );
        let purged = log.purge(at).and_then(|()| log.flush());
        purged.map_err(|source| LogError::Open { dir: dirs.log.clone(), source })?;
    }
    let (log, log_closed) = LogStore::serve(&dirs.log, log, &**disk, fatal.clone())?;
    for damage in &newest.damaged {
        tracing::warn!(%damage, "starting from an older snapshot");
    }
    let members = newest.loaded.as_ref().map(|(meta, _)| meta.membership.membership());
    let members = log.membership().or(members);
    let membership =
        members.map(|members| members.nodes().map(|(id, member)| (*id, member.clone())).collect());
    let membership = membership.unwrap_or_default();
    let snapshots = Arc::new(snapshots);
    let state_machine =
        StateMachine::new(newest.loaded, log.clone(), snapshots, disk.clone(), witness, fatal);
    Ok(Storage { log, state_machine, log_closed, membership })
}

/// Tells a witness what it lacks of the commands before the newest snapshot, as far back as an older one and the log
/// reach. What they don't hold is left for others to tell.
fn retell(
    log: &LogFiles,
    snapshots: &SnapshotStore,
    newest: &SnapshotMeta,
    ledger: &Ledger,
    witness: &dyn Witness,
) {
    if let Some(mark) = ledger.history_from() {
        witness.forget(mark);
    }
    let (end, purged) = (Mark::of(ledger), log.state().purged);
    if witness.tip().lsn < end.lsn && witness.tip().chain != end.chain {
        let older = snapshots.kept().into_iter().skip(1).find(|older| older.meta().last_log_id >= purged);
        let start = match older {
            Some(older) => older.load().map(|ledger| (older.meta().index(), ledger)).ok(),
            None if purged.is_none() => Some((None, Ledger::new())),
            None => None,
        };
        if let Some((index, ledger)) = start {
            let from = behind(index);
            tracing::info!(lsn = witness.tip().lsn.0, "the history is told again from the log");
            witness.restored(Mark::of(&ledger));
            if let Err(reason) = replay(log, from, past_upto(log, newest), ledger, witness) {
                tracing::warn!(%reason, "the history was not told again to its end");
            }
        }
    }
    witness.restored(end);
}

/// Whether the log ends with an entry of a later term than that of `snapshot`, and not behind it: a crash came between a
/// peer's snapshot and the purge of what it stands for. openraft purges by itself only where the log's last entry comes before
/// the snapshot's, and its next append would leave a gap.
fn ends_beside(log: &LoggedState, snapshot: LogId) -> bool {
    log.last.is_some_and(|last| last > snapshot && last.index <= snapshot.index)
}

/// The index behind this one, or the first.
fn behind(index: Option<u64>) -> u64 {
    index.map_or(0, |index| index + 1)
}

/// Up to where the log is the past of the newest snapshot. One that does not lead there, as when a crash came between a peer's
/// snapshot and its log, may go on with entries that were never committed.
fn past_upto(log: &LogFiles, newest: &SnapshotMeta) -> u64 {
    let upto = behind(newest.index());
    let leads_there = newest.last_log_id.is_some_and(|at| leads_to(log, at).unwrap_or(false));
    let committed = log.state().committed.map(|id| id.index);
    if leads_there { upto } else { upto.min(behind(committed)) }
}

/// Whether the log holds this entry.
pub fn leads_to(log: &LogFiles, at: LogId) -> io::Result<bool> {
    let found = log.read(at.index, at.index + 1).next().transpose()?;
    Ok(found.is_some_and(|(id, _)| id == at))
}

/// After so many entries, each of a mebibyte at most, what was told of them is kept: it stands in memory until then, and nobody
/// else writes it yet.
const KEPT_EVERY: u64 = 16;

/// Applies the entries of `[from, to)` to a state that is then thrown away, for who is told of it.
fn replay(
    log: &LogFiles,
    from: u64,
    to: u64,
    mut ledger: Ledger,
    witness: &dyn Witness,
) -> Result<(), Box<dyn std::error::Error>> {
    let mut told = 0u64;
    for logged in log.read(from, to.max(from)) {
        let (id, payload) = logged?;
        if let EntryPayload::Normal(payload) = payload.into_entry(id)?.payload
            && Decision::of(&payload).is_none()
        {
            DecodedBatch::decode(&payload)?.apply(&mut ledger, witness)?;
            told += 1;
            if told.is_multiple_of(KEPT_EVERY) {
                witness.keep();
            }
        }
    }
    witness.keep();
    Ok(())
}

/// Whether the log continues where the snapshot ends.
pub fn reaches_back(
    purged: Option<LogId>,
    start: Option<&(SnapshotMeta, Ledger)>,
    damaged: &[SnapshotError],
) -> Result<(), OpenError> {
    let start = start.and_then(|(meta, _)| meta.last_log_id);
    match purged {
        Some(purged) if Some(purged) > start => {
            let damage = damaged.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
            let damage = if damage.is_empty() { "there is none that reaches so far".into() } else { damage };
            Err(OpenError::StateLost { purged: purged.index, damage })
        }
        _ => Ok(()),
    }
}
