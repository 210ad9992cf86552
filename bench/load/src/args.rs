//! The command line, and the plan that it means.

use std::net::SocketAddr;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};
use serde::Serialize;

/// Load over ZooKeeper's wire protocol, and what it costs the server.
#[derive(Parser, Debug)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Drive one server that is already running.
    Run(RunArgs),
}

/// What the requests do.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Op {
    /// getData of a random key.
    Get,
    /// setData of a random key.
    Set,
    /// create of a new znode.
    Create,
    /// getData and setData, in the proportion of --read-percent.
    Mix,
    /// create of a new znode and delete of the same, by turns.
    Churn,
}

/// Options of `load run`.
#[derive(clap::Args, Clone, Debug)]
pub struct RunArgs {
    /// Address of the server; only this machine's own unless --any-address.
    #[arg(long, default_value = "127.0.0.1:2181")]
    pub address: SocketAddr,
    /// Allow addresses of other machines.
    #[arg(long)]
    pub any_address: bool,
    /// Connections, each with its session.
    #[arg(long, default_value_t = 50)]
    pub connections: usize,
    /// Requests outstanding per connection; in an open loop, the most that may be.
    #[arg(long, default_value_t = 16)]
    pub outstanding: usize,
    /// What the requests do.
    #[arg(long, value_enum, default_value_t = Op::Get)]
    pub op: Op,
    /// Share of gets in a mix, percent.
    #[arg(long, default_value_t = 80, value_parser = clap::value_parser!(u32).range(0..=100))]
    pub read_percent: u32,
    /// Bytes of data per znode.
    #[arg(long, default_value_t = 100)]
    pub size: usize,
    /// Number of znodes that get and set use.
    #[arg(long, default_value_t = 1000)]
    pub keys: usize,
    /// Where the znodes are.
    #[arg(long, default_value = "/load")]
    pub path_prefix: String,
    /// Open loop: requests per second over all connections.
    #[arg(long)]
    pub rate: Option<f64>,
    /// Seconds before measuring begins.
    #[arg(long, default_value_t = 2.0)]
    pub warm_up: f64,
    /// Seconds to measure.
    #[arg(long, default_value_t = 10.0)]
    pub seconds: f64,
    /// Stop measuring after this many requests, if that comes first.
    #[arg(long)]
    pub count: Option<u64>,
    /// Process of the server, to report its CPU time per operation.
    #[arg(long)]
    pub pid: Option<u32>,
    /// Threads that drive the connections.
    #[arg(long, default_value_t = 1)]
    pub threads: usize,
    /// Print JSON instead of a table.
    #[arg(long)]
    pub json: bool,
}

/// One run, checked.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The server.
    pub address: SocketAddr,
    /// At least 1.
    pub connections: usize,
    /// At least 1.
    pub outstanding: usize,
    /// What the requests do.
    pub op: Op,
    /// 0 to 100.
    pub read_percent: u32,
    /// Bytes of data.
    pub size: usize,
    /// At least 1.
    pub keys: usize,
    /// A path without a trailing slash.
    pub prefix: String,
    /// Requests per second; `None` is a closed loop.
    pub rate: Option<f64>,
    /// Before measuring.
    pub warm_up: Duration,
    /// Of measuring.
    pub measure: Duration,
    /// Requests to measure at most.
    pub count: Option<u64>,
    /// The server's process.
    pub pid: Option<u32>,
    /// 1 to the number of connections.
    pub threads: usize,
    /// Keep every latency with the time at which it began, beside the histogram.
    pub keep_samples: bool,
}

impl RunArgs {
    /// Checks the options.
    pub fn plan(&self) -> Result<Plan, String> {
        check_address(self.address, self.any_address)?;
        let at_least_one = |name: &str, value: usize| match value {
            0 => Err(format!("--{name} must be at least 1")),
            _ => Ok(value),
        };
        let duration = |name: &str, seconds: f64| {
            Duration::try_from_secs_f64(seconds).map_err(|error| format!("--{name} {seconds}: {error}"))
        };
        if self.rate.is_some_and(|rate| !(rate.is_finite() && rate > 0.0)) {
            return Err("--rate must be a positive number".to_owned());
        }
        proto::path::check(&self.path_prefix)
            .map_err(|error| format!("--path-prefix {}: {error}", self.path_prefix))?;
        if self.path_prefix == "/" {
            return Err("--path-prefix must not be /".to_owned());
        }
        let connections = at_least_one("connections", self.connections)?;
        Ok(Plan {
            address: self.address,
            connections,
            outstanding: at_least_one("outstanding", self.outstanding)?,
            op: self.op,
            read_percent: self.read_percent,
            size: self.size,
            keys: at_least_one("keys", self.keys)?,
            prefix: self.path_prefix.clone(),
            rate: self.rate,
            warm_up: duration("warm-up", self.warm_up)?,
            measure: duration("seconds", self.seconds)?,
            count: self.count,
            pid: self.pid,
            threads: at_least_one("threads", self.threads)?.min(connections),
            keep_samples: false,
        })
    }
}

/// Refuses to put load on other machines by accident.
pub fn check_address(address: SocketAddr, any: bool) -> Result<(), String> {
    if any || address.ip().is_loopback() {
        return Ok(());
    }
    Err(format!("{address} is not this machine; say --any-address if you mean it"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(args: &[&str]) -> Result<Plan, String> {
        let args = Args::try_parse_from(["load", "run"].iter().chain(args)).map_err(|error| error.to_string())?;
        let Command::Run(run) = args.command;
        run.plan()
    }

    #[test]
    fn other_machines_are_refused_unless_meant() {
        assert!(plan(&["--address", "127.0.3.4:2181"]).is_ok());
        assert!(plan(&["--address", "[::1]:2181"]).is_ok());
        assert!(plan(&["--address", "192.0.2.1:2181"]).is_err());
        assert!(plan(&["--address", "192.0.2.1:2181", "--any-address"]).is_ok());
    }

    #[test]
    fn senseless_plans_are_refused() {
        for args in [
            ["--connections", "0"],
            ["--outstanding", "0"],
            ["--keys", "0"],
            ["--rate", "0"],
            ["--rate", "NaN"],
            ["--seconds", "-1"],
            ["--path-prefix", "/"],
            ["--path-prefix", "load"],
            ["--read-percent", "101"],
        ] {
            assert!(plan(&args).is_err(), "{args:?}");
        }
        assert_eq!(plan(&["--connections", "2", "--threads", "8"]).unwrap().threads, 2);
    }
}
