#!/usr/bin/env python3
# Mail that comes in: accepted and delivered per second. See bench.py; BENCH="--pairs 2 ..." adds options.
# timeout: 3600
import os
import shlex
import sys

sys.path[:0] = [os.path.join(os.path.dirname(os.path.abspath(__file__)), d) for d in (".", "../lib")]
import bench
from harness import *


@case
def inbound():
    bench.main(["--quiet", "--rows", "inbound"] + shlex.split(os.environ.get("BENCH", "")))


main()
