//! `put`: defines properties and what they are made of; `night-audit`: moves the business date.

use std::slice::from_ref;
use std::str::FromStr;

use clap::{ArgGroup, Args, Subcommand};

use super::failure::Failure;
use super::settings::Sources;
use super::{Target, Writing, block, currency, inventory, output};
use crate::client::{self, Client, FirstBusinessDate};
use crate::ledger::{BlockId, BlockStatus, Currency, Date, Prices, PropertyId, RoomId, RoomTypeId};
use crate::wire;

/// Defines or replaces a property, or what it is made of
#[derive(Args, Debug)]
pub(super) struct Put {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    Property(Property),
    RoomType(RoomType),
    Room(Room),
    Rate(Rate),
    Restriction(Restriction),
    OutOfOrder(OutOfOrder),
    Block(Block),
}

/// Where and how it is written.
#[derive(Args, Debug)]
struct Write {
    #[arg(long)]
    property: PropertyId,
    #[command(flatten)]
    writing: Writing,
    #[command(flatten)]
    target: Target,
}

/// The dates of what is set, or asked for.
#[derive(Args, Debug)]
pub(super) struct Range {
    #[arg(long, value_name = "DATE")]
    pub from: Date,
    /// The day after the last
    #[arg(long, value_name = "DATE")]
    pub to: Date,
}

/// A hotel, hostel or house; one that exists keeps its business date
#[derive(Args, Debug)]
struct Property {
    #[command(flatten)]
    write: Write,
    #[arg(long)]
    name: String,
    #[arg(long)]
    location: String,
    /// An IANA name; when absent, the one that the property has, and UTC for a new one
    #[arg(long, value_name = "NAME")]
    time_zone: Option<String>,
    #[arg(long, value_name = "CODE", value_parser = currency)]
    currency: Currency,
    /// `clock`, or the first date of one that is moved by night audits
    #[arg(long, value_name = "DATE", default_value = "clock", value_parser = business_date)]
    business_date: FirstBusinessDate,
}

fn business_date(text: &str) -> Result<FirstBusinessDate, String> {
    if text == "clock" {
        return Ok(FirstBusinessDate::Clock);
    }
    text.parse().map(FirstBusinessDate::Manual).map_err(|error| format!("expected clock or a date: {error}"))
}

/// A type of room
#[derive(Args, Debug)]
struct RoomType {
    #[command(flatten)]
    write: Write,
    #[arg(long)]
    room_type: RoomTypeId,
    #[arg(long)]
    name: String,
    /// Persons
    #[arg(long, value_name = "N")]
    max_occupancy: u32,
    /// Rooms that may be sold beyond those in service, a night
    #[arg(long, value_name = "N", default_value_t = 0)]
    overbooking_limit: u32,
}

/// A room of a type
#[derive(Args, Debug)]
struct Room {
    #[command(flatten)]
    write: Write,
    #[arg(long)]
    room: RoomId,
    #[arg(long)]
    room_type: RoomTypeId,
}

/// Prices of a type or a room on each night of a range; none clears them
#[derive(Args, Debug)]
#[command(group = ArgGroup::new("priced").required(true).args(["room", "room_type"]))]
struct Rate {
    #[command(flatten)]
    write: Write,
    #[arg(long)]
    room_type: Option<RoomTypeId>,
    /// Goes before its type's
    #[arg(long)]
    room: Option<RoomId>,
    #[command(flatten)]
    range: Range,
    /// What so many persons pay a night, in minor units; repeatable
    #[arg(long, value_name = "CODE:PERSONS=AMOUNT")]
    price: Vec<OnePrice>,
}

/// `EUR:2=14000`
#[derive(Clone, Copy, Debug, PartialEq)]
struct OnePrice {
    currency: Currency,
    occupancy: u32,
    amount: i64,
}

impl FromStr for OnePrice {
    type Err = String;

    fn from_str(text: &str) -> Result<OnePrice, String> {
        let wrong = || "expected CODE:PERSONS=AMOUNT in minor units, as in EUR:2=14000".to_owned();
        let (code, rest) = text.split_once(':').ok_or_else(wrong)?;
        let (occupancy, amount) = rest.split_once('=').ok_or_else(wrong)?;
        Ok(OnePrice {
            currency: Currency::new(code).ok_or_else(wrong)?,
            occupancy: occupancy.parse().map_err(|_| wrong())?,
            amount: amount.parse().map_err(|_| wrong())?,
        })
    }
}

/// Rules for stays of a type; those that are left out are lifted
#[derive(Args, Debug)]
struct Restriction {
    #[command(flatten)]
    write: Write,
    #[arg(long)]
    room_type: RoomTypeId,
    #[command(flatten)]
    range: Range,
    /// No stay may have such a night
    #[arg(long)]
    closed: bool,
    #[arg(long)]
    closed_to_arrival: bool,
    #[arg(long)]
    closed_to_departure: bool,
    /// Nights of a stay that arrives then, at least
    #[arg(long, value_name = "N")]
    min_stay: Option<u32>,
    /// Nights of a stay that arrives then, at most
    #[arg(long, value_name = "N")]
    max_stay: Option<u32>,
    /// Days from the business date to the arrival, at least
    #[arg(long, value_name = "N")]
    min_advance_days: Option<u32>,
    /// Days from the business date to the arrival, at most
    #[arg(long, value_name = "N")]
    max_advance_days: Option<u32>,
}

