//! `book`: several reservations together, all or none; and `booking`: what becomes of them.

use std::collections::BTreeMap;
use std::num::{NonZero, NonZeroU16};
use std::str::FromStr;

use clap::{Args, Subcommand};
use uuid::Uuid;

use super::failure::Failure;
use super::settings::Sources;
use super::{Target, Writing, currency, money, output};
use crate::client::{self, BookingChange};
use crate::ledger::{BlockId, BookingId, Currency, Date, PropertyId, RoomId, RoomTypeId};
use crate::wire;

/// Books several rooms together, all or none
#[derive(Args, Debug)]
pub(super) struct Book {
    #[arg(long)]
    property: PropertyId,
    /// The caller's reference to the guest; no personal data
    #[arg(long)]
    guest: String,
    /// One room, as in `type=double,occupancy=2,rooms=3` or `room=101,departure=2027-03-05`; repeatable. Keys: type or
    /// room, rooms, occupancy, arrival, departure, block, external-ref, expected-total
    #[arg(long, value_name = "KEY=VALUE,…", required = true)]
    stay: Vec<StayWords>,
    /// The first night of stays that name none
    #[arg(long, value_name = "DATE")]
    arrival: Option<Date>,
    /// The day after the last night of stays that name none
    #[arg(long, value_name = "DATE")]
    departure: Option<Date>,
    /// The property's own when absent
    #[arg(long, value_name = "CODE", value_parser = currency)]
    currency: Option<Currency>,
    /// Hold for so many seconds instead of booking
    #[arg(long, value_name = "SECONDS")]
    hold_seconds: Option<u64>,
    #[command(flatten)]
    writing: Writing,
    #[command(flatten)]
    target: Target,
}

/// What `--stay` holds.
#[derive(Clone, Debug, Default, PartialEq)]
struct StayWords {
    room: Option<RoomId>,
    room_type: Option<RoomTypeId>,
    rooms: Option<NonZeroU16>,
    occupancy: Option<u32>,
    arrival: Option<Date>,
    departure: Option<Date>,
    block: Option<BlockId>,
    external_ref: Option<String>,
    expected_total: Option<i64>,
}

impl FromStr for StayWords {
    type Err = String;

    fn from_str(text: &str) -> Result<StayWords, String> {
        let mut stay = StayWords::default();
        for word in text.split(',') {
            let (name, value) = word.split_once('=').ok_or_else(|| format!("`{word}` is no KEY=VALUE"))?;
            match name.trim() {
                "room" => set(name, &mut stay.room, value)?,
                "type" => set(name, &mut stay.room_type, value)?,
                "rooms" => set(name, &mut stay.rooms, value)?,
                "occupancy" => set(name, &mut stay.occupancy, value)?,
                "arrival" => set(name, &mut stay.arrival, value)?,
                "departure" => set(name, &mut stay.departure, value)?,
                "block" => set(name, &mut stay.block, value)?,
                "external-ref" => set(name, &mut stay.external_ref, value)?,
                "expected-total" => set(name, &mut stay.expected_total, value)?,
                _ => return Err(format!("`{name}` is not known")),
            }
        }
        match (&stay.room, &stay.room_type) {
            (Some(_), None) if stay.rooms.is_none() => Ok(stay),
            (None, Some(_)) => Ok(stay),
            (Some(_), None) => Err("`rooms` goes with `type`: a room is one".to_owned()),
            _ => Err("give one of `room` and `type`".to_owned()),
        }
    }
}

fn set<T: FromStr<Err: std::fmt::Display>>(
    name: &str,
    place: &mut Option<T>,
    text: &str,
) -> Result<(), String> {
    let value = text.trim().parse().map_err(|error| format!("{name}: {error}"))?;
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(format!("`{name}` is there twice")),
    }
}

impl Book {
    pub async fn run(self, sources: &Sources) -> Result<(), Failure> {
        let client = self.target.client(sources)?;
        let format = self.target.format(sources)?;
        let body = client::Book { guest: self.guest.clone(), reservations: self.stays()? };
        let answer = self.writing.send(|key| client.book(&self.property, &body, key)).await?;
        output::show_done(format, &answer.meta, &answer.value, table)
    }

