#!/usr/bin/env python3
# One mailbox of odd mail in a real Dovecot and in ours: SEARCH, SORT and THREAD give the same answers. Where ours differs on
# purpose, it is said why (on_purpose()).
# timeout: 400
import os
import re
import shutil
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from harness import *
from imapscript import Client
from oddmail import write_maildir
from refstack import RefStack
from stack import Stack

USER = "odd@example.com"
MESSAGES = int(os.environ.get("ODD_MESSAGES", 2000))

HEADERS = ["subject", "from", "to", "cc", "bcc"]
TEXTS = ["hello", "HELLO", "meeting on", "re:", "[list]", "budget", "quick brown", "the  ", "zoe", "example.org", "adams", "carol@x",
         "straße", "STRASSE", "café", "cafe", "ärger", "äRGER", "Привет", "МОСКВА", "日本", "가", "å", "ångström", "nowhere at all",
         "“quoted”", "Łódź", "ΣΊΣΥΦΟΣ", "σίσυφος", "=", "a", "?="]
OTHERS = [
    "ALL", "SEEN", "UNSEEN", "FLAGGED UNDELETED", "ANSWERED", "DRAFT", "DELETED", "NOT SEEN", "OR SEEN FLAGGED", "OR NOT SEEN (DRAFT FLAGGED)",
    "1:100", "NOT 1:100", "UID 5:50", "1,3,5:9,590:*", "LARGER 1000", "SMALLER 700", "NOT SMALLER 700",
    "BEFORE 24-Dec-2019", "ON 23-Dec-2019", "SINCE 24-Dec-2019", "SENTBEFORE 1-Feb-2019", "SENTON 14-Jan-2020", "SENTSINCE 15-Mar-2020",
    "NOT SENTSINCE 1-Jan-2020", 'HEADER Message-ID ""', 'NOT HEADER Message-ID ""', 'HEADER References "gone"', 'HEADER X-Spam-Status "no"',
    'HEADER X-Spam-Status ""', 'HEADER Content-Type "multipart"', 'HEADER Nowhere ""', 'SUBJECT ""', 'NOT SUBJECT ""', 'HEADER Date "+0930"',
    'FROM "bob" SUBJECT "hello"', 'OR FROM "bob" SUBJECT "hello"', 'BODY "quick" UNSEEN', 'NOT BODY "the"', 'OR BODY "quick brown" SUBJECT "budget"',
    'TEXT "message-id: <1"', 'TEXT "partly described"', 'BODY "partly described"', 'BODY "preamble"', 'BODY "unsearchable"', 'TEXT "report.bin"',
    'SUBJECT "hello" SENTSINCE 1-Jan-2020 NOT SEEN LARGER 500', 'TEXT "octet-stream"', 'TEXT "utf-8"', 'OR TEXT "gone1" SINCE 24-Dec-2019',
]
SORTS = ["ARRIVAL", "CC", "DATE", "FROM", "SIZE", "SUBJECT", "TO", "DISPLAYFROM", "DISPLAYTO", "REVERSE ARRIVAL", "REVERSE DATE", "REVERSE SUBJECT",
         "REVERSE FROM", "SUBJECT REVERSE DATE", "FROM SUBJECT SIZE", "REVERSE TO DATE", "REVERSE DISPLAYFROM REVERSE SUBJECT", "CC REVERSE SIZE"]


def programs():
    for t in TEXTS:
        for h in HEADERS:
            yield '%s "%s"' % (h.upper(), t)
        yield 'BODY "%s"' % t
        yield 'TEXT "%s"' % t
    yield from OTHERS


def commands():
    for p in programs():
        yield "SEARCH CHARSET UTF-8 " + p
    yield "UID SEARCH UNSEEN"
    for by in SORTS:
        yield "SORT (%s) UTF-8 ALL" % by
    yield "UID SORT (SUBJECT) US-ASCII SEEN"
    yield "SORT (DATE) UTF-8 100:110"
    for kind in ("ORDEREDSUBJECT", "REFERENCES", "REFS"):
        yield "THREAD %s UTF-8 ALL" % kind
        yield "THREAD %s UTF-8 UNSEEN" % kind
        yield "UID THREAD %s UTF-8 SUBJECT hello" % kind
        yield "THREAD %s UTF-8 FROM nowhere" % kind


