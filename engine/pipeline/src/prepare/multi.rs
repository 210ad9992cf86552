//! multi: all or nothing under one zxid (client-protocol.md §10).
//!
//! Each member is applied to the tree's future as it is checked, so that later members see earlier ones; the first failure
//! undoes them all. A failed multi is still a transaction: its leading members stand in the log as ordinary ones, the
//! failing one and those behind it as errors, and whoever applies it looks for errors first.

use proto::multi::Member;
use proto::{Code, Op, Txn, TxnHeader};

use super::{Caller, Context, Refusal, check::check, create, delete, set_data};
use crate::guard::Guard;
use crate::message::{Changes, MemberResult};

/// A multi, done or failed.
pub(crate) struct PreparedMulti<'f> {
    pub(crate) txn: Txn<'f>,
    pub(crate) changes: Changes,
    pub(crate) results: Vec<MemberResult>,
}

/// Checks and applies a multi. `Err` only if the session moved away.
pub(crate) fn multi<'f, G: Guard>(
    ctx: &mut Context<'_, G>,
    requests: &[Member<'f>],
    caller: Caller<'_>,
    header: &TxnHeader,
) -> Result<PreparedMulti<'f>, Refusal> {
    let savepoint = ctx.tree.savepoint();
    let mut members = Vec::with_capacity(requests.len());
    let mut results = Vec::with_capacity(requests.len());
    let mut changes = Changes::default();
    let mut failure = None;
    for request in requests {
        let prepared = match request {
            Member::Create(op, create_request) => create(ctx, *op, create_request, caller, header),
            Member::Delete(delete_request) => delete(ctx, delete_request, caller, header),
            Member::SetData(set_request) => set_data(ctx, set_request, caller, header),
            Member::Check(check_request) => check(ctx, check_request, caller),
            Member::GetChildren(_) | Member::GetData(_) => Err(Code::MarshallingError.into()),
        };
        match prepared {
            Ok(mut done) => {
                members.push((done.op, done.txn));
                results.push(done.result);
                changes.append(&mut done.changes);
            }
            Err(Refusal::Code(code)) => {
                failure = Some(code);
                break;
            }
            Err(Refusal::Moved) => {
                ctx.tree.undo_to(savepoint);
                return Err(Refusal::Moved);
            }
        }
    }
    if let Some(code) = failure {
        ctx.tree.undo_to(savepoint);
        changes.clear();
        results.iter_mut().for_each(|result| *result = MemberResult::Error(Code::Ok));
        let mut code = code;
        for _ in members.len()..requests.len() {
            members.push((Op::Error, Txn::error(code)));
            results.push(MemberResult::Error(code));
            code = Code::RuntimeInconsistency;
        }
    }
    Ok(PreparedMulti { txn: Txn::Multi { members }, changes, results })
}
