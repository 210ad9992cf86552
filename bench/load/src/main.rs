//! `load`: load over ZooKeeper's wire protocol, and what it costs the server.
//!
//! `load run` drives one server; `load compare` starts two and drives them in turn. Closed loop: each connection keeps a
//! number of requests outstanding. Open loop (`--rate`): requests are due at fixed instants, and a latency counts from the
//! instant at which the request was due, so that a server that stalls is charged for all that should have happened meanwhile.
//!
//! Not here: correctness (an error number is counted and reported, no more) and clean-up of the znodes that were made.
#![forbid(unsafe_code)]

mod args;
mod compare;
mod connection;
mod cpu;
mod engine;
mod report;
mod setup;
mod workload;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let result = match args::Args::parse().command {
        args::Command::Run(args) => run(&args),
        args::Command::Compare(args) => compare::compare(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("load: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &args::RunArgs) -> Result<(), String> {
    let plan = args.plan()?;
    setup::prepare(&plan)?;
    let report = engine::run(&plan)?;
    if args.json {
        println!("{}", report.json());
    } else {
        print!("{report}");
    }
    Ok(())
}
