//! Clients whose machine disappears: no FIN, no RST, nothing. They live in a network namespace whose cable is pulled.
//!
//! Needs the right to make one; without it the scenario says so and checks nothing.

use std::io::{self, BufRead, BufReader, Read};
use std::process::{Child, Command, ExitCode, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use client::Request;

use crate::Args;
use crate::pipe::Pipe;
use crate::probe::Probe;
use crate::report::Report;
use crate::server::{Launch, until};

const SESSION_MS: u64 = 4_000;
const SESSIONLESS_MS: u64 = 2_000;
const NEAR: &str = "10.231.77.1";
const FAR: &str = "10.231.77.2";

/// The namespace and the cable; both go when this is dropped.
struct Cable {
    name: String,
    near: String,
}

impl Cable {
    fn lay() -> Option<Cable> {
        let pid = std::process::id();
        let cable = Cable { name: format!("crowd{pid}"), near: format!("cr{pid}a") };
        let far = format!("cr{pid}b");
        let Cable { name, near } = &cable;
        let steps = [
            format!("netns add {name}"),
            format!("link add {near} type veth peer name {far} netns {name}"),
            format!("addr add {NEAR}/30 dev {near}"),
            format!("link set {near} up"),
            format!("-n {name} addr add {FAR}/30 dev {far}"),
            format!("-n {name} link set {far} up"),
            format!("-n {name} link set lo up"),
        ];
        steps.iter().all(|step| ip(step)).then_some(cable)
    }

    fn pull(&self) {
        ip(&format!("link set {} down", self.near));
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        ip(&format!("link del {}", self.near));
        ip(&format!("netns del {}", self.name));
    }
}

fn ip(arguments: &str) -> bool {
    let mut command = Command::new("ip");
    command.args(arguments.split(' ')).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

struct Far(Child);

impl Drop for Far {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub fn run(args: &Args, report: &mut Report) -> io::Result<()> {
    let count = args.scaled(1_000, 50);
    let Some(cable) = Cable::lay() else {
        report.figure("skipped", "no right to make a network namespace");
        return Ok(());
    };
    // All addresses of this machine: the probe does not use the cable.
    let mut server = Launch::new(args).at("0.0.0.0").set("nio.sessionlessCnxnTimeout", SESSIONLESS_MS).start()?;
    let near = format!("127.0.0.1:{}", server.addr.port()).parse().map_err(io::Error::other)?;
    let mut writer = Pipe::open(near, 40_000)?;
    let mut out = Vec::new();
    super::put_create(&mut out, proto::Xid(1), "/seen", &[7; 20_000]);
    io::Write::write_all(&mut writer.stream, &out)?;
    writer.reply()?;
    let probe = Probe::start(near, true);
    let mut command = Command::new("ip");
    command.args(["netns", "exec", &cable.name]).arg(std::env::current_exe()?);
    command.args(["--hold", &format!("{NEAR}:{}", server.addr.port()), &count.to_string()]);
    let mut far = Far(command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?);
    let mut line = String::new();
    BufReader::new(far.0.stdout.take().ok_or_else(|| io::Error::other("piped"))?).read_line(&mut line)?;
    let alive = server.metric("num_alive_connections")?;
    report.figure("connections over the cable", line.trim());
    report.check("they are connected", alive >= count as i64, format!("{alive} alive"));
    cable.pull();
    let began = Instant::now();
    // Events for the vanished, that nobody will ever acknowledge.
    for _ in 0..50 {
        writer.call(&Request::SetData("/seen", Some(&[8; 20_000]), -1))?;
        thread::sleep(Duration::from_millis(20));
    }
    let limit = Duration::from_millis(2 * SESSION_MS + 2 * SESSIONLESS_MS + 3_000);
    let gone = until(limit, || server.metric("num_alive_connections").is_ok_and(|alive| alive <= 4));
    let left = server.metric("num_alive_connections")?;
    let rule = format!("clients that vanish without a word are given up within {limit:?}");
    report.check(rule, gone.is_some(), format!("{left} left after {:.1} s", began.elapsed().as_secs_f64()));
    let files = until(Duration::from_secs(3), || server.open_files() < 100);
    report.check("their descriptors are free", files.is_some(), server.open_files());
    probe.judge(report, "vanished clients");
    report.check("the server lives", server.lives(), "");
    Ok(())
}

/// The far end: half of the connections hold a session with a watch and do not ping, half are mute. Until killed.
pub fn hold(arguments: &[String]) -> ExitCode {
    let held = || -> Result<Vec<Pipe>, Box<dyn std::error::Error>> {
        let (addr, count) = (arguments[0].parse()?, arguments[1].parse::<u64>()?);
        let mut pipes = Vec::new();
        for _ in 0..count {
            let mut pipe = Pipe::open(addr, SESSION_MS as i32)?;
            pipe.call(&Request::AddWatch("/seen", 0))?;
            // An answer that may be on its way when the cable is pulled.
            pipe.submit(&Request::GetData("/seen", false))?;
            pipes.push(pipe);
        }
        Ok(pipes)
    };
    match held() {
        Ok(pipes) => {
            println!("{}", pipes.len());
            let _ = io::stdin().read(&mut [0; 1]);
            thread::sleep(Duration::from_secs(600));
            ExitCode::SUCCESS
        }
        Err(error) => {
            println!("{error}");
            ExitCode::FAILURE
        }
    }
}
