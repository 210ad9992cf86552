//! What a client's session is where sessions may be local (client-protocol.md §18): known to one member only, until it wants an ephemeral
//! and may have it.
//!
//! Judged is the invariant LocalSessions: no transaction makes or ends a local session, no other member takes it up, its own forgets it for no reason
//! but silence and a change of its role; it becomes the ensemble's with its first ephemeral, neither earlier nor later, or never.
//! Kept out: sessions of the ensemble, which must live on wherever their client goes.

use member::LocalSessions;

use crate::agenda::{MS, Micros};
use crate::ledger::{Held, Ledger, hex, hold};
use crate::wire::Ask;

const INVARIANT: &str = "LocalSessions";
/// What a local session is answered that may not have ephemerals.
const EPHEMERAL_ON_LOCAL_SESSION: i32 = -120;

/// See the module's page.
#[derive(Default)]
pub struct Standing {
    mode: LocalSessions,
    session: i64,
    /// Whose session it is while it is local, and that member's role when it was asked for it.
    home: (usize, u64),
    /// An ephemeral was asked for.
    asked: bool,
    /// Its end was asked for.
    closing: bool,
    /// When what was answered last had been sent: the member has heard of the client since.
    spoke: Micros,
    /// When an answer came last.
    answered_at: Micros,
    /// When answers came again after a silence that a leader may have taken for the end of the session.
    doubted: Option<Micros>,
    /// The role of the member that was said hello to.
    pub hailed: u64,
    /// Sessions that began as local ones.
    pub began: u64,
    /// Of these, how many became the ensemble's.
    pub upgraded: u64,
    is_the_ensembles: bool,
}

impl Standing {
    /// Of a client in an ensemble with such sessions.
    pub fn new(mode: LocalSessions) -> Standing {
        Standing { mode, ..Standing::default() }
    }

    /// Is the session local, as far as was delivered?
    pub fn is_local(&self, ledger: &Ledger) -> bool {
        self.mode != LocalSessions::Off && !ledger.was_opened(self.session)
    }

    /// A member has welcomed who said hello at `sent`.
    pub fn welcomed(&mut self, now: Micros, sent: Micros) {
        (self.answered_at, self.spoke, self.doubted) = (now, sent, None);
    }

    /// A member has answered what was sent at `sent`. `patience`: how long a leader surely waits.
    pub fn hears(&mut self, now: Micros, sent: Micros, patience: Micros) {
        if now - self.answered_at >= patience {
            self.doubted = Some(now);
        }
        self.answered_at = now;
        self.spoke = self.spoke.max(sent);
    }

    /// A request goes out.
    pub fn asks(&mut self, ask: &Ask) {
        self.asked |= ask.wants_ephemeral();
        self.closing |= *ask == Ask::Close;
    }

    /// A member that serves has given a new session.
    pub fn begins(&mut self, me: &str, session: i64, member: usize, ledger: &Ledger) -> Held {
        let known = ledger.was_opened(session);
        self.session = session;
        self.home = (member, self.hailed);
        (self.asked, self.closing) = (false, false);
        self.is_the_ensembles = self.mode == LocalSessions::Off;
        if self.mode == LocalSessions::Off {
            return hold(known, "WritesAreFinal", || {
                format!("{me}: welcomed to session {session:#x}, which nobody delivered")
            });
        }
        self.began += 1;
        hold(!known && (session >> 56) as usize == member + 1, INVARIANT, || {
            format!("{me}: welcomed to session {session:#x}, which is to be local: delivered: {known}")
        })
    }

    /// A member has taken the session up.
    pub fn goes_on(&self, me: &str, member: usize, ledger: &Ledger) -> Held {
        let known = ledger.was_opened(self.session);
        hold(known || self.mode != LocalSessions::Off, "WritesAreFinal", || {
            format!("{me}: welcomed to session {:#x}, which nobody delivered", self.session)
        })?;
        // A leader that is asked knows of an upgrade before it is final, as Java's does.
        hold(known || member == self.home.0 || self.asked, INVARIANT, || {
            let home = self.home.0 + 1;
            format!("{me}: takes up session {:#x}, which only node {home} may know", self.session)
        })
    }

