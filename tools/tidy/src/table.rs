//! The crates of the workspace, in layer order, with what each may use: the one place where an edge is allowed.
//!
//! A new crate gets a row here before it gets a line of code. A new edge is a new name in `may_use`, which a reviewer
//! sees. A test below keeps the table itself in order: edges point to earlier rows, deciding crates never use acting
//! ones, the engine knows nothing of the server, and nothing uses the bench, the tools or the binary.

/// What a crate is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Takes events and returns effects; touches nothing.
    Decides,
    /// Touches the world: rings, files, sockets, clocks.
    Acts,
    /// The binary, which puts everything together.
    Binary,
    /// Measures the product from outside.
    Bench,
    /// Helps to build, test or operate the product.
    Tool,
}

/// One crate of the workspace.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Its folder, of which the last part is its name.
    pub folder: &'static str,
    /// What it is for.
    pub kind: Kind,
    /// The crates of the workspace that it may depend on.
    pub may_use: &'static [&'static str],
    /// Why it holds unsafe code; `None` means that it may not.
    pub unsafe_because: Option<&'static str>,
    /// Why a crate that decides is nevertheless let off the strict list of `clippy.toml`.
    pub lenient_because: Option<&'static str>,
}

impl Row {
    /// The crate's name.
    pub fn name(&self) -> &'static str {
        self.folder.rsplit('/').next().unwrap_or(self.folder)
    }
}

/// The row of a crate.
pub fn find(name: &str) -> Option<&'static Row> {
    ROWS.iter().find(|row| row.name() == name)
}

