//! Error codes as replies and error transactions carry them (`KeeperException.Code`; client-protocol.md §7).
//! Clients fail on codes that they do not know, so only these exist.

macro_rules! codes {
    ($($name:ident = $value:literal, $doc:literal;)*) => {
        /// Result of an operation. `Code::Ok` is success.
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
        #[repr(i32)]
        pub enum Code { $(#[doc = $doc] $name = $value,)* }

        impl Code {
            /// The code with this number, if ZooKeeper has one.
            pub fn from_i32(value: i32) -> Option<Code> {
                match value { $($value => Some(Code::$name),)* _ => None }
            }
        }
    };
}

codes! {
    Ok = 0, "Success.";
    RuntimeInconsistency = -2, "A member of a multi behind the one that failed.";
    MarshallingError = -5, "The request could not be decoded.";
    Unimplemented = -6, "Unknown operation, or one that is switched off.";
    BadArguments = -8, "Bad path, flags or ttl.";
    UnknownSession = -12, "A standalone server does not know the session.";
    NewConfigNoQuorum = -13, "Reconfiguration without a connected quorum.";
    ReconfigInProgress = -14, "Another reconfiguration is under way.";
    NoNode = -101, "The znode does not exist.";
    NoAuth = -102, "The caller lacks the permission.";
    BadVersion = -103, "The expected version is not the current one.";
    NoChildrenForEphemerals = -108, "An ephemeral znode has no children.";
    NodeExists = -110, "The znode exists.";
    NotEmpty = -111, "The znode has children.";
    SessionExpired = -112, "The session has expired or is closing.";
    InvalidAcl = -114, "The ACL is malformed or empty.";
    AuthFailed = -115, "Authentication failed; the connection closes.";
    SessionMoved = -118, "The session belongs to another connection; never sent, the connection closes.";
    NotReadOnly = -119, "A write on a read-only server.";
    EphemeralOnLocalSession = -120, "A local session cannot own ephemerals.";
    NoWatcher = -121, "No such watch.";
    ReconfigDisabled = -123, "reconfigEnabled is off.";
    SessionClosedRequireSaslAuth = -124, "The server requires an authentication that the client has not done.";
    QuotaExceeded = -125, "A hard quota would be exceeded.";
    ThrottledOp = -127, "The request waited too long and was refused.";
}

impl Code {
    /// The number on the wire.
    pub fn as_i32(self) -> i32 {
        self as i32
    }
}
