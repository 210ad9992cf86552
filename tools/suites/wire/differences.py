"""Where the kinds of server differ in what a client sees; every difference a test relies on has a name here.

`java395` is the contract. A value for `ringkeeper` other than `java395`'s is a deliberate difference, with its
reason in docs/compatibility.md.
"""


def by_kind(java38, java395, ringkeeper=...):
    """Values for the three kinds; ringkeeper follows java395 unless said."""
    return {"java38": java38, "java395": java395, "ringkeeper": java395 if ringkeeper is ... else ringkeeper}


DIFFERENCES = {
    # header zxid of a watch event: that of the transaction since 3.9
    "event_carries_zxid": by_kind(False, True),
    # a lone check(13): refused since 3.8.5/3.9.3; 3.8.0 carries it out and never answers
    "lone_check_is_refused": by_kind(False, True),
    # exists needs READ since 3.8.4/3.9.2
    "exists_needs_read": by_kind(False, True),
    # events are withheld from connections without READ since 3.8.4/3.9.2; Debian's 3.8.0 has that repair
    "events_need_read": by_kind(True, True),
    # a bad flag or null acl in a member: the whole multi is malformed, or (3.8.0) that member fails
    "multi_judges_flags_and_acl_while_decoding": by_kind(False, True),
    # several watch modes on one path since 3.9
    "watch_modes_add_up": by_kind(False, True),
    # watcher types 4 and 5 in checkWatches and removeWatches since 3.9
    "persistent_watcher_types": by_kind(False, True),
    # create2 in a multi returns a stat since 3.8.2
    "multi_create2_has_stat": by_kind(False, True),
    # ACLs with IPv6 addresses since 3.9.4
    "ipv6_acl": by_kind(False, True),
    # a write that cannot be parsed takes a zxid: not in 3.9
    "malformed_write_takes_a_zxid": by_kind(True, False, True),
    # a re-attach with the wrong password closes the owner's connection: a fault that is not copied
    "wrong_password_evicts_owner": by_kind(True, True, False),
    # deleteContainer is taken from any client without a look at ACLs: a fault that is not copied
    "delete_container_ignores_acl": by_kind(True, True, False),
    # its body is a string with its length; 3.8.0 takes all bytes of the body as the path
    "delete_container_takes_a_string": by_kind(False, True),
    # createTTL with plain flags and negative ttl: Java dies of it
    "negative_ttl_kills": by_kind(True, True, False),
    # an unknown operation is answered from the connection layer, out of order with requests in flight
    "unknown_operation_keeps_order": by_kind(False, False, True),
    # children and ephemerals come sorted
    "children_are_sorted": by_kind(False, False, True),
}
