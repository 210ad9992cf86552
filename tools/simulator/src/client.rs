//! A client: one session at a time, over connections to one member after another, as ZooKeeper's own client does it; and the judge of all
//! that it is told.
//!
//! It keeps what it asked, what it was answered and which watches it has armed, and compares with the ledger:
//!
//! | invariant | what is compared |
//! |---|---|
//! | SessionFifo | answers come once, in the order of the requests; zxids of answers never fall |
//! | MonotonicRead | no answer, over all connections of the session, shows less than an earlier one |
//! | ReadsAreTrue | an answer to a read is what the model has at the answer's zxid |
//! | WritesAreFinal | an answer to a write names the transaction that it became, with its result |
//! | RealTimeOrder | a write that was sent after another was answered comes behind it |
//! | SyncIsFresh | what is answered behind a sync has all that was answered anywhere before the sync was sent, in this epoch |
//! | SessionsLive | a session lives on until it is closed or expires; a read-only server ends none, and takes no writes |
//! | WatchesInOrder | the events that are due, in order, before any answer that shows their changes, and no others ([`crate::watching`]) |
//! | RightsHold | a write is refused for its identity exactly if the ACL says so; reads and events likewise ([`crate::rights`]) |
//! | LocalSessions | what a session may be that only one member knows ([`crate::standing`]) |

use std::collections::{BTreeMap, VecDeque};

use member::LocalSessions;
use proto::SessionId;
use proto::acl::perms;
use proto::stat::Owner;

use crate::agenda::{MS, Micros};
use crate::dice::Dice;
use crate::ledger::{self, Held, Ledger, hex, hold};
use crate::membership::Change;
use crate::network::End;
use crate::rights::{self, Rights};
use crate::standing::Standing;
use crate::watching::Watching;
use crate::wire::{self, Ask, Data, Frame, Shown, Welcome};
use tree::model::State;

/// What a server without a leader says to whoever wants to change something.
const NOT_READ_ONLY: i32 = -119;
const NO_NODE: i32 = -101;
const NO_AUTH: i32 = -102;
/// Never answered.
const NO_SUCH_READ: i32 = i32::MIN;

/// So many watches that go on has a client at most.
const LASTING_MAX: usize = 4;

/// What a client wants done.
#[derive(Debug)]
pub enum Want {
    /// Connect to this member.
    Connect(usize),
    /// Send on the connection.
    Send(End, Vec<u8>),
    /// Close it.
    Close(End),
    /// Wake up after so long.
    Wake(Micros),
}

