//! Rates: what a night costs, by target, currency and exact occupancy.
//!
//! A room's rate goes before its type's, per night, currency and occupancy.

use std::sync::Arc;

use super::book::{Book, RoomBook, TypeBook};
use super::command::{Prices, PutRates, RateTarget};
use super::date::Date;
use super::id::Currency;
use super::outcome::{Outcome, RatesSet, Refusal};
use super::record::{RateRecord, Record};
use super::reservation::Price;
use super::segments::{self, Segments, Weighed};
use super::txn::{Halt, Txn};

/// Most minor units of one night. The total of the longest stay stays far below 2^63.
pub const AMOUNT_MAX: i64 = 1_000_000_000_000;

/// The rates of one target by date.
pub type RateTable = Segments<Prices>;

impl Weighed for Prices {
    fn entries(&self) -> usize {
        self.values().map(|by_occupancy| 1 + by_occupancy.len()).sum()
    }
}

impl RateTable {
    /// Writes the amounts of the nights from `arrival` on over `amounts`, where this table has them.
    fn price(&self, arrival: Date, currency: Currency, occupancy: u32, amounts: &mut [i64]) {
        let departure = arrival.plus(amounts.len() as i32);
        for segment in self.overlapping(arrival, departure) {
            let amount = segment.value.get(&currency).and_then(|by| by.get(&occupancy));
            if let Some(amount) = amount {
                let first = arrival.nights_to(segment.from.max(arrival)) as usize;
                let after = arrival.nights_to(segment.to.min(departure)) as usize;
                amounts[first..after].fill(*amount);
            }
        }
    }
}

/// What is asked for a price.
#[derive(Clone, Copy, Debug)]
pub struct Quote {
    pub arrival: Date,
    pub departure: Date,
    pub occupancy: u32,
    pub currency: Currency,
}

/// Marks a night without a price; amounts are never negative.
const UNPRICED: i64 = -1;

impl Quote {
    /// The price in a room of the type, or of the type itself; else every night that has none.
    pub fn price(self, room_type: &TypeBook, room: Option<&RoomBook>) -> Result<Price, Vec<Date>> {
        self.price_keeping(room_type, room, |_| None)
    }

    /// The price with the amounts that are `kept` of an earlier one.
    pub fn price_keeping(
        self,
        room_type: &TypeBook,
        room: Option<&RoomBook>,
        kept: impl Fn(Date) -> Option<i64>,
    ) -> Result<Price, Vec<Date>> {
        let nights = self.arrival.nights_to(self.departure).max(0) as usize;
        let mut amounts = vec![UNPRICED; nights];
        room_type.rates.price(self.arrival, self.currency, self.occupancy, &mut amounts);
        if let Some(room) = room {
            room.rates.price(self.arrival, self.currency, self.occupancy, &mut amounts);
        }
        for (night, amount) in self.arrival.until(self.departure).zip(&mut amounts) {
            *amount = kept(night).unwrap_or(*amount);
        }
        if amounts.contains(&UNPRICED) {
            let nights = self.arrival.until(self.departure).zip(amounts);
            return Err(nights.filter(|(_, amount)| *amount == UNPRICED).map(|(night, _)| night).collect());
        }
        Ok(Price { currency: self.currency, from: self.arrival, amounts: amounts.into() })
    }
}

pub(super) fn put_rates(txn: &mut Txn<'_>, command: &PutRates) -> Result<Outcome, Halt> {
    let PutRates { property, target, from, to, prices, currencies_known } = command;
    let book = txn.book(property)?;
    let table = check(book, target, *from, *to, prices, *currencies_known)?;
    let replaced = table.overlapping(*from, *to).to_vec();
    let priced = prices.values().any(|by_occupancy| !by_occupancy.is_empty());
    table.may_replace(&replaced, (*from, *to), Some(prices).filter(|_| priced))?;
    let record = |segment| Record::Rate(RateRecord::new(property, target, segment));
    segments::replace(txn, &replaced, *from, *to, priced.then(|| Arc::new(prices.clone())), record)?;
    let set = RatesSet { target: target.clone(), from: *from, to: *to, prices: prices.clone() };
    Ok(Outcome::Rates(set))
}

/// The target's table, if the prices may be set there.
fn check<'a>(
    book: &'a Book,
    target: &RateTarget,
    from: Date,
    to: Date,
    prices: &Prices,
    currencies_known: bool,
) -> Result<&'a RateTable, Refusal> {
    let (table, room_type) = match target {
        RateTarget::RoomType(room_type) => {
            let room_type = book.room_type(room_type)?;
            (&room_type.rates, room_type)
        }
        RateTarget::Room(room) => {
            let room = book.room(room)?;
            (&room.rates, book.room_type(&room.record.room.room_type)?)
        }
    };
    if from >= to {
        return Err(Refusal::InvalidStay);
    }
    let max_occupancy = room_type.record.room_type.max_occupancy;
    let mut occupancies = prices.values().flat_map(|by_occupancy| by_occupancy.keys());
    if occupancies.any(|occupancy| !(1..=max_occupancy).contains(occupancy)) {
        return Err(Refusal::OccupancyInvalid { max_occupancy });
    }
    if !currencies_known {
        return Err(Refusal::InvalidCurrency);
    }
    let mut amounts = prices.values().flat_map(|by_occupancy| by_occupancy.values());
    if amounts.any(|amount| !(0..=AMOUNT_MAX).contains(amount)) {
        return Err(Refusal::InvalidAmount);
    }
    Ok(table)
}
