#!/usr/bin/env python3
# Log-in by those who mean harm: exchanges that are wrong, cancelled, cut short, too long, garbage, replayed, run into one another,
# without end or without number, at IMAP, POP3 and SMTP and at authd's own socket. Nobody comes in, nobody else is kept out.
# timeout: 300
import os
import re
import resource
import select
import socket
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from authdoor import PROTOCOLS, Door, Scram, b64, plain
from harness import *
from stack import Stack

USER, OTHER, PASSWORD = b"u0@example.com", b"u1@example.com", b"pass"
DAEMONS = ("authd", "login", "smtpd", "imapd", "pop3d")
_stack = []


def stack():
    if not _stack:
        s = Stack(tmp("s"), users=["u0@example.com", "u1@example.com"], extra_conf=[
            "auth_failure_delay = 0", "auth_mechanisms = plain login scram-sha-256", "smtpd_tls_auth_only = no",
            "login_processes = 1", "mail_max_userip_connections = 0", "smtpd_error_sleep_time = 0", "smtpd_hard_error_limit = 1000",
            "smtpd_sasl_security_options = noanonymous", "auth_verbose = yes"]).start()
        at_end(s.stop)
        _stack.append(s)
        for user in (USER, OTHER):  # who has logged in once has a verifier
            check(door("imap").logs_in(user, PASSWORD), "log-in")
        _stack.append({name: s.pids_of(name) for name in DAEMONS})
    return _stack[0]


def door(proto):
    return Door(proto, stack().ports[proto])


def all_is_well(what):
    """The right password opens every door, and no daemon has died."""
    for proto in PROTOCOLS:
        d = door(proto)
        check(d.logs_in(USER, PASSWORD), "%s: %s does not let the right one in" % (what, proto))
        d.close()
    equal({name: stack().pids_of(name) for name in DAEMONS}, _stack[1], what + ": processes")


def rss_kib(name):
    total = 0
    for pid in stack().pids_of(name):
        with open("/proc/%d/status" % pid) as f:
            total += int(re.search(r"VmRSS:\s+(\d+)", f.read()).group(1))
    return total


# ------------------------------------------------------------------------------------------ exchanges that are wrong

