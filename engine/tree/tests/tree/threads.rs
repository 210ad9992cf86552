//! One writer and several readers on threads of their own. What each znode is at each zxid follows from a rule, so that every
//! reader can judge by itself whether what it sees is exactly the state at its zxid.
//!
//! Also the subject of Miri and of the thread sanitizer, which see what a passing test does not.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::thread;

use proto::{Acl, Id, Millis, Op, SessionId, Txn, TxnHeader, Xid, Zxid};
use tree::{Options, Reader, Writer};

const SLOTS: i64 = if cfg!(miri) { 5 } else { 97 };
const LAST: i64 = if cfg!(miri) { 250 } else { 12_000 };

fn path(slot: i64) -> String {
    format!("/dir/slot-{slot}")
}

/// In each round a slot is visited once: created, set twice, given another ACL, deleted, left alone.
fn phase(zxid: i64) -> i64 {
    zxid / SLOTS % 6
}

fn data(zxid: i64) -> Vec<u8> {
    let size = if zxid % 11 == 0 { 700 } else { 8 };
    zxid.to_be_bytes().into_iter().cycle().take(size).collect()
}

fn txn(zxid: i64) -> (Op, Txn<'static>) {
    let path = path(zxid % SLOTS).into();
    match phase(zxid) {
        0 => {
            let (data, acl) = (Some(Cow::Owned(data(zxid))), Cow::Owned(vec![Acl::open()]));
            (Op::Create, Txn::Create { path, data, acl, ephemeral: zxid % 2 == 0, parent_cversion: -1 })
        }
        1 | 2 => (Op::SetData, Txn::SetData { path, data: Some(data(zxid).into()), version: phase(zxid) as i32 }),
        3 => {
            let acl = vec![Acl { perms: (zxid % 31) as i32, id: Id::new("ip", "10.0.0.1") }];
            (Op::SetAcl, Txn::SetAcl { path, acl: acl.into(), version: 1 })
        }
        4 => (Op::Delete, Txn::Delete { path }),
        _ => (Op::Error, Txn::Error { err: -101 }),
    }
}

/// The zxid of the visit to `slot` that is the last at or before `zxid`, if there was one after the first round.
fn last_visit(slot: i64, zxid: i64) -> Option<i64> {
    let visit = zxid - (zxid - slot).rem_euclid(SLOTS);
    (visit >= SLOTS * 6).then_some(visit)
}

fn check(reader: &Reader) {
    let zxid = reader.zxid().0;
    let mut present = 0;
    for slot in 0..SLOTS {
        let Some(visit) = last_visit(slot, zxid) else { continue };
        let view = reader.get(&path(slot));
        let phase = phase(visit);
        assert_eq!(view.is_some(), phase < 4, "slot {slot} at {zxid}");
        let Some(view) = view else { continue };
        present += 1;
        let set = visit - (phase - phase.min(2)) * SLOTS;
        assert_eq!(view.data(), Some(&*data(set)), "slot {slot} at {zxid}");
        assert_eq!(view.stat().mzxid, Zxid(set));
        assert_eq!(view.acl()[0].perms as i64, if phase == 3 { visit % 31 } else { 31 });
    }
    if zxid >= SLOTS * 7 {
        let dir = reader.get("/dir").unwrap();
        assert_eq!(dir.child_count(), present);
        assert_eq!(dir.children().filter(|name| reader.get(&format!("/dir/{name}")).is_some()).count(), present);
        let mut bytes = Vec::new();
        dir.put_children(&mut bytes);
    }
}

#[test]
#[allow(clippy::disallowed_methods, reason = "threads are what this test is about")]
fn every_reader_sees_exactly_its_zxid_while_the_writer_runs() {
    let mut writer = Writer::new(Options::new((5, 6)));
    let header =
        |zxid: i64, op| TxnHeader { session: SessionId(1), cxid: Xid(0), zxid: Zxid(zxid), time: Millis(0), op };
    let start = SLOTS * 6;
    let (data, acl) = (None, Cow::Owned(vec![Acl::open()]));
    let dir = Txn::Create { path: "/dir".into(), data, acl, ephemeral: false, parent_cversion: -1 };
    writer.apply(&header(start - 1, Op::Create), &dir);
    writer.commit(Zxid(start - 1));
    let committed = Arc::new(AtomicI64::new(start - 1));
    let readers: Vec<_> = (0..3)
        .map(|n| {
            let mut reader = writer.reader();
            let committed = committed.clone();
            thread::spawn(move || {
                let mut rounds = 0;
                while reader.zxid().0 < LAST {
                    let to = committed.load(Ordering::Acquire);
                    // One goes transaction by transaction, one jumps, one rests in between.
                    let to = if n == 0 { to.min(reader.zxid().0 + 7) } else { to };
                    reader.advance(Zxid(to));
                    for _ in 0..n {
                        check(&reader);
                    }
                    check(&reader);
                    rounds += 1;
                }
                rounds
            })
        })
        .collect();
    let mut pins = Vec::new();
    for zxid in start..=LAST {
        // Now and then something is prepared that never comes to be.
        if zxid % 13 == 0 {
            let savepoint = writer.savepoint();
            for ahead in 0..3 {
                let (op, txn) = txn(zxid + ahead);
                writer.apply(&header(zxid + ahead, op), &txn);
            }
            writer.undo_to(savepoint);
        }
        let (op, txn) = txn(zxid);
        writer.apply(&header(zxid, op), &txn);
        if zxid % 5 == 0 || zxid == LAST {
            writer.commit(Zxid(zxid));
            committed.store(zxid, Ordering::Release);
        }
        if zxid % 1000 == 0 && pins.len() < 4 {
            let pin = writer.pin(Zxid(zxid)).unwrap();
            pins.push(thread::spawn(move || {
                check(&pin);
                let mut walk = pin.into_walk("/");
                let mut count = 0;
                while walk.next().is_some() {
                    count += 1;
                }
                check(&walk.into_reader());
                count
            }));
        }
        if cfg!(miri) {
            thread::yield_now();
        }
    }
    // The writer may go before its readers.
    drop(writer);
    for reader in readers {
        assert!(reader.join().unwrap() > 0);
    }
    for pin in pins {
        assert!(pin.join().unwrap() > 4);
    }
}
