//! A run: members, clients and network under one agenda, with faults, judged at every step.
//!
//! First faults strike, and only safety is judged. Then they end, everybody who may come back does, and what is left must come to life:
//! elect, commit and serve within a bound ([`Simulation::run`]).

mod operator;
mod reconfiguration;

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::Path;

use host::Disk;
use host::MemoryDisk;
use host::memory::{Names, SECTOR};
use pipeline::Now;
use proto::Millis;
use quorum::peer::{PeerState, Phase};

use self::operator::{Operator, Order};
use crate::agenda::{Agenda, MS, Micros, SECOND};
use crate::client::{Client, Common, Want};
use crate::dice::Dice;
use crate::java;
use crate::ledger::{Held, Ledger, Violation, hex, hold};
use crate::membership::Membership;
use crate::network::{End, Network, Place, Port, Report};
use crate::node::{Act, DiskFaults, Moved, Node, NodeSettings, Wake};
use crate::plan::{Fault, Plan};
use crate::sniff::{Conversation, Said, Sniffer, Speaker};
use crate::view::{LinkView, MemberView};

/// Machines' clocks when a run begins: monotonic, and what the wall clock is ahead.
const MONO_MS: i64 = 1_000_000;
const WALL_AHEAD_MS: i64 = 1_700_000_000_000;
/// A connection that nobody answers fails after so long, for clients.
const CLIENT_CONNECT: Micros = 1_000 * MS;
/// Steps of one run, at most.
const STEPS_MAX: u64 = 20_000_000;

/// What is on the agenda.
#[derive(Debug)]
enum Event {
    Node(usize, u64, Wake),
    Deliver(End),
    /// Somebody asks for a connection.
    Knock(Knock),
    /// Whoever asked hears of it.
    Connected(Asker, End),
    ConnectFailed(Asker),
    Client(usize),
    /// The next fault.
    Fault,
    /// A fault is over.
    Over(Cure),
    Boot(usize),
    /// The process of a machine goes on.
    Resume(usize, u64),
    Operator(Order),
}

#[derive(Clone, Copy, Debug)]
struct Knock {
    asker: Asker,
    to: usize,
    port: Port,
    until: Micros,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Asker {
    /// A member, in this life, under this ticket.
    Node(usize, u64, u64),
    Client(usize),
}

#[derive(Debug)]
enum Cure {
    Ways(Vec<(Place, Place)>),
    Weather,
    Capacity(usize),
    Speed(usize),
}

struct Machine {
    settings: NodeSettings,
    good_delay: (Micros, Micros),
    disk: MemoryDisk,
    faults: DiskFaults,
    node: Option<Box<Node>>,
    /// Grows with each start.
    life: u64,
    /// Does the machine answer at all?
    powered: bool,
    boot_due: bool,
    /// It is no member, and its operator has switched it off.
    retired: bool,
    /// What the wall clock is ahead of the monotonic one.
    wall_ahead: i64,
    /// What this machine's monotonic clock is ahead of the agenda's.
    mono_ahead: i64,
    paused: Option<Vec<Input>>,
    crash_after: Option<u64>,
    /// Where its leader has told it to go back to, until it serves.
    goes_back: Option<i64>,
    fresh: bool,
    /// Its disk is not what it was: it may refuse to start, or have lost something.
    rotten: bool,
    state: Option<PeerState>,
    epochs: (i64, i64),
}

impl Machine {
    /// Did somebody make its disk fail, or is it full? Then the process may end.
    fn is_excused(&self) -> bool {
        self.rotten
            || self.faults.struck() > 0
            || self.disk.free_bytes(Path::new("/")).is_ok_and(|free| free < u64::MAX)
    }
}

/// What waits for a process that stands still.
enum Input {
    Wake(Wake),
    Report(Port, Report),
    Accepted(Port, End),
    Connected(u64, End),
    ConnectFailed(u64),
}

/// What happened, in numbers.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// Faults that struck, by class.
    pub faults: BTreeMap<String, u64>,
    /// What operators did, by kind.
    pub operations: BTreeMap<&'static str, u64>,
    /// The longest time without an answer to a write in which only a rolling restart went on.
    pub outage: Micros,
    /// Events of the agenda.
    pub steps: u64,
    /// Transactions delivered.
    pub txns: u64,
    /// Writes answered.
    pub writes: u64,
    /// Reads answered.
    pub reads: u64,
    /// Events that clients got.
    pub events: u64,
    /// Of these, events of persistent and recursive watches.
    pub lasting_events: u64,
    /// Sessions that began as local ones.
    pub local_sessions: u64,
    /// Of these, how many became the ensemble's.
    pub upgrades: u64,
    /// Sessions at members without a leader in which something was read.
    pub glances: u64,
    /// Starts of processes.
    pub starts: u64,
    /// Histories that leaders have sent by DIFF, TRUNC and SNAP.
    pub syncs: [u64; 3],
    /// Reigns.
    pub reigns: u64,
    /// Runs with members that have Java's habits.
    pub java_seeds: u64,
    /// Reigns of such members.
    pub java_reigns: u64,
    /// What these habits have changed.
    pub java: java::Done,
    /// Virtual time.
    pub micros: Micros,
    /// From the end of the faults until everybody was served.
    pub recovery: Micros,
}

/// See the module's page.
pub struct Simulation {
    /// What it was made from.
    pub plan: Plan,
    agenda: Agenda<Event>,
    network: Network,
    machines: Vec<Machine>,
    clients: Vec<Client>,
    common: Common,
    talks: BTreeMap<u64, Conversation>,
    votes: BTreeMap<End, Sniffer>,
    syncs: [u64; 3],
    operator: Operator,
    /// What is judged against.
    pub ledger: Ledger,
    dice: Dice,
    counts: Counts,
    calm: bool,
    /// Readable lines, if wanted.
    pub trace: Option<Vec<String>>,
}

