//! What the ensemble's state machines ask of the world, and the names that they use for it.

use proto::Sid;

/// A connection to a peer. The acting side gives out the numbers and uses none twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct LinkId(pub u64);

/// A connection that is being made: answered by a link, or by a failure.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Ticket(pub u64);

/// A question to the oracle of an ensemble of two. Numbers are used once; only the newest question's answer counts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Inquiry(pub u64);

/// Which of a member's ports.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Port {
    /// Fast leader election.
    Election,
    /// ZAB: learners connect to the leader.
    Quorum,
    /// ZAB: observers connect to a follower (`observerMasterPort`).
    Observers,
}

/// Where a peer listens, as the configuration says it: a name or an address, resolved anew for each attempt.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct HostPort {
    /// Name or address, an IPv6 address without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

/// What the world must do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Effect {
    /// Connect to the first of these addresses that answers, within `timeout_ms` all in all; then report the link or the failure
    /// under this ticket.
    Connect {
        /// Names the attempt.
        ticket: Ticket,
        /// Whom it leads to, for messages.
        peer: Sid,
        /// Which of its ports.
        port: Port,
        /// Where that is.
        addresses: Vec<HostPort>,
        /// For resolving and connecting together.
        timeout_ms: i64,
    },
    /// Nobody waits for this attempt any more. Its end need not be reported, and is ignored if it is.
    Forget(Ticket),
    /// Send these bytes after all that were sent on this link before, in one piece where that can be.
    Send {
        /// On which link.
        link: LinkId,
        /// What.
        bytes: Vec<u8>,
    },
    /// Send what was handed over before, then close; nothing that comes from this link is reported any more, not even its end.
    Close(LinkId),
    /// Accept observers at these places from now on, and nowhere else; with none of them, nowhere. The election port and the quorum port
    /// are always open, and are none of these.
    Listen(Vec<HostPort>),
    /// Ask the oracle whether this member may do without the other of two voters, and report its answer under this number. It must be read
    /// after this was asked; what cannot be read is a no.
    AskOracle(Inquiry),
}
