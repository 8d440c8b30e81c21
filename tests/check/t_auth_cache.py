#!/usr/bin/env python3
# authd's cache of compared passwords: the same one is not hashed again, and whatever changes in the users' database holds at
# once, whoever changed it. The stored hashes cost a fifth of a second each, so that authd's processor time tells what was hashed.
# timeout: 120
import imaplib
import os
import poplib
import sqlite3
import sys
import warnings

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from harness import *
from stack import Stack

with warnings.catch_warnings():  # it goes in Python 3.13
    warnings.simplefilter("ignore")
    import crypt

USER, OTHER = "email1@example.com", "email2@example.com"
ROUNDS = 300000
HZ = os.sysconf("SC_CLK_TCK")
_stack = []


def stack():
    if not _stack:
        s = Stack(tmp("s"), extra_conf=["auth_failure_delay = 0"]).start()
        at_end(s.stop)
        _stack.append(s)
    return _stack[0]


def slow_hash(password):
    return crypt.crypt(password, "$5$rounds=%d$saltysalt$" % ROUNDS)


def set_row(user, stored):
    """As somebody else's program would."""
    db = sqlite3.connect(stack().path("data", "mailserver.db"), timeout=10)
    with db:
        equal(db.execute("UPDATE virtual_users SET password = ? WHERE email = ?", (stored, user)).rowcount, 1, "rows")
    db.close()


def imap(user, password):
    """Logged in?"""
    c = imaplib.IMAP4("127.0.0.1", stack().ports["imap"], timeout=30)
    try:
        c.login(user, password)
        return True
    except imaplib.IMAP4.error as e:
        check("AUTHENTICATIONFAILED" in str(e), "what is refused is refused as wrong: %s" % e)
        return False
    finally:
        c.logout()


def pop3(user, password):
    c = poplib.POP3("127.0.0.1", stack().ports["pop3"], timeout=30)
    c.user(user)
    try:
        c.pass_(password)
        return True
    except poplib.error_proto as e:
        check(b"[AUTH]" in e.args[0], "what is refused is refused as wrong: %s" % e)
        return False
    finally:
        c.quit()


def authd_ms():
    with open("/proc/%d/stat" % stack().pids_of("authd")[0]) as f:
        w = f.read().rpartition(")")[2].split()
    return (int(w[11]) + int(w[12])) * 1000 // HZ


_hash_ms = []


def hashed(f, *args):
    """f's result, and whether authd hashed for it."""
    before = authd_ms()
    got = f(*args)
    took = authd_ms() - before
    if not _hash_ms:
        check(took > 50, "the first log-in is hashed: %d ms" % took)
        _hash_ms.append(took)
    return got, took > _hash_ms[0] / 2


@case
def the_same_is_not_hashed_again():
    set_row(USER, slow_hash("slow"))
    equal(hashed(imap, USER, "slow"), (True, True), "the first time")
    equal(hashed(imap, USER, "slow"), (True, False), "the second")
    equal(hashed(pop3, USER, "slow"), (True, False), "by POP3")
    equal(hashed(imap, USER.upper(), "slow"), (True, False), "the same name")
    equal(hashed(imap, USER, "wrong"), (False, True), "a wrong one")
    equal(hashed(imap, USER, "wrong"), (False, False), "again")
    equal(hashed(imap, USER, "slo"), (False, True), "another wrong one")


@case
def a_changed_password_holds_at_once():
    set_row(USER, slow_hash("one"))
    check(imap(USER, "one") and not imap(USER, "two"), "before")
    stack().postern("user", "password", "--stdin", USER, input=b"two\n")
    check(not imap(USER, "one"), "the old one is refused")
    check(imap(USER, "two"), "the new one, known to have been wrong, is taken")
    set_row(USER, slow_hash("three"))
    check(not imap(USER, "two"), "changed by somebody else: the old one is refused")
    check(imap(USER, "three"), "the new one is taken")
    check(pop3(USER, "three") and not pop3(USER, "two"), "by POP3")
    equal(hashed(imap, USER, "three"), (True, False), "and is kept")
    set_row(USER, slow_hash("two"))
    check(imap(USER, "two") and not imap(USER, "three"), "an old one that is the new one")


@case
def another_file_in_its_place():
    path = stack().path("data", "mailserver.db")
    set_row(USER, slow_hash("three"))
    check(imap(USER, "three"), "before")
    copy = sqlite3.connect(path + ".new")
    db = sqlite3.connect(path)
    db.backup(copy)
    with copy:
        copy.execute("UPDATE virtual_users SET password = ? WHERE email = ?", (slow_hash("four"), USER))
    copy.execute("PRAGMA journal_mode = DELETE")
    copy.close()
    db.close()
    st = os.stat(path)
    os.chown(path + ".new", st.st_uid, st.st_gid)
    os.chmod(path + ".new", st.st_mode & 0o7777)
    for more in ("-wal", "-shm"):
        if os.path.exists(path + more):
            os.unlink(path + more)
    os.rename(path + ".new", path)
    wait_for(lambda: not imap(USER, "three"), 10, "the old password to be refused")
    check(imap(USER, "four"), "the new one is taken")


@case
def a_removed_user_is_refused_at_once():
    stack().postern("user", "password", "--stdin", OTHER, input=b"mine\n")
    check(imap(OTHER, "mine"), "before")
    check(imap(OTHER, "mine"), "again")
    stack().postern("user", "remove", OTHER)
    check(not imap(OTHER, "mine"), "removed")
    stack().postern("user", "add", "--stdin", OTHER, input=b"yours\n")
    check(not imap(OTHER, "mine") and imap(OTHER, "yours"), "made anew")


@case
def sizes_and_times():
    s = stack()
    set_row(USER, slow_hash("slow"))
    check(imap(USER, "slow"), "before")
    for conf, right, wrong in (("auth_cache_size = 0", True, True), ("auth_cache_ttl = 0", True, False),
                               ("auth_cache_negative_ttl = 0", False, True), ("auth_cache_size = 1 MB", False, False)):
        s.extra_conf = ["auth_failure_delay = 0", conf]
        s.write_main_cf()
        s.postern("reload")
        for what, password, is_hashed in (("right", "slow", right), ("wrong", "fast", wrong)):
            first = [imap(USER, password) for _ in range(2)]
            equal(hashed(imap, USER, password), (password == "slow", is_hashed), "%s, %s: hashed each time" % (conf, what))
            check(first[0] == first[1] == (password == "slow"), "%s, %s" % (conf, what))


main()
