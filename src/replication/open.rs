//! Opens what a data directory holds of one group.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::watch;

use super::log_scan;
use super::log_store::{LogError, LogStore};
use super::log_worker::Fatal;
use super::replica::Replica;
use super::snapshot::{self, SnapshotError, SnapshotStore};
use super::state_machine::StateMachine;
use super::types::{GROUP, LogId};

/// A group's log and state, for openraft, and what the rest of the node needs of them.
pub struct Group {
    pub log: LogStore,
    pub state_machine: StateMachine,
    pub replica: Arc<Replica>,
    /// The reason why the storage can't go on, once there is one: the node must stop.
    pub fatal: watch::Receiver<Option<String>>,
    /// True once everything is flushed and closed, after the last [`LogStore`] was dropped.
    pub log_closed: watch::Receiver<bool>,
}

/// Why a group could not be opened. The data is left as it is.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    #[error("{dir} can't be read: {source}")]
    Io { dir: PathBuf, source: io::Error },
    #[error(
        "{dir} holds snapshots but no log: this node's vote is lost, and it must not vote again under its old id. \
         Remove it from the cluster, empty its data directory and add it under a new id"
    )]
    LogLost { dir: PathBuf },
    #[error(
        "no snapshot can be read, and the log begins only after index {purged}: {damage}. Check the disk; then remove \
         this node from the cluster, empty its data directory and add it under a new id, or restore a backup"
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
        Ok(log_scan::exists(&self.log)? || snapshot::exists(&self.snapshots)?)
    }
}

/// Opens the group in `data_dir`, or creates it. Loads the newest good snapshot; openraft then replays the log past it.
/// Blocks.
pub fn open(data_dir: &Path) -> Result<Group, OpenError> {
    let dirs = GroupDirs::of(data_dir);
    let io_error = |source| OpenError::Io { dir: data_dir.to_owned(), source };
    if snapshot::exists(&dirs.snapshots).map_err(io_error)?
        && !log_scan::exists(&dirs.log).map_err(io_error)?
    {
        return Err(OpenError::LogLost { dir: data_dir.to_owned() });
    }
    let fatal = Fatal::default();
    let (snapshots, newest) = SnapshotStore::open(&dirs.snapshots)?;
    let (log, log_closed) = LogStore::open(&dirs.log, fatal.clone())?;
    let start = newest.ledger.as_ref().and_then(|(meta, _)| meta.last_log_id);
    reaches_back(log.purged(), start, &newest.damaged)?;
    for damage in &newest.damaged {
        tracing::warn!(%damage, "starting from an older snapshot");
    }
    let watch = fatal.watch();
    let state_machine = StateMachine::new(newest.ledger, Arc::new(snapshots), fatal);
    Ok(Group { log, replica: state_machine.replica(), state_machine, fatal: watch, log_closed })
}

/// Whether the log continues where the snapshot ends.
pub fn reaches_back(
    purged: Option<LogId>,
    start: Option<LogId>,
    damaged: &[SnapshotError],
) -> Result<(), OpenError> {
    match purged {
        Some(purged) if Some(purged) > start => {
            let damage = damaged.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
            let damage = if damage.is_empty() { "there is none that reaches so far".into() } else { damage };
            Err(OpenError::StateLost { purged: purged.index, damage })
        }
        _ => Ok(()),
    }
}
