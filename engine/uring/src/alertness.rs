//! Whether a thread that has nothing to do stays awake for a moment, or sleeps at once.
//!
//! A processor that sleeps takes 35 to 50 µs to wake up, and a write takes four or five such wakes one after the other. A thread that looks
//! for what comes instead costs nobody anything who wants to run, because it yields each time; but it costs power, and looks busy. So it
//! does that only where it pays each time: while one wait after the other is short, as under clients that ask again when they are answered.

use std::{
    io, thread,
    time::{Duration, Instant},
};

/// A sleep that took so much longer would have been short without the wake at its end.
const WAKE: Duration = Duration::from_micros(50);
/// Whoever waits so long has nothing to do.
const LONG: Duration = Duration::from_micros(500);
/// A request by itself has fewer short waits than this before a long one.
const ENOUGH: u8 = 8;
/// What short waits are remembered at most.
const MOST: u8 = 16;

/// What one thread has seen.
#[derive(Clone, Copy)]
pub(crate) struct Alertness {
    /// How long it stays awake.
    moment: Duration,
    /// Short waits since the last long one; what is in between takes two of them away.
    short: u8,
}

impl Alertness {
    pub(crate) fn new(moment: Duration) -> Alertness {
        Alertness { moment, short: 0 }
    }

    /// Stays awake if that is worth it, and looks until there is something, or the moment is over. False: now it may sleep.
    pub(crate) fn finds(self, began: Instant, mut look: impl FnMut() -> io::Result<bool>) -> io::Result<bool> {
        let Some(until) = self.until(began) else { return Ok(false) };
        loop {
            let found = look()?;
            if found || Instant::now() >= until {
                return Ok(found);
            }
            thread::yield_now();
        }
    }

    /// Until when to look for events without sleeping.
    fn until(&self, now: Instant) -> Option<Instant> {
        (!self.moment.is_zero() && self.short >= ENOUGH).then(|| now + self.moment)
    }

    /// A wait took so long, awake or asleep.
    pub(crate) fn waited(&mut self, time: Duration) {
        self.short = if time <= self.moment + WAKE {
            MOST.min(self.short + 1)
        } else if time < LONG {
            self.short.saturating_sub(2)
        } else {
            0
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOMENT: Duration = Duration::from_micros(100);
    const SOON: Duration = Duration::from_micros(80);
    const LATER: Duration = Duration::from_micros(300);
    const LATE: Duration = Duration::from_millis(1);

    /// How many of a thousand waits a thread stays awake for that waits so long by turns.
    fn awake(moment: Duration, pattern: &[Duration]) -> usize {
        let (mut alertness, now) = (Alertness::new(moment), Instant::now());
        let waits = pattern.iter().cycle().take(1_000);
        waits
            .filter(|time| {
                let until = alertness.until(now);
                assert!(until.is_none_or(|until| until == now + moment));
                alertness.waited(**time);
                until.is_some()
            })
            .count()
    }

    #[test]
    fn who_waits_shortly_stays_awake_and_who_waits_long_sleeps() {
        assert_eq!(awake(MOMENT, &[SOON]), 992, "all but the first eight");
        assert_eq!(awake(MOMENT, &[LATER]), 0);
        assert_eq!(awake(MOMENT, &[SOON, LATE]), 0, "a request now and then, and its answer");
        assert_eq!(awake(MOMENT, &[SOON, SOON, SOON, SOON, SOON, SOON, LATE]), 0, "a write now and then");
        assert_eq!(awake(Duration::ZERO, &[Duration::ZERO]), 0, "not wanted");
    }

    #[test]
    fn a_slow_disk_for_once_is_borne_and_a_pause_is_not() {
        let (mut alertness, now) = (Alertness::new(MOMENT), Instant::now());
        (0..100).for_each(|_| alertness.waited(SOON));
        (0..4).for_each(|_| alertness.waited(LATER));
        assert!(alertness.until(now).is_some());
        alertness.waited(LATER);
        assert!(alertness.until(now).is_none());
        (0..2).for_each(|_| alertness.waited(SOON));
        assert!(alertness.until(now).is_some());
        alertness.waited(LATE);
        (0..7).for_each(|_| alertness.waited(SOON));
        assert!(alertness.until(now).is_none());
    }
}
