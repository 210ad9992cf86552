//! The scenarios, one a file. Each starts its own server, prints figures and checks bounds.

mod children;
mod flood;
mod half;
mod idle;
mod large;
mod slow;
mod vanish;
mod watches;

use std::io;

use client::Request;
use client::wire::open_acl;
use proto::{Op, Xid};

pub use vanish::hold;

use crate::Args;
use crate::report::Report;

type Scenario = fn(&Args, &mut Report) -> io::Result<()>;

/// By name, in the order of a full run.
pub const ALL: [(&str, Scenario); 8] = [
    ("idle", idle::run),
    ("slow", slow::run),
    ("half", half::run),
    ("vanish", vanish::run),
    ("flood", flood::run),
    ("large", large::run),
    ("children", children::run),
    ("watches", watches::run),
];

/// A create with an open ACL, as a frame.
fn put_create(out: &mut Vec<u8>, xid: Xid, path: &str, data: &[u8]) {
    Request::Create { op: Op::Create, path, data: Some(data), acl: &open_acl(), flags: 0 }.put_frame(out, xid);
}

/// What is left of `after` without `before`, for each of `count`.
fn each(after: u64, before: u64, count: u64) -> String {
    format!("{} B", after.saturating_sub(before) / count.max(1))
}

/// Visits every number below `count` once, in an order that is neither up nor down.
fn shuffled(count: u64, at: u64) -> u64 {
    // Any step that shares no factor with the count.
    const STEPS: [u64; 3] = [618_033_989, 618_033_961, 618_033_923];
    let step = STEPS.into_iter().find(|step| gcd(*step, count) == 1).unwrap_or(1);
    (at % count).wrapping_mul(step % count) % count
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}