impl Simulation {
    /// The world of a plan, before anything happened.
    pub fn new(plan: Plan) -> Simulation {
        let dice = Dice::new(plan.seed, 0x0F0A);
        let network = Network::new(plan.weather.clone(), Dice::new(plan.seed, 0x2E7));
        let alone = || Membership { members: [(0, true)].into(), ..Membership::default() };
        let view = Membership::parse(&plan.view()).filter(|_| plan.machines() > 1).unwrap_or_else(alone);
        let mut ledger = Ledger::new(plan.machines(), view);
        ledger.local_sessions = plan.habits.local_sessions != member::LocalSessions::Off;
        let mut agenda = Agenda::default();
        let mut machines = Vec::new();
        for number in 0..plan.machines() {
            let spare = number >= plan.members();
            let settings = NodeSettings {
                sid: number as i64 + 1,
                shards: plan.shards,
                tick_ms: plan.tick_ms,
                snap_count: plan.snap_count,
                write_delay: plan.write_delay,
                view: plan.view(),
                proposed: None,
                reconfig: plan.operations.reconfigurations.is_some(),
                history_max: plan.history_max,
                init_limit: 10,
                sync_limit: 5,
                force_snapshot_sync: plan.force_snapshot_sync,
                leader_serves: plan.leader_serves,
                read_only_mode: plan.read_only_mode,
                local_sessions: plan.habits.local_sessions,
                java: plan.java.contains(&number),
                rollover_counter: plan.rollover_counter,
            };
            machines.push(Machine {
                good_delay: plan.write_delay,
                settings,
                disk: MemoryDisk::new(),
                faults: DiskFaults::default(),
                node: None,
                life: 0,
                powered: true,
                boot_due: !spare,
                retired: spare,
                wall_ahead: WALL_AHEAD_MS + dice.below(2_000) as i64,
                mono_ahead: MONO_MS + dice.below(5_000_000) as i64,
                paused: None,
                crash_after: None,
                goes_back: None,
                fresh: true,
                rotten: false,
                state: None,
                epochs: (0, 0),
            });
            agenda.at(dice.below(500) * MS, Event::Boot(number));
        }
        let clients = plan.clients.iter().enumerate();
        let clients: Vec<Client> = clients
            .map(|(id, settings)| {
                let dice = Dice::new(plan.seed, 0xC11E + id as u64);
                Client::new(id, settings.clone(), dice).with(plan.habits.clone())
            })
            .collect();
        for id in 0..clients.len() {
            agenda.at(dice.below(1_000) * MS, Event::Client(id));
        }
        agenda.at(plan.fault_pause, Event::Fault);
        let mut world = Simulation {
            common: Common { roles: vec![0; plan.machines()], slack: plan.slack(), ..Common::default() },
            plan,
            agenda,
            network,
            machines,
            clients,
            talks: BTreeMap::new(),
            votes: BTreeMap::new(),
            syncs: [0; 3],
            operator: Operator::default(),
            ledger,
            dice,
            counts: Counts::default(),
            calm: false,
            trace: None,
        };
        world.employ();
        world
    }

    /// The present.
    pub fn now(&self) -> Micros {
        self.agenda.now()
    }

    /// What happened until now.
    pub fn counts(&self) -> Counts {
        let mut counts = self.counts.clone();
        counts.txns = self.ledger.entries().len() as u64;
        counts.writes = self.clients.iter().map(|client| client.writes).sum();
        for (err, count) in &self.common.reconfigurations {
            let kind = if *err == 0 { "Reconfiguration" } else { "ReconfigurationRefused" };
            *counts.operations.entry(kind).or_default() += count;
        }
        counts.reads = self.clients.iter().map(|client| client.reads).sum();
        counts.events = self.clients.iter().map(|client| client.events).sum();
        counts.glances = self.clients.iter().map(|client| client.glances).sum();
        [counts.lasting_events, counts.local_sessions, counts.upgrades] = self.told_of();
        counts.micros = self.now();
        counts.java_seeds = u64::from(!self.plan.java.is_empty());
        counts.syncs = self.syncs;
        counts
    }

    /// Events of watches that go on, sessions that began as local ones, and how many of these became the ensemble's.
    pub fn told_of(&self) -> [u64; 3] {
        let all = self.clients.iter().map(Client::told_of);
        all.fold([0; 3], |sum, one| std::array::from_fn(|at| sum[at] + one[at]))
    }

    /// Lines are wanted from now on.
    pub fn trace(&mut self) {
        self.trace = Some(Vec::new());
        self.clients.iter_mut().for_each(|client| client.tracing = true);
    }

    fn say(&mut self, line: impl FnOnce() -> String) {
        let now = self.now();
        if let Some(lines) = &mut self.trace {
            lines.push(format!("{:>11.6} {}", now as f64 / SECOND as f64, line()));
        }
    }

    /// The whole run. Answers what does not hold, if anything.
    pub fn run(&mut self) -> Held {
        let end = self.plan.faults_end;
        self.until(end, |_| false)?;
        self.end_faults();
        let began = self.now();
        let bound = self.bound();
        self.say(|| "--- the faults have ended".to_owned());
        let alive = |world: &Simulation| {
            world.clients.iter().filter(|client| !client.mute).all(|client| client.wrote_at > began)
                && world.machines.iter().all(|machine| machine.node.is_some() || !machine.boot_due)
        };
        self.until(began + bound, alive)?;
        self.counts.recovery = self.now() - began;
        let late: Vec<String> = self
            .clients
            .iter()
            .filter(|client| !client.mute && client.wrote_at <= began)
            .map(|client| client.describe())
            .collect();
        hold(late.is_empty(), "Liveness", || {
            format!("{} ms after the faults ended, clients cannot write: {late:?}", bound / MS)
        })?;
        // A while of ordinary life.
        let more = self.now() + 2 * SECOND;
        self.until(more, |_| false)?;
        // Everybody falls silent, and all members come to the same end.
        self.clients.iter_mut().for_each(|client| client.idle = true);
        let bound = self.now() + self.bound();
        self.until(bound, |world| world.is_even() && !world.is_refused_open())?;
        hold(!self.is_refused_open(), "Liveness", || {
            format!("of sessions that were refused, {:x?} still exist", self.common.refused)
        })?;
        hold(self.is_even(), "Liveness", || {
            let at: Vec<String> = self.up().map(|node| hex(self.ledger.delivered_of(node))).collect();
            format!("members that live do not come to the same end: {at:?}")
        })?;
        self.go_by_one_view()
    }

    fn up(&self) -> impl Iterator<Item = usize> {
        (0..self.machines.len()).filter(|node| self.machines[*node].node.is_some())
    }

    fn is_even(&self) -> bool {
        let last = self.ledger.last();
        // Who leads an epoch in which nothing was written shows its first zxid, which names no transaction.
        let delivered = |node| self.ledger.last_before(self.ledger.delivered_of(node));
        // Who is no member any more may have been left behind.
        let mut members = self.up().filter(|node| self.is_member(*node));
        members.all(|node| delivered(node) == last && self.ledger.logged_of(node) <= last)
    }

    fn is_refused_open(&self) -> bool {
        self.common.refused.iter().any(|session| self.ledger.is_open(*session))
    }

    /// How long recovery may take.
    fn bound(&self) -> Micros {
        let tick = self.plan.tick_ms as Micros * MS;
        60 * SECOND + 40 * tick
    }

    fn until(&mut self, end: Micros, mut done: impl FnMut(&Simulation) -> bool) -> Held {
        while self.agenda.next_at().is_some_and(|at| at <= end) {
            self.step()?;
            if self.counts.steps.is_multiple_of(64) && done(self) {
                break;
            }
        }
        Ok(())
    }

