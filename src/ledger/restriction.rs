//! Restrictions: rules of a room type, by date, that a stay must obey.
//!
//! They are judged where a stay is asked for, and again for what changes of it; a stay that was taken keeps what it has,
//! whatever is set later.

use std::sync::Arc;

use super::book::TypeBook;
use super::command::{PutRestrictions, Rules};
use super::date::Date;
use super::outcome::{Outcome, Refusal, Rule};
use super::record::{Record, RestrictionRecord};
use super::segments::{self, Segments, Weighed};
use super::txn::{Halt, Txn};

/// The rules of one room type by date.
pub type RuleTable = Segments<Rules>;

impl Weighed for Rules {
    fn entries(&self) -> usize {
        1
    }
}

impl Rules {
    /// Whether there is no rule at all.
    fn are_none(&self) -> bool {
        *self == Rules::default()
    }
}

pub fn put(txn: &mut Txn<'_>, command: &PutRestrictions) -> Result<Outcome, Halt> {
    let PutRestrictions { property, room_type, from, to, rules } = command;
    let table = &txn.book(property)?.room_type(room_type)?.rules;
    if from >= to {
        return Err(Refusal::InvalidStay.into());
    }
    let replaced = table.overlapping(*from, *to).to_vec();
    let rules = Arc::new(rules.clone());
    let value = Some(Arc::clone(&rules)).filter(|rules| !rules.are_none());
    table.may_replace(&replaced, (*from, *to), value.as_deref())?;
    let record = |segment| Record::Restriction(RestrictionRecord::new(property, room_type, segment));
    segments::replace(txn, &replaced, *from, *to, value, record)?;
    let (property, room_type) = (property.clone(), room_type.clone());
    Ok(Outcome::Restrictions(RestrictionRecord { property, room_type, from: *from, to: *to, rules }))
}

/// A stay that is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    /// The business date.
    pub today: Date,
    pub arrival: Date,
    pub departure: Date,
    /// Arrival and departure of the stay of this type that it was, where it was one: only what is new is judged.
    pub was: Option<(Date, Date)>,
}

/// The first rule that stands against the stay, in the order of the fields.
pub fn judge(room_type: &TypeBook, asked: Asked) -> Result<(), Refusal> {
    let Asked { today, arrival, departure, was } = asked;
    let table = &room_type.rules;
    if table.all().is_empty() {
        return Ok(());
    }
    let refused = |rule, date| Err(Refusal::Restricted { rule, date });
    if let Some(night) = closed_night(table, asked) {
        return refused(Rule::Closed, night);
    }
    let arrives = arrival >= today && was.is_none_or(|(was, _)| was != arrival);
    let on_arrival = table.on(arrival);
    if arrives && on_arrival.is_some_and(|rules| rules.closed_to_arrival) {
        return refused(Rule::ClosedToArrival, arrival);
    }
    let departs = was.is_none_or(|(_, was)| was != departure);
    if departs && table.on(departure).is_some_and(|rules| rules.closed_to_departure) {
        return refused(Rule::ClosedToDeparture, departure);
    }
    let Some(rules) = on_arrival else { return Ok(()) };
    let nights = i64::from(arrival.nights_to(departure));
    let ahead = i64::from(today.nights_to(arrival));
    let lasts = was != Some((arrival, departure));
    let below = |count: i64, least: Option<u32>| least.is_some_and(|least| count < i64::from(least));
    let above = |count: i64, most: Option<u32>| most.is_some_and(|most| count > i64::from(most));
    let broken = [
        (lasts && below(nights, rules.min_stay), Rule::MinStay),
        (lasts && above(nights, rules.max_stay), Rule::MaxStay),
        (arrives && below(ahead, rules.min_advance_days), Rule::MinAdvanceDays),
        (arrives && above(ahead, rules.max_advance_days), Rule::MaxAdvanceDays),
    ];
    match broken.into_iter().find(|(broken, _)| *broken) {
        Some((_, rule)) => refused(rule, arrival),
        None => Ok(()),
    }
}

/// The first night that is closed and new, from the business date on.
fn closed_night(table: &RuleTable, asked: Asked) -> Option<Date> {
    let Asked { today, arrival, departure, was } = asked;
    let first = arrival.max(today);
    let is_new = |night: &Date| was.is_none_or(|(from, to)| !(from..to).contains(night));
    let closed = table.overlapping(first, departure).iter().filter(|segment| segment.value.closed);
    closed.flat_map(|segment| segment.from.max(first).until(segment.to.min(departure))).find(is_new)
}
