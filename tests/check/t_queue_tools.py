#!/usr/bin/env python3
# The operator's view of the queue: postern queue with its selections, and mailq, postqueue, postsuper and postcat as links; with
# qmgr and without; what an operator wants of messages that are just being delivered; what ordinary users may.
# timeout: 240
import json
import os
import pwd
import re
import smtplib
import socket
import struct
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from fillqueue import fill_queue
from harness import *
from stack import Stack

CONF = ["smtpd_relay_restrictions = permit_mynetworks, reject", "smtpd_recipient_restrictions = permit_mynetworks, reject",
        "smtpd_processes = 1",  # so that ids come in the order of the messages
        "smtpd_sender_restrictions =", "smtpd_helo_restrictions =", "smtpd_client_restrictions =",
        "default_transport = smtp:[127.0.0.1]:9", "relay_transport = smtp:[127.0.0.1]:9", "fast_flush_domains = remote.test"]
ME = "email1@example.com"
REFUSED = "connect to 127.0.0.1[127.0.0.1]:9: Connection refused"


def send(s, sender, to, text="Subject: hi\r\nFrom: a@b.test\r\n\r\nbody\r\n"):
    with smtplib.SMTP("127.0.0.1", s.ports["smtp"], local_hostname="client.example.com", timeout=60) as c:
        c.sendmail(sender, to, text)


def tool(s, *argv, input=None, code=0):
    """Standard output of a tool, which may also be run as a link; its standard error is looked at through tool.err."""
    link = program(argv[0])
    r = run([link] + list(argv[1:]), input=input.encode() if input is not None else None,
            env=dict(os.environ, MAIL_CONFIG=s.workdir))
    tool.err = "".join(l for l in r.stderr.decode().splitlines(True) if not re.match(r".*main\.cf.*: warning: ", l))
    equal(r.returncode, code, "exit code of %s: %r %r" % (" ".join(argv), r.stdout[-500:], tool.err[-500:]))
    return r.stdout.decode()


def listed(s, *words):
    return [json.loads(l) for l in s.postern("queue", "list", "--json", *words).splitlines()]


def ids(s, *words):
    return [m["queue_id"] for m in listed(s, *words)]


def settle(s, n, state="deferred"):
    wait_for(lambda: [m["queue_name"] for m in listed(s)] == [state] * n, 20, "%d messages %s" % (n, state))


