#!/usr/bin/env python3
# IMAP clients that are hostile, broken or merely unusual: pipelines, half-closed connections, names that try to leave the
# Maildir, 50 sessions on one mailbox whose every number is checked, a worker that is killed.
# timeout: 240
import os
import random
import re
import signal
import socket
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from harness import *
from imapscript import Client, MESSAGES, answer, append, command, ok
from stack import Stack

USERS = ["o%d@example.com" % i for i in range(10)]
SECRET = b"only-the-victim-may-read-this"
SESSIONS = 50
CROWD_S = 5
_stack = []


def stack():
    if not _stack:
        _stack.append(Stack(tmp("s"), users=USERS, extra_conf=["disable_plaintext_auth = no",
                                                              "mail_max_userip_connections = 80"]).start())
        at_end(_stack[0].stop)
    return _stack[0]


def connect(user, timeout_s=30):
    c = Client(("127.0.0.1", stack().ports["imap"]), timeout_s)
    c.login(USERS[user], "pass")
    return c


def until_eof(c):
    """The responses up to the end of the connection."""
    got = []
    try:
        while True:
            got.append(c.response())
    except EOFError:
        return got


def simple(n=0):
    return MESSAGES["simple"].replace("one", "number %d" % n).encode()


# ---------------------------------------------------------------------------------------- what comes how


@case
def apples_pipeline():
    """All at once after login, as Mail does: answers come in the order of the commands, each with its own."""
    c = connect(0)
    for i in range(3):
        append(c, simple(i))
    c.send(b"1.1 ID (\"name\" \"Mac OS X Mail\")\r\n1.2 CAPABILITY\r\n1.3 NAMESPACE\r\n1.4 LIST \"\" \"*\"\r\n"
           b"1.5 STATUS INBOX (MESSAGES UIDNEXT UIDVALIDITY UNSEEN)\r\n1.6 SELECT INBOX\r\n1.7 UID FETCH 1:* (FLAGS UID)\r\n"
           b"1.8 FETCH 1:3 (INTERNALDATE UID RFC822.SIZE FLAGS BODY.PEEK[HEADER.FIELDS (date subject from)])\r\n"
           b"1.9 UID STORE 2 +FLAGS.SILENT (\\Deleted)\r\n1.10 EXPUNGE\r\n1.11 FETCH 1:2 (UID)\r\n1.12 IDLE\r\n")
    seen = {}
    for i in range(1, 12):
        seen[i], tagged = answer(c, "1.%d" % i)
        check(tagged.startswith("OK"), "1.%d %s" % (i, tagged))
    check(any(b"* STATUS INBOX (MESSAGES 3 UIDNEXT 4" in r for r in seen[5]), "STATUS: %r" % seen[5])
    equal(len([r for r in seen[7] if b" FETCH (" in r]), 3, "flags")
    equal([r for r in seen[10] if b"EXPUNGE" in r], [b"* 2 EXPUNGE"], "EXPUNGE")
    equal([r for r in seen[11] if b"FETCH" in r], [b"* 1 FETCH (UID 1)", b"* 2 FETCH (UID 3)"], "numbers after EXPUNGE")
    equal(c.response(), b"+ idling", "IDLE")
    c.send(b"DONE\r\n1.13 NOOP\r\n1.14 LOGOUT\r\n")
    check(answer(c, "1.12")[1].startswith("OK") and answer(c, "1.13")[1].startswith("OK"), "after IDLE")
    equal(len(answer(c, "1.14")[0]), 1, "BYE")
    c.close()


