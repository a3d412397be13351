//! What is wrong with a record, as far as the files themselves tell: an import that is refused in its middle has written
//! what came before.

use std::collections::{BTreeMap, BTreeSet};

use crate::cli::exchange::{Booking, Property, Rate, Record, RoomType, WaitlistEntry};
use crate::client::{FirstBusinessDate, ImportedPrice, ImportedStay};
use crate::http::{STAYS_MAX, TEXT_CHARS_MAX, is_text};
use crate::ledger::{
    AMOUNT_MAX, BLOCK_NIGHTS_MAX, BlockId, Currency, Date, HORIZON_DAYS, PropertyId, RoomId, RoomTypeId,
    STAY_NIGHTS_MAX, Status,
};
use crate::node::time_zone_known;

/// What a booking or a waitlist entry is called is part of an idempotency key.
const NAME_CHARS_MAX: usize = 100;

/// What the lines so far defined.
#[derive(Default)]
pub(super) struct Known {
    properties: BTreeMap<PropertyId, KnownProperty>,
}

struct KnownProperty {
    /// Where it is moved by hand; one that follows the clock has the date of whenever the file is read.
    business_date: Option<Date>,
    /// With the occupancy of each, at most.
    room_types: BTreeMap<RoomTypeId, u32>,
    /// With the type of each.
    rooms: BTreeMap<RoomId, RoomTypeId>,
    blocks: BTreeSet<BlockId>,
    bookings: BTreeSet<String>,
    waitlist: BTreeSet<String>,
}

impl Known {
    pub fn judge(&mut self, record: &Record) -> Result<(), String> {
        match record {
            Record::Innkeeper(_) => Err("belongs on the first line only".to_owned()),
            Record::Property(it) => {
                let known = KnownProperty::new(it)?;
                let twice = self.properties.insert(it.property.clone(), known).is_some();
                new(!twice, "property", &it.property)
            }
            Record::RoomType(it) => self.property(&it.property)?.judge_room_type(it),
            Record::Room(it) => {
                let property = self.property(&it.property)?;
                property.has_type(&it.room_type)?;
                let twice = property.rooms.insert(it.room.clone(), it.room_type.clone()).is_some();
                new(!twice, "room", &it.room)
            }
            Record::Rate(it) => self.property(&it.property)?.judge_rate(it),
            Record::Restriction(it) => {
                self.property(&it.property)?.has_type(&it.room_type)?;
                range(it.from, it.to)
            }
            Record::OutOfOrder(it) => {
                self.property(&it.property)?.has_room(&it.room)?;
                text("reason", &it.reason)?;
                counted(it.from, it.to)
            }
            Record::Block(it) => {
                let property = self.property(&it.property)?;
                property.has_type(&it.room_type)?;
                counted(it.from, it.to)?;
                property.within_horizon("to", it.to)?;
                new(property.blocks.insert(it.block.clone()), "block", &it.block)
            }
            Record::Booking(it) => self.property(&it.property)?.judge_booking(it),
            Record::WaitlistEntry(it) => self.property(&it.property)?.judge_entry(it),
            // How many there are is the reader's to count.
            Record::End(_) => Ok(()),
        }
    }

    fn property(&mut self, id: &PropertyId) -> Result<&mut KnownProperty, String> {
        self.properties.get_mut(id).ok_or_else(|| format!("no line before it defines property {id}"))
    }
}

impl KnownProperty {
    fn new(it: &Property) -> Result<KnownProperty, String> {
        text("name", &it.name)?;
        text("location", &it.location)?;
        if !time_zone_known(&it.time_zone) {
            return Err(format!("`time_zone`: {} is no IANA name such as Europe/Budapest", it.time_zone));
        }
        currency(it.currency)?;
        let business_date = match it.business_date {
            FirstBusinessDate::Manual(date) => Some(date),
            FirstBusinessDate::Clock => None,
        };
        Ok(KnownProperty {
            business_date,
            room_types: BTreeMap::new(),
            rooms: BTreeMap::new(),
            blocks: BTreeSet::new(),
            bookings: BTreeSet::new(),
            waitlist: BTreeSet::new(),
        })
    }