@case
def tools_as_links():
    with Stack(tmp("l"), extra_conf=CONF) as s:
        equal(tool(s, "mailq"), "Mail queue is empty\n")
        equal(tool(s, "postqueue", "-p"), "Mail queue is empty\n")
        equal(tool(s, "postqueue", "-j"), "")
        send(s, "a@sender.test", ["x@remote.test", "y@remote.test", "z@other.test"])
        send(s, "b@sender.test", ["x@remote.test"], "Subject: big\r\n\r\n" + "line\r\n" * 20000)
        send(s, "", ["n@remote.test"])
        settle(s, 3)
        first, big, null = ids(s)
        lines = tool(s, "mailq").splitlines()
        equal(lines[0], "----Queue ID----- --Size-- ---Arrival Time---- --Sender/Recipient------", "head")
        check(re.fullmatch(r"%s +\d+ \w{3} \w{3} [ \d]\d \d\d:\d\d:\d\d a@sender\.test" % first, lines[1]), lines[1])
        equal(lines[2], "(%s)" % REFUSED if len(REFUSED) > 76 else " " * (76 - len(REFUSED)) + "(%s)" % REFUSED, "reason")
        equal(lines[3:7], [" " * 47 + a for a in ("x@remote.test", "y@remote.test", "z@other.test")] + [""], "recipients")
        check(re.fullmatch(r"-- \d+ Kbytes in 3 Requests\.", lines[-1]), lines[-1])
        j = [json.loads(l) for l in tool(s, "postqueue", "-j").splitlines()]
        equal([m["sender"] for m in j], ["a@sender.test", "b@sender.test", "MAILER-DAEMON"], "senders")
        equal(j[2]["recipients"], [{"address": "n@remote.test", "delay_reason": REFUSED}], "recipients")
        equal((j[0]["forced_expire"], j[0]["queue_name"]), (False, "deferred"))
        # postcat
        text = tool(s, "postcat", "-q", first)
        for want in ("*** ENVELOPE RECORDS deferred/%s ***\n" % first, "sender: a@sender.test\n", "recipient: y@remote.test\n",
                     "named_attribute: log_client_address=127.0.0.1\n", "*** MESSAGE CONTENTS deferred/%s ***\nReceived:" % first,
                     "\n\nbody\n*** HEADER EXTRACTED deferred/%s ***\n*** MESSAGE FILE END deferred/%s ***\n" % (first, first)):
            check(want in text, "%r is not in %s" % (want, text))
        equal(tool(s, "postcat", "-b", "-q", first), "\nbody\n")
        check(tool(s, "postcat", "-h", "-q", first).endswith("+0000 (UTC)\n"), "header only")
        equal(tool(s, "postcat", "-hb", "-q", big).count("line\n"), 20000, "a body of many pages, from a file")
        check("line" not in tool(s, "postcat", "-e", "-q", big), "envelope only")
        tool(s, "postcat", "-q", "0123ABC", code=1)
        equal(tool.err, "postcat: fatal: open queue file 0123ABC: No such file or directory\n")
        # by condition, and what cannot be said or written
        text = s.postern("queue", "show", "to=y@remote.test")
        check(first in text and text.replace("\r", "").endswith("\n\nbody\n"), "show by a condition: %r" % text)
        equal(s.postern("queue", "show", "--json", "sender=b@*").count('"queue_id"'), 1, "the same as JSON")
        for argv, code in ((["mailq"], 69), (["postqueue", "-j"], 69), (["postern", "-c", s.path("main.cf"), "queue", "list"], 1),
                           (["postern", "-c", s.path("main.cf"), "queue", "show", first], 1)):
            with open("/dev/full", "w") as full:
                r = subprocess.run([program(argv[0])] + argv[1:], stdout=full, stderr=subprocess.PIPE, timeout=30,
                                   env=dict(os.environ, MAIL_CONFIG=s.workdir))
            check(r.returncode == code and b"writ" in r.stderr, "%s to a full disk: %d %r" % (argv, r.returncode, r.stderr))
        r = run([program("postern"), "-c", s.path("main.cf"), "queue", "hold", "sender=x\n%s" % first])
        equal(r.returncode, 64, "a word of two lines: %r" % r.stderr)
        # postsuper
        tool(s, "postsuper", "-h", first)
        equal(tool.err, "postsuper: %s: placed on hold\npostsuper: Placed on hold: 1 message\n" % first)
        check("%s! " % first in tool(s, "mailq"), "no mark of hold")
        tool(s, "postsuper", "-h", "-", input="%s\n%s\nNOSUCH\n%s!\n" % (first, big, null))
        equal(tool.err, "postsuper: warning: invalid mail queue id: %s!\npostsuper: %s: placed on hold\n"
              "postsuper: Placed on hold: 1 message\n" % (null, big))
        tool(s, "postsuper", "-e", big)
        equal(tool.err, "postsuper: %s: expired\npostsuper: Force-expired: 1 message\n" % big)
        check("%s!# " % big in tool(s, "mailq"), "no mark of expiry")
        equal([m["forced_expire"] for m in map(json.loads, tool(s, "postqueue", "-j").splitlines())], [False, True, False])
        tool(s, "postsuper", "-H", first, "-r", null)
        check("postsuper: Requeued: 1 message\n" in tool.err and "postsuper: Released from hold: 1 message\n" in tool.err, tool.err)
        tool(s, "postsuper", "-f", big)
        equal(tool.err, "postsuper: %s: released from hold\npostsuper: Force-expired: 0 messages\n"
              "postsuper: Released from hold: 1 message\n" % big)
        wait_for(lambda: big not in ids(s), 20, "the expired one gone")
        check("%s: from=<b@sender.test>, status=force-expired, returned to sender" % big in s.log(), "no line of its expiry")
        report = ids(s, "sender=<>", "to=b@sender.test")
        equal(len(report), 1, "a report to the sender")
        check("Action: failed" in tool(s, "postcat", "-b", "-q", report[0]) and REFUSED in tool(s, "postcat", "-b", "-q", report[0]),
              "what it says")
        tool(s, "postsuper", "-h", "ALL", "deferred")
        equal(tool.err, "postsuper: Placed on hold: 3 messages\n")
        tool(s, "postsuper", "-d", "ALL", "active", "deferred")
        equal(tool.err, "postsuper: Deleted: 0 messages\n")
        # pipelines that operators use
        out = subprocess.run("mailq | tail -n +2 | grep -v '^ *(' | awk 'BEGIN { RS = \"\" } { if ($8 == \"n@remote.test\") print $1 }'"
                             " | tr -d '*!' | postsuper -d -", shell=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                             env=dict(os.environ, MAIL_CONFIG=s.workdir, PATH=build("bin") + ":" + os.environ["PATH"])).stdout
        check("postsuper: Deleted: 1 message\n" in out and null not in ids(s), out)
        tool(s, "postsuper", "-d", "ALL")
        equal(tool.err, "postsuper: Deleted: 2 messages\n")
        tool(s, "postsuper", "-d", "ALL", "nosuch", code=1)
        tool(s, "postsuper", "-x", code=1)
        tool(s, "postsuper", "-s", "-p")
        equal(tool(s, "mailq"), "Mail queue is empty\n")


