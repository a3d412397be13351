//! A sorted map in three levels: a root of branches of at most [`BRANCH`] leaves of at most [`LEAF`] entries.
//!
//! Clones share the branches. A write copies each branch and leaf that it touches, once after a clone: with millions of
//! entries none of them is large, and the root names a hundred branches a million. Keys and values lie apart, so that a
//! search reads keys only and padding is not paid for.

use std::cmp::Ordering;
use std::ops::Bound;

use super::Shared;

/// Entries of a leaf, at most. Tests get by with few, so that all levels are there.
const LEAF: usize = if cfg!(test) { 16 } else { 64 };

/// Leaves of a branch, at most.
const BRANCH: usize = if cfg!(test) { 16 } else { 128 };

#[derive(Clone)]
struct Leaf<K, V> {
    keys: Vec<K>,
    values: Vec<V>,
}

#[derive(Clone)]
struct Branch<K, V> {
    leaves: Vec<(K, Shared<Leaf<K, V>>)>,
}

/// What lies below, by the least key that was ever in it, beside it, so that the search for one touches none. That may be
/// less than the first key there, never greater.
type Directory<K, T> = Vec<(K, Shared<T>)>;

#[derive(Clone)]
pub struct SortedMap<K, V> {
    root: Directory<K, Branch<K, V>>,
    len: usize,
}

/// The last part whose least key is not greater than `key`, or the first one.
#[inline]
fn part_of<K: Ord, T>(directory: &[(K, Shared<T>)], key: &K) -> usize {
    if directory.len() <= 1 {
        return 0;
    }
    // Ids are made in the order of time: what is looked for is often at the end.
    if let Some((last, _)) = directory.last()
        && last <= key
    {
        return directory.len() - 1;
    }
    directory.partition_point(|(first, _)| first <= key).saturating_sub(1)
}

impl<K: Ord + Clone, V: Clone> Leaf<K, V> {
    /// Where the key is, or would be.
    #[inline]
    fn find(&self, key: &K) -> Result<usize, usize> {
        let Some((last, others)) = self.keys.split_last() else { return Err(0) };
        // Ids are made in the order of time: what is put mostly goes behind all others.
        match last.cmp(key) {
            Ordering::Less => Err(self.keys.len()),
            Ordering::Equal => Ok(others.len()),
            Ordering::Greater => others.binary_search(key),
        }
    }

    fn insert(&mut self, at: usize, key: K, value: V) {
        grow(&mut self.keys);
        grow(&mut self.values);
        self.keys.insert(at, key);
        self.values.insert(at, value);
    }

    /// Puts an entry at its place in a full leaf, which is cut in two. One that grew at the map's end stays full behind the
    /// next one: ids are made in the order of time.
    fn split(&mut self, at: usize, key: K, value: V, at_end: bool) -> (K, Shared<Leaf<K, V>>) {
        let cut = if at_end { at.max(LEAF - 1) } else { LEAF / 2 };
        let mut right = Leaf { keys: Vec::with_capacity(LEAF), values: Vec::with_capacity(LEAF) };
        right.keys.extend(self.keys.drain(cut..));
        right.values.extend(self.values.drain(cut..));
        if at > cut || right.keys.is_empty() {
            right.insert(at - cut, key, value);
        } else {
            self.insert(at, key, value);
        }
        (right.keys[0].clone(), Shared::new(right))
    }
}

/// Makes space for one more: by doubling, but not beyond a full leaf, as there may be millions.
fn grow<T>(part: &mut Vec<T>) {
    if part.len() == part.capacity() {
        part.reserve_exact(part.len().max(3).min(LEAF - part.len()));
    }
}

impl<K: Ord + Clone, V: Clone> Branch<K, V> {
    fn leaf(&self, key: &K) -> &Leaf<K, V> {
        &self.leaves[part_of(&self.leaves, key)].1
    }

    fn insert(&mut self, key: K, value: V, at_end: bool) -> Option<V> {
        let n = part_of(&self.leaves, &key);
        let at_end = at_end && n + 1 == self.leaves.len();
        let (first, leaf) = &mut self.leaves[n];
        let leaf = Shared::make_mut(leaf);
        let at = match leaf.find(&key) {
            Ok(at) => return Some(std::mem::replace(&mut leaf.values[at], value)),
            Err(at) => at,
        };
        if key < *first {
            *first = key.clone();
        }
        if leaf.keys.len() < LEAF {
            leaf.insert(at, key, value);
        } else {
            let right = leaf.split(at, key, value, at_end);
            self.leaves.insert(n + 1, right);
        }
        None
    }

    /// Takes out an entry that is there; the branch may be empty then.
    fn remove(&mut self, key: &K) -> Option<V> {
        let n = part_of(&self.leaves, key);
        let leaf = Shared::make_mut(&mut self.leaves[n].1);
        let at = leaf.find(key).ok()?;
        leaf.keys.remove(at);
        let value = leaf.values.remove(at);
        let left = leaf.keys.len();
        if left == 0 {
            self.leaves.remove(n);
        } else if left < LEAF / 8 {
            self.join(n);
        }
        Some(value)
    }

    /// Joins leaf `n` with a neighbour where both together stay well below a full leaf.
    fn join(&mut self, n: usize) {
        let len = |(_, leaf): &(K, Shared<Leaf<K, V>>)| leaf.keys.len();
        let Some(left) = neighbours(&self.leaves, n, len, LEAF / 2) else { return };
        let (_, right) = self.leaves.remove(left + 1);
        let leaf = Shared::make_mut(&mut self.leaves[left].1);
        leaf.keys.extend_from_slice(&right.keys);
        leaf.values.extend_from_slice(&right.values);
    }
}

