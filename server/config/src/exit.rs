//! The statuses with which the process ends: ZooKeeper's, and those of our own that ZooKeeper has no number for.

/// Why the process ended. The discriminant is the exit status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ExitStatus {
    /// The server was told to stop, and did.
    Finished = 0,
    /// Something unforeseen.
    UnexpectedError = 1,
    /// Arguments or configuration that cannot be right.
    InvalidInvocation = 2,
    /// The data or log directory cannot be used: missing, locked, or damaged.
    UnableToAccessDataDir = 3,
    /// The admin endpoint did not start.
    ErrorStartingAdminServer = 4,
    /// A snapshot could not be written.
    ErrorTakingSnapshot = 10,
    /// Another member's packet cannot be right, or the log could not be cut back to what the leader has.
    QuorumPacketError = 13,
    /// A port for other members could not be taken.
    UnableToBindQuorumPort = 14,
    /// Ours (`EX_IOERR`): a write or sync of the transaction log failed, so that nothing after it can be trusted.
    LogFailed = 74,
}

impl From<ExitStatus> for std::process::ExitCode {
    fn from(status: ExitStatus) -> Self {
        (status as u8).into()
    }
}
