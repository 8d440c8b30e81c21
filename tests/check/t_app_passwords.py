#!/usr/bin/env python3
# App passwords over IMAP, POP3 and SMTP: what they are good for, until when, that revoking one holds at once, and what is kept of
# their use; users who may not log in; `postern user test`.
import imaplib
import json
import os
import shutil
import smtplib
import stat
import struct
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import logins
from harness import *
from stack import Stack

USER = "u1@example.com"
DAY = 24 * 3600
_stack = []


def set_clock(seconds):
    fd = os.open(tmp("clock"), os.O_RDWR | os.O_CREAT)  # never shorter: programs have it in memory
    os.pwrite(fd, struct.pack("=q", seconds), 0)
    os.close(fd)


def stack():
    if not _stack:
        set_clock(0)
        preload = "ASAN_OPTIONS=%s:verify_asan_link_order=0" % os.environ.get("ASAN_OPTIONS", "")
        _stack.append(Stack(tmp("s"), users={"u%d@example.com" % i: "own" for i in range(1, 7)},
                            wrapper=["env", preload, "LD_PRELOAD=" + helper("fault/clock.so"), "FAULT_CLOCK=" + tmp("clock")],
                            extra_conf=["auth_failure_delay = 0s", "auth_verbose = yes"]).start())
        at_end(_stack[0].stop)
    return _stack[0]


def imap(user, password):
    return logins.imap(stack().ports, user, password)


def pop3(user, password):
    return logins.pop3(stack().ports, user, password)


def smtp(user, password):
    return logins.smtp(stack().ports, user, password)


WAYS = {"imap": imap, "pop3": pop3, "smtp": smtp}


def add(*options, user=USER):
    return stack().postern("user", "app-password", "add", *options, user).strip()


def listed(user=USER):
    return {r["label"]: r for r in json.loads(stack().postern("user", "app-password", "list", "--json", user))}


def try_test(user, password, *options):
    r = run([program("postern"), "-c", stack().main_cf, "user", "test", "--stdin", *options, user], input=password.encode() + b"\n")
    return r.returncode, (r.stdout + r.stderr).decode()


@case
def good_for_what_they_were_made_for():
    everything, some = add("--label", "all"), add("--label", "phone", "--services", "imap,smtp")
    for name, way in WAYS.items():
        equal(way(USER, everything), "OK", name)
        equal(way(USER, everything.replace("-", "").upper()), "OK", name + ", as one word in capitals")
        equal(way("U1@Example.com", everything.replace("-", " ")), "OK", name + ", with blanks")
        equal(way(USER, "own"), "OK", name + ", the user's own password")
        check(way("u2@example.com", everything) != "OK", name + ": somebody else's app password")
        check(way(USER, everything[:-1]) != "OK", name + ": an app password without its end")
    equal([way(USER, some) == "OK" for way in WAYS.values()], [True, False, True], "imap, pop3, smtp")
    equal(pop3(USER, some), pop3(USER, "wrong"), "an app password for something else and a wrong one")
    check("app password is not for this service" in stack().log(), "why, in the log")
    # Nothing of them is stored or logged.
    with open(stack().path("data", "mailserver.db"), "rb") as f:
        db = f.read().lower()
    for p in (everything, some):
        for form in (p, p.replace("-", "")):
            check(form.encode() not in db and form not in stack().log().lower(), "an app password can be read")


@case
def they_expire():
    password = add("--label", "month", "--expires", "30")
    today = add("--label", "day", "--expires", time.strftime("%Y-%m-%d", time.localtime(time.time() + DAY)))
    try:
        set_clock(29 * DAY)
        equal(imap(USER, password), "OK", "within its time")
        check("EXPIRED" in imap(USER, today), "after its day: %r" % imap(USER, today))
        set_clock(31 * DAY)
        for name, way in WAYS.items():
            check(way(USER, password) != "OK", name + ": after its time")
        check("EXPIRED" in imap(USER, password), "IMAP's code: %r" % imap(USER, password))
        equal(imap(USER, "own"), "OK", "the user's own")
    finally:
        set_clock(0)
    equal(imap(USER, password), "OK", "the clock is right again")
    check("app password expired" in stack().log(), "why, in the log")


@case
def revoked_at_once():
    one, two = add("--label", "one", user="u3@example.com"), add("--label", "two", user="u3@example.com")
    held = imaplib.IMAP4("127.0.0.1", stack().ports["imap"])
    held.login("u3@example.com", one)
    for i in range(3):
        equal(imap("u3@example.com", one), "OK", "before")
    stack().postern("user", "app-password", "revoke", "u3@example.com", "one")
    for name, way in WAYS.items():
        check(way("u3@example.com", one) != "OK", name + ": revoked")
        equal(way("u3@example.com", two), "OK", name + ": the other")
    equal(held.noop()[0], "OK", "an open session goes on")
    held.logout()
    stack().postern("user", "app-password", "revoke", "--all", "u3@example.com")
    check(imap("u3@example.com", two) != "OK", "all revoked")
    equal(imap("u3@example.com", "own"), "OK", "the user's own")


