#!/usr/bin/env python3
# What the index keeps of a message: once computed no file is opened for it; new messages are computed unasked, an import of
# thousands is not; rows come with a copy and go with the message; thread ids.
# A file is overwritten in place here, which no folder's time tells of: an answer from the index is still the old one.
# timeout: 120
import os
import sqlite3
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from harness import *
from imapscript import Client
from stack import Stack

USERS = ["c%d@example.com" % i for i in range(6)]
FORMS = ("ENVELOPE", "BODYSTRUCTURE", "BODY", "PREVIEW", "RFC822.SIZE", "INTERNALDATE", "EMAILID", "THREADID",
         "BODY.PEEK[HEADER.FIELDS (From To Cc Subject Date Message-ID References In-Reply-To Reply-To Content-Type X-Priority"
         " List-Post List-Id Newsgroups Disposition-Notification-To)]")
MESSAGE = ("From: Ann <ann@example.com>\r\nTo: bob@example.org\r\nSubject: %s\r\nDate: Mon, 7 Feb 1994 21:52:25 -0800\r\n"
           "Message-ID: <%s@example.com>\r\nList-Id: <l.example.com>\r\n%sX-Other: here\r\n\r\nhello\r\n")
_stack = []


def stack():
    if not _stack:
        _stack.append(Stack(tmp("s"), users=USERS, extra_conf=["disable_plaintext_auth = no"]).start())
        at_end(_stack[0].stop)
    return _stack[0]


def connect(user):
    c = Client(("127.0.0.1", stack().ports["imap"]))
    c.login(USERS[user], "pass")
    return c


def answer(c, tag):
    untagged = []
    while True:
        r = c.response()
        if r.startswith(tag + b" "):
            check(r.startswith(tag + b" OK"), "%r" % r)
            return untagged
        untagged.append(r)


def ok(c, text):
    c.send(b"t " + text.encode() + b"\r\n")
    return answer(c, b"t")


def append(c, text, mailbox="INBOX"):
    text = text.encode()
    c.send(b"A APPEND %s {%d+}\r\n" % (mailbox.encode(), len(text)) + text + b"\r\n")
    answer(c, b"A")


def fetch(c, seq, items):
    got = [r for r in ok(c, "FETCH %s (%s)" % (seq, items)) if b" FETCH (" in r]
    check(len(got) == 1, "FETCH %s: %r" % (seq, got))
    return got[0].split(b" FETCH ", 1)[1]


def index(user, sql, *args):
    """Rows of the user's index; None while it is not there."""
    path = os.path.join(stack().maildir(USERS[user]), "postern-index.db")
    if not os.path.exists(path):
        return None
    db = sqlite3.connect("file:%s?mode=ro" % path, uri=True, timeout=10)
    try:
        return db.execute(sql, args).fetchall()
    finally:
        db.close()


def count(user, table):
    rows = index(user, "SELECT count(*) FROM " + table)
    return rows[0][0] if rows else 0


def files(user, folder=""):
    base = os.path.join(stack().maildir(USERS[user]), folder)
    return [os.path.join(base, part, f) for part in ("new", "cur") for f in os.listdir(os.path.join(base, part))]


def overwrite(path):
    size = os.path.getsize(path)
    with open(path, "r+b") as f:
        f.write((b"X-Other: junk\n\n" + b"junk\n" * size)[:size])


@case
def a_second_fetch_opens_no_file():
    c = connect(0)
    append(c, MESSAGE % ("first", "a", ""))
    ok(c, "SELECT INBOX")
    first = {f: fetch(c, 1, f) for f in FORMS}
    c.close()
    overwrite(files(0)[0])
    c = connect(0)
    ok(c, "SELECT INBOX")
    for f in FORMS:
        check(fetch(c, 1, f) == first[f], "%s: %r is not %r" % (f, fetch(c, 1, f), first[f]))
    all_of_it = fetch(c, 1, " ".join(FORMS))
    check(all_of_it.startswith(b"(ENVELOPE") and b"junk" not in all_of_it, "%r" % all_of_it)
    other = fetch(c, 1, "BODY.PEEK[HEADER.FIELDS (X-Other)]")
    check(b"junk" in other, "a field that the index does not keep comes from the file: %r" % other)
    c.close()


@case
def fields_come_as_they_stand():
    c = connect(1)
    head = "Received: x\r\nto: b@example.com\r\nSUBJECT: a\r\n folded\r\n\tone\r\nTo: second@example.com\r\nlist-post: <x>\r\n"
    append(c, head + "\r\ntext")
    ok(c, "SELECT INBOX")
    for ask, want in (("TO", "to: b@example.com\r\nTo: second@example.com\r\n"), ("Subject", "SUBJECT: a\r\n folded\r\n\tone\r\n"),
                      ("Cc", ""), ("List-Post List-Help", "list-post: <x>\r\n"), ("Cc Received", "Received: x\r\n")):
        for i in range(2):
            got = fetch(c, 1, "BODY.PEEK[HEADER.FIELDS (%s)]" % ask)
            check(got.endswith(("}\r\n%s\r\n)" % want).encode()), "%s: %r" % (ask, got))
    got = fetch(c, 1, "BODY.PEEK[HEADER.FIELDS (SUBJECT)]<2.5>")
    check(got.endswith(b"<2> {5}\r\nBJECT)"), "%r" % got)
    c.close()


