#!/usr/bin/env python3
# The commands that read and change files: postconf, postmap, postalias, newaliases, and postfix's verbs. They are links to
# `postern`, need no daemons, and say what Postfix's say.
import os
import re
import shutil
import stat
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from harness import *

MAIN_CF = """# the head
myhostname = mail.example.com
mydestination = localhost,
# inside
  $myhostname
relayhost =
alias_maps = hash:%s
alias_database = hash:%s
my_class = reject
smtpd_recipient_restrictions = my_class
queue_directory = %s
"""


def conf(*more):
    path = tmp("etc", "main.cf")
    with open(path, "w") as f:
        f.write(MAIN_CF % (tmp("aliases"), tmp("aliases"), tmp("q")) + "".join(more))
    return os.path.dirname(path)


def text():
    with open(tmp("etc", "main.cf")) as f:
        return f.read()


def tool(name, *argv, code=0, input=b"", cwd=None):
    r = run([program(name)] + list(argv), input=input, env=dict(os.environ, MAIL_CONFIG=os.path.dirname(tmp("etc", "main.cf"))),
            cwd=cwd)
    equal(r.returncode, code, "exit code of %s %s: %r" % (name, " ".join(argv), r.stderr))
    return r.stdout.decode(), r.stderr.decode()


@case
def shows():
    conf()
    out, _ = tool("postconf", "-n")
    equal([x.split(" = ")[0] for x in out.splitlines()], ["alias_database", "alias_maps", "my_class", "mydestination", "myhostname",
                                                        "queue_directory", "relayhost", "smtpd_recipient_restrictions"], "-n")
    equal(tool("postconf", "mydestination")[0], "mydestination = localhost, $myhostname\n", "a value")
    equal(tool("postconf", "-xh", "mydestination")[0], "localhost, mail.example.com\n", "expanded")
    equal(tool("postconf", "-h", "relayhost", "myhostname")[0], "\nmail.example.com\n", "-h")
    equal(tool("postconf", "-H", "relayhost")[0], "relayhost\n", "-H")
    equal(tool("postconf", "-d", "relayhost", "message_size_limit")[0], "relayhost = \nmessage_size_limit = 10240000\n", "-d")
    equal(tool("postconf", "no_such_thing"), ("", "postconf: warning: no_such_thing: unknown parameter\n"), "unknown")
    out, _ = tool("postconf")
    names = [x.split(" = ")[0] for x in out.splitlines()]
    check(names == sorted(names) and len(names) > 300 and "my_class" in names, "all of them, sorted")
    equal(tool("postconf", "-C", "user", "-n")[0], "my_class = reject\n", "-C user")
    equal(tool("postconf", "-o", "myhostname=x.example", "myhostname")[0], "myhostname = x.example\n", "-o")
    check("hash\n" in tool("postconf", "-m")[0], "-m")
    check("no master.cf" in tool("postconf", "-M", code=1)[1], "-M")


@case
def edits():
    conf()
    os.chmod(tmp("etc", "main.cf"), 0o640)
    tool("postconf", "-e", "mydestination = a, b", "message_size_limit=1")
    equal(text().splitlines()[1:5], ["myhostname = mail.example.com", "mydestination = a, b", "# inside", "relayhost ="], "edited")
    check(text().endswith("message_size_limit = 1\n"), "added at the end")
    equal(stat.S_IMODE(os.stat(tmp("etc", "main.cf")).st_mode), 0o640, "mode")
    tool("postconf", "relayhost=[smart.example]:587")
    equal(tool("postconf", "-h", "relayhost")[0], "[smart.example]:587\n", "without -e")
    tool("postconf", "-X", "relayhost")
    check("relayhost" not in text(), "-X")
    tool("postconf", "-#", "message_size_limit")
    check("\n#message_size_limit = 1\n" in text(), "-#")
    before = text()
    tool("postconf", "-e", "nothing", code=1)
    tool("postconf", "-e", "a=b\nc", code=1)
    tool("postconf", "-e", "bad name=1", code=1)
    equal(text(), before, "after wrong words")
    equal(sorted(os.listdir(tmp("etc"))), ["main.cf"], "no other file is left")


@case
def edits_behind_a_link():
    conf()
    os.rename(tmp("etc", "main.cf"), tmp("real.cf"))
    os.symlink(tmp("real.cf"), tmp("etc", "main.cf"))
    try:
        tool("postconf", "-e", "relayhost=x")
        check(os.path.islink(tmp("etc", "main.cf")), "the link stays")
        equal(tool("postconf", "-h", "relayhost")[0], "x\n", "value")
    finally:
        os.unlink(tmp("etc", "main.cf"))


