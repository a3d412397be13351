//! `reserve`: books a room, or holds it.

use clap::{ArgGroup, Args};

use super::failure::Failure;
use super::settings::Sources;
use super::{StayWanted, Target, Writing, output};
use crate::client;
use crate::ledger::{BlockId, PropertyId, RoomId, RoomTypeId};

/// Books a room, or holds it
#[derive(Args, Debug)]
#[command(group = ArgGroup::new("wanted").required(true).args(["room", "room_type"]))]
pub(super) struct Reserve {
    #[arg(long)]
    property: PropertyId,
    /// This room and no other
    #[arg(long)]
    room: Option<RoomId>,
    /// Any room of this type
    #[arg(long)]
    room_type: Option<RoomTypeId>,
    #[command(flatten)]
    stay: StayWanted,
    /// The caller's reference to the guest; no personal data
    #[arg(long)]
    guest: String,
    /// Hold for so many seconds instead of booking
    #[arg(long, value_name = "SECONDS")]
    hold_seconds: Option<u64>,
    /// Refuse another total than this, in minor units
    #[arg(long, value_name = "AMOUNT")]
    expected_total: Option<i64>,
    /// Take the room from this block
    #[arg(long)]
    block: Option<BlockId>,
    /// The caller's own number for it
    #[arg(long, value_name = "TEXT")]
    external_ref: Option<String>,
    #[command(flatten)]
    writing: Writing,
    #[command(flatten)]
    target: Target,
}

impl Reserve {
    pub async fn run(self, sources: &Sources) -> Result<(), Failure> {
        let client = self.target.client(sources)?;
        let format = self.target.format(sources)?;
        let stay = client::Stay {
            room: self.room,
            room_type: self.room_type,
            arrival: self.stay.arrival,
            departure: self.stay.departure,
            occupancy: self.stay.occupancy,
            currency: self.stay.currency,
            hold_seconds: self.hold_seconds,
            expected_total: self.expected_total,
            block: self.block,
            external_ref: self.external_ref,
        };
        let body = client::Reserve { guest: self.guest, stay };
        let answer = self.writing.send(|key| client.reserve(&self.property, &body, key)).await?;
        output::show_done(format, &answer.meta, &answer.value, output::reservation)
    }
}
