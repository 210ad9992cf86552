//! Runs seeds, replays one, or steps through one.

use std::io::BufRead;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use clap::{Parser, Subcommand};
use simulator::agenda::MS;
use simulator::ledger::Violation;
use simulator::plan::Plan;
use simulator::view;
use simulator::world::{Counts, Simulation};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
#[command(about = "Whole ensembles under one seed and virtual time")]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs many seeds and prints totals; SIGINT or SIGTERM ends it behind the seeds under way.
    Run {
        /// How many.
        #[arg(long, default_value_t = 100)]
        seeds: u64,
        /// The first.
        #[arg(long, default_value_t = 1)]
        from: u64,
        /// Threads.
        #[arg(long, default_value_t = 1)]
        jobs: usize,
        /// Goes on behind a failure.
        #[arg(long)]
        go_on: bool,
        /// Only those in which members have Java's habits.
        #[arg(long)]
        java: bool,
    },
    /// Runs one seed again and prints what happens.
    Replay {
        /// Which.
        #[arg(long)]
        seed: u64,
        /// Prints the log lines of the members as well.
        #[arg(long)]
        logs: bool,
    },
    /// Shows a moment of a run; then a line each: empty for the next event, a number of milliseconds, or q.
    Step {
        /// Which.
        #[arg(long)]
        seed: u64,
        /// The moment, in milliseconds.
        #[arg(long, default_value_t = 0)]
        at: u64,
    },
}

type Outcome = (Result<(), Violation>, Counts, Option<Vec<String>>);

fn run(seed: u64, trace: bool) -> Outcome {
    let mut simulation = Simulation::new(Plan::new(seed));
    if trace {
        simulation.trace();
    }
    let held = catch_unwind(AssertUnwindSafe(|| simulation.run()));
    let held = held.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Err(Violation { invariant: "NoPanic", what: text.unwrap_or_default() })
    });
    (held, simulation.counts(), simulation.trace.take())
}

#[derive(Default)]
struct Totals {
    done: u64,
    counts: Counts,
    failed: Vec<u64>,
}

impl Totals {
    fn print(&self, from: u64, began: Instant) {
        let (seeds, counts) = (self.done, &self.counts);
        println!(
            "{seeds} seeds from {from} in {} s, {} failed; {counts}",
            began.elapsed().as_secs(),
            self.failed.len()
        );
    }
}

fn run_many(seeds: u64, from: u64, jobs: usize, go_on: bool, java: bool) -> ExitCode {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        if let Err(error) = signal_hook::flag::register(signal, Arc::clone(&stop)) {
            eprintln!("an interruption will show no totals: {error}");
        }
    }
    let began = Instant::now();
    let next = AtomicU64::new(from);
    let totals = Mutex::new(Totals::default());
    std::thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Relaxed);
                    if seed >= from + seeds || stop.load(Relaxed) {
                        return;
                    }
                    if java && Plan::new(seed).java.is_empty() {
                        continue;
                    }
                    let (held, counts, _) = run(seed, false);
                    let mut totals = totals.lock().unwrap_or_else(PoisonError::into_inner);
                    totals.done += 1;
                    totals.counts.add(&counts);
                    if let Err(Violation { invariant, what }) = held {
                        println!("seed {seed} at {} ms: {invariant}: {what}", counts.micros / MS);
                        totals.failed.push(seed);
                        if !go_on {
                            next.store(from + seeds, Relaxed);
                        }
                    }
                    if totals.done.is_multiple_of(1_000) {
                        totals.print(from, began);
                    }
                }
            });
        }
    });
    let totals = totals.into_inner().unwrap_or_else(PoisonError::into_inner);
    totals.print(from, began);
    println!("simulator: {} passed, {} failed", totals.done - totals.failed.len() as u64, totals.failed.len());
    match totals.failed.first() {
        None => ExitCode::SUCCESS,
        Some(first) => {
            println!("failed: {:?}; see one with: cargo run -p simulator -- replay --seed {first}", totals.failed);
            ExitCode::FAILURE
        }
    }
}

fn replay(seed: u64) -> ExitCode {
    println!("{:#?}", Plan::new(seed));
    let (held, counts, trace) = run(seed, true);
    trace.into_iter().flatten().for_each(|line| println!("{line}"));
    println!("{counts}");
    match held {
        Ok(()) => ExitCode::SUCCESS,
        Err(Violation { invariant, what }) => {
            println!("{invariant}: {what}");
            ExitCode::FAILURE
        }
    }
}

fn step(seed: u64, at: u64) -> Result<(), Violation> {
    let mut simulation = Simulation::new(Plan::new(seed));
    simulation.trace();
    simulation.advance(at * MS)?;
    println!("{}", view::show(&simulation));
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        match line.trim() {
            "q" => break,
            "" => _ = simulation.step()?,
            number => match number.parse::<u64>() {
                Ok(ms) => simulation.advance(simulation.now() + ms * MS)?,
                Err(_) => println!("an empty line, a number of milliseconds, or q"),
            },
        }
        simulation.trace.as_mut().into_iter().flat_map(std::mem::take).for_each(|line| println!("{line}"));
        println!("{}", view::show(&simulation));
    }
    Ok(())
}

fn main() -> ExitCode {
    match Args::parse().command {
        Command::Run { seeds, from, jobs, go_on, java } => run_many(seeds, from, jobs, go_on, java),
        Command::Replay { seed, logs } => {
            if logs {
                tracing_subscriber::fmt().without_time().with_max_level(tracing::Level::DEBUG).init();
            }
            replay(seed)
        }
        Command::Step { seed, at } => match step(seed, at) {
            Ok(()) => ExitCode::SUCCESS,
            Err(Violation { invariant, what }) => {
                println!("{invariant}: {what}");
                ExitCode::FAILURE
            }
        },
    }
}
