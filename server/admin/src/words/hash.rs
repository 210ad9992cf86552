//! `hash`: the digests of the tree that are remembered, oldest first. The zxid is bare hexadecimal; a digest is a signed
//! 64-bit number in Java and printed as such.

use std::fmt::Write;

use crate::Facts;

pub(super) fn text(facts: &Facts) -> String {
    let mut out = String::new();
    for (zxid, digest) in &facts.writes.digests {
        _ = writeln!(out, "{zxid:x}: {}", *digest as i64);
    }
    out
}
