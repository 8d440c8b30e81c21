#!/usr/bin/env python3
# Messages made to hurt (tests/lib/hostile.py): each delivered and appended, told in every form, searched; what is told is
# IMAP, what is read is what was written, and imapd's memory stays bounded.
# timeout: 240
import os
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from harness import *
from hostile import HOSTILE
from imapscript import Client
from stack import Stack

USERS = ["x%d@example.com" % i for i in range(3)]
COUNT = 2000          # of what floods
SMALLER = {"depth": 200, "deep_and_long": 5000, "depth_same_boundary": 500, "depth_of_messages": 500, "boundaries": 200, "parts": 12000}
MEMORY_KIB = 96 * 1024  # more than this at once is too much for any of them
ITEMS = ("UID FLAGS INTERNALDATE RFC822.SIZE ENVELOPE BODY BODYSTRUCTURE PREVIEW EMAILID THREADID"
         " BODY.PEEK[HEADER.FIELDS (From To Cc Subject Date References Content-Type)] BODY.PEEK[HEADER.FIELDS (X-Any Received)]"
         " BODY.PEEK[1.MIME] BODY.PEEK[1]")
_stack = []


def stack():
    if not _stack:
        _stack.append(Stack(tmp("s"), users=USERS, extra_conf=["disable_plaintext_auth = no"]).start())
        at_end(_stack[0].stop)
    return _stack[0]


def message(name):
    return HOSTILE[name](SMALLER.get(name, COUNT))


def connect(user):
    c = Client(("127.0.0.1", stack().ports["imap"]), 120)
    c.login(USERS[user], "pass")
    return c


def ok(c, octets):
    c.send(b"t " + octets + b"\r\n")
    return answer(c, octets)


def answer(c, octets):
    untagged = []
    while True:
        r = c.response()
        if r.startswith(b"t "):
            check(r.startswith(b"t OK"), "%r: %r" % (octets[:80], r[:200]))
            return untagged
        untagged.append(r)


TOKEN = re.compile(rb'\(|\)| |"(?:[^"\\\r\n\x80-\xff\0]|\\["\\])*"|\{(\d+)\}\r\n|\\?[^\s(){"\\]+')


def parse(octets):
    """A FETCH response as lists; fails on what is not IMAP."""
    top, at = [], 0
    stack_, was = [top], b" "
    while at < len(octets):
        m = TOKEN.match(octets, at)
        check(m is not None, "not IMAP at %d: %r" % (at, octets[at:at + 60]))
        at, token = m.end(), m.group(0)
        if token == b"(":
            stack_.append([])
            stack_[-2].append(stack_[-1])
        elif token == b")":
            check(len(stack_) > 1, "a ')' too many")
            stack_.pop()
        elif m.group(1) is not None:
            text = octets[at:at + int(m.group(1))]
            check(len(text) == int(m.group(1)) and b"\0" not in text, "a literal that is cut off or has a NUL")
            stack_[-1].append(text)
            at += len(text)
        elif token[:1] == b'"':
            stack_[-1].append(re.sub(rb"\\(.)", rb"\1", token[1:-1]))
        elif token != b" ":
            stack_[-1].append(None if token == b"NIL" else token)
        else:
            check(was != b" " and was != b"(", "two spaces, or one after '(' at %d" % at)
        was = token
    check(len(stack_) == 1, "%d '(' too many" % (len(stack_) - 1))
    return top


def check_envelope(e):
    check(isinstance(e, list) and len(e) == 10, "ENVELOPE has 10 parts: %r" % (e if not isinstance(e, list) else len(e)))
    for people in e[2:8]:
        if people is None:
            continue
        in_group = False
        for p in people:
            check(len(p) == 4, "an address has 4 parts")
            if p[3] is None:
                check(in_group == (p[2] is None), "groups begin and end in turns")
                in_group = p[2] is not None
        check(not in_group, "the last group is not closed")


