//! Which rooms of a type are taken on which night: a bit a room and night, so that a room that is free for a whole stay
//! is found by joining the words of its nights.
//!
//! Derived from calendars and closures, never persisted. A room's place is its rank by id among the rooms of its type.

use std::ops::Range;

use super::date::Date;
use super::store::{Pages, Shared};

/// Nights that are copied together when a shared page is written to. The words of a stay's nights lie side by side in a page,
/// in one line of memory or two: a room that is asked for by name is seldom in the processor's caches.
const PAGE: i32 = 8;

/// Rooms of a word.
const WORD: usize = u64::BITS as usize;

/// The rooms of one type by night; on nights of no page every room is free.
#[derive(Clone, Debug, Default)]
pub struct RoomNights {
    rooms: usize,
    /// Word by word, that of each night of the page; a bit is set where the room is taken.
    pages: Pages<[u64]>,
}

/// A set of rooms of a type, by place.
#[derive(Clone, Debug)]
pub struct RoomSet(Vec<u64>);

impl RoomSet {
    pub fn remove(&mut self, place: usize) {
        self.0[place / WORD] &= !(1 << (place % WORD));
    }

    /// The places, in order.
    pub fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        self.0.iter().enumerate().flat_map(|(n, word)| bits(*word).map(move |bit| n * WORD + bit))
    }

    /// Those that `other` does not have.
    pub fn without(&self, other: &RoomSet) -> RoomSet {
        RoomSet(self.0.iter().zip(&other.0).map(|(word, other)| word & !other).collect())
    }

    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }
}

fn bits(mut word: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let bit = (word != 0).then(|| word.trailing_zeros() as usize)?;
        word &= word - 1;
        Some(bit)
    })
}

impl RoomNights {
    /// Makes a place for a room that is free; those from there on move up.
    pub fn insert_room(&mut self, place: usize) {
        self.remake(self.rooms + 1, |words| insert_bit(words, place));
    }

    /// The rooms behind the place move down.
    pub fn remove_room(&mut self, place: usize) {
        self.remake(self.rooms - 1, |words| remove_bit(words, place));
    }

    fn remake(&mut self, rooms: usize, change: impl Fn(&mut [u64])) {
        let (before, after) = (words(self.rooms), words(rooms));
        let mut night = vec![0; before.max(after)];
        for page in self.pages.iter_mut() {
            let mut remade = vec![0; after * PAGE as usize];
            for n in 0..PAGE as usize {
                night.fill(0);
                night.iter_mut().zip(of_night(page, n)).for_each(|(word, old)| *word = old);
                change(&mut night);
                remade[n..]
                    .iter_mut()
                    .step_by(PAGE as usize)
                    .zip(&night)
                    .for_each(|(word, new)| *word = *new);
            }
            *page = remade.into();
        }
        self.rooms = rooms;
    }

    /// The room is taken on the nights `[from, to)`.
    pub fn take(&mut self, place: usize, from: Date, to: Date) {
        self.change(place, from, to, |word, bit| *word |= bit);
    }

    /// The room is free on the nights `[from, to)`.
    pub fn free(&mut self, place: usize, from: Date, to: Date) {
        self.change(place, from, to, |word, bit| *word &= !bit);
    }

    fn change(&mut self, place: usize, from: Date, to: Date, change: impl Fn(&mut u64, u64)) {
        let words = words(self.rooms);
        let mut day = from.days();
        while day < to.days() {
            let page = day.div_euclid(PAGE);
            let end = to.days().min((page + 1) * PAGE);
            let free = || vec![0; words * PAGE as usize].into();
            let nights = unshared(self.pages.get_or_insert_with(page, free));
            let first = place / WORD * PAGE as usize;
            let range = first + day.rem_euclid(PAGE) as usize..first + (end - page * PAGE) as usize;
            nights[range].iter_mut().for_each(|word| change(word, 1 << (place % WORD)));
            day = end;
        }
    }

    /// The night's page and its number there; `None` where every room is free.
    fn night(&self, night: Date) -> Option<(&[u64], usize)> {
        let page = self.pages.get(night.days().div_euclid(PAGE))?;
        Some((page, night.days().rem_euclid(PAGE) as usize))
    }

    /// The pages with nights of `[from, to)`, and which of each these are.
    fn nights(&self, from: Date, to: Date) -> impl Iterator<Item = (&[u64], Range<usize>)> {
        let pages = self.pages.from(from.days().div_euclid(PAGE));
        pages.take_while(move |(page, _)| page * PAGE < to.days()).map(move |(page, words)| {
            let first = (from.days() - page * PAGE).max(0) as usize;
            (words, first..(to.days() - page * PAGE).min(PAGE) as usize)
        })
    }

    /// Reads where it stands whether the room is free on the first and the last night of `[from, to)`, so that who writes
    /// there finds that in the processor's caches. Nothing is compared.
    pub fn touch(&self, place: usize, from: Date, to: Date) -> u64 {
        let word = |night: Date| {
            let (page, n) = self.night(night)?;
            page.get(place / WORD * PAGE as usize + n).copied()
        };
        word(from).unwrap_or(0) | word(to.plus(-1)).unwrap_or(0)
    }

