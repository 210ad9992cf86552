//! reconfig (client-protocol.md §9.7), as far as the tree is concerned: what the next configuration is was decided before.

use proto::{Code, Op, Txn, TxnHeader, perms};

use super::{Caller, Context, Prepared, Refusal, found, stat_of, typed};
use crate::guard::Guard;
use crate::message::MemberResult;

/// The znode that holds the configuration.
const CONFIG: &str = "/zookeeper/config";

/// Checks who asks, and sets the configuration's znode.
pub(crate) fn reconfig<'f, G: Guard>(
    ctx: &mut Context<'_, G>,
    text: String,
    caller: Caller<'_>,
    header: &TxnHeader,
) -> Result<Prepared<'f>, Refusal> {
    let node = found(ctx.tree, CONFIG)?;
    ctx.permit(node.acl(), perms::WRITE, caller)?;
    if text.len() > ctx.settings.record_bytes_max {
        return Err(Code::BadArguments.into());
    }
    // Its version does not count.
    let txn = Txn::SetData { path: CONFIG.into(), data: Some(text.into_bytes().into()), version: -1 };
    let applied = ctx.tree.apply(&typed(header, Op::Reconfig), &txn);
    let stat = stat_of(&applied);
    Ok(Prepared { op: Op::Reconfig, txn, changes: applied.changes, result: MemberResult::Stat(stat) })
}
