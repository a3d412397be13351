//! `availability`: how many rooms of each type are left, night by night.

use clap::Args;

use super::failure::Failure;
use super::settings::Sources;
use super::{Target, output};
use crate::ledger::{Date, PropertyId};
use crate::wire;

/// Shows how many rooms of each type are left, night by night
#[derive(Args, Debug)]
pub(super) struct Availability {
    #[arg(long)]
    property: PropertyId,
    /// The first night
    #[arg(long, value_name = "DATE")]
    from: Date,
    /// The day after the last night
    #[arg(long, value_name = "DATE")]
    to: Date,
    #[command(flatten)]
    target: Target,
}

impl Availability {
    pub async fn run(self, sources: &Sources) -> Result<(), Failure> {
        let client = self.target.client(sources)?;
        let format = self.target.format(sources)?;
        let answer = client.availability(&self.property, self.from, self.to).await?;
        output::show(format, &answer.value, table)
    }
}

fn table(availability: &wire::Availability) -> String {
    let rows = availability.room_types.iter().flat_map(|(room_type, nights)| {
        nights.iter().map(move |night| {
            [
                room_type.to_string(),
                night.date.to_string(),
                night.rooms.to_string(),
                night.out_of_order.to_string(),
                night.held.to_string(),
                night.sold.to_string(),
                night.blocked.to_string(),
                night.available.to_string(),
            ]
        })
    });
    let head = ["room type", "date", "rooms", "out of order", "held", "sold", "blocked", "available"];
    output::table(head, rows)
}