# name, mechanism, initial response or None, responses. None of them may get anybody in; the connection must go on, or end.
ROWS = [
    ("wrong password", "PLAIN", plain(USER, b"wrong"), []),
    ("wrong password, asked for", "PLAIN", None, [plain(USER, b"wrong")]),
    ("wrong password, LOGIN", "LOGIN", None, [b64(USER), b64(b"wrong")]),
    ("unknown user", "PLAIN", plain(b"nobody@example.com", PASSWORD), []),
    ("unknown domain", "PLAIN", plain(b"u0@example.org", PASSWORD), []),
    ("cancelled", "PLAIN", None, [b"*"]),
    ("cancelled LOGIN", "LOGIN", None, [b"*"]),
    ("cancelled LOGIN after the name", "LOGIN", None, [b64(USER), b"*"]),
    ("cancelled SCRAM", "SCRAM-SHA-256", None, [b"*"]),
    ("cancelled SCRAM after the first", "SCRAM-SHA-256", None, [b64(Scram(USER, PASSWORD).first), b"*"]),
    ("star as initial response", "PLAIN", b"*", []),
    ("nothing", "PLAIN", None, [b""]),
    ("nothing as initial response", "PLAIN", b"=", []),
    ("nothing to LOGIN", "LOGIN", None, [b""]),
    ("nothing to LOGIN twice", "LOGIN", None, [b64(USER), b""]),
    ("nothing to SCRAM", "SCRAM-SHA-256", None, [b""]),
    ("no base64", "PLAIN", None, [b"!!!!"]),
    ("no base64 at first", "PLAIN", b"!!!!", []),
    ("base64 cut short", "PLAIN", None, [plain(USER, PASSWORD)[:-1]]),
    ("base64 cut by two", "PLAIN", None, [plain(USER, PASSWORD)[:-2]]),
    ("base64 with padding inside", "PLAIN", None, [b"AHUw=AHBhc3M="]),
    ("base64 with much padding", "PLAIN", None, [plain(USER, PASSWORD) + b"===="]),
    ("padding alone", "PLAIN", None, [b"===="]),
    ("base64 with a blank", "PLAIN", None, [plain(USER, PASSWORD)[:8] + b" " + plain(USER, PASSWORD)[8:]]),
    ("base64 with a tab", "PLAIN", None, [plain(USER, PASSWORD)[:8] + b"\t" + plain(USER, PASSWORD)[8:]]),
    ("base64 with a NUL", "PLAIN", None, [plain(USER, PASSWORD)[:8] + b"\0" + plain(USER, PASSWORD)[8:]]),
    ("base64 and NUL behind", "PLAIN", None, [plain(USER, PASSWORD) + b"\0"]),
    ("octets above 127", "PLAIN", None, [b"\xff\xfe\x80" * 9]),
    ("base64 of the URL kind", "PLAIN", None, [b"-_" * 10]),
    ("a command for a response", "PLAIN", None, [b"b NOOP"]),
    ("no NUL", "PLAIN", b64(USER + PASSWORD), []),
    ("one NUL", "PLAIN", b64(b"\0" + USER), []),
    ("three NULs", "PLAIN", b64(b"\0" + USER + b"\0" + PASSWORD + b"\0"), []),
    ("NUL before the right password", "PLAIN", b64(b"\0" + USER + b"\0\0" + PASSWORD), []),
    ("NUL in the name", "PLAIN", b64(b"\0" + USER + b"\0x\0" + PASSWORD), []),
    ("NULs alone", "PLAIN", b64(b"\0" * 300), []),
    ("NUL in LOGIN's name", "LOGIN", None, [b64(USER + b"\0"), b64(PASSWORD)]),
    ("NUL in LOGIN's password", "LOGIN", None, [b64(USER), b64(PASSWORD + b"\0")]),
    ("empty name", "PLAIN", plain(b"", PASSWORD), []),
    ("empty password", "PLAIN", plain(USER, b""), []),
    ("empty both", "PLAIN", plain(b"", b""), []),
    ("as another", "PLAIN", plain(USER, PASSWORD, authzid=OTHER), []),
    ("as root", "PLAIN", plain(USER, PASSWORD, authzid=b"root"), []),
    ("as NULs", "PLAIN", b64(OTHER + b"\0" + USER + b"\0" + PASSWORD + b"\0" + PASSWORD), []),
    ("name of 255 octets", "PLAIN", plain(b"n" * 243 + b"@example.com", PASSWORD), []),
    ("name of 256 octets", "PLAIN", plain(b"n" * 244 + b"@example.com", PASSWORD), []),
    ("name of 1000 octets", "PLAIN", plain(b"n" * 988 + b"@example.com", PASSWORD), []),
    ("name of 5000 octets", "PLAIN", plain(b"n" * 4988 + b"@example.com", PASSWORD), []),
    ("name of 5000 octets, LOGIN", "LOGIN", None, [b64(b"n" * 5000), b64(PASSWORD)]),
    ("authorization of 5000 octets", "PLAIN", plain(USER, PASSWORD, authzid=b"z" * 5000), []),
    ("password of 5000 octets", "PLAIN", plain(USER, b"p" * 5000), []),
    ("name that is no UTF-8", "PLAIN", plain(b"u0\xff@example.com", PASSWORD), []),
    ("name with a tab", "PLAIN", plain(b"x\tuser=u0@example.com", PASSWORD), []),
    ("name with a line end", "PLAIN", plain(b"x\nOK\t1\tuser=u0@example.com", PASSWORD), []),
    ("name with \\001", "PLAIN", plain(b"x\x01tuser=u0", PASSWORD), []),
    ("name that is SQL", "PLAIN", plain(b"' OR '1'='1", b"' OR '1'='1"), []),
    ("name that is SQL of a comment", "PLAIN", plain(USER + b"' --", PASSWORD), []),
    ("name with a percent", "PLAIN", plain(b"%s%n%u%d@example.com", PASSWORD), []),
    ("name with dots", "PLAIN", plain(b"../../../etc/passwd@example.com", PASSWORD), []),
    ("name with two @", "PLAIN", plain(b"u0@example.com@example.com", PASSWORD), []),
    ("name with a blank", "PLAIN", plain(USER + b" ", PASSWORD), []),
    ("password and a blank", "PLAIN", plain(USER, PASSWORD + b" "), []),
    ("password and a line end", "PLAIN", plain(USER, PASSWORD + b"\n"), []),
    ("no mechanism", "NO-SUCH", None, [b""]),
    ("the name of none", "PLAINX", plain(USER, PASSWORD), []),
    ("ANONYMOUS", "ANONYMOUS", b64(b"guest"), []),
    ("EXTERNAL without a certificate", "EXTERNAL", b64(USER), []),
    ("a very long mechanism", "X" * 500, None, [b""]),
    ("SCRAM: garbage first", "SCRAM-SHA-256", None, [b64(b"garbage")]),
    ("SCRAM: no name", "SCRAM-SHA-256", None, [b64(b"n,,r=abcdefgh")]),
    ("SCRAM: empty name", "SCRAM-SHA-256", None, [b64(b"n,,n=,r=abcdefgh")]),
    ("SCRAM: empty nonce", "SCRAM-SHA-256", None, [b64(b"n,,n=u0@example.com,r=")]),
    ("SCRAM: binding asked", "SCRAM-SHA-256", None, [b64(b"p=tls-unique,,n=u0@example.com,r=abcdefgh")]),
    ("SCRAM: an extension we must know", "SCRAM-SHA-256", None, [b64(b"n,,m=x,n=u0@example.com,r=abcdefgh")]),
    ("SCRAM: bad escape", "SCRAM-SHA-256", None, [b64(b"n,,n=u0=40example.com,r=abcdefgh")]),
    ("SCRAM: NUL in the name", "SCRAM-SHA-256", None, [b64(b"n,,n=u0@example.com\0,r=abcdefgh")]),
    ("SCRAM: as another", "SCRAM-SHA-256", None, [b64(b"n,a=" + OTHER + b",n=u0@example.com,r=abcdefgh"), b64(b"c=biw=,r=x,p=eA==")]),
    ("SCRAM: name of 5000 octets", "SCRAM-SHA-256", None, [b64(Scram(b"n" * 5000, PASSWORD).first), b64(b"c=biws,r=x,p=eA==")]),
    ("SCRAM: nonce of 5000 octets", "SCRAM-SHA-256", None, [b64(Scram(USER, PASSWORD, nonce=b"n" * 5000).first), b64(b"c=biws,r=x,p=eA==")]),
    ("SCRAM: the last at first", "SCRAM-SHA-256", None, [b64(b"c=biws,r=abcdefgh,p=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=")]),
    ("SCRAM: first twice", "SCRAM-SHA-256", None, [b64(Scram(USER, PASSWORD).first)] * 2),
    ("SCRAM: garbage last", "SCRAM-SHA-256", None, [b64(Scram(USER, PASSWORD).first), b64(b"garbage")]),
    ("SCRAM: nothing last", "SCRAM-SHA-256", None, [b64(Scram(USER, PASSWORD).first), b""]),
]


