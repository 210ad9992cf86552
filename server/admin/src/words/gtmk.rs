//! `gtmk`: the trace mask. No line's end.

use crate::Facts;

pub(super) fn text(facts: &Facts) -> String {
    facts.trace_mask.to_string()
}
