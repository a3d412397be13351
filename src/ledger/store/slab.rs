//! Values under small numbers that never move.
//!
//! A slot's number is an address in memory, never persisted and never part of what replicas compare.

use super::Shared;

/// Slots that are copied together when a shared chunk is written to.
const CHUNK: usize = 64;

/// Chunks of a branch: with millions of values, the first write after a clone must not touch every chunk's count of
/// owners.
const BRANCH: usize = 256;

/// Where a [`Slab`] keeps a value.
pub type Slot = u32;

type Chunk<T> = [Option<T>; CHUNK];
type Branch<T> = Vec<Shared<Chunk<T>>>;

/// A growing array whose clones share their branches.
#[derive(Clone)]
pub struct Slab<T> {
    branches: Vec<Shared<Branch<T>>>,
    /// Slots that were used and are empty again.
    free: Shared<Vec<Slot>>,
    /// Slots that were ever used.
    used: Slot,
}

impl<T: Clone> Slab<T> {
    pub fn new() -> Slab<T> {
        Slab { branches: Vec::new(), free: Shared::default(), used: 0 }
    }

    pub fn get(&self, slot: Slot) -> Option<&T> {
        let chunk = slot as usize / CHUNK;
        let branch = self.branches.get(chunk / BRANCH)?;
        branch.get(chunk % BRANCH)?[slot as usize % CHUNK].as_ref()
    }

    pub fn get_mut(&mut self, slot: Slot) -> Option<&mut T> {
        (slot < self.used).then(|| self.cell(slot).as_mut())?
    }

    pub fn insert(&mut self, value: T) -> Slot {
        let slot = if self.free.is_empty() {
            let slot = self.used;
            self.used = slot.checked_add(1).expect("memory ends long before 2^32 values");
            self.grow(slot);
            slot
        } else {
            Shared::make_mut(&mut self.free).pop().expect("the list is not empty")
        };
        *self.cell(slot) = Some(value);
        slot
    }

    /// Puts another value where one is, and gives the old one.
    pub fn replace(&mut self, slot: Slot, value: T) -> T {
        self.cell(slot).replace(value).expect("only a slot that is in use is replaced")
    }

    pub fn remove(&mut self, slot: Slot) -> T {
        let value = self.cell(slot).take().expect("only a slot that is in use is emptied");
        Shared::make_mut(&mut self.free).push(slot);
        value
    }

    pub fn iter(&self) -> impl Iterator<Item = (Slot, &T)> {
        let chunks = self.branches.iter().flat_map(|branch| branch.iter());
        let cells = chunks.flat_map(|chunk| chunk.iter());
        cells.enumerate().filter_map(|(slot, cell)| Some((slot as Slot, cell.as_ref()?)))
    }

    /// Makes the chunk of a new slot, if the slot is its first.
    fn grow(&mut self, slot: Slot) {
        let chunk = slot as usize / CHUNK;
        if !(slot as usize).is_multiple_of(CHUNK) {
            return;
        }
        let branches = &mut self.branches;
        if chunk.is_multiple_of(BRANCH) {
            branches.push(Shared::new(Vec::with_capacity(BRANCH)));
        }
        let branch = branches.last_mut().expect("the branch of the slots before it is there");
        Shared::make_mut(branch).push(Shared::new([const { None }; CHUNK]));
    }

    fn cell(&mut self, slot: Slot) -> &mut Option<T> {
        let chunk = slot as usize / CHUNK;
        let branch = &mut self.branches[chunk / BRANCH];
        let chunk = &mut Shared::make_mut(branch)[chunk % BRANCH];
        &mut Shared::make_mut(chunk)[slot as usize % CHUNK]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_keep_their_values_and_are_used_again() {
        let mut slab = Slab::new();
        let slots: Vec<Slot> = (0..200).map(|n| slab.insert(n)).collect();
        assert_eq!(slots, (0..200).collect::<Vec<Slot>>());
        assert_eq!(slab.remove(77), 77);
        assert_eq!(slab.get(77), None);
        assert_eq!(slab.replace(78, 1078), 78);
        assert_eq!(slab.insert(2000), 77);
        assert_eq!(slab.insert(2001), 200);
        assert_eq!(slab.iter().count(), 201);
        assert_eq!(slab.get(1_000_000), None);
    }

    #[test]
    fn slots_go_on_past_a_chunk_and_a_branch() {
        let count = (CHUNK * BRANCH * 2 + 1) as Slot;
        let mut slab = Slab::new();
        for n in 0..count {
            assert_eq!(slab.insert(n), n);
        }
        let clone = slab.clone();
        slab.replace(count - 1, 7);
        assert!(clone.iter().all(|(slot, value)| slot == *value));
        assert_eq!((clone.iter().count(), slab.get(count - 1)), (count as usize, Some(&7)));
        assert_eq!((slab.get(count), slab.get(Slot::MAX)), (None, None));
    }

    #[test]
    fn a_clone_keeps_what_it_saw() {
        let mut slab = Slab::new();
        let slot = slab.insert("before");
        let clone = slab.clone();
        slab.replace(slot, "after");
        slab.insert("more");
        assert_eq!((clone.get(slot), clone.iter().count()), (Some(&"before"), 1));
        assert_eq!((slab.get(slot), slab.iter().count()), (Some(&"after"), 2));
    }
}