@case
def flush():
    table = tmp("transports")
    with open(table, "w") as f:
        f.write("later.test smtp:[127.0.0.1]:9\n")
    conf = CONF + ["transport_maps = hash:" + table, "defer_transports = smtp", "minimal_backoff_time = 1000s",
                   "maximal_backoff_time = 2000s"]
    with Stack(tmp("f"), extra_conf=conf) as s:
        send(s, "a@sender.test", ["x@remote.test"])
        send(s, "b@sender.test", ["x@sub.remote.test"])
        send(s, "c@sender.test", ["x@other.test"])
        settle(s, 3)

        def reasons():
            return [m["recipients"][0]["delay_reason"] for m in listed(s)]

        equal(reasons(), ["deferred transport"] * 3)
        tool(s, "postqueue", "-s", "remote.test")
        wait_for(lambda: reasons() == [REFUSED, "deferred transport", "deferred transport"], 20, "one was tried")
        tool(s, "postqueue", "-i", ids(s)[2])
        # two failures at once make the host dead, which what an operator wants flushed does not mind
        wait_for(lambda: reasons()[2] == REFUSED, 20, "the third was tried")
        tool(s, "postqueue", "-f")
        wait_for(lambda: REFUSED in reasons()[1], 20, "all were tried")
        tool(s, "postqueue", "-s", "other.test", code=69)
        equal(tool.err, 'postqueue: fatal: Flush service is not configured for destination "other.test"\n')
        tool(s, "postqueue", "-i", "no/such", code=69)
        equal(tool.err, 'postqueue: fatal: Cannot flush queue ID - invalid name: "no/such"\n')
        tool(s, "postqueue", "-i", "0123ABC")
        tool(s, "postqueue", code=69)


@case
def etrn():
    """Whoever may have it tried says ETRN: what waits for that domain, and nothing else."""
    with Stack(tmp("e"), extra_conf=CONF + ["minimal_backoff_time = 1000s", "maximal_backoff_time = 2000s"]) as s:
        for to in ("x@remote.test", "x@sub.remote.test", "x@other.test"):
            send(s, "a@sender.test", [to])
        settle(s, 3)

        def attempts():
            return {r["address"]: r["attempts"] for m in listed(s) for r in m["recipients"]}

        before = attempts()
        with smtplib.SMTP("127.0.0.1", s.ports["smtp"], local_hostname="client.example.com", timeout=60) as c:
            c.ehlo()
            equal(c.docmd("ETRN remote.test"), (250, b"Queuing started"))
            equal(c.docmd("ETRN remote.test")[0], 250, "again")
            equal(c.docmd("ETRN other.test"), (459, b"<other.test>: service unavailable"))
        wait_for(lambda: attempts()["x@remote.test"] > before["x@remote.test"], 20, "the one was tried")
        time.sleep(0.5)
        now = attempts()
        equal({a: now[a] - before[a] for a in now if a != "x@remote.test"}, {"x@sub.remote.test": 0, "x@other.test": 0})


