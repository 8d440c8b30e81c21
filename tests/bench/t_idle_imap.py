#!/usr/bin/env python3
# Memory of an idle IMAP connection, plain and TLS. See bench.py; BENCH="--pairs 2 ..." adds options.
# timeout: 10800
import os
import shlex
import sys

sys.path[:0] = [os.path.join(os.path.dirname(os.path.abspath(__file__)), d) for d in (".", "../lib")]
import bench
from harness import *


@case
def idle_imap():
    bench.main(["--quiet", "--rows", "imap"] + shlex.split(os.environ.get("BENCH", "")))


main()
