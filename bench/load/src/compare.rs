//! Two servers, started here and driven in turn, and a table of medians.

use std::net::SocketAddr;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use client::Session;
use rustix::process::{Pid, Signal, kill_process};

use crate::args::{CompareArgs, Op, Plan, check_address};
use crate::{engine, setup};

/// How long a server may take to accept a session, and to end when it is told to.
const PATIENCE: Duration = Duration::from_secs(30);
/// Connections and requests outstanding on each.
const SHAPES: [(usize, usize); 3] = [(50, 16), (50, 1), (1, 1)];

struct Server {
    name: String,
    address: SocketAddr,
    child: Child,
}

/// One measurement.
#[derive(Clone, Copy, Default, Debug)]
struct Sample {
    throughput: f64,
    p50: f64,
    p99: f64,
    cpu: f64,
}

/// Runs the comparison and prints its table.
pub fn compare(args: &CompareArgs) -> Result<(), String> {
    if args.rounds == 0 {
        return Err("--rounds must be at least 1".to_owned());
    }
    let specs = [parse(&args.left)?, parse(&args.right)?];
    for (_, address, _) in &specs {
        check_address(*address, args.any_address)?;
    }
    let mut servers = Vec::new();
    for spec in specs {
        servers.push(Server::start(spec)?);
    }
    for server in &mut servers {
        server.wait_until_ready()?;
        setup::prepare(&server.plan(args, Op::Get, (1, 1)))?;
        for op in [Op::Get, Op::Set] {
            let mut plan = server.plan(args, op, SHAPES[0]);
            plan.warm_up = Duration::ZERO;
            plan.measure = Duration::try_from_secs_f64(args.prelude).map_err(|error| format!("--prelude: {error}"))?;
            engine::run(&plan)?;
        }
    }
    let mut samples = vec![[const { Vec::new() }; 2]; SHAPES.len() * 2];
    for round in 0..args.rounds {
        for (at, (shape, op)) in cases().enumerate() {
            // The order alternates, so that neither always runs in the other's wake.
            for turn in 0..2 {
                let who = (round + turn) % 2;
                let report = engine::run(&servers[who].plan(args, op, shape))?;
                if report.errors + report.unanswered > 0 {
                    return Err(format!("{} failed under load:\n{report}", servers[who].name));
                }
                eprint!("{}: {report}", servers[who].name);
                samples[at][who].push(Sample {
                    throughput: report.throughput(),
                    p50: report.latency_us(0.5),
                    p99: report.latency_us(0.99),
                    cpu: report.server_cpu_us().unwrap_or_default(),
                });
            }
        }
    }
    let names = [servers[0].name.as_str(), servers[1].name.as_str()];
    print!("{}", table(names, &samples));
    Ok(())
}

fn cases() -> impl Iterator<Item = ((usize, usize), Op)> {
    [Op::Get, Op::Set].into_iter().flat_map(|op| SHAPES.into_iter().map(move |shape| (shape, op)))
}

/// NAME,ADDRESS,COMMAND
fn parse(text: &str) -> Result<(String, SocketAddr, String), String> {
    let mut parts = text.splitn(3, ',');
    let (Some(name), Some(address), Some(command)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(format!("{text:?} is not NAME,ADDRESS,COMMAND"));
    };
    let address = address.parse().map_err(|error| format!("{address}: {error}"))?;
    Ok((name.to_owned(), address, command.to_owned()))
}

impl Server {
    fn start((name, address, command): (String, SocketAddr, String)) -> Result<Server, String> {
        if Session::open(address).is_ok() {
            return Err(format!("{name}: something answers at {address} already"));
        }
        let child = Command::new("sh")
            .args(["-c", &command])
            .stdout(std::io::stderr())
            .spawn()
            .map_err(|error| format!("{name}: {error}"))?;
        Ok(Server { name, address, child })
    }

