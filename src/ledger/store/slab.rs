//! Values under small numbers that never move.
//!
//! A slot's number is an address in memory, never persisted and never part of what replicas compare.

use std::sync::Arc;

/// Slots that are copied together when a shared chunk is written to.
const CHUNK: usize = 64;

/// Where a [`Slab`] keeps a value.
pub type Slot = u32;

type Chunk<T> = [Option<T>; CHUNK];

/// A growing array whose clones share their chunks.
#[derive(Clone)]
pub struct Slab<T> {
    chunks: Arc<Vec<Arc<Chunk<T>>>>,
    /// Slots that were used and are empty again.
    free: Arc<Vec<Slot>>,
    /// Slots that were ever used.
    used: Slot,
}

impl<T: Clone> Slab<T> {
    pub fn new() -> Slab<T> {
        Slab { chunks: Arc::default(), free: Arc::default(), used: 0 }
    }

    pub fn get(&self, slot: Slot) -> Option<&T> {
        self.chunks.get(slot as usize / CHUNK)?[slot as usize % CHUNK].as_ref()
    }

    pub fn get_mut(&mut self, slot: Slot) -> Option<&mut T> {
        (slot < self.used).then(|| self.cell(slot).as_mut())?
    }

    pub fn insert(&mut self, value: T) -> Slot {
        let slot = if self.free.is_empty() {
            let slot = self.used;
            self.used = slot.checked_add(1).expect("memory ends long before 2^32 values");
            if slot as usize / CHUNK == self.chunks.len() {
                Arc::make_mut(&mut self.chunks).push(Arc::new([const { None }; CHUNK]));
            }
            slot
        } else {
            Arc::make_mut(&mut self.free).pop().expect("the list is not empty")
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
        Arc::make_mut(&mut self.free).push(slot);
        value
    }

    pub fn iter(&self) -> impl Iterator<Item = (Slot, &T)> {
        let cells = self.chunks.iter().flat_map(|chunk| chunk.iter());
        cells.enumerate().filter_map(|(slot, cell)| Some((slot as Slot, cell.as_ref()?)))
    }

    fn cell(&mut self, slot: Slot) -> &mut Option<T> {
        let chunk = &mut Arc::make_mut(&mut self.chunks)[slot as usize / CHUNK];
        &mut Arc::make_mut(chunk)[slot as usize % CHUNK]
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
