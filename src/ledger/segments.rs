//! Values by ranges of nights that don't overlap: the rates of a target, the restrictions of a room type.

use std::sync::Arc;

use super::date::Date;
use super::record::Record;
use super::txn::{Halt, Txn};

/// The value of the nights `[from, to)`.
#[derive(Clone, Debug, PartialEq)]
pub struct Segment<T> {
    pub from: Date,
    pub to: Date,
    pub value: Arc<T>,
}

/// Segments by date; they don't overlap.
#[derive(Clone, Debug, Default)]
pub struct Segments<T> {
    segments: Vec<Segment<T>>,
}

impl<T> Segments<T> {
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

    pub fn insert(&mut self, segment: Segment<T>) -> Option<Segment<T>> {
        match self.segments.binary_search_by_key(&segment.from, |segment| segment.from) {
            Ok(at) => Some(std::mem::replace(&mut self.segments[at], segment)),
            Err(at) => {
                self.segments.insert(at, segment);
                None
            }
        }
    }

    pub fn remove(&mut self, from: Date) -> Option<Segment<T>> {
        let at = self.segments.binary_search_by_key(&from, |segment| segment.from).ok()?;
        Some(self.segments.remove(at))
    }
}

/// Sets the value of the nights `[from, to)`, or none, in place of those that were `replaced`: what overlaps there.
///
/// A segment is removed once for all those that were set over it, so the work of many narrow ones was paid for by as
/// many commands.
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
