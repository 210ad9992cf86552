//! Lines of the log that clients can cause: at most one a second of each kind, with the number of those that were not said.

use proto::Millis;

const PERIOD_MS: i64 = 1_000;

/// One kind of line.
#[derive(Debug)]
pub struct Seldom {
    next: Millis,
    unsaid: u64,
}

impl Default for Seldom {
    fn default() -> Seldom {
        Seldom { next: Millis(i64::MIN), unsaid: 0 }
    }
}

impl Seldom {
    /// May the line be said now (monotonic)? If so, how many before it were not.
    pub fn ask(&mut self, now: Millis) -> Option<u64> {
        if now < self.next {
            self.unsaid += 1;
            return None;
        }
        self.next = now.plus(PERIOD_MS);
        Some(std::mem::take(&mut self.unsaid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_one_line_a_second_that_counts_the_others() {
        let mut seldom = Seldom::default();
        let said: Vec<u64> = (0..2_500).filter_map(|ms| seldom.ask(Millis(ms))).collect();
        assert_eq!(said, [0, 999, 999]);
        assert_eq!(seldom.ask(Millis(9_000)), Some(499));
    }
}
