//! Writes the records to a cluster, in an order in which each finds what it needs.

use std::collections::BTreeMap;

use futures_util::stream::{self, StreamExt, TryStreamExt};
use indicatif::ProgressBar;

use super::Refused;
use super::read::{Contents, Item};
use super::there::{block_of, blocks_there, made_here};
use crate::cli::exchange::{
    Block, Booking, OutOfOrder, Property, Rate, Record, Restriction, Room, RoomType, WaitlistEntry,
};
use crate::cli::{output, progress};
use crate::client::{
    self, Client, ClientError, FirstBusinessDate, ImportBooking, JoinWaitlist, Key, PutBlock, PutOutOfOrder,
    PutProperty, PutRoom, PutRoomType,
};
use crate::ledger::{BlockStatus, Date, Status};
use crate::wire;

/// Records that are written, or asked for, at the same time: enough to share the flushes of the log.
pub(super) const AT_ONCE: usize = 64;

/// What became of the records.
#[derive(Debug, Default)]
pub(super) struct Written {
    pub already_there: u64,
    pub refused: Vec<Refused>,
    /// What is set for the houses was refused in part, and nothing that builds on it was written.
    pub ended_early: bool,
}

/// Where a record stands in the order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Properties,
    RoomTypes,
    Rooms,
    /// What is set for them. Rates are independent of one another by target only: a later line replaces an earlier one.
    Settings,
    /// Blocks that are not there yet, as tentative ones: what was picked up of them comes before they take rooms.
    NewBlocks,
    /// Those who have a room, or had one.
    InRooms,
    /// Those who will get one: by arrival, which is the order in which planning finds most.
    ByType,
    /// Blocks as they are, which take what was not picked up.
    Blocks,
    /// Those who wait for what is free then, which is nothing that would fit them.
    Waitlist,
}

/// Writes step by step. Refused bookings are collected; a refusal before them ends the import after its step.
pub(super) async fn write(client: &Client, contents: &Contents) -> Result<Written, ClientError> {
    let mut written = Written::default();
    let mut steps: BTreeMap<Step, Vec<&Item>> = BTreeMap::new();
    let made_here = made_here(client, &contents.items).await?;
    for item in &contents.items {
        if made_here.contains(&item.place) {
            written.already_there += 1;
            continue;
        }
        steps.entry(Step::of(&item.record)).or_default().push(item);
        if matches!(item.record, Record::Block(_)) {
            steps.entry(Step::NewBlocks).or_default().push(item);
        }
    }
    let records: usize = steps.values().map(Vec::len).sum();
    let bar = progress::bar(records as u64, "records");
    for (step, mut items) in steps {
        if step == Step::ByType {
            items.sort_by_key(|item| first_arrival(&item.record));
        }
        if step == Step::NewBlocks {
            // A block that is there already is left as it is until what was picked up of it has come.
            let all = items.len() as u64;
            let there = blocks_there(client, &items).await?;
            items.retain(|item| block_of(&item.record).is_some_and(|block| !there.contains(&block)));
            bar.inc(all - items.len() as u64);
        }
        let ordered = matches!(step, Step::Settings | Step::Waitlist);
        let groups = if ordered { by_target(items) } else { singly(items) };
        write_all(client, step, groups, &bar, &mut written).await?;
        if step < Step::InRooms && !written.refused.is_empty() {
            written.ended_early = true;
            break;
        }
    }
    bar.finish_and_clear();
    Ok(written)
}

impl Step {
    fn of(record: &Record) -> Step {
        match record {
            Record::Innkeeper(_) | Record::End(_) | Record::Property(_) => Step::Properties,
            Record::RoomType(_) => Step::RoomTypes,
            Record::Room(_) => Step::Rooms,
            Record::Rate(_) | Record::Restriction(_) | Record::OutOfOrder(_) => Step::Settings,
            Record::Block(_) => Step::Blocks,
            Record::WaitlistEntry(_) => Step::Waitlist,
            Record::Booking(booking) => {
                let planned = |status| matches!(status, Status::Held | Status::Confirmed);
                let by_type =
                    booking.reservations.iter().any(|stay| planned(stay.status) && !stay.room_pinned);
                if by_type { Step::ByType } else { Step::InRooms }
            }
        }
    }
}

