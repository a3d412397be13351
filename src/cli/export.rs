//! `export`: writes what a cluster holds to stdout, in the format of `exchange.rs`.
//!
//! Bookings are written in the order of what they say, not of their ids, so that two exports of the same hotels can be
//! compared line by line. It reads page by page: what is written to the cluster meanwhile may be in it or not.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufWriter, ErrorKind, Write};

use clap::Args;
use futures_util::stream::{self, StreamExt, TryStreamExt};

use super::Nodes;
use super::exchange::{
    Block, Booking, End, FORMAT, Header, OutOfOrder, Property, Rate, Record, Restriction, Room, RoomType,
    WaitlistEntry,
};
use super::failure::Failure;
use super::progress;
use super::settings::Sources;
use crate::client::{Client, ClientError, FirstBusinessDate, ImportedPrice, ImportedStay, ListQuery};
use crate::ledger::{
    BLOCK_NIGHTS_MAX, BookingId, BusinessDateMode, Date, LISTED_NIGHTS_MAX, PropertyId, RoomId, RoomTypeId,
    Status, WaitlistStatus,
};
use crate::wire;

/// Questions that are under way at the same time.
const AT_ONCE: usize = 16;

/// Writes properties and their bookings to stdout, for `import --format innkeeper`
#[derive(Args, Debug)]
pub(super) struct Export {
    /// Only this property; repeatable
    #[arg(long)]
    property: Vec<PropertyId>,
    #[command(flatten)]
    nodes: Nodes,
}

impl Export {
    pub async fn run(self, sources: &Sources) -> Result<(), Failure> {
        let client = self.nodes.client(sources)?;
        let properties = self.wanted(&client).await?;
        let bar = progress::bar(properties.len() as u64, "properties");
        let mut out = BufWriter::new(std::io::stdout());
        let mut write = |records: &[Record]| {
            records.iter().try_for_each(|record| writeln!(out, "{}", record.line()))?;
            out.flush()
        };
        let mut written = write(&[Record::Innkeeper(Header { format: FORMAT, ended: true })]);
        let mut count = 0;
        for property in properties {
            if written.is_err() {
                break;
            }
            let records = records(&client, property).await?;
            written = write(&records);
            count += records.len() as u64;
            bar.inc(1);
        }
        written = written.and_then(|()| write(&[Record::End(End { records: count })]));
        bar.finish_and_clear();
        match written {
            // Whoever read us has read enough, as `head` does.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
            written => {
                written.map_err(|error| Failure::Failed(format!("stdout can't be written to: {error}")))
            }
        }
    }

    async fn wanted(&self, client: &Client) -> Result<Vec<wire::Property>, Failure> {
        let all = client.properties().await?.value.properties;
        if let Some(unknown) = self.property.iter().find(|id| all.iter().all(|it| it.property != **id)) {
            return Err(Failure::Failed(format!("there is no property {unknown}; nothing is exported")));
        }
        let wanted = |it: &wire::Property| self.property.is_empty() || self.property.contains(&it.property);
        Ok(all.into_iter().filter(wanted).collect())
    }
}

/// Everything of a property, each record behind what it needs.
async fn records(client: &Client, property: wire::Property) -> Result<Vec<Record>, ClientError> {
    let id = property.property.clone();
    let mut records = vec![Record::Property(of_property(property))];
    let room_types = client.room_types(&id).await?.value.room_types;
    let max_of: BTreeMap<RoomTypeId, u32> =
        room_types.iter().map(|it| (it.room_type.clone(), it.max_occupancy)).collect();
    for it in room_types {
        records.push(Record::RoomType(RoomType {
            property: id.clone(),
            room_type: it.room_type,
            name: it.name,
            max_occupancy: it.max_occupancy,
            overbooking_limit: it.overbooking_limit,
        }));
    }
    let rooms = client.rooms(&id).await?.value.rooms;
    let in_service: BTreeSet<RoomId> = rooms.iter().map(|it| it.room.clone()).collect();
    let max_in: BTreeMap<RoomId, u32> =
        rooms.iter().filter_map(|it| Some((it.room.clone(), *max_of.get(&it.room_type)?))).collect();
    for it in rooms {
        records.push(Record::Room(Room { property: id.clone(), room: it.room, room_type: it.room_type }));
    }
    let max_for = |rate: &Rate| {
        let of_type = rate.room_type.as_ref().and_then(|room_type| max_of.get(room_type));
        of_type.or_else(|| max_in.get(rate.room.as_ref()?)).copied().unwrap_or(0)
    };
    records.extend(rates(client, &id, max_for).await?.into_iter().map(Record::Rate));
    records.extend(restrictions(client, &id).await?.into_iter().map(Record::Restriction));
    records.extend(out_of_order(client, &id).await?.into_iter().map(Record::OutOfOrder));
    records
        .extend(client.blocks(&id).await?.value.blocks.into_iter().map(|it| Record::Block(block(&id, it))));
    records.extend(bookings(client, &id, &in_service).await?.into_iter().map(Record::Booking));
    records.extend(waitlist(client, &id).await?.into_iter().map(Record::WaitlistEntry));
    Ok(records)
}

