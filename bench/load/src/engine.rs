//! The loop that keeps connections busy and measures. Each thread has its own connections, epoll and histogram.
//!
//! ```text
//!  start          warm-up           begin            measure             end        drain
//!    ├───────────────────────────────┼───────────────────────────────────┼────────────┤
//!                                    answers in here are the throughput;  nothing new
//!                                    requests due in here are the latencies, whenever their answers come
//! ```

use std::collections::VecDeque;
use std::mem::MaybeUninit;
use std::num::NonZeroU64;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use hdrhistogram::Histogram;
use rustix::event::{Timespec, epoll};

use crate::args::Plan;
use crate::connection::Connection;
use crate::cpu;
use crate::report::Report;
use crate::workload::Workload;

/// How long late answers are waited for.
const DRAIN: Duration = Duration::from_secs(10);
/// A connection that has nothing to do pings this often.
const IDLE_NS: u64 = 5_000_000_000;

/// Latencies in ns, from 100 ns to a minute, three digits.
pub type Latencies = Histogram<u64>;

/// What one thread measured.
struct Part {
    latencies: Latencies,
    samples: Vec<(u64, u64)>,
    errors: u64,
    completed: u64,
    unanswered: u64,
}

/// The clock of a run, in ns since its start, and its windows.
#[derive(Clone, Copy)]
struct Clock {
    start: Instant,
    begin_ns: u64,
    end_ns: u64,
}

impl Clock {
    fn now_ns(&self) -> u64 {
        self.start.elapsed().as_nanos() as u64
    }

    fn until(&self, at_ns: u64) {
        thread::sleep(Duration::from_nanos(at_ns.saturating_sub(self.now_ns())));
    }
}

/// What threads share: how many answers came within the window, and when it ends.
struct Shared {
    completed: AtomicU64,
    count: u64,
    /// The clock's end, or earlier once `count` is reached.
    end_ns: AtomicU64,
}

/// Runs a plan; the znodes must be there.
pub fn run(plan: &Plan) -> Result<Report, String> {
    run_until(plan, || false)
}

/// Runs a plan, and ends early when `stop` says so, which is asked every few ms once the window is open.
pub fn run_until(plan: &Plan, stop: impl Fn() -> bool) -> Result<Report, String> {
    let mut groups: Vec<Vec<Connection>> = (0..plan.threads).map(|_| Vec::new()).collect();
    for at in 0..plan.connections {
        groups[at % plan.threads].push(Connection::open(plan.address, at)?);
    }
    let label = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_micros()).to_string();
    let begin_ns = plan.warm_up.as_nanos() as u64;
    let clock = Clock { start: Instant::now(), begin_ns, end_ns: begin_ns + plan.measure.as_nanos() as u64 };
    let shared = Shared {
        completed: AtomicU64::new(0),
        count: plan.count.unwrap_or(u64::MAX),
        end_ns: AtomicU64::new(clock.end_ns),
    };
    let (parts, usage) = thread::scope(|scope| {
        let threads: Vec<_> = groups
            .into_iter()
            .enumerate()
            .map(|(number, connections)| {
                let workload = Workload::new(plan, number, &label);
                let shared = &shared;
                scope.spawn(move || Driver::new(plan, clock, shared, number, connections, workload)?.drive())
            })
            .collect();
        let usage = watch_cpu(plan, clock, &shared, stop, || threads.iter().all(|thread| thread.is_finished()));
        let parts: Result<Vec<Part>, String> =
            threads.into_iter().map(|thread| thread.join().map_err(|_| "a thread panicked".to_owned())?).collect();
        (parts, usage)
    });
    let (parts, usage) = (parts?, usage?);
    let mut latencies = new_latencies();
    for part in &parts {
        latencies.add(&part.latencies).map_err(|error| error.to_string())?;
    }
    let sum = |field: fn(&Part) -> u64| parts.iter().map(field).sum();
    Ok(Report {
        op: plan.op,
        connections: plan.connections,
        outstanding: plan.outstanding,
        rate: plan.rate,
        size: plan.size,
        seconds: usage.seconds,
        completed: sum(|part| part.completed),
        errors: sum(|part| part.errors),
        unanswered: sum(|part| part.unanswered),
        latencies,
        samples: parts.into_iter().flat_map(|part| part.samples).collect(),
        started: clock.start,
        server_cpu: usage.server,
        own_cpu: usage.own,
    })
}

struct Usage {
    seconds: f64,
    server: Option<Duration>,
    own: Duration,
}

