//! Which rooms of a type a stay could have by name: what [`clear`](super::clear) says of each, for all of them.
//!
//! In a large and nearly full house most rooms are taken, and a search for each would look at the same things again and
//! again. Whether some room is free for a stay that is in the way is found out once for all stays of the same nights;
//! and so is where exchanges lead to, from where each named room is one exchange away.

use std::collections::BTreeMap;

use super::backtrack;
use super::chain::{Chain, End};
use super::sketch::Sketch;
use crate::ledger::book::{Book, RoomBook, TypeBook};
use crate::ledger::date::Date;

/// What was found out about the nights `[from, to)`, on each of which the type has space.
pub struct Clearing<'a> {
    book: &'a Book,
    room_type: &'a TypeBook,
    from: Date,
    to: Date,
    /// Whether every room is taken on some night: then stays may lose their room, which is looked at room by room.
    has_full_night: bool,
    /// Whether a room is free throughout, by nights.
    free: BTreeMap<(Date, Date), bool>,
    /// The first end to which exchanges lead, once it was asked for: where nothing is pinned it does for every room. At
    /// most one.
    first: Option<Vec<End<'a>>>,
    /// All ends, once a room was asked for that can't take the place of the first.
    ends: Option<Vec<End<'a>>>,
    /// Steps of the searches room by room.
    steps: usize,
}

impl<'a> Clearing<'a> {
    /// Nights before the business date are gone: whether the room was free then is for the caller to say.
    pub fn new(book: &'a Book, room_type: &'a TypeBook, from: Date, to: Date) -> Clearing<'a> {
        let from = from.max(book.business_date());
        let has_full_night = room_type.has_no_room(from, to);
        let (free, first, ends, steps) = (BTreeMap::new(), None, None, 0);
        Clearing { book, room_type, from, to, has_full_night, free, first, ends, steps }
    }

    /// Whether the room can be had.
    pub fn frees(&mut self, room: &RoomBook) -> bool {
        let (from, to) = (self.from, self.to);
        if from >= to || room.is_free(from, to) {
            return true;
        }
        if !super::is_movable(room, from, to) {
            return false;
        }
        if !self.has_full_night {
            let place = self.book.place_of(&room.record.room.room);
            if self.all_find_rooms(room) || self.takes_the_place(place) {
                return true;
            }
            // Small houses are looked through beyond the exchanges.
            if self.room_type.rooms.len() > backtrack::ROOMS_MAX {
                return false;
            }
        }
        super::clear_counted(self.book, self.room_type, room, (from, to), 0, &mut self.steps).is_some()
    }

    /// Steps that searches have taken so far, of which some dozens cost as much as a room does without.
    pub fn steps(&self) -> usize {
        self.steps
    }

    /// Whether each stay that is in the way has a room to go to as it is. They don't stand in each other's way there: no
    /// two of them have a night in common.
    fn all_find_rooms(&mut self, room: &RoomBook) -> bool {
        let today = self.book.business_date();
        let taken = &self.room_type.taken;
        room.calendar.overlapping(self.from, self.to).iter().all(|stay| {
            let nights = (stay.arrival.max(today), stay.departure);
            *self.free.entry(nights).or_insert_with(|| taken.first_free(nights.0, nights.1).is_some())
        })
    }

    /// Whether the room can change places with one that exchanges make free.
    fn takes_the_place(&mut self, place: usize) -> bool {
        let (book, room_type, from, to) = (self.book, self.room_type, self.from, self.to);
        let search = |limit| Chain::new(&mut Sketch::new(book, room_type), from, to, None).ends(limit);
        let mut can_take = |End { sketch, room }: &mut End<'a>| {
            let seen = sketch.has_seen(place);
            let found = *room == place || Chain::new(sketch, from, to, None).exchange(*room, place).is_some();
            // A large house is not kept as often as there are ends.
            if !seen {
                sketch.forget(place);
            }
            found
        };
        let first = self.first.get_or_insert_with(|| search(1));
        if first.is_empty() {
            return false;
        }
        first.iter_mut().any(&mut can_take)
            || self.ends.get_or_insert_with(|| search(usize::MAX)).iter_mut().any(can_take)
    }
}
