//! Which request is next. Deterministic for a given thread.

use client::Request;
use proto::{Acl, Op as ZkOp, Xid};

use crate::args::{Op, Plan};

/// Makes the requests of one thread.
pub struct Workload {
    op: Op,
    read_percent: u32,
    prefix: String,
    paths: Vec<String>,
    data: Vec<u8>,
    acl: [Acl; 1],
    random: u64,
    /// Distinguishes the znodes that threads and runs create.
    created: u64,
    label: String,
}

impl Workload {
    /// The workload of thread `thread`; `label` differs between runs, so that created znodes do not collide.
    pub fn new(plan: &Plan, thread: usize, label: &str) -> Workload {
        Workload {
            op: plan.op,
            read_percent: plan.read_percent,
            prefix: plan.prefix.clone(),
            paths: (0..plan.keys).map(|key| path(&plan.prefix, key)).collect(),
            data: data(plan.size),
            acl: client::wire::open_acl(),
            random: 0x9E37_79B9_7F4A_7C15 ^ (thread as u64 + 1),
            created: 0,
            label: format!("{label}-{thread}"),
        }
    }

    /// Appends the next request's frame, of connection `connection`, whose requests are numbered from 1 without gaps.
    pub fn put_next(&mut self, out: &mut Vec<u8>, connection: usize, xid: Xid) {
        let get = match self.op {
            Op::Get => true,
            Op::Set => false,
            Op::Mix => self.draw(100) < u64::from(self.read_percent),
            // A connection's requests are served in order: what an odd one creates is there for the next to delete.
            Op::Churn if xid.0 % 2 == 0 => {
                let path = self.churned(connection, xid.0 - 1);
                Request::Delete(&path, -1).put_frame(out, xid);
                return;
            }
            Op::Churn => {
                let path = self.churned(connection, xid.0);
                self.put_create(out, xid, &path);
                return;
            }
            Op::Create => {
                let path = format!("{}/{}-{}", self.prefix, self.label, self.created);
                self.created += 1;
                self.put_create(out, xid, &path);
                return;
            }
        };
        let key = self.draw(self.paths.len() as u64) as usize;
        let path = &self.paths[key];
        match get {
            true => Request::GetData(path, false).put_frame(out, xid),
            false => Request::SetData(path, Some(&self.data), -1).put_frame(out, xid),
        }
    }

    fn churned(&self, connection: usize, number: i32) -> String {
        format!("{}/{}-{connection}-{number}", self.prefix, self.label)
    }

    fn put_create(&self, out: &mut Vec<u8>, xid: Xid, path: &str) {
        let (data, acl) = (Some(self.data.as_slice()), self.acl.as_slice());
        Request::Create { op: ZkOp::Create, path, data, acl, flags: 0 }.put_frame(out, xid);
    }

    /// A number below `bound` from xorshift64*.
    fn draw(&mut self, bound: u64) -> u64 {
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        let mixed = self.random.wrapping_mul(0x2545_F491_4F6C_DD1D);
        ((u128::from(mixed) * u128::from(bound)) >> 64) as u64
    }
}

/// Path of a key.
pub fn path(prefix: &str, key: usize) -> String {
    format!("{prefix}/key-{key:06}")
}

/// Data of a znode.
pub fn data(size: usize) -> Vec<u8> {
    (0..size).map(|at| b'a' + (at % 26) as u8).collect()
}
