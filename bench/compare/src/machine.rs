//! The machine of a run: what a reader must know to judge the figures.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use serde::Serialize;

use crate::figures::median;

/// Appends that are timed to see what the disk's syncs cost.
const SYNCS: usize = 200;

/// See the module's page.
#[derive(Debug, Serialize)]
pub struct Machine {
    /// Processor.
    pub cpu: String,
    /// Cores that this process may use.
    pub cores: usize,
    /// Bytes of memory.
    pub memory: u64,
    /// Release of Linux.
    pub kernel: String,
    /// Device, file system and mount point of the servers' directories.
    pub disk: String,
}

impl Machine {
    /// Looks at the machine on which this runs; the servers' directories will be in `directory`.
    pub fn look(directory: &Path) -> Result<Machine, String> {
        let read = |file: &str| fs::read_to_string(file).unwrap_or_default();
        let directory = directory.canonicalize().map_err(|error| format!("{}: {error}", directory.display()))?;
        let memory = field(&read("/proc/meminfo"), "MemTotal");
        Ok(Machine {
            cpu: field(&read("/proc/cpuinfo"), "model name"),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory: memory.trim_end_matches("kB").trim().parse::<u64>().unwrap_or(0) * 1024,
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            disk: disk(&read("/proc/mounts"), &directory.display().to_string()),
        })
    }
}

/// The value behind `name` and a colon.
fn field(text: &str, name: &str) -> String {
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.trim_start().strip_prefix(':'));
    value.unwrap_or_default().trim().to_owned()
}

/// The mount that holds a path: the longest mount point that it begins with, and the last of those.
fn disk(mounts: &str, path: &str) -> String {
    let mut best = (0, String::new());
    for line in mounts.lines() {
        let mut words = line.split(' ');
        let (Some(device), Some(point), Some(kind)) = (words.next(), words.next(), words.next()) else { continue };
        let base = point.trim_end_matches('/');
        let holds = path.strip_prefix(base).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        if holds && point.len() >= best.0 {
            best = (point.len(), format!("{device}, {kind}, at {point}"));
        }
    }
    best.1
}

/// Median time of an append of 4 KiB with fdatasync, µs.
pub fn sync_us(directory: &Path) -> Result<f64, String> {
    let probe = || {
        let mut file = tempfile::tempfile_in(directory)?;
        let mut times = Vec::with_capacity(SYNCS);
        for _ in 0..SYNCS {
            let begun = Instant::now();
            file.write_all(&[7; 4096])?;
            file.sync_data()?;
            times.push(begun.elapsed().as_secs_f64() * 1e6);
        }
        Ok::<_, std::io::Error>(median(&times))
    };
    probe().map_err(|error| format!("{}: {error}", directory.display()))
}

/// The date, as `date` tells it.
pub fn date() -> String {
    said("date", &["-u", "+%Y-%m-%d %H:%M UTC"])
}

/// The commit of the working directory, and whether files differ from it.
pub fn commit() -> String {
    let commit = said("git", &["rev-parse", "--short=12", "HEAD"]);
    let changed = !said("git", &["status", "--porcelain", "--untracked-files=no"]).is_empty();
    if changed { format!("{commit}, changed") } else { commit }
}

fn said(program: &str, words: &[&str]) -> String {
    let output = Command::new(program).args(words).output();
    output.map_or_else(|_| "unknown".to_owned(), |output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_on_the_innermost_mount() {
        let mounts = "/dev/a / ext4 rw 0 0\ntmpfs /tmp tmpfs rw 0 0\n/dev/b /tmp/x xfs rw 0 0\n";
        assert_eq!(disk(mounts, "/tmp/x/y"), "/dev/b, xfs, at /tmp/x");
        assert_eq!(disk(mounts, "/tmp/xy"), "tmpfs, tmpfs, at /tmp");
        assert_eq!(disk(mounts, "/home"), "/dev/a, ext4, at /");
        assert_eq!(disk("", "/home"), "");
    }

    #[test]
    fn fields_are_found_by_their_whole_name() {
        let text = "model\t\t: 1\nmodel name\t: A CPU\nMemTotal:  24 kB\n";
        assert_eq!(field(text, "model name"), "A CPU");
        assert_eq!(field(text, "model"), "1");
        assert_eq!(field(text, "MemTotal"), "24 kB");
        assert_eq!(field(text, "flags"), "");
    }
}
