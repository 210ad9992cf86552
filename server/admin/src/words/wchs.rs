//! `wchs`: how many data watches there are. Connections without a watch do not count.

use crate::Facts;

pub(super) fn text(facts: &Facts) -> String {
    let watchers: usize = facts.watch_counts.iter().map(|counts| counts.watchers).sum();
    let watches: usize = facts.watch_counts.iter().map(|counts| counts.watches).sum();
    let mut paths: Vec<u64> = facts.watch_counts.iter().flat_map(|counts| &counts.path_hashes).copied().collect();
    paths.sort_unstable();
    paths.dedup();
    format!("{watchers} connections watching {} paths\nTotal watches:{watches}\n", paths.len())
}
