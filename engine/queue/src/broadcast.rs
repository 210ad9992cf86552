//! One sender, several receivers; each receives every item, in order.
//!
//! An item counts as *released* once it lies in every receiver's queue, and no receiver looks at it before. So whatever one
//! receiver has acted on, every other finds in its own queue when it next asks.
//!
//! Bounded: a full queue holds its receiver's items back at the sender, and [`Sender::is_backed_up`] says so.
//!
//! Not every receiver needs waking for every item. One is named by [`Sender::release`] if an item [concerns](Sender::concerns) it, if it
//! asked to hear of everything at once ([`Receiver::listen`]), or if it has been left alone for [`QUIET_MAX`] items; otherwise
//! it finds the items when something else wakes it. Kept out: the waking itself, which is the [`Bell`](crate::Bell)'s.

use std::collections::VecDeque;

use crossbeam::utils::CachePadded;

use crate::sync::{Arc, AtomicBool, AtomicU64, Ordering, fence};
use crate::{Consumer, Producer, channel};

/// Items after which a receiver is woken although none concerns it: what they hold on to is let go.
pub const QUIET_MAX: u64 = 64;

struct Numbered<T> {
    number: u64,
    item: T,
}

/// The sending end.
pub struct Sender<T> {
    lanes: Vec<Lane<T>>,
    released: Arc<CachePadded<AtomicU64>>,
    last: u64,
}

struct Lane<T> {
    queue: Producer<Arc<Numbered<T>>>,
    held_back: VecDeque<Arc<Numbered<T>>>,
    listens: Arc<CachePadded<AtomicBool>>,
    /// The last item that concerns this receiver.
    concern: u64,
    /// What was released when it was last to be woken.
    woken: u64,
}

/// A receiving end.
pub struct Receiver<T> {
    queue: Consumer<Arc<Numbered<T>>>,
    /// Taken from the queue but not yet released.
    next: Option<Arc<Numbered<T>>>,
    released: Arc<CachePadded<AtomicU64>>,
    seen: u64,
    listens: Arc<CachePadded<AtomicBool>>,
    listening: bool,
}

/// An item as a receiver holds it, together with the others.
pub struct Received<T>(Arc<Numbered<T>>);

impl<T> std::ops::Deref for Received<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0.item
    }
}

/// A sender and its receivers, each with room for `capacity` items.
pub fn broadcast<T: Send + Sync>(receivers: usize, capacity: usize) -> (Sender<T>, Vec<Receiver<T>>) {
    let released = Arc::new(CachePadded::new(AtomicU64::new(0)));
    let (lanes, receivers) = (0..receivers)
        .map(|_| {
            let (producer, consumer) = channel(capacity);
            let listens = Arc::new(CachePadded::new(AtomicBool::new(false)));
            let lane =
                Lane { queue: producer, held_back: VecDeque::new(), listens: listens.clone(), concern: 0, woken: 0 };
            let receiver = Receiver {
                queue: consumer,
                next: None,
                released: released.clone(),
                seen: 0,
                listens,
                listening: false,
            };
            (lane, receiver)
        })
        .unzip();
    (Sender { lanes, released, last: 0 }, receivers)
}

impl<T: Send + Sync> Sender<T> {
    /// Puts an item in line for every receiver; [`Sender::release`] follows.
    pub fn send(&mut self, item: T) {
        self.last += 1;
        let item = Arc::new(Numbered { number: self.last, item });
        for lane in &mut self.lanes {
            lane.held_back.push_back(item.clone());
        }
    }

    /// The item that was sent last concerns this receiver: it is woken when the item is released.
    pub fn concerns(&mut self, receiver: usize) {
        if let Some(lane) = self.lanes.get_mut(receiver) {
            lane.concern = self.last;
        }
    }

    /// Hands over what there is room for, and names the receivers that should be woken now.
    pub fn release(&mut self, mut wake: impl FnMut(usize)) {
        let mut released = self.last;
        for lane in &mut self.lanes {
            while let Some(item) = lane.held_back.pop_front() {
                if let Err(item) = lane.queue.push(item) {
                    released = released.min(item.number - 1);
                    lane.held_back.push_front(item);
                    break;
                }
            }
        }
        // Release: whoever sees the number finds the items up to it in its queue.
        if self.released.swap(released, Ordering::Release) >= released {
            return;
        }
        // A receiver that begins to listen looks once more before it sleeps: it sees this number, or we see that it listens.
        fence(Ordering::SeqCst);
        for (at, lane) in self.lanes.iter_mut().enumerate() {
            let quiet = released - lane.woken;
            if lane.concern > lane.woken || quiet >= QUIET_MAX || lane.listens.load(Ordering::Relaxed) {
                lane.woken = released;
                wake(at);
            }
        }
    }