const fn decides(folder: &'static str, may_use: &'static [&'static str]) -> Row {
    Row { folder, kind: Kind::Decides, may_use, unsafe_because: None, lenient_because: None }
}

const fn of_kind(kind: Kind, folder: &'static str, may_use: &'static [&'static str]) -> Row {
    Row { folder, kind, may_use, unsafe_because: None, lenient_because: None }
}

/// Every crate, in layer order.
pub const ROWS: &[Row] = &[
    // --- engine
    // Words and bytes; used by everybody.
    decides("engine/proto", &[]),
    // Buffers whose address suits O_DIRECT.
    Row { unsafe_because: Some("memory of a chosen alignment is allocated by hand"), ..decides("engine/aligned", &[]) },
    // Bounded queues between stages.
    Row {
        unsafe_because: Some("slots of a ring are shared between one writer and one reader"),
        lenient_because: Some("waking a sleeping thread is what it is for"),
        ..decides("engine/queue", &[])
    },
    // The machine as traits, with kinds that need none.
    decides("engine/host", &["proto"]),
    // The versioned tree.
    Row {
        unsafe_because: Some("readers follow version chains while one writer extends them"),
        ..decides("engine/tree", &["proto"])
    },
    // Prepare, apply, roll back. The log and the snapshot are told what to do by `member`, not by it.
    decides("engine/pipeline", &["proto", "queue", "host", "tree"]),
    // The transaction log.
    decides("engine/wal", &["proto", "aligned", "host"]),
    // Snapshots: they read the tree at a zxid, share framing and checksums with the log.
    decides("engine/snapshot", &["proto", "aligned", "host", "tree", "wal"]),
    // The only crate that names io_uring.
    Row {
        unsafe_because: Some("the kernel borrows buffers and descriptors"),
        ..of_kind(Kind::Acts, "engine/uring", &["proto", "aligned", "queue", "host"])
    },
    // The machine behind the traits of `host`.
    Row {
        unsafe_because: Some("closed files are mapped"),
        ..of_kind(Kind::Acts, "engine/disk", &["proto", "aligned", "host", "uring"])
    },
    // --- server
    decides("server/sessions", &["proto", "host", "pipeline"]),
    decides("server/watches", &["proto"]),
    decides("server/auth", &["proto"]),
    // Election and ZAB over bytes and time; log, tree and sessions behind one trait.
    decides("server/quorum", &["proto", "pipeline"]),
    // Names of settings and their values. It asks `auth` which digests there are, and `quorum` for the grammar of members; what
    // obeys is not its business.
    decides("server/config", &["proto", "auth", "quorum"]),
    // One member: stages and their queues, placed by somebody else.
    decides(
        "server/member",
        &[
            "proto", "aligned", "queue", "host", "tree", "pipeline", "wal", "snapshot", "sessions", "watches", "auth",
            "quorum", "config",
        ],
    ),
    // Network shards.
    of_kind(
        Kind::Acts,
        "server/clients",
        &[
            "proto", "aligned", "queue", "host", "tree", "pipeline", "uring", "sessions", "watches", "auth", "config",
            "member",
        ],
    ),
    // Sockets to the other members: names resolved and connections made, off the path.
    of_kind(Kind::Acts, "server/peers", &["proto", "queue", "host", "uring", "quorum", "config"]),
    // What operators ask a running server.
    of_kind(
        Kind::Acts,
        "server/admin",
        &[
            "proto", "queue", "host", "tree", "pipeline", "wal", "snapshot", "uring", "disk", "sessions", "watches",
            "auth", "quorum", "config", "member",
        ],
    ),
    // Builds the real clock, disk and rings, and runs.
    Row {
        unsafe_because: Some(
            "its tests start servers that the kernel confines, and the allocator gives memory back when told to",
        ),
        ..of_kind(
            Kind::Binary,
            "server/ringkeeper",
            &[
                "proto", "aligned", "queue", "host", "tree", "pipeline", "wal", "snapshot", "uring", "disk",
                "sessions", "watches", "auth", "quorum", "config", "member", "clients", "peers", "admin",
            ],
        )
    },
    // --- tools: from the outside they see words and bytes; from the inside only what their row says
    of_kind(Kind::Tool, "tools/client", &["proto"]),
    of_kind(Kind::Tool, "tools/oracle", &["proto", "client"]),
    // Whole ensembles of the product's own structs under one seed.
    of_kind(
        Kind::Tool,
        "tools/simulator",
        &[
            "proto", "aligned", "queue", "host", "tree", "pipeline", "wal", "snapshot", "sessions", "watches", "auth",
            "quorum", "member",
        ],
    ),
    // Judges what clients of a real ensemble saw.
    of_kind(Kind::Tool, "tools/checker", &["proto", "client"]),
    of_kind(Kind::Tool, "tools/tidy", &[]),
    // --- bench: a load generator knows the wire; small benches know one room each
    of_kind(Kind::Bench, "bench/load", &["proto", "client"]),
    of_kind(Kind::Bench, "bench/compare", &["proto", "client", "load"]),
    of_kind(Kind::Bench, "bench/crowd", &["proto", "client"]),
    of_kind(
        Kind::Bench,
        "bench/micro",
        &[
            "proto", "aligned", "queue", "host", "tree", "pipeline", "wal", "snapshot", "uring", "disk", "sessions",
            "watches", "auth", "member",
        ],
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edges_point_to_earlier_rows() {
        for (index, row) in ROWS.iter().enumerate() {
            for used in row.may_use {
                assert!(ROWS[..index].iter().any(|earlier| earlier.name() == *used), "{} -> {used}", row.name());
            }
        }
    }

    #[test]
    fn deciding_crates_use_deciding_ones_and_nobody_uses_the_ends() {
        for row in ROWS {
            for used in row.may_use.iter().filter_map(|used| find(used)) {
                if row.kind == Kind::Decides {
                    assert_eq!(used.kind, Kind::Decides, "{} -> {}", row.name(), used.name());
                }
                let product = matches!(row.kind, Kind::Decides | Kind::Acts | Kind::Binary);
                let among_benches = row.kind == Kind::Bench && used.kind == Kind::Bench;
                assert!(
                    matches!(used.kind, Kind::Decides | Kind::Acts)
                        || (!product && used.kind == Kind::Tool)
                        || among_benches,
                    "{} -> {}",
                    row.name(),
                    used.name()
                );
            }
        }
    }

    #[test]
    fn engine_knows_nothing_of_the_server() {
        for row in ROWS.iter().filter(|row| row.folder.starts_with("engine/")) {
            for used in row.may_use.iter().filter_map(|used| find(used)) {
                assert!(used.folder.starts_with("engine/"), "{} -> {}", row.name(), used.name());
            }
        }
    }
}
