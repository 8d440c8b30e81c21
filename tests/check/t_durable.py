#!/usr/bin/env python3
# No 250 to DATA is written before the commit that holds the message is fsynced; no 250 of LMTP before the message's file was
# synced, renamed and its folder synced; no OK of IMAP's APPEND before that of all its messages. Seen from outside, by strace.
# timeout: 180
import os
import re
import smtplib
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from harness import *
from imapscript import Client
from stack import Stack

# A leak check at exit cannot run in a process that strace holds.
os.environ["ASAN_OPTIONS"] = ":".join(filter(None, [os.environ.get("ASAN_OPTIONS"), "detect_leaks=0"]))

TRACED = "trace=fsync,fdatasync,syncfs,pwrite64,pwritev,write,writev,sendto,sendmsg,rename,renameat,renameat2,link,linkat"
LINE = re.compile(r"^(\d+) +(\d+\.\d+) (.*)$")


class Call:
    """One system call: begun and ended at times, its text with arguments, its result."""

    def __init__(self, pid, began, text):
        self.pid, self.began, self.ended, self.text, self.result = pid, began, None, text, None


def read_trace(path):
    calls, open_calls = [], {}
    with open(path, errors="replace") as f:
        for line in f:
            m = LINE.match(line)
            if not m:
                continue
            pid, at, text = m.group(1), float(m.group(2)), m.group(3)
            resumed = re.match(r"<\.\.\. (\w+) resumed>(.*)$", text)
            if resumed and pid in open_calls:
                call = open_calls.pop(pid)
                call.text += resumed.group(2)
            elif text.endswith("<unfinished ...>"):
                call = Call(pid, at, text[: -len("<unfinished ...>")])
                open_calls[pid] = call
                calls.append(call)
                continue
            else:
                call = Call(pid, at, text)
                calls.append(call)
            done = re.search(r"\) += (-?\d+)", call.text)
            call.ended, call.result = at, int(done.group(1)) if done else None
    return calls


def one(calls, what, *wanted, after=0.0):
    """The first call from `after` on whose text has all the wanted words."""
    for c in calls:
        if c.began >= after and c.result is not None and c.result >= 0 and all(re.search(w, c.text) for w in wanted):
            return c
    fail("no call in the trace: %s (%s)" % (what, wanted))


