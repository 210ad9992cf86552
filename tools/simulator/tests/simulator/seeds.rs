//! Runs from their seeds alone. How many: `SIM_SEEDS`; where they begin: `SIM_FROM`.

use simulator::plan::Plan;
use simulator::world::Simulation;

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().expect("a number"))
}

#[test]
fn whatever_fails_an_ensemble_loses_nothing_and_comes_back() {
    let (from, count) = (number("SIM_FROM", 1), number("SIM_SEEDS", 20));
    for seed in from..from + count {
        let held = Simulation::new(Plan::new(seed)).run();
        assert_eq!(held, Ok(()), "see it with: cargo run -p simulator -- replay --seed {seed}");
    }
}

#[test]
fn a_seed_is_a_run() {
    let run = || {
        let mut simulation = Simulation::new(Plan::new(9));
        simulation.trace();
        simulation.run().expect("nothing is wrong with this seed");
        simulation.trace.take()
    };
    assert!(run() == run(), "two runs of one seed differ");
}
