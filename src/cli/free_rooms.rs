//! `free-rooms`: the rooms that a stay could be booked in, with its price.

use clap::Args;

use super::failure::Failure;
use super::settings::Sources;
use super::{StayWanted, Target, money, output};
use crate::client::FreeRoomsQuery;
use crate::ledger::{PropertyId, RoomId, RoomTypeId};
use crate::wire;

/// Lists the rooms that are free for a stay, with its price
#[derive(Args, Debug)]
pub(super) struct FreeRooms {
    #[arg(long)]
    property: PropertyId,
    #[command(flatten)]
    stay: StayWanted,
    /// Only this room
    #[arg(long)]
    room: Option<RoomId>,
    /// Only rooms of this type
    #[arg(long)]
    room_type: Option<RoomTypeId>,
    /// At most so many rooms, 1 to 1000
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: Option<u32>,
    #[command(flatten)]
    target: Target,
}

impl FreeRooms {
    pub async fn run(self, sources: &Sources) -> Result<(), Failure> {
        let client = self.target.client(sources)?;
        let format = self.target.format(sources)?;
        let query = FreeRoomsQuery {
            arrival: self.stay.arrival,
            departure: self.stay.departure,
            occupancy: self.stay.occupancy,
            currency: self.stay.currency,
            room: self.room,
            room_type: self.room_type,
            limit: self.limit,
        };
        let answer = client.free_rooms(&self.property, &query).await?;
        output::show(format, &answer.value, table)
    }
}

fn table(free: &wire::FreeRooms) -> String {
    let rows = free.rooms.iter().map(|room| {
        [
            room.room.to_string(),
            room.room_type.to_string(),
            money::format(room.price.total, room.price.currency),
        ]
    });
    output::table(["room", "room type", "total"], rows)
}