    fn stays(&self) -> Result<Vec<client::Stay>, Failure> {
        let missing =
            |what: &str| Failure::Usage(format!("a stay has no {what}, and there is no --{what} for all"));
        let mut stays = Vec::new();
        for words in &self.stay {
            let stay = client::Stay {
                room: words.room.clone(),
                room_type: words.room_type.clone(),
                arrival: words.arrival.or(self.arrival).ok_or_else(|| missing("arrival"))?,
                departure: words.departure.or(self.departure).ok_or_else(|| missing("departure"))?,
                occupancy: words.occupancy.unwrap_or(1),
                currency: self.currency,
                hold_seconds: self.hold_seconds,
                expected_total: words.expected_total,
                block: words.block.clone(),
                external_ref: words.external_ref.clone(),
            };
            stays.extend(std::iter::repeat_n(stay, words.rooms.map_or(1, NonZero::get).into()));
        }
        Ok(stays)
    }
}

/// Shows a booking, or changes all its reservations, all or none
#[derive(Args, Debug)]
pub(super) struct Booking {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Shows the reservations of a booking, in their order
    Show(OneBooking),
    /// Confirms those that are held
    Confirm(Changed),
    /// Cancels them; their nights are free
    Cancel(Changed),
}

#[derive(Args, Debug)]
struct OneBooking {
    /// The booking's id
    #[arg(value_name = "BOOKING")]
    id: Uuid,
    #[command(flatten)]
    target: Target,
}

#[derive(Args, Debug)]
struct Changed {
    #[command(flatten)]
    writing: Writing,
    #[command(flatten)]
    one: OneBooking,
}

impl Booking {
    pub async fn run(self, sources: &Sources) -> Result<(), Failure> {
        let (Changed { writing, one }, change) = match self.what {
            What::Show(one) => {
                let client = one.target.client(sources)?;
                let answer = client.booking(BookingId(one.id)).await?;
                return output::show(one.target.format(sources)?, &answer.value, table);
            }
            What::Confirm(changed) => (changed, BookingChange::Confirm),
            What::Cancel(changed) => (changed, BookingChange::Cancel),
        };
        let client = one.target.client(sources)?;
        let format = one.target.format(sources)?;
        let answer = writing.send(|key| client.change_booking(BookingId(one.id), change, key)).await?;
        output::show_done(format, &answer.meta, &answer.value, table)
    }
}

fn table(booking: &wire::Booking) -> String {
    // Each stay has a currency of its own.
    let mut totals: BTreeMap<Currency, i64> = BTreeMap::new();
    for stay in &booking.reservations {
        *totals.entry(stay.price.currency).or_default() += stay.price.total;
    }
    let totals: Vec<String> =
        totals.into_iter().map(|(currency, sum)| money::format(sum, currency)).collect();
    let stays = output::reservations(&booking.reservations);
    format!("booking  {}\ntotal    {}\n\n{stays}", booking.id, totals.join(" + "))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_booking_in_two_currencies_has_two_totals() {
        let stay = |currency: &str, total: i64| {
            json!({
                "id": Uuid::nil(), "booking_id": Uuid::nil(), "property": "p", "room_type": "t", "room": null,
                "room_pinned": false, "guest": "g", "arrival": "2027-01-01", "departure": "2027-01-02", "occupancy": 1,
                "status": "confirmed", "hold_expires_at": null, "block": null, "external_ref": null, "revision": 1,
                "lsn": 1, "created_at": "2027-01-01T00:00:00.000Z", "updated_at": "2027-01-01T00:00:00.000Z",
                "price": { "currency": currency, "nights": [{ "date": "2027-01-01", "amount": total }], "total": total },
            })
        };
        let stays = [stay("JPY", 12_000), stay("EUR", 14_000), stay("EUR", 50)];
        let booking = json!({ "id": Uuid::nil(), "reservations": stays });
        let text = table(&serde_json::from_value(booking).unwrap());
        assert_eq!(text.lines().nth(1), Some("total    140.50 EUR + 12000 JPY"), "{text}");
    }

    #[test]
    fn a_stay_in_words_is_a_stay_or_says_why_not() {
        let stay: StayWords = "type=double, occupancy=2,rooms=3,arrival=2027-03-01".parse().unwrap();
        assert_eq!((stay.rooms, stay.occupancy, stay.arrival.is_some()), (NonZeroU16::new(3), Some(2), true));
        for (text, why) in [
            ("", "no KEY=VALUE"),
            ("double", "no KEY=VALUE"),
            ("occupancy=2", "one of"),
            ("room=1,type=double", "one of"),
            ("room=1,rooms=2", "a room is one"),
            ("type=double,rooms=0", "zero"),
            ("room=1,room=2", "twice"),
            ("room=no room", "expected"),
            ("type=double,arrival=2027-02-30", "2027-02-30"),
            ("type=double,color=red", "`color` is not known"),
        ] {
            let error = text.parse::<StayWords>().expect_err(text);
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
