//! Figures of this machine: a durable group against append and fdatasync, recovery in transactions per second, writing and
//! loading a snapshot. `measure DIR [NODES]`; the directory is removed afterwards.
#![allow(clippy::disallowed_methods, reason = "an example is a program of its own, and this one measures time")]

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use aligned::AlignedBuf;
use disk::RealDisk;
use host::{Disk, Mode};
use proto::{Acl, Millis, Op, SessionId, Txn, TxnHeader, Xid, Zxid};
use snapshot::{Compression, SnapshotJob, Source};
use wal::{BlockingLog, LogOptions, ReadOptions};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let dir = PathBuf::from(args.next().ok_or("a directory")?);
    let nodes: i64 = args.next().map_or(Ok(1_000_000), |nodes| nodes.parse())?;
    // Leftovers of a run that was stopped would be in the way: no log is ever overwritten.
    if dir.exists() {
        std::fs::remove_dir_all(&dir)?;
    }
    std::fs::create_dir_all(&dir)?;
    write_cost(&dir)?;
    log_speed(&dir.join("log"), 200_000)?;
    snapshot_speed(&dir.join("snap"), nodes)?;
    std::fs::remove_dir_all(&dir)?;
    Ok(())
}

/// Wall-clock and processor time since a moment.
struct Watch {
    wall: Instant,
    cpu: rustix::time::Timespec,
}

impl Watch {
    fn start() -> Watch {
        Watch { wall: Instant::now(), cpu: rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime) }
    }

    fn cpu_seconds(&self) -> f64 {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        (now.tv_sec - self.cpu.tv_sec) as f64 + (now.tv_nsec - self.cpu.tv_nsec) as f64 / 1e9
    }
}

impl std::fmt::Display for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ms ({:.0} ms of processor)", self.wall.elapsed().as_millis(), self.cpu_seconds() * 1e3)
    }
}

fn percentiles(what: &str, mut micros: Vec<u128>) {
    micros.sort_unstable();
    let at = |per_cent: usize| micros[(micros.len() - 1) * per_cent / 100];
    println!("{what}: p50 {} µs, p90 {} µs, p99 {} µs", at(50), at(90), at(99));
}

fn write_cost(dir: &Path) -> std::io::Result<()> {
    const ROUNDS: u64 = 400;
    for bytes in [4096_usize, 65536] {
        let path = dir.join("direct");
        drop(RealDisk.create(&path)?);
        let mut file = RealDisk.open(&path, Mode::Direct)?;
        let start = Instant::now();
        file.fill_zeros(64 << 20)?;
        file.sync()?;
        println!("64 MiB zero-filled and synced: {} ms, direct: {}", start.elapsed().as_millis(), file.is_direct());
        let mut buffer = AlignedBuf::zeroed(bytes);
        buffer.fill(7);
        let mut micros = Vec::new();
        for round in 0..ROUNDS {
            let start = Instant::now();
            file.write_durable_at(round * bytes as u64, &buffer)?;
            micros.push(start.elapsed().as_micros());
        }
        percentiles(&format!("overwrite of zeros, O_DIRECT + RWF_DSYNC, {bytes} bytes"), micros);
        let mut file = std::fs::File::create(dir.join("append"))?;
        let mut micros = Vec::new();
        for _ in 0..ROUNDS {
            let start = Instant::now();
            file.write_all(&buffer)?;
            file.sync_data()?;
            micros.push(start.elapsed().as_micros());
        }
        percentiles(&format!("append + fdatasync, {bytes} bytes"), micros);
    }
    Ok(())
}

fn log_speed(dir: &Path, count: i64) -> Result<(), Box<dyn std::error::Error>> {
    RealDisk.create_dir_all(dir)?;
    let mut log = BlockingLog::new(Arc::new(RealDisk), dir, LogOptions::default(), Zxid::ZERO, Vec::new());
    let start = Watch::start();
    for zxid in 1..=count {
        let header = TxnHeader {
            session: SessionId(1),
            cxid: Xid(zxid as i32),
            zxid: Zxid(zxid),
            time: Millis(zxid),
            op: Op::SetData,
        };
        let txn =
            Txn::SetData { path: "/some/path/of/a/usual/length".into(), data: Some(vec![1; 100].into()), version: 1 };
        log.append(&header, &txn, Some(1))?;
        if zxid % 1000 == 0 {
            log.commit(Millis(0))?;
        }
    }
    log.commit(Millis(0))?;
    println!("{count} transactions logged in {start}, {} bytes", log.log().written_bytes());
    let start = Watch::start();
    let mut sum = 0_i64;
    let found = wal::recover(&RealDisk, dir, Zxid(1), ReadOptions::default(), |record| sum += record.header.zxid.0)?;
    assert_eq!((found.count as i64, sum), (count, count * (count + 1) / 2));
    let rate = count as f64 / start.cpu_seconds() / 1e6;
    println!("recovered in {start}: {rate:.2} M transactions per second of processor, decoding included");
    Ok(())
}

fn snapshot_speed(dir: &Path, nodes: i64) -> Result<(), Box<dyn std::error::Error>> {
    RealDisk.create_dir_all(dir)?;
    let mut tree = tree::Writer::new(tree::Options::new((1, 2)));
    let start = Watch::start();
    let mut zxid = 0;
    for at in 0..nodes {
        let mut create = |path: String, parent_cversion: i64| {
            zxid += 1;
            let header =
                TxnHeader { session: SessionId(1), cxid: Xid(1), zxid: Zxid(zxid), time: Millis(1), op: Op::Create };
            let txn = Txn::Create {
                path: path.into(),
                data: Some(vec![at as u8; 100].into()),
                acl: vec![Acl::open()].into(),
                ephemeral: false,
                parent_cversion: parent_cversion as i32,
            };
            tree.apply(&header, &txn);
            tree.commit(Zxid(zxid));
        };
        let (group, child) = (at / 1000, at % 1000);
        if child == 0 {
            create(format!("/benchmark-group-{group:06}"), group + 1);
        }
        create(format!("/benchmark-group-{group:06}/znode-number-{child:010}"), child + 1);
    }
    println!("{} znodes made in {start}", tree.node_count());
    let digest = tree.digest();
    for compression in [Compression::None, Compression::Snappy, Compression::Gz] {
        let start = Watch::start();
        let written = SnapshotJob::write(&RealDisk, dir, compression, Source::of(&mut tree, Vec::new()))?;
        println!("{compression:?}: written in {start}, {} MiB uncompressed", written.bytes >> 20);
        let start = Watch::start();
        let bytes = RealDisk.read(&written.path)?;
        let loaded = snapshot::load(&bytes, written.zxid, tree::Options::new((3, 4)))?;
        println!("{compression:?}: {} znodes loaded in {start}", loaded.nodes);
        assert_eq!(loaded.tree.digest(), digest);
    }
    Ok(())
}
