#!/usr/bin/env python3
# SORT, THREAD and their UID forms on the wire: answers, errors, charsets, a client that leaves in the middle.
import os
import re
import socket
import struct
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from harness import *
from imapscript import Client
from oddmail import write_maildir
from stack import Stack

USERS = ["s0@example.com", "s1@example.com"]
MANY = 4000
_stack = []


def stack():
    if not _stack:
        s = Stack(tmp("s"), users=USERS, extra_conf=["disable_plaintext_auth = no", "mail_max_userip_connections = 40"])
        write_maildir(s.maildir(USERS[1]), MANY, 3)
        _stack.append(s.start())
        at_end(s.stop)
    return _stack[0]


def connect(user):
    c = Client(("127.0.0.1", stack().ports["imap"]), 60)
    c.login(USERS[user], "pass")
    return c


def ask(c, text):
    """(untagged lines, tagged text)"""
    c.send(text.join([b"t ", b"\r\n"]) if isinstance(text, bytes) else ("t %s\r\n" % text).encode())
    untagged = []
    while True:
        r = c.response()
        if r.startswith(b"t "):
            return untagged, r[2:].decode()
        untagged.append(r.decode())


def one(c, text):
    untagged, tagged = ask(c, text)
    check(tagged.startswith("OK "), "%s: %s" % (text, tagged))
    equal(len(untagged), 1, "answers to %s: %r" % (text, untagged))
    return untagged[0]


def append(c, *fields):
    message = "\r\n".join(fields + ("", "x", "")).encode()
    c.send(b"a APPEND INBOX {%d+}\r\n%s\r\n" % (len(message), message))
    while not c.response().startswith(b"a OK"):
        pass


def seven():
    c = connect(0)
    if "EXISTS" not in " ".join(ask(c, "SELECT INBOX")[0]) or "* 0 EXISTS" in ask(c, "SELECT INBOX")[0]:
        append(c, "Subject: gone")
        append(c, "From: b@x", "To: z@x", "Subject: one", "Date: 2 Jan 2020 00:00:00 +0000", "Message-ID: <1@x>")
        append(c, "From: Al <c@x>", "Subject: Re: one", "Date: 4 Jan 2020 00:00:00 +0000", "Message-ID: <2@x>", "References: <1@x>")
        append(c, "From: a@x", "Subject: two", "Date: 1 Jan 2020 00:00:00 +0000", "Message-ID: <3@x>", "In-Reply-To: <0@x>")
        append(c, "From: d@x", "Subject: =?utf-8?q?Z=C3=BCrich?=", "Date: 3 Jan 2020 00:00:00 +0000", "Message-ID: <4@x>", "References: <0@x>")
        append(c, "From: e@x", "Subject: Re: one", "Date: 5 Jan 2020 00:00:00 +0000", "Message-ID: <5@x>", "References: <1@x>")
        ask(c, "SELECT INBOX")
        ask(c, "STORE 1 +FLAGS (\\Deleted)")
        ask(c, "EXPUNGE")
    return c


@case
def sort_answers():
    c = seven()
    equal(one(c, "SORT (DATE) UTF-8 ALL"), "* SORT 3 1 4 2 5")
    equal(one(c, "sort (reverse date) us-ascii all"), "* SORT 5 2 4 1 3")
    equal(one(c, "UID SORT (DATE) UTF-8 ALL"), "* SORT 4 2 5 3 6")
    equal(one(c, "SORT (SUBJECT REVERSE FROM) UTF-8 ALL"), "* SORT 5 2 1 3 4")
    equal(one(c, "SORT (DISPLAYFROM) UTF-8 ALL"), "* SORT 3 2 1 4 5")
    equal(one(c, 'SORT (DATE) "UTF-8" SUBJECT one NOT 5'), "* SORT 1 2")
    equal(one(c, b'SORT (DATE) UTF-8 SUBJECT "z\xc3\x9cri"'), "* SORT 4")
    equal(one(c, b'SORT (DATE) ISO-8859-1 SUBJECT {4+}\r\nz\xdcri'), "* SORT 4")
    equal(one(c, "SORT (DATE) UTF-8 SUBJECT nowhere"), "* SORT")