/// A room that can't be sold for a time, or can be again
#[derive(Args, Debug)]
#[command(group = ArgGroup::new("why").required(true).args(["reason", "end"]))]
struct OutOfOrder {
    #[command(flatten)]
    write: Write,
    #[arg(long)]
    room: RoomId,
    #[command(flatten)]
    range: Range,
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// The room is in order again on these nights
    #[arg(long)]
    end: bool,
}

/// Rooms of a type that are kept for a group or a partner
#[derive(Args, Debug)]
struct Block {
    #[command(flatten)]
    write: Write,
    #[arg(long)]
    block: BlockId,
    #[arg(long)]
    room_type: RoomTypeId,
    #[command(flatten)]
    range: Range,
    /// Of each night
    #[arg(long, value_name = "N")]
    rooms: u32,
    /// tentative, definite or canceled; only a definite one takes rooms
    #[arg(long, value_parser = block_status)]
    status: BlockStatus,
    /// From this business date on, what is left is free
    #[arg(long, value_name = "DATE")]
    release_date: Option<Date>,
}

fn block_status(text: &str) -> Result<BlockStatus, String> {
    let word = serde_json::Value::String(text.to_owned());
    serde_json::from_value(word).map_err(|_| "expected tentative, definite or canceled".to_owned())
}

impl Put {
    pub async fn run(self, sources: &Sources) -> Result<(), Failure> {
        match self.what {
            What::Property(it) => it.run(sources).await,
            What::RoomType(it) => it.run(sources).await,
            What::Room(it) => it.run(sources).await,
            What::Rate(it) => it.run(sources).await,
            What::Restriction(it) => it.run(sources).await,
            What::OutOfOrder(it) => it.run(sources).await,
            What::Block(it) => it.run(sources).await,
        }
    }
}

impl Property {
    async fn run(self, sources: &Sources) -> Result<(), Failure> {
        let Write { property, writing, target } = self.write;
        let client = target.client(sources)?;
        let time_zone = match self.time_zone {
            Some(given) => given,
            None => time_zone_of(&client, &property).await?,
        };
        let body = client::PutProperty {
            name: self.name,
            location: self.location,
            time_zone,
            currency: self.currency,
            business_date: self.business_date,
        };
        let answer = writing.send(|key| client.put_property(&property, &body, key)).await?;
        output::show_done(target.format(sources)?, &answer.meta, &answer.value, |it| {
            output::properties(from_ref(it))
        })
    }
}

/// A house does not move because nobody says where it stands.
async fn time_zone_of(client: &Client, property: &PropertyId) -> Result<String, Failure> {
    let found = client.property_if_there(property).await?;
    Ok(found.map_or_else(|| "UTC".to_owned(), |found| found.time_zone))
}

impl RoomType {
    async fn run(self, sources: &Sources) -> Result<(), Failure> {
        let Write { property, writing, target } = self.write;
        let body = client::PutRoomType {
            name: self.name,
            max_occupancy: self.max_occupancy,
            overbooking_limit: self.overbooking_limit,
        };
        let client = target.client(sources)?;
        let answer = writing.send(|key| client.put_room_type(&property, &self.room_type, &body, key)).await?;
        output::show_done(target.format(sources)?, &answer.meta, &answer.value, |it| {
            inventory::room_types(from_ref(it))
        })
    }
}

impl Room {
    async fn run(self, sources: &Sources) -> Result<(), Failure> {
        let Write { property, writing, target } = self.write;
        let body = client::PutRoom { room_type: self.room_type };
        let client = target.client(sources)?;
        let answer = writing.send(|key| client.put_room(&property, &self.room, &body, key)).await?;
        output::show_done(target.format(sources)?, &answer.meta, &answer.value, |it| {
            inventory::rooms(from_ref(it))
        })
    }
}

impl Rate {
    async fn run(self, sources: &Sources) -> Result<(), Failure> {
        let Write { property, writing, target } = self.write;
        let prices = prices(&self.price)?;
        let Range { from, to } = self.range;
        let body = wire::Rate { room_type: self.room_type, room: self.room, from, to, prices };
        let client = target.client(sources)?;
        let answer = writing.send(|key| client.put_rates(&property, &body, key)).await?;
        output::show_done(target.format(sources)?, &answer.meta, &answer.value, |it| {
            inventory::rates(from_ref(it))
        })
    }
}

