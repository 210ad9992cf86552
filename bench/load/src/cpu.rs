//! CPU time of a process, all its threads included, as the kernel accounts it.

use std::fs;
use std::time::Duration;

/// The unit of `/proc/<pid>/stat` on every Linux that we run on (USER_HZ).
const TICKS_PER_SECOND: u64 = 100;

/// User and system time of a process so far.
pub fn of(pid: u32) -> Result<Duration, String> {
    let file = format!("/proc/{pid}/stat");
    let text = fs::read_to_string(&file).map_err(|error| format!("{file}: {error}"))?;
    parse(&text).ok_or_else(|| format!("{file} is not as expected"))
}

/// User and system time of this process so far.
pub fn own() -> Result<Duration, String> {
    of(std::process::id())
}

/// Fields 14 and 15; the command in field 2 may contain anything, so counting begins behind its last parenthesis.
fn parse(stat: &str) -> Option<Duration> {
    let mut fields = stat[stat.rfind(')')? + 1..].split_ascii_whitespace();
    let user: u64 = fields.nth(11)?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(Duration::from_millis((user + system) * 1000 / TICKS_PER_SECOND))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_may_look_like_fields() {
        let stat = "7 (a) 1 2) S 1 7 7 0 -1 4194560 100 0 0 0 150 50 0 0 20 0 1 0 5";
        assert_eq!(parse(stat), Some(Duration::from_secs(2)));
        assert_eq!(parse("7"), None);
    }

    #[test]
    fn this_process_has_a_time() {
        assert!(own().is_ok());
    }
}