struct Asked {
    xid: i32,
    ask: Ask,
    at: Micros,
    /// The greatest zxid that anybody had been answered when it was sent.
    floor: i64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Link {
    Apart,
    Connecting,
    /// Connected, waits for its welcome.
    Hailing(End),
    Ready(End),
}

/// What a client does.
#[derive(Clone, Debug)]
pub struct ClientSettings {
    /// Wanted session timeout.
    pub timeout_ms: i32,
    /// Requests under way at once.
    pub depth: usize,
    /// Pause between rounds, at most.
    pub think: Micros,
    /// Members that serve clients.
    pub members: usize,
    /// Paths at each level.
    pub names: u64,
}

/// What a client does in some runs and not in others.
#[derive(Clone, Debug, Default)]
pub struct Habits {
    /// It sets watches that do not end with their first event.
    pub lasting_watches: bool,
    /// It sets ACLs, and may say who it is: one of so many.
    pub rights: bool,
    /// The first one is an operator's, and may do everything.
    pub operator: bool,
    /// New sessions are known to one member only.
    pub local_sessions: LocalSessions,
}

/// See the module's page.
pub struct Client {
    id: usize,
    settings: ClientSettings,
    habits: Habits,
    rights: Rights,
    standing: Standing,
    watching: Watching,
    dice: Dice,
    link: Link,
    /// The member that it is, or was last, connected to.
    pub member: usize,
    since: Micros,
    heard: Micros,
    pinged: Micros,
    session: i64,
    password: Vec<u8>,
    timeout_ms: i32,
    next_xid: i32,
    asked: VecDeque<Asked>,
    last_zxid: i64,
    undecoded: Vec<u8>,
    next_wake: Micros,
    /// It is with a server without a leader, in a session that is nobody else's, and has a look around.
    glancing: bool,
    /// Sends nothing new any more, but stays.
    pub idle: bool,
    /// Says nothing any more, not even pings: its sessions must end.
    pub mute: bool,
    /// Sessions that were told to be gone, while calm.
    pub expired: u64,
    /// Writes that were answered.
    pub writes: u64,
    /// Reads that were answered.
    pub reads: u64,
    /// Events that came.
    pub events: u64,
    /// Reads that a server without a leader answered.
    pub glances: u64,
    /// When the last write was answered with success.
    pub wrote_at: Micros,
    wants: Vec<Want>,
    /// Readable lines for a trace.
    pub said: Vec<String>,
    /// Are lines wanted?
    pub tracing: bool,
    serial: u64,
}

/// What all clients know together.
#[derive(Default)]
pub struct Common {
    /// The greatest zxid that was answered to anybody.
    pub answered: i64,
    /// Sessions of which members said that they do not exist, when they did.
    pub refused: Vec<i64>,
    /// How late a leader may hear that a member has heard from a client.
    pub slack: Micros,
    /// A number for each member that grows with each change of what it is.
    pub roles: Vec<u64>,
    /// Answers to reconfigurations, by their errors.
    pub reconfigurations: BTreeMap<i32, u64>,
}

impl Common {
    fn role(&self, member: usize) -> u64 {
        self.roles.get(member).copied().unwrap_or(0)
    }

    /// A reconfiguration is answered: it made of what was in force what was asked for, or there was a reason.
    fn reconfigured(
        &mut self,
        me: &str,
        (change, by): (&Change, &Rights),
        zxid: i64,
        (err, body): (i32, &[u8]),
        ledger: &Ledger,
    ) -> Held {
        *self.reconfigurations.entry(err).or_default() += 1;
        let (before, now) = (ledger.view_at(zxid - 1).1, ledger.view_at(zxid).1);
        let expected = change.of(&before.members);
        let fine = match err {
            0 => {
                let shown = wire::shown(&Ask::Get(String::new(), false), body);
                let text = matches!(shown, Ok(Shown::Data(Some(data), _)) if data.0 == now.text.as_bytes());
                text && now.version == zxid && now.members == expected && by.is_operator()
            }
            // Too few would vote; another version; one is under way; too few of the new ones are there.
            -8 => expected.values().filter(|votes| **votes).count() < 2,
            -103 => change.from != -1,
            -14 | -13 => true,
            -102 => !by.is_operator(),
            // It is done by a leader, and there was none any more; or the session ended.
            -6 | -4 | -112 | -118 => true,
            _ => false,
        };
        hold(fine, "ConfigurationsAreSound", || {
            format!("{me}: {change:?} of {before:?} is answered {err} at {}, and {now:?} is in force", hex(zxid))
        })
    }
}

impl Client {
    /// A client without a session.
    pub fn new(id: usize, settings: ClientSettings, dice: Dice) -> Client {
        let member = dice.below(settings.members as u64) as usize;
        Client {
            id,
            dice,
            link: Link::Apart,
            member,
            since: 0,
            heard: 0,
            pinged: 0,
            session: 0,
            password: vec![0; 16],
            timeout_ms: settings.timeout_ms,
            settings,
            habits: Habits::default(),
            rights: Rights::default(),
            standing: Standing::default(),
            watching: Watching::default(),
            next_xid: 1,
            asked: VecDeque::new(),
            last_zxid: 0,
            undecoded: Vec::new(),
            next_wake: 0,
            glancing: false,
            idle: false,
            mute: false,
            expired: 0,
            writes: 0,
            reads: 0,
            events: 0,
            glances: 0,
            wrote_at: 0,
            wants: Vec::new(),
            said: Vec::new(),
            tracing: false,
            serial: 0,
        }
    }

