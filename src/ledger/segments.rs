//! Values by ranges of nights that don't overlap: the rates of a target, the restrictions of a room type.

use std::sync::Arc;

use super::date::Date;
use super::outcome::Refusal;
use super::record::Record;
use super::txn::{Halt, Txn};

/// The value of the nights `[from, to)`.
#[derive(Clone, Debug, PartialEq)]
pub struct Segment<T> {
    pub from: Date,
    pub to: Date,
    pub value: Arc<T>,
}

/// What the segments of one target may weigh: ten thousand of one price, which are nights for 27 years, or fewer of more. One
/// command may replace all of them, and what a command changed is held in memory and kept as one piece.
const WEIGHT_MAX: usize = 10_000 * (SEGMENT_WEIGHT + 2);

/// What a segment weighs beside its values: its record names the property and the target.
const SEGMENT_WEIGHT: usize = 100;

/// What is set for ranges.
pub trait Weighed {
    /// How many values it holds.
    fn entries(&self) -> usize;
}

/// Segments by date; they don't overlap.
#[derive(Clone, Debug)]
pub struct Segments<T> {
    segments: Vec<Segment<T>>,
    /// Of all of them.
    weight: usize,
}

impl<T> Default for Segments<T> {
    fn default() -> Segments<T> {
        Segments { segments: Vec::new(), weight: 0 }
    }
}

impl<T: Weighed> Segment<T> {
    fn weight(&self) -> usize {
        SEGMENT_WEIGHT + self.value.entries()
    }
}

impl<T: Weighed> Segments<T> {
    pub fn all(&self) -> &[Segment<T>] {
        &self.segments
    }

    pub fn overlapping(&self, from: Date, to: Date) -> &[Segment<T>] {
        let first = self.segments.partition_point(|segment| segment.to <= from);
        let after = self.segments.partition_point(|segment| segment.from < to);
        &self.segments[first..after.max(first)]
    }

    /// The value of one date, where it has one.
    pub fn on(&self, date: Date) -> Option<&T> {
        self.overlapping(date, date.plus(1)).first().map(|segment| &*segment.value)
    }

    /// Whether the target has not got too many segments by what [`replace`] would do.
    pub fn may_replace(
        &self,
        replaced: &[Segment<T>],
        (from, to): (Date, Date),
        value: Option<&T>,
    ) -> Result<(), Refusal> {
        let less: usize = replaced.iter().map(Segment::weight).sum();
        let edges =
            replaced.iter().map(|it| it.weight() * (usize::from(it.from < from) + usize::from(it.to > to)));
        let more = edges.sum::<usize>() + value.map_or(0, |value| SEGMENT_WEIGHT + value.entries());
        let weight = self.weight - less + more;
        if weight > WEIGHT_MAX && more > less { Err(Refusal::TooManyRanges) } else { Ok(()) }
    }

    pub fn insert(&mut self, segment: Segment<T>) -> Option<Segment<T>> {
        self.weight += segment.weight();
        match self.segments.binary_search_by_key(&segment.from, |segment| segment.from) {
            Ok(at) => {
                let old = std::mem::replace(&mut self.segments[at], segment);
                self.weight -= old.weight();
                Some(old)
            }
            Err(at) => {
                self.segments.insert(at, segment);
                None
            }
        }
    }

    pub fn remove(&mut self, from: Date) -> Option<Segment<T>> {
        let at = self.segments.binary_search_by_key(&from, |segment| segment.from).ok()?;
        let removed = self.segments.remove(at);
        self.weight -= removed.weight();
        Some(removed)
    }
}

/// Sets the value of the nights `[from, to)`, or none, in place of those that were `replaced`: what overlaps there.
///
/// How many they may be, [`Segments::may_replace`] bounds: each that is removed moves those behind it.
pub fn replace<T: Clone>(
    txn: &mut Txn<'_>,
    replaced: &[Segment<T>],
    from: Date,
    to: Date,
    value: Option<Arc<T>>,
    record: impl Fn(Segment<T>) -> Record,
) -> Result<(), Halt> {
    for segment in replaced {
        txn.remove(&record(segment.clone()).key())?;
    }
    for segment in replaced {
        if segment.from < from {
            txn.put(record(Segment { to: from, ..segment.clone() }))?;
        }
        if segment.to > to {
            txn.put(record(Segment { from: to, ..segment.clone() }))?;
        }
    }
    if let Some(value) = value {
        txn.put(record(Segment { from, to, value }))?;
    }
    Ok(())
}
