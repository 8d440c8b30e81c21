#!/usr/bin/env python3
# A POP3 mailbox of 100,000 messages at our pop3d and at Dovecot's pop3, in turn; and what idle POP3 sessions cost.
# BENCH="--messages 10000 --rounds 2 --only postern --idle 1000" for less.
# timeout: 3600
"""What is measured, in milliseconds (medians of --rounds, A B A B, the range in brackets):

first       USER and PASS until +OK, then STAT: where nobody ever looked; names have S= and W=
first read  the same where names have no W=, so that each message must be read once
again       the same when somebody looked before
list, uidl  LIST and UIDL, whole; the answer's octets are counted, not kept
one         log in, STAT, RETR 1, DELE 1, QUIT
octets a message    what one more session on that mailbox adds to the proportional set size, while it is in use and while it rests
idle        what each of so many idle sessions of different users, with ten messages each, adds: KiB over all processes
"""
import argparse
import os
import resource
import shlex
import shutil
import socket
import statistics
import sys
import time

sys.path[:0] = [os.path.join(os.path.dirname(os.path.abspath(__file__)), d) for d in (".", "../lib")]
from harness import *
from refstack import RefStack, UIDS, pss_kib
from stack import Stack

USER = "u0@example.com"
REST_S = 5


def fill(maildir, n, with_crlf):
    for sub in ("tmp", "new", "cur"):
        os.makedirs(os.path.join(maildir, sub), exist_ok=True)
    text = b"From: a@example.org\nSubject: message\n\n" + b"some words in a line of text\n" * 15
    w = ",W=%d" % (len(text) + text.count(b"\n")) if with_crlf else ""
    for i in range(n):
        with open(os.path.join(maildir, "cur", "15%08d.M%dP1.h,S=%d%s:2,S" % (i, i, len(text), w)), "wb") as f:
            f.write(text)


class Pop3:
    def __init__(self, port, user=USER):
        began = time.monotonic()
        self.s = socket.create_connection(("127.0.0.1", port), timeout=600)
        self.s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.f = self.s.makefile("rb")
        self.f.readline()
        for line in ("USER " + user, "PASS pass", "STAT"):
            self.cmd(line)
        self.login_ms = (time.monotonic() - began) * 1000

    def cmd(self, line):
        self.s.sendall(line.encode() + b"\r\n")
        got = self.f.readline()
        check(got.startswith(b"+OK"), "%s: %r" % (line, got))
        return got

    def many(self, line):
        """Milliseconds until the dot, octets."""
        began, n, tail = time.monotonic(), 0, b""
        self.s.sendall(line.encode() + b"\r\n")
        while not tail.endswith(b"\r\n.\r\n"):
            got = self.s.recv(1 << 18)
            check(got, "closed")
            n += len(got)
            tail = (tail + got)[-5:]
        return (time.monotonic() - began) * 1000, n

    def close(self):
        self.f.close()
        self.s.close()


class Side:
    def __init__(self, name, a):
        users = {USER: "pass", **{"i%d@example.com" % i: "pass" for i in range(a.idle)}}
        self.name, self.rows = name, {}
        if name == "postern":
            self.stack = Stack(tmp("o"), users=users, extra_conf=["disable_plaintext_auth = no", "mail_max_userip_connections = 0",
                                                                  "auth_failure_delay = 0"])
            self.root, self.owner = None, None
        else:
            self.stack = RefStack(tmp("r"), parts=("dovecot",), users=users, dovecot_conf=[
                "disable_plaintext_auth = no", "mail_max_userip_connections = 0", "default_client_limit = 20000",
                "default_process_limit = 20000", "service pop3 {\n  process_limit = 20000\n}",
                "service pop3-login {\n  service_count = 0\n  process_limit = 4\n  client_limit = 20000\n}"])
        self.stack.start()
        at_end(self.stack.stop)

    def maildir(self, user=USER):
        if self.name == "postern":
            return self.stack.maildir(user)
        return os.path.join(self.stack.mail_root, *reversed(user.split("@")))

    def own(self):
        if self.name != "postern":
            run(["chown", "-R", "%d:%d" % (UIDS["vmail"], UIDS["vmail"]), self.stack.mail_root])

    def new_mailbox(self, n, with_crlf):
        shutil.rmtree(self.maildir(), ignore_errors=True)
        fill(self.maildir(), n, with_crlf)
        self.own()

    def add(self, row, ms):
        self.rows.setdefault(row, []).append(ms)

    def pss(self):
        return pss_kib(self.stack.pids())


