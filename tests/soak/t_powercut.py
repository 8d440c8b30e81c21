#!/usr/bin/env python3
# As interop/t_powercut, for long: other loads, daemons that die in the middle of a sync, some thousand power cuts.
# timeout: 3600
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from harness import *
from cutting import Run

ROUNDS = int(os.environ.get("ROUNDS", "10"))
CUTS = int(os.environ.get("CUTS", "200"))
LOADS = ({"pause_s": 0.06}, {"pause_s": 0.3, "readers": 0}, {"pause_s": 0.02}, {"pause_s": 0.6}, {"pause_s": 0.06, "readers": 0})


@case
def nothing_is_lost():
    base, cuts, bad = os.environ.get("SEED") or "%d" % time.time(), 0, 0
    for i in range(ROUNDS):
        run = Run(6, "%s.%d" % (base, i), kills=i % 2 == 1, **LOADS[i % len(LOADS)])
        log(run.summary())
        points = run.choose(CUTS)
        problems = run.cut_many(points, enough=10)
        for cut, what in problems:
            log("%s: %s" % (cut, what))
        cuts, bad = cuts + len(points), bad + len(problems)
        run.forget()
    check(not bad, "%d problems" % bad)
    log("%d power cuts" % cuts)


main()