def traced(size):
    """Send ten messages one by one under strace; [(token, calls)]."""
    need("strace")
    trace = tmp("trace.%d" % size)
    with Stack(tmp("s%d" % size), users=["u0@example.com"], extra_conf=["smtpd_sender_restrictions ="],
               wrapper=["strace", "-f", "-ttt", "-yy", "-s", "6000", "-e", TRACED, "-o", trace]) as s:
        tokens = ["durable-%s" % os.urandom(6).hex() for _ in range(10)]
        with smtplib.SMTP("127.0.0.1", s.ports["smtp"], local_hostname="client.example.com", timeout=60) as c:
            for n, t in enumerate(tokens, 1):
                c.sendmail("a@example.com", ["u0@example.com"],
                           "Subject: %s\r\n\r\n%s" % (t, ("y" * 70 + "\r\n") * (size // 72)))
                # One at a time from end to end, so that the first answer after a rename is that message's.
                wait_for(lambda: s.log().count("status=sent") >= n, 20, "message %d delivered" % n)
        s.wait_delivered(10)
        s.keep = True
        s.stop()
    calls = sorted(read_trace(trace), key=lambda c: c.began)
    check(len(calls) > 100, "an empty trace")
    return tokens, calls


def synced_in_time(tokens, calls, written_to, synced):
    answers = [c for c in calls if re.search(r"250 2\.0\.0 Ok: queued as", c.text) and "TCP" in c.text]
    equal(len(answers), len(tokens), "answers 250 in the trace")
    for token, answer in zip(tokens, answers):
        held = one(calls, "the write that holds the message", r"^(pwrite64|pwritev|write|writev)\(", written_to, token)
        sync = one(calls, "the sync after it", r"^(fsync|fdatasync|syncfs)\(", synced, after=held.ended)
        check(sync.ended <= answer.began, "%s: answered 250 at %.6f, synced at %.6f" % (token, answer.began, sync.ended))


@case
def smtp_answers_after_the_commit():
    tokens, calls = traced(1000)
    synced_in_time(tokens, calls, r"<[^>]*queue\.db-wal>", r"<[^>]*queue\.db-wal>")
    lmtp_answers_after_the_sync(tokens, calls)


def lmtp_answers_after_the_sync(tokens, calls):
    for token in tokens:
        held = one(calls, "the write into tmp", r"^(pwrite64|write|writev)\(", r"<[^>]*/mail/[^>]*/tmp/[^/>]*>", token)
        path = re.search(r"<([^>]*/mail/[^>]*/tmp/[^/>]*)>", held.text)
        name = os.path.basename(path.group(1)).split(",")[0].split(" ")[0]
        data = one(calls, "the file's sync", r"^(fsync|fdatasync|syncfs)\(", after=held.ended)
        moved = one(calls, "the rename into new", r"^(rename|renameat|renameat2|link|linkat)\(", re.escape(name), r"/new",
                    after=held.ended)
        check(data.ended <= moved.began, "%s: renamed before its data was synced" % token)
        entry = one(calls, "the folder's sync", r"^(fsync|fdatasync|syncfs)\(", after=moved.ended)
        answer = one(calls, "LMTP's 250", r"^(write|writev|sendto|sendmsg)\(", r"250 2\.0\.0 [^\"]*Saved", after=moved.ended)
        check(entry.ended <= answer.began, "%s: LMTP answered before the folder was synced" % token)


@case
def a_large_message_is_a_synced_file():
    tokens, calls = traced(200000)
    answers = [c for c in calls if re.search(r"250 2\.0\.0 Ok: queued as", c.text) and "TCP" in c.text]
    equal(len(answers), len(tokens), "answers 250 in the trace")
    for token, answer in zip(tokens, answers):
        held = one(calls, "the write into incoming", r"^(pwrite64|write|writev)\(", r"<[^>]*/incoming/[^>]*>", token)
        path = re.search(r"<([^>]*/incoming/[^>]*)>", held.text).group(1)
        sync = one(calls, "the sync of %s" % path, r"^(fsync|fdatasync)\(", re.escape(path), after=held.ended)
        commit = one(calls, "the commit", r"^(fsync|fdatasync)\(", r"<[^>]*queue\.db-wal>", after=sync.ended)
        check(commit.ended <= answer.began, "%s: answered 250 before it was safe" % token)


@case
def append_answers_when_all_are_on_disk():
    """One message, few, and so many that they go to disk together."""
    need("strace")
    trace = tmp("trace.append")
    with Stack(tmp("sa"), users=["u0@example.com"], extra_conf=["disable_plaintext_auth = no"],
               wrapper=["strace", "-f", "-ttt", "-yy", "-s", "6000", "-e", TRACED, "-o", trace]) as s:
        c = Client(("127.0.0.1", s.ports["imap"]), timeout_s=60)
        c.login("u0@example.com", "pass")
        rounds = []
        for n in (1, 3, 40):
            tokens = ["durable-%s" % os.urandom(6).hex() for _ in range(n)]
            c.send(b"a%d APPEND INBOX" % n + b"".join(b" {%d+}\r\nSubject: %s\r\n" % (len(t) + 11, t.encode()) for t in tokens) + b"\r\n")
            got = c.response()
            check(got.startswith(b"a%d OK [APPENDUID" % n), got)
            rounds.append(tokens)
        c.close()
        s.keep = True
        s.stop()
    calls = sorted(read_trace(trace), key=lambda c: c.began)
    syncs = r"^(fsync|fdatasync|syncfs)\("
    for tokens in rounds:
        answer = one(calls, "the answer", r"^(write|writev|sendto|sendmsg)\(", r"a%d OK \[APPENDUID" % len(tokens))
        for token in tokens:
            held = one(calls, "the write into tmp", r"^(pwrite64|write|writev)\(", r"<[^>]*/tmp/[^/>]*>", token)
            path = re.search(r"<([^>]*/tmp/[^/>]*)>", held.text).group(1)
            data = one(calls, "the sync of %s" % path, r"^((fsync|fdatasync)\(.*%s|syncfs\()" % re.escape(path), after=held.ended)
            moved = one(calls, "the rename", r"^(rename|renameat|renameat2)\(", re.escape(os.path.basename(path)), r"/cur", after=held.ended)
            check(data.ended <= moved.began, "%s: renamed before its data was synced" % token)
            entry = one(calls, "the folder's sync", syncs, r"/cur>", after=moved.ended)
            check(entry.ended <= answer.began, "%s: answered before the folder was synced" % token)
            index = one(calls, "the index's sync", syncs, r"postern-index[^>]*-wal>", after=moved.ended)
            check(index.ended <= answer.began, "%s: answered before the index was synced" % token)
    alone = [c for c in calls if re.match(r"(fsync|fdatasync)\(\d+<[^>]*/mail/[^>]*/tmp/[^/>]*>", c.text)]
    equal(len(alone), 1 + 3 + 8, "messages that were synced by themselves")


main()