    /// Gives it habits, before it does anything.
    pub fn with(mut self, habits: Habits) -> Client {
        // One in three says nothing of itself.
        let user = habits.rights.then_some(self.id % 3).filter(|user| *user < 2);
        self.rights = if habits.operator && self.id == 0 { Rights::of_operator() } else { Rights::of(user) };
        self.standing = Standing::new(habits.local_sessions);
        self.habits = habits;
        self
    }

    /// Events of watches that go on, sessions that began as local ones, and how many of these became the ensemble's.
    pub fn told_of(&self) -> [u64; 3] {
        [self.watching.lasting_events, self.standing.began, self.standing.upgraded]
    }

    /// What it wants done, in order.
    pub fn take_wants(&mut self) -> Vec<Want> {
        std::mem::take(&mut self.wants)
    }

    /// Its session, or 0.
    pub fn session(&self) -> i64 {
        self.session
    }

    /// Is it connected, with a session?
    pub fn is_ready(&self) -> bool {
        matches!(self.link, Link::Ready(_))
    }

    /// One line for the view.
    pub fn describe(&self) -> String {
        let to = self.member + 1;
        let link = match self.link {
            Link::Apart => "apart".to_owned(),
            Link::Connecting => format!("connecting to {to}"),
            Link::Hailing(_) => format!("hailing {to}"),
            Link::Ready(_) => format!("at {to}"),
        };
        let (asked, armed) = (self.asked.len(), self.watching.count());
        format!("{link}, session {:#x}, {asked} asked, {armed} watches, saw {}", self.session, hex(self.last_zxid))
    }

    fn say(&mut self, line: impl FnOnce() -> String) {
        if self.tracing {
            self.said.push(line());
        }
    }

    fn wake_after(&mut self, after: Micros, now: Micros) {
        self.next_wake = now + after;
        self.wants.push(Want::Wake(after));
    }

    /// Time passes.
    pub fn wake(&mut self, now: Micros, common: &Common) {
        if now < self.next_wake {
            return;
        }
        if self.mute {
            return;
        }
        let timeout = self.timeout_ms as Micros * MS;
        let silent = match self.link {
            Link::Apart => {
                self.go(now);
                false
            }
            Link::Connecting => now > self.since + timeout / 2,
            Link::Hailing(_) => now > self.since + timeout * 2 / 3,
            Link::Ready(_) => now > self.heard + timeout * 2 / 3,
        };
        if silent {
            self.leave(now);
        }
        let mut pause = 100 * MS;
        if let Link::Ready(end) = self.link {
            if now > self.pinged.max(self.heard.min(self.pinged)) + timeout / 3 {
                self.pinged = now;
                self.send(end, -2, Ask::Ping, now, common);
            }
            if !self.idle && !self.glancing {
                let free = self.settings.depth.saturating_sub(self.asked.len());
                // An answer wakes it up when nothing is free.
                if free > 0 {
                    for _ in 0..1 + self.dice.below(free as u64) {
                        let ask = self.compose();
                        self.ask(end, ask, now, common);
                    }
                    pause = 1 + self.dice.below(self.settings.think);
                }
            }
        }
        self.wake_after(pause, now);
    }

    fn go(&mut self, now: Micros) {
        let others = self.settings.members as u64;
        // A local session is to be had again only where it is known.
        if self.habits.local_sessions == LocalSessions::Off || self.session == 0 || self.dice.once_in(2) {
            self.member = self.dice.below(others) as usize;
        }
        self.link = Link::Connecting;
        self.since = now;
        self.wants.push(Want::Connect(self.member));
    }

    /// Gives up the connection; what was asked has an unknown end.
    pub fn leave(&mut self, now: Micros) {
        if let Link::Hailing(end) | Link::Ready(end) = self.link {
            self.wants.push(Want::Close(end));
        }
        self.apart(now);
    }

