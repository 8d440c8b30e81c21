#!/usr/bin/env python3
# IMAP where it is uncomfortable: huge messages and commands, clients that do not read, go away, send octet by octet or all at
# once, too many sessions, many sessions on one mailbox.
# timeout: 300
import os
import random
import re
import smtplib
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from harness import *
from imapscript import Client, MESSAGES, answer, append, command, ok
from stack import Stack

USERS = ["h%d@example.com" % i for i in range(10)]
BIG = 24 * 1024 * 1024
_stack = []


def stack():
    if not _stack:
        _stack.append(Stack(tmp("s"), users=USERS, extra_conf=["disable_plaintext_auth = no",
                                                              "mail_max_userip_connections = 12",
                                                              "imap_idle_notify_interval = 1s"]).start())
        at_end(_stack[0].stop)
    return _stack[0]


def connect(user, timeout_s=60):
    c = Client(("127.0.0.1", stack().ports["imap"]), timeout_s)
    c.login(USERS[user], "pass")
    return c


def rss_kib():
    """The most that any imapd has in memory now."""
    most = 0
    for pid in stack().pids_of("imapd"):
        with open("/proc/%d/status" % pid) as f:
            most = max(most, int(re.search(r"RssAnon:\s+(\d+)", f.read()).group(1)))
    return most


