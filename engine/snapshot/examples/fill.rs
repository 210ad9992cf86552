//! Fills a data directory with transactions of every kind, as a server would, for Java to read: `fill DIR ROUNDS
//! [gz|snappy]`. Prints the last zxid and the tree's digest. With `check`, only opens the directory and prints the same.
#![allow(clippy::disallowed_methods, reason = "an example is a program of its own")]

use std::{path::PathBuf, sync::Arc};

use disk::RealDisk;
use host::Disk;
use proto::{Acl, Id, Millis, Op, SessionId, Txn, TxnHeader, Xid};
use snapshot::{Compression, RestoreOptions, SnapshotJob, Source, prepare_directories, restore};
use wal::{BlockingLog, LogOptions};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let dir = PathBuf::from(args.next().ok_or("a directory")?).join("version-2");
    let what = args.next().ok_or("rounds, or check")?;
    let compression = match args.next().as_deref() {
        Some("gz") => Compression::Gz,
        Some("snappy") => Compression::Snappy,
        _ => Compression::None,
    };
    let disk = Arc::new(RealDisk);
    prepare_directories(&*disk, &dir, &dir, true)?;
    let _lock = disk.lock(&dir)?;
    let rules = tree::OwnerRules { extended_types: true, emulate_353: false };
    let options = RestoreOptions::new(tree::Options { rules, ..tree::Options::new((1, 2)) });
    let mut restored = restore(&*disk, &dir, &dir, options)?;
    for cut in &restored.log.cuts {
        println!("cut {cut:?}");
    }
    println!("digest mismatches {} {:?}", restored.mismatches, restored.first_mismatch);
    if what != "check" {
        fill(&mut restored, disk, &dir, what.parse()?, compression)?;
    }
    println!("zxid {} digest {:#x} nodes {}", restored.tree.tip(), restored.tree.digest(), restored.tree.node_count());
    Ok(())
}

fn fill(
    restored: &mut snapshot::Restored,
    disk: Arc<RealDisk>,
    dir: &std::path::Path,
    rounds: i64,
    compression: Compression,
) -> Result<(), Box<dyn std::error::Error>> {
    let last = restored.last.ok_or("a database")?;
    let log_options = LogOptions { segment_bytes: 4 << 20, seed: last.0 as u64, ..LogOptions::default() };
    let mut log = BlockingLog::new(disk.clone(), dir, log_options, last, restored.log.leftovers.clone());
    let session = SessionId(0x1000_0000_0000_0001);
    let write = |restored: &mut snapshot::Restored, log: &mut BlockingLog, op, txn: &Txn<'_>| {
        let zxid = restored.tree.tip().next();
        let header = TxnHeader { session, cxid: Xid(zxid.0 as i32), zxid, time: Millis(1_700_000_000_000), op };
        restored.tree.apply(&header, txn);
        restored.tree.commit(zxid);
        log.append(&header, txn, Some(restored.tree.digest())).expect("there is room");
    };
    write(restored, &mut log, Op::CreateSession, &Txn::CreateSession { timeout_ms: 30_000 });
    restored.sessions.insert(session, 30_000);
    let base = restored.tree.tip().0;
    for round in 0..rounds {
        let name = format!("/n{base}-{round}");
        let parent_cversion = restored.tree.node("/").ok_or("a root")?.cversion_raw() + 1;
        let acl = match round % 3 {
            0 => vec![Acl { perms: 31, id: Id::new("digest", format!("u{}:x", round % 7)) }],
            _ => vec![Acl::open()],
        };
        let data = Some(vec![round as u8; (round * 37 % 900) as usize].into());
        let path = name.clone().into();
        let create = match round % 5 {
            0 => (Op::CreateContainer, Txn::CreateContainer { path, data, acl: acl.into(), parent_cversion }),
            1 => (Op::CreateTtl, Txn::CreateTtl { path, data, acl: acl.into(), parent_cversion, ttl: 100_000_000 }),
            kind => (
                if kind == 2 { Op::Create } else { Op::Create2 },
                Txn::Create { path, data, acl: acl.into(), ephemeral: kind == 4, parent_cversion },
            ),
        };
        write(restored, &mut log, create.0, &create.1);
        let set = |version| Txn::SetData { path: name.clone().into(), data: None, version };
        write(restored, &mut log, Op::SetData, &set(1));
        write(restored, &mut log, Op::Error, &Txn::Error { err: -110 });
        let members = vec![(Op::SetData, set(2)), (Op::Check, Txn::Check { path: name.clone().into(), version: 3 })];
        write(restored, &mut log, Op::Multi, &Txn::Multi { members });
        if round % 4 == 3 {
            write(restored, &mut log, Op::Delete, &Txn::Delete { path: name.into() });
        }
        if round % 2 == 0 {
            log.commit(Millis(0))?;
        }
        if round == rounds / 2 {
            let sessions = restored.sessions.iter().map(|(session, timeout)| (*session, *timeout)).collect();
            let written = SnapshotJob::write(&*disk, dir, compression, Source::of(&mut restored.tree, sessions))?;
            println!("snapshot {} of {} znodes", written.path.display(), written.nodes);
            log.log().roll();
        }
    }
    log.commit(Millis(0))?;
    Ok(())
}
