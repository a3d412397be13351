//! The rooms of one type as a search has them in mind, from the business date on.
//!
//! Rooms are read from the book when a search comes to them; nothing here changes the book.

use std::collections::BTreeMap;

use crate::ledger::book::{Book, RoomBook, TypeBook};
use crate::ledger::date::Date;
use crate::ledger::store::Slot;

/// Something that takes a room on the nights `[from, to)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub from: Date,
    pub to: Date,
    /// The stay that may be moved; none where nothing may.
    pub stay: Option<Slot>,
    /// The room that the stay has in the book, by place.
    pub home: usize,
}

#[derive(Clone)]
pub struct Sketch<'a> {
    book: &'a Book,
    pub room_type: &'a TypeBook,
    /// Nights before it are gone; nothing is moved there.
    pub today: Date,
    /// By place, those that were looked at. By date, they don't overlap.
    rooms: BTreeMap<usize, Vec<Span>>,
}

impl<'a> Sketch<'a> {
    pub fn new(book: &'a Book, room_type: &'a TypeBook) -> Sketch<'a> {
        Sketch { book, room_type, today: book.business_date(), rooms: BTreeMap::new() }
    }

    pub fn room(&self, place: usize) -> &'a RoomBook {
        self.book.room_at(self.room_type.rooms[place])
    }

    pub fn spans(&mut self, place: usize) -> &mut Vec<Span> {
        if !self.has_seen(place) {
            let spans = spans_from(self.room(place), place, self.today);
            self.rooms.insert(place, spans);
        }
        self.rooms.get_mut(&place).expect("it was put there")
    }

    /// Whether a search has come to the room.
    pub fn has_seen(&self, place: usize) -> bool {
        self.rooms.contains_key(&place)
    }

    /// Reads the room from the book again when a search comes to it. Only for one of which nothing was changed.
    pub fn forget(&mut self, place: usize) {
        self.rooms.remove(&place);
    }

    /// What takes the room on some night of `[from, to)`.
    pub fn between(&mut self, place: usize, from: Date, to: Date) -> &[Span] {
        let spans = self.spans(place);
        let first = spans.partition_point(|span| span.to <= from);
        let after = spans.partition_point(|span| span.from < to);
        &spans[first..after.max(first)]
    }

    /// Where the room is free on the night: the night on which it is taken next.
    pub fn free_until(&mut self, place: usize, night: Date) -> Option<Date> {
        let spans = self.spans(place);
        let next = spans.partition_point(|span| span.to <= night);
        match spans.get(next) {
            None => Some(Date::MAX),
            Some(span) => (span.from > night).then_some(span.from),
        }
    }

    /// The rooms that are free on the night, at most `limit`: those that are free longest first, no further than `end`,
    /// each with the night on which it is taken next.
    pub fn free_longest(&mut self, night: Date, end: Date, limit: usize) -> Vec<(Date, usize)> {
        // Those that were looked at may be other than in the book.
        let seen: Vec<usize> = self.rooms.keys().copied().collect();
        let mut found: Vec<(Date, usize)> = Vec::new();
        for place in &seen {
            if let Some(until) = self.free_until(*place, night) {
                found.push((until.min(end), *place));
            }
        }
        let taken = &self.room_type.taken;
        let mut free = taken.all_free(night, night.plus(1));
        for place in &seen {
            free.remove(*place);
        }
        let mut until = night.plus(1);
        let mut shrinking = Vec::new();
        while !free.is_empty() {
            if until >= end {
                shrinking.push((end, free));
                break;
            }
            let longer = taken.free_too(free.clone(), until);
            shrinking.push((until, free.without(&longer)));
            (free, until) = (longer, until.plus(1));
        }
        let unseen = shrinking.iter().rev().flat_map(|(until, set)| set.iter().map(|place| (*until, place)));
        found.extend(unseen.take(limit));
        found.sort_unstable_by_key(|(until, place)| (std::cmp::Reverse(*until), *place));
        found.truncate(limit);
        found
    }

    /// The first room, by id, that is free on all nights of `[from, to)` and not `but`.
    pub fn first_free(&mut self, from: Date, to: Date, but: usize) -> Option<usize> {
        let mut free = self.room_type.taken.all_free(from, to);
        let seen: Vec<usize> = self.rooms.keys().copied().collect();
        for place in &seen {
            free.remove(*place);
        }
        let unseen = free.iter().find(|place| *place != but);
        let before = |place: &usize| *place != but && unseen.is_none_or(|unseen| *place < unseen);
        let seen = seen.into_iter().filter(before).find(|place| self.between(*place, from, to).is_empty());
        seen.or(unseen)
    }

    /// Moves stays from their homes to other rooms.
    pub fn rearrange(&mut self, moving: Vec<(Span, usize)>) {
        for (span, _) in &moving {
            self.spans(span.home).retain(|other| other != span);
        }
        for (span, place) in moving {
            let spans = self.spans(place);
            let at = spans.partition_point(|other| other.from < span.from);
            spans.insert(at, span);
        }
    }

    /// What two rooms have on the nights `[from, to)`, in which nothing of either begins before or ends behind, changes
    /// places. Done twice it undoes itself.
    pub fn swap(&mut self, one: usize, other: usize, from: Date, to: Date) {
        let mut cut = |place: usize| -> Vec<Span> {
            let spans = self.spans(place);
            let first = spans.partition_point(|span| span.to <= from);
            let after = spans.partition_point(|span| span.from < to);
            spans.drain(first..after.max(first)).collect()
        };
        let (ones, others) = (cut(one), cut(other));
        for (place, spans) in [(other, ones), (one, others)] {
            let into = self.spans(place);
            let at = into.partition_point(|span| span.from < from);
            into.splice(at..at, spans);
        }
    }

    /// The stays that have another room than in the book, with its place.
    pub fn moved(&self) -> impl Iterator<Item = (Slot, usize)> {
        let spans = self.rooms.iter().flat_map(|(place, spans)| spans.iter().map(move |span| (*place, span)));
        spans
            .filter(|(place, span)| span.home != *place)
            .filter_map(|(place, span)| Some((span.stay?, place)))
    }
}

/// What a room has from `today` on.
fn spans_from(room: &RoomBook, place: usize, today: Date) -> Vec<Span> {
    let stays = room.calendar.overlapping(today, Date::MAX).iter();
    let mut spans: Vec<Span> = stays
        .map(|stay| Span {
            from: stay.arrival.max(today),
            to: stay.departure,
            stay: (!stay.fixed).then_some(stay.reservation),
            home: place,
        })
        .collect();
    let closures = room.closures(today, Date::MAX);
    if !closures.is_empty() {
        spans.extend(closures.iter().map(|closure| Span {
            from: closure.from.max(today),
            to: closure.to,
            stay: None,
            home: place,
        }));
        spans.sort_unstable_by_key(|span| span.from);
    }
    spans
}
