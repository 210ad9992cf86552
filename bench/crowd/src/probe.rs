//! A polite client that works while others misbehave, and a newcomer who keeps knocking: how were they served?

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use client::{Options, Session};
use hdrhistogram::Histogram;

/// Pause between two requests.
const PACE: Duration = Duration::from_millis(2);
/// Pause between two visits of the newcomer.
const VISITS: Duration = Duration::from_millis(50);

/// Running clients.
pub struct Probe {
    stop: Arc<AtomicBool>,
    polite: JoinHandle<Served>,
    newcomer: Option<JoinHandle<Served>>,
}

/// How a client was served.
pub struct Served {
    histogram: Histogram<u64>,
    /// Requests, or visits, that failed.
    pub refused: u64,
    /// The first failure.
    pub why: Option<String>,
}

impl Served {
    fn new() -> Served {
        Served {
            histogram: Histogram::new_with_bounds(1, 600_000_000, 3).expect("ten minutes in microseconds"),
            refused: 0,
            why: None,
        }
    }

    fn took(&mut self, since: Instant) {
        self.histogram.saturating_record(since.elapsed().as_micros() as u64);
    }

    fn refused(&mut self, error: &client::Error) {
        self.refused += 1;
        self.why.get_or_insert_with(|| error.to_string());
    }

    /// Nothing was tried.
    fn is_empty(&self) -> bool {
        self.count() == 0 && self.refused == 0
    }

    /// Answered requests.
    pub fn count(&self) -> u64 {
        self.histogram.len()
    }
}

impl fmt::Display for Served {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |us: u64| us as f64 / 1000.0;
        write!(
            f,
            "{} served, p50 {:.2} ms, p99 {:.2} ms, max {:.1} ms, {} refused",
            self.histogram.len(),
            ms(self.histogram.value_at_quantile(0.5)),
            ms(self.histogram.value_at_quantile(0.99)),
            ms(self.histogram.max()),
            self.refused
        )?;
        if let Some(why) = &self.why {
            write!(f, " ({why})")?;
        }
        Ok(())
    }
}

impl Probe {
    /// Begins: get, set and ping in turn by one client; with `newcomers` another one that comes and goes.
    pub fn start(addr: SocketAddr, newcomers: bool) -> Probe {
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let polite = thread::spawn(move || polite(addr, &told));
        let told = Arc::clone(&stop);
        let newcomer = newcomers.then(|| thread::spawn(move || newcomer(addr, &told)));
        // Its session is there before anything begins.
        thread::sleep(Duration::from_millis(50));
        Probe { stop, polite, newcomer }
    }

    /// Ends: the polite client, and the newcomer.
    pub fn stop(self) -> (Served, Option<Served>) {
        self.stop.store(true, Relaxed);
        let polite = self.polite.join().expect("the probe does not panic");
        (polite, self.newcomer.map(|thread| thread.join().expect("the newcomer does not panic")))
    }

    /// Ends, prints, and checks that nobody was refused.
    pub fn judge(self, report: &mut crate::report::Report, during: &str) {
        let (polite, newcomer) = self.stop();
        report.figure(format!("others meanwhile ({during})"), &polite);
        report.check(
            "the others were served",
            polite.refused == 0 && polite.count() > 0,
            format!("{} refused", polite.refused),
        );
        if let Some(newcomer) = newcomer {
            report.figure(format!("newcomers meanwhile ({during})"), &newcomer);
            let fine = newcomer.refused == 0 && newcomer.count() > 0;
            report.check("newcomers got in", fine, format!("{} refused", newcomer.refused));
        }
    }
}

fn options() -> Options {
    Options { timeout_ms: 30_000, deadline: Duration::from_secs(30), ..Options::default() }
}

fn polite(addr: SocketAddr, stop: &AtomicBool) -> Served {
    let mut served = Served::new();
    let mut session = None;
    let mut turn = 0u64;
    while !stop.load(Relaxed) || served.is_empty() {
        let Some(open) = session.as_mut() else {
            match Session::connect(addr, &options()) {
                Ok(mut open) => {
                    // It may be there from an earlier probe.
                    let _ = open.create("/probe", b"", 0);
                    session = Some(open);
                }
                Err(error) => served.refused(&error),
            }
            continue;
        };
        turn += 1;
        let since = Instant::now();
        let result = match turn % 3 {
            0 => open.set("/probe", &turn.to_be_bytes(), -1).map(|_| ()),
            1 => open.get("/probe", false).map(|_| ()),
            _ => open.ping(),
        };
        match result {
            Ok(()) => served.took(since),
            Err(error) => {
                served.refused(&error);
                session = None;
            }
        }
        thread::sleep(PACE);
    }
    if let Some(open) = session {
        let _ = open.close();
    }
    served
}

fn newcomer(addr: SocketAddr, stop: &AtomicBool) -> Served {
    let mut served = Served::new();
    while !stop.load(Relaxed) || served.is_empty() {
        let since = Instant::now();
        let visit = || {
            let mut session = Session::connect(addr, &options())?;
            session.exists("/probe", false)?;
            session.close()
        };
        match visit() {
            Ok(()) => served.took(since),
            Err(error) => served.refused(&error),
        }
        thread::sleep(VISITS);
    }
    served
}
