#!/usr/bin/env python3
# What waits for other hosts and whose turn it is: dead and hanging destinations beside living ones, long messages beside short
# ones, Postfix's limits for each destination, and memory that does not grow with the queue.
# timeout: 240
import os
import re
import statistics
import sys
import threading
import time

sys.path[:0] = [os.path.join(os.path.dirname(os.path.abspath(__file__)), d) for d in ("../lib", "../bench")]
from fillqueue import fill_queue
from harness import *
from outbound import World as AnyWorld, SinkSession
from outbound_rows import Waiting

ZONE = {"two.test": {"A": ["127.99.0.2"]}, "*.two.test": {"A": ["127.99.0.2"]}, "dead.test": {"A": ["127.99.0.9"]}}
SOON_MS = 400  # the machine may be busy; the bench says 100


class BusySession(SinkSession):
    """Counts transactions that are under way, and takes its time for each."""

    def answer(self, line, state):
        verb = line.split(" ")[0].upper()
        with self.server.lock:
            if verb == "MAIL":
                self.server.open += 1
                self.server.most = max(self.server.most, self.server.open)
        if verb == "DATA":
            time.sleep(self.server.delay_s)
        return super().answer(line, state)


class World(AnyWorld):
    def __init__(self, name, extra_conf=(), delay_s=0.05):
        super().__init__(name, extra_conf, ZONE)
        s = self.sink
        s.RequestHandlerClass, s.lock, s.open, s.most, s.delay_s, s.times = BusySession, threading.Lock(), 0, 0, delay_s, []

        class Kept(list):
            def append(self, what):
                with s.lock:
                    s.open -= 1
                s.times.append(time.monotonic())
                super().append(what)
        s.messages = Kept()

    def recipients(self):
        return [len(to) for _, to, _ in self.sink.messages]

    def wait_empty(self, timeout_s=30):
        wait_for(lambda: not self.stack.postern("queue", "list", "--json").strip(), timeout_s, "an empty queue")


def soon(w, what, count=8):
    got = [w.send_one() * 1000 for _ in range(count)]
    check(statistics.median(got) < SOON_MS, "%s: a new message took %s ms" % (what, ", ".join("%.0f" % ms for ms in got)))


@case
def living_beside_dead():
    """2,000 messages for one dead host, and for as many; tried before, or new like those for the living one."""
    few = ["qmgr_message_recipient_limit = 400", "qmgr_message_active_limit = 400"]
    for n, (what, domain, attempts, conf) in enumerate([
            ("refused", lambda i: "refused.test", 1, []),
            ("hanging", lambda i: "hangs.test", 1, few),
            ("hanging, not tried yet", lambda i: "hangs.test", 0, few),
            ("as many that hang", lambda i: "d%d.hangs.test" % i, 1, few)]):
        with Waiting(tmp("l%d" % n), conf) as w:
            fill_queue(w.stack, 2000, lambda i: ["u%d@%s" % (i, domain(i))], attempts=attempts)
            w.start()
            soon(w, what)
            soon(w, what)
            check(w.qmgr_mib() < 96, "qmgr has %.0f MiB" % w.qmgr_mib())


@case
def new_mail_for_a_host_that_hangs_leaves_room():
    """It comes by SMTP and is more than there is room for: what is too much goes back to the disk, untried and unlogged."""
    with Waiting(tmp("n"), ["qmgr_message_recipient_limit = 100", "initial_destination_concurrency = 2"]) as w:
        w.start()
        import smtplib
        with smtplib.SMTP("127.0.0.1", w.stack.ports["smtp"], local_hostname="c.example.com", timeout=60) as c:
            for i in range(150):
                c.sendmail("email1@example.com", ["u%d@hangs.test" % i], "Subject: x\r\n\r\nx\r\n")
        soon(w, "beside 150 new messages")
        listed = w.stack.postern("queue", "list", "--json").splitlines()
        equal(len(listed), 150, "messages in the queue")
        waiting = [m for m in listed if '"deferred"' in m]
        check(60 <= len(waiting) <= 140, "%d of 150 are on disk only" % len(waiting))
        check("status=deferred" not in w.stack.log(), "a try was logged that was none")


@case
def many_recipients_take_turns():
    """One message with 1,200 recipients for a host that takes one delivery at a time: a short one passes, none is lost."""
    conf = ["smtp_destination_concurrency_limit = 1", "qmgr_message_recipient_limit = 1200", "smtpd_recipient_limit = 4000",
            "smtp_destination_recipient_limit = 40"]
    with World("m", conf, delay_s=0.03) as w:
        w.send(["ok%d@two.test" % i for i in range(1200)])
        w.got(3)
        began = time.monotonic()
        w.send("ok@two.test", "Subject: short\r\n\r\nx\r\n")
        wait_for(lambda: any(b"Subject: short" in m[2] for m in list(w.sink.messages)), 20, "the short message")
        at = [b"Subject: short" in m[2] for m in w.sink.messages].index(True)
        check(at < 40, "the short message was the %dth delivery (%.1f s)" % (at + 1, time.monotonic() - began))
        wait_for(lambda: sum(w.recipients()) >= 1201, 60, "all recipients")
        names = [r for _, to, _ in w.sink.messages for r in to]
        equal(len(set(names)), 1201, "recipients that differ")
        equal(len(names), 1201, "recipients")
        check(max(w.recipients()) <= 40, "a delivery with %d recipients" % max(w.recipients()))
        equal(w.sink.most, 1, "deliveries at once")
        w.wait_empty()


