#!/usr/bin/env python3
# timeout: 900
# Every fuzz target for a short while, all of them together for three minutes and a half. tests/soak/t_fuzz.py is the long run.
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from harness import *  # noqa: E402
import fuzz  # noqa: E402

ALL_S = 210
names = fuzz.targets()
for name in names:
    fuzz.fuzz_case(name, max(2, ALL_S // len(names)), 4096)

main()
