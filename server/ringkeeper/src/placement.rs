//! Which stage runs on which thread and core (DESIGN.md §2). The structs are the same everywhere; only this differs.

use std::fmt;

/// What one thread runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Thread {
    /// The core that it is pinned to, if any.
    pub core: Option<usize>,
    /// The net shard on it.
    pub shard: Option<u16>,
    /// Does the write stage (sequencer and log) run on it?
    pub writes: bool,
}

/// All threads of the hot path. The background thread is not pinned and not listed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Placement {
    /// In order of shards; exactly one has the write stage.
    pub threads: Vec<Thread>,
}

/// Beyond this many shards the write stage is what limits.
const SHARDS_MAX: usize = 12;

impl Placement {
    /// For a machine on which this process may use `cores`, with a number of shards if the operator chose one.
    pub fn choose(cores: &[usize], shards: Option<u16>) -> Placement {
        let threads = match (cores.len(), shards) {
            // One thread for everything, which leaves the second core to the kernel, the background, and whoever else is there: two
            // busy threads and a client on two cores wait for each other for milliseconds. Not pinned where cores are few, because
            // a pinned thread would wait behind others while another core is idle.
            (0..=2, None) => vec![Thread { core: None, shard: Some(0), writes: true }],
            // Two threads, the second with the write stage.
            (3, None) => vec![
                Thread { core: None, shard: Some(0), writes: false },
                Thread { core: None, shard: Some(1), writes: true },
            ],
            (n, None) => Self::apart(cores, (n - 1).min(SHARDS_MAX)),
            (n, Some(shards)) if usize::from(shards) < n => Self::apart(cores, usize::from(shards)),
            // More shards than cores: unpinned, the last one with the write stage.
            (_, Some(shards)) => (0..shards)
                .map(|shard| Thread { core: None, shard: Some(shard), writes: shard + 1 == shards })
                .collect(),
        };
        Placement { threads }
    }

    /// The write stage on the first core, shards on the following ones.
    fn apart(cores: &[usize], shards: usize) -> Vec<Thread> {
        let write = Thread { core: cores.first().copied(), shard: None, writes: true };
        let shards = (0..shards).map(|shard| Thread {
            core: cores.get(shard + 1).copied(),
            shard: Some(shard as u16),
            writes: false,
        });
        shards.chain([write]).collect()
    }

    /// How many shards there are.
    pub fn shards(&self) -> usize {
        self.threads.iter().filter(|thread| thread.shard.is_some()).count()
    }
}

impl fmt::Display for Placement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, thread) in self.threads.iter().enumerate() {
            if at > 0 {
                f.write_str(", ")?;
            }
            match thread.core {
                Some(core) => write!(f, "core {core}:")?,
                None => f.write_str("unpinned:")?,
            }
            if let Some(shard) = thread.shard {
                write!(f, " shard {shard}")?;
            }
            if thread.writes {
                f.write_str(if thread.shard.is_some() { " + sequencer + log" } else { " sequencer + log" })?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(cores: usize, shards: Option<u16>) -> String {
        Placement::choose(&(0..cores).collect::<Vec<_>>(), shards).to_string()
    }

    #[test]
    fn every_machine_gets_one_write_stage() {
        assert_eq!(shown(1, None), "unpinned: shard 0 + sequencer + log");
        assert_eq!(shown(2, None), "unpinned: shard 0 + sequencer + log");
        assert_eq!(shown(3, None), "unpinned: shard 0, unpinned: shard 1 + sequencer + log");
        assert_eq!(shown(4, None), "core 1: shard 0, core 2: shard 1, core 3: shard 2, core 0: sequencer + log");
        assert_eq!(shown(2, Some(1)), "core 1: shard 0, core 0: sequencer + log");
        assert_eq!(shown(2, Some(3)), "unpinned: shard 0, unpinned: shard 1, unpinned: shard 2 + sequencer + log");
        for cores in 0..40 {
            for shards in [None, Some(1), Some(2), Some(20)] {
                let placement = Placement::choose(&(0..cores).collect::<Vec<_>>(), shards);
                assert_eq!(placement.threads.iter().filter(|thread| thread.writes).count(), 1);
                let numbers: Vec<_> = placement.threads.iter().filter_map(|thread| thread.shard).collect();
                assert_eq!(numbers, (0..placement.shards() as u16).collect::<Vec<_>>());
            }
        }
    }
}
