#!/usr/bin/env python3
# Wrong passwords are answered later and later, by network and by user, whichever daemon they come through; right ones are not.
# What is held against the clock is only that an answer is not too early, and which of two came first.
# timeout: 120
import base64
import os
import re
import socket
import ssl
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from harness import *
from stack import Stack

USERS = ["u%d@example.com" % i for i in range(6)]
CONF = ["auth_failure_delay = 1s", "imap_haproxy = yes", "pop3_haproxy = yes", "submissions_upstream_proxy_protocol = haproxy",
        "smtpd_upstream_proxy_hosts = 127.0.0.1", "haproxy_trusted_networks = 127.0.0.1", "disable_plaintext_auth = no",
        "login_trusted_networks = 203.0.113.0/24"]
PLACES, WAITING = 8, 24  # PENALTY_PLACES, PENALTY_WAITING_MAX
_stack = []


def stack():
    if not _stack:
        s = Stack(tmp("s"), users=USERS, extra_conf=CONF).start()
        at_end(s.stop)
        _stack.append(s)
    return _stack[0]


_running = {}


def beside_the_others(f):
    """A case that waits most of its time: those of this kind are all begun when the first of them is."""
    said = []

    def body():
        try:
            f()
        except BaseException as e:  # the case raises it
            said.append(e)

    def wait():
        stack()
        for thread in _running.values():
            if thread.ident is None:
                thread.start()
        _running[f].join()
        if said:
            raise said[0]

    _running[f] = threading.Thread(target=body, daemon=True)
    wait.__name__ = f.__name__
    return case(wait)


class Auth:
    """private/auth, as smtpd and login speak it."""

    def __init__(self):
        self.s = socket.socket(socket.AF_UNIX)
        self.s.settimeout(60)
        self.s.connect(os.path.join(stack().queue_dir, "private", "auth"))
        self.f = self.s.makefile("rwb")
        self.n = 0
        while self.f.readline() != b"DONE\n":
            pass
        self.f.write(b"VERSION\t1\t2\nCPID\t1\n")

    def ask(self, user, password, rip, service="imap"):
        """The number under which the answer comes."""
        self.n += 1
        resp = base64.b64encode(b"\0" + user.encode() + b"\0" + password.encode()).decode()
        self.f.write(("AUTH\t%d\tPLAIN\tservice=%s\tnologin\tsecured\trip=%s\tresp=%s\n" % (self.n, service, rip, resp)).encode())
        self.f.flush()
        return self.n

    def answer(self):
        """("OK" | "FAIL" | "temp", number) of the next one."""
        w = self.f.readline().decode().rstrip("\n").split("\t")
        return "temp" if "temp" in w else w[0], int(w[1])

    def once(self, *ask):
        """The answer to one question, and the seconds until it came."""
        began = time.monotonic()
        n = self.ask(*ask)
        what, number = self.answer()
        equal(number, n, "nothing else is out")
        return what, time.monotonic() - began


def not_before(least, took, what):
    check(took >= least - 0.05, "%s: after %.2f s, and %.2f was due" % (what, took, least))


@beside_the_others
def later_and_later():
    a = Auth()
    for password, least in (("a", 1), ("b", 2), ("c", 4)):
        what, took = a.once("u0@example.com", password, "192.0.2.1")
        equal(what, "FAIL")
        not_before(least, took, "wrong password " + password)
    # a right one meanwhile is not late: it is there before a wrong one that began first
    wrong = a.ask("u0@example.com", "d", "192.0.2.1")
    right = a.ask("u0@example.com", "pass", "192.0.2.1")
    equal(a.answer(), ("OK", right), "before %d, which is 8 s late" % wrong)


@beside_the_others
def one_old_password_is_no_attack():
    a, began = Auth(), time.monotonic()
    for _ in range(4):
        equal(a.once("u1@example.com", "last year's", "198.51.100.1")[0], "FAIL")
    check(time.monotonic() - began < 12, "the same four times: not 1 + 2 + 4 + 8 s")


@beside_the_others
def by_user_from_wherever():
    a = Auth()
    equal(a.once("u2@example.com", "a", "10.1.0.1")[0], "FAIL")
    what, took = a.once("u2@example.com", "b", "10.2.0.1")
    equal(what, "FAIL")
    not_before(2, took, "the second, from elsewhere")
    # nobody's name is as good as somebody's
    equal(a.once("nobody@example.com", "a", "10.3.0.1")[0], "FAIL")
    not_before(2, a.once("nobody@example.com", "b", "10.4.0.1")[1], "the second of nobody")


@beside_the_others
def by_whatever_spelling():
    a = Auth()
    for i, (name, least) in enumerate((("spelt@exa\u00admple.com", 1), ("SPELT@example\u3002com", 2), ("spelt@Example.com", 4))):
        what, took = a.once(name, "guess %d" % i, "10.6.%d.1" % i)
        equal(what, "FAIL")
        not_before(least, took, name)


@beside_the_others
def all_doors_count_together():
    s = stack()
    head = b"PROXY TCP4 10.9.9.9 127.0.0.1 4711 143\r\n"

    def talk(port, tls, *lines):
        sock = socket.create_connection(("127.0.0.1", s.ports[port]), timeout=60)
        sock.sendall(head)
        if tls:
            sock = ssl._create_unverified_context().wrap_socket(sock)
        f = sock.makefile("rwb", buffering=0)
        began = time.monotonic()
        for send, want in lines:
            if send:
                began = time.monotonic()
                f.write(send.encode() + b"\r\n")
            line = f.readline()
            while line and not re.match(want.encode(), line):
                line = f.readline()
            check(line, "%s: nothing like %s" % (port, want))
        sock.close()
        return time.monotonic() - began

    def plain(password):
        return base64.b64encode(b"\0u3@example.com\0" + password).decode()

    not_before(1, talk("imap", False, ("", r"\* OK"), ("a LOGIN u3@example.com one", r"a NO \[AUTHENTICATIONFAILED\]")), "IMAP")
    not_before(2, talk("pop3", False, ("", r"\+OK"), ("USER u3@example.com", r"\+OK"), ("PASS two", r"-ERR \[AUTH\]")), "POP3")
    not_before(4, talk("submissions", True, ("", "220 "), ("EHLO me", "250 "), ("AUTH PLAIN " + plain(b"three"), "535 ")), "SMTP")
    talk("imap", False, ("", r"\* OK"), ("a LOGIN u3@example.com pass", "a OK"))


