//! One thread of the hot path: a reactor, and the stages that the placement put on it.
//!
//! A round: wait for events; tell the shard; let it catch up with the commit stream; let the write stage take requests; give
//! the log's writes and the shard's bytes to the reactor. Reads never wait for more than one such round.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::process;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use clients::{Acceptor, Driver, Mailbox, Question};
use config::ExitStatus;
use member::word::Word;
use member::{Effect, Gauges, Key, Seldom, WriteStage};
use peers::Connector;
use pipeline::Now;
use proto::Millis;
use queue::Bell;
use quorum::effect::{Effect as PeerEffect, Port};
use uring::{Event, ListenerId, Reactor, Wait};
use wal::segment::SegmentId;
use wal::{LogFailed, WriteToken};

use crate::background::Background;
use crate::clock;
use crate::letter::Letter;
use crate::links::Links;
use crate::memory;
use crate::oracle::Oracle;
use crate::ports::Ports;
use crate::views::ViewFiles;
use crate::words::Words;

/// How often shards look for idle connections.
const TICK_MS: i64 = 250;
/// So long after a write the next one is looked out for.
const ALERT_MS: i64 = 1;
/// How long a shutdown waits for answers to leave.
const SHUTDOWN_MS: i64 = 5_000;

/// What all threads know of each other.
pub struct Threads {
    /// One per thread.
    pub mailboxes: Vec<Arc<Mailbox<Letter>>>,
    /// One per thread, for the rings between them.
    pub bells: Vec<Bell>,
    /// Thread of each shard.
    pub shard_threads: Vec<usize>,
    /// Thread of the write stage.
    pub write_thread: usize,
    /// Shards that have ended, during a shutdown.
    pub shards_ended: AtomicUsize,
}

/// The write stage and what it needs around it.
pub struct Writing {
    /// The stage.
    pub stage: WriteStage,
    /// Does its slow work.
    pub background: Background,
    /// What everybody may read.
    pub gauges: Arc<Gauges>,
    /// `fsync.warningthresholdms`
    pub slow_sync: Duration,
    /// The way to the other members of an ensemble, and the ports at which they call.
    pub peers: Option<(Connector, Vec<(Port, TcpListener)>)>,
    /// Says whether this member may do without the other of two.
    pub oracle: Option<Oracle>,
    /// Where changes of the ensemble are kept.
    pub views: Option<ViewFiles>,
    /// Listens elsewhere when the ensemble's configuration says so.
    pub ports: Option<Ports>,
}

/// Where connections come from: on the thread of shard 0 only.
pub struct Listening {
    /// The client port.
    pub listener: TcpListener,
    /// Limits and options.
    pub acceptor: Acceptor,
}

/// Parts that a thread is made of.
pub struct Parts {
    /// Which thread this is.
    pub index: usize,
    /// Its shard's number, and its driver.
    pub shard: Option<(u16, Driver)>,
    /// The write stage, if it is placed here.
    pub writing: Option<Writing>,
    /// The client port, if it is accepted here.
    pub listening: Option<Listening>,
    /// The others.
    pub threads: Arc<Threads>,
    /// Answers four-letter words.
    pub words: Arc<Words>,
}

struct Flight {
    token: WriteToken,
    since: Instant,
}

struct Host {
    stage: WriteStage,
    background: Background,
    gauges: Arc<Gauges>,
    slow_sync: Duration,
    links: Option<Links>,
    oracle: Option<Oracle>,
    views: Option<ViewFiles>,
    ports: Option<Ports>,
    files: BTreeMap<SegmentId, Arc<File>>,
    flights: HashMap<u64, Flight>,
    next_flight: u64,
    /// When a transaction was under way last.
    busy_at: Millis,
    effects: Vec<Effect>,
}

/// See the module's page.
pub struct Worker {
    index: usize,
    reactor: Reactor,
    shard: Option<(u16, Driver)>,
    host: Option<Host>,
    acceptor: Option<Acceptor>,
    listener: Option<ListenerId>,
    next_shard: usize,
    threads: Arc<Threads>,
    words: Arc<Words>,
    accept_failed: Seldom,
    next_tick: Millis,
    stopping: Option<Millis>,
    /// This thread's shard is counted as ended.
    ended: bool,
}

