"""The hand-over from login to a worker (session/handoff.c) as a login that means harm would do it, and authd asked as login
and as imapd do.

    box = Handover(stack)
    cookie = box.cookie("u0@example.com", "pass")
    answer, client = box.offer("imapd-0", cookie=cookie)
"""
import array
import base64
import os
import socket
import struct
import time

from harness import Failed, check

MAGIC = 0x33464f48
FIELDS = ("cookie", "user", "tag", "input", "session", "client_id", "reply")
HEAD = "=IHHQQ7HHH6x"  # magic, is_tls, is_utf8, number, sent_ms, lengths, of the addresses
REFUSED = -1


def now_ms():
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000000


def packet(number=7, is_tls=0, sent_ms=None, magic=MAGIC, lens=None, remote=b"", local=b"", **fields):
    """An offer; `lens` lies about the fields' lengths."""
    values = [fields.get(n, b"a" if n == "tag" else b"s1" if n == "session" else b"") for n in FIELDS]
    return struct.pack(HEAD, magic, is_tls, 0, number, now_ms() if sent_ms is None else sent_ms,
                       *(lens or [len(v) for v in values]), len(remote), len(local)) + remote + local + b"".join(values)


def send(s, octets, fds=()):
    s.sendmsg([octets], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else [])


def answer(s, timeout_s=20):
    """The worker's: its process id, or REFUSED; None when it has hung up."""
    s.settimeout(timeout_s)
    try:
        got = s.recv(100)
    except ConnectionError:
        return None
    return struct.unpack("=IiQ", got)[1] if got else None


class Handover:
    def __init__(self, stack):
        self.stack = stack

    def path(self, name):
        return os.path.join(self.stack.queue_dir, "private", name)

    def connect(self, name):
        s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
        s.settimeout(20)
        s.connect(self.path(name))
        return s

    def auth(self):
        """A connection to authd as login has one, past the handshake."""
        s = socket.socket(socket.AF_UNIX)
        s.settimeout(20)
        s.connect(self.path("auth"))
        f = s.makefile("rwb", buffering=0)
        f.write(b"VERSION\t1\t1\nCPID\t%d\n" % os.getpid())
        while f.readline() not in (b"DONE\n", b""):
            pass
        return f

    def cookie(self, user, password="pass", service="imap", session="s1"):
        """Logs in at authd as login does."""
        f = self.auth()
        f.write(b"AUTH\t1\tPLAIN\tservice=%s\tsecured\tsession=%s\tresp=%s\n" %
                (service.encode(), session.encode(), base64.b64encode(b"\0%s\0%s" % (user.encode(), password.encode()))))
        line = f.readline()
        check(line.startswith(b"OK\t1"), "authd: %r" % line)
        for word in line.strip().split(b"\t"):
            if word.startswith(b"postern_cookie="):
                return word[15:]
        raise Failed("no cookie in %r" % line)

    def offer(self, worker, over=None, **what):
        """A session offered: what the worker answers, and the client's end of the descriptor it has got."""
        s = over or self.connect(worker)
        client, theirs = socket.socketpair()
        send(s, packet(**what), [theirs.fileno()])
        theirs.close()
        got = answer(s)
        if not over:
            s.close()
        client.settimeout(10)
        return got, client