@case
def maps():
    conf()
    with open(tmp("map"), "w") as f:
        f.write("# comment\na@example.com b\nalone\nA@example.com c\nroot: d\nlong one\n  two\n")
    out, err = tool("postmap", "hash:" + tmp("map"))
    lines = [x.split("map, line ")[1] for x in err.splitlines()]
    equal(lines, ["3: expected format: key whitespace value", "4: duplicate entry: \"A@example.com\"",
                  "5: record is in \"key: value\" format; is this an alias file?"], "warnings")
    equal(tool("postmap", "-q", "A@EXAMPLE.com", "hash:" + tmp("map"))[0], "b\n", "-q")
    equal(tool("postmap", "-q", "a@example.com", "hash:map", cwd=tmp("map")[:-4])[0], "b\n", "a path from where one is")
    equal(tool("postmap", "-q", "nobody", "hash:" + tmp("map"), code=1)[0], "", "not found")
    equal(tool("postmap", "-q", "-", "hash:" + tmp("map"), input=b"long\nx\na@example.com\n")[0], "long\tone  two\na@example.com\tb\n", "-q -")
    check("a@example.com\tb\n" in tool("postmap", "-s", tmp("map"))[0], "-s")
    check("text files" in tool("postmap", "-d", "long", "hash:" + tmp("map"), code=1)[1], "-d")
    tool("postmap", "hash:" + tmp("no-such-map"), code=1)
    check("unsupported dictionary type: nosuch" in tool("postmap", "-q", "a", "nosuch:x", code=1)[1], "type")
    with open(tmp("re"), "w") as f:
        f.write("/^subject: (.*)/ SUBJ $1\n/secret/ BODY\n")
    message = b"From: a\nSubject: hi\n\nthe secret\nmore\n"
    equal(tool("postmap", "-hq", "-", "regexp:" + tmp("re"), input=message)[0], "Subject: hi\tSUBJ hi\n", "-h")
    equal(tool("postmap", "-bq", "-", "regexp:" + tmp("re"), input=message)[0], "the secret\tBODY\n", "-b")
    equal(tool("postmap", "-q", "x", "static:y")[0], "y\n", "static")


@case
def many_edit_at_once():
    conf()
    procs = [subprocess.Popen([program("postconf"), "-e", "at_once_%d = %d" % (i, i)],
                              env=dict(os.environ, MAIL_CONFIG=os.path.dirname(tmp("etc", "main.cf")))) for i in range(20)]
    equal([p.wait(30) for p in procs], [0] * 20, "exit codes")
    equal([i for i in range(20) if "at_once_%d = %d\n" % (i, i) not in text()], [], "changes that were lost")


@case
def map_types():
    names = tool("postconf", "-m")[0].split()
    check("hash" in names and "regexp" in names, "-m: %r" % names)
    check("pcre" not in names, "what is refused is not offered")


@case
def default_folder():
    """Where nobody names one: /etc/postern if it has a main.cf, else /etc/postfix."""
    if os.geteuid() != 0 or not shutil.which("unshare") or run(["unshare", "-m", "true"]).returncode != 0:
        skip("no mount namespaces here")
    etc = os.path.dirname(tmp("defaultetc", "x"))
    env = {k: v for k, v in os.environ.items() if k != "MAIL_CONFIG"}

    def names():
        cmd = "mount --make-rprivate / && mount --bind %s /etc && %s -h myhostname && %s config myhostname" % (
            etc, program("postconf"), program("postern"))
        r = run(["unshare", "-m", "sh", "-c", cmd], env=env)
        equal(r.returncode, 0, "exit code: %r" % r.stderr)
        return re.findall(r"\w+\.example", r.stdout.decode())

    for folder, want in (("postfix", "theirs.example"), ("postern", "ours.example")):
        os.makedirs(os.path.join(etc, folder), exist_ok=True)
        with open(os.path.join(etc, folder, "main.cf"), "w") as f:
            f.write("myhostname = %s\n" % want)
        equal(names(), [want, want], "what is found")


@case
def aliases():
    conf()
    tool("newaliases", code=1)  # there is no such file yet
    with open(tmp("aliases"), "w") as f:
        f.write("root: me@example.com\nstaff: a, b\n")
    equal(tool("newaliases"), ("", ""), "newaliases")
    equal(tool("sendmail", "-bi"), ("", ""), "sendmail -bi")
    equal(tool("postalias", "-q", "staff", "hash:" + tmp("aliases"))[0], "a, b\n", "-q")
    tool("postalias", "-q", "nobody", "hash:" + tmp("aliases"), code=1)
    with open(tmp("aliases"), "a") as f:
        f.write("oops\nu@d: x\n")
    lines = [x.split("aliases, line ")[1] for x in tool("newaliases")[1].splitlines()]
    equal(lines, ["3: need name:value pair", "4: name must be local"], "warnings")


@case
def verbs():
    conf()
    check("no postern serve runs" in tool("postfix", "status", code=69)[1], "status")
    tool("postfix", "reload", code=69)
    check("systemctl" in tool("postfix", "start", code=1)[1], "start")
    tool("postfix", "frobnicate", code=1)
    equal(tool("postern", "postconf", "-h", "myhostname")[0], "mail.example.com\n", "postern postconf")


main()
