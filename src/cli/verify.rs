//! `verify`: replays a stopped node's data directory and checks everything that can be checked.

use std::path::PathBuf;

use clap::Args;

use super::failure::Failure;
use super::settings::Sources;
use super::{Shown, output};
use crate::replication;

/// Checks the data of a stopped node: replays its log, both capacity rules and the state hashes
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
        let report = tokio::task::spawn_blocking(move || replication::verify(&data_dir))
            .await
            .map_err(|error| Failure::Failed(format!("the check itself failed: {error}")))?
            .map_err(|wrong| Failure::Failed(wrong.to_string()))?;
        output::show(format, &report, ToString::to_string)
    }
}
