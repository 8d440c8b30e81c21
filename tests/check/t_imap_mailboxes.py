#!/usr/bin/env python3
# Many mailboxes and many annotations: LIST with STATUS of hundreds of folders, METADATA at its limits, hostile patterns.
# timeout: 120
import os
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from harness import *
from imapscript import Client
from stack import Stack

FOLDERS = 300
_stack = []


def stack():
    if not _stack:
        _stack.append(Stack(tmp("m"), users=["many@example.com", "meta@example.com", "evil@example.com"],
                            extra_conf=["disable_plaintext_auth = no", "mail_server_comment = a test",
                                        "imap_metadata_value_size = 20000"]).start())
        at_end(_stack[0].stop)
    return _stack[0]


def login(user):
    c = Client(("127.0.0.1", stack().ports["imap"]), timeout_s=60)
    c.login(user, "pass")
    return c


def command(c, octets):
    """The untagged responses, and the tagged one without its tag."""
    c.send(b"t " + octets + b"\r\n")
    out = []
    while True:
        r = c.response()
        if r.startswith(b"t "):
            return out, r[2:]
        out.append(r)


def make_folder(user, name):
    for part in ("cur", "new", "tmp"):
        os.makedirs(os.path.join(stack().maildir(user), "." + name, part))


def drop(user, folder, name, text="Subject: x\n\ny\n"):
    with open(os.path.join(stack().maildir(user), "." + folder, "new", name), "w") as f:
        f.write(text)


def statuses(c):
    """{folder: messages}; each STATUS must come right after the line of its mailbox."""
    rows, tagged = command(c, b'LIST "" f* RETURN (STATUS (MESSAGES UIDNEXT))')
    rows = [r for r in rows if not r.startswith(b"* OK [INPROGRESS")]
    check(tagged.startswith(b"OK"), "%r" % tagged)
    check(len(rows) == 2 * FOLDERS, "%d lines" % len(rows))
    out = {}
    for i in range(0, len(rows), 2):
        name = rows[i].split(b" ")[-1]
        m = re.match(rb"\* STATUS (\S+) \(MESSAGES (\d+) UIDNEXT \d+\)$", rows[i + 1])
        check(m and m.group(1) == name, "%r then %r" % (rows[i], rows[i + 1]))
        out[name.decode()] = int(m.group(2))
    return out


@case
def many_folders_tell_their_status():
    user = "many@example.com"
    c = login(user)
    for i in range(FOLDERS):
        make_folder(user, "f%04d" % i)
    check(set(statuses(c).values()) == {0}, "empty ones are not")
    # What comes from elsewhere is seen, at the borders of what is asked at once, too.
    for i in (0, 63, 64, 200, FOLDERS - 1):
        drop(user, "f%04d" % i, "1700000000.M%dP1.x" % i)
    got = statuses(c)
    check(sorted(n for n in got if got[n] == 1) == ["f0000", "f0063", "f0064", "f0200", "f0299"], "changes are not seen")
    check(sum(got.values()) == 5, "more than there is")
    command(c, b"SELECT f0200")
    command(c, b"STORE 1 +FLAGS (\\Deleted)")
    command(c, b"CLOSE")
    check(statuses(c)["f0200"] == 0, "own changes are not seen")
    # Another session, and after a mailbox is gone in the middle.
    command(login(user), b"DELETE f0201")
    rows, _ = command(c, b'LIST "" f020% RETURN (STATUS (MESSAGES))')
    check(len(rows) == 2 * 9, "%r" % rows)