fn of_property(it: wire::Property) -> Property {
    let business_date = match it.business_date_mode {
        BusinessDateMode::Clock => FirstBusinessDate::Clock,
        BusinessDateMode::Manual => FirstBusinessDate::Manual(it.business_date),
    };
    let wire::Property { property, name, location, time_zone, currency, .. } = it;
    Property { property, name, location, time_zone, currency, business_date }
}

fn block(property: &PropertyId, it: wire::Block) -> Block {
    Block {
        property: property.clone(),
        block: it.block,
        room_type: it.room_type,
        from: it.from,
        to: it.to,
        rooms: it.rooms,
        status: it.status,
        release_date: it.release_date,
    }
}

/// Those who wait, in their order. Within a millisecond it is that of their ids, which is a guess between requests that came
/// together. What became of an offer is told by its reservation.
async fn waitlist(client: &Client, property: &PropertyId) -> Result<Vec<WaitlistEntry>, ClientError> {
    let mut waiting: Vec<wire::WaitlistEntry> = Vec::new();
    let page = |page: Vec<wire::WaitlistEntry>| {
        waiting.extend(page.into_iter().filter(|it| it.status == WaitlistStatus::Waiting));
    };
    client.every_waitlist_entry(property, page).await?;
    waiting.sort_by_cached_key(|it| (it.created_at.clone(), it.id));
    let entry = |it: wire::WaitlistEntry| WaitlistEntry {
        property: property.clone(),
        entry: it.id.to_string(),
        guest: it.guest,
        room_type: it.room_type,
        arrival: it.arrival,
        departure: it.departure,
        occupancy: it.occupancy,
        currency: Some(it.currency),
    };
    Ok(waiting.into_iter().map(entry).collect())
}

/// Without the prices for more guests than `max_for` their target: they were set before the type's maximum was lowered or the
/// room was retired, nobody can book at them, and no cluster takes them.
async fn rates(
    client: &Client,
    property: &PropertyId,
    max_for: impl Fn(&Rate) -> u32,
) -> Result<Vec<Rate>, ClientError> {
    let found =
        over_all_dates(async |from, to| Ok(client.rates(property, from, to).await?.value.rates)).await?;
    let rates = found.into_iter().filter_map(|it| {
        let mut rate = Rate {
            property: property.clone(),
            room_type: it.room_type,
            room: it.room,
            from: it.from,
            to: it.to,
            prices: it.prices,
        };
        let max_occupancy = max_for(&rate);
        rate.prices.retain(|_, by_occupancy| {
            by_occupancy.retain(|occupancy, _| *occupancy <= max_occupancy);
            !by_occupancy.is_empty()
        });
        (!rate.prices.is_empty()).then_some(rate)
    });
    Ok(joined(rates.collect(), i32::MAX))
}

async fn restrictions(client: &Client, property: &PropertyId) -> Result<Vec<Restriction>, ClientError> {
    let ask = async |from, to| Ok(client.restrictions(property, from, to).await?.value.restrictions);
    let restrictions = over_all_dates(ask).await?.into_iter().map(|it| Restriction {
        property: property.clone(),
        room_type: it.room_type,
        from: it.from,
        to: it.to,
        closed: it.closed,
        closed_to_arrival: it.closed_to_arrival,
        closed_to_departure: it.closed_to_departure,
        min_stay: it.min_stay,
        max_stay: it.max_stay,
        min_advance_days: it.min_advance_days,
        max_advance_days: it.max_advance_days,
    });
    Ok(joined(restrictions.collect(), i32::MAX))
}