    /// The first room, by id, that is free on all nights of `[from, to)`.
    pub fn first_free(&self, from: Date, to: Date) -> Option<usize> {
        let nights: Vec<(&[u64], Range<usize>)> = self.nights(from, to).collect();
        let free = (0..words(self.rooms)).map(|n| {
            let taken = nights.iter().fold(0, |taken, (words, nights)| {
                let words = &words[n * PAGE as usize..(n + 1) * PAGE as usize];
                words[nights.clone()].iter().fold(taken, |taken, word| taken | word)
            });
            (n, !taken & self.existing(n))
        });
        let (n, free) = free.into_iter().find(|(_, free)| *free != 0)?;
        Some(n * WORD + free.trailing_zeros() as usize)
    }

    /// The rooms that are free on all nights of `[from, to)`.
    pub fn all_free(&self, from: Date, to: Date) -> RoomSet {
        let all = RoomSet((0..words(self.rooms)).map(|n| self.existing(n)).collect());
        from.until(to).fold(all, |free, night| self.free_too(free, night))
    }

    /// Those of `rooms` that are free on the night too.
    pub fn free_too(&self, mut rooms: RoomSet, night: Date) -> RoomSet {
        if let Some((page, n)) = self.night(night) {
            rooms.0.iter_mut().zip(of_night(page, n)).for_each(|(word, taken)| *word &= !taken);
        }
        rooms
    }

    /// The bits of the word that stand for rooms.
    fn existing(&self, word: usize) -> u64 {
        match self.rooms - word * WORD {
            left @ 0..WORD => (1 << left) - 1,
            _ => u64::MAX,
        }
    }
}

/// The page for writing to, copied where others have it.
fn unshared(page: &mut Shared<[u64]>) -> &mut [u64] {
    if !page.is_unique() {
        *page = Shared::from(&page[..]);
    }
    Shared::get_mut(page).expect("nobody else has it")
}

/// The words of a page's `n`th night.
fn of_night(page: &[u64], n: usize) -> impl Iterator<Item = u64> {
    page[n..].iter().step_by(PAGE as usize).copied()
}

/// Words of a night, at least one, so that a night is never of no length.
fn words(rooms: usize) -> usize {
    rooms.div_ceil(WORD).max(1)
}

/// Puts a zero at a bit's place; the bits from there on move up.
fn insert_bit(words: &mut [u64], place: usize) {
    let low = (1 << (place % WORD)) - 1;
    let words = &mut words[place / WORD..];
    let mut carry = words[0] >> (WORD - 1);
    words[0] = words[0] & low | (words[0] & !low) << 1;
    for word in &mut words[1..] {
        let next = *word >> (WORD - 1);
        *word = *word << 1 | carry;
        carry = next;
    }
}

/// The bits behind the place move down.
fn remove_bit(words: &mut [u64], place: usize) {
    let low = (1 << (place % WORD)) - 1;
    let words = &mut words[place / WORD..];
    words[0] = words[0] & low | words[0] >> 1 & !low;
    for n in 1..words.len() {
        words[n - 1] |= words[n] << (WORD - 1);
        words[n] >>= 1;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn day(n: i32) -> Date {
        Date::from_days(n).unwrap()
    }

    #[derive(Clone, Debug)]
    enum Step {
        Insert(usize),
        Remove(usize),
        Set(usize, i32, i32, bool),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => any::<usize>().prop_map(Step::Insert),
            1 => any::<usize>().prop_map(Step::Remove),
            8 => (any::<usize>(), -40..40, 0..30, any::<bool>())
                .prop_map(|(room, from, nights, taken)| Step::Set(room, from, from + nights, taken)),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn agrees_with_a_table(first in 0..150usize, steps in proptest::collection::vec(step(), 1..60)) {
            let mut nights = RoomNights::default();
            let mut table: Vec<[bool; 120]> = Vec::new();
            for room in 0..first {
                nights.insert_room(room);
                table.push([false; 120]);
            }
            for step in steps {
                match step {
                    Step::Insert(at) => {
                        let at = at % (table.len() + 1);
                        nights.insert_room(at);
                        table.insert(at, [false; 120]);
                    }
                    Step::Remove(_) | Step::Set(..) if table.is_empty() => {}
                    Step::Remove(at) => {
                        let at = at % table.len();
                        nights.remove_room(at);
                        table.remove(at);
                    }
                    Step::Set(at, from, to, taken) => {
                        let at = at % table.len();
                        if taken {
                            nights.take(at, day(from), day(to));
                        } else {
                            nights.free(at, day(from), day(to));
                        }
                        table[at][(from + 45) as usize..(to + 45) as usize].fill(taken);
                    }
                }
            }
            for from in -42..72 {
                for length in [1, 2, 7] {
                    let free = |row: &[bool; 120]| {
                        let range = (from + 45) as usize..(from + 45 + length) as usize;
                        !row[range.start..range.end.min(120)].contains(&true)
                    };
                    let expected: Vec<usize> = (0..table.len()).filter(|n| free(&table[*n])).collect();
                    let (from, to) = (day(from), day(from + length));
                    prop_assert_eq!(nights.first_free(from, to), expected.first().copied());
                    prop_assert_eq!(nights.all_free(from, to).iter().collect::<Vec<_>>(), expected);
                }
            }
        }
    }
}
