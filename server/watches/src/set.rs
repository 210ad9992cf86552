//! The watchers of one path with their modes, in order: nearly always one, sometimes a hundred thousand.

use std::collections::BTreeMap;

use smallvec::SmallVec;

/// Sets up to this size are a sorted array.
const SMALL_MAX: usize = 32;

/// An ordered map from watchers to modes; modes are never zero.
#[derive(Debug)]
pub(crate) enum Set<W> {
    Small(SmallVec<[(W, u8); 1]>),
    Large(BTreeMap<W, u8>),
}

impl<W> Default for Set<W> {
    fn default() -> Set<W> {
        Set::Small(SmallVec::new())
    }
}

impl<W: Copy + Ord> Set<W> {
    /// The watcher's modes; none is zero.
    pub(crate) fn get(&self, watcher: W) -> u8 {
        match self {
            Set::Small(items) => find(items, watcher).map_or(0, |at| items[at].1),
            Set::Large(map) => map.get(&watcher).copied().unwrap_or(0),
        }
    }

    /// Sets the watcher's modes, which are not zero.
    pub(crate) fn put(&mut self, watcher: W, modes: u8) {
        debug_assert_ne!(modes, 0, "modes are never zero");
        match self {
            Set::Small(items) => match find(items, watcher) {
                Ok(at) => items[at].1 = modes,
                Err(at) if items.len() < SMALL_MAX => items.insert(at, (watcher, modes)),
                Err(_) => {
                    let mut map: BTreeMap<W, u8> = items.drain(..).collect();
                    map.insert(watcher, modes);
                    *self = Set::Large(map);
                }
            },
            Set::Large(map) => _ = map.insert(watcher, modes),
        }
    }

    /// Forgets the watcher.
    pub(crate) fn remove(&mut self, watcher: W) {
        match self {
            Set::Small(items) => {
                if let Ok(at) = find(items, watcher) {
                    items.remove(at);
                }
            }
            Set::Large(map) => {
                map.remove(&watcher);
                // Half the limit, so that a set at the limit does not change its shape at every step.
                if map.len() <= SMALL_MAX / 2 {
                    *self = Set::Small(std::mem::take(map).into_iter().collect());
                }
            }
        }
    }

    /// All watchers with their modes, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (W, u8)> {
        let (small, large) = match self {
            Set::Small(items) => (Some(items.iter()), None),
            Set::Large(map) => (None, Some(map.iter())),
        };
        small
            .into_iter()
            .flatten()
            .copied()
            .chain(large.into_iter().flatten().map(|(watcher, modes)| (*watcher, *modes)))
    }
}

fn find<W: Copy + Ord>(items: &[(W, u8)], watcher: W) -> Result<usize, usize> {
    items.binary_search_by_key(&watcher, |(watcher, _)| *watcher)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_keeps_its_order_through_all_its_shapes() {
        let mut set = Set::default();
        for n in (0..100u32).rev() {
            set.put(n, 1);
        }
        set.put(50, 3);
        assert_eq!(set.iter().map(|(n, _)| n).collect::<Vec<_>>(), (0..100).collect::<Vec<_>>());
        assert_eq!((set.get(50), set.get(51), set.get(100)), (3, 1, 0));
        for n in 0..99 {
            set.remove(n);
            assert_eq!(set.iter().count(), 99 - n as usize);
        }
        assert!(matches!(&set, Set::Small(items) if items.as_slice() == [(99, 1)]));
    }
}