@case
def numbers_in_a_pipeline_are_those_of_their_time():
    """Another session expunges between two commands that were sent together: numbers stay until a command may change them."""
    a, b = connect(1), connect(1)
    for i in range(5):
        append(a, simple(i))
    ok(a, "SELECT INBOX")
    ok(b, "SELECT INBOX")
    ok(b, "UID STORE 1:2 +FLAGS.SILENT (\\Deleted)")
    ok(b, "EXPUNGE")
    a.send(b"x FETCH 3 (UID)\r\ny STORE 4 +FLAGS (\\Flagged)\r\nz SEARCH 5\r\nu NOOP\r\nv FETCH 1 (UID)\r\n")
    got, tagged = answer(a, "x")
    check(b"* 3 FETCH (UID 3)" in got and not any(b"EXPUNGE" in r for r in got), "FETCH: %r" % got)
    got, tagged = answer(a, "y")
    check(any(r.startswith(b"* 4 FETCH (") for r in got) and not any(b"EXPUNGE" in r for r in got), "STORE: %r" % got)
    got, tagged = answer(a, "z")
    check(b"* SEARCH 5" in got and not any(b"EXPUNGE" in r for r in got), "SEARCH: %r" % got)
    got, tagged = answer(a, "u")
    check([r for r in got if b"EXPUNGE" in r] in ([b"* 2 EXPUNGE", b"* 1 EXPUNGE"], [b"* 1 EXPUNGE"] * 2), "NOOP: %r" % got)
    equal([r for r in answer(a, "v")[0] if b"FETCH" in r], [b"* 1 FETCH (UID 3)"], "after NOOP")
    a.close()
    b.close()


@case
def idle_done_and_more_in_one_packet():
    c = connect(0)
    ok(c, "SELECT INBOX")
    c.send(b"i IDLE\r\nDONE\r\nn NOOP\r\nj IDLE\r\nDONE\r\nk IDLE\r\nDONE\r\nf FETCH 1 (UID)\r\n")
    got = []
    while not got or not got[-1].startswith(b"f "):
        got.append(c.response())
    equal([r.split()[0] for r in got], [b"+", b"i", b"n", b"+", b"j", b"+", b"k", b"*", b"f"], "answers %r" % got)
    c.send(b"i IDLE\r\n")
    equal(c.response(), b"+ idling", "IDLE")
    c.send(b"NOOP\r\n")  # neither DONE nor a command
    got, tagged = answer(c, "i")
    check(tagged.startswith("BAD"), "not DONE: %s" % tagged)
    ok(c, "NOOP")
    c.close()


@case
def a_command_line_of_two_megabytes():
    """SOGo asks so: a set of which each number is named."""
    c = connect(0)
    ok(c, "SELECT INBOX")
    names = b",".join(b"%d" % (1000000 + 2 * i) for i in range(262000))
    check(2 * 1000 * 1000 < len(names) < 2 * 1024 * 1024, "%d octets" % len(names))
    equal(command(c, b"UID FETCH 1,%s (UID FLAGS)" % names)[1][:2], "OK", "FETCH")
    untagged, tagged = command(c, b"UID SEARCH UID 1,%s" % names)
    check(tagged.startswith("OK") and untagged == [b"* SEARCH 1"], "SEARCH: %r %s" % (untagged, tagged))
    equal(command(c, b"UID STORE %s +FLAGS.SILENT (\\Seen)" % names)[1][:2], "OK", "STORE")
    equal(command(c, b"UID COPY %s INBOX" % names)[1][:2], "OK", "COPY of nothing")
    ok(c, "NOOP")
    c.close()


@case
def half_closed_connections():
    """A client that has said all it has to say, and still listens."""
    c = connect(0)
    c.send(b"a SELECT INBOX\r\nb FETCH 1:* (UID FLAGS)\r\nc LOGOUT\r\n")
    c.s.shutdown(socket.SHUT_WR)
    check(answer(c, "a")[1].startswith("OK") and answer(c, "b")[1].startswith("OK"), "commands before the end")
    equal(answer(c, "c")[1][:2], "OK", "LOGOUT")
    try:
        c.response()
        fail("more after LOGOUT")
    except EOFError:
        pass
    c.close()
    c = connect(0)
    c.send(b"a SELECT INBOX\r\nb UID SEARCH ALL\r\n")
    c.s.shutdown(socket.SHUT_WR)
    got = until_eof(c)
    check(any(r.startswith(b"a OK") for r in got), "what came before the end: %r" % got)
    c.close()


