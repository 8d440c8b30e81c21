#!/usr/bin/env python3
# What IMAP clients send, at the limits: long lines, literals of all kinds, many of them, refused and passed over; APPEND of many
# messages and parts, cut anywhere.
# timeout: 200
import glob
import os
import re
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from harness import *
from imapscript import Client, answer, command
from stack import Stack

USERS = ["i%d@example.com" % i for i in range(10)]
LINE, MESSAGE = 65536, 200000
_stack = []


def stack():
    if not _stack:
        _stack.append(Stack(tmp("s"), users=USERS, extra_conf=[
            "disable_plaintext_auth = no", "imap_max_line_length = %d" % LINE, "imap_max_append_size = %d" % MESSAGE]).start())
        at_end(_stack[0].stop)
    return _stack[0]


def connect(user):
    c = Client(("127.0.0.1", stack().ports["imap"]))
    c.login(USERS[user], "pass")
    return c


def count(c, mailbox="INBOX"):
    return int(re.search(rb"MESSAGES (\d+)", command(c, b"STATUS %s (MESSAGES)" % mailbox.encode())[0][0]).group(1))


@case
def lines_up_to_the_limit():
    c = connect(0)
    for n in (8192, 30000, LINE):
        line = b"t NOOP" + b"x" * (n - 6)
        c.send(line + b"\r\n")
        check(answer(c)[1].startswith("BAD Error in IMAP command NOOPxxx"), "a line of %d" % n)
    check(command(c, b"LIST \"\" \"" + b"a" * 30000 + b"*\"")[1].startswith("OK"), "a long pattern")
    c.send(b"x" * (LINE + 10))
    equal(c.response(), b"* BYE Command line too long.", "one that is longer")
    c.close()


@case
def many_literals_in_a_command():
    c = connect(1)
    check(command(c, b"APPEND INBOX {17+}\r\nSubject: abc\r\n\r\n\n")[1].startswith("OK"), "APPEND")
    check(command(c, b"SELECT INBOX")[1].startswith("OK"), "SELECT")
    keys = b" ".join(b"SUBJECT {1+}\r\n%s" % x for x in [b"a", b"b", b"c"] * 500)
    equal(command(c, b"SEARCH " + keys)[0], [b"* SEARCH 1"], "1500 literals")
    keys = b" ".join(b"NOT SUBJECT {1+}\r\n%s" % x for x in [b"x", b"y"] * 500)
    equal(command(c, b"UID SEARCH " + keys)[0], [b"* SEARCH 1"], "1000 more")
    # each in turn, waiting for it
    c.send(b"t SEARCH OR SUBJECT {3}\r\n")
    equal(c.response()[:1], b"+", "the first")
    c.send(b"xyz SUBJECT {3}\r\n")
    equal(c.response()[:1], b"+", "the second")
    c.send(b"abc HEADER {7+}\r\nSubject {1}\r\n")
    equal(c.response()[:1], b"+", "the fourth")
    c.send(b"b\r\n")
    equal(answer(c)[0], [b"* SEARCH 1"], "four literals")
    # together they are more than a command may have
    part = b" SUBJECT {10000+}\r\n" + b"x" * 10000
    got = command(c, b"SEARCH" + part * 7)
    check(got[1].startswith("BAD [TOOBIG]"), "70000 octets: " + got[1])
    check(command(c, b"NOOP")[1].startswith("OK"), "afterwards")
    c.close()
    # before login too
    c = Client(("127.0.0.1", stack().ports["imap"]))
    c.response()
    c.send(b"t LOGIN {14}\r\n")
    equal(c.response()[:1], b"+", "name")
    c.send(USERS[1].encode() + b" {4}\r\n")
    equal(c.response()[:1], b"+", "password")
    c.send(b"pass\r\n")
    check(answer(c)[1].startswith("OK"), "LOGIN")
    c.close()


@case
def too_large_is_refused_before_it_is_sent():
    c = connect(2)
    for octets, want in ((b"APPEND INBOX {%d}" % (MESSAGE + 1), "NO [TOOBIG]"), (b"APPEND INBOX ~{%d}" % (MESSAGE + 1), "NO [TOOBIG]"),
                         (b"APPEND INBOX (\\Seen) CATENATE (TEXT {%d}" % (MESSAGE + 1), "NO [TOOBIG]"),
                         (b"APPEND INBOX CATENATE (URL {%d}" % (LINE + 1), "BAD [TOOBIG]"),
                         (b"APPEND {%d}" % (LINE + 1), "BAD [TOOBIG]"), (b"CREATE {%d}" % (LINE + 1), "BAD [TOOBIG]"),
                         (b"APPEND INBOX {99999999999999999999999}", "BAD"), (b"SEARCH SUBJECT {5}", "BAD No mailbox")):
        got = command(c, octets)
        check(got[1].startswith(want), "%r: %s" % (octets, got[1]))
        check(command(c, b"NOOP")[1].startswith("OK"), "the next command after %r" % octets)
    equal(count(c), 0, "messages")
    c.close()


