#!/usr/bin/env python3
# Address verification: reject_unverified_sender and reject_unverified_recipient, with another host's MX of the test's own and
# with mailboxes here. What the replies say is Postfix's (ADDRESS_VERIFICATION_README).
# timeout: 240
import glob
import os
import re
import signal
import smtplib
import socketserver
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from dnsd import Dnsd
from harness import *
from stack import Stack

ME = "email1@example.com"
ZONE = {
    "two.test": {"MX": [[10, "mx.two.test"]]},
    "mx.two.test": {"A": ["127.99.1.2"]},
    "refused.test": {"A": ["127.99.1.9"]},  # nobody listens
    "tempfail.test": "SERVFAIL",
    "null.test": {"MX": [[0, "."]]},
}
IN_PROGRESS = "unverified address: Address verification in progress"


class Sink(socketserver.ThreadingTCPServer):
    """A host that is asked about mailboxes: local parts "ok...", "no...", "later..."; "slow..." waits for `go`. What it says
    instead of that may be put into `says`."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, address):
        self.commands, self.go, self.says, self.messages = [], threading.Event(), {}, 0
        super().__init__(address, SinkSession)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def asked(self, address):
        return sum(c.upper().startswith("RCPT TO:<%s>" % address.upper()) for c in self.commands)


class SinkSession(socketserver.StreamRequestHandler):
    def rcpt(self, address):
        local = address.split("@")[0].lower()
        if local.startswith("slow"):
            self.server.go.wait(30)
        if local in self.server.says:
            return self.server.says[local]
        if local.startswith("no"):
            return "550 5.1.1 no such user here"
        if local.startswith("later"):
            return "450 4.2.1 come back"
        return "250 2.1.5 Ok"

    def answer(self, line):
        verb = line.split(" ")[0].upper()
        if verb == "EHLO":
            return "250-sink\r\n250-PIPELINING\r\n250 8BITMIME"
        if verb == "RCPT":
            return self.rcpt(line.split("<")[1].split(">")[0])
        return {"MAIL": "250 2.1.0 Ok", "RSET": "250 Ok", "QUIT": "221 bye", "DATA": "354 go on"}.get(verb, "500 what?")

    def handle(self):
        try:
            self.wfile.write(b"220 sink ESMTP\r\n")
            while raw := self.rfile.readline():
                line = raw.decode("latin-1").rstrip("\r\n")
                self.server.commands.append(line)
                self.wfile.write(self.answer(line).encode() + b"\r\n")
                if line.upper() == "DATA":
                    while self.rfile.readline().strip() not in (b".", b""):
                        pass
                    self.server.messages += 1
                    self.wfile.write(b"250 2.0.0 Ok: queued\r\n")
        except OSError:
            pass


def at_once(*fns):
    """Run them at the same time; the first failure is this one's."""
    failures = []

    def one(fn):
        try:
            fn()
        except Exception as e:
            failures.append(e)

    threads = [threading.Thread(target=one, args=(fn,)) for fn in fns]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    if failures:
        raise failures[0]


class World:
    def __init__(self, name, *conf, **stack):
        self.port = free_port()
        self.sink = Sink(("127.99.1.2", self.port))  # one port each: several worlds may be
        self.dns = Dnsd(ZONE, "127.0.0.1", free_port())
        self.stack = Stack(tmp(name), resolver="127.0.0.1:%d" % self.dns.port, extra_conf=[
            "smtp_tcp_port = %d" % self.port, "smtp_connect_timeout = 5s", "smtpd_delay_reject = yes",
            "smtpd_client_restrictions =", "smtpd_helo_restrictions =", "smtpd_sender_restrictions = reject_unverified_sender",
            "smtpd_relay_restrictions = permit_mynetworks, reject",
            "smtpd_recipient_restrictions = reject_unverified_recipient, permit_mynetworks, reject",
            "unverified_recipient_reject_code = 550", "unverified_sender_reject_code = 550",
            "address_verify_poll_delay = 1s"] + list(conf), **stack)

    def __enter__(self):
        self.dns.__enter__()
        self.stack.start()
        return self

    def __exit__(self, *exc):
        self.sink.go.set()
        self.stack.stop()
        self.sink.shutdown()
        self.sink.server_close()
        self.dns.__exit__(*exc)

    def ask(self, rcpt, sender="", data=None):
        """The reply to RCPT, as (code, text, seconds); with data: to the end of data."""
        with smtplib.SMTP("127.0.0.1", self.stack.ports["smtp"], local_hostname="client.example.com", timeout=60) as c:
            c.ehlo()
            equal(c.mail(sender)[0], 250, "MAIL")
            began = time.monotonic()
            code, text = c.rcpt(rcpt)
            if data and code == 250:
                code, text = c.data(data)
            return code, text.decode(), time.monotonic() - began

    def expect(self, code, text, rcpt, sender="", **kw):
        got = self.ask(rcpt, sender, **kw)
        if got[0] != code or text not in got[1]:
            fail("%s from <%s>: got %d %s, want %d ...%s" % (rcpt, sender, got[0], got[1], code, text))
        return got[2]

    def expect_all(self, *rows):
        """The same for many at once: most of a first question is waiting."""
        at_once(*(lambda row=row: self.expect(*row) for row in rows))

    def log_has(self, pattern):
        wait_for(lambda: re.search(pattern, self.stack.log()), 10, "a log line like %r" % pattern)


