//! `compare`: starts Java's ZooKeeper and Ringkeeper, puts the same loads on both by turns, and holds the medians against bars.
//!
//! Everything that is compared is measured in one run, on one machine, on one disk: figures of different runs do not meet.
//! `load` makes the requests; here is who is asked, in which order, and what the answers amount to.
//!
//! Not here: tuning, and judging whether an answer is right (the oracle does that).
#![forbid(unsafe_code)]

mod args;
mod bars;
mod crowd;
mod figures;
mod loads;
mod machine;
mod markdown;
mod million;
mod patience;
mod server;
mod trio;

use std::fs;
use std::process::ExitCode;
use std::time::SystemTime;

use clap::Parser;
use serde::Serialize;

use crate::args::Args;
use crate::bars::{BARS, Outcome};
use crate::figures::Figures;
use crate::machine::Machine;
use crate::server::{Described, Pair};

/// All that a run found.
#[derive(Serialize)]
struct Report {
    command_line: String,
    quick: bool,
    /// Seconds since 1970, and the same for people.
    began: u64,
    date: String,
    commit: String,
    machine: Machine,
    /// p50 of an append of 4 KiB with fdatasync, µs, at the beginning and the end.
    sync_us: [f64; 2],
    servers: [Described; 2],
    rounds: usize,
    figures: Figures,
    bars: Vec<Outcome>,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("compare: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<(), String> {
    let plan = args.plan()?;
    raise_descriptor_limit();
    let began = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |time| time.as_secs());
    let machine = Machine::look(&plan.directory)?;
    let sync_before = machine::sync_us(&plan.directory)?;
    let mut figures = Figures::default();
    let mut servers = None;
    if plan.small() {
        let mut pair = Pair::start(&plan)?;
        servers = Some(pair.describe()?);
        loads::measure(&plan, &mut pair, &mut figures)?;
    }
    if plan.large() {
        let mut pair = Pair::start(&plan)?;
        servers = Some(pair.describe()?);
        million::measure(&plan, &mut pair, &mut figures)?;
    }
    if plan.trio() {
        if servers.is_none() {
            servers = Some(Pair::start(&plan)?.describe()?);
        }
        trio::measure(&plan, &mut figures)?;
    }
    let servers = servers.ok_or("nothing to measure")?;
    let report = Report {
        command_line: std::env::args()
            .collect::<Vec<_>>()
            .join(" ")
            .replace(&plan.directory.display().to_string(), "DIRECTORY"),
        quick: args.quick,
        began,
        date: machine::date(),
        commit: machine::commit(),
        sync_us: [sync_before, machine::sync_us(&plan.directory)?],
        machine,
        servers,
        rounds: plan.rounds,
        bars: BARS.iter().filter_map(|bar| bar.hold_against(&figures)).collect(),
        figures,
    };
    let text = markdown::page(&report);
    if let Some(file) = &args.json {
        let json = serde_json::to_string_pretty(&report).expect("numbers and names are JSON");
        fs::write(file, json + "\n").map_err(|error| format!("{}: {error}", file.display()))?;
    }
    match &args.markdown {
        Some(file) => fs::write(file, &text).map_err(|error| format!("{}: {error}", file.display()))?,
        None => print!("{text}"),
    }
    for bar in &report.bars {
        eprintln!("{bar}");
    }
    if args.strict && report.bars.iter().any(|bar| !bar.met) {
        return Err("bars were missed".to_owned());
    }
    Ok(())
}

/// Two thousand sessions at once need as many descriptors.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }) {
        eprintln!("the limit of open files stays as it is: {error}");
    }
}
