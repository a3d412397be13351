//! Which stay has a room on which night, and how many stays a room type has on each night.
//!
//! Derived from reservations, never persisted.

use super::date::Date;
use super::store::{Pages, Shared, Slot};
use crate::planted::{Bug, planted};

/// A stay in a room: `[arrival, departure)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoomStay {
    pub arrival: Date,
    pub departure: Date,
    pub reservation: Slot,
    /// It has the room by name, or is or was in it: no plan moves it.
    pub fixed: bool,
}

/// The stays of one room by date. At most one on any night.
#[derive(Clone, Debug, Default)]
pub struct RoomCalendar {
    stays: Vec<RoomStay>,
}

impl RoomCalendar {
    /// The calendar of stays that come by their arrival; `None` where two overlap.
    pub fn of(stays: impl ExactSizeIterator<Item = RoomStay>) -> Option<RoomCalendar> {
        let stays: Vec<RoomStay> = stays.collect();
        let overlap = stays.windows(2).any(|two| two[1].arrival < two[0].departure);
        (!overlap).then_some(RoomCalendar { stays })
    }

    pub fn is_free(&self, from: Date, to: Date) -> bool {
        let to = checked_to(from, to);
        let after = self.stays.partition_point(|stay| stay.arrival < to);
        self.stays[..after].last().is_none_or(|stay| stay.departure <= from)
    }

    /// Whether nobody but `own` has the room on any night of `[from, to)`.
    pub fn is_free_for(&self, own: Option<Slot>, from: Date, to: Date) -> bool {
        let is_own = |stay: &RoomStay| Some(stay.reservation) == own;
        self.is_free(from, to) || self.overlapping(from, to).iter().all(is_own)
    }

    /// The stays that have the room on some night of `[from, to)`.
    pub fn overlapping(&self, from: Date, to: Date) -> &[RoomStay] {
        let to = checked_to(from, to);
        let first = self.stays.partition_point(|stay| stay.departure <= from);
        let after = self.stays.partition_point(|stay| stay.arrival < to);
        &self.stays[first..after.max(first)]
    }

    /// The nights of `[from, to)` on which the room is taken.
    pub fn taken(&self, from: Date, to: Date) -> Vec<Date> {
        let overlapping = self.overlapping(from, to).iter();
        overlapping.flat_map(|stay| stay.arrival.max(from).until(stay.departure.min(to))).collect()
    }

    pub fn stays(&self) -> &[RoomStay] {
        &self.stays
    }

    /// The caller has made sure that the room is free.
    pub fn insert(&mut self, stay: RoomStay) {
        let at = self.stays.partition_point(|other| other.arrival < stay.arrival);
        let (before, behind) = self.stays.split_at(at);
        let to = checked_to(stay.arrival, stay.departure);
        let is_free = before.last().is_none_or(|before| before.departure <= stay.arrival)
            && behind.first().is_none_or(|behind| to <= behind.arrival);
        assert!(is_free, "a room is sold once a night");
        self.stays.insert(at, stay);
    }

    pub fn remove(&mut self, stay: RoomStay) {
        let at = self.stays.partition_point(|other| other.arrival < stay.arrival);
        assert_eq!(self.stays.get(at), Some(&stay), "only a stay that has the room leaves it");
        self.stays.remove(at);
    }
}

/// The end of the nights that are looked at: all of them.
fn checked_to(from: Date, to: Date) -> Date {
    if planted(Bug::NightSkipped) {
        return to.min(from.plus(1));
    }
    if planted(Bug::DepartureTaken) { to.plus(1) } else { to }
}

/// What stays of one type take on one night.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NightCount {
    pub held: u32,
    pub sold: u32,
    /// Those of the two above that have no room.
    pub roomless: u32,
    /// Rooms of the type that are out of order.
    pub out_of_order: u32,
    /// What of definite blocks is not picked up.
    pub blocked: u64,
}

impl NightCount {
    pub fn stays(self) -> u64 {
        u64::from(self.held) + u64::from(self.sold)
    }

    /// Rooms that a stay has, or that are out of order.
    pub fn rooms(self) -> u64 {
        self.stays() - u64::from(self.roomless) + u64::from(self.out_of_order)
    }

    /// What of the type's capacity is taken.
    pub fn taken(self) -> u64 {
        self.stays() + u64::from(self.out_of_order) + self.blocked
    }
}

