//! `block`: what is kept for groups and partners. `put block` makes one, `reserve --block` takes from it.

use clap::{Args, Subcommand};

use super::failure::Failure;
use super::settings::Sources;
use super::{Target, Writing, output};
use crate::client::PutBlock;
use crate::ledger::{BlockId, Date, PropertyId};
use crate::wire;

/// Blocks of rooms: lists them, or releases one
#[derive(Args, Debug)]
pub(super) struct Block {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    List(List),
    Release(Release),
}

/// Lists the blocks of a property, with the most rooms that are picked up on a night
#[derive(Args, Debug)]
struct List {
    #[arg(long)]
    property: PropertyId,
    #[command(flatten)]
    target: Target,
}

/// Frees what is left of a block: sets its release date
///
/// The block is written as it was read a moment before: what somebody else changes of it in between is set back.
#[derive(Args, Debug)]
struct Release {
    #[arg(long)]
    property: PropertyId,
    #[arg(long)]
    block: BlockId,
    /// From this business date on, what is left is free [default: the property's business date; the date that the block has,
    /// where that has come]
    #[arg(long, value_name = "DATE")]
    on: Option<Date>,
    #[command(flatten)]
    writing: Writing,
    #[command(flatten)]
    target: Target,
}

impl Block {
    pub async fn run(self, sources: &Sources) -> Result<(), Failure> {
        match self.what {
            What::List(it) => it.run(sources).await,
            What::Release(it) => it.run(sources).await,
        }
    }
}

impl List {
    async fn run(self, sources: &Sources) -> Result<(), Failure> {
        let answer = self.target.client(sources)?.blocks(&self.property).await?;
        output::show(self.target.format(sources)?, &answer.value, |it| blocks(&it.blocks))
    }
}

impl Release {
    async fn run(self, sources: &Sources) -> Result<(), Failure> {
        let client = self.target.client(sources)?;
        let all = client.blocks(&self.property).await?.value.blocks;
        let Some(it) = all.into_iter().find(|it| it.block == self.block) else {
            let Release { block, property, .. } = self;
            return Err(Failure::Failed(format!("there is no block {block} in {property}")));
        };
        let on = match self.on {
            Some(on) => on,
            None => released_on(&it, client.property(&self.property).await?.value.business_date),
        };
        let body = PutBlock { release_date: Some(on), ..as_put(&it) };
        let answer =
            self.writing.send(|key| client.put_block(&self.property, &self.block, &body, key)).await?;
        let format = self.target.format(sources)?;
        output::show_done(format, &answer.meta, &answer.value, |it| blocks(std::slice::from_ref(it)))
    }
}

/// The release date of a block that is to be free by `today`. One that is, stays as it is: a release that is sent again under
/// its key on a later day is then the same request.
fn released_on(it: &wire::Block, today: Date) -> Date {
    it.release_date.filter(|date| *date <= today).unwrap_or(today)
}

/// What makes a block what it is.
pub(super) fn as_put(it: &wire::Block) -> PutBlock {
    PutBlock {
        room_type: it.room_type.clone(),
        from: it.from,
        to: it.to,
        rooms: it.rooms,
        status: it.status,
        release_date: it.release_date,
    }
}

/// Blocks, a line each.
pub(super) fn blocks(all: &[wire::Block]) -> String {
    let rows = all.iter().map(|it| {
        let picked_up = it.picked_up.iter().map(|night| night.rooms).max().unwrap_or(0);
        [
            it.block.to_string(),
            format!("{}{}", wire::word(&it.status), if it.released { ", released" } else { "" }),
            it.room_type.to_string(),
            it.from.to_string(),
            it.to.to_string(),
            it.rooms.to_string(),
            picked_up.to_string(),
            output::or_dash(it.release_date),
        ]
    });
    output::table(["block", "status", "room type", "from", "to", "rooms", "picked up", "release date"], rows)
}