/// Reads the CPU clocks at both ends of the window.
fn watch_cpu(
    plan: &Plan,
    clock: Clock,
    shared: &Shared,
    stop: impl Fn() -> bool,
    finished: impl Fn() -> bool,
) -> Result<Usage, String> {
    let read = || Ok::<_, String>((plan.pid.map(cpu::of).transpose()?, cpu::own()?));
    clock.until(clock.begin_ns);
    let (server_before, own_before) = read()?;
    // The end may come early, when enough requests were measured.
    while clock.now_ns() < shared.end_ns.load(Ordering::Relaxed) && !finished() {
        let rest = shared.end_ns.load(Ordering::Relaxed).saturating_sub(clock.now_ns());
        let nap = if plan.count.is_some() { rest.min(1_000_000) } else { rest.min(5_000_000) };
        thread::sleep(Duration::from_nanos(nap));
        if stop() {
            shared.end_ns.fetch_min(clock.now_ns(), Ordering::Relaxed);
        }
    }
    let (server_after, own_after) = read()?;
    let end_ns = shared.end_ns.load(Ordering::Relaxed);
    Ok(Usage {
        seconds: end_ns.saturating_sub(clock.begin_ns) as f64 / 1e9,
        server: server_before.zip(server_after).map(|(before, after)| after.saturating_sub(before)),
        own: own_after.saturating_sub(own_before),
    })
}

fn new_latencies() -> Latencies {
    Histogram::new_with_bounds(100, 60_000_000_000, 3).expect("the bounds are in order and three digits are allowed")
}

struct Driver<'a> {
    clock: Clock,
    shared: &'a Shared,
    connections: Vec<Connection>,
    workload: Workload,
    outstanding_max: usize,
    /// Open loop: ns between this thread's requests, and when the next is due.
    interval_ns: Option<f64>,
    next_due: f64,
    /// Open loop: requests that are due and that no connection has room for.
    waiting: VecDeque<u64>,
    next_connection: usize,
    keep_samples: bool,
    epoll: OwnedFd,
    part: Part,
}

