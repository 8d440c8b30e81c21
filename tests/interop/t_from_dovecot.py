#!/usr/bin/env python3
# A Maildir that a real Dovecot wrote, opened where it lies: no client may notice. UIDs, UIDVALIDITY, flags, keywords, dates,
# sizes, POP3 UIDLs, folders and subscriptions are compared over the wire, message by message.
import imaplib
import os
import poplib
import re
import shutil
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from harness import *
from refstack import RefStack
from stack import Stack

USER = "u0@example.com"
MESSAGES = 60
FOLDERS = ["INBOX", "Sent", "Lists.Entw&APw-rfe", '"with space"', "Empty"]


def ok(answer, what):
    equal(answer[0], "OK", "%s: %r" % (what, answer[1]))
    return answer[1]


def login(port):
    m = imaplib.IMAP4("127.0.0.1", port)
    ok(m.login(USER, "pass"), "LOGIN")
    return m


def fill(m):
    for f in FOLDERS[2:]:
        ok(m.create(f), "CREATE " + f)
    ok(m.subscribe("Lists.Entw&APw-rfe"), "SUBSCRIBE")
    ok(m.unsubscribe("Junk"), "UNSUBSCRIBE")
    for i in range(MESSAGES):
        flags = [r"\Seen", r"\Flagged \Answered", "", "$Forwarded NonJunk", r"\Draft $Label%d" % (i % 7)][i % 5]
        text = "From: a@example.org\r\nSubject: message %d\r\n\r\n%s" % (i, "line\r\n" * (i * 3 % 17))
        date = '"%02d-Feb-2021 03:04:%02d +0100"' % (1 + i % 28, i)
        ok(m.append(FOLDERS[i % 4], "(%s)" % flags, date, text.encode()), "APPEND")
    for f in FOLDERS[:4]:
        ok(m.select(f), "SELECT")
        ok(m.store("2,5,7", "+FLAGS", r"(\Deleted)"), "STORE")
        ok(m.expunge(), "EXPUNGE")
        ok(m.copy("1:2", "Empty"), "COPY")
    ok(m.select("Empty"), "SELECT")
    ok(m.store("1:*", "+FLAGS", r"(\Deleted)"), "STORE")
    ok(m.expunge(), "EXPUNGE")
    # One that nobody has seen: it stays in new/ and is \Recent.
    ok(m.append("INBOX", None, None, b"Subject: last\r\n\r\nx\r\n"), "APPEND")


def words(lines):
    return sorted(tuple(sorted(l.split()) if isinstance(l, str) else l) for l in lines)


def look(m):
    """Everything a client could know, in a form to compare."""
    seen = {}
    for line in ok(m.list(), "LIST") + ok(m.lsub(), "LSUB"):
        pass
    seen["folders"] = sorted(line.decode().rsplit(" ", 1)[-1].strip('"') for line in ok(m.list(), "LIST"))
    seen["subscribed"] = sorted(line.decode().rsplit(" ", 1)[-1].strip('"') for line in ok(m.lsub(), "LSUB"))
    for f in FOLDERS:
        status = ok(m.status(f, "(MESSAGES UIDNEXT UIDVALIDITY UNSEEN)"), "STATUS")[0].decode()
        seen[f] = dict(re.findall(r"(MESSAGES|UIDNEXT|UIDVALIDITY|UNSEEN) (\d+)", status))
        ok(m.select(f, readonly=True), "EXAMINE")
        if seen[f]["MESSAGES"] == "0":
            continue
        for row in ok(m.fetch("1:*", "(UID FLAGS INTERNALDATE RFC822.SIZE)"), "FETCH"):
            row = row.decode()
            flags = sorted(x for x in re.search(r"FLAGS \(([^)]*)\)", row).group(1).split() if x != r"\Recent")
            date = imaplib.Internaldate2tuple(row.encode())
            seen[f, re.search(r"UID (\d+)", row).group(1)] = (flags, date, re.search(r"SIZE (\d+)", row).group(1))
    return seen


def uidls(port):
    p = poplib.POP3("127.0.0.1", port)
    p.user(USER)
    p.pass_("pass")
    rows = p.uidl()[1]
    p.quit()
    return rows


@case
def dovecots_maildir_in_place():
    kept = tmp("kept", "x")[:-2]
    with RefStack(tmp("ref"), parts=("dovecot",), users=[USER]) as ref:
        m = login(ref.ports["imap"])
        fill(m)
        m.logout()
        m = login(ref.ports["imap"])
        want = look(m)
        m.logout()
        want_uidls = uidls(ref.ports["pop3"])
        shutil.copytree(os.path.join(ref.mail_root, "example.com", "u0"), os.path.join(kept, "u0"))
    check(len([k for k in want if isinstance(k, tuple)]) > 40, "Dovecot has the messages")
    with Stack(tmp("ours"), users=[USER]) as s:
        os.makedirs(os.path.dirname(s.maildir(USER)), exist_ok=True)
        shutil.rmtree(s.maildir(USER), ignore_errors=True)
        shutil.copytree(os.path.join(kept, "u0"), s.maildir(USER))
        m = login(s.ports["imap"])
        got = look(m)
        m.logout()
        for key in sorted(want, key=str):
            equal(got.get(key), want[key], "%s" % (key,))
        equal(sorted(map(str, got)), sorted(map(str, want)), "what there is")
        equal(uidls(s.ports["pop3"]), want_uidls, "UIDL")


main()
