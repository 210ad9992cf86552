"""Who may do what: schemes, identities, permissions, what getACL shows, enforced authentication."""

import hashlib
import base64

import pytest

from harness.wire import ADMIN, ALL, CREATE, DELETE, OPEN, READ, WRITE, Conn, E, digest_id, req

WORLD_READ = (READ, "world", "anyone")


def mine(bits=ALL, user="u", password="p"):
    return (bits, "digest", digest_id(user, password))


# --- what becomes of an acl on the way in --------------------------------------------------------------------


def stored(conn, root, acl):
    """What getACL shows, asked with all permissions, of a node created with this acl."""
    conn.ok(req.create(f"{root}/a", acl=acl))
    sup = Conn(conn.port)
    sup.connect()
    sup.ok(req.auth("digest", b"super:secret"))
    got = sup.ok(req.get_acl(f"{root}/a")).acl
    sup.quit()
    return got


@pytest.mark.parametrize("acl", [
    [(31, "world", "anyone")],
    [(0, "world", "anyone")],
    [(1, "world", "anyone"), (2, "world", "anyone")],
    [(3, "digest", "a:b"), (1, "world", "anyone")],
    [(31, "ip", "10.0.0.1")],
    [(31, "ip", "10.0.0.0/8")],
    [(31, "ip", "10.0.0.0/0")],
    [(31, "ip", "10.0.0.0/32")],
    [(31 | 64, "world", "anyone")],
    [(-1, "world", "anyone")],
], ids=str)
def test_these_are_stored_as_given(conn, root, acl):
    assert stored(conn, root, acl) == acl


def test_duplicates_are_removed_and_the_order_kept(conn, root):
    a, b = (1, "world", "anyone"), (31, "digest", "x:y")
    assert stored(conn, root, [b, a, b, a, a]) == [b, a]


@pytest.mark.parametrize("acl", [
    [],
    None,
    [(31, "world", "someone")],
    [(31, "world", "")],
    [(31, "nosuch", "id")],
    [(31, "", "id")],
    [(31, "digest", "nocolon")],
    [(31, "digest", "a:b:c")],
    [(31, "digest", ":")],
    [(31, "digest", "")],
    [(31, "ip", "300.1.1.1")],
    [(31, "ip", "10.0.0.1/33")],
    [(31, "ip", "10.0.0.1/-1")],
    [(31, "ip", "10.0.0.1/x")],
    [(31, "ip", "10.0.0")],
    [(31, "ip", "host")],
    [(31, "ip", "")],
    [(31, "auth", "")],
    [(31, None, "x")],
    [(31, "world", "anyone"), (31, "nosuch", "x")],
    [(31, "super", "")],
], ids=str)
def test_these_are_invalid(conn, root, acl):
    assert conn.do(req.create(f"{root}/a", acl=acl)).err == E.INVALIDACL
    assert conn.do(req.set_acl(root, acl)).err == E.INVALIDACL
    assert conn.do(req.exists(f"{root}/a")).err == E.NONODE
    assert conn.ok(req.get_acl(root)).acl == [(31, "world", "anyone")]


def test_ipv6_addresses(conn, root, differs):
    for i, text in enumerate(["::1", "2001:db8::/32", "fe80::1/128", "::/0"]):
        assert conn.do(req.create(f"{root}/{i}", acl=[(31, "ip", text), (31, "world", "anyone")])).err == (0 if differs("ipv6_acl") else E.INVALIDACL)
    for text in ["::1/129", "2001:::1", "1::2::3"]:
        assert conn.do(req.create(f"{root}/x", acl=[(31, "ip", text)])).err == E.INVALIDACL


def test_auth_becomes_the_callers_identities(connect, root, conn):
    c = connect(auth="u:p")
    c.ok(req.auth("digest", b"v:q"))
    c.ok(req.create(f"{root}/a", acl=[(5, "auth", "whatever"), (1, "world", "anyone")]))
    c.ok(req.auth("digest", b"super:secret"))
    got = c.ok(req.get_acl(f"{root}/a")).acl
    assert sorted(got) == sorted([(5, "digest", digest_id("u", "p")), (5, "digest", digest_id("v", "q")), (1, "world", "anyone")])
    assert got[-1] == (1, "world", "anyone")


