//! A bounded ring between exactly two threads: one pushes, one pops, neither ever waits for the other.
//!
//! `head` and `tail` count items since the beginning and only grow (they wrap around the integer, which is harmless):
//!
//! ```text
//!   0 ≤ head ≤ tail ≤ head + capacity          slot of item n = n mod slots
//!       │       └ next item to push: only the producer moves it, after the slot is written (release)
//!       └ next item to pop: only the consumer moves it, after the slot is read (release)
//! ```
//!
//! Each side keeps its own counter as a plain integer and a remembered value of the other's, so that the shared cache line
//! is touched only when the remembered value says "full" or "empty". A slot in `head..tail` is initialised and belongs to the
//! consumer, every other slot belongs to the producer. Kept out: waiting (see [`Bell`](crate::Bell)).

use std::{fmt, mem::MaybeUninit};

use crossbeam::utils::CachePadded;

use crate::sync::{Arc, AtomicUsize, Ordering, UnsafeCell};

/// Makes a ring that holds at most `capacity` items.
///
/// # Panics
/// If `capacity` is zero.
pub fn channel<T: Send>(capacity: usize) -> (Producer<T>, Consumer<T>) {
    assert!(capacity > 0, "a ring holds at least one item");
    let slots = (0..capacity.next_power_of_two()).map(|_| UnsafeCell::new(MaybeUninit::uninit())).collect();
    let shared = Arc::new(Shared {
        head: CachePadded::new(AtomicUsize::new(0)),
        tail: CachePadded::new(AtomicUsize::new(0)),
        capacity,
        slots,
    });
    (Producer { shared: shared.clone(), tail: 0, head_seen: 0 }, Consumer { shared, head: 0, tail_seen: 0 })
}

/// The end that pushes.
pub struct Producer<T> {
    shared: Arc<Shared<T>>,
    /// The true tail: nobody else moves it.
    tail: usize,
    /// A head that was true once; the true one is here or further.
    head_seen: usize,
}

impl<T: Send> Producer<T> {
    /// Appends `item`, or gives it back when the ring is full.
    ///
    /// # Errors
    /// The item itself, when `capacity` items are waiting.
    #[inline]
    pub fn push(&mut self, item: T) -> Result<(), T> {
        if self.tail.wrapping_sub(self.head_seen) >= self.shared.capacity {
            self.head_seen = self.shared.head.load(Ordering::Acquire);
            if self.tail.wrapping_sub(self.head_seen) >= self.shared.capacity {
                return Err(item);
            }
        }
        self.shared.slot(self.tail).with_mut(|slot| {
            // SAFETY: the slot is outside `head..tail`, as there is room; such slots are the producer's alone, and the
            // acquire load that showed this head saw the consumer's read of the slot finished.
            unsafe { (*slot).write(item) };
        });
        self.tail = self.tail.wrapping_add(1);
        self.shared.tail.store(self.tail, Ordering::Release);
        Ok(())
    }

    /// Items waiting: at most this many, as the consumer may be taking some just now.
    pub fn len(&self) -> usize {
        self.tail.wrapping_sub(self.shared.head.load(Ordering::Acquire))
    }

    /// Whether the consumer has taken everything.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Room: at least this many pushes will succeed.
    pub fn free(&self) -> usize {
        self.shared.capacity - self.len()
    }

    /// Items the ring can hold.
    pub fn capacity(&self) -> usize {
        self.shared.capacity
    }
}

/// The end that pops.
pub struct Consumer<T> {
    shared: Arc<Shared<T>>,
    /// The true head: nobody else moves it.
    head: usize,
    /// A tail that was true once; the true one is here or further.
    tail_seen: usize,
}

impl<T: Send> Consumer<T> {
    /// Takes the oldest item.
    #[inline]
    pub fn pop(&mut self) -> Option<T> {
        if self.available(1) == 0 {
            return None;
        }
        let item = self.take();
        self.shared.head.store(self.head, Ordering::Release);
        Some(item)
    }

