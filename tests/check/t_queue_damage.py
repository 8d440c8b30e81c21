#!/usr/bin/env python3
# A queue database, or a file beside it, that is damaged: what can be read is taken over, and mail keeps flowing.
# timeout: 180
import glob
import json
import os
import random
import signal
import smtplib
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from harness import *
from outbound import Sink
from stack import Stack

MESSAGES = 120
PAGE = 4096


def make(name, port):
    return Stack(tmp(name), users=["u0@example.com"],
                 extra_conf=["default_transport = smtp:[127.0.0.1]:%d" % port, "smtpd_sender_restrictions =",
                             "smtpd_recipient_limit = 1000"])


def fill(s):
    """Messages of all sizes, three of them in files; their subjects."""
    with smtplib.SMTP("127.0.0.1", s.ports["smtp"], timeout=30) as c:
        for i in range(MESSAGES):
            body = "%d\r\n" % i + ("y" * 70 + "\r\n") * (1500 if i % 40 == 7 else random.Random(i).randrange(200))
            c.sendmail("email1@example.com", ["x%d@elsewhere.test" % i], "Subject: number %d\r\n\r\n%s" % (i, body))
    wait_for(lambda: s.log().count("status=deferred") >= MESSAGES, 60, "deferrals")


def listed(s):
    return [l.split()[0] for l in s.postern("queue", "list").splitlines() if l and not l.startswith(" ")][:-1]


def is_done(s):
    left = [json.loads(line)["queue_name"] for line in s.postern("queue", "list", "--json").splitlines()]
    if "deferred" in left:
        s.postern("queue", "flush")
    return all(name == "hold" for name in left)


def is_gone(pid):
    try:
        with open("/proc/%d/stat" % pid) as f:
            return f.read().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def kill_all(s):
    """As a power cut ends them."""
    pids = list(s.pids())
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    s.process.wait()
    for pid in pids:  # what a sanitizer has mapped takes its time to go, and the sockets go last
        wait_for(lambda pid=pid: is_gone(pid), 30, "process %d to be gone" % pid)


def database(s):
    return os.path.join(s.queue_dir, "queue", "queue.db")


def overwrite(path, at, octets):
    with open(path, "r+b") as f:
        f.seek(at)
        f.write(octets)


def flows(s, n):
    with smtplib.SMTP("127.0.0.1", s.ports["smtp"], timeout=60) as c:
        c.sendmail("email1@example.com", ["u0@example.com"], "Subject: after\r\n\r\nhello\r\n")
    s.wait_delivered(n)


@case
def nothing_is_lost_with_the_header():
    s = make("h", free_port())
    with s:
        fill(s)
        ids = set(listed(s))
        equal(len(ids), MESSAGES, "messages in the queue")
        kill_all(s)
        for end in ("", "-wal"):
            if os.path.exists(database(s) + end):
                overwrite(database(s) + end, 0, bytes(16))
        s.start()
        equal(set(listed(s)), ids, "messages in the queue after the damage")
        check(" is damaged (" in s.log() and "%d messages salvaged" % MESSAGES in s.log(), "the log does not tell:\n" + s.log())
        check(glob.glob(database(s) + ".damaged-*"), "the damaged database is gone")
        flows(s, 1)


@case
def damage_is_met_while_it_runs():
    port = free_port()
    s = make("r", port)
    with s:
        fill(s)
        ids = set(listed(s))
        s.process.stop(timeout_s=30)
        s.start()
        size = os.path.getsize(database(s))
        for page in range(8, size // PAGE, 9):
            overwrite(database(s), page * PAGE, b"\xa5" * PAGE)
        with Sink(("127.0.0.1", port)) as sink:
            wait_for(lambda: s.postern("queue", "flush", ok=False).returncode == 0, 30, "a flush that is taken")
            wait_for(lambda: "starting anew" in s.log() or "salvaged" in s.log(), 30, "the damage to be met")
            wait_for(lambda: s.postern("queue", "flush", ok=False).returncode == 0, 30, "a flush that is taken")
            wait_for(lambda: is_done(s), 60, "the queue to empty but for what is held")
            got = {m[2].split(b"Subject: number ")[1].split(b"\r\n")[0] for m in sink.messages}
            sink.shutdown()
        lost = MESSAGES - len(got)
        log("%d of %d pages spoilt: %d of %d messages did not leave" % (size // PAGE // 9, size // PAGE, lost, len(ids)))
        check(lost < MESSAGES * 3 // 4, "%d messages did not leave" % lost)
        flows(s, 1)


@case
def content_that_changed_is_not_delivered():
    port = free_port()
    s = make("c", port)
    with s:
        with smtplib.SMTP("127.0.0.1", s.ports["smtp"], timeout=30) as c:
            c.sendmail("email1@example.com", ["a@elsewhere.test"], "Subject: big\r\n\r\n" + ("z" * 70 + "\r\n") * 2000)
        wait_for(lambda: "status=deferred" in s.log(), 30, "a deferral")
        (path,) = glob.glob(os.path.join(s.queue_dir, "queue", "files", "*"))
        overwrite(path, 100000, b"Z")
        with Sink(("127.0.0.1", port)) as sink:
            s.postern("queue", "flush")
            wait_for(lambda: "the content is damaged" in s.log(), 30, "a line in the log")
            wait_for(lambda: " hold " in s.postern("queue", "list"), 30, "a hold")
            equal(len(sink.messages), 0, "messages that went out")
            sink.shutdown()


main()
