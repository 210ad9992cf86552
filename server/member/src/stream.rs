//! The commit stream from the sequencer to every shard.
//!
//! Batches are numbered. A batch counts as *released* once it lies in every shard's queue, and no shard looks at it before.
//! So whatever one shard has answered, every other shard finds in its own queue when it next asks: a client that hears of a
//! write from another client, and asks this server, sees it whichever shard it is connected to.
//!
//! Bounded: a full queue holds its shard's batches back at the sender, [`Sender::is_backed_up`] says so, and the write stage
//! then takes no further requests.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam::utils::CachePadded;
use pipeline::Item;
use queue::{Consumer, Producer};

/// Batches that a shard's queue holds.
const BATCHES_MAX: usize = 1024;

/// Some consecutive items.
#[derive(Debug)]
pub struct Batch {
    number: u64,
    /// In the order of the stream.
    pub items: Vec<Item>,
}

/// The sequencer's end.
pub struct Sender {
    lanes: Vec<Lane>,
    released: Arc<CachePadded<AtomicU64>>,
    last: u64,
}

struct Lane {
    queue: Producer<Arc<Batch>>,
    held_back: VecDeque<Arc<Batch>>,
}

/// A shard's end.
pub struct Receiver {
    queue: Consumer<Arc<Batch>>,
    /// Taken from the queue but not yet released.
    next: Option<Arc<Batch>>,
    released: Arc<CachePadded<AtomicU64>>,
    seen: u64,
}

/// A stream to `shards` shards.
pub fn stream(shards: usize) -> (Sender, Vec<Receiver>) {
    let released = Arc::new(CachePadded::new(AtomicU64::new(0)));
    let (mut lanes, mut receivers) = (Vec::new(), Vec::new());
    for _ in 0..shards {
        let (producer, consumer) = queue::channel(BATCHES_MAX);
        lanes.push(Lane { queue: producer, held_back: VecDeque::new() });
        receivers.push(Receiver { queue: consumer, next: None, released: Arc::clone(&released), seen: 0 });
    }
    (Sender { lanes, released, last: 0 }, receivers)
}

impl Sender {
    /// Sends the items to every shard; true if a new batch was released, so that the shards should be woken.
    pub fn publish(&mut self, items: Vec<Item>) -> bool {
        if !items.is_empty() {
            self.last += 1;
            let batch = Arc::new(Batch { number: self.last, items });
            for lane in &mut self.lanes {
                lane.held_back.push_back(Arc::clone(&batch));
            }
        }
        let mut released = self.last;
        for lane in &mut self.lanes {
            while let Some(batch) = lane.held_back.pop_front() {
                if let Err(batch) = lane.queue.push(batch) {
                    released = released.min(batch.number - 1);
                    lane.held_back.push_front(batch);
                    break;
                }
            }
        }
        // Release: whoever sees the number finds the batches up to it in its queue.
        self.released.swap(released, Ordering::Release) < released
    }

    /// Does some shard lag so far behind that its queue is full?
    pub fn is_backed_up(&self) -> bool {
        self.lanes.iter().any(|lane| !lane.held_back.is_empty())
    }
}

impl Receiver {
    /// Is there a batch to take? One load; meant to be asked before each request.
    pub fn is_behind(&self) -> bool {
        self.released.load(Ordering::Acquire) > self.seen
    }

    /// The next released batch.
    pub fn take(&mut self) -> Option<Arc<Batch>> {
        let batch = self.next.take().or_else(|| self.queue.pop())?;
        if batch.number > self.released.load(Ordering::Acquire) {
            self.next = Some(batch);
            return None;
        }
        self.seen = batch.number;
        Some(batch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pipeline::ConnRef;

    fn item(index: u32) -> Item {
        Item::Close(ConnRef { shard: 0, index, generation: 0 })
    }

    #[test]
    fn nothing_is_released_before_every_shard_has_it() {
        let (mut sender, mut receivers) = stream(2);
        for n in 0..BATCHES_MAX as u32 {
            assert!(sender.publish(vec![item(n)]));
        }
        while receivers[0].take().is_some() {}
        // The second shard's queue is full: the next batch reaches the first only.
        assert!(!sender.publish(vec![item(9999)]));
        assert!(sender.is_backed_up());
        assert!(receivers[0].take().is_none());
        assert!(receivers[1].take().is_some());
        assert!(sender.publish(Vec::new()));
        assert!(receivers[0].is_behind());
        assert!(receivers[0].take().is_some());
        assert!(!sender.is_backed_up());
    }
}
