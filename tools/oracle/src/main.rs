//! The Java server as oracle: random sequences of requests go in lockstep to a Java server and to ours, and replies, stats,
//! events and the whole tree afterwards must agree. A sequence that fails is made short and written to a file that
//! `oracle replay` runs again.
//!
//! What is known to differ stands in [`differences`] and in docs/compatibility.md. The servers are started by this tool on fresh
//! directories; only in `replay` may they be servers that run already.
#![forbid(unsafe_code)]

mod differences;
mod generate;
mod pair;
mod script;
mod server;
mod shrink;
mod side;

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Args, Parser, Subcommand};

use crate::pair::{Difference, Pair};
use crate::script::Step;
use crate::server::Kind;

#[derive(Parser, Debug)]
#[command(about = "Compares our server with a Java one, request by request")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Random sequences.
    Run {
        #[command(flatten)]
        servers: Servers,
        /// Seed of all; printed if it is not given.
        #[arg(long)]
        seed: Option<u64>,
        /// Requests to send in all.
        #[arg(long, default_value_t = 20_000)]
        requests: u64,
        /// Requests in one sequence.
        #[arg(long, default_value_t = 400)]
        length: usize,
        /// Number of the first sequence.
        #[arg(long, default_value_t = 0)]
        first: u64,
        /// Differing sequences after which to stop.
        #[arg(long, default_value_t = 1)]
        failures: usize,
        /// Seconds to spend on making one failing sequence short.
        #[arg(long, default_value_t = 90)]
        shrink: u64,
        /// Where failing sequences are written.
        #[arg(long, default_value = "target/oracle")]
        out: PathBuf,
    },
    /// One sequence from a file.
    Replay {
        #[command(flatten)]
        servers: Servers,
        /// The file.
        file: PathBuf,
        /// A Java server that runs already; `--ours-at` must be given too.
        #[arg(long, requires = "ours_at")]
        java_at: Option<SocketAddr>,
        /// Our server that runs already.
        #[arg(long, requires = "java_at")]
        ours_at: Option<SocketAddr>,
    },
    /// What is known to differ.
    Differences,
}

#[derive(Args, Debug)]
struct Servers {
    /// Class path of the Java server.
    #[arg(long, default_value = "/etc/zookeeper/conf:/usr/share/java/*")]
    java: String,
    /// Our binary.
    #[arg(long, default_value = "target/release/ringkeeper")]
    ours: PathBuf,
}

impl Servers {
    fn start(&self) -> io::Result<Pair> {
        Pair::start(&Kind::Java(self.java.clone()), &Kind::Ours(fs::canonicalize(&self.ours)?))
    }
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Run { servers, seed, requests, length, first, failures, shrink, out } => {
            let seed = seed.unwrap_or_else(|| {
                let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
                now.map_or(1, |now| u64::from(now.subsec_nanos()) ^ now.as_secs())
            });
            run(&servers, &Plan { seed, requests, length, first, failures, shrink: Duration::from_secs(shrink), out })
        }
        Command::Replay { servers, file, java_at, ours_at } => replay(&servers, &file, java_at.zip(ours_at)),
        Command::Differences => {
            print_differences();
            Ok(true)
        }
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("oracle: {error}");
            ExitCode::from(2)
        }
    }
}

fn print_differences() {
    println!("known differences:");
    for known in differences::KNOWN {
        let against = if known.contract { "3.9.5" } else { "3.8" };
        println!("  {} ({against}): {}; {}", known.name, known.what, known.then);
    }
}

struct Plan {
    seed: u64,
    requests: u64,
    length: usize,
    first: u64,
    failures: usize,
    shrink: Duration,
    out: PathBuf,
}

fn run(servers: &Servers, plan: &Plan) -> io::Result<bool> {
    println!("seed {}, {} requests, {} a sequence", plan.seed, plan.requests, plan.length);
    print_differences();
    let began = Instant::now();
    let mut pair = servers.start()?;
    let (mut passed, mut failed, mut sent) = (0u64, 0usize, 0u64);
    let mut number = plan.first;
    while sent + pair.requests < plan.requests && failed < plan.failures {
        let steps = generate::script(plan.seed, number, plan.length, pair.era());
        if let Err(difference) = pair.run(&steps) {
            failed += 1;
            println!("sequence {number} of seed {} differs at step {} of {}:", plan.seed, difference.step, steps.len());
            show(&difference);
            println!("{}", pair.logs());
            sent += pair.requests;
            // After a difference the two are no longer alike, so each failure wants new ones.
            pair = servers.start()?;
            let mut error = None;
            let (short, difference) = shrink::shrink(steps, difference, plan.shrink, &mut |steps| {
                let found = pair.run(steps).err()?;
                match servers.start() {
                    Ok(fresh) => pair = fresh,
                    Err(why) => error = Some(why),
                }
                Some(found)
            });
            if let Some(error) = error {
                return Err(error);
            }
            fs::create_dir_all(&plan.out)?;
            let file = plan.out.join(format!("{}-{number}.jsonl", plan.seed));
            write(&file, &short)?;
            println!("in short, {} steps:", short.len());
            for step in &short {
                println!("  {}", serde_json::to_string(step)?);
            }
            show(&difference);
            println!("again: oracle replay --java '{}' {}", servers.java, file.display());
            pair = servers.start()?;
        } else {
            passed += 1;
        }
        number += 1;
    }
    sent += pair.requests;
    println!("answers of the last pair of servers, by operation and error:");
    for (operation, errors) in &pair.tally {
        let errors: Vec<String> = errors.iter().rev().map(|(err, count)| format!("{err} {count}")).collect();
        println!("  {operation}: {}", errors.join(", "));
    }
    println!("{sent} requests in {} sequences, {:.0} s", passed + failed as u64, began.elapsed().as_secs_f64());
    println!("oracle: {passed} passed, {failed} failed");
    Ok(failed == 0)
}

fn replay(servers: &Servers, file: &PathBuf, at: Option<(SocketAddr, SocketAddr)>) -> io::Result<bool> {
    let text = fs::read_to_string(file)?;
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let steps: Vec<Step> = lines.map(serde_json::from_str).collect::<Result<_, _>>()?;
    let mut pair = match at {
        Some((java, ours)) => Pair::of(java, ours)?,
        None => servers.start()?,
    };
    match pair.run(&steps) {
        Ok(()) => {
            println!("no difference in {} steps", steps.len());
            Ok(true)
        }
        Err(difference) => {
            show(&difference);
            println!("{}", pair.logs());
            Ok(false)
        }
    }
}

fn write(file: &PathBuf, steps: &[Step]) -> io::Result<()> {
    let mut text = String::new();
    for step in steps {
        text.push_str(&serde_json::to_string(step)?);
        text.push('\n');
    }
    fs::write(file, text)
}

fn show(difference: &Difference) {
    println!("  at {}", difference.what);
    let lines = difference.java.len().max(difference.ours.len());
    for index in 0..lines {
        let (java, ours) = (difference.java.get(index), difference.ours.get(index));
        if java == ours {
            println!("    both {}", java.map_or("", String::as_str));
        } else {
            println!("    java {}", java.map_or("(nothing)", String::as_str));
            println!("    ours {}", ours.map_or("(nothing)", String::as_str));
        }
    }
}
