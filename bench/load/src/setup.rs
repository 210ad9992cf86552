//! Makes the znodes that a run wants, with data of the right size, before anything is measured.

use client::{Error, Options, Request, Session};
use proto::{Code, Op};

use crate::args::Plan;
use crate::workload::{data, path};

/// Requests sent at once.
const BATCH: usize = 500;

/// Creates the prefix and the keys, or sets the data of those that exist.
pub fn prepare(plan: &Plan) -> Result<(), String> {
    let fail = |error: Error| format!("{}: {error}", plan.address);
    let mut session = Session::connect(plan.address, &Options::default()).map_err(fail)?;
    let acl = client::wire::open_acl();
    for (end, _) in plan.prefix.match_indices('/').skip(1).chain([(plan.prefix.len(), "")]) {
        match session.create(&plan.prefix[..end], b"", 0) {
            Err(error) if error.code() != Some(Code::NodeExists) => return Err(fail(error)),
            _ => {}
        }
    }
    let data = data(plan.size);
    let keys: Vec<String> = (0..plan.keys).map(|key| path(&plan.prefix, key)).collect();
    for batch in keys.chunks(BATCH) {
        for path in batch {
            session.submit(&Request::Create { op: Op::Create, path, data: Some(&data), acl: &acl, flags: 0 });
        }
        let answers = session.answers().map_err(fail)?;
        for (path, answer) in batch.iter().zip(answers) {
            match answer.reply.code() {
                Some(Code::Ok) => {}
                Some(Code::NodeExists) => _ = session.submit(&Request::SetData(path, Some(&data), -1)),
                _ => return Err(fail(Error::Code(answer.reply))),
            }
        }
        for answer in session.answers().map_err(fail)? {
            if answer.reply.err != 0 {
                return Err(fail(Error::Code(answer.reply)));
            }
        }
    }
    session.close().map_err(fail)
}