@case
def a_full_network_waits_no_longer_than_told():
    a, net = Auth(), "10.20.30.%d"
    guesses = {a.ask("victim%d@example.com" % i, "guess", net % (1 + i)) for i in range(PLACES)}
    time.sleep(0.7)  # all are hashed, and hold their places; 1, 2, 4, 8, 8 ... seconds
    known = set()
    right = a.ask("u4@example.com", "pass", net % 200)
    while True:
        what, n = a.answer()
        known.add(n)
        if n == right:
            break
        equal(what, "FAIL", "a guess")
    equal(what, "OK")
    check(len(guesses - known) >= PLACES - 3, "it came while %d of %d guesses are held" % (len(guesses - known), PLACES))
    # now it is known there, and waits for nothing
    again = a.ask("u4@example.com", "pass", net % 200)
    equal(a.answer(), ("OK", again))
    # from elsewhere it never did
    other = a.ask("u5@example.com", "pass", "10.20.31.1")
    equal(a.answer(), ("OK", other))


@case
def too_many_of_a_network_are_told_to_come_again():
    a, net = Auth(), "10.40.50.%d"
    for i in range(PLACES):
        a.ask("x%d@example.com" % i, "guess", net % i)
    time.sleep(0.7)
    more = [a.ask("y%d@example.com" % i, "guess", net % i) for i in range(WAITING + 20)]
    right = a.ask("u5@example.com", "pass", "10.40.51.1")
    got = {}
    while right not in got or list(got.values()).count("temp") < 20:
        what, n = a.answer()
        got[n] = what
    equal(got[right], "OK", "from another network")
    check(all(what != "OK" for n, what in got.items() if n != right), "nobody else is let in")
    check(all(n in more for n, what in got.items() if what == "temp"), "those that came first are checked")
    check("too many logins at once" in stack().log(), "it is logged")


@beside_the_others
def who_waits_while_networks_become_trusted_is_counted_off():
    a, net, s = Auth(), "10.80.0.%d", stack()
    trusted = next(c for c in CONF if c.startswith("login_trusted_networks"))
    with open(s.path("main.cf")) as f:
        main_cf = f.read()

    def trust(more):
        with open(s.path("main.cf"), "w") as f:
            f.write(main_cf.replace(trusted, trusted + more))
        s.postern("reload")

    def fill(name):
        for i in range(PLACES):
            a.ask("%s%d@example.com" % (name, i), "guess", net % i)
        time.sleep(0.7)

    fill("r")
    waiting = {a.ask("s%d@example.com" % i, "guess", net % i) for i in range(WAITING)}
    trust(" 10.80.0.0/24")
    while waiting:
        waiting.discard(a.answer()[1])
    trust("")
    fill("t")
    n = a.ask("t@example.com", "guess", net % 1)
    while True:
        what, number = a.answer()
        if number == n:
            break
    equal(what, "FAIL", "nobody waits but he, so he is checked")


@beside_the_others
def webmail_and_loopback_are_counted_by_user():
    for n, rip in enumerate(("127.0.0.1", "203.0.113.5")):
        a = Auth()
        for password in "ab":
            a.ask("web%d@example.com" % n, password, rip)
        wrong = a.ask("mail%d@example.com" % n, "once", rip)
        seen = [a.answer()[1] for _ in range(2)]
        check(wrong in seen, "%s: one wrong password is not as late as the second of another user" % rip)


@beside_the_others
def a_client_that_leaves_is_counted():
    a = Auth()
    for i in range(2):
        n = a.ask("gone@example.com", "guess %d" % i, "10.60.0.1")
        a.f.write(b"CANCEL\t%d\n" % n)
        a.f.flush()
    not_before(4, a.once("gone@example.com", "last", "10.60.0.1")[1], "the third")


@case
def who_has_just_come_is_not_sent_away_for_them():
    # One login process, full of sessions whose answers are late; the next ones push out each other.
    s = Stack(tmp("c"), users=USERS, extra_conf=CONF + ["login_processes = 1", "auth_failure_delay = 20s"]).start()
    at_end(s.stop)
    held = []

    def connect(rip, *lines):
        sock = socket.create_connection(("127.0.0.1", s.ports["imap"]), timeout=60)
        sock.sendall(b"PROXY TCP4 %s 127.0.0.1 4711 143\r\n" % rip.encode() + b"".join(lines))
        return sock

    def guess(i):
        held.append(connect("10.70.%d.1" % (i % 220), b"a LOGIN nobody%d@example.com guess\r\n" % i))

    for i in range(1050):  # LOGIN_SESSIONS_MAX is 1000
        guess(i)
    right = connect("198.51.100.7")
    f = right.makefile("rwb", buffering=0)
    check(f.readline().startswith(b"* OK"), "greeting")
    for i in range(1050, 1100):
        guess(i)
    wait_for(lambda: s.log().count("Connection queue full") >= 90, 20, "those who have no place")
    f.write(b"a LOGIN u5@example.com pass\r\n")
    check(f.readline().startswith(b"a OK"), "the right password is let in")
    for sock in held:
        sock.close()


main()
