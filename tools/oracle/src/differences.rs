//! What is known to differ, and what the comparison does about it. docs/compatibility.md gives the reasons to users.

/// A difference that is no finding.
#[derive(Clone, Copy, Debug)]
pub struct Known {
    /// Its name.
    pub name: &'static str,
    /// Whether it is against 3.9.5 too, or against 3.8 only.
    pub contract: bool,
    /// What differs.
    pub what: &'static str,
    /// What is done so that the rest can be compared.
    pub then: &'static str,
}

const fn known(name: &'static str, contract: bool, what: &'static str, then: &'static str) -> Known {
    Known { name, contract, what, then }
}

/// All of them.
pub const KNOWN: &[Known] = &[
    known("negative_ttl_kills", true, "createTTL with a negative ttl ends Java for good", "never sent"),
    known("malformed_write_takes_a_zxid", true, "ours and 3.8 number it, 3.9 does not", "not counted on our side"),
    known(
        "delete_container_ignores_acl",
        true,
        "Java asks no permission, ours asks DELETE",
        "sent only where all are open",
    ),
    known("wrong_password_evicts_owner", true, "Java closes the owner's connection", "tried only without a connection"),
    known("unknown_operation_keeps_order", true, "Java's answer may overtake others, as that to auth", "sent alone"),
    known("children_are_sorted", true, "Java: hash order of children, ephemerals and identities", "compared sorted"),
    known("close_session_event_order", true, "Java: hash order of the ephemerals", "events compared sorted"),
    known("quota_counts_what_is_under_way", true, "Java asks what is applied", "one change at a time with quotas"),
    known("quota_of_the_root_kills", true, "/zookeeper/quota/zookeeper_limits ends Java for good", "never sent"),
    known("container_flagged_ephemeral", true, "Java takes it for ephemeral until it is applied", "sent alone"),
    known("set_acl_counts_when_applied", true, "Java judges pipelined writes by the old list", "last of its burst"),
    known(
        "late_end_forgets_the_new",
        true,
        "Java, when slow to notice an end",
        "the end is waited for before coming back",
    ),
    known("quota_text_without_sense", true, "a quota node with other text makes Java fail creates", "never sent"),
    known("event_carries_zxid", false, "-1 in 3.8", "not compared"),
    known("lone_check_is_refused", false, "3.8.0 never answers", "never sent"),
    known("exists_needs_read", false, "since 3.8.4", "NOAUTH taken for success; no watch with it"),
    known("multi_judges_flags_and_acl_while_decoding", false, "3.8.0: that member fails", "never sent"),
    known("multi_create2_has_stat", false, "since 3.8.2", "never sent"),
    known("watch_modes_add_up", false, "one mode a path in 3.8", "one kind of watch a script"),
    known("persistent_watcher_types", false, "since 3.9", "never sent"),
    known("check_watches_sees_others", false, "3.8.0 finds watches of others", "never sent"),
    known("ipv6_acl", false, "since 3.9.4", "never sent"),
    known("delete_container_takes_a_string", false, "3.8.0: all of the body is the path", "never sent"),
];
