//! Making a room free for the nights `[from, to)` by changing what pairs of rooms have.
//!
//! Take the room that is free longest from the first night on, up to the night `at`. Some room is free on that night,
//! because the type has space. No stay of either room lies across the beginning of `at`: the first is taken from that
//! night on, the second is free on it. So what both have from `at` on, up to a night on which neither has a stay across
//! its beginning, may change places, and the first room is free for longer; equally what both have before `at`, and the
//! second is free from the first night on. Each step reaches at least one night further.
//!
//! Where everything can be moved, such a night always exists, if only behind the last stay: a stay that fits by count is
//! never refused. This is the colouring of an interval graph by exchanges of its tails. Where something can't be moved,
//! a change of places that would move it is no choice; others are tried in a fixed order, up to a fixed number.

use super::sketch::{Sketch, Span};
use crate::ledger::date::Date;

/// Rooms that are tried to go on with, on one night.
const TRIED_MAX: usize = 16;

/// Ways to go on that came to nothing, in one search.
const FAILED_MAX: usize = 64;

/// Nights looked at for the best of the ways to go on, beyond the first that there is.
const LOOKED_AT_MAX: usize = 64;

pub struct Chain<'s, 'a> {
    sketch: &'s mut Sketch<'a>,
    from: Date,
    to: Date,
    /// The room that has to become free, if one was named.
    named: Option<usize>,
    /// Where so many ends are kept instead of the first being taken.
    ends: Option<(usize, Vec<End<'a>>)>,
    failed: usize,
    looked_at: usize,
}

/// Where a search came to: a room that is free for the whole stay, once others have changed places as in the sketch.
pub struct End<'a> {
    pub sketch: Sketch<'a>,
    pub room: usize,
}

/// A way to go on.
struct Join {
    /// The room that is free then from the first night on, at least until another night.
    room: usize,
    until: Date,
    /// The other, and the nights on which they change places.
    other: usize,
    nights: (Date, Date),
    moves: usize,
}

impl<'s, 'a> Chain<'s, 'a> {
    pub fn new(sketch: &'s mut Sketch<'a>, from: Date, to: Date, named: Option<usize>) -> Chain<'s, 'a> {
        Chain { sketch, from, to, named, ends: None, failed: 0, looked_at: 0 }
    }

    /// The room that the sketch has free now; none where none was found, and the sketch is as it was.
    pub fn run(mut self) -> Option<usize> {
        self.search()
    }

    fn search(&mut self) -> Option<usize> {
        let first = self.sketch.free_longest(self.from, self.to, TRIED_MAX);
        first.into_iter().find_map(|(until, room)| self.go_on(room, until))
    }

    /// The first ends, at most `limit`, to which the search comes for a named room that can't take the place of what is
    /// found. Which room that is changes nothing about the way: one can be had if it can take the place of one of all ends.
    pub fn ends(mut self, limit: usize) -> Vec<End<'a>> {
        self.ends = Some((limit, Vec::new()));
        self.search();
        self.ends.map(|(_, ends)| ends).unwrap_or_default()
    }

    /// The room is free from the first night up to `at`.
    fn go_on(&mut self, room: usize, at: Date) -> Option<usize> {
        if at >= self.to {
            return self.end(room);
        }
        for Join { room, other, nights: (from, to), .. } in self.joins(room, at) {
            if self.failed >= FAILED_MAX {
                return None;
            }
            self.sketch.swap(room, other, from, to);
            let until = self.sketch.free_until(room, at).expect("it was made free on this night");
            if let Some(found) = self.go_on(room, until.min(self.to)) {
                return Some(found);
            }
            self.sketch.swap(room, other, from, to);
            self.failed += 1;
        }
        None
    }

    /// The room is free for the whole stay; another that was named takes its place.
    fn end(&mut self, room: usize) -> Option<usize> {
        if let Some((limit, ends)) = &mut self.ends {
            ends.push(End { sketch: self.sketch.clone(), room });
            return (ends.len() >= *limit).then_some(room);
        }
        let Some(named) = self.named.filter(|named| *named != room) else { return Some(room) };
        let (from, to) = self.exchange(room, named)?;
        self.sketch.swap(room, named, from, to);
        Some(named)
    }

    /// The nights on which the room, which is free for the whole stay, and another can change places.
    pub fn exchange(&mut self, room: usize, named: usize) -> Option<(Date, Date)> {
        let from = self.back(room, named, self.from)?;
        let to = self.ahead(room, named, self.to)?;
        self.movable(room, named, from, to)?;
        Some((from, to))
    }

    /// The best first: those that reach furthest, and of these those that move least.
    fn joins(&mut self, room: usize, at: Date) -> Vec<Join> {
        let mut joins = Vec::new();
        self.looked_at = 0;
        for (until, other) in self.sketch.free_longest(at, self.to, TRIED_MAX) {
            if self.looked_at >= LOOKED_AT_MAX && !joins.is_empty() {
                break;
            }
            if let Some(end) = self.ahead(room, other, until)
                && let Some(moves) = self.movable(room, other, at, end)
            {
                joins.push(Join { room, until, other, nights: (at, end), moves });
            }
            if let Some(start) = self.back(room, other, self.from)
                && let Some(moves) = self.movable(room, other, start, at)
            {
                joins.push(Join { room: other, until, other: room, nights: (start, at), moves });
            }
        }
        joins.sort_by_key(|join| (std::cmp::Reverse(join.until), join.moves));
        joins
    }

    /// The first night from `night` on at whose beginning neither room has a stay across. None where something that
    /// can't be moved is.
    fn ahead(&mut self, one: usize, other: usize, mut night: Date) -> Option<Date> {
        while let Some(span) = self.across(one, night).or_else(|| self.across(other, night)) {
            span.stay?;
            self.looked_at += 1;
            night = span.to;
        }
        Some(night)
    }

    /// The last such night up to `night`.
    fn back(&mut self, one: usize, other: usize, mut night: Date) -> Option<Date> {
        while let Some(span) = self.across(one, night).or_else(|| self.across(other, night)) {
            span.stay?;
            self.looked_at += 1;
            night = span.from;
        }
        Some(night)
    }

    fn across(&mut self, room: usize, night: Date) -> Option<Span> {
        self.sketch.between(room, night.plus(-1), night).first().filter(|span| span.to > night).copied()
    }

    /// How many stays the two rooms have between the nights; none where something there can't be moved.
    fn movable(&mut self, one: usize, other: usize, from: Date, to: Date) -> Option<usize> {
        let mut count = 0;
        for room in [one, other] {
            let spans = self.sketch.between(room, from, to);
            count += spans.iter().all(|span| span.stay.is_some()).then_some(spans.len())?;
        }
        Some(count)
    }
}
