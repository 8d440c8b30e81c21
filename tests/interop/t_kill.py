#!/usr/bin/env python3
# kill -9 of any daemon, and of the supervisor, at 200 random moments under load: mail in from port 25, from submission and from
# sendmail(1); out to a host that takes it, one that refuses, one that is not there; IMAP clients beside. Whatever was answered
# "yes" is in a Maildir or at the other host in the end, or has come back as a report; what came twice is counted.
# timeout: 420
# alone
import collections
import os
import random
import signal
import socket
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import mailload
from harness import *
from stack import Stack

KILLS = int(os.environ.get("KILLS", "200"))
DAEMONS = ("smtpd", "qmgr", "lmtpd", "authd", "imapd", "pop3d", "login", "relayd", "postern")
WEIGHTS = (3, 5, 4, 2, 2, 1, 1, 4, 1)  # postern: the supervisor, and all others with it
USERS = mailload.USERS


def wait_all_ended(s, pids):
    wait_for(lambda: not any(_is_running(p) for p in pids), 20, "every daemon ended")
    # A process counts as ended a moment before the last of its threads, which hold its descriptors.
    for name, port in s.ports.items():
        wait_for(lambda: _is_free(port), 5, "port %d (%s)" % (port, name))


def kill_one(s, name, pick):
    """True when there was one to be killed."""
    if name != "postern":
        pids = s.pids_of(name)
        if pids:
            os.kill(pick.choice(pids), signal.SIGKILL)
        return bool(pids)
    pids = s.pids()
    s.process.kill()
    wait_all_ended(s, pids)
    s.start()
    return True


def summary(found, sunk, want):
    """(lost, copies too many by place)."""
    copies = collections.Counter({k: n for k, n in found.items() if not (isinstance(k[0], tuple) and k[0][0] != "report")})
    copies.update(("sink", t) for t in sunk)
    lost = [w for w in want if not copies[w] and not found.get(w)]
    more = collections.Counter()
    for (place, _token), n in copies.items():
        if place in mailload.READERS:
            continue  # they copy it themselves
        more["reports" if isinstance(place, tuple) else "at the sink" if place == "sink" else "in Maildirs"] += n - 1
    return lost, more


@case
def any_daemon_killed_under_load():
    seed = os.environ.get("SEED") or "%d" % time.time()
    log("SEED=%s" % seed)
    book, pick = mailload.Ledger(), random.Random(seed)
    sink, dead_port = mailload.Sink(book), free_port()
    with Stack(tmp("s"), users=USERS + mailload.READERS, aliases=mailload.ALIASES,
               extra_conf=mailload.conf(sink.port, dead_port)) as s:
        load, kills = mailload.Load(s, book, seed=seed, pause_s=0.3), collections.Counter()
        load.start()
        while sum(kills.values()) < KILLS:
            time.sleep(pick.uniform(0.02, 0.6))
            name = pick.choices(DAEMONS, WEIGHTS)[0]
            if kill_one(s, name, pick):
                kills[name] += 1
        s.wait_ready()
        load.stop()
        for c in load.clients:
            check(c.n > 5, "%s did nothing: %r" % (c.name, c.trouble))
        # The host that was not there comes up.
        alive = mailload.Sink(book, port=dead_port)
        s.postern("queue", "flush")
        last, boxes = book.note("end"), mailload.Mailboxes(s.mail_root)
        want = book.expected(last)

        def all_there():
            return not summary(boxes.look(), book.sunk(1 << 62), want)[0]

        try:
            wait_for(all_there, 60, "all that was accepted")
        except Failed:
            pass  # told below, by name
        time.sleep(2)  # a repeat that is still on its way counts, too
        lost, more = summary(boxes.look(), book.sunk(1 << 62), want)
        accepted = collections.Counter(f["token"].split("-")[1].rstrip("0123456789") for _s, k, f in book.events if k == "ok")
        log("%d kills: %s" % (sum(kills.values()), dict(kills)))
        log("accepted: %s; copies too many: %s" % (dict(accepted), dict(more)))
        if lost:
            log(s.postern("queue", "list"))
        check(not lost, "%d lost: %r" % (len(lost), lost[:5]))
        check(not boxes.broken, "not what was sent: %r" % boxes.broken[:3])
        check(all(ok for _t, ok in sink.found + alive.found), "the other host got something else than was sent")
        # Only what was between "on disk" and "known to qmgr" when a process died may come twice.
        most = 2 * (kills["lmtpd"] + kills["qmgr"] + kills["postern"])
        check(more["in Maildirs"] <= most, "%d messages came twice" % more["in Maildirs"])


@case
def supervisor_killed():
    s = Stack(tmp("k"), users=USERS)
    s.start()
    pids = s.pids()
    check(len(pids) > 8, "only %r" % pids)
    s.process.kill()
    wait_all_ended(s, pids)
    # And it starts again over what was left.
    s.start()
    s.stop()


def _is_free(port):
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _is_running(pid):
    try:
        with open("/proc/%d/stat" % pid) as f:
            return f.read().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


main()