@case
def what_comes_unasked_is_passed_over():
    c = connect(3)
    message = b"x" * 150000
    for octets, want in ((b"APPEND none {150000+}\r\n" + message, "NO [TRYCREATE]"),
                         (b"APPEND none {20000+}\r\n" + message[:20000] + b" {20000+}\r\n" + message[:20000], "NO [TRYCREATE]"),
                         (b"APPEND INBOX (\\Bogus) {20000+}\r\n" + message[:20000], "BAD"),
                         (b"CREATE {150000+}\r\n" + message, "BAD [TOOBIG]"),
                         (b"BOGUS {3+}\r\nabc {5+}\r\nx\r\ny\r {0+}\r\n", "BAD")):
        got = command(c, octets)
        check(got[1].startswith(want), "%r: %s" % (octets[:40], got[1]))
        check(command(c, b"NOOP")[1].startswith("OK"), "the next command after %r" % octets[:40])
    # a literal in the rest that would have to be asked for is not, and ends the command
    c.send(b"t APPEND none {3+}\r\nabc {5}\r\nt2 NOOP\r\n")
    check(answer(c)[1].startswith("NO"), "refused")
    check(answer(c, "t2")[1].startswith("OK"), "and over")
    # beyond what a good one might bring the session ends: at once, or with many of them
    c.send(b"t APPEND INBOX {%d+}\r\n" % (MESSAGE + 1))
    check(answer(c)[1].startswith("NO [TOOBIG]"), "too large")
    equal(c.response(), b"* BYE [TOOBIG] Literal size too large.", "the end")
    c.close()
    c = connect(3)
    c.send(b"t BOGUS" + b" {90000+}\r\n" * 1 + b"x" * 90000 + b" {90000+}\r\n" + b"x" * 90000 + b" {90000+}\r\n")
    check(answer(c)[1].startswith("BAD"), "refused")
    equal(c.response(), b"* BYE [TOOBIG] Literal size too large.", "the end")
    c.close()


DIALOGUE = (b"a APPEND INBOX (\\Seen) {7+}\r\nA: b\r\n\n {5+}\r\nA: c\n \"07-Feb-1994 21:52:25 -0800\" ~{6+}\r\nA: d\n\0\r\n"
            b"b APPEND {5+}\r\nINBOX CATENATE (TEXT {6+}\r\nA: e\r\n URL {12+}\r\n/INBOX/;UID=1 TEXT {0+}\r\n) {5+}\r\nA: f\n\r\n"
            b"c APPEND INBOX {5+}\r\nA: g\n {5+}\r\nA: h\n rubbish\r\n"
            b"d APPEND none {5+}\r\nA: g\n CATENATE (TEXT {3+}\r\n\r\n) URL \"x {3+}\r\nabc\r\n"
            b"e SELECT INBOX\r\nf REPLACE 1 INBOX (\\Draft) {6+}\r\nA: i\r\n\r\n"
            b"g UID REPLACE 4000000000 INBOX {6+}\r\nA: i\r\n\r\n"
            b"h UID STORE 1:* +FLAGS.SILENT (\\Deleted)\r\ni CLOSE\r\nj NOOP\r\n").replace(b"{12+}", b"{13+}")


def play(c, pieces):
    for p in pieces:
        c.send(p)
        if len(pieces) < 100:
            time.sleep(0.005)
    got = []
    while not got or not got[-1].startswith(b"j "):
        r = c.response()
        got.append(re.sub(rb"(APPENDUID|UIDNEXT|UIDVALIDITY|HIGHESTMODSEQ|\* \d+ RECENT)[ \d:,]*", rb"\1", r))
    return [r for r in got if b"RECENT" not in r]


