#!/usr/bin/env python3
# UNAUTHENTICATE (RFC 8437) through both daemons: plain, TLS, compressed; another user; what login does when it cannot.
# timeout: 120
import os
import pwd
import signal
import socket
import ssl
import sys
import time
import zlib

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from harness import *
from stack import Stack

USERS = ["u0@example.com", "u1@example.com"]
_stack = []


def stack():
    if not _stack:
        _stack.append(Stack(tmp("s"), users=USERS, extra_conf=["disable_plaintext_auth = no", "login_processes = 2",
                                                              "imapd_processes = 2"]).start())
        at_end(_stack[0].stop)
    return _stack[0]


class Client:
    def __init__(self, tls=False, ports=None):
        ports = ports or stack().ports
        self.s = socket.create_connection(("127.0.0.1", ports["imaps" if tls else "imap"]), timeout=20)
        if tls:
            context = ssl.create_default_context(cafile=stack().cert_file)
            self.s = context.wrap_socket(self.s, server_hostname="localhost")
        self.input, self.out, self.inn = b"", None, None
        check(self.line().startswith("* OK"), "greeting")

    def send(self, text, end=False):
        octets = text.encode()
        if self.out:
            octets = self.out.compress(octets) + self.out.flush(zlib.Z_FINISH if end else zlib.Z_SYNC_FLUSH)
        self.s.sendall(octets)

    def line(self):
        while b"\r\n" not in self.input:
            got = self.s.recv(65536)
            if not got:
                raise EOFError(self.input)
            self.input += self.inn.decompress(got) if self.inn else got
        line, _, self.input = self.input.partition(b"\r\n")
        return line.decode()

    def do(self, text, want="OK"):
        tag = text.split()[0]
        self.send(text + "\r\n")
        return self.until(tag, want)

    def until(self, tag, want="OK"):
        lines = [self.line()]
        while not lines[-1].startswith(tag + " "):
            lines.append(self.line())
        check(lines[-1].startswith("%s %s" % (tag, want)), "%s: %r" % (tag, lines))
        return lines

    def login(self, user):
        return self.do("L LOGIN %s pass" % user)

    def compress(self):
        self.do("Z COMPRESS DEFLATE")
        self.out, self.inn = zlib.compressobj(6, zlib.DEFLATED, -15), zlib.decompressobj(-15)


def another_user(c, box, secured):
    c.login(USERS[0])
    c.do("a CREATE %s" % box)
    c.do("b SELECT %s" % box)
    for i in range(3):
        r = c.do("c UNAUTHENTICATE")[-1]
        check("AUTH=PLAIN" in r and ("STARTTLS" in r) != secured and "LOGINDISABLED" not in r, r)
        c.do("d NOOP")
        c.do("e SELECT %s" % box, "BAD")
        user = USERS[(i + 1) % 2]
        c.login(user)
        equal(any(x.endswith(" " + box) for x in c.do('f LIST "" *')[:-1]), user == USERS[0], "whose mailboxes")
    # Who is who: a wrong password leaves nobody logged in.
    c.do("g UNAUTHENTICATE")
    c.do("h LOGIN %s wrong" % USERS[0], "NO [AUTHENTICATIONFAILED]")
    c.do("i SELECT INBOX", "BAD")
    c.do("j LOGOUT")


@case
def plain():
    another_user(Client(), "plain", False)


@case
def over_tls():
    another_user(Client(tls=True), "tls", True)


@case
def pipelined():
    for tls in (False, True):
        c = Client(tls)
        c.login(USERS[0])
        c.send("a NOOP\r\nb UNAUTHENTICATE\r\nc LOGIN %s pass\r\nd SELECT INBOX\r\ne UNAUTHENTICATE\r\nf NOOP\r\n" % USERS[1])
        for tag in "abcdef":
            c.until(tag)
        c.send("g CAPABILITY\r\n")
        check("LITERAL+" in c.line(), "capabilities")


