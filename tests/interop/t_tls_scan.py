#!/usr/bin/env python3
# sslscan of all listeners, and the quick part of testssl.sh of one for each kind of context; all of it is soak's t_tls_scan.
# timeout: 600
import concurrent.futures
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
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            for done in [pool.submit(tlsscan.testssl, s, ca, port, "--fast", "-p", "-s", "-P")
                         for port in ("smtp", "submission", "imaps", "pop3s")]:
                done.result()


main()
