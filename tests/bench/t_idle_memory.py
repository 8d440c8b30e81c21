#!/usr/bin/env python3
# Memory of each stack at rest. See bench.py; BENCH="--pairs 2 ..." adds options.
# timeout: 1800
import os
import shlex
import sys

sys.path[:0] = [os.path.join(os.path.dirname(os.path.abspath(__file__)), d) for d in (".", "../lib")]
import bench
from harness import *


@case
def idle_memory():
    bench.main(["--quiet", "--rows", "idle"] + shlex.split(os.environ.get("BENCH", "")))


main()
