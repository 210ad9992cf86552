//! What a run prints: figures, and checks that pass or fail.

use std::fmt::Display;
use std::process::ExitCode;
use std::time::Instant;

/// Collects the checks; figures are printed as they come.
#[derive(Default)]
pub struct Report {
    passed: u32,
    failed: u32,
    began: Option<Instant>,
}

impl Report {
    /// The next scenario.
    pub fn begin(&mut self, name: &str) {
        let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
        println!("\n## {name}, load of the machine {}", load.split(' ').next().unwrap_or("unknown"));
        self.began = Some(Instant::now());
    }

    /// A number, not judged.
    pub fn figure(&self, name: impl Display, value: impl Display) {
        let at = self.began.map_or(0.0, |began| began.elapsed().as_secs_f64());
        println!("{at:7.1} s  {name}: {value}");
    }

    /// Must hold.
    pub fn check(&mut self, rule: impl Display, holds: bool, found: impl Display) {
        let verdict = if holds { "ok" } else { "FAILED" };
        println!("           {verdict}: {rule} ({found})");
        if holds {
            self.passed += 1;
        } else {
            self.failed += 1;
        }
    }

    /// The last line, and the exit status.
    pub fn end(self) -> ExitCode {
        println!("crowd: {} passed, {} failed", self.passed, self.failed);
        if self.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}
