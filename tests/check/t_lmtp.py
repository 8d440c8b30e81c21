#!/usr/bin/env python3
# lmtpd spoken to directly on private/dovecot-lmtp: RFC 2033, chunks, XFORWARD, repeated deliveries.
import os
import socket
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from harness import *
from stack import Stack

_stack = []


def stack():
    if not _stack:
        s = Stack(tmp("s"), users=["u0@example.com", "u1@example.com", "u1-x@example.com"], extra_conf=["recipient_delimiter = +-"])
        s.start()
        at_end(s.stop)
        _stack.append(s)
    return _stack[0]


class Lmtp:
    def __init__(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(20)
        self.sock.connect(os.path.join(stack().queue_dir, "private", "dovecot-lmtp"))
        self.file = self.sock.makefile("rb")
        self.expect("220 ")
        self.send("LHLO client.test")
        self.words = self.expect("250 ")

    def send(self, *lines):
        self.sock.sendall("".join(l + "\r\n" for l in lines).encode())

    def reply(self):
        lines = []
        while True:
            line = self.file.readline().decode()
            check(line, "the connection was closed")
            lines.append(line.rstrip("\r\n"))
            if line[3:4] != "-":
                return lines

    def expect(self, *starts):
        for start in starts:
            got = self.reply()
            check(got[-1].startswith(start), "expected %r, got %r" % (start, got[-1]))
        return got

    def say(self, line, *starts):
        self.send(line)
        return self.expect(*starts)


def files(address):
    folder = os.path.join(stack().maildir(address), "new")
    return [os.path.join(folder, f) for f in os.listdir(folder)] if os.path.isdir(folder) else []


def holding(address, text):
    found = []
    for path in files(address):
        with open(path, "rb") as f:
            data = f.read()
        if text.encode() in data:
            found.append(data)
    return found


@case
def extensions():
    c = Lmtp()
    c.say("MAIL FROM:<s@remote.test>", "250 ")
    for rcpt in ("u1-x@example.com", "U0-x@example.com", "u0+a+b@example.com", "u1-x+y@example.com"):
        c.say("RCPT TO:<%s>" % rcpt, "250 2.1.5")
    c.say("RCPT TO:<u9-x@example.com>", "550 5.1.1 <u9-x@example.com> User doesn't exist: u9@example.com")
    c.say("DATA", "354 ")
    c.send("Subject: extended", "", "x", ".")
    c.expect(*["250 "] * 4)
    equal([len(files(u)) for u in ("u0@example.com", "u1@example.com", "u1-x@example.com")], [2, 1, 1],
          "whose mailboxes: a user of just this name goes before the one it is an extension of")


@case
def a_reply_for_each_recipient():
    c = Lmtp()
    for word in ("250-PIPELINING", "250-CHUNKING", "250 XFORWARD IDENT REPEAT"):
        check(word in c.words, "LHLO says %r" % c.words)
    c.send("MAIL FROM:<s@remote.test>", "RCPT TO:<u0@example.com>", "RCPT TO:<nobody@example.com>", "RCPT TO:<U1+x@Example.COM>",
           "DATA")
    c.expect("250 2.1.0", "250 2.1.5", "550 5.1.1 <nobody@example.com> User doesn't exist: nobody@example.com", "250 2.1.5", "354")
    c.send("Subject: each", "", "..dot", "each-token", ".", "QUIT")
    c.expect("250 2.0.0 <u0@example.com> ", "250 2.0.0 <U1+x@Example.COM> ", "221 2.0.0")
    for user in ("u0@example.com", "u1@example.com"):
        copies = holding(user, "each-token")
        equal(len(copies), 1, "copies of " + user)
        text = copies[0].replace(b"\r\n", b"\n").decode()
        check(text.startswith("Return-Path: <s@remote.test>\nDelivered-To: %s\nReceived: from client.test\n" % user), text[:200])
        check(text.endswith("\n\n.dot\neach-token\n"), text)


@case
def order_and_syntax():
    c = Lmtp()
    c.say("EHLO x", "500 5.5.1")
    c.say("RCPT TO:<u0@example.com>", "503 5.5.1")
    c.say("DATA", "503 5.5.1")
    c.say("MAIL FROM:<s@remote.test", "501 5.5.4")
    c.say("MAIL FROM:<s@remote.test> FOO=1", "555 5.5.4")
    c.say("MAIL FROM:<>", "250")
    c.say("MAIL FROM:<>", "503 5.5.1")
    c.say("DATA", "554 5.5.1")
    c.sock.sendall(b"BDAT 3 LAST\r\nabc")
    c.expect("554 5.5.1")
    c.say("RCPT TO:<>", "501 5.5.4")
    c.say("WHAT", "500 5.5.1")
    c.say("RSET", "250")
    c.say("VRFY u0", "252")
    c.say("NOOP", "250")


@case
def chunks():
    c = Lmtp()
    c.say("MAIL FROM:<s@remote.test>", "250")
    c.say("RCPT TO:<u0@example.com>", "250")
    one, two = "Subject: chunk\r\n\r\n.\r\nchunk-tok", "en\r\n.\r\n"
    c.send("BDAT %d" % len(one))
    c.sock.sendall(one.encode() + b"BDAT %d LAST\r\n" % len(two) + two.encode())
    c.expect("250 2.0.0", "250 2.0.0 <u0@example.com> ")
    copies = holding("u0@example.com", "chunk-token")
    equal(len(copies), 1, "copies")
    check(copies[0].replace(b"\r\n", b"\n").endswith(b"\n\n.\nchunk-token\n.\n"), "%r" % copies[0])


def deliver(c, xforward, token, reply="250 2.0.0 <u0@example.com> "):
    if xforward:
        c.say("XFORWARD " + xforward, "250")
    c.say("MAIL FROM:<s@remote.test>", "250")
    c.say("RCPT TO:<u0@example.com>", "250")
    c.say("DATA", "354")
    c.send("Subject: x", "", token, ".")
    c.expect(reply)


@case
def a_repeated_delivery_is_one_copy():
    c = Lmtp()
    deliver(c, "IDENT=4abc.0", "repeat-token")
    deliver(c, "IDENT=4abc.0 REPEAT=1", "repeat-token")
    equal(len(holding("u0@example.com", "repeat-token")), 1, "copies after a repeat")
    deliver(c, "IDENT=4abc.1", "repeat-token")
    deliver(c, None, "repeat-token")
    equal(len(holding("u0@example.com", "repeat-token")), 3, "copies")


@case
def a_name_from_outside_stays_in_its_folder():
    c = Lmtp()
    deliver(c, "IDENT=../../../../x+2F..+2Fy REPEAT=1", "evil-token")
    equal(len(holding("u0@example.com", "evil-token")), 1, "copies")


@case
def many_connections_at_once():
    conns = [Lmtp() for _ in range(40)]
    for i, c in enumerate(conns):
        c.send("MAIL FROM:<s@remote.test>", "RCPT TO:<u1@example.com>", "DATA")
    for c in conns:
        c.expect("250", "250", "354")
    for i, c in enumerate(conns):
        c.send("Subject: x", "", "many-token-%d." % i, ".")
    for c in conns:
        c.expect("250 2.0.0")
    for i in range(40):
        equal(len(holding("u1@example.com", "many-token-%d." % i)), 1, "copies of %d" % i)


@case
def a_message_of_some_megabytes():
    c = Lmtp()
    c.say("MAIL FROM:<s@remote.test>", "250")
    c.say("RCPT TO:<u1@example.com>", "250")
    c.say("DATA", "354")
    line = "big-token " + "x" * 60
    c.send("Subject: big", "", *([line] * 150000 + ["."]))
    c.expect("250 2.0.0")
    copies = holding("u1@example.com", "big-token")
    equal(len(copies), 1, "copies")
    equal(copies[0].count(b"big-token "), 150000, "lines")


@case
def too_many_recipients_are_for_later():
    """What does not fit into one transaction is 452, not an unknown user, whichever bound is met first."""
    c = Lmtp()
    c.say("MAIL FROM:<a@x.test>", "250 ")
    seen = {}
    for _ in range(51):  # of many lengths: where a long one does not fit, a short one may
        c.send(*["RCPT TO:<u0+%s@example.com>" % ("x" * (n % 200 + 30)) for n in range(200)])
        for _ in range(200):
            reply = c.reply()[-1][:9]
            seen[reply] = seen.get(reply, 0) + 1
    equal(sorted(seen), ["250 2.1.5", "452 4.5.3"], "replies: %r" % seen)
    check(1000 < seen["250 2.1.5"] <= 10000, seen)
    c.say("RSET", "250 ")


main()