fn prices(all: &[OnePrice]) -> Result<Prices, Failure> {
    let mut prices = Prices::new();
    for OnePrice { currency, occupancy, amount } in all {
        if prices.entry(*currency).or_default().insert(*occupancy, *amount).is_some() {
            return Err(Failure::Usage(format!("--price {currency}:{occupancy} is there twice")));
        }
    }
    Ok(prices)
}

impl Restriction {
    async fn run(self, sources: &Sources) -> Result<(), Failure> {
        let Write { property, writing, target } = self.write;
        let body = wire::Restriction {
            room_type: self.room_type,
            from: self.range.from,
            to: self.range.to,
            closed: self.closed,
            closed_to_arrival: self.closed_to_arrival,
            closed_to_departure: self.closed_to_departure,
            min_stay: self.min_stay,
            max_stay: self.max_stay,
            min_advance_days: self.min_advance_days,
            max_advance_days: self.max_advance_days,
        };
        let client = target.client(sources)?;
        let answer = writing.send(|key| client.put_restrictions(&property, &body, key)).await?;
        output::show_done(target.format(sources)?, &answer.meta, &answer.value, |it| {
            inventory::restrictions(from_ref(it))
        })
    }
}

impl OutOfOrder {
    async fn run(self, sources: &Sources) -> Result<(), Failure> {
        let Write { property, writing, target } = self.write;
        let client = target.client(sources)?;
        let format = target.format(sources)?;
        let Range { from, to } = self.range;
        let Some(reason) = self.reason else {
            let done =
                writing.send(|key| client.end_out_of_order(&property, &self.room, from, to, key)).await?;
            let ended = Ended { room: self.room, from, to };
            return output::show_done(format, &done, &ended, |it| {
                format!("room {} is in order from {} to {}", it.room, it.from, it.to)
            });
        };
        let body = client::PutOutOfOrder { from, to, reason };
        let answer = writing.send(|key| client.put_out_of_order(&property, &self.room, &body, key)).await?;
        output::show_done(format, &answer.meta, &answer.value, |it| inventory::out_of_order(from_ref(it)))
    }
}

impl Block {
    async fn run(self, sources: &Sources) -> Result<(), Failure> {
        let Write { property, writing, target } = self.write;
        let body = client::PutBlock {
            room_type: self.room_type,
            from: self.range.from,
            to: self.range.to,
            rooms: self.rooms,
            status: self.status,
            release_date: self.release_date,
        };
        let client = target.client(sources)?;
        let answer = writing.send(|key| client.put_block(&property, &self.block, &body, key)).await?;
        output::show_done(target.format(sources)?, &answer.meta, &answer.value, |it| {
            block::blocks(from_ref(it))
        })
    }
}

/// The API has nothing to show for it.
#[derive(serde::Serialize)]
struct Ended {
    room: RoomId,
    from: Date,
    to: Date,
}

/// Takes a room out of service for good; who is only planned for it moves
#[derive(Args, Debug)]
pub(super) struct RetireRoom {
    #[command(flatten)]
    write: Write,
    #[arg(long)]
    room: RoomId,
}

impl RetireRoom {
    pub async fn run(self, sources: &Sources) -> Result<(), Failure> {
        let Write { property, writing, target } = self.write;
        let client = target.client(sources)?;
        let done = writing.send(|key| client.retire_room(&property, &self.room, key)).await?;
        let retired = Retired { room: self.room };
        let in_words = |it: &Retired| format!("room {} is retired", it.room);
        output::show_done(target.format(sources)?, &done, &retired, in_words)
    }
}

/// The API has nothing to show for it.
#[derive(serde::Serialize)]
struct Retired {
    room: RoomId,
}

/// Moves a property's business date on; who did not arrive before it is a no-show
#[derive(Args, Debug)]
pub(super) struct NightAudit {
    #[command(flatten)]
    write: Write,
    /// The new date; days may be skipped
    #[arg(long, value_name = "DATE")]
    business_date: Date,
}

impl NightAudit {
    pub async fn run(self, sources: &Sources) -> Result<(), Failure> {
        let Write { property, writing, target } = self.write;
        let client = target.client(sources)?;
        let answer = writing.send(|key| client.night_audit(&property, self.business_date, key)).await?;
        output::show_done(target.format(sources)?, &answer.meta, &answer.value, |it| {
            output::properties(from_ref(it))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prices_in_words_are_prices_or_say_what_is_expected() {
        let one: OnePrice = "EUR:2=14000".parse().unwrap();
        assert_eq!((one.currency.as_str(), one.occupancy, one.amount), ("EUR", 2, 14_000));
        for bad in ["", "EUR", "EUR:2", "eur:2=1", "EUR:two=1", "EUR:2=1.5", "EUR=1"] {
            assert!(bad.parse::<OnePrice>().unwrap_err().contains("EUR:2=14000"), "{bad}");
        }
        let twice = [one, OnePrice { amount: 1, ..one }];
        assert_eq!(prices(&twice).unwrap_err().exit_code(), 2);
        assert_eq!(prices(&[one, OnePrice { occupancy: 1, ..one }]).unwrap().len(), 1);
    }
}
