//! Operation codes (`ZooDefs.OpCode`; client-protocol.md §5), which are also the types of transactions.

macro_rules! ops {
    ($($name:ident = $value:literal, $text:literal, $doc:literal;)*) => {
        /// What a request asks for, or what a transaction is.
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
        #[repr(i32)]
        pub enum Op { $(#[doc = $doc] $name = $value,)* }

        impl Op {
            /// The operation with this number, if ZooKeeper has one.
            pub fn from_i32(value: i32) -> Option<Op> {
                match value { $($value => Some(Op::$name),)* _ => None }
            }

            /// ZooKeeper's own name of the operation.
            pub fn name(self) -> &'static str {
                match self { $(Op::$name => $text,)* }
            }
        }
    };
}

ops! {
    Create = 1, "create", "Create a znode, answer its path.";
    Delete = 2, "delete", "Delete a znode.";
    Exists = 3, "exists", "Stat of a znode, or NONODE; may set a watch either way.";
    GetData = 4, "getData", "Data and stat.";
    SetData = 5, "setData", "Replace the data.";
    GetAcl = 6, "getACL", "ACL and stat.";
    SetAcl = 7, "setACL", "Replace the ACL.";
    GetChildren = 8, "getChildren", "Names of the children.";
    Sync = 9, "sync", "Wait until all that was committed before is applied here.";
    Ping = 11, "ping", "Keep the session alive.";
    GetChildren2 = 12, "getChildren2", "Names of the children and stat.";
    Check = 13, "check", "Within a multi: fail unless the version is this one.";
    Multi = 14, "multi", "Several writes as one transaction.";
    Create2 = 15, "create2", "Create a znode, answer path and stat.";
    Reconfig = 16, "reconfig", "Change the membership.";
    CheckWatches = 17, "checkWatches", "Does this connection hold such a watch?";
    RemoveWatches = 18, "removeWatches", "Remove watches of this connection.";
    CreateContainer = 19, "createContainer", "Create a container znode.";
    DeleteContainer = 20, "deleteContainer", "Delete an empty container or expired TTL znode.";
    CreateTtl = 21, "createTTL", "Create a znode that vanishes when unchanged for its ttl.";
    MultiRead = 22, "multiRead", "Several reads in one request.";
    Auth = 100, "auth", "Add an identity to the connection.";
    SetWatches = 101, "setWatches", "Re-register watches after a reconnect.";
    Sasl = 102, "sasl", "A SASL token.";
    GetEphemerals = 103, "getEphemerals", "The session's ephemerals below a prefix.";
    GetAllChildrenNumber = 104, "getAllChildrenNumber", "Count of all descendants.";
    SetWatches2 = 105, "setWatches2", "setWatches with persistent watches.";
    AddWatch = 106, "addWatch", "Add a persistent or recursive watch.";
    WhoAmI = 107, "whoAmI", "The connection's identities.";
    CreateSession = -10, "createSession", "Open a session (internal; comes from the connect record).";
    CloseSession = -11, "closeSession", "Close the session and delete its ephemerals.";
    Error = -1, "error", "Transaction type of a write that failed.";
}

impl Op {
    /// The number on the wire and in the log.
    pub fn as_i32(self) -> i32 {
        self as i32
    }

    /// Does the operation produce a transaction, so that the sequencer must see it?
    pub fn is_write(self) -> bool {
        matches!(
            self,
            Op::Create
                | Op::Delete
                | Op::SetData
                | Op::SetAcl
                | Op::Multi
                | Op::Create2
                | Op::Reconfig
                | Op::CreateContainer
                | Op::DeleteContainer
                | Op::CreateTtl
                | Op::CreateSession
                | Op::CloseSession
        )
    }
}