@case
def logout_in_the_middle_of_append():
    c = connect(2)
    message = b"Subject: x\r\n\r\nt LOGOUT\r\nt LOGOUT\r\n"
    append(c, message)  # it is text there
    ok(c, "SELECT INBOX")
    check(ok(c, "FETCH 1 BODY.PEEK[]")[0].endswith(message + b")"), "LOGOUT as text")
    for text in (b"a APPEND INBOX {100+}\r\nSubject: x\r\n\r\nhalf a message\r\nb LOGOUT\r\n", b"a APPEND INBOX {100}\r\nb LOGOUT\r\n",
                 b"a APPEND INBOX {20+}\r\nSubject: x\r\n\r\n", b"a APPEND INBOX {3+}\r\nabc", b"a APPEND INBOX {3+}\r\nabc {5}\r\n"):
        d = connect(2)
        d.send(text)
        d.s.shutdown(socket.SHUT_WR)
        try:
            while True:
                r = d.response()
                check(not r.startswith(b"a OK"), "saved: %r" % r)
        except EOFError:
            pass
        d.close()
    equal(ok(c, "STATUS INBOX (MESSAGES)")[-1], b"* STATUS INBOX (MESSAGES 1)", "nothing half is kept")
    folder = os.path.join(stack().maildir(USERS[2]), "tmp")
    wait_for(lambda: not os.listdir(folder), 5, "nothing in tmp/")
    c.close()


@case
def ten_bad_commands_end_the_session():
    c = connect(2)
    for i in range(9):
        check(command(c, "XYZZY %d" % i)[1].startswith("BAD"), "bad command")
    ok(c, "NOOP")  # forgives
    for i in range(9):
        check(command(c, "FETCH")[1].startswith("BAD"), "bad command")
    c.send(b"t XYZZY\r\n")
    got = until_eof(c)
    check(any(r.startswith(b"* BYE") for r in got), "the tenth in a row: %r" % got)
    c.close()


@case
def bad_commands_say_where():
    c = connect(2)
    for text in ("FETCH 1", "FETCH x FLAGS", "LIST \"\"", "STATUS INBOX ()", "STATUS INBOX (MESSAGES", "STORE 1 FLAGS", "SEARCH (",
                 "SELECT INBOX extra", "APPEND INBOX (\\Seen", "RENAME a"):
        if text.split()[0] in ("FETCH", "STORE", "SEARCH"):
            ok(c, "SELECT INBOX")
        tagged = command(c, text)[1]
        check(re.match(r"BAD .*(at position|character|expected|position) ?\d*", tagged), "%r: %s" % (text, tagged))
    c.close()


@case
def a_client_that_never_reads_beside_one_that_works():
    lazy, busy = connect(3), connect(3)
    append(busy, b"Subject: big\r\n\r\n" + b"0123456789" * 8 * 102400)
    ok(busy, "SELECT INBOX")
    lazy.s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    lazy.send(b"a SELECT INBOX\r\n" + b"b FETCH 1 BODY.PEEK[]\r\n" * 40 + b"c IDLE\r\n")
    for i in range(15):
        append(busy, simple(i))
        ok(busy, "STORE 1:* +FLAGS (\\Seen)")
        ok(busy, "UID SEARCH SUBJECT number")
    ok(busy, "STORE 1:* +FLAGS.SILENT (\\Deleted)")
    equal(len([r for r in ok(busy, "EXPUNGE") if r.endswith(b"EXPUNGE")]), 16, "EXPUNGE")
    lazy.close()
    ok(busy, "NOOP")
    busy.close()


# ---------------------------------------------------------------------------------------- names


