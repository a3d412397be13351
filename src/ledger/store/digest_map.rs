//! A map by digests: numbers of 128 bits, any of which is as likely as any other, so that their first bits say where to
//! look.
//!
//! 128 parts by the first seven bits. A part is a table while it holds little, and then again 128 tables by the next seven
//! bits; a table's cells go by the bits that follow. A digest among millions is found in one line of memory that no cache
//! had, where an order would have to be searched, and few lie close together. Clones share the parts; a write copies the
//! one that leads to its table, and the table.

use super::Shared;

/// Parts of a level.
const PARTS: usize = 1 << PART_BITS;
const PART_BITS: u32 = 7;

/// Cells of a table that holds little.
const CELLS_MIN: usize = 2;

/// What a part holds as one table, at most. Tests get by with few, so that both kinds are there.
const TABLE_MAX: usize = if cfg!(test) { 8 } else { 256 };

/// What lies below a part.
#[derive(Clone)]
enum Part<V> {
    One(Shared<Table<V>>),
    Many(Shared<[Option<Shared<Table<V>>>; PARTS]>),
}

#[derive(Clone)]
pub struct DigestMap<V> {
    root: Box<[Option<Part<V>>; PARTS]>,
    len: usize,
    /// Of a table that is new and one of many.
    cells_first: usize,
}

/// A hash table with open addressing and linear probing; three quarters of its cells are used at most.
#[derive(Clone)]
struct Table<V> {
    cells: Box<[Option<(u128, V)>]>,
    used: usize,
}

impl<V> Table<V> {
    fn with_cells(cells: usize) -> Table<V> {
        Table { cells: std::iter::repeat_with(|| None).take(cells).collect(), used: 0 }
    }

    /// Cells with space for so many entries.
    fn cells_for(entries: usize) -> usize {
        (entries * 4).div_ceil(3).max(CELLS_MIN)
    }

    /// The cell that holds the digest, or the empty one at which the search for it ends. Some always are.
    #[inline]
    fn find(&self, digest: u128) -> Result<usize, usize> {
        let mut at = self.home(digest);
        loop {
            match &self.cells[at] {
                Some((found, _)) if *found == digest => return Ok(at),
                Some(_) => at = self.behind(at),
                None => return Err(at),
            }
        }
    }

    /// Where the search for a digest begins, by the bits behind those that chose the table.
    fn home(&self, digest: u128) -> usize {
        let bits = (digest << (2 * PART_BITS) >> (u128::BITS - u32::BITS)) as u64;
        ((bits * self.cells.len() as u64) >> u32::BITS) as usize
    }

    fn behind(&self, at: usize) -> usize {
        if at + 1 == self.cells.len() { 0 } else { at + 1 }
    }

    /// Cells from one to the other, going on at the first behind the last.
    fn distance(&self, from: usize, to: usize) -> usize {
        if from <= to { to - from } else { to + self.cells.len() - from }
    }

    fn insert(&mut self, digest: u128, value: V) -> Option<V> {
        let mut at = match self.find(digest) {
            Ok(at) => return self.cells[at].replace((digest, value)).map(|(_, old)| old),
            Err(at) => at,
        };
        if Self::cells_for(self.used + 1) > self.cells.len() {
            self.grow();
            at = self.find(digest).expect_err("it was not there");
        }
        self.cells[at] = Some((digest, value));
        self.used += 1;
        None
    }

    fn grow(&mut self) {
        let grown = Table::with_cells(self.cells.len() + self.cells.len() / 2);
        let old = std::mem::replace(self, grown);
        for (digest, value) in old.cells.into_iter().flatten() {
            self.insert(digest, value);
        }
    }

    /// Whoever had to go behind the cell moves up, so that no search ends before what it is for.
    fn remove(&mut self, digest: u128) -> Option<V> {
        let at = self.find(digest).ok()?;
        let removed = self.cells[at].take();
        self.used -= 1;
        let (mut hole, mut next) = (at, self.behind(at));
        while let Some((digest, _)) = &self.cells[next] {
            if self.distance(self.home(*digest), next) >= self.distance(hole, next) {
                self.cells.swap(hole, next);
                hole = next;
            }
            next = self.behind(next);
        }
        removed.map(|(_, value)| value)
    }
}

impl<V: Clone> DigestMap<V> {
    pub fn new() -> DigestMap<V> {
        DigestMap::for_about(0)
    }

