//! `list`: the reservations of a property; `search`: properties with a free room; `properties`: what there is.

use clap::Args;

use super::failure::Failure;
use super::settings::Sources;
use super::{StayWanted, Target, money, output};
use crate::client::{ListQuery, SearchQuery};
use crate::ledger::{Date, PropertyId, Status};
use crate::wire;

/// Lists reservations of a property, by id
#[derive(Args, Debug)]
pub(super) struct List {
    #[arg(long)]
    property: PropertyId,
    /// Only this guest's
    #[arg(long)]
    guest: Option<String>,
    /// Only those that stand so, as in `confirmed` or `in_house`
    #[arg(long, value_parser = status)]
    status: Option<Status>,
    /// Only those with the caller's own number
    #[arg(long, value_name = "TEXT")]
    external_ref: Option<String>,
    /// Only arrivals on this date or later
    #[arg(long, value_name = "DATE")]
    arrival_from: Option<Date>,
    /// Only arrivals before this date
    #[arg(long, value_name = "DATE")]
    arrival_to: Option<Date>,
    #[command(flatten)]
    page: Page,
    #[command(flatten)]
    target: Target,
}

/// Which page of a list.
#[derive(Args, Debug)]
pub(super) struct Page {
    /// At most so many, 1 to 1000 [default: 100]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub limit: Option<u32>,
    /// Where the page before said that this one begins
    #[arg(long)]
    pub cursor: Option<String>,
}

fn status(text: &str) -> Result<Status, String> {
    let names = "held, confirmed, canceled, expired, in_house, checked_out or no_show";
    let word = serde_json::Value::String(text.replace('-', "_"));
    serde_json::from_value(word).map_err(|_| format!("expected {names}"))
}

impl List {
    pub async fn run(self, sources: &Sources) -> Result<(), Failure> {
        let client = self.target.client(sources)?;
        let format = self.target.format(sources)?;
        let query = ListQuery {
            guest: self.guest,
            status: self.status,
            external_ref: self.external_ref,
            arrival_from: self.arrival_from,
            arrival_to: self.arrival_to,
            limit: self.page.limit,
            cursor: self.page.cursor,
        };
        let answer = client.reservations(&self.property, &query).await?;
        output::show(format, &answer.value, |page| {
            with_next(output::reservations(&page.reservations), page.next_cursor.as_ref())
        })
    }
}

/// Finds properties with a free room
#[derive(Args, Debug)]
pub(super) struct Search {
    /// Without regard to case
    #[arg(long)]
    location: String,
    #[command(flatten)]
    stay: StayWanted,
    #[command(flatten)]
    page: Page,
    #[command(flatten)]
    target: Target,
}

impl Search {
    pub async fn run(self, sources: &Sources) -> Result<(), Failure> {
        let client = self.target.client(sources)?;
        let format = self.target.format(sources)?;
        let query = SearchQuery {
            location: self.location,
            arrival: self.stay.arrival,
            departure: self.stay.departure,
            occupancy: self.stay.occupancy,
            currency: self.stay.currency,
            limit: self.page.limit,
            cursor: self.page.cursor,
        };
        let answer = client.search(&query).await?;
        output::show(format, &answer.value, found)
    }
}

fn found(page: &wire::Found) -> String {
    let rows = page.properties.iter().flat_map(|found| {
        found.rooms.iter().map(|room| {
            [
                found.property.to_string(),
                found.name.clone(),
                room.room.to_string(),
                room.room_type.to_string(),
                money::format(room.price.total, room.price.currency),
            ]
        })
    });
    with_next(
        output::table(["property", "name", "room", "room type", "total"], rows),
        page.next_cursor.as_ref(),
    )
}

/// A page of a table, and how to go on.
pub(super) fn with_next(table: String, next: Option<&String>) -> String {
    match next {
        Some(cursor) => format!("{table}\n\nThere is more: --cursor {cursor}"),
        None => table,
    }
}

/// Lists the properties
#[derive(Args, Debug)]
pub(super) struct Properties {
    #[command(flatten)]
    target: Target,
}

impl Properties {
    pub async fn run(self, sources: &Sources) -> Result<(), Failure> {
        let answer = self.target.client(sources)?.properties().await?;
        output::show(self.target.format(sources)?, &answer.value, |all| output::properties(&all.properties))
    }
}