class Session:
    def __init__(self, port):
        self.c = Client(("127.0.0.1", port), 120)
        self.c.login(USER, "pass")
        self.ask("SELECT INBOX")

    def ask(self, text):
        """The untagged response of that command's kind; strings that are not ASCII as literals."""
        out = b"t "
        for i, piece in enumerate(re.split(r'"([^"]*)"', text)):
            octets = piece.encode()
            out += octets if i % 2 == 0 else (b'"%s"' % octets if piece.isascii() else b"{%d+}\r\n%s" % (len(octets), octets))
        self.c.send(out + b"\r\n")
        got = None
        kind = text.split()[1 if text.startswith("UID") else 0]
        while True:
            r = self.c.response()
            if r.startswith(b"t "):
                check(r.startswith(b"t OK"), "%s: %r" % (text, r))
                return got
            if r.startswith(b"* " + kind.encode()):
                check(got is None, "one answer to " + text)
                got = r[len(kind) + 2:].decode().strip()


def answers(port):
    s = Session(port)
    return {c: s.ask(c) for c in commands()}


def headers_of(box):
    """By sequence number: the header, and the whole message."""
    out = {}
    for i, name in enumerate(sorted(os.listdir(os.path.join(box, "cur")), key=lambda n: int(n.split(".")[0]))):
        with open(os.path.join(box, "cur", name), "rb") as f:
            text = f.read()
        out[i + 1] = (text.split(b"\n\n")[0], text)
    return out


def on_purpose(command, seq, mail):
    """A message that one server finds and the other does not: is that as it should be?"""
    header, text = mail[seq]
    # The header of an attached message is in the body of the message it is attached to (RFC 3501 6.4.4); Dovecot passes over it.
    if "BODY" in command and b"message/rfc822" in text:
        return True
    # What has no date was not sent before any day; to Dovecot it was sent in 1970.
    return "SENTBEFORE" in command and not re.search(rb"(?m)^Date: (?!yesterday)", header)


@case
def the_same_answers():
    kept = tmp("kept", "x")[:-2]
    with RefStack(tmp("ref"), parts=("dovecot",), users=[USER]) as ref:
        box = os.path.join(ref.mail_root, "example.com", "odd")
        write_maildir(box, MESSAGES, 42)
        for folder, _, names in os.walk(box):
            for path in [folder] + [os.path.join(folder, n) for n in names]:
                os.chown(path, 5000, 5000)
        want = answers(ref.ports["imap"])
        shutil.copytree(box, os.path.join(kept, "odd"))
    mail = headers_of(os.path.join(kept, "odd"))
    with Stack(tmp("ours"), users=[USER]) as s:
        os.makedirs(os.path.dirname(s.maildir(USER)), exist_ok=True)
        shutil.rmtree(s.maildir(USER), ignore_errors=True)
        shutil.copytree(os.path.join(kept, "odd"), s.maildir(USER))
        cold = answers(s.ports["imap"])
        warm = answers(s.ports["imap"])
    found, excused = 0, 0
    for c in want:
        equal(warm[c], cold[c], c + ", the second time")
        if "SEARCH" not in c.split()[:2] or c.startswith("UID"):
            equal(cold[c], want[c], c)
            continue
        ours, theirs = (set(map(int, a[c].split())) for a in (cold, want))
        found += len(ours & theirs)
        for seq in sorted(ours ^ theirs):
            check(on_purpose(c, seq, mail), "%s: message %d is found only by %s" % (c, seq, "us" if seq in ours else "Dovecot"))
            excused += 1
    check(found > 20 * excused and len(want["SORT (SUBJECT) UTF-8 ALL"].split()) == MESSAGES, "%d same, %d excused" % (found, excused))


main()
