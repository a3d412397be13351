//! `waitlist`: who waits for a stay, and what they were offered. An offer is a hold: `confirm` takes it.

use clap::{Args, Subcommand};
use uuid::Uuid;

use super::failure::Failure;
use super::list::{Page, with_next};
use super::settings::Sources;
use super::{StayWanted, Target, Writing, output};
use crate::client::JoinWaitlist;
use crate::ledger::{PropertyId, RoomTypeId, WaitlistId};
use crate::wire;

/// The waitlist: joins it, lists it, shows an entry, or leaves it
#[derive(Args, Debug)]
pub(super) struct Waitlist {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    Join(Join),
    List(List),
    Show(Show),
    Leave(Leave),
}

/// Waits for a stay; one that fits is offered at once
#[derive(Args, Debug)]
struct Join {
    #[arg(long)]
    property: PropertyId,
    #[arg(long)]
    room_type: RoomTypeId,
    #[command(flatten)]
    stay: StayWanted,
    /// The caller's reference to the guest; no personal data
    #[arg(long)]
    guest: String,
    #[command(flatten)]
    writing: Writing,
    #[command(flatten)]
    target: Target,
}

/// Lists the entries of a property, by id
#[derive(Args, Debug)]
struct List {
    #[arg(long)]
    property: PropertyId,
    #[command(flatten)]
    page: Page,
    #[command(flatten)]
    target: Target,
}

/// Shows an entry
#[derive(Args, Debug)]
struct Show {
    #[arg(long)]
    property: PropertyId,
    id: Uuid,
    #[command(flatten)]
    target: Target,
}

/// Waits no longer, and gives back what was offered
#[derive(Args, Debug)]
struct Leave {
    #[arg(long)]
    property: PropertyId,
    id: Uuid,
    #[command(flatten)]
    writing: Writing,
    #[command(flatten)]
    target: Target,
}

impl Waitlist {
    pub async fn run(self, sources: &Sources) -> Result<(), Failure> {
        match self.what {
            What::Join(it) => it.run(sources).await,
            What::List(it) => it.run(sources).await,
            What::Show(it) => it.run(sources).await,
            What::Leave(it) => it.run(sources).await,
        }
    }
}

impl Join {
    async fn run(self, sources: &Sources) -> Result<(), Failure> {
        let body = JoinWaitlist {
            guest: self.guest,
            room_type: self.room_type,
            arrival: self.stay.arrival,
            departure: self.stay.departure,
            occupancy: self.stay.occupancy,
            currency: self.stay.currency,
        };
        let client = self.target.client(sources)?;
        let answer = self.writing.send(|key| client.join_waitlist(&self.property, &body, key)).await?;
        output::show_done(self.target.format(sources)?, &answer.meta, &answer.value, entry)
    }
}

impl List {
    async fn run(self, sources: &Sources) -> Result<(), Failure> {
        let client = self.target.client(sources)?;
        let Page { limit, cursor } = self.page;
        let answer = client.waitlist(&self.property, limit, cursor.as_deref()).await?;
        output::show(self.target.format(sources)?, &answer.value, |page| {
            with_next(entries(&page.waitlist), page.next_cursor.as_ref())
        })
    }
}

impl Show {
    async fn run(self, sources: &Sources) -> Result<(), Failure> {
        let client = self.target.client(sources)?;
        let answer = client.waitlist_entry(&self.property, WaitlistId(self.id)).await?;
        output::show(self.target.format(sources)?, &answer.value, entry)
    }
}

impl Leave {
    async fn run(self, sources: &Sources) -> Result<(), Failure> {
        let client = self.target.client(sources)?;
        let id = WaitlistId(self.id);
        let done = self.writing.send(|key| client.leave_waitlist(&self.property, id, key)).await?;
        let left = client.waitlist_entry(&self.property, id).await.map_err(|error| {
            Failure::Failed(format!("{id} waits no longer, but can't be shown: {}", Failure::from(error)))
        })?;
        output::show_done(self.target.format(sources)?, &done, &left.value, entry)
    }
}

fn entry(it: &wire::WaitlistEntry) -> String {
    entries(std::slice::from_ref(it))
}

/// Entries, a line each.
fn entries(all: &[wire::WaitlistEntry]) -> String {
    let rows = all.iter().map(|it| {
        [
            it.id.to_string(),
            wire::word(&it.status),
            it.guest.clone(),
            it.room_type.to_string(),
            it.arrival.to_string(),
            it.departure.to_string(),
            it.occupancy.to_string(),
            output::or_dash(it.reservation),
        ]
    });
    output::table(
        ["entry", "status", "guest", "room type", "arrival", "departure", "occupancy", "offered"],
        rows,
    )
}