fn first_arrival(record: &Record) -> Option<Date> {
    match record {
        Record::Booking(booking) => booking.reservations.iter().map(|stay| stay.arrival).min(),
        _ => None,
    }
}

fn singly(items: Vec<&Item>) -> Vec<Vec<&Item>> {
    items.into_iter().map(|item| vec![item]).collect()
}

/// Those that are set for the same thing stay in their order.
fn by_target(items: Vec<&Item>) -> Vec<Vec<&Item>> {
    let mut groups: BTreeMap<String, Vec<&Item>> = BTreeMap::new();
    for item in items {
        let target = match &item.record {
            Record::Rate(it) => format!("rate {} {:?} {:?}", it.property, it.room_type, it.room),
            Record::Restriction(it) => format!("restriction {} {}", it.property, it.room_type),
            Record::OutOfOrder(it) => format!("out of order {} {}", it.property, it.room),
            Record::WaitlistEntry(it) => format!("waitlist {}", it.property),
            _ => String::new(),
        };
        groups.entry(target).or_default().push(item);
    }
    groups.into_values().collect()
}

async fn write_all(
    client: &Client,
    step: Step,
    groups: Vec<Vec<&Item>>,
    bar: &ProgressBar,
    written: &mut Written,
) -> Result<(), ClientError> {
    let mut all = stream::iter(groups)
        .map(async |group| {
            let mut outcomes = Vec::new();
            for item in group {
                outcomes.push(write_one(client, step, item).await?);
                bar.inc(1);
            }
            Ok::<_, ClientError>(outcomes)
        })
        .buffer_unordered(AT_ONCE);
    while let Some(outcomes) = all.try_next().await? {
        for outcome in outcomes {
            match outcome {
                Outcome::Written => {}
                Outcome::AlreadyThere => written.already_there += 1,
                Outcome::Refused(refused) => written.refused.push(refused),
            }
        }
    }
    Ok(())
}

enum Outcome {
    Written,
    AlreadyThere,
    Refused(Refused),
}

/// A refusal is an outcome; no answer, or one that says "not now" to the end, is an error.
async fn write_one(client: &Client, step: Step, item: &Item) -> Result<Outcome, ClientError> {
    let sent = match &item.record {
        Record::Innkeeper(_) | Record::End(_) => Ok(false),
        Record::Property(it) => property(client, it).await,
        Record::RoomType(it) => room_type(client, it).await,
        Record::Room(it) => room(client, it).await,
        Record::Rate(it) => rate(client, it).await,
        Record::Restriction(it) => restriction(client, it).await,
        Record::OutOfOrder(it) => out_of_order(client, it).await,
        Record::Block(it) if step == Step::NewBlocks => block(client, it, BlockStatus::Tentative).await,
        Record::Block(it) => block(client, it, it.status).await,
        Record::Booking(it) => booking(client, it).await,
        Record::WaitlistEntry(it) => waitlist_entry(client, it).await,
    };
    match sent {
        Ok(true) => Ok(Outcome::AlreadyThere),
        Ok(false) => Ok(Outcome::Written),
        Err(ClientError::Refused(refused)) if refused.is_final() => Ok(Outcome::Refused(Refused {
            place: item.place.clone(),
            detail: detail(&refused),
            code: refused.problem.code,
        })),
        Err(error) => Err(error),
    }
}

/// What is left to do where the same name was refused before: a refusal is stored for a day, under the key that the name makes.
fn detail(refused: &client::Refused) -> String {
    let detail = &refused.problem.detail;
    if refused.problem.code == "idempotency_key_reused" {
        // Which of the two it was, a cluster tells only whoever sends the same again.
        return format!(
            "a record of this name was sent before and said otherwise. If it was refused, less than a day ago, give this \
             one another name; if it was taken over, change what it became instead ({detail})"
        );
    }
    if refused.meta.is_of_earlier_call() {
        return format!(
            "{detail} (so it was told less than a day ago: if that is mended, import it again after a day, or now under \
             another name)"
        );
    }
    detail.clone()
}

