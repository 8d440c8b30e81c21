#!/usr/bin/env python3
# POP3 dialogues by RFC section, tests/script/pop3/*.pop3, over the whole stack (tests/lib/pop3script.py says how to write one).
# timeout: 300
import base64
import glob
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from harness import *
from imapscript import Mismatch
from pop3script import Client, Script
from stack import Stack

SCRIPTS = sorted(glob.glob(os.path.join(TOP, "tests", "script", "pop3", "*.pop3")))
_stacks = {}


def conf_of(path):
    """Lines of main.cf that a script asks for: "# main.cf: name = value"."""
    with open(path, encoding="utf-8") as f:
        return tuple(line[len("# main.cf:"):].strip() for line in f if line.startswith("# main.cf:"))


def stack(conf):
    if conf not in _stacks:
        users = ["s%d@example.com" % i for i, p in enumerate(SCRIPTS) if conf_of(p) == conf]
        _stacks[conf] = Stack(tmp("s%d" % len(_stacks)), users=users, extra_conf=["disable_plaintext_auth = no",
                              "auth_failure_delay = 0", *conf]).start()
        at_end(_stacks[conf].stop)
    return _stacks[conf]


def run_script(i, path):
    user = "s%d@example.com" % i
    s = stack(conf_of(path))

    def connect_raw():
        return Client(("127.0.0.1", s.ports["pop3"]))

    def connect():
        c = connect_raw()
        c.login(user, "pass")
        return c

    try:
        plain = base64.b64encode(("\0%s\0pass" % user).encode()).decode()
        Script(path, connect, {"user": user, "plain": plain}, connect_raw, s.maildir(user)).run()
    except Mismatch as e:
        fail(str(e))


for number, script in enumerate(SCRIPTS):
    def one(i=number, p=script):
        run_script(i, p)

    one.__name__ = "pop3_" + os.path.splitext(os.path.basename(script))[0].replace("-", "_").replace(".", "_")
    case(one)

main()
