#!/usr/bin/env python3
# The dialogues recorded from the guide's real Postfix (tests/smtp-cases), replayed against smtpd. Each is a case of its own here.
# timeout: 500
import json
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from dnsd import SMTP_CASES_ZONE, Dnsd
from harness import *
from stack import Stack

CASES = os.path.join(TOP, "tests", "smtp-cases")


@case
def recorded_dialogues():
    dns = Dnsd(SMTP_CASES_ZONE)
    dns.start()
    at_end(dns.stop)
    with Stack(tmp("s"), users=["u%d@example.com" % i for i in range(200)], resolver="127.0.0.1:%d" % dns.port,
               listen_host="127.0.0.1", extra_conf=["mynetworks = 127.0.0.8/32"]) as s:
        out = tmp("result.json")
        r = run([sys.executable, os.path.join(CASES, "smtpdiff.py"), "check", "--golden", os.path.join(CASES, "golden.json"),
                 "--mx-port", s.ports["smtp"], "--submission-port", s.ports["submission"],
                 "--submissions-port", s.ports["submissions"], "--deliver-check", s.mail_root, "--json", out], timeout_s=480)
        text = r.stdout.decode(errors="replace")
        for line in text.splitlines():
            if not line.startswith("PASS"):
                log(line)
        check(os.path.exists(out) and json.load(open(out)), "nothing was replayed")
        equal(r.returncode, 0, "dialogues that differ: exit status")


main()
