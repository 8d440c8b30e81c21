#!/usr/bin/env python3
# kill -9 of each daemon in turn, at random moments, while 2,000 messages are being sent: every message that was answered 250
# is in a Maildir at the end, at most the few in flight twice. And of the supervisor: its children end, the ports are free.
# timeout: 600
# alone
import collections
import glob
import os
import random
import re
import signal
import smtplib
import socket
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from harness import *
from stack import Stack

MESSAGES = 2000
SENDERS = 8
KILLED = ("smtpd", "qmgr", "lmtpd", "authd", "imapd", "pop3d", "login", "relayd")
USERS = ["u%d@example.com" % i for i in range(20)]


class Sender(threading.Thread):
    """Sends its share; what got a 250 goes into .accepted. Anything else is tried again under a new token."""

    def __init__(self, port, share, seed):
        super().__init__()
        self.port, self.left, self.random = port, share, random.Random(seed)
        self.accepted, self.tried = [], 0

    def run(self):
        while self.left > 0:
            try:
                with smtplib.SMTP("127.0.0.1", self.port, local_hostname="client.example.com", timeout=30) as s:
                    while self.left > 0:
                        self.send_one(s)
            except (OSError, smtplib.SMTPException):
                time.sleep(0.05)

    def send_one(self, s):
        token = "kill-%d-%d-%s" % (self.ident, self.tried, os.urandom(4).hex())
        to = self.random.choice(USERS)
        size = self.random.choice((200, 4096, 100000)) if self.tried % 10 == 0 else 2000
        self.tried += 1
        body = "Subject: %s\r\nFrom: a@example.com\r\n\r\n%s\r\n" % (token, "\r\n".join(["x" * 70] * (size // 72)))
        s.sendmail("a@example.com", [to], body)
        self.accepted.append((token, to))
        self.left -= 1


def tokens(stack):
    """How often each token is in which mailbox."""
    found = collections.Counter()
    for user in USERS:
        for sub in ("new", "cur"):
            for path in glob.glob(os.path.join(stack.maildir(user), sub, "*")):
                with open(path, "rb") as f:
                    m = re.search(rb"^Subject: (kill-\S+)", f.read(4096), re.M)
                if m:
                    found[(m.group(1).decode(), user)] += 1
    return found


@case
def every_daemon_killed_under_load():
    with Stack(tmp("s"), users=USERS, extra_conf=["smtpd_sender_restrictions =", "smtpd_recipient_limit = 1000",
                                                  "minimal_backoff_time = 2s", "queue_run_delay = 2s",
                                                  "maximal_backoff_time = 5s"]) as s:
        senders = [Sender(s.ports["smtp"], MESSAGES // SENDERS, i) for i in range(SENDERS)]
        for t in senders:
            t.start()
        pick = random.Random(os.environ.get("SEED", "postern"))
        kills = collections.Counter()
        while any(t.is_alive() for t in senders) or min(kills[k] for k in KILLED) < 1:
            time.sleep(pick.uniform(0.1, 0.5))
            name = min(KILLED, key=lambda k: (kills[k], KILLED.index(k)))
            pids = s.pids_of(name)
            if pids:
                os.kill(pick.choice(pids), signal.SIGKILL)
                kills[name] += 1
        for t in senders:
            t.join()
        accepted = [a for t in senders for a in t.accepted]
        equal(len(accepted), MESSAGES, "messages answered 250")
        wait_for(lambda: set(accepted) <= set(tokens(s)), 120, "all accepted messages delivered")
        s.wait_ready()
        time.sleep(2)  # a repeat that is still on its way counts, too
        found = tokens(s)
        lost = [a for a in accepted if a not in found]
        check(not lost, "%d lost: %r" % (len(lost), lost[:5]))
        twice = sum(n - 1 for a, n in found.items() if n > 1)
        log("%d kills %s; %d accepted, %d repeats" % (sum(kills.values()), dict(kills), len(accepted), twice))
        # Only what was between "on disk" and "known to qmgr" when a process died may come twice.
        check(twice <= 2 * (kills["lmtpd"] + kills["qmgr"]), "%d messages came twice" % twice)


@case
def supervisor_killed():
    s = Stack(tmp("k"), users=USERS)
    s.start()
    pids = s.pids()
    check(len(pids) > 8, "only %r" % pids)
    s.process.kill()
    wait_for(lambda: not any(os.path.exists("/proc/%d" % p) for p in pids if _is_running(p)), 10, "every daemon ended")
    for name, port in s.ports.items():
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
    # And it starts again over what was left.
    s.start()
    s.stop()


def _is_running(pid):
    try:
        with open("/proc/%d/stat" % pid) as f:
            return f.read().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


main()