@case
def thread_answers():
    c = seven()
    equal(one(c, "THREAD REFERENCES UTF-8 ALL"), "* THREAD ((3)(4))(1 (2)(5))")
    equal(one(c, "UID THREAD REFERENCES UTF-8 ALL"), "* THREAD ((4)(5))(2 (3)(6))")
    equal(one(c, "THREAD REFS UTF-8 NOT 5"), "* THREAD ((3)(4))(1 2)")
    equal(one(c, "thread orderedsubject us-ascii all"), "* THREAD (3)(1 (2)(5))(4)")
    equal(one(c, "THREAD REFERENCES UTF-8 SUBJECT nowhere"), "* THREAD")


@case
def errors():
    c = seven()
    for text in ("SORT", "SORT ()", "SORT () UTF-8 ALL", "SORT (NOWHERE) UTF-8 ALL", "SORT DATE UTF-8 ALL", "SORT (DATE) UTF-8", "SORT (DATE)",
                 "SORT (REVERSE) UTF-8 ALL", "SORT (DATE SUBJECT UTF-8 ALL", "SORT (DATE) UTF-8 NOWHERE", "SORT (DATE) UTF-8 SUBJECT",
                 "SORT (%s) UTF-8 ALL" % " ".join(["DATE"] * 21)):
        check(ask(c, text)[1].startswith("BAD "), text)
        check(one(c, "SORT (DATE) UTF-8 1") == "* SORT 1", "after " + text)
    for text in ("THREAD", "THREAD REFERENCES", "THREAD REFERENCES UTF-8", "THREAD JWZ UTF-8 ALL", "THREAD REFERENCES UTF-8 (ALL"):
        check(ask(c, text)[1].startswith("BAD "), text)
        check(one(c, "SORT (DATE) UTF-8 1") == "* SORT 1", "after " + text)
    for text in ("SORT (DATE) X-NOWHERE ALL", "THREAD REFS X-NOWHERE ALL", "SEARCH CHARSET X-NOWHERE ALL"):
        check(ask(c, text)[1].startswith("NO [BADCHARSET (US-ASCII UTF-8)]"), text)
    c = connect(0)
    check(ask(c, "SORT (DATE) UTF-8 ALL")[1].startswith("BAD "), "no mailbox is selected")


@case
def an_empty_mailbox():
    c = connect(0)
    ask(c, "SELECT Trash")
    equal(one(c, "SORT (SUBJECT) UTF-8 ALL"), "* SORT")
    equal(one(c, "THREAD REFERENCES UTF-8 ALL"), "* THREAD")
    equal(one(c, "SEARCH BODY x"), "* SEARCH")


@case
def every_message_once():
    c = connect(1)
    ask(c, "SELECT INBOX")
    want = list(range(1, MANY + 1))
    for text in ("SORT (SUBJECT) UTF-8 ALL", "SORT (REVERSE FROM SIZE) UTF-8 ALL", "THREAD REFERENCES UTF-8 ALL", "THREAD REFS UTF-8 ALL",
                 "THREAD ORDEREDSUBJECT UTF-8 ALL"):
        got = one(c, text)
        equal(sorted(map(int, re.findall(r"\d+", got))), want, text)
        depth = 0
        for sign in re.findall(r"[()]", got):
            depth += 1 if sign == "(" else -1
            check(depth >= 0, "parentheses of " + text)
        equal(depth, 0, "parentheses of " + text)


@case
def who_leaves_is_not_searched_for():
    program = " ".join('NOT BODY "not anywhere %d"' % i for i in range(400))  # minutes of it, all together
    gone = []
    for text in ("SORT (SUBJECT) UTF-8 ", "THREAD REFERENCES UTF-8 ", "SEARCH ", "UID SEARCH "):
        for _ in range(4):
            c = connect(1)
            ask(c, "SELECT INBOX")
            c.send(b"t " + (text + program).encode() + b"\r\n")
            gone.append(c)
    closed = stack().log().count("Connection closed")
    other = connect(1)
    ask(other, "SELECT INBOX")
    equal(one(other, "SEARCH 1"), "* SEARCH 1", "others have turns")
    for c in gone:
        c.s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # an end that cannot be a half
        c.s.close()
    wait_for(lambda: stack().log().count("Connection closed") >= closed + len(gone), 30, "the searches to be given up")


main()
