#!/usr/bin/env python3
# FETCH of long messages in pieces, and of many messages by several clients at once.
import os
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from harness import *
from imapscript import Client
from stack import Stack

USER = "u@example.com"
_stack = []


def stack():
    if not _stack:
        _stack.append(Stack(tmp("s"), users=[USER], extra_conf=["disable_plaintext_auth = no"]).start())
        at_end(_stack[0].stop)
    return _stack[0]


def login():
    c = Client(("127.0.0.1", stack().ports["imap"]), timeout_s=60)
    c.login(USER, "pass")
    return c


def run(c, command):
    c.send(b"t " + command + b"\r\n")
    out = []
    while not out or not out[-1].startswith(b"t "):
        out.append(c.response())
    check(out[-1].startswith(b"t OK"), (command[:100], out[-1]))
    return out


def append(c, box, message):
    run(c, b"APPEND %s {%d+}\r\n%s" % (box, len(message), message))


def literal(response):
    m = re.search(rb"~?\{(\d+)\}\r\n", response)
    return response[m.end():m.end() + int(m.group(1))]


@case
def pieces_of_a_long_message():
    """One after the other, backwards and at random, with whatever else is asked for beside: together they are the message."""
    c = login()
    run(c, b"CREATE long")
    octets = bytes(i * 7 % 251 for i in range(3000000))
    import base64
    encoded = b"".join(base64.b64encode(octets[i:i + 57]) + b"\r\n" for i in range(0, len(octets), 57))
    long_field = b"X-Mailer: " + b"\r\n ".join([b"x" * 70] * 4000) + b"\r\n"
    message = (b"Subject: long\r\nMIME-Version: 1.0\r\n" + long_field +
               b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\ntext\r\n--b\r\n"
               b"Content-Transfer-Encoding: base64\r\n\r\n" + encoded + b"--b--\r\n")
    append(c, b"long", message)
    run(c, b"SELECT long")
    check(literal(run(c, b"FETCH 1 BODY.PEEK[]")[0]) == message, "all of it")
    run(login(), b"SELECT long")
    step, got = 1000003, b""
    for at in range(0, len(message) + step, step):
        got += literal(run(c, b"FETCH 1 BODY.PEEK[]<%d.%d>" % (at, step))[0])
    check(got == message, "in order")
    for at in range(len(message) - 10, 0, -700001):
        check(literal(run(c, b"FETCH 1 BODY.PEEK[]<%d.4096>" % at)[0]) == message[at:at + 4096], at)
    both = run(c, b"FETCH 1 (BODY.PEEK[]<100.50> BODY.PEEK[HEADER.FIELDS (SUBJECT)])")[0]
    check(literal(both) == message[100:150] and b"Subject: long" in both, both)
    # decoded: whole, and in pieces
    check(literal(run(c, b"FETCH 1 BINARY.PEEK[2]")[0]) == octets, "decoded")
    check(b"BINARY.SIZE[2] 3000000)" in run(c, b"FETCH 1 BINARY.SIZE[2]")[0], "its size")
    for at in (0, 57, 1999999, 2999990):
        check(literal(run(c, b"FETCH 1 BINARY.PEEK[2]<%d.70000>" % at)[0]) == octets[at:at + 70000], at)
    for at in (0, 100000, len(encoded) - 100):
        want = encoded[:-2][at:at + 5000]
        check(literal(run(c, b"FETCH 1 BODY.PEEK[2]<%d.5000>" % at)[0]) == want, at)


@case
def many_and_some_who_do_not_read():
    """Clients that ask for much and read nothing hold up nobody."""
    c = login()
    run(c, b"CREATE many")
    message = b"Subject: m\r\n\r\n" + b"0123456789\r\n" * 20000
    for _ in range(30):
        append(c, b"many", message)
    deaf = [login() for _ in range(6)]
    for d in deaf:
        run(d, b"SELECT many")
        d.send(b"x FETCH 1:* BODY.PEEK[]\r\ny FETCH 1:* (FLAGS BINARY.PEEK[])\r\n")
    run(c, b"SELECT many")
    got = run(c, b"FETCH 1:* (UID BODY.PEEK[])")
    check(len(got) == 31 and all(literal(r) == message for r in got[:-1]), "all of them")
    for d in deaf[:2]:  # who reads at last has it all
        while not (r := d.response()).startswith(b"y "):
            check(r.startswith(b"* ") and literal(r) == message or r.startswith(b"x OK"), r[:80])
    for d in deaf:
        d.close()
    run(c, b"NOOP")


main()