def check_body(b, depth=0):
    check(isinstance(b, list) and b, "a body is a list")
    check(depth <= 101, "too deep")
    if isinstance(b[0], list):
        kids = [k for k in b if isinstance(k, list)]
        n = 0
        while n < len(b) and isinstance(b[n], list):
            check_body(b[n], depth + 1)
            n += 1
        check(n >= 1 and not isinstance(b[n], list), "a multipart has a subtype after its %d parts" % len(kids))
        return
    check(len(b) >= 7 and b[6].isdigit(), "a part has 7 fields at least: %r" % b[:8])
    if (b[0] or b"").lower() == b"message" and (b[1] or b"").lower() in (b"rfc822", b"global") and len(b) > 8 and isinstance(b[7], list):
        check_envelope(b[7])
        check_body(b[8], depth + 1)


def fields_of(response):
    r = parse(response)
    check(r[0] == b"*" and r[2] == b"FETCH" and isinstance(r[3], list), "%r" % r[:3])
    out, at = {}, 0
    while at < len(r[3]):
        key = r[3][at]
        while key.startswith(b"BODY[") and not key.endswith(b"]"):
            at += 1
            key += b" " + (b",".join(r[3][at]) if isinstance(r[3][at], list) else r[3][at])
        out[key.decode()] = r[3][at + 1]
        at += 2
    return out


def peak_kib():
    """The most that any imapd has had in memory since it was asked last."""
    most = 0
    for pid in stack().pids_of("imapd"):
        with open("/proc/%d/status" % pid) as f:
            most = max(most, int(re.search(r"VmHWM:\s+(\d+)", f.read()).group(1)))
        with open("/proc/%d/clear_refs" % pid, "w") as f:
            f.write("5")
    return most


def check_memory(what, before):
    peak = peak_kib()
    check(is_sanitized("imapd") or peak - before < MEMORY_KIB, "%s: imapd had %d KiB more" % (what, peak - before))


def as_told(octets):
    """What a client gets of a file: CRLF line ends, and no NUL."""
    return re.sub(rb"(?<!\r)\n", b"\r\n", octets).replace(b"\0", b"\x80")


def look_at(c, seq, octets, what):
    got = [r for r in ok(c, b"FETCH %d (%s)" % (seq, ITEMS.encode())) if b" FETCH (" in r[:30]]
    check(len(got) == 1, "%s: %d responses" % (what, len(got)))
    first, told = got[0], fields_of(got[0])
    check_envelope(told["ENVELOPE"])
    check_body(told["BODY"])
    check_body(told["BODYSTRUCTURE"])
    check(len(told["PREVIEW"].decode()) <= 200, "%s: PREVIEW %r" % (what, told["PREVIEW"]))
    check(int(told["RFC822.SIZE"]) == len(octets), "%s: size %s of %d" % (what, told["RFC822.SIZE"], len(octets)))
    got = ok(c, b"FETCH %d BODY.PEEK[]" % seq)[0]
    check(got == b"* %d FETCH (BODY[] {%d}\r\n%s)" % (seq, len(octets), octets), "%s: the octets changed" % what)
    again = [r for r in ok(c, b"FETCH %d (%s)" % (seq, ITEMS.encode())) if b" FETCH (" in r[:30]]
    check(again == [first], "%s: told otherwise the second time" % what)


@case
def delivered_by_another_program():
    folder = os.path.join(stack().maildir(USERS[0]), "new")
    c = connect(0)
    names = sorted(HOSTILE)
    for i, name in enumerate(names):
        octets = message(name)
        with open(os.path.join(folder, "%d.M%dP1.hostile" % (1000000000 + i, i)), "wb") as f:
            f.write(octets.replace(b"\r\n", b"\n") if i % 2 else octets)
    before = peak_kib()
    ok(c, b"SELECT INBOX")
    for i, name in enumerate(names):
        octets = message(name)
        look_at(c, i + 1, as_told(octets.replace(b"\r\n", b"\n")) if i % 2 else as_told(octets), name)
    check_memory("FETCH", before)
    c.close()