    /// One event of the agenda. False: there is none.
    pub fn step(&mut self) -> Result<bool, Violation> {
        let Some(event) = self.agenda.take_next() else { return Ok(false) };
        self.counts.steps += 1;
        hold(self.counts.steps < STEPS_MAX, "Liveness", || "the run does not come to an end".to_owned())?;
        match event {
            Event::Node(node, life, wake) => {
                if self.is_life(node, life) {
                    self.hand(node, Input::Wake(wake))?;
                }
            }
            Event::Deliver(end) => self.deliver(end)?,
            Event::Knock(knock) => self.knock(knock)?,
            Event::Connected(asker, end) => match asker {
                Asker::Client(id) => {
                    let now = self.now();
                    let to = self.network.place(end.far());
                    let wanted = to == Some(Place::Node(self.clients[id].member));
                    if !wanted || !self.clients[id].connected(end, now, &self.common) {
                        self.close(end);
                    }
                    self.client_wants(id);
                }
                Asker::Node(node, life, ticket) => {
                    if self.is_life(node, life) {
                        self.hand(node, Input::Connected(ticket, end))?;
                    } else {
                        self.close(end);
                    }
                }
            },
            Event::ConnectFailed(asker) => match asker {
                Asker::Client(id) => {
                    let now = self.now();
                    self.clients[id].connect_failed(now);
                    self.client_wants(id);
                }
                Asker::Node(node, life, ticket) => {
                    if self.is_life(node, life) {
                        self.hand(node, Input::ConnectFailed(ticket))?;
                    }
                }
            },
            Event::Client(id) => {
                let now = self.now();
                self.clients[id].wake(now, &self.common);
                self.client_wants(id);
            }
            Event::Fault => {
                if !self.calm {
                    self.fault()?;
                    let pause = self.dice.between(10 * MS, self.plan.fault_pause);
                    self.agenda.after(pause, Event::Fault);
                }
            }
            Event::Over(cure) => self.cure(cure),
            Event::Operator(order) => self.operate(&order)?,
            Event::Boot(node) => self.boot(node)?,
            Event::Resume(node, life) => {
                if self.is_life(node, life) {
                    self.resume(node)?;
                }
            }
        }
        Ok(true)
    }

    fn is_life(&self, node: usize, life: u64) -> bool {
        self.machines[node].life == life && self.machines[node].node.is_some()
    }

    // --- the network

    fn deliver(&mut self, end: End) -> Held {
        let now = self.now();
        let lives: Vec<Option<u64>> = self.machines.iter().map(|m| m.powered.then_some(m.life)).collect();
        let life = |place: Place| match place {
            Place::Node(node) => lives[node],
            Place::Client(_) => Some(0),
        };
        let (reports, again) = self.network.deliver(end, now, life);
        if let Some(at) = again {
            self.agenda.at(at, Event::Deliver(end));
        }
        for (place, port, report) in reports {
            self.report(place, port, report)?;
        }
        Ok(())
    }

    fn report(&mut self, place: Place, port: Port, report: Report) -> Held {
        let (Report::Bytes(end, _) | Report::Closed(end) | Report::Drained(end, _)) = &report;
        let end = *end;
        match place {
            Place::Client(id) => {
                let now = self.now();
                match report {
                    Report::Bytes(_, bytes) => {
                        self.clients[id].received(end, &bytes, now, &self.ledger, &mut self.common)?;
                    }
                    Report::Closed(_) => self.clients[id].closed(end, now),
                    Report::Drained(..) => {}
                }
                self.client_wants(id);
            }
            Place::Node(node) => self.hand(node, Input::Report(port, report))?,
        }
        Ok(())
    }

    fn close(&mut self, end: End) {
        let now = self.now();
        if let Some(at) = self.network.close(end, now) {
            self.agenda.at(at, Event::Deliver(end));
        }
    }

    fn send(&mut self, end: End, bytes: Vec<u8>) {
        let now = self.now();
        if let Some(at) = self.network.send(end, bytes, now) {
            self.agenda.at(at, Event::Deliver(end));
        }
    }

    fn knock(&mut self, knock: Knock) -> Held {
        let now = self.now();
        let (from, life) = match knock.asker {
            Asker::Node(node, life, _) => (Place::Node(node), life),
            Asker::Client(id) => (Place::Client(id), 0),
        };
        if let Asker::Node(node, life, _) = knock.asker
            && !self.is_life(node, life)
        {
            return Ok(());
        }
        let to = Place::Node(knock.to);
        let machine = &self.machines[knock.to];
        let silent = !machine.powered || self.network.is_cut(from, to) || self.network.is_cut(to, from);
        let back = self.network.delay();
        if silent {
            // The first packet is sent again, further and further apart.
            let again = now + 200 * MS;
            if again >= knock.until {
                self.agenda.at(knock.until, Event::ConnectFailed(knock.asker));
            } else {
                self.agenda.at(again, Event::Knock(knock));
            }
        } else if machine.node.is_none() {
            self.agenda.after(back, Event::ConnectFailed(knock.asker));
        } else {
            let there = machine.life;
            let heard = now + back;
            let (asked, accepted) = self.network.connect(knock.port, [(from, life), (to, there)], heard);
            self.agenda.at(heard, Event::Connected(knock.asker, asked));
            self.hand(knock.to, Input::Accepted(knock.port, accepted))?;
        }
        Ok(())
    }

    fn client_wants(&mut self, id: usize) {
        for want in self.clients[id].take_wants() {
            match want {
                Want::Connect(member) => {
                    let until = self.now() + CLIENT_CONNECT;
                    let knock = Knock { asker: Asker::Client(id), to: member, port: Port::Client, until };
                    let delay = self.network.delay();
                    self.agenda.after(delay, Event::Knock(knock));
                }
                Want::Send(end, bytes) => self.send(end, bytes),
                Want::Close(end) => self.close(end),
                Want::Wake(after) => self.agenda.after(after, Event::Client(id)),
            }
        }
        for line in std::mem::take(&mut self.clients[id].said) {
            self.say(|| format!("client {id} {line}"));
        }
    }

    // --- members

    fn clock(&self, node: usize) -> Now {
        let machine = &self.machines[node];
        let mono = (self.now() / MS) as i64 + machine.mono_ahead;
        Now { wall: Millis(mono + machine.wall_ahead), mono: Millis(mono) }
    }