@case
def what_another_host_says():
    with World("r") as w:
        w.expect(250, "2.1.5 Ok", "ok@two.test")
        w.log_has(r"to=<ok@two\.test>, relay=mx\.two\.test\[127\.99\.1\.2\]:%d, .*dsn=2\.1\.5, status=deliverable \(250 2\.1\.5 Ok\)" % w.port)
        w.expect_all(
            (550, "5.1.1 <no@two.test>: Recipient address rejected: undeliverable address: host mx.two.test[127.99.1.2]"
             " said: 550 5.1.1 no such user here (in reply to RCPT TO command)", "no@two.test"),
            (450, "4.1.1 <later@two.test>: Recipient address rejected: unverified address: host mx.two.test", "later@two.test"),
            (450, "4.1.1 <x@refused.test>: Recipient address rejected: unverified address: connect to refused.test[127.99.1.9]",
             "x@refused.test"),
            (450, "4.1.1 <x@tempfail.test>: Recipient address rejected: unverified address: ", "x@tempfail.test"),
            (550, "5.1.1 <x@null.test>: Recipient address rejected: undeliverable address: ", "x@null.test"),
            # the sender: verified at RCPT, the null sender is not
            (250, "2.1.5 Ok", "ok@two.test", "oksender@two.test"),
            (550, "5.1.7 <nosender@two.test>: Sender address rejected: undeliverable address: host mx", "ok@two.test",
             "nosender@two.test"),
            (450, "4.1.7 <latersender@two.test>: Sender address rejected: unverified address: host mx", "ok@two.test",
             "latersender@two.test"))
        w.log_has(r"dsn=5\.1\.1, status=undeliverable \(host mx.* said: 550 5\.1\.1 no such user here \(in reply to RCPT TO command\)\)")
        # asked as Postfix asks, and nothing sent
        check("MAIL FROM:<double-bounce@example.com>" in w.sink.commands, w.sink.commands)
        check("DATA" not in [c.upper() for c in w.sink.commands], "content was sent")
        check(w.sink.commands.count("RSET") >= 5, w.sink.commands)
        equal(w.stack.postern("queue", "list").strip(), "The queue is empty.", "the queue")
        equal(w.stack.count_messages(), 0, "messages, bounces among them")
        # what is known is not asked again, not even by the next smtpd and the next qmgr
        before = len(w.sink.commands)
        for name in ("smtpd", "qmgr"):
            for pid in w.stack.pids_of(name):
                os.kill(pid, signal.SIGKILL)
        wait_for(lambda: w.stack.postern("queue", "list", ok=False).returncode == 0, 20, "qmgr again")
        w.stack.wait_ready()
        time.sleep(0.5)
        check(w.expect(250, "2.1.5 Ok", "ok@two.test", "oksender@two.test") < 0.9, "a known address took its time")
        check(w.expect(250, "2.1.5 Ok", "ok@TWO.test") < 0.9, "a domain in capitals was another")
        w.expect(550, "5.1.1 <no@two.test>: Recipient address rejected: undeliverable address: host mx", "no@two.test")
        w.expect(450, "4.1.1 <later@two.test>: Recipient address rejected: unverified address: host mx", "later@two.test")
        equal(len(w.sink.commands), before, "commands to a host whose answers were known")