@case
def they_die_with_the_user():
    s = stack()
    password = add(user="u4@example.com")
    equal(imap("u4@example.com", password), "OK", "before")
    s.postern("sql", "-e", "UPDATE virtual_users SET email = 'other@example.com' WHERE email = 'u4@example.com'")
    check(imap("other@example.com", password) != "OK" and imap("u4@example.com", password) != "OK", "after another name")
    s.postern("sql", "-e", "UPDATE virtual_users SET email = 'u4@example.com' WHERE email = 'other@example.com'")
    check(imap("u4@example.com", password) != "OK", "the old name again")
    password = add(user="u4@example.com")
    s.postern("user", "remove", "u4@example.com")
    check(imap("u4@example.com", password) != "OK", "removed")
    s.postern("user", "add", "--stdin", "u4@example.com", input=b"new\n")
    check(imap("u4@example.com", password) != "OK", "the next one of that name")
    equal(imap("u4@example.com", "new"), "OK", "his own")


@case
def last_use_is_kept():
    password = add("--label", "used", user="u5@example.com")
    equal(listed("u5@example.com")["used"]["used"], None, "before")
    equal(pop3("u5@example.com", password), "OK")
    equal(imap("u5@example.com", password), "OK")
    wait_for(lambda: listed("u5@example.com")["used"]["service"] == "imap", 15, "the last use")
    row = listed("u5@example.com")["used"]
    equal(row["address"], "127.0.0.1")
    equal(row["used"][:10], time.strftime("%Y-%m-%d", time.gmtime()), "day")
    equal(imap("u5@example.com", "own"), "OK")
    # Used all the time: nothing is written for that; used otherwise: it is.
    equal(imap("u5@example.com", password), "OK")
    equal(smtp("u5@example.com", password), "OK")
    wait_for(lambda: listed("u5@example.com")["used"]["service"] == "smtp", 15, "another use")
    equal(pop3("u5@example.com", password), "OK")
    stack().process.stop(timeout_s=30) # what was not written is
    equal(listed("u5@example.com")["used"]["service"], "pop3", "after the end")
    stack().start()


@case
def disabled_users():
    s, user = stack(), "u6@example.com"
    app = add(user=user)
    s.postern("user", "disable", user)
    equal([r["login"] for r in json.loads(s.postern("user", "list", "--json")) if r["user"] == user], ["disabled"], "list")
    for password in ("own", app):
        check("disabled" in imap(user, password), "IMAP: %r" % imap(user, password))
        for name, way in WAYS.items():
            check(way(user, password) != "OK", name)
    # Who has no right password hears no more than of anybody.
    for way in WAYS.values():
        equal(way(user, "wrong"), way("nobody@example.com", "wrong"), "a wrong password")
        check("disabled" not in way(user, "wrong"), "a wrong password of a disabled user")
    with smtplib.SMTP("127.0.0.1", s.ports["smtp"], timeout=20) as c:
        c.sendmail("email1@example.com", [user], "Subject: x\r\n\r\nx\r\n") # mail is taken
    equal(try_test(user, "own")[0], 77, "test")
    s.postern("user", "enable", user)
    equal(imap(user, "own"), "OK", "enabled")
    equal(imap(user, app), "OK", "enabled, app password")


@case
def passwords_change_at_once():
    s = stack()
    s.postern("user", "add", "--stdin", "changing@example.com", input=b"first\n")
    for password in ("first", "second \xe4 pass", "third"):
        s.postern("user", "password", "--stdin", "changing@example.com", input=password.encode() + b"\r\n")
        for _ in range(2):
            equal(pop3("changing@example.com", password) if password.isascii() else smtp("changing@example.com", password), "OK",
                  password)
        if password != "first":
            check(imap("changing@example.com", "first") != "OK", "the first one still")
    r = run([program("postern"), "-c", s.main_cf, "user", "password", "--stdin", "changing@example.com"], input=b"\n")
    equal(r.returncode, 65, "an empty password: %r" % r.stderr)
    r = run(["setsid", program("postern"), "-c", s.main_cf, "user", "password", "changing@example.com"])
    check(r.returncode == 65 and b"--stdin" in r.stderr, "no terminal: %d %r" % (r.returncode, r.stderr))