    fn apart(&mut self, now: Micros) {
        self.link = Link::Apart;
        self.glancing = false;
        self.asked.clear();
        self.undecoded.clear();
        self.watching.apart();
        if !self.mute {
            let pause = self.dice.between(MS, 100 * MS);
            self.wake_after(pause, now);
        }
    }

    /// The connection that it wanted is there. False: it does not want it any more.
    pub fn connected(&mut self, end: End, now: Micros, common: &Common) -> bool {
        if self.link != Link::Connecting || self.mute {
            return false;
        }
        self.link = Link::Hailing(end);
        self.since = now;
        self.undecoded.clear();
        self.standing.hailed = common.role(self.member);
        let hello = wire::hello(self.last_zxid, self.settings.timeout_ms, self.session, &self.password);
        self.wants.push(Want::Send(end, hello));
        true
    }

    /// It is not to be had.
    pub fn connect_failed(&mut self, now: Micros) {
        if self.link == Link::Connecting {
            self.apart(now);
        }
    }

    /// The connection is over.
    pub fn closed(&mut self, end: End, now: Micros) {
        if self.link == Link::Hailing(end) || self.link == Link::Ready(end) {
            self.say(|| "connection lost".to_owned());
            self.apart(now);
        }
    }

    /// Falls silent for ever.
    pub fn fall_mute(&mut self) {
        self.mute = true;
        if let Link::Hailing(end) | Link::Ready(end) = self.link {
            self.wants.push(Want::Close(end));
        }
        self.link = Link::Apart;
        self.asked.clear();
    }

    // --- asking

    fn path(&self) -> String {
        let names = self.settings.names;
        let depth = 1 + self.dice.below(2);
        (0..depth).map(|_| format!("/n{}", self.dice.below(names))).collect()
    }

    fn data(&mut self) -> Data {
        self.serial += 1;
        let length = if self.dice.once_in(40) { self.dice.below(3_000) } else { self.dice.below(60) };
        let mut data = format!("c{}-{}:", self.id, self.serial).into_bytes();
        data.resize(data.len() + length as usize, b'x');
        Data(data)
    }

    fn version(&self) -> i32 {
        if self.dice.once_in(4) { self.dice.below(3) as i32 } else { -1 }
    }

    fn compose(&mut self) -> Ask {
        if self.dice.once_in(7) {
            return self.compose_seldom();
        }
        let path = self.path();
        let watch = self.dice.once_in(3);
        match self.dice.below(34) {
            0..=5 => Ask::Create(path, self.data(), 0),
            6..=8 => Ask::Create(path, self.data(), 1),
            9 => Ask::Create(format!("{path}-"), self.data(), 2),
            10 => Ask::Create(format!("{path}-"), self.data(), 3),
            11 => Ask::Create(path, self.data(), 4),
            12 => Ask::CreateTtl(path, 3_000),
            13..=15 => Ask::Delete(path, self.version()),
            16..=20 => Ask::Set(path, self.data(), self.version()),
            21 | 22 => {
                let count = 1 + self.dice.below(3);
                let members = (0..count).map(|_| self.member_of_multi()).collect();
                Ask::Multi(members)
            }
            23 => Ask::Sync(path),
            24..=27 => Ask::Get(path, watch),
            28..=30 => Ask::Exists(path, watch),
            31 if self.dice.once_in(12) => Ask::Close,
            _ => Ask::Children(if self.dice.once_in(3) { "/".to_owned() } else { path }, watch),
        }
    }

