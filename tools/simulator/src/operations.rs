//! What operators do to an ensemble while it works: part of the plan.
//!
//! Drawn apart from everything else, so that what a seed was before operators came is not changed by those that it has none of.

use crate::agenda::{MS, Micros, SECOND};
use crate::dice::Dice;

/// See the module's page. Nothing of it happens once the faults have ended.
#[derive(Clone, Debug, Default)]
pub struct Operations {
    /// Leadership is handed over on command, with such a pause between two times at most.
    pub hand_overs: Option<Micros>,
    /// From then on one member after another is stopped in order and started again.
    pub rolling: Option<Micros>,
    /// The longest time without an answer to a write while nothing but that happens; judged if nothing else does.
    pub outage_max: Option<Micros>,
    /// Members come, go and change their roles, with such a pause between two requests at most.
    pub reconfigurations: Option<Micros>,
    /// Machines that are no members when it begins.
    pub spares: usize,
}

impl Operations {
    /// Of a seed, for an ensemble of so many members whose faults end then.
    pub fn new(seed: u64, members: usize, faults_end: Micros) -> Operations {
        let dice = Dice::new(seed, 0x0B5);
        if members == 1 {
            return Operations::default();
        }
        let hand_overs = dice.once_in(4).then(|| *dice.pick(&[SECOND, 3 * SECOND, 8 * SECOND]));
        let rolling = dice.once_in(6).then(|| dice.below(faults_end / 2));
        let alone = rolling.is_some() && dice.once_in(3);
        let reconfigurations = (!alone && dice.once_in(4)).then(|| *dice.pick(&[800 * MS, 2 * SECOND, 5 * SECOND]));
        let spares = if reconfigurations.is_some() { dice.between(1, 2) as usize } else { 0 };
        let outage_max = alone.then_some(5 * SECOND);
        Operations { hand_overs, rolling, outage_max, reconfigurations, spares }
    }
}