    fn boot(&mut self, node: usize) -> Held {
        if self.machines[node].node.is_some() || !self.machines[node].boot_due {
            return Ok(());
        }
        let (now, at) = (self.clock(node), self.now());
        let seed = self.dice.any();
        self.readmit(node);
        let machine = &mut self.machines[node];
        machine.powered = true;
        machine.life += 1;
        let fresh = std::mem::take(&mut machine.fresh);
        let started = Node::start(&machine.settings, &machine.disk, &machine.faults, seed, now, at);
        self.counts.starts += 1;
        self.common.roles[node] += 1;
        match started {
            Ok(started) => {
                let (last, snapshot) = (started.last().0, started.began_from().0);
                self.machines[node].node = Some(Box::new(started));
                self.say(|| format!("node {} starts, its log ends at {}", node + 1, hex(last)));
                self.ledger.started(node, last, snapshot, fresh)?;
                self.after_node(node, 0)
            }
            Err(error) => {
                self.say(|| format!("node {} cannot start: {error}", node + 1));
                // Only an injected fault or a full disk may do that, and only for now.
                let machine = &self.machines[node];
                let excused = machine.faults.struck() > 0
                    || machine.disk.free_bytes(std::path::Path::new("/")).is_ok_and(|free| free < u64::MAX);
                hold(excused || machine.rotten, "ShouldNotBeTriggered", || {
                    format!("node {} cannot start: {error}", node + 1)
                })?;
                self.machines[node].fresh = fresh;
                if self.machines[node].rotten && self.may_lose(node) {
                    // Whoever looks after it empties it.
                    self.replace_disk(node);
                    *self.counts.faults.entry("RotRefused".to_owned()).or_default() += 1;
                }
                let pause = self.dice.between(100 * MS, SECOND);
                self.agenda.after(pause, Event::Boot(node));
                Ok(())
            }
        }
    }

    fn hand(&mut self, node: usize, what: Input) -> Held {
        if let Some(held) = &mut self.machines[node].paused {
            held.push(what);
            return Ok(());
        }
        if self.trace.is_some() {
            self.say_input(node, &what);
        }
        let (now, at) = (self.clock(node), self.now());
        let machine = &mut self.machines[node];
        let Some(member) = machine.node.as_mut() else { return Ok(()) };
        let before = machine.disk.moments();
        member.set_now(now, at);
        match what {
            Input::Wake(wake) => member.wake(wake),
            Input::Accepted(Port::Client, end) => member.client_connected(end),
            Input::Report(Port::Client, Report::Bytes(end, bytes)) => member.client_received(end, &bytes),
            Input::Report(Port::Client, Report::Closed(end)) => member.client_closed(end),
            Input::Report(Port::Client, Report::Drained(..)) => {}
            Input::Accepted(port, end) => member.peer_accepted(port, end),
            Input::Connected(ticket, end) => member.peer_connected(ticket, end),
            Input::ConnectFailed(ticket) => member.peer_connect_failed(ticket),
            Input::Report(_, Report::Bytes(end, bytes)) => member.peer_received(end, &bytes),
            Input::Report(_, Report::Closed(end)) => member.peer_closed(end),
            Input::Report(_, Report::Drained(end, unsent)) => member.peer_drained(end, unsent),
        }
        self.after_node(node, before)
    }

    fn say_input(&mut self, node: usize, what: &Input) {
        let node = node + 1;
        let far = |end: End| match self.network.place(end.far()) {
            Some(Place::Node(far)) => format!("node {}", far + 1),
            Some(Place::Client(id)) => format!("client {id}"),
            None => "nobody".to_owned(),
        };
        let line = match what {
            Input::Accepted(port, end) => format!("node {node} accepts {port:?} link {} of {}", end.0, far(*end)),
            Input::Connected(_, end) => format!("node {node} has link {} to {}", end.0, far(*end)),
            Input::ConnectFailed(ticket) => format!("node {node} cannot connect under ticket {ticket}"),
            Input::Report(_, Report::Closed(end)) => format!("node {node} loses link {} of {}", end.0, far(*end)),
            _ => return,
        };
        self.say(|| line);
    }

    /// Carries out what a member wants, and looks at it. `before`: the disk's moment before the step.
    fn after_node(&mut self, node: usize, before: usize) -> Held {
        let Some(member) = self.machines[node].node.as_mut() else { return Ok(()) };
        let acts = member.take_acts();
        let end = self.machines[node].disk.moments();
        if self.machines[node].crash_after == Some(0) && end > before {
            // Between two changes of the disk within the step: nothing of it goes out.
            let moment = self.dice.between(before as u64, end as u64 - 1) as usize;
            let power = self.dice.once_in(2);
            self.observe(node, false)?;
            return self.crash(node, power, moment);
        }
        self.observe(node, true)?;
        for act in acts {
            if let Some(left) = &mut self.machines[node].crash_after {
                if *left == 0 {
                    let power = self.dice.once_in(2);
                    return self.crash(node, power, end);
                }
                *left -= 1;
            }
            match act {
                Act::Wake(after, wake) => {
                    let life = self.machines[node].life;
                    self.agenda.after(after, Event::Node(node, life, wake));
                }
                Act::Send(end, bytes) => {
                    self.listen(node, end, &bytes)?;
                    self.send(end, bytes);
                }
                Act::Close(end) => {
                    self.say(|| format!("node {} closes link {}", node + 1, end.0));
                    self.close(end);
                }
                Act::Keep(view, is_final) => self.keep(node, &view, is_final),
                Act::Connect(ticket, to, port, timeout) => {
                    let asker = Asker::Node(node, self.machines[node].life, ticket);
                    let knock = Knock { asker, to, port, until: self.now() + timeout };
                    let delay = self.network.delay();
                    self.agenda.after(delay, Event::Knock(knock));
                }
            }
        }
        let failed = self.machines[node].node.as_ref().and_then(|node| node.failed().map(str::to_owned));
        if let Some(why) = failed {
            let excused = self.machines[node].is_excused();
            self.say(|| format!("node {} ends: {why}", node + 1));
            hold(excused, "ShouldNotBeTriggered", || format!("node {} ends: {why}", node + 1))?;
            if let Some(to) = self.machines[node].goes_back.take() {
                // It may have gone some of the way.
                self.ledger.interrupted(node, to);
            }
            let end = self.machines[node].disk.moments();
            return self.crash(node, false, end);
        }
        self.machines[node].disk.forget();
        Ok(())
    }

    /// The worst that a power cut could do now leaves the epoch that a member speaks of.
    fn keeps_epoch(&self, node: usize, name: &str) -> Held {
        let machine = &self.machines[node];
        let said = if name == snapshot::epochs::ACCEPTED { machine.epochs.0 } else { machine.epochs.1 };
        let file = machine.disk.certain(&Path::new(crate::node::SNAPS).join(name));
        let kept = file.ok().and_then(|bytes| String::from_utf8_lossy(&bytes).trim().parse::<i64>().ok());
        hold(kept == Some(said), "ShouldNotBeTriggered", || {
            format!("node {} speaks of epoch {said}, and {name} would hold {kept:?} after a power cut", node + 1)
        })
    }