    /// What most clients do not do often.
    fn compose_seldom(&mut self) -> Ask {
        let path = self.path();
        let lasting = self.watching.lasting();
        match self.dice.below(12) {
            0 | 1 if self.habits.lasting_watches && lasting < LASTING_MAX => {
                let path = if self.dice.once_in(4) { "/".to_owned() } else { path };
                Ask::AddWatch(path, self.dice.below(2) as i32)
            }
            0..=3 if self.habits.lasting_watches => {
                let known = self.watching.lasting_path(self.dice.below(lasting.max(1) as u64));
                let path = known.map_or(path, str::to_owned);
                let kind = self.dice.between(1, 5) as i32;
                if self.dice.once_in(2) { Ask::CheckWatches(path, kind) } else { Ask::RemoveWatches(path, kind) }
            }
            0..=5 if self.habits.rights => Ask::SetAcl(path, rights::acl(self.dice.any()), self.version()),
            6 | 7 if self.habits.rights => Ask::GetAcl(path),
            8 | 9 => Ask::CountBelow(if self.dice.once_in(3) { "/".to_owned() } else { path }),
            10 => Ask::Ephemerals(if self.dice.once_in(2) { "/".to_owned() } else { path }),
            _ => {
                let count = self.dice.between(1, 4);
                let member = |_| {
                    let (path, data) = (self.path(), self.dice.once_in(2));
                    if data { Ask::Get(path, false) } else { Ask::Children(path, false) }
                };
                Ask::MultiRead((0..count).map(member).collect())
            }
        }
    }

    fn member_of_multi(&mut self) -> Ask {
        let path = self.path();
        match self.dice.below(5) {
            0 => Ask::Create(path, self.data(), 0),
            1 => Ask::Create(path, self.data(), 1),
            2 => Ask::Delete(path, -1),
            3 => Ask::Check(path, self.version()),
            _ => Ask::Set(path, self.data(), -1),
        }
    }

    fn ask(&mut self, end: End, ask: Ask, now: Micros, common: &Common) {
        let xid = self.next_xid;
        self.next_xid += 1;
        self.send(end, xid, ask, now, common);
    }

    fn send(&mut self, end: End, xid: i32, ask: Ask, now: Micros, common: &Common) {
        self.wants.push(Want::Send(end, ask.frame(xid)));
        self.say(|| format!("asks {xid}: {ask:?}"));
        self.standing.asks(&ask);
        self.asked.push_back(Asked { xid, ask, at: now, floor: common.answered });
    }

    /// An operator has it ask something. False: it cannot now.
    pub fn order(&mut self, ask: Ask, now: Micros, common: &Common) -> bool {
        let Link::Ready(end) = self.link else { return false };
        let can = !self.glancing && !self.idle && !self.mute;
        if can {
            self.ask(end, ask, now, common);
        }
        can
    }

    // --- being told

    /// Bytes came. Whatever they show is judged.
    pub fn received(&mut self, end: End, bytes: &[u8], now: Micros, ledger: &Ledger, common: &mut Common) -> Held {
        self.undecoded.extend_from_slice(bytes);
        while let Some(body) = wire::split(&mut self.undecoded) {
            self.heard = now;
            match self.link {
                Link::Hailing(at) if at == end => self.welcomed(end, &body, now, ledger, common)?,
                Link::Ready(at) if at == end => self.told(&body, now, ledger, common)?,
                _ => return Ok(()),
            }
        }
        Ok(())
    }

