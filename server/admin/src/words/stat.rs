//! `stat`: `srvr` with the clients between its first line and the rest.

use super::cons::{Detail, line};
use super::srvr::{body, version_line};
use crate::Facts;

pub(super) fn text(facts: &Facts) -> String {
    let mut out = version_line(facts);
    out.push_str("Clients:\n");
    for conn in &facts.connections {
        line(&mut out, conn, Detail::Short);
    }
    out.push('\n');
    out.push_str(&body(facts));
    out
}
