//! `show`: one reservation, now, once, or through all its versions.

use clap::Args;
use uuid::Uuid;

use super::failure::Failure;
use super::output::or_dash;
use super::settings::Sources;
use super::{Target, output};
use crate::ledger::{Lsn, ReservationId};
use crate::wire;

/// Shows a reservation
#[derive(Args, Debug)]
pub(super) struct Show {
    /// The reservation's id
    #[arg(value_name = "RESERVATION")]
    id: Uuid,
    /// Every version of it, the oldest first
    #[arg(long)]
    history: bool,
    /// As the command with this LSN left it
    #[arg(long, value_name = "LSN", conflicts_with = "history")]
    as_of: Option<u64>,
    #[command(flatten)]
    target: Target,
}

impl Show {
    pub async fn run(self, sources: &Sources) -> Result<(), Failure> {
        let client = self.target.client(sources)?;
        let format = self.target.format(sources)?;
        let id = ReservationId(self.id);
        if self.history {
            return output::show(format, &client.versions(id).await?.value, versions);
        }
        let answer = match self.as_of {
            Some(lsn) => client.reservation_as_of(id, Lsn(lsn)).await?,
            None => client.reservation(id).await?,
        };
        output::show(format, &answer.value, output::reservation)
    }
}

fn versions(versions: &wire::Versions) -> String {
    let rows = versions.versions.iter().map(|version| {
        let reservation = &version.reservation;
        [
            version.revision.to_string(),
            version.lsn.to_string(),
            version.time.clone(),
            version.kind.clone(),
            version.actor.clone(),
            or_dash(reservation.room.as_ref()),
            reservation.arrival.to_string(),
            reservation.departure.to_string(),
        ]
    });
    output::table(["revision", "lsn", "time", "event", "actor", "room", "arrival", "departure"], rows)
}
