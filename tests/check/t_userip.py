#!/usr/bin/env python3
# mail_max_userip_connections: one count of a user's sessions from an address for all workers of a service, under TLS as without;
# what ends is counted off, however it ends; and an authd that is restarted is told again.
# timeout: 120
import imaplib
import os
import poplib
import signal
import socket
import ssl
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from handover import Handover
from harness import *
from stack import Stack

USERS = ["u%d@example.com" % i for i in range(10)]
MOST = 3
OVER = "Maximum number of connections from user+IP exceeded (mail_max_userip_connections=%d)" % MOST
_stack = []


def stack():
    if not _stack:
        s = Stack(tmp("s"), users=USERS, extra_conf=["mail_max_userip_connections = %d" % MOST, "imapd_processes = 2",
                                                     "disable_plaintext_auth = no", "auth_failure_delay = 0"]).start()
        at_end(s.stop)
        _stack.append(s)
    return _stack[0]


class Imap:
    """A connection that says LOGIN; .said: the answer's line."""

    def __init__(self, user, source="127.0.0.1", tls=False):
        self.s = socket.create_connection(("127.0.0.1", stack().ports["imaps" if tls else "imap"]), timeout=30,
                                          source_address=(source, 0))
        if tls:
            self.s = ssl._create_unverified_context().wrap_socket(self.s)
        self.f = self.s.makefile("rb")
        self.f.readline()
        self.said = self.cmd("LOGIN %s pass" % user)
        self.is_in = self.said.startswith("OK")

    def cmd(self, text):
        self.s.sendall(b"a " + text.encode() + b"\r\n")
        for line in self.f:
            if line.startswith(b"a "):
                return line[2:].decode().rstrip("\r\n")
        return ""

    def close(self):
        self.s.close()
        self.f.close()


def has_room(user, **more):
    c = Imap(user, **more)
    c.close()
    return c.is_in


def full(user):
    """As many sessions as there may be; the next is refused."""
    held = [Imap(user) for _ in range(MOST)]
    check(all(c.is_in for c in held), "%r" % [c.said for c in held])
    equal(Imap(user).said, "NO [LIMIT] " + OVER)
    return held


def drop(held):
    for c in held:
        c.close()


@case
def the_answer_names_the_limit():
    held = full("u0@example.com")
    check(has_room("u0@example.com", source="127.0.0.2"), "from another address")
    check(has_room("u1@example.com"), "another user")
    equal(Imap("u0@example.com", tls=True).said, "NO [LIMIT] " + OVER, "under TLS it is the client's address that counts")
    held.pop().cmd("LOGOUT")
    wait_for(lambda: has_room("u0@example.com"), 10, "room after LOGOUT")
    held.pop().close()
    wait_for(lambda: has_room("u0@example.com", tls=True), 10, "room after the client has gone")
    check(OVER in stack().log(), "it is logged")
    drop(held)


@case
def pop3_has_a_count_of_its_own():
    held, pops = full("u2@example.com"), []
    for _ in range(MOST):
        p = poplib.POP3("127.0.0.1", stack().ports["pop3"], timeout=30)
        p.user("u2@example.com")
        p.pass_("pass")
        pops.append(p)
    p = poplib.POP3("127.0.0.1", stack().ports["pop3"], timeout=30)
    p.user("u2@example.com")
    try:
        p.pass_("pass")
        fail("one more than there may be")
    except poplib.error_proto as e:
        equal(e.args[0].decode(), "-ERR [IN-USE] " + OVER)
    for p in pops:
        p.quit()
    drop(held)


@case
def both_workers_have_one_count():
    # A login that means harm spreads a user's sessions over the workers: what it gains is nothing.
    box, held = Handover(stack()), []
    for i in range(MOST + 2):
        got, client = box.offer("imapd-%d" % (i % 2), cookie=box.cookie("u3@example.com"))
        held.append(client)
        check(got > 0, "the offer is taken: %r" % got)
        client.settimeout(30)
        said = client.recv(4000)
        check((b"[LIMIT]" in said) == (i >= MOST), "session %d: %r" % (i, said))
    for client in held:
        client.close()
    wait_for(lambda: has_room("u3@example.com"), 10, "room")


@case
def unauthenticate_makes_room():
    held = full("u4@example.com")
    check(held[0].cmd("UNAUTHENTICATE").startswith("OK"), "UNAUTHENTICATE")
    check(has_room("u4@example.com"), "one more")
    wait_for(lambda: held[0].cmd("LOGIN u4@example.com pass").startswith("OK"), 10, "the same connection again")
    equal(Imap("u4@example.com").said, "NO [LIMIT] " + OVER)
    drop(held)


@case
def a_worker_that_dies_has_no_sessions():
    held = full("u5@example.com")
    for pid in stack().pids_of("imapd"):
        os.kill(pid, signal.SIGKILL)
    wait_for(lambda: has_room("u5@example.com"), 30, "imapd and room")
    drop(held)
    drop(full("u5@example.com"))


@case
def an_authd_that_is_restarted_is_told_again():
    held = full("u6@example.com")
    old = stack().pids_of("authd")
    os.kill(old[0], signal.SIGKILL)
    wait_for(lambda: stack().pids_of("authd") not in (old, []), 30, "authd")
    said = []
    wait_for(lambda: said.append(Imap("u6@example.com").said) or "UNAVAILABLE" not in said[-1], 30, "an answer")
    equal(said[-1], "NO [LIMIT] " + OVER)
    held.pop().cmd("LOGOUT")
    wait_for(lambda: has_room("u6@example.com"), 10, "room after LOGOUT")
    drop(held)


@case
def no_limit_and_another():
    s = stack()
    for most in (0, 5):
        s.extra_conf.append("mail_max_userip_connections = %d" % most)
        s.write_main_cf()
        s.postern("reload")
        held = [Imap("u7@example.com") for _ in range(8)]
        equal(sum(c.is_in for c in held), most or 8, "sessions with a limit of %d" % most)
        drop(held)
        wait_for(lambda: has_room("u7@example.com"), 10, "room")
        time.sleep(0.3)


main()
