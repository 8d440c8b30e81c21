#!/usr/bin/env python3
# Masters: who logs in as another user, by "user*master" or by the mechanism's authorization identity, over IMAP, POP3 and SMTP; who
# is none; names as auth_default_realm, auth_username_translation and auth_username_chars make them.
import imaplib
import os
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import logins
from authdoor import Door, Scram, b64
from harness import *
from stack import Stack

USER, OTHER = "u1@example.com", "u2@example.com"
_stack = []


def stack():
    if not _stack:
        s = Stack(tmp("s"), users={USER: "one", OTHER: "two", "boss@example.com": "ordinary"},
                  extra_conf=["auth_failure_delay = 0s", "auth_verbose = yes", "auth_master_user_separator = *",
                              "auth_master_users = passwd-file:masters, texthash:more-masters",
                              "auth_default_realm = example.com", "auth_username_translation = !1",
                              "auth_mechanisms = plain login scram-sha-256",
                              "smtpd_sender_login_maps = static:u1@example.com",
                              "smtpd_sender_restrictions = reject_sender_login_mismatch"])
        s.configure()
        with open(s.path("masters"), "w") as f:
            # Dovecot's: what follows the password has no meaning here
            f.write("# masters\nadmin@example.com:%s:1000:1000::/home/admin:/bin/sh:userdb_x=y\n" % hashed("master"))
        with open(s.path("more-masters"), "w") as f:
            f.write("boss@example.com %s\nscram@example.com %s\n" % (hashed("chief"), hashed("salted", "SCRAM-SHA-256")))
        _stack.append(s.start())
        at_end(s.stop)
    return _stack[0]


def hashed(password, scheme="SHA512-CRYPT"):
    r = run([program("postern"), "-c", os.path.join(tmp("s"), "main.cf"), "user", "hash", "--scheme", scheme, "--stdin"],
            input=password.encode() + b"\n")
    equal(r.returncode, 0, "hash: %r" % r.stderr)
    check(r.stdout.startswith(b"{%s}" % scheme.encode()), "%r" % r.stdout)
    return r.stdout.decode().strip()


def imap(user, password, authzid=None):
    return logins.imap(stack().ports, user, password, authzid)


def pop3(user, password):
    return logins.pop3(stack().ports, user, password)


def smtp(user, password, authzid="", sender=None):
    return logins.smtp(stack().ports, user, password, authzid, sender, "email1@example.com")


def logged(pattern):
    wait_for(lambda: re.search(pattern, stack().log()), 5, "log line %s" % pattern)


@case
def as_another_user():
    stack()
    for at in ("u1@example.com*admin@example.com", "U1*ADMIN", "u!*admin"):
        equal(imap(at, "master"), "OK", at)
    equal(pop3("u1*admin", "master"), "OK", "POP3")
    equal(smtp("u1*admin", "master"), "OK", "SMTP")
    equal(imap("admin", "master", "u1"), "OK", "authzid")
    equal(imap("u1*boss", "chief"), "OK", "a master of another table")
    logged(r"imap-login: Login: user=<u1@example\.com>, master=<admin@example\.com>, method=PLAIN, rip=")
    logged(r"pop3-login: Login: user=<u1@example\.com>, master=<admin@example\.com>, method=PLAIN, rip=")
    wait_for(lambda: len(re.findall(r"auth: sql\(admin@example\.com,127\.0\.0\.1(?:,<\S+>)?\): Master user logging in as "
                                    r"u1@example\.com\n", stack().log())) == 6, 5, "authd's line of each, of SMTP too")
    equal(imap("u1", "one"), "OK", "himself")
    check(not re.search(r"Login: user=<u1@example\.com>, method=.*master", stack().log()), "a master where there was none")


@case
def it_is_that_users_mail():
    c = imaplib.IMAP4("127.0.0.1", stack().ports["imap"])
    c.login('"u1*admin"', "master")
    c.append("INBOX", None, None, b"Subject: by the master\r\n\r\nx\r\n")
    c.logout()
    for user, n in ((USER, b"1"), (OTHER, b"0")):
        c = imaplib.IMAP4("127.0.0.1", stack().ports["imap"])
        c.login(user, "one" if user == USER else "two")
        equal(c.select()[1], [n], user)
        c.logout()


@case
def sender_checks_are_the_users():
    equal(smtp("u1*admin", "master", sender="anna@example.com"), "OK", "as the owner of the address")
    check(smtp("u2*admin", "master", sender="anna@example.com").startswith("553 5.7.1"), "as another")
    check(smtp("admin", "master", authzid="u2", sender="anna@example.com").startswith("553 5.7.1"), "as another, by authzid")


@case
def who_is_no_master():
    wrong = imap("u1", "wrong")
    for user, password in (("u1*admin", "wrong"), ("u1*admin", "one"), ("u1*u2", "two"), ("u1*nobody", "master"),
                           ("nobody*admin", "master"), ("*admin", "master"), ("u1*", "one"), ("admin", "master"),
                           ("admin*admin", "master"),
                           # somebody in the database under a master's name: the password of the one is not the other's
                           ("u1*boss", "ordinary"), ("boss", "chief")):
        equal(imap(user, password), wrong, "%s %s" % (user, password))
    equal(imap("boss", "ordinary"), "OK", "a user under a master's name")
    equal(imap("boss*boss", "ordinary"), "OK", "as himself")
    check(imap("u2", "two", "u1") != "OK", "another's authzid")
    check(smtp("u2", "two", "u1").startswith("535"), "another's authzid, SMTP")
    equal(imap("u1", "one", "U1@example.com"), "OK", "his own authzid")
    logged("unknown master user")
    # no app password of a user who has a master's name
    app = stack().postern("user", "app-password", "add", "boss@example.com").strip()
    equal(imap("boss", app), "OK", "app password")
    check(imap("u1*boss", app) != "OK", "app password of a namesake")


