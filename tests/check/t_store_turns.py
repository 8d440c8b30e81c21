#!/usr/bin/env python3
# One user's heavy work - fifty searches at once, a folder of tens of thousands of new files, a change of every message -
# and others, who are answered meanwhile: his own other sessions and other users.
# timeout: 240
import os
import select
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from harness import *
from imapscript import Client
from stack import Stack

SESSIONS, SEARCHED, FILES = 50, 1500, 30000
_stack = []


def stack():
    if not _stack:
        _stack.append(Stack(tmp("s"), users=["greedy@example.com", "modest@example.com", "many@example.com"],
                            extra_conf=["disable_plaintext_auth = no", "mail_max_userip_connections = 100",
                                        "imapd_processes = 1"]).start())
        at_end(_stack[0].stop)
    return _stack[0]


def connect(user):
    c = Client(("127.0.0.1", stack().ports["imap"]), 120)
    c.login(user + "@example.com", "pass")
    return c


def answer(c, tag):
    while True:
        r = c.response()
        if r.startswith(tag.encode() + b" "):
            check(r[len(tag) + 1:].startswith(b"OK"), "answer: %r" % r)
            return


def ok(c, text, tag="t"):
    c.send((tag + " " + text + "\r\n").encode())
    answer(c, tag)


def fill(user, n, text):
    """n files of that text in the cur/ of a user who has logged in: links to one of them."""
    maildir = stack().maildir(user + "@example.com")
    owner = os.stat(maildir)
    one = os.path.join(maildir, "cur", "1.first:2,")
    with open(one, "w") as f:
        f.write(text)
    os.chown(one, owner.st_uid, owner.st_gid)
    for i in range(2, n + 1):
        os.link(one, os.path.join(maildir, "cur", "%d.M%dP1.x:2," % (i, i)))


def is_answered(c):
    return bool(select.select([c.s], [], [], 0)[0])


@case
def fifty_searches_of_one_user_leave_others_their_turn():
    ok(connect("greedy"), "NOOP")
    fill("greedy", SEARCHED, "Subject: x\n\n" + ("So wenig wie nichts, und davon viel.\n" * 300))
    first = connect("greedy")
    ok(first, "SELECT INBOX")
    sessions = [first] + [connect("greedy") for _ in range(SESSIONS - 1)]
    for c in sessions[1:]:
        ok(c, "SELECT INBOX")
    modest = connect("modest")
    for c in sessions:
        c.send(b's UID SEARCH BODY "nowhere to be found"\r\n')
    began, n = time.monotonic(), 0
    while n < 20:
        ok(modest, "SELECT INBOX")
        ok(modest, "STATUS Sent (MESSAGES)")
        n += 1
    took = time.monotonic() - began
    over = sum(is_answered(c) for c in sessions)
    print("    %d rounds of another user in %.2f s, %d of %d searches were over" % (n, took, over, SESSIONS))
    check(over < SESSIONS // 2, "another user's %d short rounds took as long as %d of %d searches" % (n, over, SESSIONS))
    for c in sessions:
        answer(c, "s")
        c.close()
    modest.close()


@case
def a_huge_folder_is_scanned_beside_other_work():
    ok(connect("many"), "NOOP")
    fill("many", FILES, "Subject: x\n\nx\n")
    a, b, other = connect("many"), connect("many"), connect("modest")
    ok(b, "SELECT Sent")
    a.send(b"s SELECT INBOX\r\n")
    own = others = 0
    while not is_answered(a):
        b.send(b"a APPEND Sent {10+}\r\nSubject: \r\n\r\n")
        answer(b, "a")
        own += 1
        ok(other, "STATUS INBOX (MESSAGES)")
        others += 1
    answer(a, "s")
    print("    while %d files were scanned: %d APPENDs of the same user, %d STATUS of another" % (FILES, own, others))
    check(own >= 3 and others >= 3, "the scan stopped others: %d and %d commands" % (own, others))
    ok(a, "NOOP")

    a.send(b"s UID STORE 1:* +FLAGS.SILENT (\\Flagged)\r\n")
    own = 0
    while not is_answered(a):
        b.send(b"a APPEND Sent {10+}\r\nSubject: \r\n\r\n")
        answer(b, "a")
        own += 1
    answer(a, "s")
    print("    while %d were flagged: %d APPENDs" % (FILES, own))
    check(own >= 3, "STORE stopped the user's other session: %d commands" % own)
    for c in (a, b, other):
        c.close()


main()