    fn judge_room_type(&mut self, it: &RoomType) -> Result<(), String> {
        text("name", &it.name)?;
        if it.max_occupancy == 0 {
            return Err("`max_occupancy` has to be at least 1".to_owned());
        }
        let twice = self.room_types.insert(it.room_type.clone(), it.max_occupancy).is_some();
        new(!twice, "room type", &it.room_type)
    }

    /// The occupancy of the type, at most.
    fn has_type(&self, id: &RoomTypeId) -> Result<u32, String> {
        let known = self.room_types.get(id).copied();
        known.ok_or_else(|| format!("no line before it defines room type {id}"))
    }

    /// The occupancy of the room, at most.
    fn has_room(&self, id: &RoomId) -> Result<u32, String> {
        let room_type = self.rooms.get(id);
        self.has_type(room_type.ok_or_else(|| format!("no line before it defines room {id}"))?)
    }

    fn judge_rate(&self, it: &Rate) -> Result<(), String> {
        range(it.from, it.to)?;
        let max_occupancy = match (&it.room_type, &it.room) {
            (Some(room_type), None) => self.has_type(room_type)?,
            (None, Some(room)) => self.has_room(room)?,
            _ => return Err("give one of `room_type` and `room`".to_owned()),
        };
        for (code, by_occupancy) in &it.prices {
            currency(*code)?;
            for (occupancy, price) in by_occupancy {
                fits(*occupancy, max_occupancy)?;
                amount(*price)?;
            }
        }
        Ok(())
    }

    fn judge_booking(&mut self, it: &Booking) -> Result<(), String> {
        name("booking", &it.booking)?;
        text("guest", &it.guest)?;
        if !(1..=STAYS_MAX).contains(&it.reservations.len()) {
            return Err(format!("`reservations` has to be 1 to {STAYS_MAX}"));
        }
        for (index, stay) in it.reservations.iter().enumerate() {
            self.judge_stay(stay).map_err(|why| format!("reservation {index}: {why}"))?;
        }
        new(self.bookings.insert(it.booking.clone()), "booking", &it.booking)
    }

    fn judge_entry(&mut self, it: &WaitlistEntry) -> Result<(), String> {
        name("entry", &it.entry)?;
        text("guest", &it.guest)?;
        self.has_type(&it.room_type)?;
        // The maximum may have been lowered since: the cluster refuses that one entry, and takes the rest.
        fits(it.occupancy, u32::MAX)?;
        it.currency.map_or(Ok(()), currency)?;
        dates(it.arrival, it.departure)?;
        self.within_horizon("departure", it.departure)?;
        new(self.waitlist.insert(it.entry.clone()), "waitlist entry", &it.entry)
    }

    fn judge_stay(&self, stay: &ImportedStay) -> Result<(), String> {
        self.has_type(&stay.room_type)?;
        stay.room.as_ref().map(|room| self.has_room(room)).transpose()?;
        stay.external_ref.as_ref().map_or(Ok(()), |reference| text("external_ref", reference))?;
        if let Some(block) = stay.block.as_ref().filter(|block| !self.blocks.contains(block)) {
            return Err(format!("no line before it defines block {block}"));
        }
        // Who checked out on the day of arrival has had no night.
        if stay.status != Status::CheckedOut || stay.departure != stay.arrival {
            dates(stay.arrival, stay.departure)?;
        }
        fits(stay.occupancy, u32::MAX)?;
        self.may_be(stay)?;
        price(&stay.price)?;
        let nights: BTreeSet<Date> = stay.price.nights.iter().map(|night| night.date).collect();
        match stay.arrival.until(stay.departure).find(|night| !nights.contains(night)) {
            Some(night) => Err(format!("the price has no amount for {night}")),
            None => Ok(()),
        }
    }

