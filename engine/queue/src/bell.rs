//! Who wakes a sleeping consumer, and when nobody needs to.
//!
//! Waking a thread costs a system call, so producers do it only when the consumer has said that it is about to sleep, and only
//! one of them does. The danger is the lost wake-up: the consumer finds its rings empty, a producer pushes and finds nobody asleep,
//! the consumer sleeps. It cannot happen, because each side writes first and reads second with a full fence between:
//!
//! ```text
//!   producer: push   ── fence ── is it sleeping?
//!   consumer: sleeping := true ── fence ── is there an item?      at least one of the two sees the other
//! ```
//!
//! Kept out: rings (any queue will do) and the way of sleeping.

use std::fmt;

use crossbeam::utils::CachePadded;

use crate::sync::{Arc, AtomicBool, Ordering, fence};

/// One per consuming thread, cloned to all its producers.
#[derive(Clone)]
pub struct Bell {
    shared: Arc<Shared>,
}

struct Shared {
    sleeping: CachePadded<AtomicBool>,
    wake: Box<dyn Fn() + Send + Sync>,
}

impl Bell {
    /// A bell whose consumer is awake, and is woken by calling `wake`.
    ///
    /// A wake must not be lost if it comes before the consumer is really asleep (an eventfd, a park token).
    pub fn new(wake: impl Fn() + Send + Sync + 'static) -> Bell {
        Bell { shared: Arc::new(Shared { sleeping: CachePadded::new(AtomicBool::new(false)), wake: Box::new(wake) }) }
    }

    /// Producer, after a batch of pushes: wakes the consumer if it sleeps or is about to. Returns whether it did.
    #[inline]
    pub fn ring(&self) -> bool {
        fence(Ordering::SeqCst);
        let wakes = self.shared.sleeping.load(Ordering::Relaxed) && self.shared.sleeping.swap(false, Ordering::Relaxed);
        if wakes {
            (self.shared.wake)();
        }
        wakes
    }

    /// Consumer, when it has found nothing to do: from now on producers will wake it.
    ///
    /// It must look at all its rings once more, and sleep only if they are empty; in either case [`Bell::awake`] follows.
    pub fn prepare_sleep(&self) {
        // A swap, not a store: it takes its place after the swap of a producer that is still busy with our last sleep, so that
        // a flag set now cannot be taken for one that was answered already.
        self.shared.sleeping.swap(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// Consumer, after sleeping or after deciding not to: producers need not wake it any more.
    ///
    /// A wake that was on its way already still arrives, and is then spurious.
    pub fn awake(&self) {
        // Not merely a hint saved: a flag left set would cost the producers a needless wake per batch.
        self.shared.sleeping.store(false, Ordering::Relaxed);
    }
}

impl fmt::Debug for Bell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bell").finish_non_exhaustive()
    }
}

#[cfg(all(test, not(loom)))]
#[allow(clippy::disallowed_methods, reason = "these tests need a second thread")]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use super::*;
    use crate::channel;

    #[test]
    fn only_a_sleeper_is_woken_and_only_once() {
        let wakes = Arc::new(AtomicUsize::new(0));
        let counted = wakes.clone();
        let bell = Bell::new(move || {
            counted.fetch_add(1, Ordering::Relaxed);
        });
        assert!(!bell.ring());
        bell.prepare_sleep();
        assert!(bell.ring());
        assert!(!bell.clone().ring());
        bell.awake();
        assert!(!bell.ring());
        assert_eq!(wakes.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn a_consumer_that_parks_when_idle_receives_everything() {
        let items: u32 = if cfg!(miri) { 200 } else { 100_000 };
        let consumer_thread = std::thread::current();
        let bell = Bell::new(move || consumer_thread.unpark());
        let (mut producer, mut consumer) = channel(8);
        let producer_bell = bell.clone();
        let pushing = std::thread::spawn(move || {
            for n in 0..items {
                while producer.push(n).is_err() {
                    producer_bell.ring();
                    std::thread::yield_now();
                }
                if n % 7 == 0 {
                    producer_bell.ring();
                }
            }
            producer_bell.ring();
        });
        let mut received = 0;
        while received < items {
            if consumer.drain(usize::MAX, |_| received += 1) == 0 {
                bell.prepare_sleep();
                if consumer.is_empty() {
                    std::thread::park();
                }
                bell.awake();
            }
        }
        pushing.join().expect("the producer does not panic");
    }
}
