//! What changes a reservation that exists: `confirm`, `cancel`, `check-in`, `check-out`, `no-show`, `amend`, `assign`.

use clap::{ArgGroup, Args};
use uuid::Uuid;

use super::failure::Failure;
use super::settings::Sources;
use super::{Target, Writing, output};
use crate::client::{self, StatusChange};
use crate::ledger::{Date, ReservationId, RoomId, RoomTypeId};

/// What every change takes.
#[derive(Args, Debug)]
pub(super) struct Change {
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

/// What is asked for, beside the reservation itself.
enum Wanted {
    Status(StatusChange),
    Amend(client::Amend),
    Assign(RoomId),
}

impl Change {
    pub async fn run(self, to: StatusChange, sources: &Sources) -> Result<(), Failure> {
        self.send(Wanted::Status(to), sources).await
    }

    async fn send(self, wanted: Wanted, sources: &Sources) -> Result<(), Failure> {
        let client = self.target.client(sources)?;
        let format = self.target.format(sources)?;
        let (id, if_match) = (ReservationId(self.id), self.if_match);
        let send = async |key| match wanted {
            Wanted::Status(to) => client.change(id, to, if_match, key).await,
            Wanted::Amend(changes) => client.amend(id, &changes, if_match, key).await,
            Wanted::Assign(room) => client.assign(id, room, if_match, key).await,
        };
        let answer = self.writing.send(send).await?;
        output::show_done(format, &answer.meta, &answer.value, output::reservation)
    }
}

/// Changes a stay in one step, or leaves it as it was
#[derive(Args, Debug)]
#[command(group = ArgGroup::new("changes").required(true).multiple(true)
    .args(["arrival", "departure", "room_type", "room", "unpin", "occupancy"]))]
pub(super) struct Amend {
    /// The first night
    #[arg(long, value_name = "DATE")]
    arrival: Option<Date>,
    /// The day after the last night
    #[arg(long, value_name = "DATE")]
    departure: Option<Date>,
    /// Any room of this type
    #[arg(long)]
    room_type: Option<RoomTypeId>,
    /// This room and no other
    #[arg(long, conflicts_with_all = ["unpin", "room_type"])]
    room: Option<RoomId>,
    /// Any room of the type will do
    #[arg(long)]
    unpin: bool,
    /// Persons
    #[arg(long, value_name = "N")]
    occupancy: Option<u32>,
    #[command(flatten)]
    change: Change,
}

impl Amend {
    pub async fn run(self, sources: &Sources) -> Result<(), Failure> {
        let changes = client::Amend {
            arrival: self.arrival,
            departure: self.departure,
            room_type: self.room_type,
            room: if self.unpin { Some(None) } else { self.room.map(Some) },
            occupancy: self.occupancy,
        };
        self.change.send(Wanted::Amend(changes), sources).await
    }
}

/// Gives a stay this room, at the price that stands
#[derive(Args, Debug)]
pub(super) struct Assign {
    #[arg(long)]
    room: RoomId,
    #[command(flatten)]
    change: Change,
}

impl Assign {
    pub async fn run(self, sources: &Sources) -> Result<(), Failure> {
        self.change.send(Wanted::Assign(self.room), sources).await
    }
}