    /// What one member says to another is read along.
    fn listen(&mut self, node: usize, end: End, bytes: &[u8]) -> Held {
        let accepted = end.accepted();
        if self.network.port(end) == Some(Port::Election) {
            self.hears_of_heir(node, bytes)?;
        }
        let said = match self.network.port(end) {
            Some(Port::Quorum) => {
                let far = self.network.place(end.far());
                let java = |node: usize| self.machines[node].settings.java;
                let speaker = Speaker {
                    durable: self.ledger.durable_of(node),
                    epochs: self.machines[node].epochs,
                    java: java(node),
                    to_java: matches!(far, Some(Place::Node(far)) if java(far)),
                };
                self.talks.entry(end.connection()).or_default().hear(accepted, bytes, &speaker)
            }
            Some(Port::Election) if self.trace.is_some() => {
                self.votes.entry(end).or_insert_with(|| Sniffer::election(!accepted)).read(bytes)
            }
            _ => return Ok(()),
        };
        let to = match self.network.place(end.far()) {
            Some(Place::Node(to)) => to + 1,
            _ => 0,
        };
        match said {
            Ok(said) => {
                for one in &said {
                    match one {
                        Said::Packet(kind @ 13..=15, zxid, _) => {
                            self.syncs[*kind as usize - 13] += 1;
                            if let Some(Place::Node(learner)) = self.network.place(end.far()) {
                                self.machines[learner].goes_back = (*kind != 13).then_some(*zxid);
                            }
                        }
                        // What is said of epochs must be on the disk, whatever the member believes.
                        Said::Packet(18, ..) => self.keeps_epoch(node, snapshot::epochs::ACCEPTED)?,
                        Said::Packet(3, zxid, _) if zxid & 0xFFFF_FFFF == 0 => {
                            self.keeps_epoch(node, snapshot::epochs::CURRENT)?;
                        }
                        _ => {}
                    }
                }
                if self.trace.is_some() {
                    for one in said {
                        self.say(|| format!("node {} to {to}: {one}", node + 1));
                    }
                }
                Ok(())
            }
            Err(why) => hold(false, "ShouldNotBeTriggered", || format!("node {} says to {to} {why}", node + 1)),
        }
    }

    /// What a member shows after a step; or, if it did not live to the end of it, only what it tried.
    fn observe(&mut self, node: usize, whole: bool) -> Held {
        let Some(member) = self.machines[node].node.as_mut() else { return Ok(()) };
        let seen = member.take_seen();
        self.counts.java.add(seen.java);
        if self.plan.members() == 1 {
            for logged in seen.logged {
                self.ledger.logged(node, logged.zxid, logged.payload.clone())?;
                self.ledger.broadcast(node, logged.zxid, &logged.payload)?;
            }
        }
        // Whose snapshot it took it may have left within the step.
        let before = self.machines[node].state;
        let leader = seen.state.and_then(|state| state.leader).or(before.and_then(|state| state.leader));
        let leader = leader.map(|sid| sid.0 as usize - 1);
        for moved in seen.moved {
            match moved {
                // The disk is as it was at some moment of that; the start will show.
                Moved::Truncated(to) if !whole => {
                    self.ledger.interrupted(node, to.0);
                    return Ok(());
                }
                Moved::Rebased(first) if !whole => {
                    let before = self.ledger.last_of(leader, first.0).unwrap_or(first.0 - 1);
                    self.ledger.interrupted(node, before);
                    return Ok(());
                }
                Moved::Truncated(to) => self.ledger.truncated(node, to.0)?,
                Moved::Rebased(first) => self.ledger.rebased(node, leader, first.0)?,
                Moved::Logged(logged) => {
                    self.ledger.logged(node, logged.zxid, logged.payload.clone())?;
                    let own = seen.state.is_some_and(|state| {
                        state.phase == Phase::Leading && state.epoch == i64::from(logged.zxid.epoch())
                    });
                    if own {
                        self.ledger.broadcast(node, logged.zxid, &logged.payload)?;
                    }
                }
            }
        }
        if !whole {
            return Ok(());
        }
        if let Some(durable) = seen.durable {
            self.ledger.durable(node, durable);
        }
        self.machines[node].epochs = seen.epochs;
        let began = seen.state.is_some_and(|state| state.serving) && !self.serves(node);
        if let Some(state) = seen.state {
            self.state(node, state)?;
        }
        if let Some(shown) = seen.shown {
            self.ledger.delivers(node, shown.0)?;
            if (seen.ticked || began)
                && let Some(member) = &self.machines[node].node
            {
                member.trees().try_for_each(|tree| self.ledger.shows(node, tree, seen.ticked))?;
            }
        }
        Ok(())
    }

    fn state(&mut self, node: usize, state: PeerState) -> Held {
        let machine = &mut self.machines[node];
        let before = machine.state.replace(state);
        if before == Some(state) {
            return Ok(());
        }
        if state.serving {
            machine.goes_back = None;
        }
        self.common.roles[node] += 1;
        self.say(|| {
            let leader = state.leader.map_or("nobody".to_owned(), |sid| sid.to_string());
            let serving = if state.serving { ", serving" } else { "" };
            format!(
                "node {} is {:?} in {:?}{serving}, leader {leader}, epoch {}",
                node + 1,
                state.phase,
                state.zab,
                state.epoch
            )
        });
        if state.serving && state.phase == Phase::Leading {
            match before.filter(|before| before.serving && before.phase == Phase::Leading) {
                None => {
                    self.counts.reigns += 1;
                    self.reigns(node);
                    self.counts.java_reigns += u64::from(self.machines[node].settings.java);
                }
                Some(before) if before.epoch != state.epoch => {
                    *self.counts.operations.entry("NextEpoch").or_default() += 1;
                }
                Some(_) => {}
            }
            self.ledger.leads(node, state.epoch)?;
        }
        let leads = |machine: &Machine| machine.state.filter(|s| s.serving && s.phase == Phase::Leading);
        let leaders: Vec<(usize, i64)> = (0..self.machines.len())
            .filter(|at| self.machines[*at].node.is_some())
            .filter_map(|at| leads(&self.machines[at]).map(|state| (at, state.epoch)))
            .collect();
        self.ledger.leaders_now(&leaders)
    }

    /// The process ends; with `power`, the machine loses what it had not synced. The disk is as it was at `moment`.
    fn crash(&mut self, node: usize, power: bool, moment: usize) -> Held {
        let now = self.now();
        let pause = *self.dice.pick(&[30 * MS, 300 * MS, SECOND, 4 * SECOND]);
        let dice = &self.dice;
        let machine = &mut self.machines[node];
        machine.node = None;
        machine.state = None;
        machine.paused = None;
        machine.crash_after = None;
        machine.goes_back = None;
        machine.faults.set(None);
        machine.powered = !power;
        machine.disk = if power {
            let names = if dice.once_in(2) { Names::InOrder } else { Names::Any };
            let keep = *dice.pick(&[0, 1, 4, 7, 8]);
            machine.disk.cut(moment, names, &mut || dice.below(8) < keep)
        } else {
            machine.disk.killed_at(moment)
        };
        machine.boot_due = true;
        self.say(|| format!("node {} {}", node + 1, if power { "loses its power" } else { "is killed" }));
        for (end, at) in self.network.gone(Place::Node(node), power, now) {
            self.agenda.at(at, Event::Deliver(end));
        }
        let pause = self.dice.between(pause / 4, pause);
        self.agenda.after(pause, Event::Boot(node));
        Ok(())
    }