    fn welcomed(&mut self, end: End, body: &[u8], now: Micros, ledger: &Ledger, common: &mut Common) -> Held {
        let welcome = Welcome::decode(body);
        hold(welcome.is_ok(), "ShouldNotBeTriggered", || format!("client {}: no welcome: {body:?}", self.id))?;
        let Ok(welcome) = welcome else { return Ok(()) };
        if welcome.read_only {
            hold(self.session == 0 && welcome.session != 0, "SessionsLive", || {
                format!("client {}: a read-only server takes session {:#x} for {welcome:?}", self.id, self.session)
            })?;
            self.say(|| "has a look around, there is no leader".to_owned());
            self.link = Link::Ready(end);
            self.pinged = now;
            self.glancing = true;
            let path = self.path();
            for ask in [Ask::Create(path.clone(), self.data(), 1), Ask::Exists(path, false)] {
                self.ask(end, ask, now, common);
            }
            return Ok(());
        }
        if welcome.session == 0 {
            if ledger.is_open(self.session) {
                // It is being closed, or whoever was closing it has lost his leadership: then it expires.
                common.refused.push(self.session);
            }
            self.say(|| "session is gone".to_owned());
            hold(self.session != 0, "ShouldNotBeTriggered", || format!("client {}: no new session", self.id))?;
            let at = (self.member, common.role(self.member));
            self.standing.refused(&self.me(), at, (now, self.timeout_ms), common.slack, ledger)?;
            self.expired += 1;
            self.forget();
            self.wants.push(Want::Close(end));
            self.apart(now);
            return Ok(());
        }
        if self.session == 0 {
            self.standing.begins(&self.me(), welcome.session, self.member, ledger)?;
        } else {
            hold(self.session == welcome.session, "SessionsLive", || {
                format!("client {}: another session than asked for", self.id)
            })?;
            self.standing.goes_on(&self.me(), self.member, ledger)?;
        }
        self.session = welcome.session;
        self.password = welcome.password;
        self.timeout_ms = welcome.timeout_ms;
        self.standing.welcomed(now, self.since);
        self.link = Link::Ready(end);
        self.pinged = now;
        self.say(|| format!("welcome to session {:#x}", welcome.session));
        if let Some(ask) = self.rights.introduction() {
            self.send(end, -4, ask, now, common);
        }
        if let Some(ask) = self.watching.again(self.last_zxid) {
            self.send(end, -8, ask, now, common);
        }
        self.wake_after(1, now);
        Ok(())
    }

    fn forget(&mut self) {
        self.session = 0;
        self.password = vec![0; 16];
        self.watching.forget();
        self.next_xid = 1;
        // A new session may be opened at a member that is behind; ZooKeeper's client keeps what it saw, and so does this one.
    }

    fn told(&mut self, body: &[u8], now: Micros, ledger: &Ledger, common: &mut Common) -> Held {
        match Frame::decode(body) {
            Ok(Frame::Event(zxid, kind, path)) => {
                self.events += 1;
                self.say(|| format!("event {kind} {path} at {}", hex(zxid)));
                self.watching.event(&self.me(), (zxid, kind, path), ledger, &self.rights)
            }
            Ok(Frame::Reply(xid, zxid, err, body)) => self.reply(xid, zxid, err, &body, now, ledger, common),
            Err(error) => hold(false, "ShouldNotBeTriggered", || format!("client {}: {error:?} in {body:?}", self.id)),
        }
    }

    fn me(&self) -> String {
        format!("client {} at node {}", self.id, self.member + 1)
    }

