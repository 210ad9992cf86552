//! `crowd`: crowds, rude clients and large trees against a real server, which it starts itself.
//!
//! Each scenario prints what was held and what it cost (memory, processor time, descriptors, as the kernel counts them), lets a
//! polite client work all the while and prints how that one was served, and checks bounds of correctness and memory. Speed is
//! printed and never checked. The last line is `crowd: N passed, M failed`.
//!
//! Not here: throughput (bench/load), and what happens to the disk.
#![forbid(unsafe_code)]

mod pipe;
mod probe;
mod report;
mod scenarios;
mod server;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

use crate::report::Report;

/// What to run, and against which server.
#[derive(Parser, Clone, Debug)]
pub struct Args {
    /// Scenarios: idle, slow, half, vanish, flood, large, children, watches. None is all.
    scenarios: Vec<String>,
    /// Part of the full crowd: 1 is ten thousand connections and a million nodes.
    #[arg(long, default_value_t = 1.0)]
    scale: f64,
    /// The program.
    #[arg(long, default_value = "target/release/ringkeeper")]
    ringkeeper: PathBuf,
    /// Drive Java's server with the jars of this directory instead.
    #[arg(long)]
    java: Option<PathBuf>,
    /// Where the server's directories are made.
    #[arg(long, default_value = "target")]
    dir: PathBuf,
    /// `uring`, `epoll` or `auto`.
    #[arg(long, default_value = "auto")]
    backend: String,
    /// Internal: holds so many sessions at an address until it is killed.
    #[arg(long, hide = true, num_args = 2)]
    hold: Option<Vec<String>>,
}

impl Args {
    /// So much of a full count, at least `least`.
    pub fn scaled(&self, full: u64, least: u64) -> u64 {
        ((full as f64 * self.scale) as u64).max(least)
    }
}

fn main() -> ExitCode {
    let args = Args::parse();
    if let Some(hold) = &args.hold {
        return scenarios::hold(hold);
    }
    let mut report = Report::default();
    for (name, run) in scenarios::ALL {
        if !args.scenarios.is_empty() && !args.scenarios.iter().any(|wanted| wanted == name) {
            continue;
        }
        report.begin(name);
        if let Err(error) = run(&args, &mut report) {
            report.check("the scenario ran to its end", false, error.to_string());
        }
    }
    report.end()
}
