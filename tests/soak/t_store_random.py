#!/usr/bin/env python3
# As interop/t_store_random, for 30 minutes of processor time (CPU_S=SECONDS says another): a seed each round. SEED=N begins there.
# timeout: 7200
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from harness import *
from storerandom import Cuts, Play

CPU_S = float(os.environ.get("CPU_S", "1800"))
SEED = int(os.environ.get("SEED") or time.time())


def used_s():
    t = os.times()
    return t.user + t.system + t.children_user + t.children_system


@case
def holds():
    bad, rounds, n_cuts = 0, 0, 0
    while used_s() < CPU_S and bad < 10:
        seed = SEED + rounds
        play = Play("kills%d" % rounds, seed)
        problems = []
        for i in range(4):
            play.work(8, kill_ms=(60, 10, 400, 30)[i], workers=(3, 5, 2, 4)[i], outsiders=(1, 2, 0, 1)[i], seed=seed * 10 + i)
            problems += play.judge()
        problems += play.rebuild()
        play.remove()
        cuts = Cuts("cuts%d" % rounds, seed, 6, kill=rounds % 2 == 0)
        points = cuts.points(30, halves=10)
        problems += ["%s: %s" % p for p in cuts.cut(points, enough=10)]
        cuts.forget()
        for p in problems:
            log("seed %d: %s" % (seed, p))
        bad, rounds, n_cuts = bad + len(problems), rounds + 1, n_cuts + len(points)
    log("SEED=%d: %d rounds, %d power cuts, %d s" % (SEED, rounds, n_cuts, used_s()))
    check(not bad, "%d problems" % bad)


main()