    fn resume(&mut self, node: usize) -> Held {
        let Some(held) = self.machines[node].paused.take() else { return Ok(()) };
        self.say(|| format!("node {} goes on", node + 1));
        let life = self.machines[node].life;
        for what in held {
            if self.is_life(node, life) {
                self.hand(node, what)?;
            }
        }
        Ok(())
    }

    // --- faults

    fn count(&mut self, fault: Fault) {
        *self.counts.faults.entry(format!("{fault:?}")).or_default() += 1;
    }

    fn fault(&mut self) -> Held {
        let total: u64 = self.plan.mix.0.iter().map(|(_, weight)| weight).sum();
        if total == 0 {
            return Ok(());
        }
        let mut at = self.dice.below(total);
        let mut fault = Fault::Kill;
        for (class, weight) in &self.plan.mix.0 {
            fault = *class;
            if at < *weight {
                break;
            }
            at -= weight;
        }
        self.strike(fault)
    }

    /// A fault strikes somebody, if it finds anybody.
    pub fn strike(&mut self, fault: Fault) -> Held {
        let members = self.machines.len();
        let node = self.dice.below(members as u64) as usize;
        let other = self.dice.below(members as u64) as usize;
        let while_ = *self.dice.pick(&[100 * MS, SECOND, 6 * SECOND]);
        let while_ = self.dice.between(while_ / 5, while_);
        let up = self.machines[node].node.is_some();
        self.say(|| format!("fault {fault:?}"));
        match fault {
            Fault::Kill | Fault::PowerCut => {
                if !up {
                    return Ok(());
                }
                let end = self.machines[node].disk.moments();
                self.count(fault);
                return self.crash(node, fault == Fault::PowerCut, end);
            }
            Fault::CrashAtEffect => {
                if !up {
                    return Ok(());
                }
                self.machines[node].crash_after = Some(self.dice.below(40));
            }
            Fault::Blackout => {
                let power = self.dice.once_in(2);
                for node in 0..members {
                    if self.machines[node].node.is_some() {
                        let end = self.machines[node].disk.moments();
                        self.crash(node, power, end)?;
                    }
                }
            }
            Fault::Pause => {
                if !up || self.machines[node].paused.is_some() {
                    return Ok(());
                }
                self.machines[node].paused = Some(Vec::new());
                let life = self.machines[node].life;
                self.agenda.after(while_, Event::Resume(node, life));
            }
            Fault::Isolate | Fault::Split | Fault::Bridge => {
                let side: Vec<bool> = match fault {
                    Fault::Isolate => (0..members).map(|at| at == node).collect(),
                    _ => (0..members).map(|_| self.dice.once_in(2)).collect(),
                };
                let mut ways = Vec::new();
                for a in 0..members {
                    for b in 0..members {
                        let spared = fault == Fault::Bridge && (a == node || b == node);
                        if side[a] != side[b] && !spared {
                            ways.push((Place::Node(a), Place::Node(b)));
                        }
                    }
                }
                self.cut(ways, while_);
            }
            Fault::OneWay => {
                if node == other {
                    return Ok(());
                }
                self.cut(vec![(Place::Node(node), Place::Node(other))], while_);
            }
            Fault::ClientCut => {
                let mut ways = Vec::new();
                for id in 0..self.clients.len() {
                    if self.dice.once_in(2) {
                        let kind = self.dice.below(3);
                        if kind != 1 {
                            ways.push((Place::Node(node), Place::Client(id)));
                        }
                        if kind != 2 {
                            ways.push((Place::Client(id), Place::Node(node)));
                        }
                    }
                }
                self.cut(ways, while_);
            }
            Fault::Tear => {
                let all: Vec<End> = self.network.all().map(|(end, ..)| end).collect();
                if all.is_empty() {
                    return Ok(());
                }
                let end = *self.dice.pick(&all);
                let now = self.now();
                for (end, at) in self.network.tear(end, now) {
                    self.agenda.at(at, Event::Deliver(end));
                }
            }
            Fault::Storm => {
                self.network.weather.delay = (1_000, *self.dice.pick(&[20_000, 100_000, 400_000]));
                self.network.weather.late_once_in = 10;
                self.agenda.after(while_, Event::Over(Cure::Weather));
            }
            Fault::DiskError => {
                let what = *self.dice.pick(&["write", "sync", "", "rename", "sync_dir", "fill_zeros"]);
                let kind = *self.dice.pick(&[ErrorKind::Other, ErrorKind::StorageFull]);
                let how = if self.dice.once_in(2) {
                    host::Fault::Error(kind)
                } else {
                    host::Fault::Short(self.dice.below(9_000) as usize, kind)
                };
                self.machines[node].faults.set(Some((what, how)));
            }
            Fault::DiskFull => {
                let bytes = self.dice.below(400 << 10);
                self.machines[node].disk.set_capacity(Some(bytes));
                self.agenda.after(while_, Event::Over(Cure::Capacity(node)));
            }
            Fault::DiskSlow => {
                self.machines[node].settings.write_delay = (20 * MS, 600 * MS);
                self.slow(node);
                self.agenda.after(while_, Event::Over(Cure::Speed(node)));
            }
            Fault::DiskReplaced => {
                if self.machines[node].node.is_some() || !self.may_lose(node) {
                    return Ok(());
                }
                self.replace_disk(node);
            }
            Fault::Rot => {
                let whole = self.machines.iter().all(|machine| !machine.rotten && (!machine.fresh || machine.retired));
                if up || self.plan.dead_at_end > 0 || !whole || !self.may_lose(node) || !self.rot(node) {
                    return Ok(());
                }
            }
            Fault::ClockJump => {
                let by = *self.dice.pick(&[1_000, 60_000, 3_600_000, 86_400_000]);
                let by = self.dice.below(by) as i64;
                let sign = if self.dice.once_in(2) { 1 } else { -1 };
                self.machines[node].wall_ahead += sign * by;
            }
            Fault::ClientGone => {
                let speaking = self.clients.iter().filter(|client| !client.mute).count();
                let id = self.dice.below(self.clients.len() as u64) as usize;
                if speaking < 2 || self.clients[id].mute {
                    return Ok(());
                }
                self.clients[id].fall_mute();
                self.client_wants(id);
            }
        }
        self.count(fault);
        Ok(())
    }

