//! `isro`: does this server take writes? Clients in search of a read-write server ask it. No line's end.

use crate::{Facts, Role};

pub(super) fn text(facts: &Facts) -> String {
    match facts.role {
        Role::Standalone | Role::Leader | Role::Follower | Role::Observer => "rw".to_owned(),
        Role::ReadOnly => "ro".to_owned(),
        Role::NotServing => "null".to_owned(),
    }
}