def refused(got, what):
    check(got[0] in ("no", "bad", "gone"), "%s: %r" % (what, got))
    check(b"\n" not in got[1].rstrip(b"\r\n") and len(got[1]) < 600, "%s: the answer is %r" % (what, got[1]))


@case
def wrong_exchanges():
    for proto in PROTOCOLS:
        d = door(proto)
        for name, mech, initial, responses in ROWS:
            what = "%s, %s" % (proto, name)
            got = d.steps(mech, *responses, initial=initial)
            refused(got, what)
            if got[0] == "gone":
                d = door(proto)
        check(d.logs_in(USER, PASSWORD), "%s: the right one after all the wrong ones" % proto)
        d.close()
    all_is_well("after wrong exchanges")
    text = stack().log()
    check("pass\\0" not in text and b64(PASSWORD).decode() not in text, "a password is in the log")
    longest = max(text.splitlines(), key=len)
    check(len(longest) < 1200, "a line of %d octets in the log: %s" % (len(longest), longest[:300]))
    equal([l for l in text.splitlines() if re.search(r"user=<[^>]*[\t\n\x01]|^OK\t", l)], [], "lines that a name has made")


@case
def scram_wrong_and_replayed():
    for proto in PROTOCOLS:
        def exchange(scram, say=lambda s, first: s.final(first), d=None):
            d = d or door(proto)
            d.auth("SCRAM-SHA-256", b64(scram.first))
            kind, first = d.answer()
            equal(kind, "go", "%s: server-first" % proto)
            last = say(scram, first)
            d.say(b64(last))
            got = d.answer()
            if got[0] == "go":  # server-final as a challenge, which is answered by nothing
                check(hasattr(scram, "server_final"), "%s: it went on with %r" % (proto, got))
                equal(got[1], scram.server_final, "%s: the server's signature" % proto)
                d.say(b"")
                got = d.answer()
            return got, last, first, d

        good = Scram(USER, PASSWORD)
        got, last, first, d = exchange(good)
        equal(got[0], "ok", "%s: SCRAM with the right password: %r" % (proto, got))
        d.close()
        bad = [("wrong password", Scram(USER, b"wrong"), None),
               ("unknown user", Scram(b"nobody@example.com", PASSWORD), None),
               ("proof of zeros", Scram(USER, PASSWORD), lambda s, f: s.final(f, proof=b64(b"\0" * 32))),
               ("proof that is short", Scram(USER, PASSWORD), lambda s, f: s.final(f, proof=b64(b"\0" * 31))),
               ("proof that is long", Scram(USER, PASSWORD), lambda s, f: s.final(f, proof=b64(b"\0" * 3000))),
               ("no proof", Scram(USER, PASSWORD), lambda s, f: s.final(f).partition(b",p=")[0]),
               ("another nonce", Scram(USER, PASSWORD), lambda s, f: s.final(f, nonce=s.nonce)),
               ("a nonce cut short", Scram(USER, PASSWORD), lambda s, f: s.final(f, nonce=f.split(b",")[0][2:-1])),
               ("another binding", Scram(USER, PASSWORD), lambda s, f: s.final(f, binding=b64(b"y,,"))),
               ("an extension", Scram(USER, PASSWORD), lambda s, f: s.final(f).replace(b",p=", b",x=y,p=")),
               ("an old last message", Scram(USER, PASSWORD, nonce=good.nonce), lambda s, f: last),
               ("NUL behind", Scram(USER, PASSWORD), lambda s, f: s.final(f) + b"\0")]
        for name, scram, say in bad:
            what = "%s, %s" % (proto, name)
            args = (scram, say) if say else (scram,)
            got, _, f, d = exchange(*args)
            refused(got, what)
            check(d.logs_in(USER, PASSWORD), what + ": the connection goes on")
            d.close()
        # nonces are new, unknown users have salts that stay
        one, two = (exchange(Scram(b"nobody@example.com", b"x"))[2] for _ in range(2))
        equal(*(re.search(rb",s=([^,]*),i=\d+", f).group(1) for f in (one, two)), "%s: salt of nobody" % proto)
        check(one.split(b",")[0] != two.split(b",")[0], "%s: nonces" % proto)
        equal(re.search(rb"i=(\d+)", one).group(1), re.search(rb"i=(\d+)", first).group(1), "%s: iterations of nobody" % proto)


