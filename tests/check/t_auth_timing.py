#!/usr/bin/env python3
# Does the time of a refusal tell why? Unknown users, wrong passwords, app passwords that are expired or for another service, and
# who is disabled, each many times in turn, each from a network of its own, nothing delayed. Printed: medians, quartiles, and how
# often one of a kind took longer than a wrong password (0.50: as often as not; Mann and Whitney's U). Judged generously: a
# machine that does other things too must not fail this, a kind that is not hashed at all must.
# timeout: 120
import base64
import os
import random
import socket
import sqlite3
import statistics
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from harness import *
from stack import Stack

USERS = ["u%d@example.com" % i for i in range(5)]
TIMES, ROUNDS, FACTOR = 120, 3, 1.5
_stack = []


def stack():
    if not _stack:
        s = Stack(tmp("s"), users=USERS,
                  extra_conf=["auth_failure_delay = 0", "auth_mechanisms = plain login scram-sha-256"]).start()
        at_end(s.stop)
        _stack.append(s)
    return _stack[0]


class Auth:
    def __init__(self):
        self.s = socket.socket(socket.AF_UNIX)
        self.s.settimeout(60)
        self.s.connect(os.path.join(stack().queue_dir, "private", "auth"))
        self.f = self.s.makefile("rwb")
        self.n = 0
        while self.f.readline() != b"DONE\n":
            pass
        self.f.write(b"VERSION\t1\t2\nCPID\t1\n")

    def ask(self, mech, octets, service="imap"):
        """Seconds until the first word of the answer, and that word."""
        self.n += 1
        rip = "%d.%d.%d.1" % (random.randint(11, 99), random.randint(0, 255), random.randint(0, 255))
        line = "AUTH\t%d\t%s\tservice=%s\tnologin\tsecured\trip=%s\tresp=%s\n" % (self.n, mech, service, rip,
                                                                            base64.b64encode(octets).decode())
        began = time.perf_counter()
        self.f.write(line.encode())
        self.f.flush()
        word = self.f.readline().decode().split("\t")[0].strip()
        took = time.perf_counter() - began
        if word == "CONT":
            self.f.write(b"CANCEL\t%d\n" % self.n)
            self.f.flush()
        return took, word


def longer(a, b):
    """The share of pairs in which a's is the larger: U / (n * m); and its distance from a half in standard deviations."""
    ranks, order = 0, sorted([(x, 0) for x in a] + [(x, 1) for x in b])
    for at, (_, which) in enumerate(order):
        if which == 0:
            ranks += at + 1
    n, m = len(a), len(b)
    u = ranks - n * (n + 1) / 2
    return u / (n * m), (u - n * m / 2) / (n * m * (n + m + 1) / 12) ** 0.5


def compare(kinds, reference, want):
    """kinds: {name: function() -> (seconds, word)}. True: no kind's median is far from the reference's."""
    a = {name: [] for name in kinds}
    for _ in range(TIMES):
        for name in random.sample(list(kinds), len(kinds)):
            took, word = kinds[name]()
            equal(word, want, name)
            a[name].append(took * 1000)
    is_good = True
    for name, ms in a.items():
        quarter = statistics.quantiles(ms, n=4)
        share, z = longer(ms, a[reference])
        is_good &= 1 / FACTOR < quarter[1] / statistics.median(a[reference]) < FACTOR
        log("    %-32s median %7.3f ms, quartiles %7.3f %7.3f; longer than %s: %.2f (%+.1f sigma)"
            % (name, quarter[1], quarter[0], quarter[2], reference, share, z))
    return is_good


def judge(kinds, reference, want):
    for _ in range(ROUNDS):
        if compare(kinds, reference, want):
            return
        log("    far apart; again")
    fail("the medians are more than a factor of %.1f apart, %d times" % (FACTOR, ROUNDS))


def app_password(user, *more):
    return stack().postern("user", "app-password", "add", *more, user).split()[0]


@case
def refusals():
    s, auth, n = stack(), None, [0]
    expired = app_password("u1@example.com", "--label", "old", "--expires", "90")
    pop3 = app_password("u2@example.com", "--label", "pop", "--services", "pop3")
    with sqlite3.connect(s.path("data", "mailserver.db"), timeout=10) as db:
        equal(db.execute("UPDATE postern_app_passwords SET expires_unix_s = 1000000 WHERE label = 'old'").rowcount, 1, "rows")
    s.postern("user", "disable", "u3@example.com")
    auth = Auth()
    wrong = expired[:-6].replace("%", "x") + "%06d"  # as long as that one: longer passwords take longer to hash

    def plain(user, password):
        def ask():
            n[0] += 1
            name = user % n[0] if "%" in user else user
            given = password % n[0] if "%" in password else password
            return auth.ask("PLAIN", b"\0" + name.encode() + b"\0" + given.encode())
        return ask

    s.extra_conf += ["auth_cache_negative_ttl = 0"]  # the same password again and again
    s.write_main_cf()
    s.postern("reload")
    judge({"wrong password": plain("u0@example.com", wrong),
           "unknown user": plain("nobody%d@example.com", wrong),
           "unknown domain": plain("u0@nowhere%d.test", wrong),
           "expired app password": plain("u1@example.com", expired),
           "app password of another service": plain("u2@example.com", pop3),
           "wrong password of who is disabled": plain("u3@example.com", wrong),
           "no name that can be one": plain("u0@example.com@", wrong)}, "wrong password", "FAIL")


@case
def challenges_of_scram():
    auth, n = Auth(), [0]
    equal(auth.ask("PLAIN", b"\0u0@example.com\0pass")[1], "OK")  # leaves a verifier behind

    def first(user):
        def ask():
            n[0] += 1
            name = user % n[0] if "%" in user else user
            return auth.ask("SCRAM-SHA-256", b"n,,n=%s,r=nonce%d" % (name.encode(), n[0]))
        return ask

    time.sleep(0.5)
    judge({"verifier kept": first("u0@example.com"), "none kept": first("u4@example.com"),
           "unknown user": first("nobody%d@example.com")}, "verifier kept", "CONT")


main()
