//! Time, as an argument. Deciding code gets readings of these clocks; only acting code reads a real one.

use std::sync::atomic::{AtomicI64, Ordering};

use proto::Millis;

/// A wall clock and a monotonic clock.
pub trait Clock: Send + Sync {
    /// Milliseconds since 1970, as transactions and stats carry them. May jump.
    fn wall(&self) -> Millis;
    /// Milliseconds since some fixed moment. Never goes back.
    fn monotonic(&self) -> Millis;
}

/// A clock that moves only when told to.
#[derive(Default)]
pub struct ManualClock {
    wall: AtomicI64,
    monotonic: AtomicI64,
}

impl ManualClock {
    /// A clock that shows `wall`, its monotonic side at zero.
    pub fn new(wall: Millis) -> ManualClock {
        ManualClock { wall: AtomicI64::new(wall.0), monotonic: AtomicI64::new(0) }
    }

    /// Lets `ms` milliseconds pass on both sides.
    pub fn advance(&self, ms: u32) {
        self.wall.fetch_add(i64::from(ms), Ordering::Relaxed);
        self.monotonic.fetch_add(i64::from(ms), Ordering::Relaxed);
    }

    /// Makes the wall clock jump; the monotonic side stays.
    pub fn set_wall(&self, wall: Millis) {
        self.wall.store(wall.0, Ordering::Relaxed);
    }
}

impl Clock for ManualClock {
    fn wall(&self) -> Millis {
        Millis(self.wall.load(Ordering::Relaxed))
    }

    fn monotonic(&self) -> Millis {
        Millis(self.monotonic.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jump_of_the_wall_clock_leaves_the_monotonic_one_alone() {
        let clock = ManualClock::new(Millis(1000));
        clock.advance(5);
        clock.set_wall(Millis(10));
        assert_eq!((clock.wall(), clock.monotonic()), (Millis(10), Millis(5)));
    }
}