impl Worker {
    /// Puts the parts on a reactor that was opened on this thread.
    pub fn new(parts: Parts, mut reactor: Reactor) -> Worker {
        let now = clock::now();
        let (acceptor, listener) = match parts.listening {
            Some(listening) => (Some(listening.acceptor), Some(reactor.listen(listening.listener))),
            None => (None, None),
        };
        let host = parts.writing.map(|writing| Host {
            stage: writing.stage,
            background: writing.background,
            gauges: writing.gauges,
            slow_sync: writing.slow_sync,
            oracle: writing.oracle,
            views: writing.views,
            ports: writing.ports,
            links: writing.peers.map(|(connector, ports)| {
                let listen = |(port, listener)| (reactor.listen(listener), port);
                Links::new(connector, ports.into_iter().map(listen).collect())
            }),
            files: BTreeMap::new(),
            flights: HashMap::new(),
            next_flight: 0,
            busy_at: Millis(i64::MIN),
            effects: Vec::new(),
        });
        // A lone client's writes take no hop between threads if its shard shares the thread with the write stage.
        let beside_writes = parts.threads.shard_threads.iter().position(|thread| *thread == parts.threads.write_thread);
        let next_shard = beside_writes.unwrap_or(0);
        Worker {
            index: parts.index,
            reactor,
            shard: parts.shard,
            host,
            acceptor,
            listener,
            next_shard,
            threads: parts.threads,
            words: parts.words,
            accept_failed: Seldom::default(),
            next_tick: now.mono.plus(TICK_MS),
            stopping: None,
            ended: false,
        }
    }

    /// Runs until told to shut down.
    pub fn run(mut self) -> std::io::Result<()> {
        let mut busy = true;
        loop {
            let wait = self.sleep_or_not(busy);
            let events = self.turn(wait)?;
            self.threads.bells[self.index].awake();
            let now = events.now.unwrap_or_else(clock::now);
            for (conn, buffer) in events.sent {
                let links = self.host.as_mut().and_then(|host| Some((host.links.as_mut()?, &mut host.stage)));
                if let Some((links, stage)) = links.filter(|(links, _)| links.find(conn).is_some()) {
                    links.sent(&mut self.reactor, stage, conn, buffer, now);
                } else if let Some((_, driver)) = &mut self.shard {
                    driver.sent(conn, buffer, now);
                }
            }
            for (listener, stream, peer) in events.accepted {
                let links = self.host.as_mut().and_then(|host| Some((host.links.as_mut()?, &mut host.stage)));
                match links.and_then(|(links, stage)| Some((links.port(listener)?, links, stage))) {
                    Some((port, links, stage)) => links.accepted(&mut self.reactor, stage, port, stream, now),
                    None => self.place(stream, peer, now),
                }
            }
            for (token, result, buffer) in events.written {
                self.written(token, result, buffer);
            }
            while let Some(letter) = self.threads.mailboxes[self.index].take() {
                self.read(letter, now);
            }
            if now.mono >= self.next_tick {
                self.next_tick = now.mono.plus(TICK_MS);
                if let Some((_, driver)) = &mut self.shard {
                    driver.shard().tick(now);
                    if driver.shard().gives_back() {
                        memory::give_back();
                    }
                }
            }
            busy = self.work(now);
            if self.may_end(now) {
                return Ok(());
            }
        }
    }

    /// Says that this thread sleeps, unless there is something to do after all.
    fn sleep_or_not(&mut self, busy: bool) -> Wait {
        if busy {
            return Wait::No;
        }
        self.threads.bells[self.index].prepare_sleep();
        let pending = self.host.as_ref().is_some_and(|host| host.stage.has_requests())
            || self.shard.as_mut().is_some_and(|(_, driver)| driver.shard().is_behind())
            || !self.threads.mailboxes[self.index].is_empty();
        if pending {
            return Wait::No;
        }
        let mut until = self.next_tick;
        if let Some(host) = &mut self.host {
            until = until.min(host.stage.next_deadline());
        }
        let now = clock::now().mono;
        let longest = Duration::from_millis(until.since(now).max(1) as u64);
        if self.is_alert(now) { Wait::Alert(longest) } else { Wait::AtMost(longest) }
    }

    /// In an ensemble a write takes four or five steps one after the other, of which each waits for the one before.
    fn is_alert(&mut self, now: Millis) -> bool {
        let Some(host) = self.host.as_mut().filter(|host| host.links.is_some()) else { return false };
        if host.stage.is_busy() {
            host.busy_at = now;
        }
        now.since(host.busy_at) <= ALERT_MS
    }

