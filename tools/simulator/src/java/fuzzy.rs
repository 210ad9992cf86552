//! Snapshots as Java takes them: while the tree goes on.
//!
//! Java walks its tree in preorder and reads each znode, and the names of its children, at the moment when it comes there; sessions and ACLs
//! it has written before. A snapshot that begins at one zxid and during which others become final is made here from two
//! consistent ones: what the walk reaches before some point is as in the first, the rest as in the second. So it may have transactions behind
//! its zxid in part: children without what happened to their parent, parents without a child that they count, znodes with an ACL that the
//! map does not name.

use std::collections::BTreeMap;
use std::ops::Range;

use proto::{Acl, Decode, JuteError, Reader};

use crate::dice::Dice;

/// Behind the last znode.
const END: &str = "/";

/// A snapshot as it lies on the stream (peer-protocol.md §8), taken apart.
struct Parts<'a> {
    bytes: &'a [u8],
    /// Sessions and ACLs.
    head: Range<usize>,
    /// Each znode's bytes, by its path.
    nodes: BTreeMap<&'a str, Range<usize>>,
    /// The names that each znode has below it, as paths.
    children: BTreeMap<&'a str, Vec<&'a str>>,
    /// From the end mark on.
    tail: Range<usize>,
}

/// How long the snapshot at the front of `bytes` is; `Short` if not all of it is there.
pub fn length(bytes: &[u8]) -> Result<usize, JuteError> {
    read(bytes, |_, _| {}).map(|(_, tail)| tail.end)
}

/// Reads the snapshot at the front of `bytes`, and answers what stands before the znodes and behind them.
fn read<'a>(
    bytes: &'a [u8],
    mut node: impl FnMut(&'a str, Range<usize>),
) -> Result<(Range<usize>, Range<usize>), JuteError> {
    let mut r = Reader::with_limit(bytes, 64 << 20);
    for _ in 0..r.int()? {
        _ = (r.long()?, r.int()?);
    }
    for _ in 0..r.int()? {
        _ = r.long()?;
        for _ in 0..r.int()?.max(0) {
            _ = Acl::decode(&mut r)?;
        }
    }
    let at = |r: &Reader<'_>| bytes.len() - r.rest().len();
    let head = 0..at(&r);
    loop {
        let start = at(&r);
        let path = str::from_utf8(r.buffer()?.unwrap_or_default()).map_err(|_| JuteError::Mixed("no path"))?;
        if path == END {
            _ = r.buffer()?;
            return Ok((head, start..at(&r)));
        }
        _ = (r.buffer()?, r.long()?);
        // A stat as stored: six longs, three ints.
        for _ in 0..6 {
            _ = r.long()?;
        }
        for _ in 0..3 {
            _ = r.int()?;
        }
        node(path, start..at(&r));
    }
}

fn parts(bytes: &[u8]) -> Result<Parts<'_>, JuteError> {
    let (mut nodes, mut children) = (BTreeMap::new(), BTreeMap::<&str, Vec<&str>>::new());
    let (head, tail) = read(bytes, |path, range| {
        if let Some(slash) = path.rfind('/') {
            children.entry(&path[..slash]).or_default().push(path);
        }
        nodes.insert(path, range);
    })?;
    Ok(Parts { bytes, head, nodes, children, tail })
}

/// The snapshot of a walk during which `before` became `after`, with children in any order, as Java's are.
pub fn mix(before: &[u8], after: &[u8], dice: &Dice) -> Result<Vec<u8>, JuteError> {
    let (before, after) = (parts(before)?, parts(after)?);
    let turn = dice.below(before.nodes.len() as u64 + 1);
    let mut mixed = before.bytes[before.head.clone()].to_vec();
    let (mut seen, mut ahead) = (0, vec![""]);
    while let Some(path) = ahead.pop() {
        let state = if seen < turn { &before } else { &after };
        seen += 1;
        // It may be gone when the walk comes there.
        let Some(node) = state.nodes.get(path) else { continue };
        mixed.extend_from_slice(&state.bytes[node.clone()]);
        let first = ahead.len();
        ahead.extend(state.children.get(path).into_iter().flatten());
        for at in (first + 1..ahead.len()).rev() {
            ahead.swap(at, dice.between(first as u64, at as u64) as usize);
        }
    }
    mixed.extend_from_slice(&before.bytes[before.tail]);
    Ok(mixed)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A snapshot of these paths, each with so much data.
    fn snapshot(session: i64, nodes: &[(&str, u8)]) -> Vec<u8> {
        let mut bytes = 1i32.to_be_bytes().to_vec();
        bytes.extend(session.to_be_bytes());
        bytes.extend([0; 8]);
        let put = |bytes: &mut Vec<u8>, text: &[u8]| {
            bytes.extend((text.len() as i32).to_be_bytes());
            bytes.extend_from_slice(text);
        };
        for (path, data) in nodes {
            put(&mut bytes, path.as_bytes());
            put(&mut bytes, &[*data]);
            bytes.extend([0; 8 + 6 * 8 + 3 * 4]);
        }
        put(&mut bytes, b"/");
        put(&mut bytes, b"BenWasHere");
        bytes
    }

    #[test]
    fn a_walk_shows_each_znode_as_it_is_when_it_comes_there() {
        let before = snapshot(1, &[("", 1), ("/a", 1), ("/a/x", 1), ("/b", 1), ("/gone", 1)]);
        let after = snapshot(2, &[("", 2), ("/a", 2), ("/a/y", 2), ("/b", 2), ("/new", 2)]);
        assert_eq!(length(&before), Ok(before.len()));
        assert_eq!(length(&before[..before.len() - 1]), Err(JuteError::Short));
        let (mut torn, mut halves) = (0, 0);
        for seed in 0..200 {
            let mixed = mix(&before, &after, &Dice::new(seed, 0)).unwrap();
            let parts = parts(&mixed).unwrap();
            assert_eq!(mixed[..parts.head.end], before[..parts.head.end], "sessions and ACLs come first");
            for path in parts.nodes.keys().filter(|path| !path.is_empty()) {
                let parent = &path[..path.rfind('/').unwrap()];
                assert!(parts.nodes[parent].end <= parts.nodes[path].start, "a parent is before its children");
            }
            let data = |path: &str| parts.nodes.get(path).map(|range| mixed[range.start + 4 + path.len() + 4]);
            halves += i32::from(data("") == Some(1) && data("/b") == Some(2));
            torn += i32::from(data("/a") == Some(1) && data("/a/x").is_none() && data("/a/y").is_none());
            assert!(data("/new").is_none() || data("") == Some(2), "who is not named is not visited");
        }
        assert!(torn > 0 && halves > 0, "{torn} {halves}");
    }
}