async fn out_of_order(client: &Client, property: &PropertyId) -> Result<Vec<OutOfOrder>, ClientError> {
    let ask = async |from, to| Ok(client.out_of_order(property, from, to).await?.value.out_of_order);
    let closures = over_all_dates(ask).await?.into_iter().map(|it| OutOfOrder {
        property: property.clone(),
        room: it.room,
        from: it.from,
        to: it.to,
        reason: it.reason,
    });
    Ok(joined(closures.collect(), BLOCK_NIGHTS_MAX))
}

/// Asks about every date of the calendar, as many nights at a time as one answer lists.
async fn over_all_dates<T>(
    ask: impl AsyncFn(Date, Date) -> Result<Vec<T>, ClientError>,
) -> Result<Vec<T>, ClientError> {
    let windows = (0..).map(|n: i32| Date::MIN.plus(n * LISTED_NIGHTS_MAX));
    let windows = windows.take_while(|from| *from < Date::MAX);
    let answers: Vec<Vec<T>> = stream::iter(windows)
        .map(|from| over_dates(from, from.plus(LISTED_NIGHTS_MAX), &ask))
        .buffered(AT_ONCE)
        .try_collect()
        .await?;
    Ok(answers.into_iter().flatten().collect())
}

/// Asks about half of the dates at a time where the answer to all is too long: a large house has prices a room and night.
async fn over_dates<T>(
    from: Date,
    to: Date,
    ask: &impl AsyncFn(Date, Date) -> Result<Vec<T>, ClientError>,
) -> Result<Vec<T>, ClientError> {
    let nights = from.nights_to(to);
    match ask(from, to).await {
        Err(ClientError::TooLong { .. }) if nights > 1 => {
            let middle = from.plus(nights / 2);
            let mut all = Box::pin(over_dates(from, middle, ask)).await?;
            all.extend(Box::pin(over_dates(middle, to, ask)).await?);
            Ok(all)
        }
        answer => answer,
    }
}

/// Something that is set for a range of dates.
trait Ranged: PartialEq + Clone {
    fn dates(&mut self) -> (&mut Date, &mut Date);
    /// What it is set for, as text to sort by.
    fn target(&self) -> String;
}

macro_rules! ranged {
    ($kind:ty, $target:expr) => {
        impl Ranged for $kind {
            fn dates(&mut self) -> (&mut Date, &mut Date) {
                (&mut self.from, &mut self.to)
            }

            fn target(&self) -> String {
                let target: fn(&$kind) -> String = $target;
                target(self)
            }
        }
    };
}

ranged!(Rate, |it| match (&it.room_type, &it.room) {
    (Some(room_type), _) => format!("type {room_type}"),
    (None, room) => format!("room {}", room.as_ref().map_or("", |room| room.as_str())),
});
ranged!(Restriction, |it| it.room_type.to_string());
ranged!(OutOfOrder, |it| it.room.to_string());

/// By target and date; what the windows of the questions cut in two is one again, up to the nights that are set at once.
fn joined<T: Ranged>(mut all: Vec<T>, nights_max: i32) -> Vec<T> {
    all.sort_by_cached_key(|it| (it.target(), *it.clone().dates().0));
    let mut joined: Vec<T> = Vec::new();
    for mut next in all {
        if let Some(last) = joined.last_mut() {
            let (from, to) = next.dates();
            let (from, to) = (*from, *to);
            let mut longer = last.clone();
            if *longer.dates().1 == from && longer.dates().0.nights_to(to) <= nights_max {
                *longer.dates().1 = to;
                // Equal but for the range?
                let mut whole = next.clone();
                *whole.dates().0 = *longer.dates().0;
                if whole == longer {
                    *last = longer;
                    continue;
                }
            }
        }
        joined.push(next);
    }
    joined
}

