//! What setWatches and setWatches2 do with one path after a reconnect (§14.7): tell the client what it missed, or watch on.

use proto::Zxid;
use proto::reply::EventType;

use crate::Watch;

/// The lists of setWatches; persistent and recursive watches are always registered again and need no decision.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum CatchUp {
    /// Data watches.
    Data,
    /// Watches on absent znodes.
    Exist,
    /// Child watches.
    Child,
}

/// Decides for one path of a list. `node` is the znode's (mzxid, pzxid), `None` if it is absent; `relative` is the newest
/// zxid that the client has seen. An event is sent now, with zxid −1 and without an ACL check, and nothing is registered.
pub fn catch_up(list: CatchUp, node: Option<(Zxid, Zxid)>, relative: Zxid) -> Result<Watch, EventType> {
    match (list, node) {
        (CatchUp::Exist, None) => Ok(Watch::Data),
        (CatchUp::Exist, Some(_)) => Err(EventType::NodeCreated),
        (CatchUp::Data | CatchUp::Child, None) => Err(EventType::NodeDeleted),
        (CatchUp::Data, Some((mzxid, _))) if mzxid > relative => Err(EventType::NodeDataChanged),
        (CatchUp::Data, Some(_)) => Ok(Watch::Data),
        (CatchUp::Child, Some((_, pzxid))) if pzxid > relative => Err(EventType::NodeChildrenChanged),
        (CatchUp::Child, Some(_)) => Ok(Watch::Child),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_set_watches() {
        let node = |mzxid, pzxid| Some((Zxid(mzxid), Zxid(pzxid)));
        let rel = Zxid(10);
        assert_eq!(catch_up(CatchUp::Data, None, rel), Err(EventType::NodeDeleted));
        assert_eq!(catch_up(CatchUp::Data, node(11, 0), rel), Err(EventType::NodeDataChanged));
        assert_eq!(catch_up(CatchUp::Data, node(10, 99), rel), Ok(Watch::Data));
        assert_eq!(catch_up(CatchUp::Exist, None, rel), Ok(Watch::Data));
        assert_eq!(catch_up(CatchUp::Exist, node(1, 1), rel), Err(EventType::NodeCreated));
        assert_eq!(catch_up(CatchUp::Child, None, rel), Err(EventType::NodeDeleted));
        assert_eq!(catch_up(CatchUp::Child, node(99, 10), rel), Ok(Watch::Child));
        assert_eq!(catch_up(CatchUp::Child, node(0, 11), rel), Err(EventType::NodeChildrenChanged));
    }
}
