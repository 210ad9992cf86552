//! Virtual time: what happens when, in microseconds. What is due at the same moment happens in the order in which it was put down.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Microseconds since the beginning of the run.
pub type Micros = u64;

/// One millisecond.
pub const MS: Micros = 1_000;
/// One second.
pub const SECOND: Micros = 1_000_000;

struct Entry<E> {
    at: Micros,
    number: u64,
    event: E,
}

impl<E> PartialEq for Entry<E> {
    fn eq(&self, other: &Entry<E>) -> bool {
        (self.at, self.number) == (other.at, other.number)
    }
}

impl<E> Eq for Entry<E> {}

impl<E> PartialOrd for Entry<E> {
    fn partial_cmp(&self, other: &Entry<E>) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> Ord for Entry<E> {
    fn cmp(&self, other: &Entry<E>) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

/// What is to happen.
pub struct Agenda<E> {
    now: Micros,
    next_number: u64,
    heap: BinaryHeap<Reverse<Entry<E>>>,
}

impl<E> Default for Agenda<E> {
    fn default() -> Agenda<E> {
        Agenda { now: 0, next_number: 0, heap: BinaryHeap::new() }
    }
}

impl<E> Agenda<E> {
    /// The present.
    pub fn now(&self) -> Micros {
        self.now
    }

    /// Puts down that `event` happens `after` microseconds from now.
    pub fn after(&mut self, after: Micros, event: E) {
        self.at(self.now + after, event);
    }

    /// Puts down that `event` happens at `at`, or now if that is over.
    pub fn at(&mut self, at: Micros, event: E) {
        let number = self.next_number;
        self.next_number += 1;
        self.heap.push(Reverse(Entry { at: at.max(self.now), number, event }));
    }

    /// The next event; time moves on to it.
    pub fn take_next(&mut self) -> Option<E> {
        let Reverse(entry) = self.heap.pop()?;
        self.now = entry.at;
        Some(entry.event)
    }

    /// Time passes, and nothing is due before `at`.
    pub fn pass_to(&mut self, at: Micros) {
        self.now = self.now.max(at.min(self.next_at().unwrap_or(at)));
    }

    /// When the next event is due.
    pub fn next_at(&self) -> Option<Micros> {
        self.heap.peek().map(|Reverse(entry)| entry.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_in_the_order_of_time_and_then_of_their_making() {
        let mut agenda = Agenda::default();
        agenda.at(7, "c");
        agenda.at(5, "a");
        agenda.at(5, "b");
        let mut seen = Vec::new();
        while let Some(event) = agenda.take_next() {
            seen.push((agenda.now(), event));
        }
        assert_eq!(seen, [(5, "a"), (5, "b"), (7, "c")]);
    }
}