/// Every booking of a property, in the order of what they say.
async fn bookings(
    client: &Client,
    property: &PropertyId,
    in_service: &BTreeSet<RoomId>,
) -> Result<Vec<Booking>, ClientError> {
    let mut members: BTreeMap<BookingId, Vec<wire::Reservation>> = BTreeMap::new();
    let page = async |page: Vec<wire::Reservation>| {
        for reservation in page {
            members.entry(reservation.booking_id).or_default().push(reservation);
        }
        Ok(())
    };
    client.every_reservation(property, ListQuery::default(), page).await?;
    let mut bookings: Vec<Booking> = stream::iter(members)
        .map(|(id, members)| in_order(client, property, id, members, in_service))
        .buffered(AT_ONCE)
        .try_collect()
        .await?;
    bookings.sort_by_cached_key(|it| {
        let said = Booking { booking: String::new(), ..it.clone() };
        (it.reservations.first().map(|stay| stay.arrival), Record::Booking(said).line(), it.booking.clone())
    });
    Ok(bookings)
}

/// A list is by id, which says nothing about the order of a booking's members.
async fn in_order(
    client: &Client,
    property: &PropertyId,
    id: BookingId,
    mut members: Vec<wire::Reservation>,
    in_service: &BTreeSet<RoomId>,
) -> Result<Booking, ClientError> {
    if members.len() > 1 {
        members = client.booking(id).await?.value.reservations;
    }
    Ok(Booking {
        property: property.clone(),
        booking: id.to_string(),
        guest: members.first().map(|it| it.guest.clone()).unwrap_or_default(),
        reservations: members.into_iter().map(|it| stay(it, in_service)).collect(),
    })
}

/// What was promised and what became of it. The room that is planned for a stay by type is neither.
fn stay(it: wire::Reservation, in_service: &BTreeSet<RoomId>) -> ImportedStay {
    let planned = matches!(it.status, Status::Held | Status::Confirmed) && !it.room_pinned;
    // Which room would have been theirs is nobody's business any more, unless they had asked for it.
    let gone = matches!(it.status, Status::Canceled | Status::Expired | Status::NoShow) && !it.room_pinned;
    // Who had a room that was retired since had one that the file does not know.
    let room = it.room.filter(|room| !planned && !gone && in_service.contains(room));
    ImportedStay {
        room_type: it.room_type,
        room_pinned: it.room_pinned && room.is_some(),
        room,
        arrival: it.arrival,
        departure: it.departure,
        occupancy: it.occupancy,
        status: it.status,
        hold_expires_at: it.hold_expires_at,
        price: ImportedPrice { currency: it.price.currency, nights: it.price.nights },
        block: it.block,
        external_ref: it.external_ref,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_too_long_is_asked_for_in_parts() {
        let from = Date::MIN;
        let ask = async |from: Date, to: Date| match from.nights_to(to) {
            nights if nights > 10 => Err(ClientError::TooLong { endpoint: "node".to_owned(), max: 1 }),
            _ => Ok(from.until(to).collect::<Vec<_>>()),
        };
        let all = over_dates(from, from.plus(99), &ask).await.unwrap();
        assert_eq!(all, from.until(from.plus(99)).collect::<Vec<_>>());
    }

    #[test]
    fn what_was_cut_is_one_again_but_no_longer_than_is_set_at_once() {
        let date = |text: &str| text.parse::<Date>().unwrap();
        let closed = |room: &str, from: &str, to: &str, reason: &str| OutOfOrder {
            property: PropertyId::new("grand").unwrap(),
            room: RoomId::new(room).unwrap(),
            from: date(from),
            to: date(to),
            reason: reason.to_owned(),
        };
        let cut = vec![
            closed("102", "2027-01-01", "2027-01-05", "paint"),
            closed("101", "2027-01-03", "2027-01-05", "paint"),
            closed("101", "2027-01-01", "2027-01-03", "paint"),
            closed("101", "2027-01-05", "2027-01-06", "pipes"),
            closed("101", "2027-01-07", "2027-01-08", "pipes"),
        ];
        let rest = [
            closed("101", "2027-01-05", "2027-01-06", "pipes"),
            closed("101", "2027-01-07", "2027-01-08", "pipes"),
            closed("102", "2027-01-01", "2027-01-05", "paint"),
        ];
        let whole = [closed("101", "2027-01-01", "2027-01-05", "paint")];
        assert_eq!(joined(cut.clone(), 4), [&whole[..], &rest[..]].concat());
        let halves = [
            closed("101", "2027-01-01", "2027-01-03", "paint"),
            closed("101", "2027-01-03", "2027-01-05", "paint"),
        ];
        assert_eq!(joined(cut, 3), [&halves[..], &rest[..]].concat());
    }
}
