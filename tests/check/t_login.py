#!/usr/bin/env python3
# login and the hand-over to imapd and pop3d: every way in, what is refused, and what strangers may try.
# timeout: 300
import base64
import imaplib
import os
import poplib
import re
import signal
import socket
import ssl
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from harness import *
from stack import Stack

USER, OTHER = "email1@example.com", "u1@example.com"
PASSWORD = "pass"
_stack = []


def stack():
    if not _stack:
        users = {"u%d@example.com" % i: PASSWORD for i in range(6)}
        _stack.append(Stack(tmp("s"), users=users, extra_conf=["imapd_processes = 2", "login_processes = 2"]).start())
        at_end(_stack[0].stop)
    return _stack[0]


def tls_context():
    return ssl._create_unverified_context()


def raw(name):
    """A plain connection and its file."""
    s = socket.create_connection(("127.0.0.1", stack().ports[name]), timeout=20)
    return s, s.makefile("rwb", buffering=0)


def say(f, line):
    f.write(line + b"\r\n")


def until(f, start):
    """The first line that begins with start; what came before is passed over."""
    seen = []
    while True:
        line = f.readline()
        seen.append(line)
        if line.startswith(start):
            return line
        if not line:
            fail("connection ended; got %r, want %r" % (seen, start))


def logged(text, timeout_s=5):
    wait_for(lambda: re.search(text, stack().log()), timeout_s, "log line %s" % text)


# ------------------------------------------------------------------------------------------ ways in


@case
def imap_logs_in_every_way():
    for i in range(4):
        user = "u%d@example.com" % i
        c = imaplib.IMAP4("127.0.0.1", stack().ports["imap"])
        check("SASL-IR" in c.capabilities and "IDLE" in c.capabilities, "capabilities before login: %r" % (c.capabilities,))
        if i == 1:
            c.starttls(tls_context())
        if i == 2:
            c.authenticate("PLAIN", lambda _: ("\0%s\0%s" % (user, PASSWORD)).encode())
        else:
            c.login(user, PASSWORD)
        equal(c.select()[0], "OK", "SELECT")
        c.logout()
    c = imaplib.IMAP4_SSL("127.0.0.1", stack().ports["imaps"], ssl_context=tls_context())
    c.login("u4@example.com", PASSWORD)
    equal(c.noop()[0], "OK", "NOOP")
    c.logout()
    logged(r"dovecot: imap-login: Login: user=<u0@example\.com>, method=PLAIN, rip=127\.0\.0\.1, lip=127\.0\.0\.1, mpid=\d+, "
           r"secured, session=<[^>]+>")
    logged(r"imap-login: Login: user=<u4@example\.com>, .*, TLS, session=<")


@case
def pop3_logs_in_every_way():
    c = poplib.POP3("127.0.0.1", stack().ports["pop3"])
    check("STLS" in c.capa() and "USER" in c.capa(), "CAPA: %r" % c.capa())
    c.stls(tls_context())
    c.user("u0@example.com")
    equal(c.pass_(PASSWORD), b"+OK Logged in.", "PASS")
    c.quit()
    c = poplib.POP3_SSL("127.0.0.1", stack().ports["pop3s"], context=tls_context())
    c.user("u0@example.com")
    c.pass_(PASSWORD)
    equal(c.stat(), (0, 0), "STAT")
    c.quit()
    _, f = raw("pop3")
    until(f, b"+OK")
    say(f, b"AUTH PLAIN " + base64.b64encode(b"\0u1@example.com\0" + PASSWORD.encode()))
    equal(f.readline(), b"+OK Logged in.\r\n", "AUTH PLAIN")
    say(f, b"QUIT")
    until(f, b"+OK")
    logged(r"pop3-login: Login: user=<u0@example\.com>, method=PLAIN, ")


@case
def sasl_login_and_literals():
    _, f = raw("imap")
    until(f, b"* OK")
    say(f, b"a AUTHENTICATE LOGIN")
    until(f, b"+ ")
    say(f, base64.b64encode(b"u2@example.com"))
    until(f, b"+ ")
    say(f, base64.b64encode(PASSWORD.encode()))
    check(b" OK " in until(f, b"a "), "AUTHENTICATE LOGIN")
    _, f = raw("imap")
    until(f, b"* OK")
    f.write(b"a LOGIN {14+}\r\nu2@example.com {4+}\r\npass\r\nb NOOP\r\n")
    check(b" OK " in until(f, b"a "), "LOGIN with literals")
    check(b" OK " in until(f, b"b "), "what was sent behind LOGIN")


# ------------------------------------------------------------------------------------------ refusals

# What Debian 12's fail2ban has for Dovecot (filter.d/dovecot.conf), its names for parts put in.
FAIL2BAN = (r"(?:pop3|imap|managesieve|submission)-login: (?:Info: )?(?:Aborted login|Disconnected|Remote closed connection|"
            r"Client has quit the connection)(?::(?: [^ \(]+)+)? \((?:auth failed, \d+ attempts(?: in \d+ secs)?|tried to use "
            r"(?:disabled|disallowed) \S+ auth|proxy dest auth failed)\):(?: user=<[^>]*>,)?(?: method=\S+,)? "
            r"rip=127\.0\.0\.1(?:[^>]*(?:, session=<\S+>)?)\s*$")