def test_auth_in_set_acl(connect, root):
    c = connect(auth="u:p")
    c.ok(req.set_acl(root, [(31, "auth", "")]))
    assert c.ok(req.get_acl(root)).acl == [mine()]
    c.ok(req.set_acl(root, OPEN))


# --- permissions ---------------------------------------------------------------------------------------------

OPERATIONS = {
    "getData": (READ, lambda p: req.get_data(p)),
    "getChildren": (READ, lambda p: req.get_children(p)),
    "getChildren2": (READ, lambda p: req.get_children2(p)),
    "getAllChildrenNumber": (READ, lambda p: req.get_all_children_number(p)),
    "getACL": (READ | ADMIN, lambda p: req.get_acl(p)),
    "setData": (WRITE, lambda p: req.set_data(p, b"")),
    "create": (CREATE, lambda p: req.create(f"{p}/new")),
    "delete": (DELETE, lambda p: req.delete(f"{p}/kid")),
    "setACL": (ADMIN, lambda p: req.set_acl(p, OPEN)),
}


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("bit", [READ, WRITE, CREATE, DELETE, ADMIN], ids=["read", "write", "create", "delete", "admin"])
def test_each_operation_needs_its_permission(conn, root, name, bit):
    needs, make = OPERATIONS[name]
    for only in (bit, ALL & ~bit):
        p = f"{root}/n{only}"
        conn.ok(req.create(p))
        conn.ok(req.create(f"{p}/kid"))
        conn.ok(req.set_acl(p, [(only, "world", "anyone")]))
        assert conn.do(make(p)).err == (0 if only & needs else E.NOAUTH)


def test_a_digest_identity_opens_and_all_others_are_kept_out(conn, connect, root):
    conn.ok(req.create(f"{root}/a", b"secret", acl=[mine()]))
    assert conn.do(req.get_data(f"{root}/a")).err == E.NOAUTH
    assert connect(auth="u:wrong").do(req.get_data(f"{root}/a")).err == E.NOAUTH
    assert connect(auth="other:p").do(req.get_data(f"{root}/a")).err == E.NOAUTH
    c = connect()
    assert c.do(req.get_data(f"{root}/a")).err == E.NOAUTH
    c.ok(req.auth("digest", b"u:p"))
    assert c.ok(req.get_data(f"{root}/a")).data == b"secret"


def test_identities_add_up_on_a_connection(conn, connect, root):
    conn.ok(req.create(f"{root}/a", acl=[mine(READ), mine(WRITE, "v", "q")]))
    c = connect(auth="u:p")
    assert c.do(req.set_data(f"{root}/a", b"")).err == E.NOAUTH
    c.ok(req.auth("digest", b"v:q"))
    assert c.do(req.set_data(f"{root}/a", b"")).err == 0
    assert c.do(req.get_data(f"{root}/a")).err == 0


def test_identities_belong_to_the_connection_not_to_the_session(server, connect, conn, root):
    conn.ok(req.create(f"{root}/a", acl=[mine()]))
    c = connect(auth="u:p")
    assert c.do(req.get_data(f"{root}/a")).err == 0
    c.drop()
    with Conn(server.port) as again:
        again.connect(session=c.session, password=c.password)
        assert again.do(req.get_data(f"{root}/a")).err == E.NOAUTH
        again.quit()


def test_the_super_user_may_do_all(conn, connect, root):
    conn.ok(req.create(f"{root}/a", acl=[(0, "digest", "no:body")]))
    c = connect(auth="super:secret")
    for r in (req.get_data(f"{root}/a"), req.set_data(f"{root}/a", b""), req.create(f"{root}/a/b"), req.delete(f"{root}/a/b"),
              req.set_acl(f"{root}/a", OPEN), req.get_children(f"{root}/a")):
        assert c.do(r).err == 0


