//! Cases on a large tree: what a znode takes in memory, what a snapshot does to writers, how soon a restarted server answers.

use std::net::SocketAddr;
use std::ops::ControlFlow::{Break, Continue};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use client::{Request, Session};
use load::args::{Op, Plan as Load};
use load::report::Report;
use load::{engine, setup};
use proto::Op as ZkOp;

use crate::args::{Case, Plan};
use crate::figures::{Figures, Measure, Who, quantile};
use crate::loads::load;
use crate::patience::{self, PATIENCE};
use crate::server::{Pair, Server};

/// Requests that the filling client sends at once.
const BATCH: usize = 2000;
/// Children of each parent.
const SIBLINGS: usize = 1000;
/// Sets per second beside the snapshot: well below what either server can do.
const RATE: f64 = 2000.0;
/// A server is quiet when it has written no snapshot for this long.
const QUIET: Duration = Duration::from_secs(2);

/// Fills both servers, and measures what the plan wants.
pub fn measure(plan: &Plan, pair: &mut Pair, figures: &mut Figures) -> Result<(), String> {
    let memory = Case::Memory.name();
    let mut empty = [0.0; 2];
    for who in [Who::Java, Who::Ringkeeper] {
        let server = pair.get(who);
        let live_before = server.live_heap();
        empty[who as usize] = server.resident()?;
        let begun = Instant::now();
        fill(server, plan.znodes)?;
        settle(server)?;
        eprintln!("{who:?}: {} znodes made in {:.1?}", plan.znodes, begun.elapsed());
        let per_znode = |bytes: f64| bytes / plan.znodes as f64;
        if plan.wants(Case::Memory) {
            figures.add(&memory, Measure::Resident, who, per_znode(server.resident()? - empty[who as usize]));
            if let (Some(before), Some(after)) = (live_before, server.live_heap()) {
                figures.add(&memory, Measure::LiveHeap, who, per_znode(after - before));
            }
        }
        setup::prepare(&load(plan, server, Op::Set, 1, 1))?;
    }
    if plan.wants(Case::Snapshot) {
        for round in 0..plan.rounds {
            for who in Who::turns(round) {
                let found = snapshot(plan, pair.get(who))?;
                eprintln!(
                    "round {}, {who:?}: snapshot in {:.2?}, p99 {:.0} µs during, {:.0} µs without",
                    round + 1,
                    found.took,
                    found.during_us,
                    found.without_us
                );
                let name = Case::Snapshot.name();
                figures.add(&name, Measure::SnapshotTime, who, found.took.as_secs_f64());
                figures.add(&name, Measure::P99During, who, found.during_us);
                figures.add(&name, Measure::P99, who, found.without_us);
                figures.add(&name, Measure::P99Ratio, who, found.during_us / found.without_us);
            }
        }
    }
    if plan.wants(Case::Restart) {
        for who in [Who::Java, Who::Ringkeeper] {
            // So that the log behind the newest snapshot is short.
            write_snapshot(plan, pair.get(who))?;
        }
        let last = path(plan.znodes - 1);
        for round in 0..plan.rounds {
            for who in Who::turns(round) {
                let server = pair.get_mut(who);
                server.stop();
                let took = server.start_until(|session| match session.exists(&last, false) {
                    Ok(Some(_)) => Ok(()),
                    other => Err(format!("{last}: {other:?}")),
                })?;
                let cpu = load::cpu::of(server.pid().unwrap_or_default())?;
                eprintln!("round {}, {who:?}: answered {took:.2?} after exec, with {cpu:.2?} of CPU", round + 1);
                figures.add(&Case::Restart.name(), Measure::StartCpu, who, cpu.as_secs_f64());
                figures.add(&Case::Restart.name(), Measure::Time, who, took.as_secs_f64() * 1e3);
                let grown = server.resident()? - empty[who as usize];
                figures.add(&Case::Restart.name(), Measure::ResidentAfterRestart, who, grown / plan.znodes as f64);
            }
        }
    }
    Ok(())
}

/// 46 characters.
fn path(number: usize) -> String {
    format!("{}/a-child-number-{:06}", parent(number / SIBLINGS), number % SIBLINGS)
}

fn parent(number: usize) -> String {
    format!("/bench/parent-{number:010}")
}

/// Makes the znodes, 100 bytes each.
fn fill(server: &Server, znodes: usize) -> Result<(), String> {
    fill_at(server.address(), znodes)
}

