//! Purging: what is kept is enough to restore, and what is not needed goes.

use std::path::Path;

use host::Disk;
use proto::Millis;
use snapshot::{Compression, purge};

use crate::kit::*;

#[test]
fn the_newest_whole_snapshots_and_their_logs_stay() {
    let disk = disk();
    let mut world = World::open(&disk, 1);
    for _ in 0..6 {
        world.run(16);
        world.snapshot(Compression::None);
    }
    world.run(3);
    let names = |dir: &str| disk.list(Path::new(dir)).unwrap();
    assert_eq!(
        names(SNAPS),
        ["snapshot.0", "snapshot.10", "snapshot.20", "snapshot.30", "snapshot.40", "snapshot.50", "snapshot.60"]
    );
    // One of the newest is not whole: it does not count, and it stays.
    disk.edit(&Path::new(SNAPS).join("snapshot.50"), |bytes| bytes.truncate(100));
    let removed = purge(&disk, Path::new(SNAPS), Path::new(LOGS), 1).unwrap();
    let paths: Vec<String> = removed.iter().map(|removed| removed.path.display().to_string()).collect();
    assert_eq!(
        paths,
        [
            "/data/version-2/snapshot.0",
            "/data/version-2/snapshot.10",
            "/data/version-2/snapshot.20",
            "/logs/version-2/log.1",
            "/logs/version-2/log.11",
        ]
    );
    // Of the logs, log.21 holds up to 0x30 and is the largest name not beyond it.
    assert_eq!(names(SNAPS), ["snapshot.30", "snapshot.40", "snapshot.50", "snapshot.60"]);
    assert!(purge(&disk, Path::new(SNAPS), Path::new(LOGS), 3).unwrap().is_empty());
    assert_eq!(reopened(&disk), world.dump());
    for name in ["snapshot.60", "snapshot.40"] {
        disk.remove(&Path::new(SNAPS).join(name)).unwrap();
        assert_eq!(reopened(&disk), world.dump());
    }
}

#[test]
fn without_a_whole_snapshot_nothing_goes() {
    let disk = disk();
    let mut world = World::open(&disk, 1);
    world.run(16);
    disk.remove(&Path::new(SNAPS).join("snapshot.0")).unwrap();
    assert!(purge(&disk, Path::new(SNAPS), Path::new(LOGS), 3).unwrap().is_empty());
}

#[test]
fn the_line_is_zookeepers() {
    let removed = snapshot::Removed { path: "/d/version-2/log.1".into(), modified: Millis(0) };
    assert_eq!(removed.line("Jan 1, 1970, 12:00:00 AM"), "Removing file: Jan 1, 1970, 12:00:00 AM\t/d/version-2/log.1");
}
