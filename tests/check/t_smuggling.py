#!/usr/bin/env python3
# Line ends that are none, and what they may not do: end a message (RFC 5321 §4.1.1.4), or leave this host.
# The expected bodies of "normalize" were recorded from Postfix 3.7.11, in DATA and in BDAT.
# timeout: 120
import os
import re
import socket
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from dnsd import Dnsd
from harness import *
from stack import Stack

USER = "u0@example.com"
TRUSTED, STRANGER = "127.0.0.8", "127.0.0.1"
# body sent, what DATA keeps of it, what BDAT keeps of it; both end their last line
BODIES = [
    (b"a\0b\r\nc", b"a\0b\r\nc\r\n", b"a\0b\r\nc\r\n"),
    (b"\0\r\n.\0\r\nx", b"\0\r\n\0\r\nx\r\n", b"\0\r\n.\0\r\nx\r\n"),
    (b"a\rb\r\n\r\r\nc\r", b"a b\r\n \r\nc \r\n", b"a b\r\n \r\nc \r\n"),
    (b"a\nb\n.\nc\r\n.\nd\n.\r\ne", b"a\r\nb\r\nc\r\nd\r\ne\r\n", b"a\r\nb\r\n.\r\nc\r\n.\r\nd\r\n.\r\ne\r\n"),
    (b"a\n\n.\r\n\r\nx", b"a\r\n\r\n\r\nx\r\n", b"a\r\n\r\n.\r\n\r\nx\r\n"),
    (b".\r\r\nx", b" \r\nx\r\n", b". \r\nx\r\n"),
    (b"..\r\n...\r\n.a", b".\r\n..\r\na\r\n", b"..\r\n...\r\n.a\r\n"),
    (b"a\r.\r\nb\r\n\r.\r\nc", b"a .\r\nb\r\n .\r\nc\r\n", b"a .\r\nb\r\n .\r\nc\r\n"),
    (b"a\r\n.\rb", b"a\r\n b\r\n", b"a\r\n. b\r\n"),
]
ENDS = [b"\n.\n", b"\n.\r\n", b"\r\n.\n", b"\r.\r", b"\r.\r\n", b"\r\n.\r", b"\n\r.\n\r", b"\r\n\0.\r\n", b"\r\n.\0\r\n"]
SECOND = b"MAIL FROM:<evil@remote.test>\r\nRCPT TO:<%s>\r\nDATA\r\nSubject: smuggled-%d\r\n\r\nx"


class Sink(threading.Thread):
    """Takes any message and keeps every octet that it is sent."""

    def __init__(self, host):
        super().__init__(daemon=True)
        self.listener = socket.create_server((host, 0))
        self.port, self.got = self.listener.getsockname()[1], b""
        self.start()

    def run(self):
        while True:
            conn = self.listener.accept()[0]
            threading.Thread(target=self.serve, args=(conn,), daemon=True).start()

    def serve(self, conn):
        conn.sendall(b"220 sink ESMTP\r\n")
        in_data, line = False, b""
        while True:
            some = conn.recv(65536)
            if not some:
                return
            self.got += some
            for octet in some:
                line += bytes([octet])
                if not line.endswith(b"\r\n"):
                    continue
                if in_data:
                    in_data = line != b".\r\n"
                    reply = None if in_data else b"250 2.0.0 taken\r\n"
                else:
                    in_data = line.upper().startswith(b"DATA")
                    reply = b"354 go\r\n" if in_data else b"221 bye\r\n" if line.upper().startswith(b"QUIT") else b"250 sink\r\n"
                if reply:
                    conn.sendall(reply)
                line = b""


def start_stack(name, *conf):
    s = Stack(tmp(name), users=[USER], extra_conf=["mynetworks = %s/32" % TRUSTED] + list(conf), resolver=_resolver())
    s.start()
    at_end(s.stop)
    return s


def _resolver(_made=[]):
    if not _made:
        _made.append(Dnsd({"remote.test": {"A": ["127.99.0.7"], "MX": [[10, "mx.remote.test"]]}, "mx.remote.test": {"A": ["127.99.0.7"]}}))
        _made[0].start()
        at_end(_made[0].stop)
    return "127.0.0.1:%d" % _made[0].port


class Client:
    def __init__(self, s, source=STRANGER):
        self.sock = socket.create_connection(("127.0.0.1", s.ports["smtp"]), timeout=20, source_address=(source, 0))
        self.file = self.sock.makefile("rb")
        self.reply()
        self.say(b"EHLO c.remote.test\r\n", b"250")

    def reply(self):
        while True:
            line = self.file.readline()
            if line[3:4] != b"-":
                return line

    def say(self, octets, *codes):
        self.sock.sendall(octets)
        for code in codes:
            got = self.reply()
            check(got.startswith(code), "%r: expected %r, got %r" % (octets[:60], code, got))
        return got

    def begin(self, to=USER):
        self.say(b"MAIL FROM:<s@remote.test>\r\nRCPT TO:<%s>\r\n" % to.encode(), b"250", b"250")

    def data(self, content, code=b"250", to=USER):
        self.begin(to)
        self.say(b"DATA\r\n", b"354")
        return self.say(content + b"\r\n.\r\n", code)

    def bdat(self, content, code=b"250", to=USER):
        self.begin(to)
        return self.say(b"BDAT %d LAST\r\n" % len(content) + content, code)

    def quit(self):
        self.say(b"QUIT\r\n", b"221")