/// The same through any member of an ensemble.
pub fn fill_at(address: SocketAddr, znodes: usize) -> Result<(), String> {
    let told = |error: client::Error| format!("{address}: {error}");
    let mut session = Session::open(address).map_err(told)?;
    session.set_deadline(Duration::from_secs(60));
    session.create("/bench", b"", 0).map_err(told)?;
    let acl = client::wire::open_acl();
    let data = load::workload::data(100);
    let parents = (0..znodes.div_ceil(SIBLINGS)).map(|number| (parent(number), &b""[..]));
    let all: Vec<(String, &[u8])> = parents.chain((0..znodes).map(|number| (path(number), &data[..]))).collect();
    for batch in all.chunks(BATCH) {
        for (path, data) in batch {
            session.submit(&Request::Create { op: ZkOp::Create, path, data: Some(data), acl: &acl, flags: 0 });
        }
        for answer in session.answers().map_err(told)? {
            if answer.reply.err != 0 {
                return Err(told(client::Error::Code(answer.reply)));
            }
        }
    }
    session.close().map_err(told)
}

/// Returns when no snapshot is being written.
fn settle(server: &Server) -> Result<(), String> {
    let mut seen = (server.metric(COUNT)?, server.snapshot_files()?);
    let mut since = Instant::now();
    while since.elapsed() < QUIET {
        thread::sleep(Duration::from_millis(100));
        let now = (server.metric(COUNT)?, server.snapshot_files()?);
        if now != seen {
            (seen, since) = (now, Instant::now());
        }
    }
    Ok(())
}

/// Snapshots that are finished, as `mntr` counts them.
const COUNT: &str = "zk_cnt_snapshottime";

/// Writes until a snapshot was made. Returns when it began and ended.
fn write_snapshot(plan: &Plan, server: &Server) -> Result<(Instant, Instant), String> {
    let (files, count) = (server.snapshot_files()?, server.metric(COUNT)?);
    let pump = Load { warm_up: Duration::ZERO, measure: PATIENCE, ..load(plan, server, Op::Set, 50, 16) };
    let began = AtomicBool::new(false);
    engine::run_until(&pump, || {
        let fresh = server.snapshot_files().is_ok_and(|now| now.keys().any(|name| !files.contains_key(name)));
        began.store(fresh, Ordering::Relaxed);
        fresh
    })?;
    if !began.into_inner() {
        return Err("no snapshot began".to_owned());
    }
    let began = Instant::now();
    patience::until(Duration::from_millis(20), || match server.metric(COUNT) {
        Ok(now) if now <= count => Continue("the snapshot does not end".to_owned()),
        answer => Break(answer),
    })?;
    Ok((began, Instant::now()))
}

/// What writers felt of a snapshot.
struct Felt {
    took: Duration,
    during_us: f64,
    without_us: f64,
}

/// Sets at a steady rate all the time; other sets bring a snapshot about. What was due while these ran is left out.
fn snapshot(plan: &Plan, server: &Server) -> Result<Felt, String> {
    let done = AtomicBool::new(false);
    let steady = Load {
        rate: Some(RATE),
        warm_up: Duration::ZERO,
        measure: 2 * PATIENCE,
        keep_samples: true,
        ..load(plan, server, Op::Set, 50, 16)
    };
    let (report, window) = thread::scope(|scope| {
        let steady = scope.spawn(|| engine::run_until(&steady, || done.load(Ordering::Relaxed)));
        let window = write_snapshot(plan, server).map(|(began, ended)| {
            // The quiet window is as long as the other, and at least long enough for a percentile.
            thread::sleep(GAP);
            let quiet = Instant::now();
            thread::sleep((ended - began).max(plan.measure));
            [(began, ended), (quiet, Instant::now())]
        });
        done.store(true, Ordering::Relaxed);
        (steady.join().map_err(|_| "a thread panicked".to_owned()), window)
    });
    let (report, [during, quiet]) = (report??, window?);
    if report.errors + report.unanswered > 0 {
        return Err(format!("failed under load:\n{report}"));
    }
    Ok(Felt { took: during.1 - during.0, during_us: p99_us(&report, during), without_us: p99_us(&report, quiet) })
}

/// Between a snapshot's end and the quiet window.
const GAP: Duration = Duration::from_secs(1);

/// Of the requests that were due within a window.
fn p99_us(report: &Report, window: (Instant, Instant)) -> f64 {
    let ns = |at: Instant| at.saturating_duration_since(report.started).as_nanos() as u64;
    let within = ns(window.0)..ns(window.1);
    let latencies: Vec<f64> = report
        .samples
        .iter()
        .filter(|(due_ns, _)| within.contains(due_ns))
        .map(|(_, latency_ns)| *latency_ns as f64 / 1e3)
        .collect();
    quantile(&latencies, 0.99)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_as_long_as_the_bar_says_and_all_different() {
        let paths: std::collections::BTreeSet<String> = (0..3000).map(path).collect();
        assert_eq!(paths.len(), 3000);
        assert!(paths.iter().all(|path| path.len() == 46));
        assert!(path(2999).starts_with(&parent(2)));
    }
}
