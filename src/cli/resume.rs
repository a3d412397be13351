//! `resume`: what an operator decides where all nodes have paused alike.

use clap::Args;

use super::failure::Failure;
use super::settings::Sources;
use super::{Target, output};
use crate::client::ClientError;
use crate::ledger::StateHash;
use crate::wire;

/// Decides that the nodes which have all paused at one entry of the log go on with what their build makes of it
///
/// For when no node has a newer snapshot, because all were started with a build that does otherwise with what is in the
/// log. What was recorded there is then compared no more: outcomes that clients were told may become others. A build that
/// does as the first one did loses nothing, so try that before.
#[derive(Args, Debug)]
pub(super) struct Resume {
    /// The index of the entry, as `status` shows it
    #[arg(value_name = "INDEX")]
    index: u64,
    /// The state hash before that entry, as `status` shows it
    #[arg(value_name = "STATE_HASH")]
    state_hash: StateHash,
    #[command(flatten)]
    target: Target,
}

impl Resume {
    pub async fn run(self, sources: &Sources) -> Result<(), Failure> {
        let (client, format) = (self.target.client(sources)?, self.target.format(sources)?);
        let paused_at = wire::PausedAt { index: self.index, state_hash: self.state_hash };
        let decided = client.resume(&paused_at).await.map_err(|error| match error {
            ClientError::OutcomeUnknown { .. } => {
                Failure::Failed(format!("{error}\n`innkeeper status` says whether it was decided."))
            }
            error => error.into(),
        })?;
        output::show_done(format, &decided.meta, &decided.value, |decided| {
            format!("Nodes that paused at entry {} go on: entry {} says so.", self.index, decided.index)
        })
    }
}