    /// May this member lose its disk without the ensemble losing what it has promised? Only if all others that vote have all that it
    /// has, which it may have acknowledged, and have promised no earlier epoch.
    fn may_lose(&self, node: usize) -> bool {
        let Some(voting) = self.may_vote() else { return false };
        if !voting.contains(&node) {
            return true;
        }
        let mine = self.ledger.logged_of(node);
        voting.len() > 1
            && voting.into_iter().filter(|other| *other != node).all(|other| {
                if self.machines[other].rotten || self.machines[other].fresh {
                    return false;
                }
                let durable = self.ledger.end_of(self.ledger.durable_of(other));
                let same = durable >= mine && durable <= self.ledger.last();
                let promised = self.machines[other].epochs.0 >= self.machines[node].epochs.0;
                same && promised && mine <= self.ledger.last()
            })
    }

    fn replace_disk(&mut self, node: usize) {
        let machine = &mut self.machines[node];
        machine.disk = MemoryDisk::new();
        machine.fresh = true;
        machine.rotten = false;
        machine.epochs = (0, 0);
    }

    /// False: there is nothing to be damaged.
    fn rot(&mut self, node: usize) -> bool {
        let disk = &self.machines[node].disk;
        let dir = Path::new(if self.dice.once_in(4) { crate::node::SNAPS } else { crate::node::LOGS });
        let is_data = |name: &String| name.starts_with("log.") || name.starts_with("snapshot.");
        let names: Vec<String> = disk.list(dir).unwrap_or_default().into_iter().filter(is_data).collect();
        if names.is_empty() {
            return false;
        }
        let path = dir.join(self.dice.pick(&names));
        // What nobody has written to is not worth it.
        let Ok(bytes) = disk.read(&path) else { return false };
        let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        let sector = |at: u64| &bytes[at as usize * SECTOR..bytes.len().min(at as usize * SECTOR + SECTOR)];
        let sectors = (used / SECTOR) as u64;
        if sectors < 2 {
            return false;
        }
        let at = self.dice.below(sectors);
        let mut wrong = sector(at).to_vec();
        if self.dice.once_in(2) {
            wrong.copy_from_slice(sector(self.dice.below(sectors)));
        } else {
            let bit = self.dice.below(wrong.len() as u64 * 8) as usize;
            wrong[bit / 8] ^= 1 << (bit % 8);
        }
        if wrong == sector(at) {
            return false;
        }
        let written = disk.open(&path, host::Mode::Buffered).and_then(|mut file| {
            file.write_at(at * SECTOR as u64, &wrong)?;
            file.sync()
        });
        self.machines[node].rotten = written.is_ok();
        self.ledger.rots(node);
        self.say(|| format!("sector {at} of {} of {sectors} of node {} rots", path.display(), node + 1));
        written.is_ok()
    }

    /// The last thing that was written to the log of a member that is down is damaged.
    pub fn damage_end(&mut self, node: usize) {
        let disk = &self.machines[node].disk;
        let names = disk.list(Path::new(crate::node::LOGS)).unwrap_or_default();
        let (_, newest) = wal::names::logs(&names).pop().expect("a member that has run has a log");
        disk.edit(&Path::new(crate::node::LOGS).join(newest), |bytes| {
            let last = bytes.iter().rposition(|byte| *byte != 0).expect("a log has a name once it is written to");
            bytes[last] ^= 1;
        });
        self.machines[node].rotten = true;
        self.ledger.rots(node);
    }

    fn slow(&mut self, node: usize) {
        let delay = self.machines[node].settings.write_delay;
        if let Some(member) = &mut self.machines[node].node {
            member.set_write_delay(delay);
        }
    }

    fn cut(&mut self, ways: Vec<(Place, Place)>, while_: Micros) {
        for (from, to) in &ways {
            self.network.cut(*from, *to);
        }
        self.agenda.after(while_, Event::Over(Cure::Ways(ways)));
    }

    fn cure(&mut self, cure: Cure) {
        match cure {
            Cure::Ways(ways) => {
                for (from, to) in ways {
                    self.network.mend(from, to);
                }
            }
            Cure::Weather => self.network.weather = self.plan.weather.clone(),
            Cure::Capacity(node) => self.machines[node].disk.set_capacity(None),
            Cure::Speed(node) => {
                self.machines[node].settings.write_delay = self.machines[node].good_delay;
                self.slow(node);
            }
        }
    }

    fn end_faults(&mut self) {
        self.calm = true;
        self.network.mend_all();
        self.network.weather = self.plan.weather.clone();
        // Some never come back: fewer than half of those that vote.
        let dead = self.who_dies();
        self.recall();
        for node in 0..self.machines.len() {
            self.cure(Cure::Capacity(node));
            self.cure(Cure::Speed(node));
            self.machines[node].faults.set(None);
            self.machines[node].crash_after = None;
            if dead.contains(&node) {
                let end = self.machines[node].disk.moments();
                if self.machines[node].node.is_some() {
                    let power = self.dice.once_in(2);
                    _ = self.crash(node, power, end);
                }
                self.machines[node].boot_due = false;
            }
        }
    }
}

/// What a scenario does by hand.
impl Simulation {
    /// The process ends now, with the machine's power or without; it comes back when it is told to.
    pub fn kill(&mut self, node: usize, power: bool) -> Held {
        let end = self.machines[node].disk.moments();
        if self.machines[node].node.is_some() {
            self.crash(node, power, end)?;
        }
        self.machines[node].boot_due = false;
        Ok(())
    }

    /// As [`Simulation::kill`] with the power, and of what is in doubt on the disk nothing is left.
    pub fn lose(&mut self, node: usize) -> Held {
        self.kill(node, false)?;
        let machine = &mut self.machines[node];
        machine.disk = machine.disk.crash(machine.disk.moments(), &mut || false);
        Ok(())
    }

    /// A member that is down has promised an epoch to a leader that did not live to lead it.
    pub fn promise(&mut self, node: usize, epoch: i64) -> Held {
        let written = snapshot::epochs::set_accepted(&self.machines[node].disk, Path::new(crate::node::SNAPS), epoch);
        hold(written.is_ok(), "ShouldNotBeTriggered", || format!("an epoch cannot be written: {written:?}"))
    }

    /// Clients ask for nothing new, or begin again.
    pub fn rest(&mut self, idle: bool) {
        self.clients.iter_mut().for_each(|client| client.idle = idle);
    }

    /// All clients give up their connections, and make others.
    pub fn scatter(&mut self) {
        for id in 0..self.clients.len() {
            let now = self.now();
            self.clients[id].leave(now);
            self.client_wants(id);
        }
    }

    /// A member that is down has followed a leader of this epoch, though nothing came of it.
    pub fn followed(&mut self, node: usize, epoch: i64) -> Held {
        self.promise(node, epoch)?;
        let written = snapshot::epochs::set_current(&self.machines[node].disk, Path::new(crate::node::SNAPS), epoch);
        hold(written.is_ok(), "ShouldNotBeTriggered", || format!("an epoch cannot be written: {written:?}"))
    }

    /// `forceSnapshotSync` of a member, from its next start on.
    pub fn force_snapshots(&mut self, node: usize, force: bool) {
        self.machines[node].settings.force_snapshot_sync = force;
    }