def scram(user, password, authzid=None):
    """The last word of one right exchange: ok or no; and the server's first message."""
    d = Door("imap", stack().ports["imap"])
    x = Scram(user.encode(), password.encode(), gs2=b"n,%s," % (b"a=" + authzid.encode() if authzid else b""))
    d.auth("SCRAM-SHA-256", b64(x.first))
    kind, first = d.answer()
    equal(kind, "go", "server-first")
    d.say(b64(x.final(first)))
    got = d.answer()
    if got[0] == "go":
        d.say(b"")
        got = d.answer()
    d.close()
    return got[0], first


@case
def by_scram():
    equal(scram("scram", "salted", "u1")[0], "ok", "a master's verifier, authzid")
    equal(scram("u1*scram", "salted")[0], "ok", "a master's verifier, separator")
    logged(r"user=<u1@example\.com>, master=<scram@example\.com>, method=SCRAM-SHA-256")
    equal(imap("u1*scram", "salted"), "OK", "the same with PLAIN")
    equal(imap("boss", "ordinary"), "OK", "a login that leaves a verifier")
    wait_for(lambda: scram("boss", "ordinary")[0] == "ok", 10, "the verifier")
    for user, password, authzid in (("scram", "wrong", "u1"), ("scram", "salted", None), ("scram", "salted", "nobody"),
                                    ("u1", "one", "u2"), ("nobody", "x", "u1"), ("admin", "master", "u1"),
                                    # the verifier of the user is not the master's of that name
                                    ("boss", "ordinary", "u1"), ("boss", "chief", "u1")):
        equal(scram(user, password, authzid)[0], "no", "%s for %s" % (user, authzid))
    stack().postern("user", "disable", "boss@example.com")
    equal(scram("boss", "ordinary")[0], "no", "disabled")
    stack().postern("user", "enable", "boss@example.com")
    equal(scram("boss", "ordinary")[0], "ok", "enabled")


@case
def disabled_for_masters_too():
    s = stack()
    s.postern("user", "disable", OTHER)
    check("disabled" in imap("u2*admin", "master"), imap("u2*admin", "master"))
    s.postern("user", "enable", OTHER)
    equal(imap("u2*admin", "master"), "OK", "enabled")


@case
def masters_change_at_once():
    s = stack()
    with open(s.path("masters")) as f:
        text = f.read()
    check(imap("u1*new", "new") != "OK", "before")
    with open(s.path("masters.new"), "w") as f:
        f.write(text + "new@example.com:{PLAIN}new\n")
    os.rename(s.path("masters.new"), s.path("masters"))
    wait_for(lambda: imap("u1*new", "new") == "OK", 5, "the new master")
    with open(s.path("masters.new"), "w") as f:
        f.write(text)
    os.rename(s.path("masters.new"), s.path("masters"))
    wait_for(lambda: imap("u1*new", "new") != "OK", 5, "his end")


@case
def user_test_knows_masters():
    for is_running in (True, False):
        for user, password, code, text in (("u1*admin", b"master", 0, b"admin@example.com logs in as u1@example.com"),
                                           ("u1*admin", b"one", 77, b"wrong"), ("nobody*admin", b"master", 77, b"wrong")):
            r = run([program("postern"), "-c", stack().main_cf, "user", "test", "--stdin", user], input=password + b"\n")
            equal(r.returncode, code, "%s: %r" % (user, r.stdout + r.stderr))
            check(text in r.stdout + r.stderr, "%r" % (r.stdout + r.stderr))
        if is_running:
            stack().process.stop(timeout_s=30)
    stack().start()


@case
def names_with_other_characters():
    s = stack()
    s.extra_conf.append("auth_username_chars = abcdefghijklmnopqrstuvwxyz0123456789@.")
    s.write_main_cf()
    s.postern("reload")
    equal(imap("u1", "one"), "OK", "a name of these")
    equal(imap("u1*admin", "master"), "OK", "the separator is none of them")
    wait_for(lambda: imap("U1", "one") != "OK", 5, "a capital letter to be refused")
    equal(imap("U1", "one"), imap("u1", "wrong"), "the same as for a wrong password")
    logged("disallowed by auth_username_chars")
    s.extra_conf.pop()
    s.write_main_cf()
    s.postern("reload")
    wait_for(lambda: imap("U1", "one") == "OK", 5, "capital letters again")


@case
def check_tells_what_is_wrong():
    s = stack()
    for line, text in (("auth_username_format = %q", "auth_username_format"), ("auth_master_user_separator = **", "one character"),
                       ("auth_username_translation = abc", "pairs"), ("auth_master_users = passwd-files:x", "auth_master_users"),
                       ("auth_master_users = passwd-file:absent", "absent")):
        s.extra_conf.append(line)
        s.write_main_cf()
        r = run([program("postern"), "-c", s.main_cf, "check"])
        check(text in r.stderr.decode() + r.stdout.decode(), "%s: %r" % (line, r.stderr))
        equal(r.returncode, 0 if "absent" in line else 78, line)
        s.extra_conf.pop()
    s.write_main_cf()


main()