    /// Does some receiver lag so far behind that its queue is full?
    pub fn is_backed_up(&self) -> bool {
        self.lanes.iter().any(|lane| !lane.held_back.is_empty())
    }
}

impl<T: Send + Sync> Receiver<T> {
    /// Whether this receiver wants to be woken for every item from here on.
    ///
    /// Call it before [`Bell::prepare_sleep`](crate::Bell::prepare_sleep), and ask [`Receiver::is_behind`] between that and
    /// sleeping; then no item that is sent after the call is slept over.
    pub fn listen(&mut self, listen: bool) {
        if self.listening != listen {
            self.listening = listen;
            self.listens.store(listen, Ordering::Relaxed);
        }
    }

    /// Is there an item to take? One load; meant to be asked often.
    pub fn is_behind(&self) -> bool {
        self.released.load(Ordering::Acquire) > self.seen
    }

    /// The next released item.
    pub fn take(&mut self) -> Option<Received<T>> {
        let item = self.next.take().or_else(|| self.queue.pop())?;
        if item.number > self.released.load(Ordering::Acquire) {
            self.next = Some(item);
            return None;
        }
        self.seen = item.number;
        Some(Received(item))
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn released(sender: &mut Sender<u64>) -> Vec<usize> {
        let mut woken = Vec::new();
        sender.release(|at| woken.push(at));
        woken
    }

    #[test]
    fn nothing_is_released_before_every_receiver_has_it() {
        let (mut sender, mut receivers) = broadcast(2, 4);
        for n in 0..4 {
            sender.send(n);
            sender.release(|_| {});
        }
        while receivers[0].take().is_some() {}
        // The second receiver's queue is full: the next item reaches the first only.
        sender.send(9);
        sender.release(|_| {});
        assert!(sender.is_backed_up());
        assert!(receivers[0].take().is_none());
        assert!(receivers[1].take().is_some());
        sender.release(|_| {});
        assert!(receivers[0].is_behind());
        assert_eq!(receivers[0].take().as_deref(), Some(&9));
        assert!(!sender.is_backed_up());
    }

    #[test]
    fn only_those_are_woken_whom_an_item_concerns_or_who_listen() {
        let (mut sender, mut receivers) = broadcast(3, 16);
        sender.send(1);
        sender.concerns(2);
        assert_eq!(released(&mut sender), [2]);
        receivers[0].listen(true);
        sender.send(2);
        assert_eq!(released(&mut sender), [0]);
        receivers[0].listen(false);
        sender.send(3);
        assert!(released(&mut sender).is_empty());
        assert!(receivers.iter().all(|receiver| receiver.is_behind()));
    }

    #[test]
    fn an_item_that_is_held_back_wakes_whom_it_concerns_once_it_is_released() {
        let (mut sender, mut receivers) = broadcast(2, 1);
        sender.send(1);
        assert!(released(&mut sender).is_empty());
        sender.send(2);
        sender.concerns(0);
        assert!(receivers[0].take().is_some());
        assert!(released(&mut sender).is_empty(), "the other receiver has no room for it");
        assert!(receivers[0].take().is_none());
        assert!(receivers[1].take().is_some());
        assert_eq!(released(&mut sender), [0]);
        assert_eq!(receivers[0].take().as_deref(), Some(&2));
    }

    #[test]
    fn a_receiver_that_nothing_concerns_is_woken_now_and_then() {
        let (mut sender, mut receivers) = broadcast(1, 2 * QUIET_MAX as usize);
        let woken: usize = (0..2 * QUIET_MAX)
            .map(|n| {
                sender.send(n);
                released(&mut sender).len()
            })
            .sum();
        assert_eq!(woken, 2);
        let mut expected = 0;
        while let Some(item) = receivers[0].take() {
            assert_eq!(*item, expected);
            expected += 1;
        }
        assert_eq!(expected, 2 * QUIET_MAX);
    }
}
