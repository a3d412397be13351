//! `show`: one reservation.

use clap::Args;
use uuid::Uuid;

use super::failure::Failure;
use super::settings::Sources;
use super::{Target, output};
use crate::ledger::ReservationId;

/// Shows a reservation
#[derive(Args, Debug)]
pub(super) struct Show {
    /// The reservation's id
    #[arg(value_name = "RESERVATION")]
    id: Uuid,
    #[command(flatten)]
    target: Target,
}

impl Show {
    pub async fn run(self, sources: &Sources) -> Result<(), Failure> {
        let client = self.target.client(sources)?;
        let format = self.target.format(sources)?;
        let answer = client.reservation(ReservationId(self.id)).await?;
        output::show(format, &answer.value, output::reservation)
    }
}
