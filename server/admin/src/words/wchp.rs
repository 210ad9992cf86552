//! `wchp`: data watches by path, and an empty line.

use std::fmt::Write;

use crate::Facts;
use crate::merged::Watches;

pub(super) fn text(facts: &Facts) -> String {
    let mut out = String::new();
    for (path, sessions) in Watches::of(facts).by_path {
        _ = writeln!(out, "{path}");
        for session in sessions {
            _ = writeln!(out, "\t{session}");
        }
    }
    out.push('\n');
    out
}