@case
def selections():
    s = Stack(tmp("s"), extra_conf=CONF)
    s.start()
    s.process.stop(timeout_s=30)
    later = int(time.time()) + 86400
    fill_queue(s, 30, lambda i: ["u%d@d%d.test" % (i, i % 3)], sender="list@bulk.test", due=later, age_s=3 * 86400)
    fill_queue(s, 10, lambda i: ["v%d@d%d.test" % (i, i), "w@second.test"], sender="boss@office.test", due=later, age_s=60,
               body=b"x" * 30000)
    fill_queue(s, 5, lambda i: ["%d@h.test" % i], sender="", due=2 ** 63 - 1)
    rows = [(["ALL"], 45), (["sender=list@*"], 30), (["sender!=list@*"], 15), (["sender=<>"], 5), (["to=w@second.test"], 10),
            (["dest=d1.test"], 11), (["dest=D1.TEST", "sender=*@office.test"], 1), (["age>2d"], 30), (["age<2d"], 15),
            (["size>20k"], 10), (["size<1k", "age<1h"], 5), (["state=hold"], 5), (["state=deferred"], 40), (["state=active"], 0),
            (["reason=*refused*"], 45), (["reason=*timed out*"], 0), (["account=x"], 0)]

    def counts():
        for words, want in rows:
            equal(len(listed(s, *words)), want, "messages that fit %s" % " ".join(words))
        for bad in (["nonsense"], ["age>soon"], ["ALL", ids(s)[0]], ["state=there"]):
            equal(s.postern("queue", "delete", *bad, ok=False).returncode, 64, "exit code for %s" % bad)
        equal(s.postern("queue", "delete", ok=False).returncode, 64, "delete needs words")
        equal(s.postern("queue", "hold", "-n", "age>2d").count("next try"), 30, "a dry run lists")

    def changes():
        """On 45 messages; the same with qmgr and without."""
        def count(verb, *words):
            return json.loads(s.postern("queue", verb, "--json", *words))["messages"]

        equal(count("hold", "sender=list@*"), 30)
        equal(count("hold", "sender=list@*"), 0)
        equal(len(ids(s, "state=hold")), 35)
        equal(count("release", "dest=d1.test"), 10)
        wait_for(lambda: len(ids(s, "state=hold")) == 25, 20, "ten released")
        equal(count("expire", "state=hold", "sender=list@*"), 20)
        equal(len(ids(s, "state=expired")), 20)
        one, two = ids(s, "sender=boss@*")[:2]
        equal(count("delete", one, two), 2)
        r = s.postern("queue", "delete", one, ids(s)[0], ok=False)
        equal((r.returncode, r.stderr.decode().splitlines()[-1]), (1, "postern queue: %s: no such message in the queue" % one))
        equal(count("delete", "sender=<>", "state=hold"), 5)
        equal(count("delete", "ALL"), 37)
        equal(s.postern("queue", "list"), "The queue is empty.\n")

    counts()
    text = run([program("postern"), "-c", s.main_cf, "mailq"]).stdout.decode()
    check(text.endswith(" Requests.\n"), "mailq without daemons: %s" % text[-200:])
    tool(s, "postqueue", "-f", code=69)
    equal(tool.err, "postqueue: fatal: Cannot flush mail queue - mail system is down\n")
    changes()
    fill_queue(s, 30, lambda i: ["u%d@d%d.test" % (i, i % 3)], sender="list@bulk.test", due=later, age_s=3 * 86400)
    fill_queue(s, 10, lambda i: ["v%d@d%d.test" % (i, i), "w@second.test"], sender="boss@office.test", due=later, age_s=60,
               body=b"x" * 30000)
    fill_queue(s, 5, lambda i: ["%d@h.test" % i], sender="", due=2 ** 63 - 1)
    with s:
        counts()
        changes()