impl<'a> Driver<'a> {
    fn new(
        plan: &Plan,
        clock: Clock,
        shared: &'a Shared,
        number: usize,
        connections: Vec<Connection>,
        workload: Workload,
    ) -> Result<Driver<'a>, String> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(|error| error.to_string())?;
        for (at, connection) in connections.iter().enumerate() {
            epoll::add(&epoll, connection, epoll::EventData::new_u64(at as u64), epoll::EventFlags::IN)
                .map_err(|error| error.to_string())?;
        }
        Ok(Driver {
            clock,
            shared,
            connections,
            workload,
            outstanding_max: plan.outstanding,
            interval_ns: plan.rate.map(|rate| 1e9 * plan.threads as f64 / rate),
            // Threads take turns within one interval.
            next_due: plan.rate.map_or(0.0, |rate| 1e9 * number as f64 / rate),
            waiting: VecDeque::new(),
            next_connection: 0,
            keep_samples: plan.keep_samples,
            epoll,
            part: Part { latencies: new_latencies(), samples: Vec::new(), errors: 0, completed: 0, unanswered: 0 },
        })
    }

    fn drive(mut self) -> Result<Part, String> {
        // A wait may end late by the timer's slack, 50 µs unless told otherwise.
        _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
        if self.interval_ns.is_none() {
            for at in 0..self.connections.len() {
                self.refill(at)?;
            }
        }
        let mut events = vec![MaybeUninit::uninit(); 256];
        let mut next_look_ns = IDLE_NS / 5;
        loop {
            let now_ns = self.clock.now_ns();
            let end_ns = self.shared.end_ns.load(Ordering::Relaxed);
            if now_ns >= end_ns {
                let late = self.connections.iter().any(|connection| connection.outstanding() > 0);
                // Requests that became due since the last look are still owed.
                let owed = self.interval_ns.is_some() && self.next_due < end_ns as f64;
                if (!late && !owed && self.waiting.is_empty()) || now_ns >= end_ns + DRAIN.as_nanos() as u64 {
                    break;
                }
            }
            let mut wake_ns = if now_ns < end_ns { end_ns } else { end_ns + DRAIN.as_nanos() as u64 };
            if let Some(interval) = self.interval_ns {
                self.enqueue_due(now_ns, end_ns, interval)?;
                if self.next_due < end_ns as f64 {
                    wake_ns = wake_ns.min(self.next_due.ceil() as u64);
                }
                if now_ns >= next_look_ns {
                    next_look_ns = now_ns + IDLE_NS / 5;
                    for at in 0..self.connections.len() {
                        self.connections[at].keep_alive(now_ns, IDLE_NS);
                        self.send(at, now_ns)?;
                    }
                }
                wake_ns = wake_ns.min(next_look_ns);
            }
            let wait_ns = wake_ns.saturating_sub(self.clock.now_ns());
            let timeout =
                Timespec { tv_sec: (wait_ns / 1_000_000_000) as i64, tv_nsec: (wait_ns % 1_000_000_000) as i64 };
            let (ready, _) = match epoll::wait(&self.epoll, events.as_mut_slice(), Some(&timeout)) {
                Ok(ready) => ready,
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => return Err(error.to_string()),
            };
            for event in ready.iter() {
                self.serve(event.data.u64() as usize, event.flags)?;
            }
        }
        self.part.unanswered = self.waiting.len() as u64
            + self.connections.iter().map(|connection| connection.outstanding() as u64).sum::<u64>();
        Ok(self.part)
    }

    /// Open loop: gives every request that is due to a connection with room, or to the queue of those that wait.
    fn enqueue_due(&mut self, now_ns: u64, end_ns: u64, interval: f64) -> Result<(), String> {
        while self.next_due <= now_ns as f64 && self.next_due < end_ns as f64 {
            self.waiting.push_back(self.next_due as u64);
            self.next_due += interval;
        }
        let mut touched = Vec::new();
        'requests: while let Some(&due_ns) = self.waiting.front() {
            for _ in 0..self.connections.len() {
                let at = self.next_connection;
                self.next_connection = (at + 1) % self.connections.len();
                if self.connections[at].outstanding() < self.outstanding_max {
                    self.waiting.pop_front();
                    self.connections[at].submit(&mut self.workload, due_ns);
                    touched.push(at);
                    continue 'requests;
                }
            }
            break;
        }
        touched.sort_unstable();
        touched.dedup();
        touched.into_iter().try_for_each(|at| self.send(at, now_ns))
    }

    /// Closed loop: brings a connection back to its number of outstanding requests.
    fn refill(&mut self, at: usize) -> Result<(), String> {
        let now_ns = self.clock.now_ns();
        if now_ns < self.shared.end_ns.load(Ordering::Relaxed) {
            while self.connections[at].outstanding() < self.outstanding_max {
                self.connections[at].submit(&mut self.workload, now_ns);
            }
        }
        self.send(at, now_ns)
    }

    fn serve(&mut self, at: usize, flags: epoll::EventFlags) -> Result<(), String> {
        if flags.intersects(epoll::EventFlags::IN | epoll::EventFlags::HUP | epoll::EventFlags::ERR) {
            let Driver { connections, clock, shared, part, keep_samples, .. } = self;
            let now_ns = clock.now_ns();
            let received = connections[at].receive(|done| {
                let end_ns = shared.end_ns.load(Ordering::Relaxed);
                if (clock.begin_ns..end_ns).contains(&done.due_ns) {
                    let latency_ns = now_ns.saturating_sub(done.due_ns);
                    part.latencies.saturating_record(latency_ns);
                    if *keep_samples {
                        part.samples.push((done.due_ns, latency_ns));
                    }
                    part.errors += u64::from(done.err != 0);
                }
                if (clock.begin_ns..end_ns).contains(&now_ns) {
                    part.completed += 1;
                    if shared.count != u64::MAX && shared.completed.fetch_add(1, Ordering::Relaxed) + 1 == shared.count
                    {
                        shared.end_ns.store(now_ns + 1, Ordering::Relaxed);
                    }
                }
            });
            received.map_err(|error| format!("connection {at}: {error}"))?;
        }
        if self.interval_ns.is_none() {
            self.refill(at)
        } else {
            let now_ns = self.clock.now_ns();
            self.send(at, now_ns)
        }
    }

    fn send(&mut self, at: usize, now_ns: u64) -> Result<(), String> {
        let connection = &mut self.connections[at];
        let was_blocked = connection.blocked;
        let blocked = connection.flush(now_ns).map_err(|error| format!("connection {at}: {error}"))?;
        if blocked != was_blocked {
            connection.blocked = blocked;
            let flags = if blocked { epoll::EventFlags::IN | epoll::EventFlags::OUT } else { epoll::EventFlags::IN };
            epoll::modify(&self.epoll, &*connection, epoll::EventData::new_u64(at as u64), flags)
                .map_err(|error| error.to_string())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
