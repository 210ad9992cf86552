//! Where all chance comes from: one generator per purpose, all from one seed, so that a run is a function of its seed.

use host::SeededEntropy;

/// A generator.
pub struct Dice(SeededEntropy);

impl Dice {
    /// The generator of `purpose` within the run of `seed`. Different purposes do not disturb each other.
    pub fn new(seed: u64, purpose: u64) -> Dice {
        let mixed = SeededEntropy::new(seed ^ purpose.wrapping_mul(0xD6E8_FEB8_6659_FD93));
        Dice(SeededEntropy::new(host::Entropy::next_u64(&mixed)))
    }

    /// Below `bound`, which is above zero.
    pub fn below(&self, bound: u64) -> u64 {
        self.0.below(bound)
    }

    /// From `low` to `high`, both included.
    pub fn between(&self, low: u64, high: u64) -> u64 {
        low + self.below(high.saturating_sub(low) + 1)
    }

    /// True once in `of` times.
    pub fn once_in(&self, of: u64) -> bool {
        self.below(of.max(1)) == 0
    }

    /// One of several.
    pub fn pick<'a, T>(&self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len() as u64) as usize]
    }

    /// Any number.
    pub fn any(&self) -> u64 {
        host::Entropy::next_u64(&self.0)
    }
}
