//! `inventory`: what a property has to sell and at which prices and rules, as `put` wrote it.

use clap::{Args, Subcommand};

use super::failure::Failure;
use super::put::Range;
use super::settings::Sources;
use super::{Target, money, output};
use crate::ledger::PropertyId;
use crate::wire;

/// Lists what a property has: room types, rooms, rates, restrictions, rooms out of order
#[derive(Args, Debug)]
pub(super) struct Inventory {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Lists the room types
    RoomTypes(All),
    /// Lists the rooms that are not retired
    Rooms(All),
    /// Lists the prices of each night, as ranges of nights with the same prices
    Rates(Ranged),
    /// Lists the rules of sale, as ranges of dates with the same rules
    Restrictions(Ranged),
    /// Lists the rooms that are out of order
    OutOfOrder(Ranged),
}

#[derive(Args, Debug)]
struct All {
    #[arg(long)]
    property: PropertyId,
    #[command(flatten)]
    target: Target,
}

#[derive(Args, Debug)]
struct Ranged {
    #[command(flatten)]
    all: All,
    #[command(flatten)]
    range: Range,
}

impl Inventory {
    pub async fn run(self, sources: &Sources) -> Result<(), Failure> {
        match self.what {
            What::RoomTypes(All { property, target }) => {
                let answer = target.client(sources)?.room_types(&property).await?;
                output::show(target.format(sources)?, &answer.value, |it| room_types(&it.room_types))
            }
            What::Rooms(All { property, target }) => {
                let answer = target.client(sources)?.rooms(&property).await?;
                output::show(target.format(sources)?, &answer.value, |it| rooms(&it.rooms))
            }
            What::Rates(Ranged { all: All { property, target }, range: Range { from, to } }) => {
                let answer = target.client(sources)?.rates(&property, from, to).await?;
                output::show(target.format(sources)?, &answer.value, |it| rates(&it.rates))
            }
            What::Restrictions(Ranged { all: All { property, target }, range: Range { from, to } }) => {
                let answer = target.client(sources)?.restrictions(&property, from, to).await?;
                output::show(target.format(sources)?, &answer.value, |it| restrictions(&it.restrictions))
            }
            What::OutOfOrder(Ranged { all: All { property, target }, range: Range { from, to } }) => {
                let answer = target.client(sources)?.out_of_order(&property, from, to).await?;
                output::show(target.format(sources)?, &answer.value, |it| out_of_order(&it.out_of_order))
            }
        }
    }
}

/// Room types, a line each.
pub(super) fn room_types(all: &[wire::RoomType]) -> String {
    let rows = all.iter().map(|it| {
        [
            it.room_type.to_string(),
            it.name.clone(),
            it.max_occupancy.to_string(),
            it.overbooking_limit.to_string(),
        ]
    });
    output::table(["room type", "name", "max occupancy", "overbooking limit"], rows)
}

/// Rooms, a line each.
pub(super) fn rooms(all: &[wire::Room]) -> String {
    let rows = all.iter().map(|it| [it.room.to_string(), it.room_type.to_string()]);
    output::table(["room", "room type"], rows)
}

/// Prices, a line for each number of persons.
pub(super) fn rates(all: &[wire::Rate]) -> String {
    let rows = all.iter().flat_map(|it| {
        let room_type = it.room_type.as_ref().map(|id| id.as_str());
        let target = output::or_dash(room_type.or(it.room.as_ref().map(|id| id.as_str())));
        it.prices.iter().flat_map(move |(currency, amounts)| {
            let target = target.clone();
            amounts.iter().map(move |(occupancy, amount)| {
                [
                    target.clone(),
                    it.from.to_string(),
                    it.to.to_string(),
                    occupancy.to_string(),
                    money::format(*amount, *currency),
                ]
            })
        })
    });
    output::table(["for", "from", "to", "occupancy", "price"], rows)
}

/// Rules of sale, a line a range.
pub(super) fn restrictions(all: &[wire::Restriction]) -> String {
    let flag = |set: bool| if set { "yes" } else { "-" }.to_owned();
    let rows = all.iter().map(|it| {
        [
            it.room_type.to_string(),
            it.from.to_string(),
            it.to.to_string(),
            flag(it.closed),
            flag(it.closed_to_arrival),
            flag(it.closed_to_departure),
            output::or_dash(it.min_stay),
            output::or_dash(it.max_stay),
            output::or_dash(it.min_advance_days),
            output::or_dash(it.max_advance_days),
        ]
    });
    let head = [
        "room type",
        "from",
        "to",
        "closed",
        "to arrival",
        "to departure",
        "min stay",
        "max stay",
        "min advance",
        "max advance",
    ];
    output::table(head, rows)
}

/// Rooms out of order, a line a range of nights.
pub(super) fn out_of_order(all: &[wire::OutOfOrder]) -> String {
    let rows =
        all.iter().map(|it| [it.room.to_string(), it.from.to_string(), it.to.to_string(), it.reason.clone()]);
    output::table(["room", "from", "to", "reason"], rows)
}
