//! `hand`: another member is to lead. Ringkeeper's own; the answer says what is done about it.

use member::report::HandOver;

use crate::Facts;

pub(super) fn text(facts: &Facts) -> String {
    match facts.writes.handed {
        None => "not a member of an ensemble\n".to_owned(),
        Some(HandOver::To(sid)) => format!("leadership goes to server {sid}\n"),
        Some(HandOver::UnderWay(sid)) => format!("leadership is going to server {sid} already\n"),
        Some(HandOver::NotLeading(Some(sid))) => format!("not the leader: server {sid} leads\n"),
        Some(HandOver::NotLeading(None)) => "not the leader: nobody leads\n".to_owned(),
        Some(HandOver::NobodySynchronised) => "leadership stays: no other voter is synchronised\n".to_owned(),
        Some(HandOver::Reconfiguring) => "leadership stays: a reconfiguration is under way\n".to_owned(),
    }
}
