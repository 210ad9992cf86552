//! check, which exists only inside a multi (client-protocol.md §9.6).

use proto::request::PathVersion;
use proto::{Op, Txn, perms};

use super::{Caller, Context, Prepared, Refusal, found, next_version, strict};
use crate::guard::Guard;
use crate::message::{Changes, MemberResult};

/// Checks that the version is the expected one.
pub(crate) fn check<'f, G: Guard>(
    ctx: &mut Context<'_, G>,
    request: &PathVersion<'f>,
    caller: Caller<'_>,
) -> Result<Prepared<'f>, Refusal> {
    ctx.session(caller)?;
    strict(&request.path)?;
    let node = found(ctx.tree, &request.path)?;
    ctx.permit(node.acl(), perms::READ, caller)?;
    let version = next_version(request.version, node.persisted().version)?;
    let txn = Txn::Check { path: request.path.clone(), version };
    Ok(Prepared { op: Op::Check, txn, changes: Changes::default(), result: MemberResult::Checked })
}
