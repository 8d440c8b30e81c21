#!/usr/bin/env python3
# Searches that take long: the client is told how far they are, and one that has gone without a word is not searched for to the end.
import os
import signal
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from harness import *
from imapscript import Client
from oddmail import write_maildir
from stack import Stack

USER = "long@example.com"
PROGRAM = " ".join('NOT BODY "not anywhere %d"' % i for i in range(1500))


def cpu_s(pid):
    with open("/proc/%d/stat" % pid) as f:
        utime, stime = f.read().rpartition(")")[2].split()[11:13]
    return (int(utime) + int(stime)) / os.sysconf("SC_CLK_TCK")


def connect(s):
    c = Client(("127.0.0.1", s.ports["imap"]), 60)
    c.login(USER, "pass")
    c.send(b"s SELECT INBOX\r\n")
    while not c.response().startswith(b"s OK"):
        pass
    return c


@case
def told_and_given_up():
    s = Stack(tmp("s"), users=[USER], extra_conf=["disable_plaintext_auth = no"])
    write_maildir(s.maildir(USER), 6000, 5)
    with s:
        stays = connect(s)
        goes = connect(s)
        pids = s.pids_of("imapd")
        spent = sum(map(cpu_s, pids))
        stays.send(b"t SEARCH " + PROGRAM.encode() + b"\r\n")
        goes.send(b"t UID SEARCH " + PROGRAM.encode() + b"\r\n")
        wait_for(lambda: sum(map(cpu_s, pids)) > spent + 0.2, 20, "the searches to begin")
        goes.s.close()
        try:  # however fast the machine is, more than the ten seconds go by that are between two lines
            for pid in pids:
                os.kill(pid, signal.SIGSTOP)
            time.sleep(11)
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)
        told = stays.response().decode()
        check(told.startswith("* OK [INPROGRESS (\"t\" ") and " 6000)] Searched " in told and "% of the mailbox, ETA " in told, told[:200])
        wait_for(lambda: s.log().count("Connection closed") == 1, 50, "the search to be given up")
        check(stays.response().startswith(b"* SEARCH 1 2 3 "), "the other one goes on")


main()