@case
def lines_that_are_too_long():
    for proto in PROTOCOLS:
        for name, octets in (("a command", b"x" * 200000), ("a command and its end", b"x" * 200000 + b"\r\n"),
                             ("an initial response", Door.command(door(proto), "PLAIN", b"A" * 200000) + b"\r\n"),
                             ("NULs", b"\0" * 200000), ("line ends", b"\r" * 200000)):
            d = door(proto)
            d.send(octets)
            d.send(b"\r\n")
            refused(d.answer(), "%s, %s" % (proto, name))
            d.close()
        for name, octets in (("a response", b"A" * 200000 + b"\r\n"), ("a response without end", b"A" * 4000000),
                             ("NULs for a response", b"\0" * 200000 + b"\r\n"), ("padding", b"=" * 200000 + b"\r\n")):
            d = door(proto)
            d.auth("PLAIN")
            equal(d.answer()[0], "go", proto)
            d.send(octets)
            if not octets.endswith(b"\n"):
                d.send(b"\r\n")
            refused(d.answer(), "%s, %s" % (proto, name))
            d.close()
    d = door("imap")
    d.send(b"a LOGIN {4294967295}\r\n")
    refused(d.answer(), "a literal for a name")
    d = door("imap")
    d.send(b"a LOGIN {1000000+}\r\n" + b"x" * 1000000 + b" y\r\n")
    refused(d.answer(), "a long literal for a name")
    all_is_well("after long lines")
    for name in DAEMONS:
        if not is_sanitized(name):
            check(rss_kib(name) < 120000, "%s has %d KiB" % (name, rss_kib(name)))