def in_turn(sides, a):
    for row, with_crlf in (("first read", False), ("first", True)):
        for s in sides:
            for _ in range(a.first_rounds):
                s.new_mailbox(a.messages, with_crlf)
                c = Pop3(s.stack.ports["pop3"])
                s.add(row, c.login_ms)
                c.cmd("QUIT")
                c.close()
                time.sleep(1)
    for _ in range(a.rounds):
        for s in sides:
            c = Pop3(s.stack.ports["pop3"])
            s.add("again", c.login_ms)
            for row in ("list", "uidl"):
                s.add(row, c.many(row.upper())[0])
            c.cmd("QUIT")
            c.close()
    for _ in range(a.rounds):
        for s in sides:
            began = time.monotonic()
            c = Pop3(s.stack.ports["pop3"])
            c.many("RETR 1")
            c.cmd("DELE 1")
            c.cmd("QUIT")
            s.add("one", (time.monotonic() - began) * 1000)
            c.close()


def memory(s, a):
    first = Pop3(s.stack.ports["pop3"])
    before, more = s.pss(), []
    for _ in range(10):
        more.append(Pop3(s.stack.ports["pop3"]))
    for c in more:
        c.cmd("RETR 1")
    s.add("octets a message, in use", (s.pss() - before) * 1024 / 10 / a.messages)
    time.sleep(REST_S)
    s.add("octets a message, at rest", (s.pss() - before) * 1024 / 10 / a.messages)
    for c in more + [first]:
        c.close()
    time.sleep(1)


def idle(s, a):
    for i in range(a.idle):
        fill(s.maildir("i%d@example.com" % i), 10, True)
    s.own()
    before, open_now = s.pss(), []
    for i in range(a.idle):
        open_now.append(Pop3(s.stack.ports["pop3"], "i%d@example.com" % i))
    time.sleep(REST_S + 10)
    s.add("idle session, KiB", (s.pss() - before) / a.idle)
    for c in open_now:
        c.close()


def table(sides):
    names = list(dict.fromkeys(r for s in sides for r in s.rows))
    print("%-28s" % "" + "".join("%28s" % s.name for s in sides) + "     ratio")
    for row in names:
        line, mids = "%-28s" % row, []
        for s in sides:
            v = s.rows.get(row)
            if v:
                mids.append(statistics.median(v))
                line += "%28s" % ("%.1f [%.1f-%.1f]" % (mids[-1], min(v), max(v)))
            else:
                line += "%28s" % "-"
        if len(mids) == 2 and mids[1] > 0:
            line += "%10.2f" % (mids[0] / mids[1])
        print(line, flush=True)


@case
def pop3():
    p = argparse.ArgumentParser()
    p.add_argument("--messages", type=int, default=100000)
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--first-rounds", type=int, default=1)
    p.add_argument("--idle", type=int, default=1000)
    p.add_argument("--only", choices=("postern", "dovecot"))
    a = p.parse_args(shlex.split(os.environ.get("BENCH", "")))
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    sides = [Side(n, a) for n in ("postern", "dovecot") if a.only in (None, n)]
    in_turn(sides, a)
    for s in sides:
        memory(s, a)
        if a.idle:
            idle(s, a)
    table(sides)


main()