@case
def limits_of_a_destination():
    conf = ["default_destination_concurrency_limit = 3", "initial_destination_concurrency = 2", "default_destination_recipient_limit = 2"]
    with World("c", conf, delay_s=0.2) as w:
        for i in range(12):
            w.send("ok%d@two.test" % i)
        w.got(12)
        equal(w.sink.most, 3, "deliveries at once")
        w.send(["ok%d@two.test" % i for i in range(5)])
        w.got(15)
        equal(sorted(w.recipients()[12:]), [1, 2, 2], "recipients of the deliveries")
        # a reload changes what is known already
        w.stack.extra_conf += ["smtp_destination_concurrency_limit = 1"]
        w.stack.write_main_cf()
        w.stack.postern("reload")
        time.sleep(0.5)
        w.sink.most = 0
        for i in range(4):
            w.send("ok%d@two.test" % i)
        w.got(19)
        equal(w.sink.most, 1, "deliveries at once after the reload")
        # no feedback: the first concurrency stays; a rate delay: one after the other
        w.stack.extra_conf += ["smtp_destination_concurrency_limit = 20", "smtp_destination_rate_delay = 1s"]
        w.stack.write_main_cf()
        w.stack.postern("reload")
        time.sleep(0.5)
        w.sink.times.clear()
        for i in range(3):
            w.send("ok%d@two.test" % i)
        w.got(22)
        gaps = [b - a for a, b in zip(w.sink.times, w.sink.times[1:])]
        check(min(gaps) >= 0.95, "a rate delay of 1 s, deliveries %s s apart" % ["%.2f" % g for g in gaps])


@case
def feedback():
    with World("fb", ["initial_destination_concurrency = 2", "smtp_destination_concurrency_positive_feedback = 0"], delay_s=0.1) as w:
        for i in range(12):
            w.send("ok%d@two.test" % i)
        w.got(12)
        equal(w.sink.most, 2, "deliveries at once without feedback")
        # a host that is dead is left alone: two tries, and the others wait with its words
        for i in range(12):
            w.send("ok%d@dead.test" % i)
        wait_for(lambda: w.stack.log().count("status=deferred") >= 12, 20, "deferrals")
        tried = [line for line in w.stack.log().splitlines() if "status=deferred" in line and "suspended" not in line]
        check(1 <= len(tried) <= 3, "%d tries of a dead host" % len(tried))
        equal(len(re.findall(r"relay=none.*\(delivery temporarily suspended: connect to dead\.test\[127\.99\.0\.9\].*refused\)",
                             w.stack.log())), 12 - len(tried), "deferred with the host's error")
        # wrong values are told
        w.stack.extra_conf += ["default_destination_concurrency_negative_feedback = 1/none"]
        w.stack.write_main_cf()
        r = w.stack.postern("check", ok=False)
        check(r.returncode != 0 and b'default_destination_concurrency_negative_feedback: "1/none" is no number' in r.stdout + r.stderr,
              "postern check: %r" % (r.stdout + r.stderr)[-300:])


@case
def deferred_transports_and_sockets_that_are_down():
    with World("t", ["transport_maps = inline:{dead.test=relay:[127.99.0.2], away.test=lmtp:unix:private/nobody}",
                     "defer_transports = relay", "transport_retry_time = 2s", "relay_domains = away.test",
                     "minimal_backoff_time = 1s", "maximal_backoff_time = 1s", "queue_run_delay = 1s"]) as w:
        w.send("ok@dead.test")
        wait_for(lambda: "(deferred transport)" in w.stack.log(), 10, "deferral by defer_transports")
        check(re.search(r"dsn=4\.3\.2, status=deferred \(deferred transport\)", w.stack.log()), "how it was logged")
        for i in range(5):
            w.send("u%d@away.test" % i)
        w.send("ok@two.test")
        w.got(1)
        wait_for(lambda: w.stack.log().count("u4@away.test>, relay=none") > 0, 20, "deferral after transport_retry_time")
        check(re.search(r"to=<u4@away\.test>.*status=deferred \(delivery temporarily suspended: connect to \S*\[private/nobody\]",
                        w.stack.log()), "why it waits")
        w.stack.extra_conf += ["defer_transports ="]
        w.stack.write_main_cf()
        w.stack.postern("reload")
        w.got(2)


@case
def a_restart_keeps_what_is_due():
    with World("r", ["minimal_backoff_time = 600s"]) as w:
        w.send("ok@dead.test")
        wait_for(lambda: "status=deferred" in w.stack.log(), 20, "a deferral")
        wait_for(lambda: '"deferred"' in w.stack.postern("queue", "list", "--json"), 10, "on disk")
        was = w.stack.postern("queue", "list", "--json")
        w.stack.process.stop(30)
        w.stack.start()
        time.sleep(1)
        equal(w.stack.postern("queue", "list", "--json"), was, "the queue after a restart")
        check("queue active" not in w.stack.log(), "it was tried at once")


main()