@case
def why():
    with Stack(tmp("w"), extra_conf=CONF + ["minimal_backoff_time = 1000s", "smtp_destination_concurrency_failed_cohort_limit = 1",
                                            "default_destination_concurrency_failed_cohort_limit = 1",
                                            "initial_destination_concurrency = 1"]) as s:
        send(s, "a@sender.test", ["x@remote.test"])
        settle(s, 1)
        (qid,) = ids(s)
        text = s.postern("queue", "why", qid)
        for want in ("%s: deferred" % qid, "from <a@sender.test>", "<x@remote.test>", "tried 1 time, last for the next hop [127.0.0.1]:9",
                     "it ended with: 4.4.1 " + REFUSED, "nothing is tried there for another", "next: a try at", "is returned to the sender"):
            check(want in text, "%r is not in %s" % (want, text))
        (m,) = map(json.loads, s.postern("queue", "why", "--json", qid).splitlines())
        r = m["recipients"][0]
        equal((r["attempts"], r["next_hop"], r["status"], r["destination"]["dead_reason"]), (1, "[127.0.0.1]:9", "4.4.1", REFUSED))
        check(0 < r["destination"]["dead_seconds"] <= 1000 and r["next_attempt"] > time.time() + 900, r)
        equal(m["expires"] - m["arrival_time"], 5 * 86400, "expires")
        s.postern("queue", "hold", qid)
        check("on hold: an operator put it there" in s.postern("queue", "why", qid), "hold")
        s.postern("queue", "expire", qid)
        equal(json.loads(s.postern("queue", "why", "--json", qid))["forced_expire"], True)
        s.process.stop(timeout_s=30)
        text = s.postern("queue", "why", qid)
        check("on hold: an operator put it there" in text, "kept through a stop: " + text)
        s.postern("queue", "release", qid)
        check("it is returned to the sender, as an operator wants" in s.postern("queue", "why", qid), "released offline")
        equal(s.postern("queue", "why", "4jXjcX4lKBz36FKDx", ok=False).returncode, 1, "an id that is not there")
        s.start()
        wait_for(lambda: qid not in ids(s), 20, "returned after the start")


class SlowHost:
    """An SMTP server that answers the end of data when it is told to, and then 250 or 451."""

    def __init__(self):
        self.l = socket.create_server(("127.0.0.1", 0))
        self.port, self.go, self.reply, self.n, self.at_end = self.l.getsockname()[1], threading.Event(), b"250 2.0.0 Ok", 0, 0
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            c, _ = self.l.accept()
            threading.Thread(target=self.serve, args=(c,), daemon=True).start()

    def serve(self, c):
        f = c.makefile("rwb")

        def say(text):
            f.write(text + b"\r\n")
            f.flush()

        say(b"220 slow.test ESMTP")
        for line in f:
            word = line.split()[0].upper() if line.split() else b""
            if word == b"DATA":
                say(b"354 go on")
                while f.readline() not in (b".\r\n", b""):
                    pass
                self.at_end += 1
                self.go.wait(60)
                self.n += self.reply.startswith(b"2")
                say(self.reply)
            elif word == b"QUIT":
                say(b"221 2.0.0 Bye")
                return
            else:
                say(b"250 Ok")