    /// A map whose tables need not grow, most of them, until it holds so many.
    pub fn for_about(entries: usize) -> DigestMap<V> {
        // As many as a table has on average, and two deviations of a Poisson distribution.
        let of_table = entries / (PARTS * PARTS);
        let cells_first = Table::<V>::cells_for(of_table + 2 * of_table.isqrt());
        DigestMap { root: Box::new([const { None }; PARTS]), len: 0, cells_first }
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn get(&self, digest: &u128) -> Option<&V> {
        let table = self.table(*digest)?;
        table.cells[table.find(*digest).ok()?].as_ref().map(|(_, value)| value)
    }

    pub fn contains(&self, digest: &u128) -> bool {
        self.get(digest).is_some()
    }

    /// Reads where a search for the digest begins, so that the search finds that in the processor's caches; whether anything
    /// is there. Nothing is compared: a processor that guessed a comparison wrong waits for what is read before it goes on to
    /// the next digest.
    pub fn touch(&self, digest: &u128) -> bool {
        let is_used = |table: &Table<V>| {
            // A cell may lie in two lines.
            let home = table.home(*digest);
            table.cells[home].is_some() | table.cells[table.behind(home)].is_some()
        };
        self.table(*digest).is_some_and(is_used)
    }

    pub fn insert(&mut self, digest: u128, value: V) -> Option<V> {
        let old = self.table_mut(digest).insert(digest, value);
        self.len += usize::from(old.is_none());
        old
    }

    pub fn remove(&mut self, digest: &u128) -> Option<V> {
        // What is not there is not looked for in a copy.
        self.get(digest)?;
        self.len -= 1;
        self.table_mut(*digest).remove(*digest)
    }

    /// The table in which the digest is, where it is anywhere.
    fn table(&self, digest: u128) -> Option<&Table<V>> {
        let (first, second) = parts(digest);
        match self.root[first].as_ref()? {
            Part::One(table) => Some(table),
            Part::Many(tables) => tables[second].as_deref(),
        }
    }

    /// The table in which the digest is, or would be.
    fn table_mut(&mut self, digest: u128) -> &mut Table<V> {
        let (first, second) = parts(digest);
        let cells_first = self.cells_first;
        let part = self.root[first].get_or_insert_with(|| Part::new(cells_first));
        part.split_if_full(cells_first);
        match part {
            Part::One(table) => Shared::make_mut(table),
            Part::Many(tables) => {
                let table = &mut Shared::make_mut(tables)[second];
                Shared::make_mut(table.get_or_insert_with(|| Shared::new(Table::with_cells(cells_first))))
            }
        }
    }
}

impl<V: Clone> Part<V> {
    fn new(cells_first: usize) -> Part<V> {
        // Where much is expected, no table is filled only to be split.
        match cells_first > CELLS_MIN {
            true => Part::Many(Shared::new([const { None }; PARTS])),
            false => Part::One(Shared::new(Table::with_cells(CELLS_MIN))),
        }
    }

    /// Makes many tables of one that is full.
    fn split_if_full(&mut self, cells_first: usize) {
        let Part::One(table) = self else { return };
        if table.used < TABLE_MAX {
            return;
        }
        let mut tables = [const { None }; PARTS];
        for (digest, value) in table.cells.iter().flatten() {
            let table = tables[parts(*digest).1].get_or_insert_with(|| Table::with_cells(cells_first));
            table.insert(*digest, value.clone());
        }
        *self = Part::Many(Shared::new(tables.map(|table| table.map(Shared::new))));
    }
}

/// The parts by the first bits and by the next.
fn parts(digest: u128) -> (usize, usize) {
    let first = digest >> (u128::BITS - PART_BITS);
    let second = digest >> (u128::BITS - 2 * PART_BITS);
    (first as usize, second as usize % PARTS)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// Few enough that some meet, in one cell and apart: in two tables, at their ends and all over them.
    fn digest() -> impl Strategy<Value = u128> {
        let home = prop_oneof![Just(0), Just(0xff), 0..=0xffu128];
        (0..2u128, 0..2u128, home, 0..5u128)
            .prop_map(|(first, second, home, rest)| first << 121 | second << 114 | home << 106 | rest)
    }

    fn same(map: &DigestMap<u32>, model: &BTreeMap<u128, u32>) -> bool {
        map.len() == model.len() && model.iter().all(|(digest, value)| map.get(digest) == Some(value))
    }

    proptest! {
        #[test]
        fn agrees_with_the_standard_map(
            steps in proptest::collection::vec((digest(), prop::option::of(any::<u32>()), any::<bool>()), 1..500),
            about in prop_oneof![Just(0), 0..200_000usize],
        ) {
            let (mut map, mut model) = (DigestMap::for_about(about), BTreeMap::new());
            let mut clone = None;
            for (digest, value, cloned) in steps {
                match value {
                    Some(value) => prop_assert_eq!(map.insert(digest, value), model.insert(digest, value)),
                    None => prop_assert_eq!(map.remove(&digest), model.remove(&digest)),
                }
                prop_assert_eq!(map.contains(&digest), value.is_some());
                prop_assert!(same(&map, &model));
                if cloned && clone.is_none() {
                    clone = Some((map.clone(), model.clone()));
                }
            }
            if let Some((map, model)) = clone {
                prop_assert!(same(&map, &model));
            }
        }
    }
}
