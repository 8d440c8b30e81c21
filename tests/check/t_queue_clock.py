#!/usr/bin/env python3
# The wall clock is set, by years, while mail waits: nothing expires for that, and nothing waits for years.
import json
import os
import smtplib
import struct
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from harness import *
from outbound import Sink
from stack import Stack

YEAR = 365 * 24 * 3600


def queue(s):
    return [json.loads(line) for line in s.postern("queue", "list", "--json").splitlines()]


def next_tries(s):
    return [r["next_attempt"] for m in queue(s) for r in m["recipients"] if "next_attempt" in r]


@case
def years_ahead_and_back():
    clock = tmp("clock")
    port = free_port()

    def set_clock(seconds):
        with open(clock, "wb") as f:
            f.write(struct.pack("=q", seconds))

    set_clock(0)
    preload = "ASAN_OPTIONS=%s:verify_asan_link_order=0" % os.environ.get("ASAN_OPTIONS", "")
    s = Stack(tmp("s"), wrapper=["env", preload, "LD_PRELOAD=" + helper("fault/clock.so"), "FAULT_CLOCK=" + clock],
              extra_conf=["default_transport = smtp:[127.0.0.1]:%d" % port, "smtpd_sender_restrictions =",
                          "minimal_backoff_time = 300s", "maximal_backoff_time = 4000s", "queue_run_delay = 1s",
                          "maximal_queue_lifetime = 1d", "bounce_queue_lifetime = 1d"])
    with s:
        with smtplib.SMTP("127.0.0.1", s.ports["smtp"], timeout=30) as c:
            for i in range(3):
                c.sendmail("email1@example.com", ["x%d@elsewhere.test" % i], "Subject: %d\r\n\r\nhello\r\n" % i)
        wait_for(lambda: len(next_tries(s)) == 3, 20, "three deferrals")
        due = sorted(next_tries(s))
        for years in (10, -20, 3):
            set_clock(years * YEAR)
            wait_for(lambda: "the clock was set by" in s.log(), 20, "a warning")
            wait_for(lambda: all(abs(a - b - years * YEAR) < 30 for a, b in zip(sorted(next_tries(s)), due)), 20,
                     "the same turns by the new clock (%d years): %r, %r" % (years, next_tries(s), due))
            s.postern("queue", "flush")
            wait_for(lambda: all(r["attempts"] >= 2 for m in queue(s) for r in m["recipients"]) and len(next_tries(s)) == 3,
                     20, "another try")
            due = [d - years * YEAR for d in sorted(next_tries(s))]
        check("status=expired" not in s.log() and "non-delivery" not in s.log(), "mail expired")
        # down while it is set back
        s.process.stop(timeout_s=30)
        set_clock(-5 * YEAR)
        s.start()
        with Sink(("127.0.0.1", port)) as sink:
            # what waited for a minute at most waits no longer than that by the new clock
            check(all(t - (time.time() - 5 * YEAR) < 4100 for t in next_tries(s)), "next tries: %r" % next_tries(s))
            s.postern("queue", "flush")
            wait_for(lambda: len(sink.messages) == 3, 20, "the three messages")
            sink.shutdown()
        check("non-delivery" not in s.log(), "mail expired")


main()