@case
def new_mail_is_computed_unasked():
    c = connect(2)
    ok(c, "SELECT INBOX")
    path = os.path.join(stack().maildir(USERS[2]), "new", "1.foreign.example")
    with open(path, "w") as f:
        f.write((MESSAGE % ("foreign", "f", "")).replace("\r\n", "\n"))
    ok(c, "NOOP")
    wait_for(lambda: count(2, "cache_sort") == 1, 20, "the forms of a new message")
    c.close()
    overwrite(files(2)[0])
    c = connect(2)
    ok(c, "SELECT INBOX")
    check(b'"foreign"' in fetch(c, 1, "ENVELOPE"), "computed before it was asked for")
    c.close()


@case
def an_import_is_not_computed_at_once():
    maildir = stack().maildir(USERS[3])
    for part in ("new", "cur", "tmp"):
        os.makedirs(os.path.join(maildir, part), exist_ok=True)
    for i in range(1500):
        with open(os.path.join(maildir, "cur", "%d.M%dP1.import:2,S" % (1000000 + i, i)), "w") as f:
            f.write(MESSAGE % ("n%d" % i, "i%d" % i, ""))
    c = connect(3)
    ok(c, "SELECT INBOX")
    wait_for(lambda: count(3, "cache_sort") >= 500, 60, "the newest messages")
    time.sleep(1.5)
    check(count(3, "cache_sort") == 500, "%d messages were computed" % count(3, "cache_sort"))
    check(index(3, "SELECT min(uid) FROM cache_sort") == [(1001,)], "the newest are the ones that are asked for first")
    c.close()


@case
def rows_come_with_a_copy_and_go_with_the_message():
    c = connect(4)
    ok(c, "CREATE Box")
    for i in range(5):
        append(c, MESSAGE % ("r%d" % i, "r%d" % i, ""))
    ok(c, "SELECT INBOX")
    ok(c, "FETCH 1:5 ENVELOPE")
    ok(c, "NOOP")
    check(count(4, "cache_sort") == 5, "%d rows" % count(4, "cache_sort"))
    ok(c, "COPY 1:3 Box")
    ok(c, "MOVE 4 Box")
    ok(c, "STORE 1 +FLAGS.SILENT (\\Deleted)")
    ok(c, "EXPUNGE")
    for table in ("cache", "cache_headers", "cache_sort"):
        check(count(4, table) == 7, "%s has %d rows of 7" % (table, count(4, table)))
        orphans = index(4, "SELECT count(*) FROM %s c WHERE NOT EXISTS (SELECT 1 FROM messages m WHERE m.mailbox = c.mailbox"
                           " AND m.uid = c.uid)" % table)
        check(orphans == [(0,)], "%s has rows of no message: %r" % (table, orphans))
    for path in files(4, ".Box"):
        overwrite(path)
    ok(c, "SELECT Box")
    check([b'"r%d"' % i in fetch(c, i + 1, "ENVELOPE") for i in range(4)] == [True] * 4, "a copy is computed again")
    ok(c, "UNSELECT")
    ok(c, "DELETE Box")
    check(count(4, "cache") == 3, "rows of a deleted mailbox stay: %d" % count(4, "cache"))
    c.close()


def thread(c, seq):
    return fetch(c, seq, "THREADID").split(b"(")[2].split(b")")[0]


@case
def threads():
    c = connect(5)
    append(c, MESSAGE % ("Re: b", "reply", "References: <root@example.com> <mid@example.com>\r\n"))  # before what it answers
    append(c, MESSAGE % ("b", "root", ""))
    append(c, MESSAGE % ("another", "other", ""))
    append(c, MESSAGE % ("Re: b", "mid", "In-Reply-To: <root@example.com>\r\n"), "Sent")
    ok(c, "SELECT INBOX")
    told = [thread(c, i) for i in (1, 2, 3)]
    check(told[0] == told[1] != told[2], "a reply is in the thread of what it answers: %r" % told)
    ok(c, "SELECT Sent")
    check(thread(c, 1) == told[0], "a thread is one over all mailboxes")
    # One that answers two threads is in that of its nearest parent, and nobody's thread changes.
    append(c, MESSAGE % ("join", "join", "References: <root@example.com> <other@example.com>\r\n"))
    append(c, MESSAGE % ("Re: join", "leaf", "In-Reply-To: <join@example.com>\r\n"), "INBOX")
    ok(c, "SELECT INBOX")
    check(thread(c, 4) == told[2], "the nearest parent decides")
    check(thread(c, 5) == told[2], "and so for who answers it")
    check([thread(c, i) for i in (1, 2, 3)] == told, "a thread that was told changed")
    append(c, "Subject: no ids\r\n\r\n1\r\n")
    append(c, "Subject: no ids\r\n\r\n2\r\n")
    ok(c, "NOOP")
    check(thread(c, 6) != thread(c, 7), "messages without ids are threads of their own")
    c.close()


if __name__ == "__main__":
    main()
