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
_stacks = {}


def conf_of(path):
    """Lines of main.cf that a script asks for: "# main.cf: name = value" at its beginning."""
    with open(path, encoding="utf-8") as f:
        return tuple(line[len("# main.cf:"):].strip() for line in f if line.startswith("# main.cf:"))


def stack(conf):
    if conf not in _stacks:
        users = ["s%d@example.com" % i for i, p in enumerate(SCRIPTS) if conf_of(p) == conf]
        _stacks[conf] = Stack(tmp("s%d" % len(_stacks)), users=users, extra_conf=["disable_plaintext_auth = no", *conf]).start()
        at_end(_stacks[conf].stop)
    return _stacks[conf]


def run_script(i, path):
    user = "s%d@example.com" % i

    def connect_raw():
        return Client(("127.0.0.1", stack(conf_of(path)).ports["imap"]))

    def connect():
        c = connect_raw()
        c.login(user, "pass")
        return c

    try:
        Script(path, connect, {"user": user}, connect_raw).run()
    except Mismatch as e:
        fail(str(e))


@case
def every_section_that_is_cited_has_a_script():
    r = run([sys.executable, os.path.join(TOP, "tools", "rfc-map.py")])
    check(r.returncode == 0, "make rfc-map: " + r.stdout.decode() + r.stderr.decode())


for number, script in enumerate(SCRIPTS):
    def one(i=number, p=script):
        run_script(i, p)

    one.__name__ = "imap_" + os.path.splitext(os.path.basename(script))[0].replace("-", "_").replace(".", "_")
    case(one)

main()