def big_message():
    line = b"".join(b"%c" % (33 + i % 90) for i in range(70)) + b"\r\n"
    return b"Subject: big\r\n\r\n" + line * (BIG // len(line))


@case
def a_huge_message_costs_little_memory():
    c, message = connect(0), big_message()
    before = rss_kib()
    append(c, message)
    grown = rss_kib() - before
    check(is_sanitized("imapd") or grown < 6 * 1024, "imapd grew by %d KiB over an APPEND of %d KiB" % (grown, BIG // 1024))
    ok(c, "SELECT INBOX")
    got = ok(c, "FETCH 1 BODY.PEEK[]")
    check(got[0] == b"* 1 FETCH (BODY[] {%d}\r\n%s)" % (len(message), message), "the message came back changed")
    got = ok(c, "FETCH 1 BODY.PEEK[TEXT]<%d.30>" % (len(message) - 30))
    check(b" {14}\r\n" in got[0], "partial at the end: %r" % got)
    c.close()


@case
def a_client_that_does_not_read_holds_nobody_up():
    lazy, other = connect(0), connect(0)
    ok(lazy, "SELECT INBOX")
    ok(other, "SELECT INBOX")
    before = rss_kib()
    lazy.send(b"".join(b"f%d FETCH 1 BODY.PEEK[]\r\n" % i for i in range(50)))
    for i in range(20):
        began = time.monotonic()
        ok(other, "NOOP")
        check(time.monotonic() - began < 2, "NOOP took %.1f s" % (time.monotonic() - began))
        time.sleep(0.05)
    grown = rss_kib() - before
    check(is_sanitized("imapd") or grown < BIG // 1024 + 6 * 1024, "imapd grew by %d KiB for a client that reads nothing" % grown)
    lazy.close()
    ok(other, "FETCH 1 FLAGS")
    other.close()


@case
def no_more_is_answered_than_is_read():
    lazy, n = connect(2), 150000
    before = rss_kib()
    sender = threading.Thread(target=lazy.send, args=(b"".join(b"n%d CAPABILITY\r\n" % i for i in range(n)),))
    sender.start()
    grown = 0
    for i in range(20):
        time.sleep(0.1)
        grown = max(grown, rss_kib() - before)
    check(is_sanitized("imapd") or grown < 4 * 1024, "imapd grew by %d KiB for a client that reads nothing" % grown)
    for i in range(n):
        lazy.response()
        equal(lazy.response()[:len("n%d OK" % i)], b"n%d OK" % i, "answer")
    sender.join()
    ok(lazy, "SELECT INBOX")
    lazy.close()


@case
def octet_by_octet():
    c = connect(1)
    c.s.setsockopt(6, 1, 1)  # TCP_NODELAY
    text = b"a APPEND INBOX (\\Seen) {%d+}\r\n%s\r\nb STATUS {5+}\r\nINBOX (MESSAGES)\r\nc NOOP\r\n" % (
        len(MESSAGES["simple"]), MESSAGES["simple"].encode())
    for i in range(len(text)):
        c.send(text[i:i + 1])
    check(answer(c, "a")[1].startswith("OK [APPENDUID"), "APPEND")
    equal(answer(c, "b"), ([b"* STATUS INBOX (MESSAGES 1)"], "OK Status completed."), "STATUS")
    equal(answer(c, "c"), ([], "OK NOOP completed."), "NOOP")
    c.close()


@case
def split_at_every_octet():
    text = b"a APPEND INBOX {7+}\r\nA: b\r\n\n\r\nb CREATE {3}\r\nabc\r\nc RENAME \"ab\\\"{3}\" {3+}\r\nxyz\r\n"
    answers = set()
    for at in range(1, len(text)):
        c = connect(2)
        c.s.setsockopt(6, 1, 1)
        c.send(text[:at])
        time.sleep(0.002)
        c.send(text[at:])
        got = []
        while not got or not got[-1].startswith(b"c "):
            got.append(re.sub(rb"APPENDUID \d+ \d+", b"APPENDUID", c.response()))
        answers.add(re.sub(rb"b OK \[MAILBOXID \(\w+\)\] Create completed\.|b NO \[ALREADYEXISTS\] Mailbox already exists", b"b",
                           b"|".join(got[:1] + got[2:])))
        c.close()
    check(b"c NO" in list(answers)[0], "answers: %r" % answers)
    equal(len(answers), 1, "answers: %r" % answers)


@case
def a_thousand_commands_at_once():
    c = connect(1)
    c.send(b"".join(b"n%d NOOP\r\n" % i for i in range(1000)))
    for i in range(1000):
        equal(c.response(), b"n%d OK NOOP completed." % i, "answer")
    c.close()


@case
def a_command_of_a_megabyte():
    c = connect(1)
    ok(c, "SELECT INBOX")
    uids = ",".join(str(i) for i in range(1000001, 1150001))
    equal(command(c, "UID FETCH %s,1 (UID)" % uids), ([b"* 1 FETCH (UID 1)"], "OK Fetch completed."), "answer")
    c.send(b"x" * 3 * 1024 * 1024)
    equal(c.response(), b"* BYE Command line too long.", "an endless line")
    c.close()
    c = connect(1)
    literal = b"t CREATE {2000000+}\r\n" + b"x" * 2000000 + b"\r\n"
    c.send(literal)
    check(answer(c)[1].startswith("NO [CANNOT]"), "a long name")
    c.send(b"t CREATE {9999999+}\r\n" + b"x" * 9999999 + b"\r\n")
    check(answer(c)[1].startswith("BAD [TOOBIG]"), "a longer name")
    ok(c, "NOOP")
    c.close()


@case
def clients_that_go_away():
    for text in (b"a APPEND INBOX {1000}\r\n", b"a APPEND INBOX {1000+}\r\nSubject: x", b"a CREATE {5}\r\nab", b"a SEL",
                 b"a SELECT INBOX\r\nb IDLE\r\n", b"a SELECT INBOX\r\nb FETCH 1:* BODY[]\r\nc STORE 1:* +FLAGS (\\Seen)\r\n",
                 b"a SELECT INBOX\r\nb SEARCH TEXT xyzzy\r\n", b"a LOGOUT\r\n"):
        for wait_s in (0, 0.05):
            c = connect(1)
            c.send(text)
            time.sleep(wait_s)
            c.close()
    c = connect(1)
    equal(ok(c, "STATUS INBOX (MESSAGES)"), [b"* STATUS INBOX (MESSAGES 1)"], "nothing half-done is left")
    c.close()


@case
def too_many_sessions_of_one_user():
    held = [connect(3) for i in range(12)]
    c = Client(("127.0.0.1", stack().ports["imap"]))
    c.response()
    c.send(b"L LOGIN %s pass\r\n" % USERS[3].encode())
    equal(answer(c, "L")[1], "NO [LIMIT] Maximum number of connections from user+IP exceeded "
          "(mail_max_userip_connections=12)", "the 13th")
    held.pop().close()
    connect(4).close()  # others are not concerned

    def is_let_in():
        try:
            held.append(connect(3))
            return True
        except Exception:
            return False

    wait_for(is_let_in, 5, "a place for the next one")
    for c in held:
        c.close()


@case
def idle_shows_signs_of_life():
    c = connect(4)
    ok(c, "SELECT INBOX")
    c.send(b"t IDLE\r\n")
    equal(c.response(), b"+ idling", "IDLE")
    for i in range(2):
        began = time.monotonic()
        equal(c.response(), b"* OK Still here", "sign of life")
        check(time.monotonic() - began > 0.5, "too early")
    c.send(b"DONE\r\n")
    equal(answer(c), ([], "OK Idle completed."), "DONE")
    check(c.is_quiet(), "heard of after DONE: %r" % c.input)
    c.close()


@case
def the_log_tells_the_session():
    c = connect(6)
    append(c, MESSAGES["simple"].encode())
    ok(c, "SELECT INBOX")
    ok(c, "FETCH 1 BODY[]")
    ok(c, "STORE 1 +FLAGS (\\Deleted)")
    ok(c, "EXPUNGE")
    command(c, "LOGOUT")
    line = re.compile(r"dovecot: imap\(h6@example\.com\)<\d+><\S+>: Logged out in=\d+ out=\d+ deleted=1 expunged=1 trashed=0 "
                      r"hdr_count=0 hdr_bytes=0 body_count=1 body_bytes=%d" % len(MESSAGES["simple"]))
    wait_for(lambda: line.search(stack().log()), 5, "the line of the session's end")



def next_exists(c):
    for _ in range(6):
        r = c.response()
        if b"EXISTS" in r:
            return r
    return None


@case
def idle_hears_of_deliveries_and_other_programs():
    c = connect(7)
    ok(c, "SELECT INBOX")
    c.send(b"t IDLE\r\n")
    c.response()
    mail = smtplib.SMTP("127.0.0.1", stack().ports["smtp"])
    mail.sendmail("x@example.com", [USERS[7]], MESSAGES["simple"])
    mail.quit()
    equal(next_exists(c), b"* 1 EXISTS", "a delivery")
    with open(os.path.join(stack().maildir(USERS[7]), "tmp", "1.M1P1.other"), "w") as f:
        f.write(MESSAGES["second"])
    os.rename(f.name, f.name.replace("/tmp/1.", "/new/1."))
    equal(next_exists(c), b"* 2 EXISTS", "a foreign writer")
    c.close()


@case
def garbage_is_answered_or_ended():
    rng = random.Random(7)
    words = [b"a", b" ", b"FETCH", b"UID", b"(", b")", b"{3}", b"{3+}", b"\r\n", b"\"", b"\\", b"BODY[", b"]", b"<0.1>", b"1:*",
             b"SEARCH", b"NOT", b"OR", b"APPEND INBOX", b"STORE", b"+FLAGS", b"\x00", b"\xff", b"~{1}", b"SELECT INBOX", b"*"]
    for i in range(60):
        c = connect(1, 5)
        c.send(b"a SELECT INBOX\r\n" + b"".join(rng.choice(words) for _ in range(rng.randrange(5, 200))) + b"\r\n")
        c.close()
    ok(connect(1), "NOOP")


@case
def many_sessions_on_one_mailbox():
    """Each keeps count of what it is told; at the end all agree with the mailbox."""
    first = connect(5)
    for i in range(10):
        append(first, MESSAGES["simple"].encode())
    failures, stop = [], time.monotonic() + 6

    def follow(state, lines):
        for r in lines:
            m = re.match(rb"\* (\d+) (EXISTS|EXPUNGE)", r)
            if m and m.group(2) == b"EXISTS":
                if int(m.group(1)) < state["n"]:
                    failures.append("EXISTS %s below %d" % (m.group(1), state["n"]))
                state["n"] = int(m.group(1))
            elif m:
                if not 1 <= int(m.group(1)) <= state["n"]:
                    failures.append("EXPUNGE %s of %d" % (m.group(1), state["n"]))
                state["n"] -= 1

    def one(seed):
        rng, state = random.Random(seed), {"n": 0}
        c = connect(5)
        follow(state, ok(c, "SELECT INBOX"))
        while time.monotonic() < stop and not failures:
            n = rng.randint(1, max(1, state["n"]))
            what = rng.choice(["NOOP", "FETCH", "STORE", "EXPUNGE", "APPEND", "UID", "SEARCH", "BODY", "COPY"])
            if what == "APPEND":
                c.send(b"t APPEND INBOX {%d+}\r\n%s\r\n" % (len(MESSAGES["second"]), MESSAGES["second"].encode()))
            elif state["n"] == 0 and what != "EXPUNGE":
                c.send(b"t NOOP\r\n")
            else:
                c.send({"NOOP": "t NOOP", "FETCH": "t FETCH %d (UID FLAGS)" % n, "STORE": "t STORE %d +FLAGS (%s)" % (
                    n, rng.choice(["\\Deleted", "\\Seen", "\\Flagged", "$K%d" % rng.randint(1, 3)])), "EXPUNGE": "t EXPUNGE",
                    "UID": "t UID FETCH 1:* (FLAGS)", "SEARCH": "t SEARCH UNSEEN", "BODY": "t FETCH %d (BODY[TEXT])" % n,
                    "COPY": "t COPY %d INBOX" % n}[what].encode() + b"\r\n")
            untagged, tagged = answer(c)
            if what in ("FETCH", "STORE", "SEARCH", "BODY") and any(re.match(rb"\* \d+ EXPUNGE", r) for r in untagged):
                failures.append("EXPUNGE in " + what)
            follow(state, untagged)
            if not tagged.startswith("OK") and not (what == "COPY" and tagged.startswith("NO [")):
                failures.append("%s: %s (n %d of %d)" % (what, tagged, n, state["n"]))
        follow(state, ok(c, "NOOP"))
        seqs = [r for r in ok(c, "FETCH 1:* UID") if b" FETCH (UID " in r] if state["n"] else []
        state["uids"] = [int(re.search(rb"UID (\d+)", r).group(1)) for r in seqs]
        results.append((len(seqs), state))
        c.close()

    results = []
    threads = [threading.Thread(target=one, args=(i,)) for i in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    check(not failures, "; ".join(failures[:3]))
    equal(len(results), 8, "sessions that came to their end")
    for n, state in results:
        equal(n, state["n"], "messages of which a session was told")
        equal(state["uids"], sorted(set(state["uids"])), "UIDs ascend")


main()