@case
def commands_run_into_the_exchange():
    right, wrong = plain(USER, PASSWORD), plain(USER, b"wrong")
    d = door("imap")
    d.send(b"a AUTHENTICATE PLAIN\r\n" + right + b"\r\nb NOOP\r\nc LOGOUT\r\n")
    lines = [l for l in d.f.read().split(b"\r\n") if l[:2] in (b"a ", b"b ", b"c ")]
    equal([l[:4] for l in lines], [b"a OK", b"b OK", b"c OK"], "IMAP, all at once: %r" % lines)
    d = door("imap")
    d.send(b"a AUTHENTICATE PLAIN\r\n" + wrong + b"\r\nb AUTHENTICATE LOGIN\r\n*\r\nc NOOP\r\nd AUTHENTICATE PLAIN " + right +
           b"\r\ne AUTHENTICATE PLAIN\r\nf LOGOUT\r\n")
    lines = [l[:4] for l in d.f.read().split(b"\r\n") if l[1:2] == b" " and l[:1] in b"abcdef"]
    check(lines[:1] == [b"a NO"] and lines[1] in (b"b NO", b"b BA") and lines[2:] == [b"c OK", b"d OK", b"e BA", b"f OK"],
          "IMAP, wrong, cancelled and right at once: %r" % lines)
    d = door("pop3")
    d.send(b"AUTH PLAIN\r\n" + wrong + b"\r\nAUTH PLAIN\r\n*\r\nAUTH PLAIN " + right + b"\r\nNOOP\r\nAUTH PLAIN " + right + b"\r\nQUIT\r\n")
    lines = [l[:4].rstrip() for l in d.f.read().split(b"\r\n")]
    equal(lines, [b"+", b"-ERR", b"+", b"-ERR", b"+OK", b"+OK", b"-ERR", b"+OK", b""], "POP3, all at once")
    d = door("smtp")
    d.send(b"AUTH PLAIN\r\n" + wrong + b"\r\nAUTH LOGIN\r\n*\r\nAUTH PLAIN " + right + b"\r\nAUTH PLAIN " + right + b"\r\nNOOP\r\nQUIT\r\n")
    lines = [l[:4].rstrip() for l in d.f.read().split(b"\r\n")]
    # what comes behind NOOP is against RFC 2920, and the end
    equal(lines, [b"334", b"535", b"334", b"501", b"235", b"503", b"554", b""], "SMTP, all at once")
    d = door("smtp")  # not within a transaction
    d.send(b"MAIL FROM:<u0@example.com>\r\n")
    d.reply()
    d.auth("PLAIN", right)
    equal(d.answer()[0], "bad", "AUTH within a transaction")
    d.close()
    all_is_well("after commands at once")


@case
def thousands_in_one_connection():
    began = time.monotonic()
    for proto in PROTOCOLS:
        for name, octets in (("begun and cancelled", Door.command(door(proto), "PLAIN") + b"\r\n*\r\n"),
                             ("no mechanism", Door.command(door(proto), "NO-SUCH") + b"\r\n"),
                             ("garbage", Door.command(door(proto), "PLAIN", b"!") + b"\r\n")):
            d = door(proto)
            answers = 0
            d.s.setblocking(False)
            todo = octets * 3000
            while True:
                r, w, _ = select.select([d.s], [d.s] if todo else [], [], 3)
                if not r and not w:
                    break
                try:
                    if r:
                        got = d.s.recv(65536)
                        if not got:
                            break
                        answers += got.count(b"\n")
                    if w:
                        todo = todo[d.s.send(todo[:16384]):]
                except ConnectionError:
                    break
            d.s.close()
            check(0 < answers, "%s, %s: no answer" % (proto, name))
    all_is_well("after thousands of AUTH (%.1f s)" % (time.monotonic() - began))