@case
def cut_anywhere():
    c = connect(4)
    whole = play(c, [DIALOGUE])
    tagged = [r.split()[:2] for r in whole if re.match(rb"[a-j] ", r)]
    equal(tagged, [[b"a", b"OK"], [b"b", b"OK"], [b"c", b"BAD"], [b"d", b"NO"], [b"e", b"OK"], [b"f", b"OK"], [b"g", b"NO"],
                   [b"h", b"OK"], [b"i", b"OK"], [b"j", b"OK"]], "answers")
    for i in range(0, len(DIALOGUE), 7):
        text = DIALOGUE.replace(b"UID=1 ", b"UID=%d " % next_uid(c))
        if len(text) != len(DIALOGUE):
            text = text.replace(b"{13+}", b"{%d+}" % len(re.search(rb"/INBOX/;UID=\d+", text).group(0)))
        equal(play(c, [text[:i], text[i:]]), whole, "cut at %d" % i)
    text = DIALOGUE.replace(b"UID=1 ", b"UID=%d " % next_uid(c))
    text = text.replace(b"{13+}", b"{%d+}" % len(re.search(rb"/INBOX/;UID=\d+", text).group(0)))
    equal(play(c, [text[i:i + 1] for i in range(len(text))]), whole, "octet by octet")
    c.close()


def next_uid(c):
    return int(re.search(rb"UIDNEXT (\d+)", command(c, b"STATUS INBOX (UIDNEXT)", "n")[0][0]).group(1))


@case
def clients_that_go_in_the_midst():
    keep = connect(5)
    for text in (b"a APPEND INBOX {5+}\r\nA: b\n", b"a APPEND INBOX {5+}\r\nA: b\n {5+}\r\nA", b"a APPEND INBOX {5+}\r\nA: b\n {5}\r\n",
                 b"a APPEND INBOX CATENATE (TEXT {5+}\r\nA: b\n", b"a APPEND INBOX CATENATE (TEXT {5+}\r\nA: b\n URL {5}\r\n",
                 b"a APPEND INBOX ~{500}\r\n", b"a APPEND INBOX UTF8 (~{5+}\r\nabc", b"a APPEND none {50000+}\r\nabc"):
        for wait_s in (0, 0.05):
            c = connect(5)
            c.send(text)
            time.sleep(wait_s)
            c.close()
    equal(count(keep), 0, "nothing half-done")
    wait_for(lambda: not glob.glob(os.path.join(stack().maildir(USERS[5]), "tmp", "*")), 5, "tmp/ is empty")
    keep.close()


@case
def a_thousand_messages_at_once():
    c = connect(6)
    one = b" (\\Seen) {12+}\r\nSubject: x\r\n"
    untagged, tagged = command(c, b"APPEND INBOX" + one * 1000)
    check(re.match(r"OK \[APPENDUID \d+ 1:1000\]", tagged), tagged)
    equal(count(c), 1000, "messages")
    check(command(c, b"APPEND INBOX" + one * 1001)[1].startswith("NO [LIMIT]"), "1001")
    equal(count(c), 1000, "messages after one more")
    # parts of a message may be more, and are bounded by its size
    parts = b" ".join([b"TEXT {10+}\r\n012345678\n"] * 3000)
    check(command(c, b"APPEND INBOX CATENATE (TEXT {4+}\r\nA:\r\n " + parts + b")")[1].startswith("OK"), "3000 parts")
    part = b"TEXT {50000+}\r\n" + b"x" * 50000
    check(command(c, b"APPEND INBOX CATENATE (" + b" ".join([part] * 5) + b")")[1].startswith("NO [TOOBIG]"), "250000 octets")
    equal(count(c), 1001, "messages in the end")
    c.close()


@case
def bad_lines():
    c = connect(7)
    for line, want in ((b"", b"* BAD"), (b"\0", b"* BAD"), (b"t \rNOOP", b"t BAD"), (b"t NO\0OP", b"t BAD"), (b"t \xff\xfe", b"t BAD"),
                       (b"t UID", b"t BAD"), (b"t UID NOOP", b"t BAD"), (b"t UID UID FETCH 1 (UID)", b"t BAD")):
        c.send(line + b"\r\n")
        got = c.response()
        check(got.startswith(want), "%r: %r" % (line, got))
    check(command(c, b"NOOP")[1].startswith("OK"), "a good one")
    for i in range(9):
        check(command(c, b"APPEND INBOX (\\Bogus) {3+}\r\nabc")[1].startswith("BAD"), "bad")
    check(command(c, b"APPEND none {3+}\r\nabc")[1].startswith("NO"), "what is refused is not bad")
    for i in range(10):
        check(command(c, b"APPEND INBOX {5+}\r\nA: b\n {5+}\r\nabcde\0")[1].startswith("BAD"), "bad")
    equal(c.response(), b"* BYE Too many invalid IMAP commands.", "ten in a row")
    c.close()
    c = connect(7)
    equal(count(c), 0, "messages")
    c.close()


main()