    /// Waits, and tells the shard what came. The rest is kept until the reactor is free again.
    fn turn(&mut self, wait: Wait) -> std::io::Result<Events> {
        let mut events = Events::default();
        let (shard, accept_failed) = (&mut self.shard, &mut self.accept_failed);
        let mut peers = self.host.as_mut().and_then(|host| Some((host.links.as_mut()?, &mut host.stage)));
        self.reactor.turn(wait, |event| match event {
            Event::Received { conn, bytes } => {
                let now = *events.now.get_or_insert_with(clock::now);
                if let Some((links, stage)) = &mut peers
                    && let Some((link, heard)) = links.find(conn)
                {
                    if heard {
                        stage.peer_received(link, bytes, now);
                    }
                } else if let Some((_, driver)) = shard {
                    driver.received(conn, bytes, now);
                }
            }
            Event::Sent { conn, buffer } => events.sent.push((conn, buffer)),
            Event::Closed { conn, .. } => {
                let now = *events.now.get_or_insert_with(clock::now);
                let was_link = peers.as_mut().is_some_and(|(links, stage)| links.closed(stage, conn, now));
                if let Some((_, driver)) = shard.as_mut().filter(|_| !was_link) {
                    driver.closed(conn);
                }
            }
            Event::Accepted { listener, stream, peer } => events.accepted.push((listener, stream, peer)),
            Event::AcceptFailed { error, .. } => {
                if let Some(unsaid) = accept_failed.ask(clock::now().mono) {
                    tracing::error!(%error, unsaid, "cannot accept connections for now");
                }
            }
            Event::Written { token, result, buffer } => events.written.push((token, result, buffer)),
            Event::Woken => {}
        })?;
        Ok(events)
    }

    /// Gives a new connection to the next shard.
    fn place(&mut self, stream: OwnedFd, peer: SocketAddr, now: Now) {
        let Some(stream) = self.acceptor.as_ref().and_then(|acceptor| acceptor.admit(stream, peer, now)) else {
            return;
        };
        let shards = self.threads.shard_threads.len();
        let shard = self.next_shard % shards;
        self.next_shard = (shard + 1) % shards;
        let thread = self.threads.shard_threads[shard];
        if thread == self.index {
            self.adopt(stream, peer, now);
        } else {
            self.threads.mailboxes[thread].send(Letter::Adopt(stream, peer));
        }
    }

    fn adopt(&mut self, stream: OwnedFd, peer: SocketAddr, now: Now) {
        if let Some((_, driver)) = &mut self.shard {
            driver.adopt(&mut self.reactor, stream, peer, now);
        }
    }

    fn read(&mut self, letter: Letter, now: Now) {
        match letter {
            Letter::Adopt(stream, peer) => self.adopt(stream, peer, now),
            Letter::Asked(question) => self.contribute(&question),
            Letter::Answered(question) => self.answer(&question),
            Letter::ResetStats => {
                if let Some((_, driver)) = &mut self.shard {
                    driver.shard().reset_stats();
                }
                if let Some(host) = &mut self.host {
                    host.stage.reset_stats();
                }
            }
            Letter::ResetConnections => {
                if let Some((_, driver)) = &mut self.shard {
                    driver.shard().reset_connection_stats();
                }
            }
            Letter::SegmentDone(done, open) => {
                let Some(host) = &mut self.host else { return };
                if let Some(open) = open {
                    host.files.insert(open.segment, open.file);
                }
                if let wal::Done::Retired { segment, .. } = &done {
                    host.files.remove(segment);
                }
                if matches!(done, wal::Done::Prepared { .. }) && host.stage.log().starved().is_some() {
                    tracing::info!("there is space for the transaction log again: writes go on");
                }
                match host.stage.log().work_done(done) {
                    Ok(Some(zxid)) => host.stage.durable(zxid, &mut host.effects),
                    Ok(None) => {}
                    Err(failed) => log_failed(&failed),
                }
            }
            Letter::SnapshotDone => {
                if let Some(host) = &mut self.host {
                    host.stage.snapshot_done();
                }
            }
            Letter::PeerConnected(ticket, result) => {
                let Some(host) = &mut self.host else { return };
                if let Some(links) = &mut host.links {
                    links.connected(&mut self.reactor, &mut host.stage, ticket, result, now);
                }
            }
            Letter::OracleSays(question, yes) => {
                if let Some(host) = &mut self.host {
                    host.stage.oracle_says(question, yes, now);
                }
            }
            Letter::ClientPort(taken) => {
                // Not while stopping, when nobody is accepted any more.
                let next = taken.filter(|_| self.acceptor.is_some()).map(|(listener, local)| {
                    self.words.set_client_port(local.port());
                    self.reactor.listen(listener)
                });
                if let Some(old) = std::mem::replace(&mut self.listener, next) {
                    self.reactor.stop_listening(old);
                }
            }
            Letter::PeerPort(port, listeners) => {
                if let Some(links) = self.host.as_mut().and_then(|host| host.links.as_mut()) {
                    links.listen(&mut self.reactor, port, listeners);
                }
            }
            Letter::ShutDown => {
                if let Some(listener) = self.listener.take() {
                    self.reactor.stop_listening(listener);
                }
                self.acceptor = None;
                if let Some((_, driver)) = &mut self.shard {
                    driver.stop_reading(&mut self.reactor);
                }
                self.stopping = Some(now.mono.plus(SHUTDOWN_MS));
            }
        }
    }

