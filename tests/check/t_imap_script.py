#!/usr/bin/env python3
# IMAP dialogues by RFC section, tests/script/imap/*.imap, over the whole stack (tests/lib/imapscript.py says how to write one).
# timeout: 300
import glob
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from harness import *
from imapscript import Client, Mismatch, Script
from stack import Stack

SCRIPTS = sorted(glob.glob(os.path.join(TOP, "tests", "script", "imap", "*.imap")))
_stack = []


def stack():
    if not _stack:
        users = ["s%d@example.com" % i for i in range(len(SCRIPTS))]
        _stack.append(Stack(tmp("s"), users=users, extra_conf=["disable_plaintext_auth = no"]).start())
        at_end(_stack[0].stop)
    return _stack[0]


def run_script(i, path):
    user = "s%d@example.com" % i

    def connect_raw():
        return Client(("127.0.0.1", stack().ports["imap"]))

    def connect():
        c = connect_raw()
        c.login(user, "pass")
        return c

    try:
        Script(path, connect, {"user": user}, connect_raw).run()
    except Mismatch as e:
        fail(str(e))


for number, script in enumerate(SCRIPTS):
    def one(i=number, p=script):
        run_script(i, p)

    one.__name__ = "imap_" + os.path.splitext(os.path.basename(script))[0].replace("-", "_").replace(".", "_")
    case(one)

main()
