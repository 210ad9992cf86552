//! `load`: the command line of the load generator.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;
use load::args::{Args, Command, RunArgs};
use load::{engine, setup};

fn main() -> ExitCode {
    let Command::Run(args) = Args::parse().command;
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("load: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &RunArgs) -> Result<(), String> {
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
