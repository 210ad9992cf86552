//! Cases on ensembles of three: load on all members, a leader that is killed, sessions that must survive it, a member that comes back.
//!
//! All six processes run on this machine and share its disk. The other three are idle while three are measured, but for their pings.

use std::fs;
use std::net::SocketAddr;
use std::ops::ControlFlow::{Break, Continue};
use std::path::PathBuf;
use std::process::Child;
use std::thread;
use std::time::{Duration, Instant};

use client::{Options, Session, four_letter};
use load::args::{Op, Plan as Load};
use load::{engine, setup};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::args::{Case, Plan};
use crate::figures::{Figures, Measure, Who};
use crate::patience::{self, PAUSE};
use crate::server::{signal, spawn};
use crate::{loads, million};

const MEMBERS: usize = 3;
/// Sessions that must survive a leader change get this timeout.
const TIMEOUT_MS: i32 = 20_000;
/// Leaders killed in each round.
const KILLS: usize = 3;

struct Member {
    address: SocketAddr,
    program: PathBuf,
    words: Vec<String>,
    directory: PathBuf,
    child: Option<Child>,
}

/// Three members of one kind.
pub struct Trio {
    who: Who,
    members: Vec<Member>,
    _directory: TempDir,
}

impl Trio {
    /// Starts three members on addresses of their own; returns when all serve.
    pub fn start(plan: &Plan, who: Who) -> Result<Trio, String> {
        let told = |error: std::io::Error| format!("{}: {error}", plan.directory.display());
        let directory = tempfile::Builder::new().prefix("compare-trio-").tempdir_in(&plan.directory).map_err(told)?;
        // Loopback addresses of their own need no free ports; the process number keeps runs apart.
        let net =
            format!("127.{}.{}", 64 + std::process::id() % 128, 2 * (std::process::id() / 128 % 100) + who as u32);
        let lines: String =
            (1..=MEMBERS).map(|id| format!("server.{id}={net}.{id}:2888:3888\n")).collect::<Vec<_>>().concat();
        let mut members = Vec::new();
        for id in 1..=MEMBERS {
            let here = directory.path().join(id.to_string());
            fs::create_dir_all(here.join("data")).map_err(told)?;
            fs::create_dir_all(here.join("log")).map_err(told)?;
            fs::write(here.join("data/myid"), id.to_string()).map_err(told)?;
            let shown = here.display();
            let configuration = format!(
                "tickTime=2000\ninitLimit=10\nsyncLimit=5\ndataDir={shown}/data\ndataLogDir={shown}/log\nclientPort=2181\n\
                 clientPortAddress={net}.{id}\nmaxClientCnxns=0\nadmin.enableServer=false\n\
                 4lw.commands.whitelist=srvr,mntr\n{lines}"
            );
            fs::write(here.join("zoo.cfg"), configuration).map_err(told)?;
            let cfg = here.join("zoo.cfg").display().to_string();
            let (program, words) = match who {
                Who::Java => {
                    let heap = format!("-Xmx{}", plan.heap);
                    let main = ["-cp".to_owned(), plan.class_path.clone(), crate::server::JAVA_MAIN.to_owned(), cfg];
                    (plan.java.clone(), [heap].into_iter().chain(main).collect())
                }
                Who::Ringkeeper => (plan.ringkeeper.clone(), vec![cfg]),
            };
            let address = format!("{net}.{id}:2181").parse().map_err(|error| format!("{net}.{id}: {error}"))?;
            members.push(Member { address, program, words, directory: here, child: None });
        }
        let mut trio = Trio { who, members, _directory: directory };
        for at in 0..MEMBERS {
            trio.members[at].spawn()?;
        }
        for at in 0..MEMBERS {
            trio.until_serving(at)?;
        }
        Ok(trio)
    }

    /// Waits until a member opens sessions.
    fn until_serving(&mut self, at: usize) -> Result<(), String> {
        let member = &self.members[at];
        let opened = patience::until_ok(|| Session::open(member.address).map_err(|error| error.to_string()));
        let closed = opened.and_then(|session| session.close().map_err(|error| error.to_string()));
        closed.map_err(|problem| {
            let output = fs::read_to_string(member.directory.join("output")).unwrap_or_default();
            format!("{:?}, member {}: {problem}\n{output}", self.who, at + 1)
        })
    }

    /// The place of the leader, and those of the others.
    fn leader(&self) -> Result<(usize, Vec<usize>), String> {
        let leads =
            |member: &Member| four_letter(member.address, "srvr").is_ok_and(|text| text.contains("Mode: leader"));
        let at = patience::until_ok(|| {
            self.members.iter().position(leads).ok_or_else(|| format!("{:?} has no leader", self.who))
        })?;
        Ok((at, (0..MEMBERS).filter(|other| *other != at).collect()))
    }

