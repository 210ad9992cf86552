//! `stmk` and eight bytes: sets the trace mask, and answers it. No line's end. The mask selects nothing: it is kept so that
//! `gtmk` answers what was set.

use member::word::Word;

use crate::Facts;

pub(super) fn text(word: Word, facts: &Facts) -> String {
    word.mask.unwrap_or(facts.trace_mask).to_string()
}