@case
def closed_at_each_octet():
    for proto in PROTOCOLS:
        scram = b64(Scram(USER, PASSWORD).first)
        head = b"EHLO x\r\n" if proto == "smtp" else b""
        for k in (Door.command(door(proto), "PLAIN", plain(USER, PASSWORD)) + b"\r\n",
                  Door.command(door(proto), "LOGIN") + b"\r\n" + b64(USER) + b"\r\n" + b64(PASSWORD) + b"\r\n",
                  Door.command(door(proto), "SCRAM-SHA-256") + b"\r\n" + scram + b"\r\nYmxh\r\n"):
            for n in range(1, len(k) + 1):
                d = Door(proto, stack().ports[proto], greeted=False)
                d.send(head + k[:n])
                d.close() if n % 2 else d.reset()
    wait_for(lambda: nobody_left(), 30, "the daemons' ends of the connections closed")
    all_is_well("after connections closed at each octet")


def nobody_left():
    """No connection of ours to the doors is held by a daemon."""
    ports = {stack().ports[p] for p in PROTOCOLS}
    with open("/proc/net/tcp") as f:
        rows = [l.split() for l in f.readlines()[1:]]
    return not [r for r in rows if int(r[1].split(":")[1], 16) in ports and r[3] in ("01", "08")]  # ESTABLISHED, CLOSE_WAIT


