//! The kinds of watches, of changes, and of what checkWatches and removeWatches ask for, with their numbers (§14.1, §14.6).

use crate::modes;

/// A watch to register.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Watch {
    /// One shot; left by getData, and by exists whether or not the znode is there.
    Data,
    /// One shot; left by getChildren and getChildren2.
    Child,
    /// Stays; data and children of one path.
    Persistent,
    /// Stays; creation, deletion and data of a path and all that is below it.
    Recursive,
}

impl Watch {
    /// The mode with this number in addWatch, if there is one.
    pub fn from_add_mode(number: i32) -> Option<Watch> {
        match number {
            0 => Some(Watch::Persistent),
            1 => Some(Watch::Recursive),
            _ => None,
        }
    }

    pub(crate) fn modes(self) -> u8 {
        match self {
            Watch::Data => modes::DATA_STANDARD,
            Watch::Child => modes::CHILD_STANDARD,
            Watch::Persistent => modes::DATA_PERSISTENT | modes::CHILD_PERSISTENT,
            Watch::Recursive => modes::RECURSIVE,
        }
    }
}

/// A change of the tree that watches are about.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Change {
    /// The znode was created.
    Created,
    /// The znode was deleted, for whatever reason.
    Deleted,
    /// Its data was set.
    DataChanged,
}

/// Which watches checkWatches and removeWatches are about.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum WatcherType {
    /// One-shot child watches.
    Children,
    /// One-shot data watches.
    Data,
    /// All kinds.
    Any,
    /// Persistent watches.
    Persistent,
    /// Persistent recursive watches.
    Recursive,
}

impl WatcherType {
    /// The type with this number on the wire, if there is one.
    pub fn from_i32(number: i32) -> Option<WatcherType> {
        match number {
            1 => Some(WatcherType::Children),
            2 => Some(WatcherType::Data),
            3 => Some(WatcherType::Any),
            4 => Some(WatcherType::Persistent),
            5 => Some(WatcherType::Recursive),
            _ => None,
        }
    }

    /// The modes of which one must be there.
    pub(crate) fn looks_at(self) -> u8 {
        match self {
            WatcherType::Persistent => modes::DATA_PERSISTENT,
            other => other.removes(),
        }
    }

    /// The modes that go.
    pub(crate) fn removes(self) -> u8 {
        match self {
            WatcherType::Children => modes::CHILD_STANDARD,
            WatcherType::Data => modes::DATA_STANDARD,
            WatcherType::Any => modes::DATA | modes::CHILD,
            WatcherType::Persistent => modes::DATA_PERSISTENT | modes::CHILD_PERSISTENT,
            WatcherType::Recursive => modes::RECURSIVE,
        }
    }
}