    /// CPU of all members together since they started.
    fn cpu(&self) -> Result<Duration, String> {
        self.members.iter().filter_map(|member| member.child.as_ref()).map(|child| load::cpu::of(child.id())).sum()
    }
}

impl Member {
    fn spawn(&mut self) -> Result<(), String> {
        self.child = Some(spawn(&self.program, &self.words, &self.directory)?);
        Ok(())
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // SIGKILL; an error means that it has ended already.
            _ = child.kill();
            _ = child.wait();
        }
    }
}

impl Drop for Trio {
    fn drop(&mut self) {
        self.members.iter_mut().for_each(Member::kill);
    }
}

fn sets(plan: &Plan, address: SocketAddr, connections: usize, outstanding: usize) -> Load {
    loads::load_at(plan, address, None, Op::Set, connections, outstanding)
}

/// Measures what the plan wants, each kind by turns.
pub fn measure(plan: &Plan, figures: &mut Figures) -> Result<(), String> {
    let mut trios = [Trio::start(plan, Who::Java)?, Trio::start(plan, Who::Ringkeeper)?];
    for trio in &trios {
        let (_, followers) = trio.leader()?;
        setup::prepare(&sets(plan, trio.members[followers[0]].address, 1, 1))?;
        spread(plan, plan.prelude, trio)?;
    }
    for round in 0..plan.rounds {
        for who in Who::turns(round) {
            let trio = &mut trios[who as usize];
            if plan.wants(Case::TrioSet50x16) {
                let felt = spread(plan, plan.measure, trio)?;
                eprintln!("round {}, {who:?} ×3, set 50×16: {felt:?}", round + 1);
                let mut add = |measure, value| figures.add(&Case::TrioSet50x16.name(), measure, who, value);
                add(Measure::Throughput, felt.throughput);
                add(Measure::P50, felt.p50_us);
                add(Measure::P99, felt.p99_us);
                add(Measure::Cpu, felt.cpu_us);
            }
            if plan.wants(Case::TrioSet1x1) {
                let (_, followers) = trio.leader()?;
                let report = engine::run(&sets(plan, trio.members[followers[0]].address, 1, 1))?;
                eprint!("round {}, {who:?} ×3, a follower's client: {report}", round + 1);
                let mut add = |measure, value| figures.add(&Case::TrioSet1x1.name(), measure, who, value);
                add(Measure::Throughput, report.throughput());
                add(Measure::P50, report.latency_us(0.5));
                add(Measure::P99, report.latency_us(0.99));
            }
            if plan.wants(Case::Failover) {
                for _ in 0..KILLS {
                    let took = failover(trio, Member::kill)?;
                    eprintln!("round {}, {who:?} ×3: next write {took:.1?} after kill -9 of the leader", round + 1);
                    figures.add(&Case::Failover.name(), Measure::Time, who, took.as_secs_f64() * 1e3);
                }
            }
            if plan.wants(Case::Silent) {
                let took = failover(trio, |leader| leader.child.iter().for_each(|child| signal(child, Signal::STOP)))?;
                eprintln!("round {}, {who:?} ×3: next write {took:.1?} after the leader stood still", round + 1);
                figures.add(&Case::Silent.name(), Measure::Time, who, took.as_secs_f64() * 1e3);
            }
            if plan.wants(Case::Survivors) {
                let (took, lost) = survivors(trio, plan.survivors)?;
                eprintln!(
                    "round {}, {who:?} ×3: {} sessions back in {took:.1?}, {lost} lost",
                    round + 1,
                    plan.survivors
                );
                figures.add(&Case::Survivors.name(), Measure::Time, who, took.as_secs_f64() * 1e3);
                figures.add(&Case::Survivors.name(), Measure::Refused, who, lost as f64);
            }
        }
    }
    if plan.wants(Case::Rejoin) {
        for who in [Who::Java, Who::Ringkeeper] {
            let (leader, _) = trios[who as usize].leader()?;
            million::fill_at(trios[who as usize].members[leader].address, plan.znodes)?;
        }
        for round in 0..plan.rounds {
            for who in Who::turns(round) {
                let took = rejoin(&mut trios[who as usize])?;
                eprintln!("round {}, {who:?} ×3: a follower serves {took:.2?} after exec", round + 1);
                figures.add(&Case::Rejoin.name(), Measure::Time, who, took.as_secs_f64() * 1e3);
            }
        }
    }
    Ok(())
}

#[derive(Debug)]
struct Felt {
    throughput: f64,
    p50_us: f64,
    p99_us: f64,
    cpu_us: f64,
}

