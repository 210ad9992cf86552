//! `wchs`: how many data watches there are. Connections without a watch do not count.

use crate::Facts;
use crate::merged::Watches;

pub(super) fn text(facts: &Facts) -> String {
    let watches = Watches::of(facts);
    let (connections, paths) = (watches.by_session().len(), watches.by_path.len());
    let total: usize = watches.by_path.values().map(|sessions| sessions.len()).sum();
    format!("{connections} connections watching {paths} paths\nTotal watches:{total}\n")
}
