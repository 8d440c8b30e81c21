#!/usr/bin/env python3
# Random work by several processes and a foreign program at one user's mail, with kill -9 and power cuts: UIDs, MODSEQs, views,
# sums, what was answered, and an index made anew. tests/lib/storerandom.py says what must hold. SEED=N repeats a run as far as
# the scheduler lets it.
# timeout: 420
# alone
import os
import re
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from harness import *
from storerandom import Cuts, Play, forget_pending

SEED = int(os.environ.get("SEED") or time.time())


def no(problems, seed):
    for p in problems:
        log(p)
    check(not problems, "seed %d: %d problems" % (seed, len(problems)))


@case
def holds_while_processes_are_killed():
    log("SEED=%d" % SEED)
    play = Play("kills", SEED)
    for i in range(3):
        log(play.work(5, kill_ms=(60, 15, 250)[i], seed=SEED + i))
        no(play.judge(), SEED)
    no(play.rebuild(), SEED)
    log(play.work(2, seed=SEED + 9))
    no(play.judge(), SEED)


_cuts = None


def cuts():
    global _cuts
    if _cuts is None:
        _cuts = Cuts("cuts", SEED, 5)
    return _cuts


@case
def holds_after_power_cuts():
    log("SEED=%d" % SEED)
    points = cuts().points(10, halves=4)
    no(["%s: %s" % p for p in cuts().cut(points)], SEED)
    log("%d power cuts" % len(points))


# What is taken out of the build: syncs of content whose path matches, of names whose path matches; something done to what is
# left; what is found then.
MISSING = {
    "index": (r"/postern-index\.db(-wal)?$", None, None, r"UID \d+ of|UIDNEXT"),
    "content": (r"/(tmp|new|cur)/", None, None, r"UID \d+.* is 0|is lost|is no file|is no message"),
    "cur_names": (None, r"/cur/", None, r"is lost|is not there"),
    "new_names": (None, r"/new/", None, r"is lost"),
    "recovery": (None, None, forget_pending, r"half of operation|is lost|times, it was made"),
}


def missing(name):
    content, names, damage, want = MISSING[name]

    # The index: a part of it was synced, so that it is there and old rather than gone and made anew.
    since = cuts().crossed if name == "index" else 0

    def forgets(path, is_name, seq):
        pattern = names if is_name else content
        return seq > since and pattern is not None and re.search(pattern, path) is not None

    points = cuts().points(0, halves=20) if name == "recovery" else [cuts().last] if name == "index" else cuts().points(16)
    modes = ("keep",) if name == "recovery" else ("drop",)
    found = cuts().cut(points, forgets, damage, modes, enough=1)
    check(any(re.search(want, what) for _where, what in found), "not caught: %s" % [f[1][:300] for f in found])


for _name in MISSING:
    def caught(name=_name):
        missing(name)
    caught.__name__ = "caught_without_" + _name
    case(caught)

main()