@case
def what_test_says():
    phone = add("--label", "tested", "--services", "smtp")
    for is_running in (True, False):
        for user, password, options, code, text in (
                (USER, "own", [], 0, "right: logs in as " + USER), ("U1@EXAMPLE.com", "own", ["--service", "pop3"], 0, USER),
                (USER, "wrong", [], 77, "wrong"), ("nobody@example.com", "own", [], 77, "wrong"),
                (USER, phone, ["--service", "smtp"], 0, "right"), (USER, phone, ["--service", "imap"], 77, "wrong"),
                (USER, "own", ["--service", "ftp"], 64, "imap, pop3 or smtp")):
            got = try_test(user, password, *options)
            equal(got[0], code, "exit status of %s %s %s: %r" % (user, password, options, got))
            check(text in got[1], "%r has no %r" % (got[1], text))
        if is_running:
            stack().process.stop(timeout_s=30)
    stack().start()


@case
def wrong_usage():
    s = stack()
    for code, argv in ((64, ["add"]), (64, ["add", "--services", "imap,ftp", USER]), (64, ["add", "--expires", "2001-01-01", USER]),
                       (64, ["add", "--expires", "0", USER]), (64, ["add", "--expires", "2030-02-30", USER]), (64, ["add", "--expires", "2030-01-01x", USER]),
                       (64, ["add", "--label", "17", USER]), (64, ["add", "--label", "", USER]),
                       (64, ["add", "--label", "x" * 65, USER]), (64, ["add", USER, "--label"]), (64, ["add", "--json", USER]),
                       (67, ["add", "nobody@example.com"]), (67, ["list", "nobody@example.com"]), (67, ["revoke", USER, "nothing"]),
                       (64, ["revoke", USER]), (64, ["revoke", "--all", USER, "phone"]), (64, ["make", USER]), (64, [])):
        r = run([program("postern"), "-c", s.main_cf, "user", "app-password", *argv])
        equal(r.returncode, code, "%r: %r" % (argv, r.stderr))
        equal(r.stdout, b"", "%r" % argv)
    add("--label", "twice")
    r = run([program("postern"), "-c", s.main_cf, "user", "app-password", "add", "--label", "TWICE", USER])
    equal(r.returncode, 65, "a label twice: %r" % r.stderr)


@case
def a_database_that_authd_may_only_read():
    """Started as root: what authd cannot write it says once, and everybody comes in."""
    if os.geteuid() != 0:
        skip("only root's daemons have users of their own")
    s = Stack(tmp("ro"), users={USER: "own"}, extra_conf=["auth_user = nobody", "auth_failure_delay = 0s"])
    s.configure()
    os.chmod(s.workdir, 0o755)
    s.start()
    db = s.path("data", "mailserver.db")
    for at, mode in ((db, 0o644), (s.path("data"), 0o755)):  # as an operator has it who does not trust authd that far
        os.chown(at, 0, 0)
        os.chmod(at, mode)
    try:
        _stack.insert(0, s)
        password = add("--label", "ro")
        for i in range(3):
            equal(imap(USER, password), "OK", "log-in %d" % i)
        wait_for(lambda: "cannot be kept" in s.log(), 30, "the reason in the log")
        equal(imap(USER, password), "OK", "after that")
        st = os.stat(db)
        equal((st.st_uid, stat.S_IMODE(st.st_mode)), (0, 0o644), "owner and mode")
        equal(s.log().count("when they were last used cannot be kept"), 1, "told once")
    finally:
        _stack.remove(s)
        s.stop()


@case
def a_database_of_authds_own():
    """Started as root: the file stays authd's, whoever wrote to it last."""
    if os.geteuid() != 0:
        skip("only root's daemons have users of their own")
    home = tmp("own")
    s = Stack(home, users={USER: "own"}, extra_conf=["auth_user = nobody", "auth_failure_delay = 0s"])
    s.configure()
    db = s.path("data", "mailserver.db")
    os.chmod(home, 0o755)
    shutil.chown(s.path("data"), "nobody")
    shutil.chown(db, "nobody")
    os.chmod(db, 0o600)
    s.start()
    try:
        _stack.insert(0, s)
        password = add("--label", "mine")
        equal(imap(USER, password), "OK")
        wait_for(lambda: listed()["mine"]["service"] == "imap", 20, "the last use")
        s.postern("user", "disable", USER)
        s.postern("user", "enable", USER)
        st = os.stat(db)
        equal((st.st_uid, stat.S_IMODE(st.st_mode)), (__import__("pwd").getpwnam("nobody").pw_uid, 0o600), "owner and mode")
        check("cannot be kept" not in s.log(), s.log())
    finally:
        _stack.remove(s)
        s.stop()


main()
