//! A map by digests: numbers of 128 bits, any of which is as likely as any other, so that their first bits say where to
//! look.
//!
//! Two levels of 256 parts each by the first two bytes, and leaves in order behind them. Clones share everything; a write
//! copies the parts that lead to its leaf, and the leaf.

use std::sync::Arc;

/// Parts of a level: one for each value of a byte.
const PARTS: usize = 256;

type Leaf<V> = Vec<(u128, V)>;

/// What lies below, as far as there is any.
#[derive(Clone)]
struct Level<T>([Option<Arc<T>>; PARTS]);

impl<T> Default for Level<T> {
    fn default() -> Level<T> {
        Level([const { None }; PARTS])
    }
}

#[derive(Clone)]
pub struct DigestMap<V> {
    root: Arc<Level<Level<Leaf<V>>>>,
}

impl<V: Clone> DigestMap<V> {
    pub fn new() -> DigestMap<V> {
        DigestMap { root: Arc::default() }
    }

    /// The map of these, which may come in any order: for many at once, much sooner than one by one. `None` where two have
    /// one digest.
    pub fn of(mut entries: Vec<(u128, V)>) -> Option<DigestMap<V>> {
        entries.sort_unstable_by_key(|(digest, _)| *digest);
        if entries.windows(2).any(|two| two[0].0 == two[1].0) {
            return None;
        }
        let mut map = DigestMap::new();
        for leaf in entries.chunk_by(|(one, _), (other, _)| parts(*one) == parts(*other)) {
            let (first, second) = parts(leaf[0].0);
            *part_mut(part_mut(&mut map.root, first), second) = Arc::new(leaf.to_vec());
        }
        Some(map)
    }

    pub fn get(&self, digest: &u128) -> Option<&V> {
        let (first, second) = parts(*digest);
        let leaf = self.root.0[first].as_ref()?.0[second].as_ref()?;
        let at = leaf.binary_search_by_key(digest, |(digest, _)| *digest).ok()?;
        Some(&leaf[at].1)
    }

    pub fn contains(&self, digest: &u128) -> bool {
        self.get(digest).is_some()
    }

    pub fn insert(&mut self, digest: u128, value: V) -> Option<V> {
        let (first, second) = parts(digest);
        let leaf = part_mut(part_mut(&mut self.root, first), second);
        let leaf = Arc::make_mut(leaf);
        match leaf.binary_search_by_key(&digest, |(digest, _)| *digest) {
            Ok(at) => Some(std::mem::replace(&mut leaf[at].1, value)),
            Err(at) => {
                leaf.insert(at, (digest, value));
                None
            }
        }
    }

    pub fn remove(&mut self, digest: &u128) -> Option<V> {
        // What is not there is not looked for in a copy.
        self.get(digest)?;
        let (first, second) = parts(*digest);
        let leaf = Arc::make_mut(part_mut(part_mut(&mut self.root, first), second));
        let at = leaf.binary_search_by_key(digest, |(digest, _)| *digest).ok()?;
        Some(leaf.remove(at).1)
    }

    /// In the order of the digests.
    pub fn iter(&self) -> impl Iterator<Item = (&u128, &V)> {
        let leaves = self.root.0.iter().flatten().flat_map(|level| level.0.iter().flatten());
        leaves.flat_map(|leaf| leaf.iter().map(|(digest, value)| (digest, value)))
    }
}

/// The first byte and the second.
fn parts(digest: u128) -> (usize, usize) {
    let [first, second, ..] = digest.to_be_bytes();
    (first.into(), second.into())
}

/// A part of a level, which is made if it is not there.
fn part_mut<T: Clone + Default>(level: &mut Arc<Level<T>>, part: usize) -> &mut Arc<T> {
    Arc::make_mut(level).0[part].get_or_insert_default()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// Few enough that some meet, in the same leaf and apart.
    fn digest() -> impl Strategy<Value = u128> {
        (0..3u128, 0..3u128, 0..20u128).prop_map(|(first, second, rest)| first << 120 | second << 112 | rest)
    }

    proptest! {
        #[test]
        fn agrees_with_the_standard_map(
            steps in proptest::collection::vec((digest(), prop::option::of(any::<u32>()), any::<bool>()), 1..300),
        ) {
            let (mut map, mut model) = (DigestMap::new(), BTreeMap::new());
            let mut clone = None;
            for (digest, value, cloned) in steps {
                match value {
                    Some(value) => prop_assert_eq!(map.insert(digest, value), model.insert(digest, value)),
                    None => prop_assert_eq!(map.remove(&digest), model.remove(&digest)),
                }
                prop_assert_eq!(map.contains(&digest), value.is_some());
                prop_assert_eq!(map.get(&digest), model.get(&digest));
                if cloned && clone.is_none() {
                    clone = Some((map.clone(), model.clone()));
                }
            }
            prop_assert!(map.iter().eq(model.iter()));
            let mut entries: Vec<_> = model.iter().map(|(digest, value)| (*digest, *value)).rev().collect();
            let made = DigestMap::of(entries.clone()).unwrap();
            prop_assert!(made.iter().eq(model.iter()));
            if let Some(twice) = entries.first().copied() {
                entries.push(twice);
                prop_assert!(DigestMap::of(entries).is_none());
            }
            if let Some((map, model)) = clone {
                prop_assert!(map.iter().eq(model.iter()));
            }
        }
    }
}