const PAGE: i32 = 64;

/// The counts of one room type, by night, in pages of [`PAGE`] nights; nights on no page have none.
#[derive(Clone, Debug, Default)]
pub struct NightCounts {
    pages: Pages<[NightCount; PAGE as usize]>,
}

impl NightCounts {
    pub fn get(&self, night: Date) -> NightCount {
        let counts = self.pages.get(night.days().div_euclid(PAGE));
        counts.map_or(NightCount::default(), |counts| counts[night.days().rem_euclid(PAGE) as usize])
    }

    /// Whether it is so of each night of `[from, to)`.
    pub fn all(&self, from: Date, to: Date, is_so: impl Fn(&NightCount) -> bool) -> bool {
        let mut day = from.days();
        while day < to.days() {
            let page = day.div_euclid(PAGE);
            let end = to.days().min((page + 1) * PAGE);
            let nights = day.rem_euclid(PAGE) as usize..(end - page * PAGE) as usize;
            let is_so_here = match self.pages.get(page) {
                Some(counts) => counts[nights].iter().all(&is_so),
                None => is_so(&NightCount::default()),
            };
            if !is_so_here {
                return false;
            }
            day = end;
        }
        true
    }

    /// Nights of which something is taken, from `from` on, in order.
    pub fn from(&self, from: Date) -> impl Iterator<Item = (Date, NightCount)> + '_ {
        let nights = self.pages.from(from.days().div_euclid(PAGE)).flat_map(|(page, counts)| {
            let date = move |n: usize| Date::from_days(page * PAGE + n as i32);
            counts.iter().enumerate().filter_map(move |(n, count)| Some((date(n)?, *count)))
        });
        nights.filter(move |(night, count)| *night >= from && count.taken() > 0)
    }

    /// Changes the count of each night of `[from, to)`.
    pub fn change(&mut self, from: Date, to: Date, change: impl Fn(&mut NightCount)) {
        let mut day = from.days();
        while day < to.days() {
            let page = day.div_euclid(PAGE);
            let end = to.days().min((page + 1) * PAGE);
            let none = || Shared::new([NightCount::default(); PAGE as usize]);
            let counts = Shared::make_mut(self.pages.get_or_insert_with(page, none));
            let nights = day.rem_euclid(PAGE) as usize..(end - page * PAGE) as usize;
            counts[nights].iter_mut().for_each(&change);
            day = end;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(n: i32) -> Date {
        Date::from_days(n).unwrap()
    }

    fn stay(arrival: i32, departure: i32) -> RoomStay {
        let (arrival, departure, reservation) = (day(arrival), day(departure), arrival as Slot);
        RoomStay { arrival, departure, reservation, fixed: false }
    }

    #[test]
    fn a_room_is_free_between_its_stays() {
        let mut room = RoomCalendar::default();
        for (arrival, departure) in [(20, 25), (10, 12), (12, 15)] {
            room.insert(stay(arrival, departure));
        }
        let cases = [
            (5, 10, true),
            (5, 11, false),
            (10, 11, false),
            (11, 13, false),
            (14, 15, false),
            (15, 20, true),
            (15, 21, false),
            (5, 40, false),
            (24, 26, false),
            (25, 26, true),
        ];
        for (from, to, free) in cases {
            assert_eq!(room.is_free(day(from), day(to)), free, "{from}..{to}");
            assert_eq!(room.taken(day(from), day(to)).is_empty(), free, "{from}..{to}");
        }
        assert_eq!(room.taken(day(14), day(22)), [day(14), day(20), day(21)]);
        room.remove(stay(12, 15));
        assert!(room.is_free(day(12), day(20)));
    }

    #[test]
    fn counts_cross_pages_and_the_epoch() {
        let mut counts = NightCounts::default();
        let ranges = [(-70, -60), (-1, 1), (60, 200), (63, 64), (64, 65)];
        for (from, to) in ranges {
            counts.change(day(from), day(to), |count| count.held += 1);
        }
        for night in -200..300 {
            let expected = ranges.iter().filter(|(from, to)| (*from..*to).contains(&night)).count();
            assert_eq!(counts.get(day(night)).held as usize, expected, "{night}");
        }
        let nights: Vec<i32> = counts.from(day(-1)).map(|(night, _)| night.days()).collect();
        assert_eq!(nights, (-1..1).chain(60..200).collect::<Vec<i32>>());
    }
}