    fn wait_until_ready(&mut self) -> Result<(), String> {
        let until = Instant::now() + PATIENCE;
        loop {
            match Session::open(self.address) {
                Ok(session) => return session.close().map_err(|error| format!("{}: {error}", self.name)),
                Err(error) if Instant::now() > until => return Err(format!("{}: {error}", self.name)),
                Err(_) => {}
            }
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(format!("{} ended with {status}", self.name));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn plan(&self, args: &CompareArgs, op: Op, (connections, outstanding): (usize, usize)) -> Plan {
        Plan {
            address: self.address,
            connections,
            outstanding,
            op,
            read_percent: 0,
            size: args.size,
            keys: args.keys.max(1),
            prefix: "/load".to_owned(),
            rate: None,
            warm_up: Duration::try_from_secs_f64(args.warm_up).unwrap_or_default(),
            measure: Duration::try_from_secs_f64(args.seconds).unwrap_or_default(),
            count: None,
            pid: Some(self.child.id()),
            threads: 1,
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // First the polite way; errors mean that it is gone already.
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            _ = kill_process(pid, Signal::TERM);
        }
        let until = Instant::now() + PATIENCE;
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(50));
        }
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

fn table(names: [&str; 2], samples: &[[Vec<Sample>; 2]]) -> String {
    let [left, right] = names;
    let mut text = format!(
        "| load | {left}: op/s | p50 µs | p99 µs | CPU µs/op | {right}: op/s | p50 µs | p99 µs | CPU µs/op | op/s ratio | CPU ratio |\n"
    );
    text.push_str("|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n");
    for (((connections, outstanding), op), pair) in cases().zip(samples) {
        let [a, b] = [medians(&pair[0]), medians(&pair[1])];
        let name = if op == Op::Get { "get" } else { "set" };
        text.push_str(&format!(
            "| {name} {connections}×{outstanding} | {:.0} | {:.0} | {:.0} | {:.2} | {:.0} | {:.0} | {:.0} | {:.2} | {:.2} | {:.2} |\n",
            a.throughput,
            a.p50,
            a.p99,
            a.cpu,
            b.throughput,
            b.p50,
            b.p99,
            b.cpu,
            a.throughput / b.throughput,
            a.cpu / b.cpu,
        ));
    }
    text
}

fn medians(samples: &[Sample]) -> Sample {
    let median = |field: fn(&Sample) -> f64| {
        let mut values: Vec<f64> = samples.iter().map(field).collect();
        values.sort_by(f64::total_cmp);
        match values.len() {
            0 => f64::NAN,
            n if n % 2 == 1 => values[n / 2],
            n => (values[n / 2 - 1] + values[n / 2]) / 2.0,
        }
    };
    Sample {
        throughput: median(|sample| sample.throughput),
        p50: median(|sample| sample.p50),
        p99: median(|sample| sample.p99),
        cpu: median(|sample| sample.cpu),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_may_contain_commas() {
        let (name, address, command) = parse("java,127.0.0.1:2181,exec java -cp a,b Main").unwrap();
        assert_eq!((name.as_str(), address.port(), command.as_str()), ("java", 2181, "exec java -cp a,b Main"));
        assert!(parse("java,127.0.0.1:2181").is_err());
        assert!(parse("java,nowhere,x").is_err());
    }

    #[test]
    fn the_table_shows_medians_and_ratios() {
        let sample = |cpu| Sample { throughput: 100.0 / cpu, p50: 1.0, p99: 2.0, cpu };
        let left = vec![sample(1.0), sample(9.0), sample(2.0)];
        let right = vec![sample(4.0), sample(4.0)];
        let samples = vec![[left, right]; 6];
        let table = table(["ours", "theirs"], &samples);
        assert_eq!(table.lines().count(), 8);
        assert!(table.contains("| get 50×16 | 50 | 1 | 2 | 2.00 | 25 | 1 | 2 | 4.00 | 2.00 | 0.50 |"), "{table}");
    }
}