    /// Takes up to `max` items, oldest first, and hands each to `f`; returns how many.
    ///
    /// The room is given back to the producer once, at the end.
    pub fn drain(&mut self, max: usize, mut f: impl FnMut(T)) -> usize {
        let count = self.available(max).min(max);
        // Gives the room back also when `f` panics: an item that was handed over is never popped again.
        struct Publish<'a, T: Send>(&'a mut Consumer<T>);
        impl<T: Send> Drop for Publish<'_, T> {
            fn drop(&mut self) {
                self.0.shared.head.store(self.0.head, Ordering::Release);
            }
        }
        if count > 0 {
            let publish = Publish(self);
            for _ in 0..count {
                f(publish.0.take());
            }
        }
        count
    }

    /// The oldest items, up to `max`, which stay.
    pub fn peek(&mut self, max: usize) -> impl Iterator<Item = &T> {
        let count = self.available(max).min(max);
        (0..count).map(|at| {
            self.shared.slot(self.head.wrapping_add(at)).with(|slot| {
                // SAFETY: as in `take`; and while the consumer is borrowed nobody takes the item, so the slot stays as it is.
                unsafe { (*slot).assume_init_ref() }
            })
        })
    }

    /// Items waiting: at least this many.
    pub fn len(&self) -> usize {
        self.shared.tail.load(Ordering::Acquire).wrapping_sub(self.head)
    }

    /// Whether nothing waits. This is the look a consumer takes after [`Bell::prepare_sleep`](crate::Bell::prepare_sleep).
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Items the ring can hold.
    pub fn capacity(&self) -> usize {
        self.shared.capacity
    }

    /// How many items are known to wait; looks at the shared tail only if fewer than `wanted` are known.
    #[inline]
    fn available(&mut self, wanted: usize) -> usize {
        if self.tail_seen.wrapping_sub(self.head) < wanted {
            self.tail_seen = self.shared.tail.load(Ordering::Acquire);
        }
        self.tail_seen.wrapping_sub(self.head)
    }

    /// Takes one item that is known to wait, without telling the producer.
    #[inline]
    fn take(&mut self) -> T {
        debug_assert!(self.tail_seen != self.head, "only an item that waits is taken");
        let item = self.shared.slot(self.head).with(|slot| {
            // SAFETY: the slot is in `head..tail`, so it is initialised and the consumer's alone; the acquire load that
            // showed this tail saw the producer's write finished. `head` moves past it before anybody reads it again.
            unsafe { (*slot).assume_init_read() }
        });
        self.head = self.head.wrapping_add(1);
        item
    }
}

impl<T> fmt::Debug for Producer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Producer").field("pushed", &self.tail).field("capacity", &self.shared.capacity).finish()
    }
}

impl<T> fmt::Debug for Consumer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consumer").field("popped", &self.head).field("capacity", &self.shared.capacity).finish()
    }
}

struct Shared<T> {
    head: CachePadded<AtomicUsize>,
    tail: CachePadded<AtomicUsize>,
    capacity: usize,
    /// A power of two, at least `capacity`.
    slots: Box<[UnsafeCell<MaybeUninit<T>>]>,
}

// SAFETY: the two ends may live on two threads; each slot is used by one end at a time, and passes from one to the other by
// the release store and acquire load of `tail` or `head`. Items themselves cross threads, hence `T: Send`.
unsafe impl<T: Send> Sync for Shared<T> {}
// SAFETY: as above; the ring owns its items.
unsafe impl<T: Send> Send for Shared<T> {}

impl<T> Shared<T> {
    #[inline]
    fn slot(&self, n: usize) -> &UnsafeCell<MaybeUninit<T>> {
        &self.slots[n & (self.slots.len() - 1)]
    }
}

