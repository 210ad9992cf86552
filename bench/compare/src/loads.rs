//! Cases on a small tree: load in every shape, watchers that are told, sessions that come at once.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use client::{Request, Session};
use load::args::{Op, Plan as Load};
use load::{engine, setup};
use proto::Xid;

use crate::args::{Case, Plan};
use crate::crowd::Crowd;
use crate::figures::{Figures, Measure, Who};
use crate::server::{Pair, Server};

/// What is done, on how many connections, with how many requests under way on each.
const SHAPES: [(Case, Op, usize, usize); 8] = [
    (Case::Get50x16, Op::Get, 50, 16),
    (Case::Get50x1, Op::Get, 50, 1),
    (Case::Get1x1, Op::Get, 1, 1),
    (Case::Set50x16, Op::Set, 50, 16),
    (Case::Set50x1, Op::Set, 50, 1),
    (Case::Set1x1, Op::Set, 1, 1),
    (Case::Mix50x16, Op::Mix, 50, 16),
    (Case::Churn50x16, Op::Churn, 50, 16),
];

/// A load on a server: 100 bytes on 1000 znodes.
pub fn load(plan: &Plan, server: &Server, op: Op, connections: usize, outstanding: usize) -> Load {
    load_at(plan, server.address(), server.pid(), op, connections, outstanding)
}

/// The same on whatever serves at an address.
pub fn load_at(
    plan: &Plan,
    address: SocketAddr,
    pid: Option<u32>,
    op: Op,
    connections: usize,
    outstanding: usize,
) -> Load {
    Load {
        address,
        connections,
        outstanding,
        op,
        read_percent: 80,
        size: 100,
        keys: 1000,
        prefix: "/load".to_owned(),
        rate: None,
        warm_up: plan.warm_up,
        measure: plan.measure,
        count: None,
        pid,
        threads: 1,
        keep_samples: false,
    }
}

/// Warms both servers up, and measures what the plan wants.
pub fn measure(plan: &Plan, pair: &mut Pair, figures: &mut Figures) -> Result<(), String> {
    for who in [Who::Java, Who::Ringkeeper] {
        prelude(plan, pair.get(who))?;
    }
    for round in 0..plan.rounds {
        for (case, op, connections, outstanding) in SHAPES.into_iter().filter(|shape| plan.wants(shape.0)) {
            for who in Who::turns(round) {
                let server = pair.get(who);
                let report = engine::run(&load(plan, server, op, connections, outstanding))?;
                eprint!("round {}, {who:?}: {report}", round + 1);
                if report.errors + report.unanswered > 0 {
                    return Err(format!("{who:?} failed under load"));
                }
                let mut add = |measure, value| figures.add(&case.name(), measure, who, value);
                add(Measure::Throughput, report.throughput());
                add(Measure::P50, report.latency_us(0.5));
                add(Measure::P99, report.latency_us(0.99));
                add(Measure::P999, report.latency_us(0.999));
                add(Measure::Cpu, report.server_cpu_us().unwrap_or(f64::NAN));
                add(Measure::LoadCores, report.own_cores());
            }
        }
        for who in Who::turns(round) {
            if plan.wants(Case::Watchers) {
                for took in watchers(pair.get(who), plan.watchers, plan.repetitions)? {
                    eprintln!("round {}, {who:?}: {} watchers told in {took:.2?}", round + 1, plan.watchers);
                    figures.add(&Case::Watchers.name(), Measure::Time, who, took.as_secs_f64() * 1e3);
                }
            }
        }
        for who in Who::turns(round) {
            if plan.wants(Case::Sessions) {
                let (took, refused) = sessions(pair.get(who), plan.sessions)?;
                eprintln!("round {}, {who:?}: {} sessions in {took:.2?}, {refused} refused", round + 1, plan.sessions);
                figures.add(&Case::Sessions.name(), Measure::Time, who, took.as_secs_f64() * 1e3);
                figures.add(&Case::Sessions.name(), Measure::Refused, who, refused as f64);
            }
        }
    }
    Ok(())
}

/// Every kind of load that will be measured, so that a server that compiles as it runs has compiled.
fn prelude(plan: &Plan, server: &Server) -> Result<(), String> {
    setup::prepare(&load(plan, server, Op::Get, 1, 1))?;
    for op in [Op::Get, Op::Set, Op::Mix, Op::Churn] {
        if SHAPES.iter().any(|shape| shape.1 == op && plan.wants(shape.0)) {
            let load = load(plan, server, op, 50, 16);
            engine::run(&Load { warm_up: Duration::ZERO, measure: plan.prelude, ..load })?;
        }
    }
    if plan.wants(Case::Watchers) {
        watchers(server, plan.watchers, plan.repetitions)?;
    }
    if plan.wants(Case::Sessions) {
        sessions(server, plan.sessions)?;
    }
    Ok(())
}

/// Opens sessions that watch one znode, and changes it: from the set that is sent to the last event that came, each time.
fn watchers(server: &Server, count: usize, repetitions: usize) -> Result<Vec<Duration>, String> {
    const PATH: &str = "/load/key-000000";
    // Few enough at a time to fit Java's queue of connections that wait: opening is not what is measured here.
    let opened = Crowd::open(server.address(), count, 40)?;
    if let Some(why) = opened.why {
        return Err(format!("{} of {count} watchers were refused: {why}", opened.refused));
    }
    let mut crowd = opened.crowd;
    let mut setter = Session::open(server.address()).map_err(|error| error.to_string())?;
    let mut took = Vec::new();
    for repetition in 0..repetitions {
        crowd.ask(&Request::GetData(PATH, true), Xid(repetition as i32 + 1))?;
        let begun = Instant::now();
        setter.submit(&Request::SetData(PATH, Some(b"changed"), -1));
        setter.flush().map_err(|error| error.to_string())?;
        crowd.hear_event()?;
        took.push(begun.elapsed());
        setter.answers().map_err(|error| error.to_string())?;
    }
    setter.close().map_err(|error| error.to_string())?;
    crowd.close()?;
    Ok(took)
}

/// Opens sessions at once: from the first connect to the last session, and how many were refused.
fn sessions(server: &Server, count: usize) -> Result<(Duration, usize), String> {
    let opened = Crowd::open(server.address(), count, count)?;
    if let Some(why) = &opened.why {
        eprintln!("{} of {count} sessions were refused: {why}", opened.refused);
    }
    opened.crowd.close()?;
    Ok((opened.took, opened.refused))
}