@case
def while_it_is_being_delivered():
    """What an operator says of a message that is under way holds from the moment on when it comes back."""
    host = SlowHost()
    with Stack(tmp("d"), extra_conf=CONF[:-3] + ["default_transport = smtp:[127.0.0.1]:%d" % host.port, "minimal_backoff_time = 1s",
                                                 "maximal_backoff_time = 1s", "queue_run_delay = 1s"]) as s:
        def begin(reply):
            host.go.clear()
            host.reply, before = reply, host.at_end
            send(s, "a@example.com", ["x@remote.test"])
            wait_for(lambda: host.at_end == before + 1, 20, "the delivery under way")
            (m,) = listed(s)
            equal(m["queue_name"], "active", "state")
            return m["queue_id"]

        # held, and the delivery fails: on hold. Then released, and delivered once.
        qid = begin(b"451 4.3.0 not now")
        check("is being delivered to" in s.postern("queue", "why", qid), "why says so")
        s.postern("queue", "hold", qid)
        host.go.set()
        settle(s, 1, "hold")
        time.sleep(2.5)  # two runs of the queue
        settle(s, 1, "hold")
        host.reply = b"250 2.0.0 Ok"
        s.postern("queue", "release", qid)
        wait_for(lambda: ids(s) == [], 20, "delivered after release")
        equal(host.n, 1, "deliveries")
        # held and released while under way: as if nothing had been said, and never twice at a time
        qid = begin(b"250 2.0.0 Ok")
        for verb in ("hold", "release", "requeue", "flush"):
            s.postern("queue", verb, qid)
        time.sleep(1.5)
        equal(host.at_end, 3, "connections that reached the end of data")  # two of the first message, one of this
        host.go.set()
        wait_for(lambda: ids(s) == [], 20, "delivered")
        equal(host.n, 2, "deliveries")
        # to be returned: not if this try works ...
        qid = begin(b"250 2.0.0 Ok")
        s.postern("queue", "bounce", qid)
        host.go.set()
        wait_for(lambda: ids(s) == [], 20, "delivered")
        equal((host.n, "status=force-expired" in s.log()), (3, False), "deliveries, and no report")
        # ... and at once if it fails
        qid = begin(b"451 4.3.0 not now")
        s.postern("queue", "bounce", qid)
        host.go.set()
        wait_for(lambda: "%s: from=<a@example.com>, status=force-expired, returned to sender" % qid in s.log(), 20, "returned")
        # deleted: nothing comes back
        wait_for(lambda: qid not in ids(s), 20, "gone")
        s.postern("queue", "delete", "ALL")
        qid = begin(b"451 4.3.0 not now")
        s.postern("queue", "delete", qid)
        host.go.set()
        time.sleep(2)
        equal(ids(s), [], "the queue")
        # killed while held in memory: it is on hold afterwards
        qid = begin(b"250 2.0.0 Ok")
        s.postern("queue", "hold", qid)
        os.kill(s.pids_of("qmgr")[0], 9)
        wait_for(lambda: s.postern("queue", "list", ok=False).returncode == 0, 20, "qmgr again")
        settle(s, 1, "hold")
        s.postern("queue", "delete", "ALL")
        host.go.set()


@case
def returned_at_once():
    """What an operator wants returned while it is under way does not wait for its next try, however far that is."""
    host = SlowHost()
    with Stack(tmp("r"), extra_conf=CONF[:-3] + ["default_transport = smtp:[127.0.0.1]:%d" % host.port,
                                                 "minimal_backoff_time = 1000s", "queue_run_delay = 1000s"]) as s:
        host.reply = b"451 4.3.0 not now"
        send(s, "a@example.com", ["x@remote.test"])
        wait_for(lambda: host.at_end == 1, 20, "the delivery under way")
        (qid,) = ids(s)
        s.postern("queue", "bounce", qid)
        time.sleep(1)  # the loading that this asks for finds nothing
        host.go.set()
        wait_for(lambda: "%s: from=<a@example.com>, status=force-expired, returned to sender" % qid in s.log(), 20, "returned")


