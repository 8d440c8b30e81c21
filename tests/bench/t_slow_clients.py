#!/usr/bin/env python3
# 500 clients that deliver beside 4,500 that send one octet a second. See bench.py; BENCH="--pairs 2 ..." adds options.
# timeout: 3600
import os
import shlex
import sys

sys.path[:0] = [os.path.join(os.path.dirname(os.path.abspath(__file__)), d) for d in (".", "../lib")]
import bench
from harness import *


@case
def slow_clients():
    bench.main(["--quiet", "--only", "postern", "--rows", "slow"] + shlex.split(os.environ.get("BENCH", "")))


main()