async fn property(client: &Client, it: &Property) -> Result<bool, ClientError> {
    let body = PutProperty {
        name: it.name.clone(),
        location: it.location.clone(),
        time_zone: it.time_zone.clone(),
        currency: it.currency,
        business_date: it.business_date,
    };
    let written = client.put_property(&it.property, &body, Key::Fresh).await?.value;
    if let FirstBusinessDate::Manual(date) = it.business_date
        && written.business_date != date
    {
        let (property, kept) = (&it.property, written.business_date);
        output::tell!("property {property} was there before and keeps its business date {kept}");
    }
    Ok(false)
}

async fn room_type(client: &Client, it: &RoomType) -> Result<bool, ClientError> {
    let body = PutRoomType {
        name: it.name.clone(),
        max_occupancy: it.max_occupancy,
        overbooking_limit: it.overbooking_limit,
    };
    client.put_room_type(&it.property, &it.room_type, &body, Key::Fresh).await?;
    Ok(false)
}

async fn room(client: &Client, it: &Room) -> Result<bool, ClientError> {
    let body = PutRoom { room_type: it.room_type.clone() };
    client.put_room(&it.property, &it.room, &body, Key::Fresh).await?;
    Ok(false)
}

async fn rate(client: &Client, it: &Rate) -> Result<bool, ClientError> {
    let (room_type, room) = (it.room_type.clone(), it.room.clone());
    let body = wire::Rate { room_type, room, from: it.from, to: it.to, prices: it.prices.clone() };
    client.put_rates(&it.property, &body, Key::Fresh).await?;
    Ok(false)
}

async fn restriction(client: &Client, it: &Restriction) -> Result<bool, ClientError> {
    let body = wire::Restriction {
        room_type: it.room_type.clone(),
        from: it.from,
        to: it.to,
        closed: it.closed,
        closed_to_arrival: it.closed_to_arrival,
        closed_to_departure: it.closed_to_departure,
        min_stay: it.min_stay,
        max_stay: it.max_stay,
        min_advance_days: it.min_advance_days,
        max_advance_days: it.max_advance_days,
    };
    client.put_restrictions(&it.property, &body, Key::Fresh).await?;
    Ok(false)
}

async fn out_of_order(client: &Client, it: &OutOfOrder) -> Result<bool, ClientError> {
    let body = PutOutOfOrder { from: it.from, to: it.to, reason: it.reason.clone() };
    client.put_out_of_order(&it.property, &it.room, &body, Key::Fresh).await?;
    Ok(false)
}

async fn block(client: &Client, it: &Block, status: BlockStatus) -> Result<bool, ClientError> {
    let body = PutBlock {
        room_type: it.room_type.clone(),
        from: it.from,
        to: it.to,
        rooms: it.rooms,
        status,
        release_date: it.release_date,
    };
    client.put_block(&it.property, &it.block, &body, Key::Fresh).await?;
    Ok(false)
}

async fn waitlist_entry(client: &Client, it: &WaitlistEntry) -> Result<bool, ClientError> {
    let body = JoinWaitlist {
        guest: it.guest.clone(),
        room_type: it.room_type.clone(),
        arrival: it.arrival,
        departure: it.departure,
        occupancy: it.occupancy,
        currency: it.currency,
    };
    let key = Key::Given(format!("innkeeper-import-waiting:{}:{}", it.property, it.entry));
    Ok(client.join_waitlist(&it.property, &body, key).await?.meta.is_of_earlier_call())
}

async fn booking(client: &Client, it: &Booking) -> Result<bool, ClientError> {
    let body = ImportBooking { guest: it.guest.clone(), reservations: it.reservations.clone() };
    let key = Key::Given(format!("innkeeper-import:{}:{}", it.property, it.booking));
    Ok(client.import_booking(&it.property, &body, key).await?.meta.is_of_earlier_call())
}
