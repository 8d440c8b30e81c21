#!/usr/bin/env python3
# All that sslscan and testssl.sh look for, on all seven listeners: nothing above "low".
# timeout: 7200
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import tlsscan
from harness import *
from stack import PORTS


@case
def nothing_above_low():
    s, ca = tlsscan.stack()
    with s:
        for port in PORTS:
            tlsscan.sslscan(s, port)
            tlsscan.testssl(s, ca, port)


main()
