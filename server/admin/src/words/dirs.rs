//! `dirs`: how much the directories hold.

use crate::Facts;

pub(super) fn text(facts: &Facts) -> String {
    format!("datadir_size: {}\nlogdir_size: {}\n", facts.bytes.data_dir, facts.bytes.data_log_dir)
}
