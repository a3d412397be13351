//! `verify`: replays a stopped node's data directory and checks everything that can be checked.

use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;

use super::failure::Failure;
use super::settings::Sources;
use super::{Shown, output};
use crate::history::Kept;
use crate::replication::{self, OpenError, Report, VerifyError};
use crate::server;

/// Checks the data of a stopped node: replays its log, both capacity rules, the state hashes and the history
#[derive(Args, Debug)]
pub(super) struct Verify {
    /// The node's data directory [env: INNKEEPER_DATA_DIR]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    #[command(flatten)]
    shown: Shown,
}

impl Verify {
    pub async fn run(self, sources: &Sources) -> Result<(), Failure> {
        let format = self.shown.format(sources)?;
        let data_dir = sources
            .pick(self.data_dir, "INNKEEPER_DATA_DIR", |file| file.data_dir.clone())?
            .ok_or_else(|| sources.missing("--data-dir", "INNKEEPER_DATA_DIR"))?;
        let sound = tokio::task::spawn_blocking(move || verify(&data_dir))
            .await
            .map_err(|error| Failure::Failed(format!("the check itself failed: {error}")))?
            .map_err(|wrong| Failure::Failed(format!("{wrong}{}", advice(&wrong))))?;
        output::show(format, &sound, table)
    }
}

fn advice(wrong: &VerifyError) -> &'static str {
    match wrong {
        VerifyError::Open(OpenError::Snapshot(_)) => {
            "\nCheck the disk. A start passes over a damaged snapshot where the older one and the log reach on from it; once \
             the node has caught up, POST /v1/cluster/snapshot on it writes a new one."
        }
        _ => "",
    }
}

/// Replays, and holds the history against the replay.
fn verify(data_dir: &Path) -> Result<Sound, VerifyError> {
    // The replay looks first whether the node is stopped: nobody else's history is opened.
    let mut kept: Option<Option<Kept>> = None;
    let report = replication::verify(data_dir, &mut |state| {
        let kept = match &mut kept {
            Some(kept) => kept,
            none => none.insert(open_history(data_dir)),
        };
        kept.as_mut().map_or(Ok(()), |kept| kept.compare(state))
    })?;
    let kept = kept.flatten();
    Ok(Sound {
        history_lsn: kept.as_ref().map(|kept| kept.tip().0),
        history_compared: kept.map_or(0, |kept| kept.compared),
        ..Sound::from(report)
    })
}

fn open_history(data_dir: &Path) -> Option<Kept> {
    Kept::open(&server::history_dir(data_dir)).unwrap_or_else(|error| {
        output::tell!("{error}. It was not compared; the next start has what it lacks fetched from a peer.");
        None
    })
}

/// What stdout says of a sound data directory.
#[derive(Debug, Serialize)]
struct Sound {
    node_id: u64,
    cluster_id: Option<String>,
    /// Where the replay began.
    first_lsn: u64,
    last_lsn: u64,
    snapshots: usize,
    /// Committed entries of the log that were applied again.
    entries: u64,
    /// Positions at which the capacity rules were recomputed.
    audited: u64,
    state_hash: String,
    /// Up to where the history tells; none where it can't be read whole.
    history_lsn: Option<u64>,
    /// Positions at which it was compared with what the log led to.
    history_compared: u64,
}

impl From<Report> for Sound {
    fn from(report: Report) -> Sound {
        Sound {
            node_id: report.identity.node_id,
            cluster_id: report.identity.cluster_id.map(|id| id.to_string()),
            first_lsn: report.first_lsn.0,
            last_lsn: report.last_lsn.0,
            snapshots: report.snapshots,
            entries: report.entries,
            audited: report.audited,
            state_hash: report.state_hash.to_string(),
            history_lsn: None,
            history_compared: 0,
        }
    }
}

fn table(sound: &Sound) -> String {
    let row = [
        sound.node_id.to_string(),
        format!("{} to {}", sound.first_lsn, sound.last_lsn),
        sound.snapshots.to_string(),
        sound.entries.to_string(),
        sound.audited.to_string(),
        sound.state_hash.clone(),
        output::or_dash(sound.history_lsn),
        sound.history_compared.to_string(),
    ];
    let head = [
        "node",
        "LSNs",
        "snapshots read",
        "entries replayed",
        "audits",
        "state hash",
        "history up to",
        "compared",
    ];
    let sound = match sound.history_lsn {
        Some(_) => "Sound.",
        None => {
            "Sound, but for the history, which can't be read whole or is gone: the next start has what it lacks fetched \
             from a peer."
        }
    };
    format!("{sound}\n\n{}", output::table(head, [row]))
}