def test_the_wrong_super_password_is_just_another_user(conn, connect, root):
    conn.ok(req.create(f"{root}/a", acl=[(0, "digest", "no:body")]))
    assert connect(auth="super:wrong").do(req.get_data(f"{root}/a")).err == E.NOAUTH


def test_ip_entries_match_the_address_of_the_connection(server, conn, connect, root):
    for i, (text, matches) in enumerate([("127.0.0.1", True), ("127.0.0.2", False), ("127.0.0.0/8", True), ("127.1.0.0/16", False),
                                         ("127.0.0.3/30", True), ("127.0.0.7/30", False), ("0.0.0.0/0", True), ("127.0.0.1/32", True)]):
        conn.ok(req.create(f"{root}/{i}", acl=[(ALL, "ip", text)]))
        assert conn.do(req.get_data(f"{root}/{i}")).err == (0 if matches else E.NOAUTH), text
    other = Conn(server.port, source="127.0.0.2")
    other.connect()
    assert other.do(req.get_data(f"{root}/0")).err == E.NOAUTH
    assert other.do(req.get_data(f"{root}/1")).err == 0
    other.quit()


def test_get_acl_hides_digests_from_those_without_admin(conn, connect, root):
    acl = [mine(ALL), (READ, "world", "anyone"), (READ, "ip", "10.1.2.3")]
    conn.ok(req.create(f"{root}/a", acl=acl))
    assert conn.ok(req.get_acl(f"{root}/a")).acl == [(31, "digest", "u:x"), *acl[1:]]
    assert connect(auth="u:p").ok(req.get_acl(f"{root}/a")).acl == acl
    assert connect(auth="super:secret").ok(req.get_acl(f"{root}/a")).acl == acl


def test_set_acl_counts_aversion_and_judges_it(conn, root):
    assert conn.ok(req.set_acl(root, OPEN, 0)).stat.aversion == 1
    assert conn.do(req.set_acl(root, OPEN, 0)).err == E.BADVERSION
    assert conn.ok(req.set_acl(root, OPEN, 1)).stat.aversion == 2
    assert conn.ok(req.get_acl(root)).stat.aversion == 2


# --- auth packets --------------------------------------------------------------------------------------------


def test_auth_answers_with_its_xid_and_zxid_zero(conn):
    for xid in (-4, 5, 0):
        got = conn.do(req.auth("digest", b"a:b"), xid=xid)
        assert (got.xid, got.zxid, got.err, got.raw) == (xid, 0, 0, b"")


@pytest.mark.parametrize("scheme", ["nosuch", "", "world", "auth"])
def test_an_unknown_scheme_fails_and_closes(connect, scheme):
    c = connect()
    c.post(req.auth(scheme, b"x"))
    (got,) = c.closed()
    assert (got.xid, got.zxid, got.err, got.raw) == (-4, 0, E.AUTHFAILED, b"")


def test_ip_as_an_auth_packet_does_nothing(conn):
    assert conn.do(req.auth("ip", b"10.0.0.1")).err == 0
    assert conn.ok(req.who_am_i()).ids == [("ip", "127.0.0.1")]


@pytest.mark.parametrize("data", [b"nocolon", b"", b"a:b:c", None], ids=str)
def test_digest_data_of_any_shape_never_kills(connect, data):
    c = connect()
    c.post(req.auth("digest", data))
    try:
        got = c.next_frame()
        assert got.err in (0, E.AUTHFAILED)
    except Exception as e:
        assert type(e).__name__ == "Closed"


def test_digest_takes_all_behind_the_first_colon_as_password(conn, connect, root):
    conn.ok(req.create(f"{root}/a", acl=[(ALL, "digest", "a:" + base64.b64encode(hashlib.sha1(b"a:b:c").digest()).decode())]))
    assert connect(auth="a:b:c").do(req.get_data(f"{root}/a")).err == 0


ENSEMBLE = {"zookeeper.authProvider.1": "org.apache.zookeeper.server.auth.EnsembleAuthenticationProvider"}


