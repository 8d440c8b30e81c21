#!/usr/bin/env python3
# Programs that look at the queue, as Debian has them, unchanged: Nagios' check_mailq, munin's plug-ins. And the real Postfix
# beside us: the same messages in both queues, and what the tools print of them must be the same but for ids, times and sizes.
# timeout: 300
import json
import os
import re
import smtplib
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from harness import *
from refstack import RefStack, fetch
from stack import Stack

CONF = ["smtpd_relay_restrictions = permit_mynetworks, reject", "smtpd_recipient_restrictions = permit_mynetworks, reject",
        "smtpd_sender_restrictions =", "smtpd_helo_restrictions =", "smtpd_client_restrictions =",
        "default_transport = smtp:[127.0.0.1]:9", "relay_transport = smtp:[127.0.0.1]:9", "fast_flush_domains = remote.test"]
OURS = CONF + ["smtpd_processes = 1"]


def send(port, sender, to, body="body\r\n"):
    with smtplib.SMTP("127.0.0.1", port, local_hostname="client.example.com", timeout=60) as c:
        c.sendmail(sender, to, "Subject: hi\r\nFrom: a@b.test\r\nTo: x@y.test\r\nDate: Sun, 22 Nov 2026 21:32:52 +0000\r\n"
                   "Message-Id: <1@b.test>\r\n\r\n" + body)


def env_of(s, **more):
    return dict(os.environ, MAIL_CONFIG=s.workdir, PATH=build("bin") + ":" + os.environ["PATH"], **more)


def queued(s):
    return [json.loads(l) for l in s.postern("postqueue", "-j").splitlines()]


def wait_queued(s, n):
    wait_for(lambda: [m["queue_name"] for m in queued(s)].count("deferred") == n, 20, "%d deferred messages" % n)


# ---------------------------------------------------------------------------------------------- Nagios


