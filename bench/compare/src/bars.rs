//! The bars that we set ourselves, and whether a run met them.

use std::fmt;

use serde::Serialize;

use crate::figures::{Figures, Measure};

/// What is asked of our figure.
#[derive(Clone, Copy, Debug)]
enum Demand {
    /// Java's divided by ours is at least this.
    TimesLess(f64),
    /// Ours divided by Java's is at most this.
    ShareOfJava(f64),
    /// Ours divided by Java's is at least this.
    TimesJava(f64),
    /// Ours is at most this.
    AtMost(f64),
}

/// One bar.
pub struct Bar {
    words: &'static str,
    case: &'static str,
    measure: Measure,
    demand: Demand,
}

const fn bar(words: &'static str, case: &'static str, measure: Measure, demand: Demand) -> Bar {
    Bar { words, case, measure, demand }
}

/// All of them.
pub const BARS: &[Bar] = &[
    bar("get 50×16: at least 12 times less CPU", "get-50x16", Measure::Cpu, Demand::TimesLess(12.0)),
    bar("get 50×16: p99 at most half of Java's", "get-50x16", Measure::P99, Demand::ShareOfJava(0.5)),
    bar("set 50×16: at least 8 times less CPU", "set-50x16", Measure::Cpu, Demand::TimesLess(8.0)),
    bar("set 50×16: p99 at most half of Java's", "set-50x16", Measure::P99, Demand::ShareOfJava(0.5)),
    bar("set 1×1: p50 at most 0.6 of Java's", "set-1x1", Measure::P50, Demand::ShareOfJava(0.6)),
    bar("watchers told in at most half of Java's time", "watchers", Measure::Time, Demand::ShareOfJava(0.5)),
    bar("sessions opened in at most half of Java's time", "sessions", Measure::Time, Demand::ShareOfJava(0.5)),
    bar("sessions opened without a refusal", "sessions", Measure::Refused, Demand::AtMost(0.0)),
    bar("at most 320 B resident per znode", "memory", Measure::Resident, Demand::AtMost(320.0)),
    bar("set p99 during a snapshot at most 1.5 times", "snapshot", Measure::P99Ratio, Demand::AtMost(1.5)),
    bar("restart in at most 2000 ms", "restart", Measure::Time, Demand::AtMost(2000.0)),
    bar("three members, set 50×16: at least 5 times less CPU", "trio-set-50x16", Measure::Cpu, Demand::TimesLess(5.0)),
    bar(
        "three members, set 50×16: throughput above Java's",
        "trio-set-50x16",
        Measure::Throughput,
        Demand::TimesJava(1.0),
    ),
    bar("three members, set 1×1: p50 at most half of Java's", "trio-set-1x1", Measure::P50, Demand::ShareOfJava(0.5)),
    bar("three members, set 1×1: p99 at most half of Java's", "trio-set-1x1", Measure::P99, Demand::ShareOfJava(0.5)),
    bar("next write at most 300 ms after kill -9 of the leader", "failover", Measure::Time, Demand::AtMost(300.0)),
    bar("no session lost with the leader", "survivors", Measure::Refused, Demand::AtMost(0.0)),
    bar("a follower is back sooner than Java's", "rejoin", Measure::Time, Demand::ShareOfJava(1.0)),
];

/// A bar and what was found.
#[derive(Debug, Serialize)]
pub struct Outcome {
    /// The bar in words.
    pub bar: &'static str,
    /// Java's median; none if it was not measured.
    pub java: Option<f64>,
    /// Our median.
    pub ringkeeper: f64,
    /// What the bar speaks of: our median, or a ratio.
    pub measured: f64,
    /// What it asks for.
    pub limit: f64,
    /// Is a larger value a better one?
    pub at_least: bool,
    /// Was it met?
    pub met: bool,
    /// How far from the limit, as a share of it; positive is the good side. None if the limit is 0.
    pub margin: Option<f64>,
}

