#!/usr/bin/env python3
# COMPRESS=DEFLATE (RFC 4978): plain and TLS, pipelined, garbage, bombs, a rest, large answers, and switched off.
# timeout: 120
import os
import socket
import ssl
import sys
import time
import zlib

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from harness import *
from stack import Stack

USER = "u0@example.com"
_stack = []


def stack():
    if not _stack:
        _stack.append(Stack(tmp("s"), users=[USER], extra_conf=["disable_plaintext_auth = no", "imapd_processes = 1"]).start())
        at_end(_stack[0].stop)
    return _stack[0]


class Client:
    def __init__(self, tls=False, st=None):
        st = st or stack()
        self.s = socket.create_connection(("127.0.0.1", st.ports["imaps" if tls else "imap"]), timeout=20)
        if tls:
            self.s = ssl.create_default_context(cafile=st.cert_file).wrap_socket(self.s, server_hostname="localhost")
        self.input, self.out, self.inn, self.wire = b"", None, None, 0
        self.line()
        self.do("L LOGIN %s pass" % USER)

    def begin(self):
        self.out, self.inn = zlib.compressobj(6, zlib.DEFLATED, -15), zlib.decompressobj(-15)

    def compress(self):
        self.do("Z COMPRESS DEFLATE")
        equal(self.input, b"", "nothing behind the reply")
        self.begin()
        return self

    def pack(self, octets):
        return self.out.compress(octets) + self.out.flush(zlib.Z_SYNC_FLUSH)

    def send(self, octets):
        self.s.sendall(self.pack(octets) if self.out else octets)

    def more(self):
        got = self.s.recv(65536)
        if not got:
            raise EOFError
        self.wire += len(got)
        self.input += self.inn.decompress(got) if self.inn else got

    def line(self):
        while b"\r\n" not in self.input:
            self.more()
        line, _, self.input = self.input.partition(b"\r\n")
        return line.decode()

    def until(self, tag, want="OK"):
        lines = [self.line()]
        while not lines[-1].startswith(tag + " "):
            lines.append(self.line())
        check(lines[-1].startswith("%s %s" % (tag, want)), "%s: %r" % (tag, lines[-3:]))
        return lines

    def do(self, text, want="OK"):
        self.send(text.encode() + b"\r\n")
        return self.until(text.split()[0], want)


@case
def both_ways():
    for tls in (False, True):
        c = Client(tls)
        check("COMPRESS=DEFLATE" in c.do("a CAPABILITY")[0], "announced")
        c.do("b COMPRESS LZ4", "NO")
        c.do("c COMPRESS", "BAD")
        c.compress()
        c.do("d COMPRESS DEFLATE", "NO [COMPRESSIONACTIVE]")
        c.do("e SELECT INBOX")
        for i in range(200):
            c.do("f%d NOOP" % i)
        c.do("g LOGOUT")


@case
def pipelined_behind_the_command():
    c = Client()
    c.begin()
    packed, inn, c.inn = c.pack(b"b NOOP\r\nc CAPABILITY\r\n"), c.inn, None
    c.s.sendall(b"a COMPRESS DEFLATE\r\n" + packed)
    while b"\r\n" not in c.input:
        c.more()
    line, _, rest = c.input.partition(b"\r\n")
    check(line.startswith(b"a OK"), line)
    c.inn = inn
    c.input = c.inn.decompress(rest)
    c.until("b")
    c.until("c")


@case
def one_octet_at_a_time():
    c = Client().compress()
    for octet in c.pack(b"a APPEND INBOX {3+}\r\nabc\r\nb NOOP\r\n"):
        c.s.sendall(bytes([octet]))
    c.until("a")
    c.until("b")


@case
def large_and_small():
    """A message of 3 MB that compresses well: what goes over the wire is little, and comes whole."""
    c = Client().compress()
    text = b"Subject: large\r\n\r\n" + b"all work and no play makes jack a dull boy\r\n" * 70000
    c.do("a CREATE large")
    c.send(b"b APPEND large {%d+}\r\n" % len(text) + text + b"\r\n")
    c.until("b")
    c.do("c SELECT large")
    c.wire = 0
    c.send(b"d FETCH 1 BODY.PEEK[]\r\n")
    check(c.line().endswith("{%d}" % len(text)), "the literal")
    while len(c.input) < len(text):
        c.more()
    check(c.input[:len(text)] == text, "the message")
    c.until("d")
    check(c.wire < len(text) // 20, "%d octets for %d" % (c.wire, len(text)))


@case
def garbage_ends_the_session():
    c = Client().compress()
    c.s.sendall(b"\x07 NOOP\r\n")
    try:
        c.line()
        fail("something was said")
    except (EOFError, ConnectionResetError):
        pass
    wait_for(lambda: "Disconnected: the compressed input is damaged" in stack().log(), 10, "log line")


@case
def clear_text_behind_the_command():
    c = Client()
    c.s.sendall(b"a COMPRESS DEFLATE\r\n\x07 NOOP\r\n")
    check(c.line().startswith("a OK"), "the reply comes")
    try:
        c.line()
        fail("something was said")
    except (EOFError, ConnectionResetError):
        pass


@case
def bombs():
    """64 MB of one octet: as a line it is too long, as blank lines it is too many bad commands, as a literal too large. The
    process stays small."""
    def memory():
        pid = stack().pids_of("imapd")[0]
        with open("/proc/%d/status" % pid) as f:
            return [int(x.split()[1]) for x in f if x.startswith("VmHWM")][0]

    before = memory()
    for head, octet, want in ((b"a NOOP ", b"x", "* BYE"), (b"", b"\r\n", "* BAD"), (b"b APPEND INBOX {67108864+}\r\n", b"x", "b OK")):
        c = Client().compress()
        try:
            c.send(head)
            for _ in range(64):
                c.send(octet * (1048576 // len(octet)))
            c.send(b"\r\n")
        except OSError:
            pass
        try:
            check(c.line().startswith(want), want)
        except ConnectionResetError:
            check(want != "b OK", "the message is lost")
    check(is_sanitized("imapd") or memory() - before < 24 * 1024, "%d KiB became %d" % (before, memory()))


@case
def a_rest_and_on():
    """After some seconds of silence the streams' memory is given back; both sides go on in the same streams."""
    c = Client().compress()
    c.do("a SELECT INBOX")
    time.sleep(2.6)
    for i in range(3):
        c.do("b%d FETCH 1:* (UID FLAGS)" % i)
    c.send(b"c IDLE\r\n")
    check(c.line().startswith("+ "), "idling")
    time.sleep(2.6)
    d = Client()
    d.do("a APPEND INBOX {2+}\r\nhi")
    check(c.line().endswith("EXISTS"), "news after the rest")
    c.send(b"DONE\r\n")
    c.until("c")


@case
def switched_off():
    st = Stack(tmp("off"), users=[USER], extra_conf=["disable_plaintext_auth = no", "imap_compress_deflate_level = 0"]).start()
    at_end(st.stop)
    c = Client(st=st)
    check("COMPRESS" not in c.do("a CAPABILITY")[0], "announced")
    c.do("b COMPRESS DEFLATE", "NO")
    c.do("c NOOP")


main()
