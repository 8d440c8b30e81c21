#!/usr/bin/env python3
# Mail that was accepted to be held: it stays in the queue with its reason until an operator releases it, through restarts.
# timeout: 120
import glob
import json
import os
import signal
import smtplib
import socket
import struct
import sys
import time
import zlib

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from harness import *
from stack import Stack

ME = "email1@example.com"
OTHER = "email2@example.com"
WHY = "over the hourly limit"
DIGITS = "0123456789BCDFGHJKLMNPQRSTVWXYZbcdfghjklmnpqrstvwxyz"


def number(v, base, least):
    out = ""
    while v or len(out) < least:
        out, v = DIGITS[v % base] + out, v // base
    return out


class Queue:
    """A client of private/queue, as session/queue_proto.h has it."""

    def __init__(self, stack):
        self.s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.s.settimeout(20)
        self.s.connect(os.path.join(stack.queue_dir, "private", "queue"))
        self.s.send(b"G" + struct.pack("<I", 10))
        self.next, _, self.bits = struct.unpack("<QII", self.s.recv(100)[1:])

    def put(self, to, body, hold=None, sender=ME):
        def text(s):
            s = s if isinstance(s, bytes) else s.encode()
            return struct.pack("<I", len(s)) + s

        us = int(time.time() * 1000000)
        tail = self.next << 20 | self.bits
        qid = number(us // 1000000, 52, 6) + number(us % 1000000, 52, 4) + "z" + number(tail, 51, 1)
        self.next += 1
        env = struct.pack("<BBBQ", 1, 4 if hold else 0, 0, us) + text(qid) + text(sender)
        env += b"".join(text(t) for t in ("", "client", "192.0.2.1", "helo", "", "ESMTP")) + struct.pack("<I", len(to))
        env += b"".join(text(t) + text("") + text("") + b"\0" for t in to) + (text(hold) if hold else b"")
        self.s.send(b"P" + struct.pack("<Q", 1) + text(env) + struct.pack("<QI", len(body), zlib.crc32(body)) + text("") + text(body))
        answer = self.s.recv(4096)
        equal(answer[:1], b"p", "kind of answer")
        equal(struct.unpack("<QI", answer[1:13]), (1, 0), "the queue's answer: %r" % answer)
        return qid


def queue(s):
    return {m["queue_id"]: m for m in (json.loads(l) for l in s.postern("queue", "list", "--json").splitlines())}


def delivered(s, who):
    return len(glob.glob(os.path.join(s.maildir(who), "new", "*")))


def check_held(s, qid, rcpts):
    m = queue(s)[qid]
    equal(m["queue_name"], "hold", "state")
    equal(sorted(r["address"] for r in m["recipients"]), sorted(rcpts), "recipients")
    equal({(r["state"], r["delay_reason"]) for r in m["recipients"]}, {("hold", WHY)}, "states and reasons")


@case
def held_until_released():
    with Stack(tmp("h"), extra_conf=["queue_run_delay = 1s", "minimal_backoff_time = 1s", "maximal_backoff_time = 1s"]) as s:
        q = Queue(s)
        held = q.put([ME, OTHER], b"Subject: held\r\n\r\nkept back\r\n", WHY)
        again = q.put([OTHER], b"Subject: held too\r\n\r\nkept back\r\n", WHY)
        q.put([ME], b"Subject: free\r\n\r\ngoes on\r\n")
        s.wait_delivered(1)
        check_held(s, held, [ME, OTHER])
        check(WHY in s.postern("queue", "list"), "no reason in the list for people")
        check(WHY in s.postern("queue", "show", held) and "kept back" in s.postern("queue", "show", held), "show")
        check("%s: placed on hold: %s" % (held, WHY) in s.log(), "no line in the log")
        s.postern("queue", "flush")
        time.sleep(2.5)  # two runs of the queue
        equal((delivered(s, ME), delivered(s, OTHER)), (1, 0), "delivered while on hold and flushed")
        # killed, and a whole restart
        for pid in s.pids_of("qmgr"):
            os.kill(pid, signal.SIGKILL)
        wait_for(lambda: s.postern("queue", "list", ok=False).returncode == 0, 20, "qmgr again")
        check_held(s, held, [ME, OTHER])
        s.process.stop(timeout_s=30)
        check_held(s, held, [ME, OTHER])  # read from the file
        s.start()
        time.sleep(1.5)
        check_held(s, held, [ME, OTHER])
        equal((delivered(s, ME), delivered(s, OTHER)), (1, 0), "delivered after restarts")
        s.postern("queue", "release", held)
        wait_for(lambda: (delivered(s, ME), delivered(s, OTHER)) == (2, 1), 20, "delivery after release")
        wait_for(lambda: list(queue(s)) == [again], 20, "only the other left")
        check_held(s, again, [OTHER])
        s.postern("queue", "delete", again)
        equal(queue(s), {}, "the queue")


@case
def held_by_an_access_table():
    table = os.path.join(tmp("a-table"))
    with open(table, "w") as f:
        f.write("odd@example.org HOLD looks odd\nodd2@example.org HOLD\n")
    with Stack(tmp("a"), extra_conf=["smtpd_sender_restrictions = check_sender_access hash:" + table,
                                     "smtpd_recipient_restrictions = permit_mynetworks, reject"]) as s:
        for sender, why, logged in (("odd@example.org", "looks odd", "looks odd"),
                                    ("odd2@example.org", "access table", "triggers HOLD action")):
            with smtplib.SMTP("127.0.0.1", s.ports["smtp"], local_hostname="client.example.com", timeout=30) as c:
                c.sendmail(sender, [ME, OTHER], "Subject: x\r\n\r\nx\r\n")
            held = list(queue(s))[-1]
            m = queue(s)[held]
            equal((m["queue_name"], m["sender"]), ("hold", sender), "state and sender")
            for r in m["recipients"]:
                check(why in r["delay_reason"], r)
            check("hold: RCPT from localhost[127.0.0.1]: <%s>: Sender address %s;" % (sender, logged) in s.log(), "no line in the log")
            s.postern("queue", "release", held)
            wait_for(lambda: queue(s) == {}, 20, "an empty queue")
        equal((delivered(s, ME), delivered(s, OTHER)), (2, 2), "delivered")


@case
def a_queue_manager_that_hangs():
    """It is there, and says nothing: 451 after queue_answer_timeout, at RCPT from then on, and all well when it wakes."""
    with Stack(tmp("q"), extra_conf=["queue_answer_timeout = 2s", "smtpd_recipient_restrictions = permit_mynetworks, reject",
                                     "smtpd_sender_restrictions =", "smtpd_processes = 1"]) as s:
        def send(data="Subject: x\r\n\r\nx\r\n"):
            with smtplib.SMTP("127.0.0.1", s.ports["smtp"], local_hostname="client.example.com", timeout=60) as c:
                c.ehlo()
                c.mail("a@example.org")
                code, text = c.rcpt(ME)
                return (c.data(data) if code == 250 else (code, text))

        equal(send()[0], 250, "before")
        pid = s.pids_of("qmgr")[0]
        os.kill(pid, signal.SIGSTOP)
        try:
            began = time.monotonic()
            code, text = send("Subject: big\r\n\r\n" + "x\r\n" * 50000)
            took_s = time.monotonic() - began
            check(code == 451 and 1.5 < took_s < 20, "the end of data: %d %r after %.1f s" % (code, text, took_s))
            began = time.monotonic()
            code, text = send()
            check(code == 451 and time.monotonic() - began < 5, "RCPT: %d %r" % (code, text))
            check("the queue manager has not answered for 2 s" in s.log(), "no line in the log")
        finally:
            os.kill(pid, signal.SIGCONT)
        wait_for(lambda: send()[0] == 250, 20, "mail is taken again")
        equal(s.pids_of("qmgr"), [pid], "the same qmgr")
        # what was answered 451 may have been taken all the same: never less than was answered 250
        s.wait_delivered(2)
        check(2 <= s.count_messages() <= 3, "%d messages" % s.count_messages())


main()