@case
def compressed():
    for tls in (False, True):
        for ends in (True, False):
            c = Client(tls)
            c.login(USERS[0])
            c.compress()
            c.do("a SELECT INBOX")
            c.send("b UNAUTHENTICATE\r\n", end=ends)
            c.until("b")
            check(c.inn.eof, "the server's stream has ended")
            c.input, c.out, c.inn = c.inn.unused_data, None, None
            c.login(USERS[1])
            c.compress()  # and again
            c.do("d SELECT INBOX")
            c.do("e LOGOUT")


@case
def compressed_and_pipelined():
    c = Client()
    c.login(USERS[0])
    c.compress()
    raw = c.out.compress(b"a UNAUTHENTICATE\r\n") + c.out.flush(zlib.Z_FINISH)
    c.s.sendall(raw + b"b LOGIN %s pass\r\nc NOOP\r\n" % USERS[1].encode())
    c.until("a")
    c.input, c.out, c.inn = c.inn.unused_data + c.input, None, None
    c.until("b")
    c.until("c")


@case
def compressed_and_in_two_pieces():
    """The end of the client's stream may come later than the octets that the command is read from."""
    for cut in (1, 2):
        c = Client()
        c.login(USERS[0])
        c.compress()
        raw = c.out.compress(b"a UNAUTHENTICATE\r\n") + c.out.flush(zlib.Z_FINISH)
        probe = zlib.decompressobj(-15)
        probe.decompress(raw[:-cut])
        check(not probe.eof, "cut before the end")
        c.s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        c.s.sendall(raw[:-cut])
        time.sleep(0.3)
        c.s.sendall(raw[-cut:])
        c.until("a")
        c.input, c.out, c.inn = c.inn.unused_data + c.input, None, None
        c.login(USERS[1])


def first_octet(path):
    """Of what a listener says to who says nothing; empty: it closes; None: it waits."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as s:
        s.settimeout(1)
        s.connect(path)
        try:
            return s.recv(1)
        except socket.timeout:
            return None
        except ConnectionResetError:
            return b""


@case
def only_imapd_hands_back():
    """smtpd has login's user, strangers' octets, and a way to the socket. imapd, without store_user, is root."""
    if os.geteuid() != 0:
        skip("needs root")
    with Stack(tmp("users"), users=USERS, extra_conf=["disable_plaintext_auth = no", "front_user = daemon",
                                                      "store_user = nobody-of-this-name"]) as s:
        c = Client(ports=s.ports)
        c.login(USERS[0])
        c.do("a UNAUTHENTICATE")
        c.login(USERS[1])
        path = os.path.join(s.queue_dir, "private", "login")
        equal(first_octet(path), None, "root is heard")
        os.setegid(pwd.getpwnam("daemon").pw_gid)
        os.seteuid(pwd.getpwnam("daemon").pw_uid)
        try:
            first_octet(path)
            fail("front_user may connect")
        except PermissionError:
            pass
        finally:
            os.seteuid(0)
            os.setegid(0)


@case
def nothing_of_the_first_is_left():
    c = Client()
    c.do('a ID ("name" "x")')
    c.login(USERS[0])
    c.do("b ENABLE UTF8=ACCEPT QRESYNC")
    c.do("c UNAUTHENTICATE")
    c.login(USERS[0])
    equal(c.do("d ENABLE UTF8=ACCEPT QRESYNC")[0], "* ENABLED QRESYNC UTF8=ACCEPT", "enabled anew")


@case
def nobody_takes_the_session():
    c = Client()
    c.login(USERS[0])
    pids = stack().pids_of("login")
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        c.send("a UNAUTHENTICATE\r\nb LOGIN %s pass\r\n" % USERS[1])
        line = c.line()
        check(line.startswith("* BYE"), "the RFC knows no NO: %r" % line)
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
    try:  # and login, when it wakes, leaves it alone
        fail("not closed: %r" % c.line())
    except (EOFError, OSError):
        pass


@case
def a_connection_outlives_a_login_process():
    """Plain: the descriptor is all there is, so no login process of before is needed."""
    c = Client()
    c.login(USERS[0])
    old = set(stack().pids_of("login"))
    for pid in old:
        os.kill(pid, signal.SIGKILL)
    wait_for(lambda: len(set(stack().pids_of("login")) - old) == 2, 20, "new login processes")
    c.do("a UNAUTHENTICATE")
    c.login(USERS[1])
    c.do("b SELECT INBOX")


main()