@case
def searched():
    c = connect(0)
    ok(c, b"SELECT INBOX")
    before = peak_kib()
    for ask in (b"TEXT zzzz", b"BODY zzzz", b"SUBJECT zzzz", b"FROM zzzz", b"SENTSINCE 1-Jan-2000", b"HEADER X-Any zzzz"):
        got = ok(c, b"SEARCH " + ask)
        check(got[-1:] == [b"* SEARCH"], "SEARCH %r: %r" % (ask, got[-1:]))
    check(len(ok(c, b"SEARCH HEADER Content-Type text")[-1].split()) > 10, "SEARCH finds what is there")
    if b"SORT" in ok(c, b"CAPABILITY")[0]:
        for key in (b"SUBJECT", b"FROM", b"DATE", b"TO", b"CC", b"SIZE"):
            got = ok(c, b"SORT (%s) UTF-8 ALL" % key)[-1].split()
            check(sorted(int(n) for n in got[2:]) == list(range(1, len(HOSTILE) + 1)), "SORT %r lost some" % key)
        for how in (b"REFERENCES", b"ORDEREDSUBJECT"):
            got = re.findall(rb"\d+", ok(c, b"THREAD %s UTF-8 ALL" % how)[-1])
            check(sorted(int(n) for n in got) == list(range(1, len(HOSTILE) + 1)), "THREAD %r lost some" % how)
    check_memory("SEARCH", before)
    c.close()


@case
def appended():
    c = connect(1)
    before = peak_kib()
    names = [n for n in sorted(HOSTILE) if b"\0" not in message(n) and message(n)]
    for name in names:
        octets = message(name)
        c.send(b"t APPEND INBOX {%d+}\r\n" % len(octets) + octets + b"\r\n")
        answer(c, name.encode())
    ok(c, b"SELECT INBOX")
    for i, name in enumerate(names):
        got = [r for r in ok(c, b"FETCH %d (ENVELOPE BODYSTRUCTURE PREVIEW)" % (i + 1)) if b" FETCH (" in r[:30]]
        check_envelope(fields_of(got[0])["ENVELOPE"])
        check_body(fields_of(got[0])["BODYSTRUCTURE"])
    check_memory("APPEND", before)
    c.close()


@case
def a_header_of_ten_megabytes_and_a_body_of_thirty():
    c = connect(2)
    folder = os.path.join(stack().maildir(USERS[2]), "new")
    texts = [b"Subject: s\n" + b"X-Flood: yes\n" * (10 * 1024 * 1024 // 13) + b"\nbody\n",
             b"Subject: s\n\n" + (b"x" * 60 + b"\n") * (30 * 1024 * 1024 // 61)]
    for i, octets in enumerate(texts):
        with open(os.path.join(folder, "%d.M%dP1.big" % (1000000000 + i, i)), "wb") as f:
            f.write(octets)
    ok(c, b"SELECT INBOX")
    before = peak_kib()
    for i, octets in enumerate(texts):
        octets = octets.replace(b"\n", b"\r\n")
        got = fields_of([r for r in ok(c, b"FETCH %d (RFC822.SIZE ENVELOPE BODYSTRUCTURE)" % (i + 1)) if b" FETCH (" in r[:30]][0])
        check(int(got["RFC822.SIZE"]) == len(octets) and got["ENVELOPE"][1] == b"s", "%r" % got)
        got = ok(c, b"FETCH %d BODY.PEEK[]<%d.30>" % (i + 1, len(octets) - 30))[0]
        check(got.endswith(octets[-30:] + b")"), "%r" % got)
    anonymous = 0
    for pid in stack().pids_of("imapd"):
        with open("/proc/%d/status" % pid) as f:
            anonymous = max(anonymous, int(re.search(r"RssAnon:\s+(\d+)", f.read()).group(1)))
    check(is_sanitized("imapd") or anonymous < 24 * 1024, "imapd holds %d KiB that are its own" % anonymous)
    check_memory("30 MB", before)
    got = ok(c, b"FETCH 1 BODY.PEEK[HEADER.FIELDS (SUBJECT)]")[0]
    check(got.endswith(b"{14}\r\nSubject: s\r\n\r\n)"), "%r" % got)
    c.close()


if __name__ == "__main__":
    main()
