//! The commit stream from the sequencer to every shard: batches of items, broadcast.
//!
//! No shard looks at a batch before it lies in every shard's queue ([`queue::broadcast`]). So whatever one shard has answered,
//! every other shard finds in its own queue when it next asks: a client that hears of a write from another client, and asks
//! this server, sees it whichever shard it is connected to.
//!
//! A shard is woken for a batch only if it has an answer to give or a connection to close, or holds watches, which any batch
//! may fire. The others catch up before they next look at a request.
//!
//! Bounded: while [`Sender::is_backed_up`], the write stage takes no further requests.

use pipeline::Item;
use queue::broadcast;

/// Batches that a shard's queue holds.
const BATCHES_MAX: usize = 1024;

/// The sequencer's end.
pub struct Sender {
    to_shards: broadcast::Sender<Vec<Item>>,
    /// Which shards the batch at hand concerns; reused.
    concerned: Vec<bool>,
}

/// A shard's end.
pub type Receiver = broadcast::Receiver<Vec<Item>>;

/// A stream to `shards` shards.
pub fn stream(shards: usize) -> (Sender, Vec<Receiver>) {
    let (sender, receivers) = broadcast::broadcast(shards, BATCHES_MAX);
    (Sender { to_shards: sender, concerned: vec![false; shards] }, receivers)
}

impl Sender {
    /// Sends the items to every shard; calls `wake` for each that should be woken, now that a batch was released.
    pub fn publish(&mut self, items: Vec<Item>, mut wake: impl FnMut(u16)) {
        if !items.is_empty() {
            for item in &items {
                let (answered, closing) = match item {
                    Item::Serve(_) | Item::Tree(_) => {
                        self.concerned.fill(true);
                        continue;
                    }
                    Item::Commit(commit) => (commit.answer.as_ref().map(|answer| answer.conn), commit.closing),
                    Item::Answer(answer) => (Some(answer.conn), None),
                    Item::Close(conn) => (None, Some(*conn)),
                };
                for conn in [answered, closing].into_iter().flatten() {
                    self.concerned[usize::from(conn.shard)] = true;
                }
            }
            self.to_shards.send(items);
            for (shard, concerned) in self.concerned.iter_mut().enumerate() {
                if std::mem::take(concerned) {
                    self.to_shards.concerns(shard);
                }
            }
        }
        self.to_shards.release(|shard| wake(shard as u16));
    }

    /// Does some shard lag so far behind that its queue is full?
    pub fn is_backed_up(&self) -> bool {
        self.to_shards.is_backed_up()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pipeline::ConnRef;

    #[test]
    fn a_batch_wakes_the_shards_that_it_concerns_and_no_others() {
        let (mut sender, receivers) = stream(3);
        let close = |shard| Item::Close(ConnRef { shard, index: 0, generation: 0 });
        let mut woken = Vec::new();
        sender.publish(vec![close(2), close(0), close(2)], |shard| woken.push(shard));
        assert_eq!(woken, [0, 2]);
        assert!(receivers.iter().all(|receiver| receiver.is_behind()));
    }
}