@case
def wrong_password():
    _, f = raw("imap")
    until(f, b"* OK")
    say(f, b"a LOGIN u0@example.com wrong")
    equal(until(f, b"a "), b"a NO [AUTHENTICATIONFAILED] Authentication failed.\r\n", "IMAP")
    say(f, b"b LOGIN nobody@example.com wrong")
    equal(until(f, b"b "), b"b NO [AUTHENTICATIONFAILED] Authentication failed.\r\n", "IMAP, no such user")
    say(f, b"c LOGOUT")
    until(f, b"c OK")
    s, f = raw("pop3")
    until(f, b"+OK")
    f.write(b"USER u0@example.com\r\nPASS wrong\r\n")
    equal(until(f, b"-ERR"), b"-ERR [AUTH] Authentication failed.\r\n", "POP3")
    f.close()
    s.close()
    logged(r"imap-login: Disconnected: Aborted login by logging out \(auth failed, 2 attempts in \d+ secs\)")
    logged(r"pop3-login: Disconnected: Connection closed \(auth failed, 1 attempts in \d+ secs\)")
    found = [l for l in stack().log().splitlines() if re.search(FAIL2BAN, l)]
    check(len(found) >= 2, "fail2ban's filter matches: %r" % found)


@case
def starttls_takes_nothing_from_before():
    for name, start, reply in (("imap", b"a STARTTLS\r\nx LOGIN u0@example.com pass\r\n", b"a OK"), ("pop3", b"STLS\r\nUSER x\r\nPASS y\r\n", b"+OK B")):
        s, f = raw(name)
        until(f, b"* OK" if name == "imap" else b"+OK")
        f.write(start)
        until(f, reply)
        t = tls_context().wrap_socket(s)
        t.sendall(b"z NOOP\r\n" if name == "imap" else b"CAPA\r\n")
        answer = t.recv(1000)
        check(answer.startswith(b"z OK" if name == "imap" else b"+OK\r\nCAPA"), "after STARTTLS: %r" % answer)
        t.close()


@case
def many_bad_clients_leave_the_others_alone():
    bad = []
    for i in range(60):
        s = socket.create_connection(("127.0.0.1", stack().ports["imap" if i % 2 else "imaps"]), timeout=10)
        s.sendall(os.urandom(3000) if i % 3 else b"A" * 20000)
        bad.append(s)
    c = imaplib.IMAP4_SSL("127.0.0.1", stack().ports["imaps"], ssl_context=tls_context())
    c.login("u3@example.com", PASSWORD)
    c.logout()
    for s in bad:
        s.close()


# ------------------------------------------------------------------------------------------ relaying


@case
def much_goes_through_a_relayed_session():
    c = imaplib.IMAP4_SSL("127.0.0.1", stack().ports["imaps"], ssl_context=tls_context())
    c.login("u5@example.com", PASSWORD)
    message = b"Subject: large\r\n\r\n" + b"".join(b"%07d some words to fill the line with\r\n" % i for i in range(60000))
    equal(c.append("INBOX", None, None, message)[0], "OK", "APPEND of %d octets" % len(message))
    c.select()
    got = c.fetch("1", "(BODY.PEEK[])")[1][0][1]
    check(got == message, "the message came back changed: %d octets of %d" % (len(got), len(message)))
    c.logout()


@case
def a_worker_that_stands_still_or_dies():
    workers = stack().pids_of("imapd")
    equal(len(workers), 2, "imapd processes")
    sessions = []
    for user in ("u0@example.com", "u1@example.com", "u2@example.com"):
        c = imaplib.IMAP4_SSL("127.0.0.1", stack().ports["imaps"], ssl_context=tls_context())
        c.login(user, PASSWORD)
        sessions.append(c)
    for pid in workers:
        os.kill(pid, signal.SIGSTOP)
    try:
        s, f = raw("imap")
        until(f, b"* OK")
        began = time.monotonic()
        say(f, b"a LOGIN u0@example.com pass")
        line = until(f, b"a ")
        check(line.startswith(b"a NO [UNAVAILABLE]"), "nobody adopts: %r" % line)
        check(4.5 < time.monotonic() - began < 12, "after %g s" % (time.monotonic() - began))
    finally:
        for pid in workers:
            os.kill(pid, signal.SIGCONT)
    time.sleep(0.5)
    say(f, b"b NOOP")
    equal(f.readline(), b"b OK NOOP completed.\r\n", "the worker is too late and says nothing")
    say(f, b"c LOGIN u0@example.com pass")
    check(until(f, b"c ").startswith(b"c OK"), "the next try")
    for pid in workers:
        os.kill(pid, signal.SIGKILL)
    for c in sessions:
        try:
            c.noop()
            fail("a session outlived its worker")
        except (imaplib.IMAP4.abort, OSError):
            pass
    wait_for(lambda: len(stack().pids_of("imapd")) == 2, 10, "new imapd processes")
    c = imaplib.IMAP4("127.0.0.1", stack().ports["imap"])
    wait_for(lambda: try_login(c), 10, "login after the workers were killed")


def try_login(c):
    try:
        return c.login("u0@example.com", PASSWORD)[0] == "OK"
    except imaplib.IMAP4.error:
        return False


main()
