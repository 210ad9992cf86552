//! What a run found, for people and for programs.

use std::fmt;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::args::Op;
use crate::engine::Latencies;

/// What a run found.
pub struct Report {
    /// What the requests did.
    pub op: Op,
    /// Connections.
    pub connections: usize,
    /// Requests outstanding per connection.
    pub outstanding: usize,
    /// Open loop: requests per second.
    pub rate: Option<f64>,
    /// Bytes of data.
    pub size: usize,
    /// Length of the window.
    pub seconds: f64,
    /// Answers that came within the window.
    pub completed: u64,
    /// Of all measured, how many were answered with an error number.
    pub errors: u64,
    /// Requests without an answer at the end.
    pub unanswered: u64,
    /// Of every request that was due within the window.
    pub latencies: Latencies,
    /// If the plan wanted them: ns from the start of the run to when a request was due, and its latency in ns.
    pub samples: Vec<(u64, u64)>,
    /// Start of the run, warm-up included.
    pub started: Instant,
    /// CPU time of the server within the window.
    pub server_cpu: Option<Duration>,
    /// CPU time of this process within the window.
    pub own_cpu: Duration,
}

#[derive(Serialize)]
struct Json {
    op: Op,
    connections: usize,
    outstanding: usize,
    rate: Option<f64>,
    size: usize,
    seconds: f64,
    completed: u64,
    errors: u64,
    unanswered: u64,
    operations_per_second: f64,
    latency_us: Percentiles,
    server_cpu_us_per_operation: Option<f64>,
    server_cores: Option<f64>,
    load_cores: f64,
}

#[derive(Serialize)]
struct Percentiles {
    mean: f64,
    p50: f64,
    p90: f64,
    p99: f64,
    p999: f64,
    max: f64,
}

impl Report {
    /// Requests per second.
    pub fn throughput(&self) -> f64 {
        if self.seconds > 0.0 { self.completed as f64 / self.seconds } else { 0.0 }
    }

    /// A latency in µs; `quantile` from 0 to 1.
    pub fn latency_us(&self, quantile: f64) -> f64 {
        self.latencies.value_at_quantile(quantile) as f64 / 1000.0
    }

    /// CPU µs that the server spent per request; the same number is CPU seconds per million.
    pub fn server_cpu_us(&self) -> Option<f64> {
        (self.completed > 0).then_some(())?;
        self.server_cpu.map(|time| time.as_secs_f64() * 1e6 / self.completed as f64)
    }

    /// Cores that the load generator used.
    pub fn own_cores(&self) -> f64 {
        self.cores(self.own_cpu)
    }

    fn cores(&self, time: Duration) -> f64 {
        if self.seconds > 0.0 { time.as_secs_f64() / self.seconds } else { 0.0 }
    }

    /// One line of JSON.
    pub fn json(&self) -> String {
        let json = Json {
            op: self.op,
            connections: self.connections,
            outstanding: self.outstanding,
            rate: self.rate,
            size: self.size,
            seconds: self.seconds,
            completed: self.completed,
            errors: self.errors,
            unanswered: self.unanswered,
            operations_per_second: self.throughput(),
            latency_us: Percentiles {
                mean: self.latencies.mean() / 1000.0,
                p50: self.latency_us(0.5),
                p90: self.latency_us(0.9),
                p99: self.latency_us(0.99),
                p999: self.latency_us(0.999),
                max: self.latencies.max() as f64 / 1000.0,
            },
            server_cpu_us_per_operation: self.server_cpu_us(),
            server_cores: self.server_cpu.map(|time| self.cores(time)),
            load_cores: self.own_cores(),
        };
        serde_json::to_string(&json).expect("numbers and names are JSON")
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = self.rate.map_or("closed loop".to_owned(), |rate| format!("open loop at {rate}/s"));
        writeln!(f, "{:?} {}x{}, {} bytes, {kind}", self.op, self.connections, self.outstanding, self.size)?;
        writeln!(f, "  {:>12.0} operations/s  ({} in {:.2} s)", self.throughput(), self.completed, self.seconds)?;
        writeln!(
            f,
            "  latency µs    p50 {:.0}   p90 {:.0}   p99 {:.0}   p99.9 {:.0}   max {:.0}",
            self.latency_us(0.5),
            self.latency_us(0.9),
            self.latency_us(0.99),
            self.latency_us(0.999),
            self.latencies.max() as f64 / 1000.0
        )?;
        if let (Some(time), Some(per_operation)) = (self.server_cpu, self.server_cpu_us()) {
            let cores = self.cores(time);
            writeln!(f, "  server CPU    {per_operation:.2} s per million operations, {cores:.2} cores")?;
        }
        writeln!(f, "  load's CPU    {:.2} cores", self.own_cores())?;
        if self.errors > 0 || self.unanswered > 0 {
            writeln!(f, "  {} errors, {} without an answer", self.errors, self.unanswered)?;
        }
        Ok(())
    }
}