/// 50 connections with 16 sets under way each, on all members; latencies are the median of what each member's clients felt.
fn spread(plan: &Plan, measure: Duration, trio: &Trio) -> Result<Felt, String> {
    let before = trio.cpu()?;
    let reports: Vec<_> = thread::scope(|scope| {
        let running: Vec<_> = trio
            .members
            .iter()
            .zip([17, 17, 16])
            .map(|(member, connections)| {
                // No warm-up: what is counted and what it costs must be of the same time.
                let load = Load { warm_up: Duration::ZERO, measure, ..sets(plan, member.address, connections, 16) };
                scope.spawn(move || engine::run(&load))
            })
            .collect();
        running.into_iter().map(|thread| thread.join().map_err(|_| "a load generator panicked".to_owned())?).collect()
    });
    let reports = reports.into_iter().collect::<Result<Vec<_>, String>>()?;
    let cpu = trio.cpu()? - before;
    if reports.iter().any(|report| report.errors + report.unanswered > 0) {
        return Err(format!("{:?} failed under load", trio.who));
    }
    let middle = |mut values: Vec<f64>| {
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    let completed: u64 = reports.iter().map(|report| report.completed).sum();
    Ok(Felt {
        throughput: reports.iter().map(load::report::Report::throughput).sum(),
        p50_us: middle(reports.iter().map(|report| report.latency_us(0.5)).collect()),
        p99_us: middle(reports.iter().map(|report| report.latency_us(0.99)).collect()),
        cpu_us: cpu.as_secs_f64() * 1e6 / completed as f64,
    })
}

/// Takes the leader away; the time until a client of another member, which comes back as soon as it may, has written.
fn failover(trio: &mut Trio, take_away: impl FnOnce(&mut Member)) -> Result<Duration, String> {
    let (leader, followers) = trio.leader()?;
    let address = trio.members[followers[0]].address;
    let options = Options { timeout_ms: TIMEOUT_MS, ..Options::default() };
    let mut session = Session::connect(address, &options).map_err(|error| error.to_string())?;
    session.set("/load", b"before", -1).map_err(|error| error.to_string())?;
    session.set_deadline(Duration::from_secs(1));
    let begun = Instant::now();
    take_away(&mut trio.members[leader]);
    let took = loop {
        if session.set("/load", b"after", -1).is_ok() {
            break begun.elapsed();
        }
        let back = session.reattach();
        session = patience::until_ok(|| {
            Session::connect(address, &back)
                .map_err(|error| format!("{:?}: no session after a leader was killed: {error}", trio.who))
        })?;
    };
    session.set_deadline(options.deadline);
    session.close().map_err(|error| error.to_string())?;
    trio.members[leader].kill();
    trio.members[leader].spawn()?;
    trio.until_serving(leader)?;
    Ok(took)
}

/// Opens sessions on all members, kills the leader, and brings all of them back on the others: how long that takes, and how many are lost.
fn survivors(trio: &mut Trio, count: usize) -> Result<(Duration, usize), String> {
    let (leader, followers) = trio.leader()?;
    let options = Options { timeout_ms: TIMEOUT_MS, ..Options::default() };
    let mut sessions = Vec::with_capacity(count);
    for number in 0..count {
        let member = &trio.members[number % MEMBERS];
        let session = Session::connect(member.address, &options);
        sessions.push(session.map_err(|error| format!("{:?}, session {number}: {error}", trio.who))?);
    }
    let begun = Instant::now();
    trio.members[leader].kill();
    let mut lost = 0;
    let mut back = Vec::with_capacity(count);
    for (number, session) in sessions.into_iter().enumerate() {
        let mut others = followers.iter().cycle().skip(number);
        let again = patience::until(PAUSE, || {
            let address = trio.members[*others.next().unwrap_or(&followers[0])].address;
            match Session::connect(address, &session.reattach()) {
                Ok(again) => Break(Ok(Some(again))),
                Err(client::Error::Refused) => Break(Ok(None)),
                Err(error) => Continue(format!("{:?}: sessions do not come back: {error}", trio.who)),
            }
        })?;
        match again {
            Some(again) => back.push(again),
            None => lost += 1,
        }
    }
    let took = begun.elapsed();
    drop(back);
    trio.members[leader].spawn()?;
    trio.until_serving(leader)?;
    Ok((took, lost))
}

/// Stops a follower, writes a little, and starts it: until it opens sessions.
fn rejoin(trio: &mut Trio) -> Result<Duration, String> {
    let (leader, followers) = trio.leader()?;
    let follower = followers[0];
    trio.members[follower].kill();
    let mut session = Session::open(trio.members[leader].address).map_err(|error| error.to_string())?;
    for number in 0..100 {
        session.set("/load", format!("{number}").as_bytes(), -1).map_err(|error| error.to_string())?;
    }
    session.close().map_err(|error| error.to_string())?;
    let begun = Instant::now();
    trio.members[follower].spawn()?;
    trio.until_serving(follower)?;
    Ok(begun.elapsed())
}