def delivered(s, token, count=1):
    """The contents of the messages with this token, CRLF as on disk or LF: told apart by nothing but the store."""
    found = []

    def look():
        found.clear()
        for folder, _, names in os.walk(s.maildir(USER)):
            for n in names if os.path.basename(folder) in ("new", "cur") else ():
                with open(os.path.join(folder, n), "rb") as f:
                    data = f.read()
                if b"Subject: " + token + b"\r\n" in data or b"Subject: " + token + b"\n" in data:
                    found.append(data)
        return len(found) >= count

    wait_for(look, 20, "%d messages with %r" % (count, token))
    return found


def body_of(data):
    data = re.sub(rb"(?<!\r)\n", b"\r\n", data)
    return data[data.index(b"\r\n\r\n") + 4:]


@case
def what_is_kept():
    s = start_stack("keep")
    c = Client(s)
    for i, (sent, _, _) in enumerate(BODIES):
        c.data(b"Subject: data-%d\r\n\r\n" % i + sent)
        c.bdat(b"Subject: bdat-%d\r\n\r\n" % i + sent)
    for i, (sent, of_data, of_bdat) in enumerate(BODIES):
        equal(body_of(delivered(s, b"data-%d" % i)[0]), of_data, "DATA %r" % sent)
        equal(body_of(delivered(s, b"bdat-%d" % i)[0]), of_bdat, "BDAT %r" % sent)
    c.data(b"X: a\0b\r\nSubject: nul-in-header\r\n\r\nx")
    check(b"X: a\r\nSubject" in delivered(s, b"nul-in-header")[0].replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"), "the NUL stayed")

    # one message, whatever stands in it; the trusted client's LF.LF ends it, as smtpd_forbid_bare_newline_exclusions says
    for i, end in enumerate(ENDS):
        c.data(b"Subject: first-%d\r\n\r\na" % i + end + SECOND % (USER.encode(), i))
    for i, end in enumerate(ENDS):
        text = delivered(s, b"first-%d" % i)[0]
        check(b"smuggled-%d" % i in text, "after %r the text ended" % end)
    c.quit()
    t = Client(s, TRUSTED)
    t.begin()
    t.say(b"DATA\r\n", b"354")
    t.say(b"Subject: trusted\n\na\n.\n", b"250")
    equal(body_of(delivered(s, b"trusted")[0]), b"a\r\n", "a trusted client's LF.LF")
    t.quit()
    check(s.count_messages() == 2 * len(BODIES) + 1 + len(ENDS) + 1, "%d messages" % s.count_messages())
    check("notes=bare_lf" not in s.log(), "noted without being asked to")


@case
def reject_and_note():
    s = start_stack("reject", "smtpd_forbid_bare_newline = reject", "smtpd_forbid_bare_newline_reject_code = 554")
    c = Client(s)
    c.data(b"Subject: x\n\r\nbody", b"554 5.5.2 example.com Error: bare <LF> received")
    c.bdat(b"Subject: x\r\n\r\nbo\ndy\r\n", b"554 5.5.2 example.com Error: bare <LF> received")
    c.bdat(b"Subject: good\r\n\r\nbo\rdy\r\n")
    c.say(b"NOOP\n", b"554 5.5.2 example.com Error: bare <LF> received")
    equal(c.reply(), b"", "after a command with a bare LF")
    wait_for(lambda: s.log().count("bare <LF> received; ") >= 3, 10, "three log lines")
    t = Client(s, TRUSTED)
    t.say(b"NOOP\n", b"250")
    t.data(b"Subject: also\n\r\nbody")
    t.quit()
    with open(s.main_cf, "a") as f:
        f.write("smtpd_forbid_bare_newline = note\n")
    s.postern("reload")

    def is_new():
        n = Client(s)
        n.say(b"NOOP\n", b"")
        n.sock.close()
        return "notes=bare_lf" in s.log()
    wait_for(is_new, 15, "the note in a disconnect line")
    n = Client(s)
    n.data(b"Subject: noted\n\nb\n.\r\n")
    n.quit()
    wait_for(lambda: len(re.findall(r"disconnect from \S+ ehlo=1 mail=1 rcpt=1 data=1 quit=1 commands=5 notes=bare_lf", s.log())) == 1,
             10, "a disconnect line that tells of the message")
    m = Client(s)
    m.data(b"Subject: clean\r\n\r\nb")
    m.quit()
    wait_for(lambda: re.search(r"disconnect from \S+ ehlo=1 mail=1 rcpt=1 data=1 quit=1 commands=5\n", s.log()), 10, "and one that need not")


@case
def nothing_bare_leaves():
    sink = Sink("127.99.0.7")
    s = start_stack("out", "smtp_tcp_port = %d" % sink.port, "smtpd_forbid_bare_newline_exclusions =")
    c = Client(s, TRUSTED)
    for i, (sent, _, _) in enumerate(BODIES):
        c.data(b"Subject: out\r\nX-Odd: a\rb\r\n\r\n" + sent, to="ok%d@remote.test" % i)
        c.bdat(b"Subject: out\nX-Odd: a\rb\n\n" + sent + b"\n.\nMAIL FROM:<evil@remote.test>", to="ok%d@remote.test" % i)
    c.quit()
    wait_for(lambda: s.log().count("status=sent (250 2.0.0 taken)") == 2 * len(BODIES), 30, "all sent")
    check(b"X-Odd: a b\r\n" in sink.got, "the header that was to come")
    bare = re.search(rb".{0,40}(?:\r(?!\n)|(?<!\r)\n).{0,40}", sink.got, re.S)
    check(bare is None, "a bare CR or LF left: %r" % (bare and bare.group(0)))
    equal(len(re.findall(rb"\r\n\.\r\n", sink.got)), 2 * len(BODIES), "ends of data")
    equal(len(re.findall(rb"(?m)^MAIL FROM", sink.got)), 3 * len(BODIES), "what begins as MAIL, in commands and in text")


main()