@case
def unfinished_and_held_open():
    """More than the gate keeps: the oldest go, a new one comes in."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    most = min(2500, hard - 200)
    held = []
    for i in range(most):
        s = socket.create_connection(("127.0.0.1", stack().ports["imap" if i % 2 else "pop3"]), timeout=20)
        s.sendall(b"a AUTHENTICATE LOGIN\r\n" if i % 2 else b"AUTH LOGIN\r\n")
        held.append(s)
    all_is_well("with %d unfinished exchanges" % most)
    gone = 0
    for s in held:
        s.setblocking(False)
        try:
            while s.recv(4096):
                pass
            gone += 1
        except BlockingIOError:
            pass
        except ConnectionError:
            gone += 1
        s.close()
    check(gone >= most - 1100, "only %d of %d were given up: what bounds them?" % (gone, most))
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


# ------------------------------------------------------------------------------------------ authd's socket


class Peer:
    def __init__(self, hello=b"VERSION\t1\t2\nCPID\t%d\n" % os.getpid()):
        self.s = socket.socket(socket.AF_UNIX)
        self.s.connect(os.path.join(stack().queue_dir, "private", "auth"))
        self.s.settimeout(20)
        self.f = self.s.makefile("rb")
        self.send(hello)
        while self.f.readline() not in (b"DONE\n", b""):
            pass

    def send(self, octets):
        try:
            self.s.sendall(octets)
        except ConnectionError:
            pass

    def line(self):
        try:
            return self.f.readline()
        except ConnectionError:
            return b""

    def close(self):
        self.f.close()
        self.s.close()


def works(peer, number=4000000000):
    peer.send(b"AUTH\t%d\tPLAIN\tservice=imap\tsecured\tresp=%s\n" % (number, plain(USER, PASSWORD)))
    while True:
        line = peer.line()
        if not line or line.startswith(b"FAIL\t%d\t" % number):
            return False
        if line.startswith(b"OK\t%d\t" % number):
            return True


HELLO = b"VERSION\t1\t2\nCPID\t1\n"
NONSENSE = [b"", b"\n", b"\n" * 5000, b"\0\n", b"\t\n", b"GET / HTTP/1.0\r\n\r\n", b"VERSION\t2\t0\n", b"VERSION\n", b"VERSION\t1\n",
            b"CPID\t1\n", b"AUTH\n", b"AUTH\t1\n", b"AUTH\t1\tPLAIN\n", HELLO + b"AUTH\n", HELLO + b"AUTH\tx\tPLAIN\n",
            HELLO + b"AUTH\t4294967296\tPLAIN\n", HELLO + b"AUTH\t-1\tPLAIN\n", HELLO + b"AUTH\t1\t\n", HELLO + b"AUTH\t1\tPLAIN\t\t\t\n",
            HELLO + b"AUTH\t1\tPLAIN\nAUTH\t1\tPLAIN\n", HELLO + b"AUTH\t1\tPLAIN\nCONT\t1\n", HELLO + b"CONT\t7\teA==\n", HELLO + b"CONT\n",
            HELLO + b"CANCEL\t7\n", HELLO + b"CANCEL\n", HELLO + b"CANCEL\tx\n", HELLO + b"AUTH\t1\tPLAIN\tresp\n",
            HELLO + b"AUTH\t1\tPLAIN\tresp=\n", HELLO + b"AUTH\t1\tPLAIN\tresp=!\n", HELLO + b"AUTH\t1\tPLAIN\tservice=" + b"x" * 5000 + b"\tresp=\n",
            HELLO + b"AUTH\t1\tPLAIN\trip=nonsense\tlip=\trport=99999999\tsession=" + b"s" * 5000 + b"\tresp=AHUAcA==\n",
            HELLO + b"AUTH\t1\tPLAIN\tcert_username=\x01\x01\x010\x01x\tvalid-client-cert\tresp=AHUAcA==\n",
            HELLO + b"AUTH\t1\tPLAIN\tresp=" + b"A" * 100000 + b"\n", HELLO + b"A" * 1000000, HELLO + b"AUTH\t1\t" + b"P" * 20000 + b"\n",
            HELLO + b"AUTH\t1\tSCRAM-SHA-256\tresp=\nCONT\t1\t\nCONT\t1\t\n", HELLO + HELLO, HELLO + b"MECH\tPLAIN\n",
            HELLO + b"OK\t1\tuser=x\n", HELLO + b"REQUEST\t1\t1\t1\tx\n", HELLO + bytes(range(256)) * 40 + b"\n"]


@case
def nonsense_at_authd():
    for octets in NONSENSE:
        p = Peer(octets + b"\n")
        p.s.shutdown(socket.SHUT_WR)
        seen = b""
        while True:
            line = p.line()
            if not line:
                break
            seen += line
        check(b"\nOK\t" not in seen and not seen.startswith(b"OK\t"), "%r: %r" % (octets[:60], seen))
        p.close()
    whole = HELLO + b"AUTH\t1\tLOGIN\tservice=imap\tsecured\tsession=s\tresp=" + b64(USER) + b"\nCONT\t1\t" + b64(PASSWORD) + b"\n"
    for n in range(len(whole)):
        p = Peer(whole[:n] if b"DONE" in whole[:n] else HELLO)
        p.send(whole[len(HELLO):max(n, len(HELLO))])
        p.close()
    p = Peer()
    check(works(p), "a right one after the nonsense")
    p.close()
    all_is_well("after nonsense at authd")


@case
def unfinished_at_authd():
    most = 20000
    before = rss_kib("authd")
    for _ in range(2):
        p = Peer()
        for i in range(0, most, 500):
            p.send(b"".join(b"AUTH\t%d\tLOGIN\tservice=imap\tsession=abc\tresp=%s\n" % (k, b64(b"n" * 100)) for k in range(i + 1, i + 501)))
            lines = [p.line() for _ in range(500)]
            check(all(l.startswith((b"CONT\t", b"FAIL\t")) for l in lines), "answers %r" % lines[:3])
        check(lines[-1].startswith(b"FAIL\t") and b"temp" in lines[-1], "nothing bounds them: %r" % lines[-1])
        other = Peer()
        check(works(other), "another peer with %d unfinished exchanges of one" % most)
        other.close()
        all_is_well("with %d unfinished exchanges at authd" % most)
        if not is_sanitized("authd"):
            check(rss_kib("authd") - before < 60000, "authd took %d KiB more" % (rss_kib("authd") - before))
        p.close()
    p = Peer()
    check(works(p), "after that")
    for i in range(3000):  # begun and cancelled leaves nothing behind
        p.send(b"AUTH\t%d\tLOGIN\tservice=imap\nCANCEL\t%d\n" % (i + 1, i + 1))
    while not p.line().startswith(b"CONT\t3000\t"):
        pass
    check(works(p), "after cancelled ones")
    p.close()


main()