def one_probe_for_all():
    with World("p") as w:
        replies = []
        threads = [threading.Thread(target=lambda: replies.append(w.ask("slow@two.test"))) for _ in range(8)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        for code, text, took_s in replies:
            equal((code, text), (450, "4.1.1 <slow@two.test>: Recipient address rejected: " + IN_PROGRESS), "reply")
            check(1.9 < took_s < 8, "3 questions, 1 s apart, took %.1f s" % took_s)
        equal(w.sink.asked("slow@two.test"), 1, "probes of one address that many ask about")
        w.sink.go.set()
        w.log_has(r"to=<slow@two\.test>.*status=deliverable")
        w.expect(250, "2.1.5 Ok", "slow@two.test")
        equal(w.sink.asked("slow@two.test"), 1, "probes")


def killed_meanwhile():
    with World("k") as w:
        # qmgr dies in the middle of a probe
        w.expect(450, IN_PROGRESS, "slow2@two.test")
        for pid in w.stack.pids_of("qmgr"):
            os.kill(pid, signal.SIGKILL)
        wait_for(lambda: w.stack.postern("queue", "list", ok=False).returncode == 0, 20, "qmgr again")
        time.sleep(0.5)
        w.sink.go.set()
        wait_for(lambda: w.ask("slow2@two.test")[0] == 250, 20, "a verdict after qmgr's death")
        check(w.sink.asked("slow2@two.test") >= 2, "it was not probed again")
        # and relayd
        w.sink.go.clear()
        w.expect(450, IN_PROGRESS, "slow3@two.test")
        for pid in w.stack.pids_of("relayd"):
            os.kill(pid, signal.SIGKILL)
        w.sink.go.set()
        wait_for(lambda: w.ask("slow3@two.test")[0] == 250, 20, "a verdict after relayd's death")


@case
def in_progress():
    at_once(one_probe_for_all, killed_meanwhile)


def known_and_refreshed():
    with World("t", "address_verify_negative_refresh_time = 1s", "address_verify_positive_refresh_time = 2s",
               "address_verify_negative_expire_time = 100s", "address_verify_positive_expire_time = 100s") as w:
        w.expect_all((550, "undeliverable address", "no@two.test"), (250, "Ok", "ok@two.test"))
        w.sink.says = {"no": "250 2.1.5 Ok", "ok": "550 5.1.1 gone"}
        time.sleep(3.1)
        w.expect(550, "undeliverable address", "no@two.test")  # old, and asked for anew meanwhile
        wait_for(lambda: w.ask("no@two.test")[0] == 250, 10, "the new verdict")
        equal(w.sink.asked("no@two.test"), 2, "probes of no@")
        # a failed probe does not undo a good one
        w.expect(250, "Ok", "ok@two.test")
        wait_for(lambda: w.sink.asked("ok@two.test") == 2, 10, "a probe to refresh")
        w.log_has(r"to=<ok@two\.test>.*status=undeliverable")
        w.expect(250, "Ok", "ok@two.test")
        equal(w.sink.asked("ok@two.test"), 2, "probes of ok@")


def known_until_it_expires():
    with World("x", "address_verify_positive_expire_time = 2s", "address_verify_negative_expire_time = 2s",
               "address_verify_cache_cleanup_interval = 1s") as w:
        w.expect_all((250, "Ok", "ok@two.test"), (550, "undeliverable address", "no@two.test"))
        w.sink.says = {"no": "250 2.1.5 Ok", "ok": "550 5.1.1 gone"}
        time.sleep(3.1)
        w.expect(550, "undeliverable address: host mx", "ok@two.test")
        w.expect(250, "Ok", "no@two.test")


def no_longer_known():
    with World("e", "address_verify_positive_expire_time = 2s", "address_verify_negative_expire_time = 2s") as w:
        w.sink.go.set()
        w.sink.says = {"slowgone": "550 5.1.1 gone"}
        w.expect_all((250, "Ok", "ok@two.test"), (550, "undeliverable address", "slowgone@two.test"))
        w.sink.go.clear()
        w.sink.says = {"ok": "550 5.1.1 gone"}
        time.sleep(3.1)
        # what has expired is not told while a probe is out, nor does it outlive what the probe finds
        w.expect_all((450, IN_PROGRESS, "slowgone@two.test"), (550, "undeliverable address: host mx", "ok@two.test"))
        w.sink.go.set()
        wait_for(lambda: w.ask("slowgone@two.test")[0] == 250, 10, "the new verdict")


def failures_not_kept():
    with World("n", "address_verify_negative_cache = no", "address_verify_map =") as w:
        w.expect(450, IN_PROGRESS, "no@two.test")
        w.log_has(r"to=<no@two\.test>.*status=undeliverable-but-not-cached")
        check(w.sink.asked("no@two.test") >= 2, "not asked each time")
        w.expect(250, "Ok", "ok@two.test")
        check(not glob.glob(os.path.join(w.stack.queue_dir, "queue", "verify.db*")), "a file for address_verify_map =")


@case
def known_for_a_while():
    at_once(known_and_refreshed, known_until_it_expires, no_longer_known, failures_not_kept)


@case
def mailboxes_here():
    with World("l", "mydestination = localhost, local.example", "myorigin = local.example",
               aliases={"one@example.com": [ME], "two@example.com": [ME, "nobody@example.com"], "lost@example.com": ["no@two.test"],
                        "chain@example.com": ["one@example.com"]}) as w:
        w.expect_all((250, "Ok", ME), (550, "undeliverable address: host mx.two.test", "lost@example.com"),
                     (550, "undeliverable address", "stranger@local.example"),
                     (550, "5.1.1 <nobody@example.com>: Recipient address rejected: undeliverable address: host ", "nobody@example.com"))
        w.log_has(r"to=<email1@example\.com>, relay=[^ ]*\[private/dovecot-lmtp\], .*status=deliverable")
        w.log_has(r"to=<no@two\.test>, orig_to=<lost@example\.com>, .*status=undeliverable")
        for rcpt in ("one@example.com", "chain@example.com", "two@example.com", "postmaster@local.example"):
            check(w.expect(250, "Ok", rcpt) < 0.9, "%s was probed by itself" % rcpt)
        equal(w.stack.count_messages(), 0, "messages delivered by probes")
        # the address that probes come from: taken, and mail to it goes nowhere
        w.stack.postern("queue", "list")
        w.expect(250, "Ok", "double-bounce@local.example")
        w.expect(250, "Ok", ME, "double-bounce@local.example")
        w.expect(250, "queued as", "double-bounce@local.example", data="Subject: to nobody\r\n\r\nx\r\n")
        w.log_has(r"to=<double-bounce@local\.example>.*relay=none.*dsn=2\.0\.0, status=sent \(undeliverable postmaster notification discarded\)")
        wait_for(lambda: "empty" in w.stack.postern("queue", "list"), 10, "an empty queue")


def another_way_hidden_in_an_address():
    with World("h") as w:
        w.expect(550, "5.1.1 <no%two.test@localhost>: Recipient address rejected: undeliverable address: host mx", "no%two.test@localhost")
        # probed, and delivered, in the letters it was written in
        w.expect(250, "queued as", "OKay%Two.test@localhost", data="Subject: on\r\n\r\nSubject: x\r\n")
        wait_for(lambda: w.sink.messages == 1, 20, "the message at the other host")
        equal([c for c in w.sink.commands if c.upper().startswith("RCPT TO:<OK")], ["RCPT TO:<OKay@two.test>"] * 2, "recipients")


def what_may_be_said_instead():
    with World("i", "unverified_recipient_reject_reason = Ask somebody else", "unverified_recipient_defer_code = 250",
               "unverified_sender_tempfail_action = defer", "unverified_sender_reject_code = 450",
               "address_verify_sender = probe@me.example", "address_verify_sender_ttl = 100000s") as w:
        w.expect_all(
            (550, "5.1.1 <no@two.test>: Recipient address rejected: undeliverable address: Ask somebody else", "no@two.test"),
            (250, "Ok", "later@two.test"),
            (450, "4.1.7 <nosender@two.test>: Sender address rejected: unverified address: host mx", "ok@two.test", "nosender@two.test"),
            (450, "4.1.7 <latersender@two.test>: Sender address rejected: unverified address: host mx", "ok@two.test",
             "latersender@two.test"))
        froms = {c for c in w.sink.commands if c.startswith("MAIL")}
        check(all(re.fullmatch(r"MAIL FROM:<probe[0-9B-Z]+@me\.example>", f) for f in froms), froms)
    s = Stack(tmp("c"), extra_conf=["unverified_sender_tempfail_action = perhaps"])
    s.configure()
    r = s.postern("check", ok=False)
    text = (r.stdout + r.stderr).decode()
    check(r.returncode != 0 and "unverified_sender_tempfail_action" in text, text)


def another_way_than_mail():
    with World("o", "relayhost = [127.99.1.9]", "address_verify_relayhost = [127.99.1.2]",
               "address_verify_virtual_transport = error:5.1.0 not even asked") as w:
        w.expect(250, "Ok", "ok@elsewhere.test")
        equal(w.sink.asked("ok@elsewhere.test"), 1, "probes by address_verify_relayhost")
        w.expect(550, "undeliverable address: not even asked", ME)


def only_warned_of():
    with World("v", "smtpd_recipient_restrictions = warn_if_reject reject_unverified_recipient, permit_mynetworks, reject") as w:
        w.expect_all((250, "Ok", "no@two.test"), (250, "Ok", "later@two.test"))
        w.log_has(r"reject_warning: RCPT from localhost\[127\.0\.0\.1\]: 550 5\.1\.1 <no@two\.test>: Recipient address rejected: undeliverable")
        w.log_has(r"reject_warning: RCPT from localhost\[127\.0\.0\.1\]: 450 4\.1\.1 <later@two\.test>: Recipient address rejected: unverified")


@case
def with_other_parameters():
    at_once(another_way_hidden_in_an_address, what_may_be_said_instead, another_way_than_mail, only_warned_of)


main()