NAMES = [b"..", b".", b"../o5", b"../../x", b"a/../b", b"a/../../b", b"INBOX/..", b"INBOX/../../o5", b"/etc/passwd", b"//x", b"a//b", b"/",
         b"~o5", b"~o5@example.com/INBOX", b"#shared/o5", b"user/o5", b"user.o5", b"%2e%2e/o5", b"..%2fo5", b"%2fetc", b"cur", b"new",
         b"tmp", b"cur/x", b"a\\..\\b", b".o5", b"a.", b".a", b"a..b", b"...", b"....//x", b"&AC4-&AC4-/o5", b"&AC8-etc", b"&AC4ALw-",
         b"&AAA-", b"a&AAA-b", b"&Jjo", b"&", b"&&", b"&-", b"&AGE-", b"&2AA-", b"&3AA-", b"&////-", b"&!-", b"\xc0\xae\xc0\xae/x",
         b"\xc3", b"\xff\xfe", b"a\tb", b"a\x01b", b"a\nb", b"a\r\nt LOGOUT", b"x" * 300, b"y/" * 200 + b"z", b"postern.index", b".postern",
         b"subscriptions", b"maildirsize", b"dovecot-uidlist", b"index.db", b"index.db-wal", b"a/cur", b"a/new/x", b"a/tmp", b" ", b"a ", b""]


def tree(root, leave_out):
    """{path: what it is} of everything below root but what belongs to those that are at work in the test."""
    out = {}
    for folder, dirs, files in os.walk(root):
        dirs[:] = [d for d in dirs if os.path.join(folder, d) not in leave_out]
        for name in dirs + files:
            path = os.path.join(folder, name)
            st = os.lstat(path)
            out[path] = (st.st_mode, st.st_size if os.path.isfile(path) else 0, st.st_ino)
    return out


@case
def no_name_leaves_the_maildir():
    victim, c = connect(5), connect(4)
    append(victim, b"Subject: " + SECRET + b"\r\n\r\n" + SECRET + b"\r\n")
    ok(victim, "CREATE private")
    append(victim, b"Subject: " + SECRET + b"\r\n\r\n" + SECRET + b"\r\n", "private")
    victim.send(b"t LOGOUT\r\n")
    answer(victim)
    victim.close()
    append(c, simple())
    ok(c, "CREATE mine")
    ok(c, "SELECT INBOX")
    mine = stack().maildir(USERS[4])
    before = tree(stack().mail_root, {mine})
    check(len(before) > 10, "the others' mail is looked at")
    heard = []

    def say(octets, *literals):
        text = b"t " + octets
        for lit in literals:
            text = text.replace(b"@", b"{%d+}\r\n%s" % (len(lit), lit.replace(b"@", b"\0AT")), 1)
        c.send(text.replace(b"\0AT", b"@") + b"\r\n")
        got, tagged = answer(c)
        heard.extend(got + [tagged.encode()])
        if tagged.startswith("BAD"):
            c.send(b"n NOOP\r\n")
            heard.extend(answer(c, "n")[0])
        return tagged

    for name in NAMES + [n + b"/private" for n in (b"../o5", b"..", b"../../example.com/o5", b"a/../../o5")]:
        for verb in (b"SELECT @", b"EXAMINE @", b"STATUS @ (MESSAGES)", b"CREATE @", b"SUBSCRIBE @", b"LIST @ *", b"LIST \"\" @", b"LSUB \"\" @",
                     b"GETQUOTAROOT @", b"RENAME mine @", b"COPY 1 @", b"MOVE 1 @", b"GETMETADATA @ /private/comment",
                     b"SETMETADATA @ (/private/comment \"x\")", b"RESETKEY @", b"UNSUBSCRIBE @", b"RENAME @ other", b"DELETE @"):
            tagged = say(verb, name)
            if verb.startswith(b"RENAME mine") and tagged.startswith("OK"):
                say(b"RENAME @ mine", name)
            if verb.startswith((b"SELECT", b"EXAMINE")) and tagged.startswith("OK"):
                say(b"FETCH 1:* BODY[]")
            if verb.startswith((b"SELECT", b"EXAMINE", b"MOVE")):
                say(b"SELECT INBOX")
                if not any(r == b"* 1 EXISTS" for r in heard[-12:]):
                    append(c, simple())
        say(b"APPEND @ {10+}\r\nA: b\r\n\r\nc\n", name)
        url = b"/" + name.replace(b"\"", b"") + b"/;UID=1"
        if not re.search(rb"[\r\n\x00]", name):
            say(b"APPEND INBOX CATENATE (URL @)", url)
            say(b"URLFETCH @", b"imap://o5%40example.com@localhost" + url)
    say(b"URLFETCH \"imap://o5%40example.com@localhost/INBOX/;UID=1;URLAUTH=anonymous:internal:0123456789abcdef0123456789abcdef\"")
    say(b"APPEND INBOX CATENATE (URL \"imap://o5%40example.com@localhost/INBOX/;UID=1\")")
    say(b"SELECT INBOX")
    say(b"UID FETCH 1:* BODY.PEEK[]")
    check(not any(SECRET in r for r in heard), "another's mail was told")
    after = tree(stack().mail_root, {mine})
    equal({p: v for p, v in after.items() if before.get(p) != v and ".postern" not in p and "postern" not in os.path.basename(p)}, {},
          "what changed outside the user's Maildir")
    equal(set(before) - set(after), set(), "what is gone outside the user's Maildir")
    for folder, dirs, files in os.walk(mine):
        for name in dirs:
            check(name in (".", "cur", "new", "tmp") or os.path.islink(os.path.join(folder, name)) is False, "a link: %s" % name)
    c.close()
    victim = connect(5)
    equal(ok(victim, "STATUS INBOX (MESSAGES)")[-1], b"* STATUS INBOX (MESSAGES 1)", "the other's INBOX")
    equal(ok(victim, "STATUS private (MESSAGES)")[-1], b"* STATUS private (MESSAGES 1)", "the other's mailbox")
    victim.close()