def test_the_ensemble_scheme_is_unknown_unless_its_provider_is_named(connect):
    c = connect()
    c.post(req.auth("ensemble", b"any"))
    (got,) = c.closed()
    assert got.err == E.AUTHFAILED


def test_ensemble_auth_is_ignored_when_no_name_is_configured(start):
    server = start({}, ENSEMBLE)
    with Conn(server.port) as c:
        c.connect()
        assert c.do(req.auth("ensemble", b"any")).err == 0
        assert c.ok(req.who_am_i()).ids == [("ip", "127.0.0.1")]
        c.quit()


def test_ensemble_auth_with_the_wrong_name_closes(start):
    server = start({}, {**ENSEMBLE, "zookeeper.ensembleAuthName": "one,two"})
    with Conn(server.port) as c:
        c.connect()
        assert c.do(req.auth("ensemble", b"two")).err == 0
        assert c.ok(req.exists("/"))
        c.post(req.auth("ensemble", b"three"))
        assert [f for f in c.closed() if f.err == 0] == []


def test_who_am_i_lists_all_identities_without_passwords(connect):
    c = connect(auth="u:p")
    c.ok(req.auth("digest", b"v:q"))
    c.ok(req.auth("digest", b"u:p"))
    assert sorted(c.ok(req.who_am_i()).ids) == [("digest", "u"), ("digest", "v"), ("ip", "127.0.0.1")]
    c.ok(req.auth("digest", b"super:secret"))
    assert sorted(c.ok(req.who_am_i()).ids) == [("digest", "super"), ("digest", "u"), ("digest", "v"), ("ip", "127.0.0.1"), ("super", "")]


# --- server-wide settings ------------------------------------------------------------------------------------


def test_skip_acl_lets_everyone_do_all(start):
    server = start({"skipACL": "yes"})
    with Conn(server.port) as c:
        c.connect()
        c.ok(req.create("/a", acl=[(0, "digest", "no:body")]))
        assert c.do(req.get_data("/a")).err == 0
        assert c.do(req.set_data("/a", b"")).err == 0
        assert c.do(req.create("/a/b", acl=[])).err == E.INVALIDACL
        c.quit()


@pytest.mark.parametrize("alg,name", [("SHA-256", "sha256"), ("SHA3-512", "sha3_512"), ("MD5", "md5")])
def test_another_digest_algorithm_can_be_configured(start, alg, name):
    server = start({}, {"zookeeper.DigestAuthenticationProvider.digestAlg": alg})
    ident = "u:" + base64.b64encode(hashlib.new(name, b"u:p").digest()).decode()
    with Conn(server.port) as c:
        c.connect()
        c.ok(req.create("/a", acl=[(31, "digest", ident)]))
        assert c.do(req.get_data("/a")).err == E.NOAUTH
        c.ok(req.auth("digest", b"u:p"))
        assert c.do(req.get_data("/a")).err == 0
        c.quit()


def test_enforced_authentication_refuses_others_and_closes(start):
    server = start({"enforce.auth.enabled": "true", "enforce.auth.schemes": "digest"})
    with Conn(server.port) as c:
        assert c.connect() is not None
        c.post(req.exists("/"))
        (got,) = c.closed()
        assert (got.xid, got.zxid, got.err, got.raw) == (1, 0, E.SESSIONCLOSEDREQUIRESASLAUTH, b"")
    with Conn(server.port) as c:
        c.connect()
        c.ok(req.auth("digest", b"u:p"))
        assert c.ok(req.exists("/"))
        c.quit()


@pytest.mark.parametrize("request_", [req.ping(), req.close()], ids=["ping", "close"])
def test_enforced_authentication_does_not_exempt(start, request_):
    server = start({"enforce.auth.enabled": "true", "enforce.auth.schemes": "digest"})
    with Conn(server.port) as c:
        c.connect()
        c.post(request_)
        (got,) = c.closed()
        assert got.err == E.SESSIONCLOSEDREQUIRESASLAUTH