impl<T> Drop for Shared<T> {
    fn drop(&mut self) {
        let (mut head, tail) = (self.head.load(Ordering::Acquire), self.tail.load(Ordering::Acquire));
        while head != tail {
            self.slot(head).with_mut(|slot| {
                // SAFETY: both ends are gone, and slots in `head..tail` hold items that nobody took.
                unsafe { (*slot).assume_init_drop() };
            });
            head = head.wrapping_add(1);
        }
    }
}

#[cfg(all(test, not(loom)))]
#[allow(clippy::disallowed_methods, reason = "these tests need a second thread")]
mod tests {
    use super::*;

    #[test]
    fn items_come_out_in_order_and_a_full_ring_gives_the_item_back() {
        let (mut producer, mut consumer) = channel(3);
        for n in 0..3 {
            producer.push(n).expect("there is room");
        }
        assert_eq!(producer.push(3), Err(3));
        assert_eq!((producer.len(), producer.free(), consumer.len()), (3, 0, 3));
        assert_eq!(consumer.pop(), Some(0));
        assert_eq!(producer.push(3), Ok(()));
        let mut seen = Vec::new();
        assert_eq!(consumer.drain(2, |n| seen.push(n)), 2);
        assert_eq!(consumer.drain(10, |n| seen.push(n)), 1);
        assert_eq!(consumer.drain(10, |n| seen.push(n)), 0);
        assert_eq!(seen, [1, 2, 3]);
        assert!(consumer.is_empty() && producer.is_empty() && consumer.pop().is_none());
    }

    #[test]
    fn looking_at_items_takes_none() {
        let (mut producer, mut consumer) = channel(3);
        assert_eq!(consumer.peek(5).count(), 0);
        for n in 0..5 {
            // So that the slots looked at lie across the ring's end.
            producer.push(n).expect("there is room");
            consumer.pop();
        }
        producer.push(5).expect("there is room");
        producer.push(6).expect("there is room");
        assert_eq!(consumer.peek(1).collect::<Vec<_>>(), [&5]);
        assert_eq!(consumer.peek(9).collect::<Vec<_>>(), [&5, &6]);
        assert_eq!((consumer.pop(), consumer.pop(), consumer.pop()), (Some(5), Some(6), None));
    }

    #[test]
    fn a_million_items_cross_two_threads_in_order() {
        let items: u32 = if cfg!(miri) { 500 } else { 1_000_000 };
        let (mut producer, mut consumer) = channel(64);
        let pushing = std::thread::spawn(move || {
            for n in 0..items {
                let mut item = Box::new(n);
                while let Err(back) = producer.push(item) {
                    item = back;
                    std::thread::yield_now();
                }
            }
        });
        let mut next = 0;
        while next < items {
            if consumer.drain(usize::MAX, |n| assert_eq!(*n, std::mem::replace(&mut next, *n + 1))) == 0 {
                std::thread::yield_now();
            }
        }
        pushing.join().expect("the producer does not panic");
        assert!(consumer.pop().is_none());
    }

    #[test]
    fn items_left_behind_are_dropped_once() {
        let witness = std::sync::Arc::new(());
        let (mut producer, mut consumer) = channel(4);
        for _ in 0..4 {
            producer.push(witness.clone()).expect("there is room");
        }
        drop(consumer.pop());
        assert_eq!(std::sync::Arc::strong_count(&witness), 4);
        drop(producer);
        assert_eq!(consumer.drain(1, drop), 1);
        drop(consumer);
        assert_eq!(std::sync::Arc::strong_count(&witness), 1);
    }

    #[test]
    fn a_panic_while_draining_neither_repeats_nor_loses_an_item() {
        let (mut producer, mut consumer) = channel(4);
        for n in 0..4 {
            producer.push(Box::new(n)).expect("there is room");
        }
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            consumer.drain(4, |n| assert!(*n < 1, "the second item is refused"))
        }));
        assert!(panicked.is_err());
        assert_eq!(producer.free(), 2);
        assert_eq!(consumer.pop(), Some(Box::new(2)));
    }
}
