//! `confirm`: Confirms a hold.

use clap::Args;
use uuid::Uuid;

use super::failure::Failure;
use super::settings::Sources;
use super::{Target, Writing, output};
use crate::ledger::ReservationId;

/// Confirms a held reservation
#[derive(Args, Debug)]
pub(super) struct Confirm {
    /// The reservation's id
    #[arg(value_name = "RESERVATION")]
    id: Uuid,
    /// Only if the reservation still has this revision
    #[arg(long, value_name = "REVISION")]
    if_match: Option<u64>,
    #[command(flatten)]
    writing: Writing,
    #[command(flatten)]
    target: Target,
}

impl Confirm {
    pub async fn run(self, sources: &Sources) -> Result<(), Failure> {
        let client = self.target.client(sources)?;
        let format = self.target.format(sources)?;
        let answer = client.confirm(ReservationId(self.id), self.if_match, self.writing.key()).await?;
        output::show(format, &answer.value, output::reservation)
    }
}