    /// A log write came back.
    fn written(&mut self, token: u64, result: std::io::Result<usize>, buffer: aligned::AlignedBuf) {
        let host = self.host.as_mut().expect("only the write stage's thread writes the log");
        let flight = host.flights.remove(&token).expect("a write comes back once");
        let took = flight.since.elapsed();
        let us = took.as_micros() as u64;
        host.gauges.log_writes.fetch_add(1, Relaxed);
        host.gauges.log_write_us.fetch_add(us, Relaxed);
        host.gauges.log_write_us_max.fetch_max(us, Relaxed);
        if took > host.slow_sync {
            host.gauges.fsync_slow.fetch_add(1, Relaxed);
            tracing::warn!(
                ms = took.as_millis() as u64,
                "a write of the transaction log took long; clients wait for it"
            );
        }
        match host.stage.log().written(flight.token, result, buffer) {
            Ok(Some(zxid)) => host.stage.durable(zxid, &mut host.effects),
            Ok(None) => {}
            Err(failed) => log_failed(&failed),
        }
    }

    /// One round of the stages. True if another should follow without waiting.
    fn work(&mut self, now: Now) -> bool {
        let mut more = false;
        // Twice at most: what the shard hands on is prepared and submitted in the same round.
        if let Some((_, driver)) = &mut self.shard {
            driver.shard().catch_up(now);
            if driver.shard().flush() && self.threads.write_thread != self.index {
                self.threads.bells[self.threads.write_thread].ring();
            }
        }
        if let Some(host) = &mut self.host {
            more |= host.stage.step(now, &mut host.effects);
            if let Some(why) = host.stage.peer_failed() {
                tracing::error!("{why}; ending");
                process::exit(i32::from(ExitStatus::UnexpectedError as u8));
            }
            if let Some(peer) = host.stage.peer() {
                self.words.set_role(&peer.state(), host.stage.clients());
            }
            // What other members wait for leaves first: they write their logs while this one writes its own.
            let is_for_peers = |effect: &Effect| matches!(effect, Effect::Peer(_));
            let (first, then): (Vec<_>, Vec<_>) = host.effects.drain(..).partition(is_for_peers);
            first.into_iter().for_each(|effect| self.carry_out(effect));
            if let Some(host) = &mut self.host {
                host.issue(&mut self.reactor, now);
            }
            then.into_iter().for_each(|effect| self.carry_out(effect));
        }
        if let Some((_, driver)) = &mut self.shard {
            driver.shard().catch_up(now);
            driver.service(&mut self.reactor, now);
            if driver.shard().flush() {
                if self.threads.write_thread == self.index {
                    more = true;
                } else {
                    self.threads.bells[self.threads.write_thread].ring();
                }
            }
            more |= driver.shard().sweep();
            for (key, word) in driver.take_words() {
                self.word(key, word);
                more = true;
            }
        }
        more
    }

    /// Does what the write stage asks for.
    fn carry_out(&mut self, effect: Effect) {
        let Some(host) = &mut self.host else { return };
        match effect {
            Effect::WakeShard(shard) => {
                let thread = self.threads.shard_threads[usize::from(shard)];
                if thread != self.index {
                    self.threads.bells[thread].ring();
                }
            }
            Effect::Snapshot(point, tree) => host.background.snapshot(point, tree),
            Effect::CloseSegment(segment) => _ = host.files.remove(&segment),
            Effect::View { view, is_final } => {
                if let Some(views) = &host.views {
                    views.keep(&view, is_final);
                }
                if let Some(ports) = host.ports.as_ref().filter(|_| is_final) {
                    ports.follow(&view);
                }
            }
            Effect::Peer(quorum::effect::Effect::Listen(places)) => {
                if let Some(ports) = &host.ports {
                    ports.serve_observers(places);
                }
            }
            Effect::Peer(effect) => {
                if let PeerEffect::AskOracle(question) = effect {
                    // Without one nobody asks.
                    host.oracle.iter().for_each(|oracle| oracle.ask(question));
                } else if let Some(links) = &mut host.links {
                    links.carry_out(&mut self.reactor, effect);
                }
            }
        }
    }

