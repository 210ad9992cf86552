//! What one thread asks of another apart from requests: take this connection, report, reset, shut down. Rare, so a lock-free
//! queue of whatever length does; the waker belongs to the thread that reads.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use crossbeam::queue::SegQueue;
use member::report::{ConnReport, WatchCounts, WatchReport, WriteReport};
use uring::Waker;

/// Reports of all threads, collected for one four-letter word.
pub struct Question {
    /// Which word, for whom: the asking shard's number and its key for the connection.
    pub word: member::word::Word,
    /// The shard that answers the client.
    pub shard: u16,
    /// The connection that asked.
    pub key: member::Key,
    missing: AtomicUsize,
    gathered: Mutex<Gathered>,
}

/// What the threads have said so far.
#[derive(Default)]
pub struct Gathered {
    /// Connections by shard.
    pub connections: Vec<(u16, Vec<ConnReport>)>,
    /// Watches by shard.
    pub watches: Vec<(u16, WatchReport)>,
    /// Their numbers, in any order.
    pub watch_counts: Vec<WatchCounts>,
    /// From the write stage.
    pub write: WriteReport,
}

impl Question {
    /// A question to `parties` threads or stages.
    pub fn new(word: member::word::Word, shard: u16, key: member::Key, parties: usize) -> Question {
        Question { word, shard, key, missing: AtomicUsize::new(parties), gathered: Mutex::new(Gathered::default()) }
    }

    /// Adds one party's part; true for the last one, who then sends the question back to its shard.
    pub fn contribute(&self, add: impl FnOnce(&mut Gathered)) -> bool {
        add(&mut self.gathered.lock().unwrap_or_else(|poisoned| poisoned.into_inner()));
        self.missing.fetch_sub(1, Ordering::AcqRel) == 1
    }

    /// Takes everything; in order of shards, whoever was first to speak.
    pub fn take(&self) -> Gathered {
        let mut all = std::mem::take(&mut *self.gathered.lock().unwrap_or_else(|poisoned| poisoned.into_inner()));
        all.connections.sort_by_key(|(shard, _)| *shard);
        all.watches.sort_by_key(|(shard, _)| *shard);
        all
    }
}

/// One thread's letter box. `L` is what the binary wants to say.
pub struct Mailbox<L> {
    letters: SegQueue<L>,
    waker: Waker,
}

impl<L> Mailbox<L> {
    /// For the thread that this waker wakes.
    pub fn new(waker: Waker) -> Mailbox<L> {
        Mailbox { letters: SegQueue::new(), waker }
    }

    /// Puts a letter in and wakes the reader.
    pub fn send(&self, letter: L) {
        self.letters.push(letter);
        self.waker.wake();
    }

    /// Takes the oldest letter.
    pub fn take(&self) -> Option<L> {
        self.letters.pop()
    }

    /// Nothing there?
    pub fn is_empty(&self) -> bool {
        self.letters.is_empty()
    }
}
