//! The machine's clocks, as the stages get them.

use pipeline::Now;
use proto::Millis;
use rustix::time::{ClockId, clock_gettime};

fn read(id: ClockId) -> Millis {
    let at = clock_gettime(id);
    Millis(at.tv_sec * 1000 + at.tv_nsec / 1_000_000)
}

/// Wall clock, and milliseconds since the machine started.
pub fn now() -> Now {
    Now { wall: read(ClockId::Realtime), mono: read(ClockId::Monotonic) }
}