    #[expect(clippy::too_many_arguments, reason = "a reply and who judges it")]
    fn reply(
        &mut self,
        xid: i32,
        zxid: i64,
        err: i32,
        body: &[u8],
        now: Micros,
        ledger: &Ledger,
        common: &mut Common,
    ) -> Held {
        let me = self.me();
        let expected = self.asked.front().map(|asked| asked.xid);
        hold(expected == Some(xid), "SessionFifo", || format!("{me}: answer {xid}, expected {expected:?}"))?;
        let asked = self.asked.pop_front().expect("it was there");
        if !self.idle && self.asked.len() + 1 >= self.settings.depth {
            let pause = 1 + self.dice.below(self.settings.think);
            if now + pause < self.next_wake {
                self.wake_after(pause, now);
            }
        }
        self.say(|| format!("answer {xid}: {err} at {}", hex(zxid)));
        let patience = (self.timeout_ms as Micros * MS).saturating_sub(common.slack);
        self.standing.hears(now, asked.at, patience);
        if matches!(asked.ask, Ask::Ping) {
            return Ok(());
        }
        if matches!(asked.ask, Ask::Auth(_)) {
            return hold(err == 0, "RightsHold", || format!("{me}: {:?} is answered {err}", asked.ask));
        }
        if self.glancing {
            // What it shows may be old, and after a restart may never become final: it is not compared, and binds nobody.
            hold(!asked.ask.is_write() || err == NOT_READ_ONLY, "SessionsLive", || {
                format!("{me}: a read-only server answers {err} to {:?}", asked.ask)
            })?;
            if self.asked.is_empty() {
                self.glances += 1;
                self.leave(now);
            }
            return Ok(());
        }
        hold(zxid >= self.last_zxid, "MonotonicRead", || {
            format!("{me}: answer to {:?} at {}, after {}", asked.ask, hex(zxid), hex(self.last_zxid))
        })?;
        if zxid > 0 {
            self.watching.answered(&me, zxid, ledger, &self.rights)?;
            self.last_zxid = zxid;
        }
        let outcome = wire::outcome(&asked.ask, err, body);
        hold(outcome.is_ok(), "ShouldNotBeTriggered", || format!("{me}: {:?}: {body:?}", asked.ask))?;
        let outcome = outcome.unwrap_or_default();
        self.standing.answered(&me, &asked.ask, outcome.0, zxid, ledger)?;
        if asked.ask == Ask::Close && self.standing.is_local(ledger) {
            // No transaction ends it.
            hold(err == 0, "LocalSessions", || format!("{me}: the end of a local session is answered {err}"))?;
            self.forget();
            self.leave(now);
            return Ok(());
        }
        if asked.ask.is_write() {
            self.judge_write(&me, &asked, zxid, outcome, ledger)?;
            if let Ask::Reconfig(change) = &asked.ask {
                common.reconfigured(&me, (change, &self.rights), zxid, (err, body), ledger)?;
            }
            self.writes += 1;
            if err == 0 {
                self.wrote_at = now;
            }
            common.answered = common.answered.max(zxid);
            if asked.ask == Ask::Close {
                self.forget();
                self.leave(now);
            }
            return Ok(());
        }
        self.reads += 1;
        if let Ask::Sync(_) = asked.ask {
            let same_epoch = asked.floor >> 32 == zxid >> 32;
            hold(!same_epoch || zxid >= asked.floor, "SyncIsFresh", || {
                format!("{me}: sync is answered at {}, and {} was answered before", hex(zxid), hex(asked.floor))
            })?;
            return Ok(());
        }
        if let Ask::SetWatches(..) = &asked.ask {
            hold(err == 0, "WatchesInOrder", || format!("{me}: {:?} is answered {err}", asked.ask))?;
            return self.watching.set_again(&me, &asked.ask, zxid, ledger);
        }
        common.answered = common.answered.max(zxid);
        self.judge_read(&me, &asked.ask, zxid, err, body, ledger)?;
        self.watching.arm(&me, &asked.ask, err)
    }

    fn judge_write(
        &self,
        me: &str,
        asked: &Asked,
        zxid: i64,
        (err, created): (i32, Vec<String>),
        ledger: &Ledger,
    ) -> Held {
        let Some(entry) = ledger.entry(zxid) else {
            return hold(false, "WritesAreFinal", || {
                format!("{me}: {:?} is answered at {}, which nobody delivered", asked.ask, hex(zxid))
            });
        };
        let (session, cxid) = (entry.header.session.0, entry.header.cxid.0);
        hold(session == self.session && cxid == asked.xid, "WritesAreFinal", || {
            format!(
                "{me}: request {} of {:#x} is answered at {}, which is request {cxid} of {session:#x}",
                asked.xid,
                self.session,
                hex(zxid)
            )
        })?;
        hold(err != 0 || created == entry.created, "WritesAreFinal", || {
            format!("{me}: {:?} made {created:?}, its transaction says {:?}", asked.ask, entry.created)
        })?;
        let refused_here = self.standing.refuses(&asked.ask, err) && entry.err != 0;
        hold(entry.err == err || refused_here, "WritesAreFinal", || {
            format!("{me}: {:?} is answered {err} at {}, its transaction says {}", asked.ask, hex(zxid), entry.err)
        })?;
        let before = ledger.model.at(proto::Zxid(zxid - 1));
        if let Some(allowed) = self.rights.allow(&asked.ask, before) {
            let holds = if allowed { err != NO_AUTH } else { err != 0 };
            hold(holds, "RightsHold", || {
                format!("{me}: {:?} is answered {err} at {}, allowed: {allowed}", asked.ask, hex(zxid))
            })?;
        }
        hold(zxid > asked.floor, "RealTimeOrder", || {
            format!(
                "{me}: {:?} became {}, and {} was answered before it was sent",
                asked.ask,
                hex(zxid),
                hex(asked.floor)
            )
        })
    }