@case
def metadata_at_its_limits():
    c = login("meta@example.com")
    many = b" ".join(b'/private/e%d "v%d"' % (i, i) for i in range(9999))
    _, tagged = command(c, b"SETMETADATA INBOX (" + many + b")")
    check(tagged.startswith(b"NO [METADATA TOOMANY]"), "%r" % tagged)
    rows, tagged = command(c, b"GETMETADATA (DEPTH infinity) INBOX /private")
    check(rows == [] and tagged.startswith(b"OK"), "something was kept: %r" % rows[:1])
    _, tagged = command(c, b"SETMETADATA INBOX (" + many + b' /private/f "1" /private/g "2")')
    check(tagged.startswith(b"BAD"), "%r" % tagged)
    first = b" ".join(b'/private/e%d "v%d"' % (i, i) for i in range(1000))
    _, tagged = command(c, b"SETMETADATA INBOX (" + first + b")")
    check(tagged.startswith(b"OK"), "%r" % tagged)
    _, tagged = command(c, b'SETMETADATA INBOX (/private/more "x")')
    check(tagged.startswith(b"NO [METADATA TOOMANY]"), "%r" % tagged)
    _, tagged = command(c, b'SETMETADATA INBOX (/private/e0 NIL /private/more "x")')
    check(tagged.startswith(b"OK"), "%r" % tagged)
    rows, _ = command(c, b"GETMETADATA (DEPTH infinity) INBOX /private")
    check(rows[0].count(b"/private/") == 1000 and b"/private/more" in rows[0], "%r" % rows[0][:100])
    # Each once, however often it is asked for.
    asked = b" ".join([b"/private/more"] * 9000)
    rows, _ = command(c, b"GETMETADATA INBOX (" + asked + b")")
    check(rows == [b'* METADATA INBOX (/private/more "x")'], "%r" % rows[0][:100])
    # A value that is too long is refused before it is sent, and read past where it comes unasked.
    _, tagged = command(c, b"SETMETADATA INBOX (/private/e1 {1048576}")
    check(tagged.startswith(b"NO [METADATA MAXSIZE 20000]"), "%r" % tagged)
    _, tagged = command(c, b"SETMETADATA INBOX (/private/e1 {1048576+}\r\n" + b"x" * 1048576 + b")")
    check(tagged.startswith(b"NO [METADATA MAXSIZE 20000]"), "%r" % tagged)
    _, tagged = command(c, b'SETMETADATA INBOX (/private/e1 "' + b"x" * 20001 + b'")')
    check(tagged.startswith(b"NO [METADATA MAXSIZE 20000]"), "%r" % tagged)
    rows, _ = command(c, b"GETMETADATA INBOX /private/e1")
    check(rows == [b'* METADATA INBOX (/private/e1 "v1")'], "%r" % rows)
    # Any octet.
    value = bytes(range(256))
    _, tagged = command(c, b"SETMETADATA INBOX (/private/e1 ~{256+}\r\n" + value + b")")
    check(tagged.startswith(b"OK"), "%r" % tagged)
    rows, _ = command(c, b"GETMETADATA INBOX /private/e1")
    check(rows == [b"* METADATA INBOX (/private/e1 ~{256}\r\n" + value + b")"], "%r" % rows)
    rows, _ = command(c, b'GETMETADATA "" (/shared/comment)')
    check(rows == [b'* METADATA "" (/shared/comment "a test")'], "%r" % rows)
    # The account's are apart from INBOX's; both outlive the session.
    _, tagged = command(c, b'SETMETADATA "" (/private/e1 "mine")')
    check(tagged.startswith(b"OK"), "%r" % tagged)
    rows, _ = command(login("meta@example.com"), b'GETMETADATA "" /private/e1')
    check(rows == [b'* METADATA "" (/private/e1 "mine")'], "%r" % rows)


@case
def hostile_patterns():
    user = "evil@example.com"
    c = login(user)
    for i in range(200):
        make_folder(user, "a" * 200 + "%03d" % i)
    wild = b"*a%" * 600
    rows, tagged = command(c, b'LIST "" "' + wild + b'b"')
    check(rows == [] and tagged.startswith(b"OK"), "%r" % tagged)
    _, tagged = command(c, b'LIST "" (' + b" ".join([b'"' + wild + b'b"'] * 30) + b")")
    check(tagged.startswith(b"OK"), "%r" % tagged)
    _, tagged = command(c, b'LIST "" (' + b" ".join([b'"' + wild + b'"'] * 100) + b")")
    check(tagged.startswith(b"BAD"), "%r" % tagged)
    rows, tagged = command(c, b'LIST "" (' + b" ".join([b"*"] * 1000) + b") RETURN (CHILDREN)")
    check(len(rows) == 205 and tagged.startswith(b"OK"), "%d %r" % (len(rows), tagged))
    _, tagged = command(c, b'LIST "" (' + b" ".join([b"*"] * 1001) + b")")
    check(tagged.startswith(b"BAD"), "%r" % tagged)
    _, tagged = command(c, b'LIST "' + b"x" * 100000 + b'" (* %)')
    check(tagged.startswith(b"BAD"), "%r" % tagged)
    for bad in (b"(", b"((", b"(SUBSCRIBED", b'() ""', b'() "" ((', b'() "" (*', b'"" * RETURN (', b'"" * RETURN (STATUS (',
                b'"" * RETURN (METADATA (/private/x'):
        check(command(c, b"LIST " + bad)[1].startswith(b"BAD"), "%r" % bad)
        command(c, b"NOOP")


main()
