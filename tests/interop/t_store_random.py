#!/usr/bin/env python3
# Random work by several processes and a foreign program at one user's mail, with kill -9 and power cuts: UIDs, MODSEQs, views,
# sums, what was answered, and an index made anew. tests/lib/storerandom.py says what must hold. SEED=N repeats a run as far as
# the scheduler lets it.
# timeout: 420
# alone
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from harness import *
from storerandom import Play

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


main()