    /// A four-letter word: answered at once if this thread knows everything, otherwise all threads are asked.
    fn word(&mut self, key: Key, word: Word) {
        let Some((shard, driver)) = &mut self.shard else { return };
        if let Some(refusal) = self.words.refusal(word) {
            driver.shard().answer_word(key, &refusal);
            return;
        }
        if let Some(letter) = self.words.effect(word) {
            self.threads.mailboxes.iter().for_each(|mailbox| mailbox.send(letter()));
        }
        if !self.words.needs_all_threads(word) {
            let text = self.words.answer(word, clients::Gathered::default());
            driver.shard().answer_word(key, &text);
            return;
        }
        let parties = self.threads.shard_threads.len() + 1;
        let question = Arc::new(Question::new(word, *shard, key, parties));
        for mailbox in &self.threads.mailboxes {
            mailbox.send(Letter::Asked(Arc::clone(&question)));
        }
    }

    /// Only what the word needs: a report of many watches takes long, and all who are served here wait for it.
    fn contribute(&mut self, question: &Arc<Question>) {
        let mut last = false;
        let needs = admin::needs(question.word);
        if let Some((shard, driver)) = &mut self.shard {
            let (shard, driver) = (*shard, driver.shard());
            let connections = needs.connections.then(|| (shard, driver.connection_report()));
            let watches = needs.watches.then(|| (shard, driver.watch_report()));
            let counts = needs.watch_counts.then(|| driver.watch_counts());
            last |= question.contribute(|all| {
                all.connections.extend(connections);
                all.watches.extend(watches);
                all.watch_counts.extend(counts);
            });
        }
        if let Some(host) = &mut self.host {
            let mut report = if needs.writes { host.stage.report() } else { Default::default() };
            if needs.quorum {
                report.quorum = host.stage.quorum_report(clock::now());
            }
            if needs.hand_over {
                report.handed = host.stage.hand_over(clock::now());
            }
            last |= question.contribute(|all| all.write = report);
        }
        if last {
            let thread = self.threads.shard_threads[usize::from(question.shard)];
            self.threads.mailboxes[thread].send(Letter::Answered(Arc::clone(question)));
        }
    }

    fn answer(&mut self, question: &Question) {
        let text = self.words.answer(question.word, question.take());
        if let Some((_, driver)) = &mut self.shard {
            driver.shard().answer_word(question.key, &text);
        }
    }

    /// While stopping: has everything that was accepted been answered and sent?
    fn may_end(&mut self, now: Now) -> bool {
        let Some(deadline) = self.stopping else { return false };
        if now.mono >= deadline {
            tracing::warn!("not every answer could be given and sent in time; ending without");
            return true;
        }
        if self.host.as_ref().is_some_and(|host| host.stage.is_busy()) {
            return false;
        }
        if let Some((_, driver)) = &mut self.shard {
            if driver.shard().outstanding() == 0 {
                driver.shard().shut_down();
                driver.service(&mut self.reactor, now);
            }
            if driver.shard().connections() > 0 {
                return false;
            }
            if !std::mem::replace(&mut self.ended, true) {
                self.threads.shards_ended.fetch_add(1, Relaxed);
            }
        }
        // The write stage stays until nobody can ask it for anything.
        self.host.is_none() || self.threads.shards_ended.load(Relaxed) == self.threads.shard_threads.len()
    }
}

#[derive(Default)]
struct Events {
    now: Option<Now>,
    sent: Vec<(uring::ConnId, Vec<u8>)>,
    accepted: Vec<(ListenerId, OwnedFd, SocketAddr)>,
    written: Vec<(u64, std::io::Result<usize>, aligned::AlignedBuf)>,
}

impl Host {
    /// Gives the log's writes to the reactor and its slow work to the background.
    fn issue(&mut self, reactor: &mut Reactor, now: Now) {
        let log = self.stage.log();
        while let Some(work) = log.next_work(now.mono) {
            self.background.segment_work(work);
        }
        while let Some(write) = self.stage.next_write(now) {
            let file = self.files.get(&write.segment).expect("a segment is open before the log uses it");
            let token = self.next_flight;
            self.next_flight += 1;
            self.flights.insert(token, Flight { token: write.token, since: Instant::now() });
            reactor.write_durable(token, Arc::clone(file), write.offset, write.buffer, write.sync);
        }
        let log = self.stage.log();
        while let Some(work) = log.next_work(now.mono) {
            self.background.segment_work(work);
        }
    }
}

/// Nothing that follows a failed log write can be trusted: no retry, no doubt (DESIGN.md §4).
fn log_failed(failed: &LogFailed) -> ! {
    tracing::error!("{failed}; ending, because what is on the disk is no longer known");
    process::exit(i32::from(ExitStatus::LogFailed as u8));
}
