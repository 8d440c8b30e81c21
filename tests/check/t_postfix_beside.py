#!/usr/bin/env python3
# A real Postfix (Debian's, installed or unpacked in build/ref) beside ours in one run: the same configuration, the same dialogues,
# and the same replies, log lines and messages. The dialogues are tests/smtp-beside/*.cases, and a spread of the recorded ones.
# timeout: 400
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import beside
from dnsd import Dnsd
from harness import *

RESOLVER = "127.53.%d.%d" % (100 + os.getpid() % 100, 1 + os.getpid() // 100 % 250)  # two runs at a time are well
SPREAD = 5  # every so many of the recorded dialogues: all of them are in t_smtp_cases.py
FEWEST = 900  # dialogues of our own; fewer were not read
_pair = []


def pair():
    if not _pair:
        beside.postfix_folder()
        if os.geteuid() != 0:
            skip("a Postfix of its own needs root")
        dns = Dnsd(beside.ZONE, RESOLVER, 53)
        dns.start()
        at_end(dns.stop)
        p = beside.Pair(tmp("b"), dns)
        p.start()
        at_end(p.stop)
        _pair.append(p)
    return _pair[0]


def compare(dialogues, **how):
    differ = []
    for d, said in pair().compare(dialogues, **how):
        if said:
            differ.append(d.name)
            log("%s: %s" % (d.name, d.meta["about"]))
            for line in said:
                log("    " + line)
    return differ


@case
def recorded_dialogues():
    pair().configure()
    cases = beside.recorded(SPREAD)
    check(len({c.category for c in cases}) == 21, "a category is left out")
    equal(compare(cases), [], "dialogues that differ")


@case
def the_guide_s_configuration():
    pair().configure()
    equal(compare([d for c in beside.configs() if not c.main_cf for d in c.dialogues]), [], "dialogues that differ")


@case
def other_configurations():
    all_of_them, differ = beside.configs(), []
    for c in all_of_them:
        if c.main_cf:
            pair().configure(c.main_cf)
            differ += compare(c.dialogues)
    check(sum(len(c.dialogues) for c in all_of_them) >= FEWEST, "dialogues are missing")
    equal(differ, [], "dialogues that differ")


main()