    /// Accepted and current epoch of a member.
    pub fn epochs(&self, node: usize) -> (i64, i64) {
        self.machines[node].epochs
    }

    /// Does the process of a member run?
    pub fn runs(&self, node: usize) -> bool {
        self.machines[node].node.is_some()
    }

    /// A member that was killed comes back.
    pub fn start(&mut self, node: usize) -> Held {
        self.machines[node].boot_due = true;
        self.boot(node)
    }

    /// The member is killed after so many effects more, or within the step that comes then; and comes back by itself.
    pub fn kill_after(&mut self, node: usize, effects: u64) {
        self.machines[node].crash_after = Some(effects);
    }

    /// Nobody but its clients reaches a member, nor does it reach anybody.
    pub fn isolate(&mut self, node: usize) {
        for other in (0..self.machines.len()).filter(|other| *other != node) {
            self.network.cut(Place::Node(node), Place::Node(other));
            self.network.cut(Place::Node(other), Place::Node(node));
        }
    }

    /// Everybody reaches everybody again.
    pub fn mend(&mut self) {
        self.network.mend_all();
    }

    /// The next call of this kind to a member's disk fails so.
    pub fn spoil(&mut self, node: usize, what: &'static str, fault: host::Fault) {
        self.machines[node].faults.set(Some((what, fault)));
    }

    /// Who serves as leader, if anybody does; of several the one of the last epoch.
    pub fn leader(&self) -> Option<usize> {
        let leads = |state: PeerState| state.serving && state.phase == Phase::Leading;
        let all = (0..self.machines.len()).filter(|at| self.machines[*at].node.is_some());
        all.filter(|at| self.machines[*at].state.is_some_and(leads))
            .max_by_key(|at| self.machines[*at].state.map(|s| s.epoch))
    }

    /// Does a member serve?
    pub fn serves(&self, node: usize) -> bool {
        self.machines[node].node.is_some() && self.machines[node].state.is_some_and(|state| state.serving)
    }

    /// How many histories leaders have sent so far by DIFF, TRUNC and SNAP.
    pub fn syncs(&self) -> [u64; 3] {
        self.syncs
    }

    /// Goes on until `done`, for a minute at most.
    pub fn wait(&mut self, what: &str, done: impl FnMut(&Simulation) -> bool) -> Held {
        let mut done = done;
        let end = self.now() + 60 * SECOND;
        while !done(self) {
            hold(self.now() < end, "Liveness", || format!("waited in vain: {what}"))?;
            let next = self.now() + MS;
            self.until(next, |_| false)?;
            self.agenda.pass_to(next);
        }
        Ok(())
    }

    /// As [`Simulation::wait`], for a number of transactions more.
    pub fn wait_for_txns(&mut self, count: usize) -> Held {
        let wanted = self.ledger.entries().len() + count;
        self.wait("transactions", |world| world.ledger.entries().len() >= wanted)
    }
}

impl Simulation {
    /// Members, for the view.
    pub fn members(&self) -> Vec<MemberView> {
        let view = |(number, machine): (usize, &Machine)| {
            let process = match &machine.node {
                Some(_) if machine.paused.is_some() => "paused",
                Some(_) => "up",
                None if machine.powered => "down",
                None => "no power",
            };
            let marks = machine.node.as_ref().map_or((0, 0, 0), |node| node.marks());
            let delivered = self.ledger.delivered_of(number);
            MemberView { process, state: machine.state, epochs: machine.epochs, marks, delivered }
        };
        self.machines.iter().enumerate().map(view).collect()
    }

    /// Links, for the view.
    pub fn links(&self) -> Vec<LinkView> {
        let name = |place: Place| match place {
            Place::Node(node) => (node + 1).to_string(),
            Place::Client(id) => format!("client {id}"),
        };
        let view = |(end, port, from, to): (End, Port, Place, Place)| LinkView {
            what: format!("{port:?} {} → {}", name(from), name(to)),
            flying: (self.network.flying_bytes(end), self.network.flying_bytes(end.far())),
            cut: (self.network.is_cut(from, to), self.network.is_cut(to, from)),
        };
        self.network.all().map(view).collect()
    }

    /// Clients, for the view.
    pub fn describe_clients(&self) -> Vec<String> {
        self.clients.iter().map(Client::describe).collect()
    }

    /// Goes on until a moment.
    pub fn advance(&mut self, to: Micros) -> Held {
        if !self.calm && to >= self.plan.faults_end {
            let end = self.plan.faults_end;
            self.until(end, |_| false)?;
            self.end_faults();
        }
        self.until(to, |_| false)
    }
}

impl Counts {
    /// Adds another run's.
    pub fn add(&mut self, other: &Counts) {
        for (class, count) in &other.faults {
            *self.faults.entry(class.clone()).or_default() += count;
        }
        for (kind, count) in &other.operations {
            *self.operations.entry(kind).or_default() += count;
        }
        self.outage = self.outage.max(other.outage);
        self.steps += other.steps;
        self.txns += other.txns;
        self.writes += other.writes;
        self.reads += other.reads;
        self.events += other.events;
        self.lasting_events += other.lasting_events;
        self.local_sessions += other.local_sessions;
        self.upgrades += other.upgrades;
        self.glances += other.glances;
        self.starts += other.starts;
        self.syncs.iter_mut().zip(other.syncs).for_each(|(sum, more)| *sum += more);
        self.reigns += other.reigns;
        self.java_seeds += other.java_seeds;
        self.java_reigns += other.java_reigns;
        self.java.add(other.java);
        self.micros += other.micros;
        self.recovery = self.recovery.max(other.recovery);
    }
}

impl std::fmt::Display for Counts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let hours = self.micros as f64 / SECOND as f64 / 3600.0;
        write!(
            f,
            "{hours:.2} simulated hours, {} steps, {} starts, {} reigns, {}/{}/{} DIFF/TRUNC/SNAP, {} transactions, {} writes, {} reads, {} watch events ({} of lasting watches), {} local sessions ({} upgraded), {} looks at members without a leader, longest recovery {} ms; operations: ",
            self.steps,
            self.starts,
            self.reigns,
            self.syncs[0],
            self.syncs[1],
            self.syncs[2],
            self.txns,
            self.writes,
            self.reads,
            self.events,
            self.lasting_events,
            self.local_sessions,
            self.upgrades,
            self.glances,
            self.recovery / MS
        )?;
        for (kind, count) in &self.operations {
            write!(f, "{kind} {count} ")?;
        }
        write!(f, "(longest outage of a restart {} ms); ", self.outage / MS)?;
        let (seeds, reigns) = (self.java_seeds, self.java_reigns);
        write!(f, "{seeds} seeds with Java's habits: {reigns} reigns, {}; faults:", self.java)?;
        for (class, count) in &self.faults {
            write!(f, " {class} {count}")?;
        }
        Ok(())
    }
}