    fn judge_read(&self, me: &str, ask: &Ask, zxid: i64, err: i32, body: &[u8], ledger: &Ledger) -> Held {
        let state = ledger.model.at(proto::Zxid(zxid));
        let expected = match ask {
            // Servers set it besides transactions, too.
            Ask::Get(path, false) if path == ledger::CONFIG => {
                let shown = wire::shown(ask, body);
                let data = if let Ok(Shown::Data(data, _)) = &shown { data.as_ref() } else { None };
                return ledger.configures(me, zxid, data.map(|data| &data.0[..]));
            }
            Ask::AddWatch(..) | Ask::CheckWatches(..) | Ask::RemoveWatches(..) => return Ok(()),
            Ask::MultiRead(members) => {
                let names = |shown| match shown {
                    Shown::Children(names, _) => Shown::Names(names),
                    other => other,
                };
                let members = members.iter().map(|member| self.expected(member, state, ledger).map(names));
                Ok(Shown::Each(members.collect()))
            }
            Ask::Ephemerals(prefix) => {
                let mine = |znode| ledger.model.owner(znode) == Owner::Session(SessionId(self.session));
                let begins = |path: &str| prefix == "/" || path.starts_with(prefix.as_str());
                let paths = state.znodes.iter().filter(|(path, znode)| begins(path) && mine(znode));
                Ok(Shown::Names(paths.map(|(path, _)| path.to_string()).collect()))
            }
            ask => self.expected(ask, state, ledger),
        };
        let shown = if err == 0 { wire::shown(ask, body).map(Ok) } else { Ok(Err(err)) };
        hold(shown.as_ref() == Ok(&expected), "ReadsAreTrue", || {
            format!("{me}: {ask:?} at {}: {shown:?}, the model has {expected:?}", hex(zxid))
        })
    }

    /// What a read of one znode shows in a state, or its error.
    fn expected(&self, ask: &Ask, state: &State, ledger: &Ledger) -> Result<Shown, i32> {
        let (Ask::Get(path, _)
        | Ask::Exists(path, _)
        | Ask::Children(path, _)
        | Ask::GetAcl(path)
        | Ask::CountBelow(path)) = ask
        else {
            return Err(NO_SUCH_READ);
        };
        let znode = state.znodes.get(path.as_str()).ok_or(NO_NODE)?;
        let wanted = if matches!(ask, Ask::GetAcl(_)) { perms::READ | perms::ADMIN } else { perms::READ };
        if !self.rights.may(&znode.acl, wanted) {
            return Err(NO_AUTH);
        }
        let stat = || state.stat(path, ledger.model.owner(znode)).expect("there is a znode");
        Ok(match ask {
            Ask::Get(..) => Shown::Data(znode.data.clone().map(Data), stat()),
            Ask::Children(..) => {
                let mut names: Vec<String> = state.children(path).into_iter().map(str::to_owned).collect();
                names.sort();
                Shown::Children(names, stat())
            }
            Ask::GetAcl(_) => Shown::Rights(self.rights.shown(&znode.acl), stat()),
            Ask::CountBelow(_) => Shown::Count(state.below(path).count() as i32),
            _ => Shown::Stat(stat()),
        })
    }
}