/// The first of two neighbours, `n` one of them, that together are no larger than `max`.
fn neighbours<T>(parts: &[T], n: usize, len: impl Fn(&T) -> usize, max: usize) -> Option<usize> {
    let fit = |left: usize| parts.get(left..=left + 1).is_some_and(|two| len(&two[0]) + len(&two[1]) <= max);
    if fit(n) {
        return Some(n);
    }
    n.checked_sub(1).filter(|left| fit(*left))
}

impl<K: Ord + Clone, V: Clone> SortedMap<K, V> {
    pub fn new() -> SortedMap<K, V> {
        SortedMap { root: Directory::new(), len: 0 }
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn get(&self, key: &K) -> Option<&V> {
        let leaf = self.branch(key)?.leaf(key);
        let at = leaf.find(key).ok()?;
        Some(&leaf.values[at])
    }

    /// Reads what putting the key will read of its leaf, so that it is in the processor's caches then.
    pub fn touch(&self, key: &K) -> bool {
        self.branch(key).is_some_and(|branch| branch.leaf(key).find(key).is_ok())
    }

    pub fn contains(&self, key: &K) -> bool {
        self.get(key).is_some()
    }

    pub fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        let at = self.branch(key)?.leaf(key).find(key).ok()?;
        let n = part_of(&self.root, key);
        let branch = Shared::make_mut(&mut self.root[n].1);
        let n = part_of(&branch.leaves, key);
        Some(&mut Shared::make_mut(&mut branch.leaves[n].1).values[at])
    }

    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        let n = part_of(&self.root, &key);
        let root = &mut self.root;
        let at_end = n + 1 == root.len();
        let Some((first, branch)) = root.get_mut(n) else {
            let leaf = Leaf { keys: vec![key.clone()], values: vec![value] };
            let branch = Branch { leaves: vec![(key.clone(), Shared::new(leaf))] };
            root.push((key, Shared::new(branch)));
            self.len += 1;
            return None;
        };
        if key < *first {
            *first = key.clone();
        }
        let branch = Shared::make_mut(branch);
        let old = branch.insert(key, value, at_end);
        self.len += usize::from(old.is_none());
        if branch.leaves.len() > BRANCH {
            let at = if at_end { BRANCH } else { BRANCH / 2 };
            let right = Branch { leaves: branch.leaves.split_off(at) };
            branch.leaves.shrink_to_fit();
            root.insert(n + 1, (right.leaves[0].0.clone(), Shared::new(right)));
        }
        old
    }

    pub fn remove(&mut self, key: &K) -> Option<V> {
        // What is not there is not looked for in a copy.
        self.get(key)?;
        let n = part_of(&self.root, key);
        let root = &mut self.root;
        let branch = Shared::make_mut(&mut root[n].1);
        let value = branch.remove(key)?;
        self.len -= 1;
        let left = branch.leaves.len();
        if left == 0 {
            root.remove(n);
        } else if left < BRANCH / 8
            && let Some(left) = neighbours(root, n, |(_, branch)| branch.leaves.len(), BRANCH / 2)
        {
            let (_, right) = root.remove(left + 1);
            let branch = Shared::make_mut(&mut root[left].1);
            branch.leaves.extend_from_slice(&right.leaves);
        }
        Some(value)
    }

    pub fn first(&self) -> Option<(&K, &V)> {
        let (_, leaf) = self.root.first()?.1.leaves.first()?;
        Some((&leaf.keys[0], &leaf.values[0]))
    }

    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> + use<'_, K, V> {
        self.from(Bound::Unbounded)
    }

    /// The entries from `start` on, in order.
    pub fn from(&self, start: Bound<&K>) -> impl Iterator<Item = (&K, &V)> + use<'_, K, V> {
        // Of the first branch the leaves before, of the first leaf the entries before are skipped.
        let (n, mut leaves, mut entries) = match start {
            Bound::Unbounded => (0, 0, 0),
            Bound::Included(key) | Bound::Excluded(key) => {
                let n = part_of(&self.root, key);
                let (leaf, at) = self.root.get(n).map_or((0, 0), |(_, branch)| {
                    let leaf = part_of(&branch.leaves, key);
                    let keys = &branch.leaves[leaf].1.keys;
                    let before = |k: &K| if matches!(start, Bound::Excluded(_)) { k <= key } else { k < key };
                    (leaf, keys.partition_point(before))
                });
                (n, leaf, at)
            }
        };
        let branches = self.root[n.min(self.root.len())..].iter();
        let leaves = branches.flat_map(move |(_, branch)| &branch.leaves[std::mem::take(&mut leaves)..]);
        leaves.flat_map(move |(_, leaf)| {
            let from = std::mem::take(&mut entries);
            leaf.keys[from..].iter().zip(&leaf.values[from..])
        })
    }

    fn branch(&self, key: &K) -> Option<&Branch<K, V>> {
        Some(&self.root.get(part_of(&self.root, key))?.1)
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
        for (least, branch) in map.root.iter() {
            assert!(!branch.leaves.is_empty() && branch.leaves.len() <= BRANCH);
            for (first, leaf) in &branch.leaves {
                assert!(!leaf.keys.is_empty() && leaf.keys.len() <= LEAF);
                assert!(leaf.keys.capacity().max(leaf.values.capacity()) <= LEAF);
                assert!(*first <= leaf.keys[0] && *least <= leaf.keys[0]);
            }
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
            assert!(map.from(Bound::Included(&probe)).eq(model.range(probe..)));
            assert!(map.from(Bound::Excluded(&probe)).eq(model.range(probe + 1..)));
        }
    }
}
