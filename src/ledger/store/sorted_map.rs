//! A sorted map in two levels: a directory of leaves of at most [`LEAF`] entries.
//!
//! Clones share everything. A write copies the directory once after a clone, and each leaf it touches. Keys and values
//! lie apart, so that a search reads keys only and padding is not paid for.

use std::ops::Bound;
use std::sync::Arc;

/// Entries of a leaf, at most.
const LEAF: usize = 512;

#[derive(Clone)]
struct Leaf<K, V> {
    keys: Vec<K>,
    values: Vec<V>,
}

/// A directory entry: the least key that was ever in the leaf, beside it, so that the search for a leaf touches none.
/// It may be less than the leaf's first key, never greater.
type Entry<K, V> = (K, Arc<Leaf<K, V>>);

#[derive(Clone)]
pub struct SortedMap<K, V> {
    directory: Arc<Vec<Entry<K, V>>>,
    len: usize,
}

impl<K: Ord + Clone, V: Clone> SortedMap<K, V> {
    pub fn new() -> SortedMap<K, V> {
        SortedMap { directory: Arc::default(), len: 0 }
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn get(&self, key: &K) -> Option<&V> {
        let (_, leaf) = self.directory.get(self.leaf_of(key))?;
        let at = leaf.keys.binary_search(key).ok()?;
        Some(&leaf.values[at])
    }

    pub fn contains(&self, key: &K) -> bool {
        self.get(key).is_some()
    }

    pub fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        let n = self.leaf_of(key);
        let at = self.directory.get(n)?.1.keys.binary_search(key).ok()?;
        let (_, leaf) = &mut Arc::make_mut(&mut self.directory)[n];
        Some(&mut Arc::make_mut(leaf).values[at])
    }

    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        let n = self.leaf_of(&key);
        let directory = Arc::make_mut(&mut self.directory);
        let Some((first, leaf)) = directory.get_mut(n) else {
            let leaf = Leaf { keys: vec![key.clone()], values: vec![value] };
            directory.push((key, Arc::new(leaf)));
            self.len += 1;
            return None;
        };
        let leaf = Arc::make_mut(leaf);
        let at = match leaf.keys.binary_search(&key) {
            Ok(at) => return Some(std::mem::replace(&mut leaf.values[at], value)),
            Err(at) => at,
        };
        if key < *first {
            *first = key.clone();
        }
        leaf.keys.insert(at, key);
        leaf.values.insert(at, value);
        self.len += 1;
        if leaf.keys.len() > LEAF {
            self.split(n);
        }
        None
    }

    pub fn remove(&mut self, key: &K) -> Option<V> {
        let n = self.leaf_of(key);
        let at = self.directory.get(n)?.1.keys.binary_search(key).ok()?;
        let directory = Arc::make_mut(&mut self.directory);
        let leaf = Arc::make_mut(&mut directory[n].1);
        leaf.keys.remove(at);
        let value = leaf.values.remove(at);
        let left = leaf.keys.len();
        self.len -= 1;
        if left == 0 {
            directory.remove(n);
        } else if left < LEAF / 8 {
            self.join(n);
        }
        Some(value)
    }

    pub fn first(&self) -> Option<(&K, &V)> {
        let (_, leaf) = self.directory.first()?;
        Some((&leaf.keys[0], &leaf.values[0]))
    }

    /// How many keys are less. Takes a step for each leaf before.
    pub fn rank(&self, key: &K) -> usize {
        let n = self.leaf_of(key);
        let Some((_, leaf)) = self.directory.get(n) else { return 0 };
        let before: usize = self.directory[..n].iter().map(|(_, leaf)| leaf.keys.len()).sum();
        before + leaf.keys.partition_point(|k| k < key)
    }

    /// The entry that `rank` others come before. Takes a step for each leaf before.
    pub fn nth(&self, mut rank: usize) -> Option<(&K, &V)> {
        for (_, leaf) in self.directory.iter() {
            match leaf.keys.get(rank) {
                Some(key) => return Some((key, &leaf.values[rank])),
                None => rank -= leaf.keys.len(),
            }
        }
        None
    }

    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> + use<'_, K, V> {
        self.from(Bound::Unbounded)
    }

    /// The entries from `start` on, in order.
    pub fn from(&self, start: Bound<&K>) -> impl Iterator<Item = (&K, &V)> + use<'_, K, V> {
        let (n, at) = match start {
            Bound::Unbounded => (0, 0),
            Bound::Included(key) | Bound::Excluded(key) => {
                let n = self.leaf_of(key);
                let at = self.directory.get(n).map_or(0, |(_, leaf)| match start {
                    Bound::Excluded(_) => leaf.keys.partition_point(|k| k <= key),
                    _ => leaf.keys.partition_point(|k| k < key),
                });
                (n, at)
            }
        };
        let mut skip = at;
        self.directory[n.min(self.directory.len())..].iter().flat_map(move |(_, leaf)| {
            let from = std::mem::take(&mut skip);
            leaf.keys[from..].iter().zip(&leaf.values[from..])
        })
    }

    /// The last leaf whose least key is not greater than `key`, or the first one.
    fn leaf_of(&self, key: &K) -> usize {
        self.directory.partition_point(|(first, _)| first <= key).saturating_sub(1)
    }

    fn split(&mut self, n: usize) {
        let directory = Arc::make_mut(&mut self.directory);
        let last = n + 1 == directory.len();
        let leaf = Arc::make_mut(&mut directory[n].1);
        // Ids are made in the order of time: a leaf that grew at the map's end stays full behind the next one.
        let at = if last { LEAF } else { leaf.keys.len() / 2 };
        let right = Leaf { keys: leaf.keys.split_off(at), values: leaf.values.split_off(at) };
        leaf.keys.shrink_to_fit();
        leaf.values.shrink_to_fit();
        directory.insert(n + 1, (right.keys[0].clone(), Arc::new(right)));
    }

    /// Joins leaf `n` with a neighbour where both together stay well below a full leaf.
    fn join(&mut self, n: usize) {
        let directory = Arc::make_mut(&mut self.directory);
        let len = |n: usize| directory.get(n).map_or(LEAF, |(_, leaf)| leaf.keys.len());
        let left = match n {
            _ if len(n) + len(n + 1) <= LEAF / 2 => n,
            1.. if len(n - 1) + len(n) <= LEAF / 2 => n - 1,
            _ => return,
        };
        let (_, right) = directory.remove(left + 1);
        let leaf = Arc::make_mut(&mut directory[left].1);
        leaf.keys.extend_from_slice(&right.keys);
        leaf.values.extend_from_slice(&right.values);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        Insert(u16, u32),
        Remove(u16),
        Change(u16, u32),
        /// Ascending keys, as ids and instants are.
        Append(u16),
        /// From the front, as ended holds and outdated outcomes are.
        Drop(u16),
        Clone,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            6 => (any::<u16>(), any::<u32>()).prop_map(|(k, v)| Step::Insert(k % 4_000, v)),
            6 => any::<u16>().prop_map(|k| Step::Remove(k % 4_000)),
            1 => (any::<u16>(), any::<u32>()).prop_map(|(k, v)| Step::Change(k % 4_000, v)),
            1 => (1..600u16).prop_map(Step::Append),
            1 => (1..500u16).prop_map(Step::Drop),
            1 => Just(Step::Clone),
        ]
    }

    fn same(map: &SortedMap<u32, u32>, model: &BTreeMap<u32, u32>) {
        assert_eq!(map.len(), model.len());
        assert!(map.iter().eq(model.iter()));
        assert_eq!(map.first(), model.first_key_value());
        for (first, leaf) in map.directory.iter() {
            assert!(!leaf.keys.is_empty() && leaf.keys.len() <= LEAF && *first <= leaf.keys[0]);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn agrees_with_the_standard_map(steps in proptest::collection::vec(step(), 1..300), probe in any::<u16>()) {
            let (mut map, mut model) = (SortedMap::new(), BTreeMap::new());
            let mut clones = Vec::new();
            for step in steps {
                match step {
                    Step::Insert(k, v) => assert_eq!(map.insert(k.into(), v), model.insert(k.into(), v)),
                    Step::Remove(k) => assert_eq!(map.remove(&k.into()), model.remove(&k.into())),
                    Step::Change(k, v) => {
                        let (ours, theirs) = (map.get_mut(&k.into()), model.get_mut(&k.into()));
                        assert_eq!(ours, theirs);
                        if let (Some(ours), Some(theirs)) = (ours, theirs) {
                            (*ours, *theirs) = (v, v);
                        }
                    }
                    Step::Append(count) => for _ in 0..count {
                        let next = model.last_key_value().map_or(0, |(k, _)| k + 1);
                        map.insert(next, 7);
                        model.insert(next, 7);
                    },
                    Step::Drop(count) => for _ in 0..count {
                        let Some((first, _)) = model.pop_first() else { break };
                        assert!(map.remove(&first).is_some());
                    },
                    Step::Clone if clones.len() < 4 => clones.push((map.clone(), model.clone())),
                    Step::Clone => {}
                }
                let probe = u32::from(probe % 4_000);
                assert_eq!(map.get(&probe), model.get(&probe));
            }
            same(&map, &model);
            for (map, model) in &clones {
                same(map, model);
            }
            let probe = u32::from(probe % 4_000);
            prop_assert_eq!(map.rank(&probe), model.range(..probe).count());
            for (n, entry) in model.iter().enumerate().step_by(97) {
                prop_assert_eq!(map.nth(n), Some(entry));
            }
            prop_assert_eq!(map.nth(model.len()), None);
            assert!(map.from(Bound::Included(&probe)).eq(model.range(probe..)));
            assert!(map.from(Bound::Excluded(&probe)).eq(model.range(probe + 1..)));
        }
    }
}