@case
def ordinary_users():
    if os.geteuid() != 0:
        skip("needs root, to be somebody else")
    nobody = pwd.getpwnam("nobody")
    folder = tmp("u")
    os.chmod(os.path.dirname(folder), 0o711)

    def as_nobody(s, verb, words):
        """A client of public/queue under another user id; what it is answered."""
        def text(t):
            return struct.pack("<I", len(t)) + t.encode()

        out, into = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                os.setgroups([])
                os.setgid(nobody.pw_gid)
                os.setuid(nobody.pw_uid)
                q = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
                q.settimeout(10)
                q.connect(os.path.join(s.queue_dir, "public", "queue"))
                q.send(b"A" + struct.pack("<Q", 1) + text(verb) + text(words) + struct.pack("<QI", 0, 0))
                os.write(into, q.recv(65536)[22:])
            except OSError as e:
                os.write(into, str(e).encode())
            finally:
                os._exit(0)
        os.close(into)
        with open(out, "rb") as f:
            answer = f.read().decode()
        os.waitpid(pid, 0)
        return answer

    def nobody_is_greedy(s):
        """(connections that were kept of 40, whether one survives a hundred questions at once, and one of another kind)"""
        out, into = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                os.setgroups([])
                os.setgid(nobody.pw_gid)
                os.setuid(nobody.pw_uid)
                ask = b"A" + struct.pack("<Q", 1) + struct.pack("<I", 4) + b"list" + struct.pack("<I", 3) + b"ALL" + struct.pack("<QI", 0, 0)
                kept = []
                for _ in range(40):
                    q = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
                    q.settimeout(10)
                    q.connect(os.path.join(s.queue_dir, "public", "queue"))
                    try:
                        q.send(ask)
                        if q.recv(65536):
                            kept.append(q)
                    except OSError:
                        pass
                ends = []
                for q, text in ((kept[0], ask), (kept[1], b"P1234567")):
                    try:
                        for _ in range(100):
                            q.send(text)
                        while q.recv(65536):
                            pass
                        ends.append("closed")
                    except (BrokenPipeError, ConnectionResetError):
                        ends.append("closed")
                    except OSError as e:
                        ends.append(str(e))
                os.write(into, repr((len(kept), ends)).encode())
            except BaseException as e:
                os.write(into, repr(e).encode())
            finally:
                os._exit(0)
        os.close(into)
        with open(out, "rb") as f:
            answer = f.read().decode()
        os.waitpid(pid, 0)
        return answer

    with Stack(folder, extra_conf=CONF + ["setgid_group = nosuchgroup"]) as s:
        send(s, "a@sender.test", ["x@remote.test"])
        settle(s, 1)
        for d in (s.workdir, s.queue_dir):
            os.chmod(d, 0o755)
        (qid,) = ids(s)
        check(as_nobody(s, "list", "ALL").startswith("M\t%s\t" % qid), as_nobody(s, "list", "ALL"))
        check(as_nobody(s, "flush", "ALL").startswith("N\t1\t"), "flush")
        for verb in ("delete", "hold", "release", "bounce", "requeue", "expire", "content", "envelope", "memory"):
            equal(as_nobody(s, verb, qid), "E\tnot allowed to do that with the mail queue\n", verb)
        equal(ids(s), [qid], "it is still there")
        # the first is closed unless each question was answered before the next ones came
        check(nobody_is_greedy(s) in ("(20, ['closed', 'closed'])", "(20, ['timed out', 'closed'])"), "what a greedy user gets")
        wait_for(lambda: as_nobody(s, "list", "ALL").startswith("M\t"), 10, "room again")
        s.extra_conf += ["authorized_mailq_users = root", "authorized_flush_users = !nobody, static:anyone"]
        s.write_main_cf()
        s.postern("reload")
        wait_for(lambda: as_nobody(s, "list", "ALL") == "E\tnot allowed to view the mail queue\n", 10, "no listing any more")
        equal(as_nobody(s, "flush", "ALL"), "E\tnot allowed to flush the mail queue\n")
        check("Kbytes in 1 Request." in tool(s, "mailq"), "root may always")
        s.extra_conf += ["authorized_mailq_users = hash:/nowhere"]
        s.write_main_cf()
        r = s.postern("check", ok=False)
        check(r.returncode == 78 and b'authorized_mailq_users: "hash:/nowhere": tables are not asked' in r.stderr, "check: %r" % r.stderr)


main()