    /// A member does not know the session (any more). `slack`: how late a leader may hear of clients of other members.
    pub fn refused(
        &self,
        me: &str,
        at: (usize, u64),
        (now, timeout_ms): (Micros, i32),
        slack: Micros,
        ledger: &Ledger,
    ) -> Held {
        let timeout = timeout_ms as Micros * MS;
        let silent = now - self.spoke;
        if self.closing {
            return Ok(());
        }
        if self.is_local(ledger) {
            let forgotten = at == self.home && silent < timeout;
            return hold(!forgotten, INVARIANT, || {
                format!("{me}: has forgotten its own session {:#x}, heard of {} ms ago", self.session, silent / MS)
            });
        }
        // What was sent in time may have come late, and the leader has ended the session by then; its member hears of that later.
        let doubted = self.doubted.is_some_and(|again| now - again < timeout);
        hold(silent + slack >= timeout || doubted, "SessionsLive", || {
            format!("{me}: session {:#x} of {timeout_ms} ms is gone after {} ms", self.session, silent / MS)
        })
    }

    /// A request was answered.
    pub fn answered(&mut self, me: &str, ask: &Ask, err: i32, zxid: i64, ledger: &Ledger) -> Held {
        if self.mode == LocalSessions::Off {
            return Ok(());
        }
        let known = ledger.was_opened(self.session);
        if known && !self.is_the_ensembles {
            self.is_the_ensembles = true;
            self.upgraded += 1;
        }
        let may = self.mode == LocalSessions::Upgraded && self.asked;
        hold(!known || may, INVARIANT, || {
            format!("{me}: {ask:?} at {}: session {:#x} was to stay local", hex(zxid), self.session)
        })?;
        if !ask.wants_ephemeral() {
            return Ok(());
        }
        if self.mode == LocalSessions::Upgraded {
            return hold(known, INVARIANT, || {
                format!("{me}: {ask:?} at {}: session {:#x} is local still", hex(zxid), self.session)
            });
        }
        let refused = err == EPHEMERAL_ON_LOCAL_SESSION || err != 0 && matches!(ask, Ask::Multi(_));
        hold(refused, INVARIANT, || format!("{me}: {ask:?} of a local session is answered {err} at {}", hex(zxid)))
    }

    /// The session was refused an ephemeral here, whatever the transaction says.
    pub fn refuses(&self, ask: &Ask, err: i32) -> bool {
        self.mode == LocalSessions::On && ask.wants_ephemeral() && err == EPHEMERAL_ON_LOCAL_SESSION
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agenda::SECOND;
    use crate::membership::Membership;

    const TIMEOUT_MS: i32 = 4_000;
    const SLACK: Micros = SECOND;

    /// The session is refused at `now`, having been answered at each of these times what was sent at the other.
    fn refused(answers: &[(Micros, Micros)], now: Micros) -> bool {
        let ledger = Ledger::new(3, Membership::default());
        let mut standing = Standing::new(LocalSessions::Off);
        standing.welcomed(SECOND, SECOND);
        let patience = TIMEOUT_MS as Micros * MS - SLACK;
        answers.iter().for_each(|(at, sent)| standing.hears(*at, *sent, patience));
        standing.refused("a client", (0, 0), (now, TIMEOUT_MS), SLACK, &ledger).is_ok()
    }

    #[test]
    fn a_session_that_is_heard_of_is_not_gone() {
        assert!(!refused(&[], 3 * SECOND));
        assert!(refused(&[], 4 * SECOND));
        assert!(!refused(&[(2 * SECOND, 2 * SECOND), (4 * SECOND, 4 * SECOND)], 6 * SECOND));
    }

    /// Seed 152922: what was sent in between came late, and the leader had waited long enough.
    #[test]
    fn a_session_may_be_gone_although_it_is_heard_of_again() {
        let late = [(5 * SECOND, 2 * SECOND), (5 * SECOND, 4 * SECOND)];
        assert!(refused(&late, 6 * SECOND));
        let in_time = [(3 * SECOND, 2 * SECOND), (5 * SECOND, 4 * SECOND)];
        assert!(!refused(&in_time, 6 * SECOND));
        // And it was not ended then.
        let goes_on = [(5 * SECOND, 4 * SECOND), (7 * SECOND, 7 * SECOND), (9 * SECOND, 9 * SECOND)];
        assert!(!refused(&goes_on, 10 * SECOND));
    }
}
