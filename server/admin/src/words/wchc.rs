//! `wchc`: data watches by session, and an empty line.

use std::fmt::Write;

use crate::Facts;
use crate::merged::Watches;

pub(super) fn text(facts: &Facts) -> String {
    let mut out = String::new();
    for (session, paths) in Watches::of(facts).by_session() {
        _ = writeln!(out, "{session}");
        for path in paths {
            _ = writeln!(out, "\t{path}");
        }
    }
    out.push('\n');
    out
}
