#!/usr/bin/env python3
# timeout: 90000
# Every fuzz target for half an hour; POSTERN_FUZZ_S=SECONDS says another time.
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from harness import *  # noqa: E402
import fuzz  # noqa: E402

for name in fuzz.targets():
    fuzz.fuzz_case(name, int(os.environ.get("POSTERN_FUZZ_S", 1800)), 32768)

main()
