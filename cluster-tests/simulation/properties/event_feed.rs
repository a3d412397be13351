//! The feed of events has no gap and no repeat: whoever reads it, at whichever nodes, is told the same, and all that was
//! acknowledged is in it. What one node can't tell any more when all is well, no other can.

use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Included};

use innkeeper::wire;
use serde_json::Value;

use super::Violation;
use crate::feed::{Place, Stretch};
use crate::history::{History, Reply};

pub fn check(history: &History, told: &[Stretch], last: &[wire::Reservation]) -> Result<(), Violation> {
    let mut all: BTreeMap<Place, (&str, &wire::Event)> = BTreeMap::new();
    for stretch in told {
        in_order(stretch)?;
        for (place, event) in &stretch.events {
            let (reader, known) = *all.entry(*place).or_insert((&stretch.reader, event));
            if known != event {
                return Err(format!(
                    "event feed: {reader} was told {known:?}, and {} was told {event:?}",
                    stretch.reader
                ));
            }
        }
    }
    for stretch in told {
        let between = all.range((Excluded(stretch.after), Included(stretch.upto)));
        let mut own = stretch.events.iter().map(|(place, _)| place);
        for (place, (reader, event)) in between {
            if own.next() != Some(place) {
                return Err(format!(
                    "event feed: {} was not told {event:?}, which {reader} was told",
                    stretch.reader
                ));
            }
        }
        revisions(stretch)?;
    }
    acknowledged(history, told, &all)?;
    ends(told, last)
}

/// What one node tells at the end is not gone at another.
pub fn gone_alike(told: &[Stretch]) -> Result<(), Violation> {
    let at_the_end = || told.iter().filter(|stretch| stretch.is_final);
    for stretch in at_the_end() {
        let gone_here = |(place, _): &&(Place, wire::Event)| *place <= stretch.after;
        let known = at_the_end().find_map(|other| Some((other, other.events.iter().find(gone_here)?)));
        if let Some((other, (_, event))) = known {
            return Err(format!(
                "event feed: {} tells {event:?}, which is gone at {}",
                other.reader, stretch.reader
            ));
        }
    }
    Ok(())
}

/// Places go up, and within a command by one.
fn in_order(stretch: &Stretch) -> Result<(), Violation> {
    let mut before = stretch.after;
    for (place, event) in &stretch.events {
        let expected = if place.lsn == before.lsn { before.n.checked_add(1) } else { Some(0) };
        if place.lsn < before.lsn || Some(place.n) != expected || event.lsn != place.lsn {
            return Err(format!("event feed: {} was told {event:?} after {before:?}", stretch.reader));
        }
        before = *place;
    }
    Ok(())
}

/// Each event of a reservation follows from the one before.
fn revisions(stretch: &Stretch) -> Result<(), Violation> {
    let mut last: BTreeMap<&str, &Value> = BTreeMap::new();
    for (_, event) in &stretch.events {
        let Some((id, after)) = reservation(event) else { continue };
        let before = event.before.as_ref();
        if let Some(known) = last.insert(id, after)
            && before != Some(known)
        {
            return Err(format!("event feed: {} was told {event:?}, and before it {known}", stretch.reader));
        }
    }
    Ok(())
}

/// A change that was answered is told of at the place that its answer named.
fn acknowledged(
    history: &History,
    told: &[Stretch],
    all: &BTreeMap<Place, (&str, &wire::Event)>,
) -> Result<(), Violation> {
    for (operation, answered) in history.answered().filter(|(operation, _)| operation.call.is_write()) {
        let Reply::Reservation(it) = &answered.reply else { continue };
        // It shows what was done before, or changed nothing; or it was never answered, and the last list shows it, in the
        // room that it has come to since.
        if answered.replayed || it.lsn != answered.lsn || operation.ended_ms == u64::MAX {
            continue;
        }
        let first = Place { lsn: it.lsn, n: 0 };
        let end = Place { lsn: it.lsn, n: u32::MAX };
        if !told.iter().any(|stretch| stretch.after < first && end <= stretch.upto) {
            continue;
        }
        let shown = serde_json::to_value(it).expect("an answer can be written");
        let is_told = all.range(first..=end).any(|(_, (_, event))| event.after.as_ref() == Some(&shown));
        if !is_told {
            return Err(format!(
                "event feed: #{} was answered {it:?}, and no event tells it",
                operation.number
            ));
        }
    }
    Ok(())
}

/// Who was told all, up to the end, knows the reservations as they are.
fn ends(told: &[Stretch], last: &[wire::Reservation]) -> Result<(), Violation> {
    let end = told.iter().map(|stretch| stretch.upto).max();
    let whole = told.iter().filter(|stretch| Some(stretch.upto) == end);
    let Some(longest) = whole.min_by_key(|stretch| stretch.after) else {
        return Err("event feed: nobody was told anything".into());
    };
    let mut known: BTreeMap<&str, &Value> = BTreeMap::new();
    known.extend(longest.events.iter().filter_map(|(_, event)| reservation(event)));
    for it in last.iter().filter(|it| it.lsn > longest.after.lsn) {
        let shown = serde_json::to_value(it).expect("a reservation can be written");
        let known = known.get(&*it.id.to_string()).copied();
        // It may have changed since it was shown.
        let is_told =
            known.is_some_and(|known| *known == shown || known["revision"].as_u64() > Some(it.revision));
        if !is_told {
            return Err(format!("event feed: {} ends with {known:?}, and not {it:?}", longest.reader));
        }
    }
    Ok(())
}

/// The reservation that an event tells of, with how it left it.
fn reservation(event: &wire::Event) -> Option<(&str, &Value)> {
    if !event.kind.starts_with("reservation.") {
        return None;
    }
    let after = event.after.as_ref()?;
    Some((after["id"].as_str()?, after))
}