@case
def a_nul_ends_nothing():
    for text in (b"t SELECT \"INBOX\0x\"\r\n", b"t SELECT IN\0BOX\r\n", b"t SELECT {6+}\r\nINBOX\0\r\n", b"t CREATE {7+}\r\nabc\0/..\r\n",
                 b"t\0 NOOP\r\n", b"t NOOP\0\r\n"):
        c = connect(4)
        c.send(text + b"u NOOP\r\n")
        got = []
        try:
            while not got or not got[-1].startswith(b"u "):
                got.append(c.response())
        except EOFError:
            pass
        check(not any(re.match(rb"t\S* OK", r) for r in got), "%r: %r" % (text, got))
        check(b"u OK" in got[-1] or b"BYE" in got[-1], "%r: %r" % (text, got))
        c.close()
    c = connect(4)
    check(not any(b"abc" in r for r in ok(c, "LIST \"\" abc*")), "a mailbox by a NUL")
    c.close()


# ---------------------------------------------------------------------------------------- many at once


class View:
    """What a client knows of a mailbox by what it was told; every number is held against it."""

    def __init__(self, c, name, is_qresync):
        self.c, self.name, self.is_qresync = c, name, is_qresync
        self.uids, self.flags = [], {}  # uids[i]: of message i + 1, or None where nobody has told
        self.may_expunge = True

    def hear(self, r, command):
        m = re.match(rb"\* (\d+) (EXISTS|EXPUNGE|FETCH)(?: \((.*)\))?\Z", r, re.S)
        v = re.match(rb"\* VANISHED (\(EARLIER\) )?([\d,:]+)", r)
        if v:
            check(self.is_qresync, "%s: VANISHED to who did not ask" % self.name)
            check(self.may_expunge or v.group(1), "%s: VANISHED in %s" % (self.name, command))
            self.vanish(v.group(2))
        elif m and m.group(2) == b"EXISTS":
            check(int(m.group(1)) >= len(self.uids), "%s: EXISTS %d below %d" % (self.name, int(m.group(1)), len(self.uids)))
            self.uids += [None] * (int(m.group(1)) - len(self.uids))
        elif m and m.group(2) == b"EXPUNGE":
            check(not self.is_qresync, "%s: EXPUNGE in spite of QRESYNC" % self.name)
            check(self.may_expunge, "%s: EXPUNGE in %s" % (self.name, command))
            check(1 <= int(m.group(1)) <= len(self.uids), "%s: EXPUNGE %d of %d" % (self.name, int(m.group(1)), len(self.uids)))
            self.uids.pop(int(m.group(1)) - 1)
        elif m:
            seq = int(m.group(1))
            check(1 <= seq <= len(self.uids), "%s: FETCH %d of %d" % (self.name, seq, len(self.uids)))
            uid = re.search(rb"UID (\d+)", m.group(3))
            if uid:
                self.learn(seq, int(uid.group(1)))
            flags = re.search(rb"FLAGS \(([^)]*)\)", m.group(3))
            if flags and self.uids[seq - 1]:
                self.flags[self.uids[seq - 1]] = frozenset(flags.group(1).split()) - {b"\\Recent"}
        elif r.startswith(b"* BYE"):
            fail("%s: %r" % (self.name, r))

    def learn(self, seq, uid):
        known = self.uids[seq - 1]
        check(known in (None, uid), "%s: message %d is UID %s and was %s" % (self.name, seq, uid, known))
        self.uids[seq - 1] = uid
        before = [u for u in self.uids[:seq - 1] if u]
        after = [u for u in self.uids[seq:] if u]
        check((not before or before[-1] < uid) and (not after or uid < after[0]), "%s: UIDs do not ascend at %d" % (self.name, seq))

    def vanish(self, text):
        gone = set()
        for part in text.decode().split(","):
            a, _, b = part.partition(":")
            gone.update(range(int(a), int(b or a) + 1))
        for u in sorted(gone - {u for u in self.uids if u}):  # told by EXISTS and not yet by FETCH, or never told
            after = next((i for i, k in enumerate(self.uids) if k and k > u), len(self.uids))
            check(after > 0 and self.uids[after - 1] is None, "%s: VANISHED %r: there is no UID %d in %r" % (
                self.name, text, u, self.uids))
            self.uids.pop(after - 1)
        self.uids = [u for u in self.uids if u not in gone]

    def do(self, text):
        self.may_expunge = not re.match(r"(FETCH|STORE|SEARCH|SORT|THREAD) ", text)
        untagged, tagged = command(self.c, text)
        for r in untagged:
            self.hear(r, text)
        if self.is_qresync and None in self.uids:  # VANISHED is about UIDs: who asked for it asks for them
            for r in command(self.c, "FETCH %d:* (UID FLAGS)" % (self.uids.index(None) + 1))[0]:
                self.may_expunge = False
                self.hear(r, text)
        return tagged

    def append(self, octets):
        self.may_expunge = True
        self.c.send(b"A APPEND INBOX {%d+}\r\n" % len(octets) + octets + b"\r\n")
        untagged, tagged = answer(self.c, "A")
        for r in untagged:
            self.hear(r, "APPEND")
        check(tagged.startswith("OK"), "%s: APPEND: %s" % (self.name, tagged))