def check_mailq(s, *argv):
    """Debian's plug-in, which runs /usr/bin/mailq: ours is put there in a mount namespace."""
    plugins = ref("usr/lib/nagios/plugins")
    over = tmp("over-bin", "x")[:-2]
    if not os.path.exists(os.path.join(over, "mailq")):
        os.symlink(program("mailq"), os.path.join(over, "mailq"))
    script = 'mount -t overlay overlay -o "lowerdir=$1:/usr/bin" /usr/bin || exit 99; shift; exec "$@"'
    r = subprocess.run(["unshare", "-m", "--propagation", "private", "sh", "-c", script, "sh", over, "perl", "-w",
                        os.path.join(plugins, "check_mailq"), *argv], env=env_of(s), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if r.returncode == 99:
        skip("no overlay mounts here: " + r.stdout.strip())
    return r.returncode, r.stdout


@case
def nagios_check_mailq():
    if os.geteuid() != 0:
        skip("needs root, for a mount namespace")
    fetch("monitoring-plugins-basic", "monitoring-plugins-standard")
    with Stack(tmp("n"), extra_conf=OURS) as s:
        equal(check_mailq(s, "-w", "2", "-c", "4", "-M", "postfix")[0], 0, "empty")
        for i, want in ((1, (0, "OK: postfix mailq (1) is below threshold (2/4)")), (3, (1, "WARNING: postfix mailq is 3 (threshold w = 2)")),
                        (5, (2, "CRITICAL: postfix mailq is 5 (threshold c = 4)"))):
            while len(queued(s)) < i:
                send(s.ports["smtp"], "a@sender.test", ["x@remote.test"])
            code, text = check_mailq(s, "-w", "2", "-c", "4", "-M", "postfix")
            check(code == want[0] and text.startswith(want[1]), "%d messages: %d %s" % (i, code, text))


# ---------------------------------------------------------------------------------------------- munin


@case
def munin():
    """postfix_mailqueue counts files in Postfix's folders; postfix_mailvolume and _mailstats read the log."""
    fetch("munin-plugins-core")
    lib = ref("usr/share/munin")
    with Stack(tmp("m"), extra_conf=OURS) as s:
        def plugin(name, *argv, **env):
            r = subprocess.run([os.path.join(lib, "plugins", name), *argv], env=env_of(s, MUNIN_LIBDIR=lib, MUNIN_PLUGSTATE=tmp("state", "x")[:-2],
                                                                                     **env), stdout=subprocess.PIPE, text=True)
            return dict(re.findall(r"(?m)^(\w+)\.value (\S+)$", r.stdout)) if not argv else r.stdout

        equal(plugin("postfix_mailqueue", "autoconf", spooldir=s.queue_dir), "yes\n")
        for i in range(7):
            send(s.ports["smtp"], "a@sender.test", ["x@remote.test"])
        wait_queued(s, 7)
        s.postern("queue", "hold", queued(s)[0]["queue_id"], queued(s)[1]["queue_id"])
        want = {"active": "0", "deferred": "5", "hold": "2", "incoming": "0", "maildrop": "0", "corrupt": "0"}
        s.postern("reload")  # counts anew at once, else once a minute
        wait_for(lambda: plugin("postfix_mailqueue", spooldir=s.queue_dir) == want, 20, "munin's numbers: %s" % want)
        equal(subprocess.run("find %s/deferred -type f | wc -l" % s.queue_dir, shell=True, stdout=subprocess.PIPE, text=True).stdout, "5\n")
        s.postern("queue", "delete", "ALL")
        s.postern("reload")
        wait_for(lambda: set(plugin("postfix_mailqueue", spooldir=s.queue_dir).values()) == {"0"}, 20, "nothing again")


# ---------------------------------------------------------------------------------------------- Postfix


def masked(text, ids):
    """Ids, times and sizes are each queue's own; messages come in any order."""
    for n, i in enumerate(ids):
        text = re.sub(re.escape(i) + "( *)", lambda m: "ID%d" % n + (" " if m.group(1) else ""), text)
    text = re.sub(r"\w{3} \w{3} [ \d]\d \d\d:\d\d:\d\d( \d{4})?", "TIME", text)
    text = re.sub(r'("arrival_time": |"message_size": )\d+', r"\g<1>0", text)
    text = re.sub(r"(?m)^(ID\d[*!#]*) +\d+ TIME", r"\1 N TIME", text)
    return re.sub(r"-- \d+ Kbytes", "-- N Kbytes", text)


def parts(text):
    """mailq's messages by their lines, recipients sorted (Postfix lists them as they were put off)."""
    head, *rest = text.split("\n", 1)
    blocks = rest[0].split("\n\n") if rest else []
    return [head] + sorted("\n".join([b.split("\n")[0]] + sorted(b.split("\n")[1:])) for b in blocks)


@case
def beside_postfix():
    with RefStack(tmp("pf"), parts=("postfix",), main_cf=CONF + ["enable_long_queue_ids = yes"]) as pf, Stack(tmp("us"), extra_conf=OURS) as us:
        def both(*argv, input=""):
            """Output and exit code of a tool in both; `argv` is a function of the ids."""
            out = []
            for run_it, i in ((lambda a: pf.run("sh", "-c", '"$@"; echo "exit=$?"', "sh", *a, input=text, check=False), pf_ids),
                              (lambda a: ours(a, text), our_ids)):
                text = input(i) if callable(input) else input
                got = run_it([a(i) if callable(a) else a for a in argv])
                out.append(masked(got, i))
            return out

        def ours(argv, text):
            r = subprocess.run(["sh", "-c", '"$@"; echo "exit=$?"', "sh", *argv], input=text, text=True, stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT, env=env_of(us))
            return "".join(l for l in r.stdout.splitlines(True) if not re.match(r".*main\.cf:\d+: warning: ", l))

        def same(*argv, sort=False, **more):
            a, b = both(*argv, **more)
            if sort:
                a, b = parts(a), parts(b)
            equal(b, a, "%s, wanted as Postfix prints it" % " ".join(x if isinstance(x, str) else "ID" for x in argv))

        pf_ids = our_ids = []
        for argv in (["postqueue", "-p"], ["postqueue", "-j"], ["postqueue"], ["postqueue", "-p", "extra"], ["postsuper"],
                     ["postsuper", "-d", "ALL"], ["postsuper", "-d", "ALL", "nosuch"], ["postsuper", "-h", "0123ABC"],
                     ["postsuper", "-h", "a!b"], ["postcat", "-q", "0123ABC"], ["postqueue", "-i", "a/b"], ["postqueue", "-i", "0123ABC"],
                     ["postqueue", "-s", "other.test"], ["postqueue", "-s", "remote.test"], ["postqueue", "-f"]):
            same(*argv)
        for port in (pf.ports["smtp"], us.ports["smtp"]):
            send(port, "a@sender.test", ["x@remote.test", "y@remote.test", "z@other.test"])
            send(port, "b@sender.test", ["x@remote.test"], "line\r\n" * 30000)
            send(port, "", ["n@remote.test"])
            send(port, '"odd one"@sender.test', ['"h h"@remote.test'])
        wait_queued(us, 4)

        def ids_of(listing):
            by = {m["sender"]: m["queue_id"] for m in map(json.loads, listing.splitlines())}
            return [by[k] for k in ("a@sender.test", "b@sender.test", "MAILER-DAEMON", '"odd one"@sender.test')]

        wait_for(lambda: pf.run("postqueue", "-j").count('"deferred"') == 4, 20, "Postfix's four deferred")
        pf_ids, our_ids = ids_of(pf.run("postqueue", "-j")), ids_of(us.postern("postqueue", "-j"))

        def json_lines():
            a, b = both("postqueue", "-j")
            for l in (a, b):
                check(l.endswith("exit=0\n"), l)

            def normal(text):
                return sorted(json.dumps(dict(m, recipients=sorted(m["recipients"], key=str))) for m in map(json.loads, text.splitlines()[:-1]))

            equal(normal(b), normal(a), "postqueue -j")
            # to the octet, where the order of recipients is no matter
            one = [next(l for l in x.splitlines() if '"queue_id": "ID1"' in l) for x in (a, b)]
            equal(one[1], one[0], "a line of postqueue -j")

        same("postqueue", "-p", sort=True)
        json_lines()
        for argv in (["-h", lambda i: i[0]], ["-h", lambda i: i[0]], ["-h", lambda i: i[1]], ["-e", lambda i: i[1]]):
            same("postsuper", *argv)
        same("postqueue", "-p", sort=True)
        json_lines()
        same("postsuper", "-h", "-", input=lambda i: "%s!\n%s\n%s\n" % (i[3], i[0], i[2]))  # we read all of them first
        same("postsuper", "-H", lambda i: i[0])
        same("postsuper", "-h", "ALL", "deferred")
        same("postsuper", "-f", lambda i: i[1])
        wait_for(lambda: our_ids[1] not in us.postern("mailq"), 20, "returned")
        # postcat: what both have
        a, b = both("postcat", "-q", lambda i: i[0])
        keep = ("***", "sender:", "original_recipient:", "recipient:", "message_arrival_time:", "create_time:", "Subject:", "body")

        def kept(text):
            return [re.sub(r"(hold|deferred)/(./)?", r"\1/", l) for l in text.splitlines() if l.startswith(keep)]

        equal(sorted(kept(b)), sorted(kept(a)), "postcat -q")
        names = [set(re.findall(r"(?m)^named_attribute: (\w+)=", t)) for t in (a, b)]
        check(names[1] <= names[0], "attributes that Postfix does not have: %s" % (names[1] - names[0]))
        same("postcat", "-b", "-q", lambda i: i[0])
        same("postsuper", "-d", lambda i: i[0], "-d", lambda i: i[3])
        same("postsuper", "-d", "ALL", "hold")


main()
