#!/usr/bin/env python3
# New mail beside 50,000 messages for dead hosts. See bench.py; BENCH="--pairs 2 ..." adds options.
# timeout: 3600
import os
import shlex
import sys

sys.path[:0] = [os.path.join(os.path.dirname(os.path.abspath(__file__)), d) for d in (".", "../lib")]
import bench
from harness import *


@case
def fair():
    bench.main(["--quiet", "--rows", "fair"] + shlex.split(os.environ.get("BENCH", "")))


main()
