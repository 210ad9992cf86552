//! What was measured: by case and measure, one value per round for each server.

use serde::Serialize;

/// Whose figure it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Who {
    /// ZooKeeper.
    Java = 0,
    /// Ours.
    Ringkeeper = 1,
}

impl Who {
    /// Both, in the order of round `round`: it alternates, so that neither always runs in the other's wake.
    pub fn turns(round: usize) -> [Who; 2] {
        if round.is_multiple_of(2) { [Who::Java, Who::Ringkeeper] } else { [Who::Ringkeeper, Who::Java] }
    }
}

/// What a number means.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// Operations per second.
    Throughput,
    /// Latency, median, µs.
    P50,
    /// Latency, 99th percentile, µs.
    P99,
    /// Latency, 99.9th percentile, µs.
    P999,
    /// CPU seconds of the server per million operations.
    Cpu,
    /// Cores that the load generator used meanwhile.
    LoadCores,
    /// ms from beginning to end.
    Time,
    /// CPU seconds of the server until its first answer.
    StartCpu,
    /// Connections that were refused.
    Refused,
    /// Growth of resident memory per znode, bytes.
    Resident,
    /// The same after a restart.
    ResidentAfterRestart,
    /// Java's live heap after a collection, growth per znode, bytes.
    LiveHeap,
    /// Latency, 99th percentile, µs, while a snapshot is written.
    P99During,
    /// That divided by the one without.
    P99Ratio,
    /// Seconds that writing a snapshot takes.
    SnapshotTime,
}

impl Measure {
    /// For people, with the unit.
    pub fn words(self) -> &'static str {
        match self {
            Measure::Throughput => "operations/s",
            Measure::P50 => "p50, µs",
            Measure::P99 => "p99, µs",
            Measure::P999 => "p99.9, µs",
            Measure::Cpu => "CPU s per million",
            Measure::LoadCores => "load generator, cores",
            Measure::Time => "time, ms",
            Measure::StartCpu => "CPU until the first answer, s",
            Measure::Refused => "refused",
            Measure::Resident => "resident, B per znode",
            Measure::ResidentAfterRestart => "resident after restart, B per znode",
            Measure::LiveHeap => "live heap, B per znode",
            Measure::P99During => "p99 during a snapshot, µs",
            Measure::P99Ratio => "p99 during / without",
            Measure::SnapshotTime => "snapshot, s",
        }
    }
}

/// One measure of one case.
#[derive(Debug, Serialize)]
pub struct Row {
    /// Name of the case.
    pub case: String,
    /// What the numbers mean.
    pub measure: Measure,
    /// One value per round.
    pub java: Vec<f64>,
    /// One value per round.
    pub ringkeeper: Vec<f64>,
}

impl Row {
    /// Medians: Java's and ours; NaN where nothing was measured.
    pub fn medians(&self) -> [f64; 2] {
        [median(&self.java), median(&self.ringkeeper)]
    }
}

/// All rows, in the order in which they were first measured.
#[derive(Debug, Default, Serialize)]
#[serde(transparent)]
pub struct Figures {
    /// See above.
    pub rows: Vec<Row>,
}

impl Figures {
    /// Adds one round's value.
    pub fn add(&mut self, case: &str, measure: Measure, who: Who, value: f64) {
        let at = self.rows.iter().position(|row| row.case == case && row.measure == measure).unwrap_or_else(|| {
            self.rows.push(Row { case: case.to_owned(), measure, java: Vec::new(), ringkeeper: Vec::new() });
            self.rows.len() - 1
        });
        match who {
            Who::Java => self.rows[at].java.push(value),
            Who::Ringkeeper => self.rows[at].ringkeeper.push(value),
        }
    }

    /// The row of a measure, if it was measured.
    pub fn find(&self, case: &str, measure: Measure) -> Option<&Row> {
        self.rows.iter().find(|row| row.case == case && row.measure == measure)
    }
}

/// The middle value, or the mean of the two middle ones; NaN of none.
pub fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => values[n / 2],
        n => (values[n / 2 - 1] + values[n / 2]) / 2.0,
    }
}

/// The value that `quantile` (0 to 1) of all do not exceed; NaN of none.
pub fn quantile(values: &[f64], quantile: f64) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    let rank = (quantile * values.len() as f64).ceil().max(1.0) as usize;
    values.get(rank - 1).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_is_the_middle_whatever_the_order() {
        assert_eq!(median(&[9.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 3.0, 2.0]), 2.5);
        assert_eq!(median(&[7.0]), 7.0);
        assert!(median(&[]).is_nan());
    }

    #[test]
    fn a_quantile_is_a_value_that_was_measured() {
        let values: Vec<f64> = (1..=200).rev().map(f64::from).collect();
        assert_eq!([0.0, 0.5, 0.99, 1.0].map(|q| quantile(&values, q)), [1.0, 100.0, 198.0, 200.0]);
        assert!(quantile(&[], 0.5).is_nan());
    }

    #[test]
    fn rounds_gather_in_the_row_of_their_case_and_measure() {
        let mut figures = Figures::default();
        for round in 0..3 {
            for who in Who::turns(round) {
                figures.add("get", Measure::P50, who, round as f64 + if who == Who::Java { 10.0 } else { 0.0 });
            }
            figures.add("set", Measure::P50, Who::Java, 1.0);
        }
        assert_eq!(figures.rows.len(), 2);
        assert_eq!(figures.find("get", Measure::P50).unwrap().medians(), [11.0, 1.0]);
        assert!(figures.find("set", Measure::P50).unwrap().medians()[1].is_nan());
        assert!(figures.find("get", Measure::P99).is_none());
        assert_ne!(Who::turns(0), Who::turns(1));
    }
}
