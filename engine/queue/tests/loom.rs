//! Models of the hand-off, checked in every interleaving: `RUSTFLAGS="--cfg loom" cargo test -p queue --release --test loom`.
//!
//! A lost wake-up shows as a deadlock, which loom reports; a lost, repeated or reordered item fails an assertion; a slot used by
//! both ends at once is reported by loom's cells; an item dropped twice or never by loom's count of its `Arc`s.
#![cfg(loom)]

use loom::{
    sync::{
        Arc, Notify,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};
use queue::{Bell, Consumer, broadcast::broadcast, channel};

#[test]
fn items_arrive_once_and_in_order_through_a_ring_that_fills_up() {
    loom::model(|| {
        let (mut producer, mut consumer) = channel(2);
        let pushing = thread::spawn(move || {
            let mut refused = 0;
            for n in 0..3 {
                if producer.push(Arc::new(n)).is_err() {
                    refused += 1;
                }
            }
            refused
        });
        let mut seen = Vec::new();
        let first = consumer.peek(1).next().map(|item| **item);
        if let Some(item) = consumer.pop() {
            assert!(first.is_none_or(|first| first == *item), "what is looked at stays");
            seen.push(*item);
        }
        consumer.drain(1, |item| seen.push(*item));
        let refused = pushing.join().unwrap();
        consumer.drain(usize::MAX, |item| seen.push(*item));
        assert!(seen.is_sorted_by(|a, b| a < b), "in order, none twice: {seen:?}");
        assert_eq!(seen.len() + refused, 3, "none lost: {seen:?}");
    });
}

#[test]
fn items_left_in_the_ring_are_dropped_whoever_goes_first() {
    loom::model(|| {
        let witness = Arc::new(());
        let (mut producer, mut consumer) = channel(2);
        let item = witness.clone();
        let pushing = thread::spawn(move || {
            assert!(producer.push(item.clone()).is_ok());
            assert!(producer.push(item).is_ok());
        });
        drop(consumer.pop());
        drop(consumer);
        pushing.join().unwrap();
        assert_eq!(Arc::strong_count(&witness), 1);
    });
}

#[test]
fn a_sleeping_consumer_is_woken_for_every_item() {
    loom::model(|| {
        let (bell, alarm) = bell();
        let (mut producer, mut consumer) = channel(2);
        let producer_bell = bell.clone();
        let pushing = thread::spawn(move || {
            for n in 0..2 {
                producer.push(n).unwrap();
                producer_bell.ring();
            }
        });
        assert_eq!(receive(&bell, &alarm, &mut [&mut consumer], 2), [0, 1]);
        pushing.join().unwrap();
    });
}

#[test]
fn one_bell_serves_two_producers() {
    // Three threads are bounded by preemptions, which is where such races show, to stay within seconds.
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(2);
    model.check(|| {
        let (bell, alarm) = bell();
        let (mut left, mut from_left) = channel(1);
        let (mut right, mut from_right) = channel(1);
        let left_bell = bell.clone();
        let pushing_left = thread::spawn(move || {
            left.push(1).unwrap();
            left_bell.ring();
        });
        let right_bell = bell.clone();
        let pushing_right = thread::spawn(move || {
            right.push(2).unwrap();
            right_bell.ring();
        });
        let mut seen = receive(&bell, &alarm, &mut [&mut from_left, &mut from_right], 2);
        seen.sort_unstable();
        assert_eq!(seen, [1, 2]);
        pushing_left.join().unwrap();
        pushing_right.join().unwrap();
    });
}

#[test]
fn what_one_receiver_acted_on_every_other_finds() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(2);
    model.check(|| {
        let (mut sender, mut receivers) = broadcast(2, 1);
        let (mut second, mut first) = (receivers.pop().unwrap(), receivers.pop().unwrap());
        let acted = Arc::new(AtomicBool::new(false));
        let told = acted.clone();
        let sending = thread::spawn(move || {
            sender.send(7);
            sender.release(|_| {});
        });
        let acting = thread::spawn(move || {
            if first.take().is_some() {
                // Its client hears of it, and turns to the other receiver.
                told.store(true, Ordering::Release);
            }
        });
        if acted.load(Ordering::Acquire) {
            assert!(second.is_behind());
            assert_eq!(second.take().as_deref(), Some(&7));
        }
        sending.join().unwrap();
        acting.join().unwrap();
    });
}

#[test]
fn a_receiver_that_begins_to_listen_sleeps_over_nothing() {
    loom::model(|| {
        let (bell, alarm) = bell();
        let (mut sender, mut receivers) = broadcast(1, 2);
        let mut receiver = receivers.pop().unwrap();
        let sender_bell = bell.clone();
        let sending = thread::spawn(move || {
            sender.send(7);
            sender.release(|_| {
                sender_bell.ring();
            });
        });
        receiver.listen(true);
        loop {
            if let Some(item) = receiver.take() {
                assert_eq!(*item, 7);
                break;
            }
            bell.prepare_sleep();
            if !receiver.is_behind() {
                alarm.wait();
            }
            bell.awake();
        }
        sending.join().unwrap();
    });
}

/// A bell, and what its consumer sleeps on: like an eventfd, it remembers one wake.
fn bell() -> (Bell, Arc<Notify>) {
    let alarm = Arc::new(Notify::new());
    let rung = alarm.clone();
    (Bell::new(move || rung.notify()), alarm)
}

/// The consumer's loop, until it has `count` items. A wait that nobody ends is a deadlock, which fails the model.
fn receive(bell: &Bell, alarm: &Notify, consumers: &mut [&mut Consumer<u32>], count: usize) -> Vec<u32> {
    let mut seen = Vec::new();
    while seen.len() < count {
        for consumer in consumers.iter_mut() {
            consumer.drain(usize::MAX, |item| seen.push(item));
        }
        if seen.len() == count {
            break;
        }
        bell.prepare_sleep();
        if consumers.iter().all(|consumer| consumer.is_empty()) {
            alarm.wait();
        }
        bell.awake();
    }
    seen
}