def one_of_the_crowd(number, views, failures, stop):
    try:
        rng = random.Random(number)
        c = connect(6, 60)
        is_qresync = number % 3 == 0 and "QRESYNC" in command(c, "CAPABILITY")[0][0].decode()
        v = View(c, "session %d" % number, is_qresync)
        if is_qresync:
            v.do("ENABLE QRESYNC")
        v.do("SELECT INBOX")
        v.do("FETCH 1:* (UID FLAGS)")
        while time.monotonic() < stop and not failures:
            n = len(v.uids)
            at = rng.randint(1, max(1, n))
            end = min(max(1, n), at + rng.randint(0, 3))
            what = rng.randrange(12)
            if what == 0 or n < 5:
                v.append(simple(number))
            elif what <= 4:
                tagged = v.do("STORE %d:%d %sFLAGS (%s)" % (at, end, rng.choice("+-"), rng.choice(
                    ["\\Seen", "\\Flagged", "\\Answered", "$A", "$B", "\\Seen \\Draft"])))
                check(tagged.startswith(("OK", "NO")), "STORE: " + tagged)
            elif what == 5:
                v.do("STORE %d:%d +FLAGS (\\Deleted)" % (at, end))
            elif what == 6:
                v.do("EXPUNGE")
            elif what == 7 and v.uids[at - 1]:
                v.do("UID FETCH %d (UID FLAGS RFC822.SIZE)" % v.uids[at - 1])
            elif what == 8:
                v.do("FETCH %d:%d (UID FLAGS)" % (at, end))
            elif what == 9:
                v.do("SEARCH UNSEEN")
            elif what == 10:
                v.do("FETCH %d (UID BODY.PEEK[TEXT])" % at)
            else:
                v.do("NOOP")
        views.append(v)
    except Exception as e:  # noqa: BLE001
        failures.append("session %d: %s: %s" % (number, type(e).__name__, e))