impl Bar {
    /// What a run says about this bar; nothing if it did not measure what is needed.
    pub fn hold_against(&self, figures: &Figures) -> Option<Outcome> {
        let [java, ringkeeper] = figures.find(self.case, self.measure)?.medians();
        let (measured, limit, at_least) = match self.demand {
            Demand::TimesLess(limit) => (java / ringkeeper, limit, true),
            Demand::ShareOfJava(limit) => (ringkeeper / java, limit, false),
            Demand::TimesJava(limit) => (ringkeeper / java, limit, true),
            Demand::AtMost(limit) => (ringkeeper, limit, false),
        };
        if measured.is_nan() {
            return None;
        }
        let distance = if at_least { measured - limit } else { limit - measured };
        Some(Outcome {
            bar: self.words,
            java: Some(java).filter(|java| !java.is_nan()),
            ringkeeper,
            measured,
            limit,
            at_least,
            met: distance >= 0.0,
            margin: (limit != 0.0).then(|| distance / limit),
        })
    }
}

impl Outcome {
    /// `met, 92 % to spare` or `MISSED by 8 %`.
    pub fn verdict(&self) -> String {
        match (self.met, self.margin.map(|margin| (margin * 100.0).abs())) {
            (true, Some(percent)) => format!("met, {percent:.0} % to spare"),
            (true, None) => "met".to_owned(),
            (false, Some(percent)) => format!("MISSED by {percent:.0} %"),
            (false, None) => format!("MISSED by {}", self.measured - self.limit),
        }
    }

    /// The limit with its direction.
    pub fn wanted(&self) -> String {
        format!("{} {}", if self.at_least { '≥' } else { '≤' }, self.limit)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {:.2} (wanted {}), {}", self.bar, self.measured, self.wanted(), self.verdict())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::Who;

    fn outcome(demand: Demand, java: f64, ringkeeper: f64) -> Option<Outcome> {
        let mut figures = Figures::default();
        figures.add("case", Measure::P50, Who::Java, java);
        figures.add("case", Measure::P50, Who::Ringkeeper, ringkeeper);
        bar("a bar", "case", Measure::P50, demand).hold_against(&figures)
    }

    #[test]
    fn times_less_divides_javas_by_ours() {
        let met = outcome(Demand::TimesLess(12.0), 24.0, 1.0).unwrap();
        assert!(met.met && met.measured == 24.0 && met.margin == Some(1.0), "{met:?}");
        assert_eq!(met.verdict(), "met, 100 % to spare");
        let missed = outcome(Demand::TimesLess(12.0), 9.0, 1.0).unwrap();
        assert_eq!((missed.met, missed.verdict().as_str()), (false, "MISSED by 25 %"));
        assert_eq!(missed.to_string(), "a bar: 9.00 (wanted ≥ 12), MISSED by 25 %");
    }

    #[test]
    fn a_share_divides_ours_by_javas() {
        let met = outcome(Demand::ShareOfJava(0.5), 100.0, 50.0).unwrap();
        assert_eq!((met.met, met.margin), (true, Some(0.0)));
        let missed = outcome(Demand::ShareOfJava(0.5), 100.0, 75.0).unwrap();
        assert_eq!(missed.verdict(), "MISSED by 50 %");
    }

    #[test]
    fn a_limit_of_nothing_has_no_percentage() {
        assert_eq!(outcome(Demand::AtMost(0.0), 5.0, 0.0).unwrap().verdict(), "met");
        assert_eq!(outcome(Demand::AtMost(0.0), 0.0, 3.0).unwrap().verdict(), "MISSED by 3");
    }

    #[test]
    fn what_was_not_measured_is_neither_met_nor_missed() {
        assert!(outcome(Demand::AtMost(1.0), 5.0, f64::NAN).is_none());
        assert!(bar("a bar", "other", Measure::P50, Demand::AtMost(1.0)).hold_against(&Figures::default()).is_none());
    }

    #[test]
    fn every_bar_speaks_of_a_case_that_exists() {
        use clap::ValueEnum;
        for bar in BARS {
            assert!(crate::args::Case::from_str(bar.case, false).is_ok(), "{}", bar.case);
        }
    }
}