    /// Whether a stay can stand so on the property's business date.
    fn may_be(&self, stay: &ImportedStay) -> Result<(), String> {
        if stay.hold_expires_at.is_some() != (stay.status == Status::Held) {
            return Err("`hold_expires_at` goes with a reservation that is held, and only there".to_owned());
        }
        if stay.status == Status::InHouse && stay.room.is_none() {
            return Err("a reservation that is in house has a `room`".to_owned());
        }
        if stay.status.is_live() {
            self.within_horizon("departure", stay.departure)?;
        }
        let Some(today) = self.business_date else { return Ok(()) };
        let (field, of) = match stay.status {
            Status::InHouse | Status::NoShow => ("arrival", stay.arrival),
            Status::CheckedOut => ("departure", stay.departure),
            Status::Held | Status::Confirmed | Status::Canceled | Status::Expired => return Ok(()),
        };
        if of <= today {
            return Ok(());
        }
        Err(format!("`status`: its {field} is after the property's business date, {today}"))
    }

    fn within_horizon(&self, field: &str, end: Date) -> Result<(), String> {
        let latest = self.business_date.map(|today| today.plus(HORIZON_DAYS));
        match latest {
            Some(latest) if end > latest => Err(format!(
                "`{field}` is more than {HORIZON_DAYS} days ahead of the business date; the latest is {latest}"
            )),
            _ => Ok(()),
        }
    }
}

/// The dates of a stay of at least one night.
fn dates(arrival: Date, departure: Date) -> Result<(), String> {
    if departure <= arrival {
        return Err("`departure` has to be later than `arrival`".to_owned());
    }
    if arrival.nights_to(departure) > STAY_NIGHTS_MAX {
        return Err(format!("a stay has at most {STAY_NIGHTS_MAX} nights"));
    }
    Ok(())
}

fn fits(occupancy: u32, max_occupancy: u32) -> Result<(), String> {
    match occupancy {
        0 => Err("an occupancy has to be at least 1".to_owned()),
        _ if occupancy > max_occupancy => {
            Err(format!("the room type takes {max_occupancy} at most, not {occupancy}"))
        }
        _ => Ok(()),
    }
}

fn currency(currency: Currency) -> Result<(), String> {
    let known = iso_currency::Currency::from_code(currency.as_str()).is_some();
    if known { Ok(()) } else { Err(format!("{} is no ISO 4217 code such as EUR", currency.as_str())) }
}

fn amount(amount: i64) -> Result<(), String> {
    if (0..=AMOUNT_MAX).contains(&amount) {
        return Ok(());
    }
    Err(format!("an amount has to be from 0 to {AMOUNT_MAX} minor units, not {amount}"))
}

fn price(price: &ImportedPrice) -> Result<(), String> {
    currency(price.currency)?;
    if !(1..=STAY_NIGHTS_MAX as usize).contains(&price.nights.len()) {
        return Err(format!("the price has to have 1 to {STAY_NIGHTS_MAX} nights"));
    }
    if price.nights.windows(2).any(|two| two[0].date.nights_to(two[1].date) != 1) {
        return Err("the nights of the price have to follow one another".to_owned());
    }
    price.nights.iter().try_for_each(|night| amount(night.amount))
}

fn text(field: &str, text: &str) -> Result<(), String> {
    if is_text(text) {
        Ok(())
    } else {
        Err(format!("`{field}` has to be 1 to {TEXT_CHARS_MAX} characters, none of them a control character"))
    }
}

fn new(is_new: bool, what: &str, id: impl std::fmt::Display) -> Result<(), String> {
    if is_new { Ok(()) } else { Err(format!("{what} {id} is there twice")) }
}

/// What the writer of the file calls something.
fn name(field: &str, name: &str) -> Result<(), String> {
    let visible = name.bytes().all(|byte| byte.is_ascii_graphic());
    if visible && (1..=NAME_CHARS_MAX).contains(&name.len()) {
        Ok(())
    } else {
        Err(format!("`{field}` has to be 1 to {NAME_CHARS_MAX} visible ASCII characters"))
    }
}

fn range(from: Date, to: Date) -> Result<(), String> {
    if from < to { Ok(()) } else { Err("`to` has to be later than `from`".to_owned()) }
}

/// A range of which every night is counted for itself.
fn counted(from: Date, to: Date) -> Result<(), String> {
    range(from, to)?;
    if from.nights_to(to) > BLOCK_NIGHTS_MAX {
        return Err(format!("`to` is more than {BLOCK_NIGHTS_MAX} nights after `from`"));
    }
    Ok(())
}