@case
def fifty_sessions_see_the_same_mailbox():
    first = connect(6)
    for i in range(40):
        append(first, simple(i))
    views, failures, stop = [], [], time.monotonic() + CROWD_S
    threads = [threading.Thread(target=one_of_the_crowd, args=(i, views, failures, stop)) for i in range(SESSIONS)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    check(not failures, "; ".join(failures[:3]))
    equal(len(views), SESSIONS, "sessions that came to their end")
    fresh = View(connect(6), "a new session", False)
    fresh.do("SELECT INBOX")
    fresh.do("FETCH 1:* (UID FLAGS)")
    check(None not in fresh.uids and fresh.uids == sorted(set(fresh.uids)), "the mailbox: %r" % fresh.uids)
    for v in views:
        v.do("NOOP")
        told = {u: v.flags.get(u) for u in v.uids if u}  # by what it heard up to here, without asking
        v.do("FETCH 1:* (UID FLAGS)")
        equal(v.uids, fresh.uids, "%s: messages" % v.name)
        for u, flags in told.items():
            check(flags in (None, fresh.flags[u]), "%s: UID %d: heard %r, is %r" % (v.name, u, flags, fresh.flags[u]))
        equal({u: v.flags[u] for u in v.uids}, {u: fresh.flags[u] for u in fresh.uids}, "%s: flags" % v.name)
        v.c.close()
    check("Error" not in stack().log(), "an error was logged")


@case
def a_killed_worker_loses_nothing_that_was_said():
    c = connect(7)
    for i in range(5):
        append(c, simple(i))
    ok(c, "SELECT INBOX")
    ok(c, "STORE 2 +FLAGS (\\Flagged $Kept)")
    ok(c, "STORE 3 +FLAGS (\\Deleted)")
    ok(c, "EXPUNGE")
    ok(c, "CREATE kept")
    c.send(b"i IDLE\r\n")
    c.response()
    for pid in stack().pids_of("imapd"):
        os.kill(pid, signal.SIGKILL)
    try:
        while True:
            c.response()
    except (EOFError, OSError):
        pass
    c.close()

    def again():
        try:
            return connect(7)
        except Exception:  # noqa: BLE001
            return None

    d = wait_for(again, 15, "a new worker")
    ok(d, "SELECT INBOX")
    got = ok(d, "FETCH 1:* (UID FLAGS)")
    equal([int(re.search(rb"UID (\d+)", r).group(1)) for r in got if b" FETCH (" in r], [1, 2, 4, 5], "messages")
    check(b"\\Flagged" in got[1] and b"$Kept" in got[1], "flags: %r" % got[1])
    equal(len(ok(d, "LIST \"\" kept")), 1, "the mailbox")
    d.close()


if __name__ == "__main__":
    main()
