#!/usr/bin/env python3
# Reports beside those of a real Postfix: the same parts, fields and recipients; and Mailman's parser of bounces (flufl.bounce)
# says of ours whom they are about, and whether for good.
# timeout: 180
import email
import email.policy
import os
import smtplib
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from harness import *
from outbound import Sink
from refstack import RefStack, fetch
from stack import Stack

SETTINGS = ["smtputf8_enable = yes", "smtpd_recipient_restrictions =", "smtpd_sender_restrictions =",
            "smtpd_relay_restrictions = permit_mynetworks, reject", "delay_warning_time = 2s", "minimal_backoff_time = 1s",
            "maximal_backoff_time = 1s", "queue_run_delay = 1s", "notify_classes = bounce, delay, 2bounce",
            "bounce_notice_recipient = bn@far.test", "2bounce_notice_recipient = dbn@far.test",
            "delay_notice_recipient = dn@far.test", "confirm_delay_cleared = yes"]
NO_DSN = ("PIPELINING", "8BITMIME", "SMTPUTF8")
REPORTS = 13
_kept = {}


def send(port, to, sender="ok-sender@far.test", rcpt=(), mail=(), subject="x"):
    with smtplib.SMTP("127.0.0.1", port, local_hostname="c.test", timeout=30) as c:
        c.ehlo()
        c.command_encoding = "utf-8"
        equal(c.mail(sender, list(mail))[0], 250, "MAIL")
        for t in to:
            equal(c.rcpt(t, list(rcpt))[0], 250, "RCPT")
        equal(c.data(("Subject: %s\r\n\r\nbody\r\n" % subject).encode())[0], 250, "DATA")


def run_all(port, sink):
    """Mail that makes every kind of report; the reports."""
    send(port, ["no1@far.test", "ok1@far.test"], rcpt=["NOTIFY=SUCCESS,FAILURE,DELAY"], mail=["ENVID=a+2Bbc"])
    send(port, ["no2@far.test"], mail=["RET=HDRS"], rcpt=["ORCPT=rfc822;o+2Bx@far.test"])
    send(port, ["no3@far.test"], sender="no-sender@far.test")
    send(port, ["later@far.test"])
    send(port, ["no\u00e4@far.test"], mail=["SMTPUTF8"], subject="\u00fc")
    send(port, ["no\u00f6@far.test"], mail=["SMTPUTF8", "RET=HDRS"], subject="\u00fc")

    def got():
        return [m for m in sink.messages if "<>" in m[0] or "double-bounce" in m[0]]
    wait_for(lambda: any(b"Subject: Delayed Mail" in m[2] for m in got()), 30, "a warning")
    sink.later = False
    wait_for(lambda: len(got()) >= REPORTS, 30, "%d reports" % REPORTS)
    time.sleep(1)
    return got()


def fields(block):
    """Names in order, with the values that do not vary."""
    out = []
    for name, value in block.items():
        if name in ("Last-Attempt-Date", "Content-Transfer-Encoding"):
            continue
        value = " ".join(str(value).split())
        vary = ("Received", "Date", "Message-Id", "Arrival-Date", "Will-Retry-Until", "X-Postfix-Queue-ID")
        if name == "Content-Type":
            value = value.split(";")[0]
        if name == "Diagnostic-Code":
            value = value.split(" as ")[0]
        out.append((name, None if name in vary else value))
    return out


def skeleton(message):
    _, to, raw = message
    m = email.message_from_bytes(raw, policy=email.policy.compat32)
    out = [fields(m), [t.split("<")[1].split(">")[0] for t in to]]
    for part in m.get_payload():
        out.append(fields(part))
    text, status, original = m.get_payload()
    out.append([l for l in text.get_payload(decode=True).decode().splitlines() if l.startswith("<")][0].split(":")[0])
    if status.is_multipart():
        blocks = status.get_payload()
    else:
        blocks = [email.message_from_string(b) for b in status.get_payload(decode=True).decode().strip().replace("\r", "").split("\n\n")]
    out += [fields(b) for b in blocks if b.keys()]
    shown = original.as_bytes().decode("utf-8", "replace").replace("\r", "")
    out.append(([l for l in shown.splitlines() if l.startswith("Return-Path")], "\nbody" in shown, "Subject: " in shown))
    return out


def kept(which):
    """The reports that a server makes, as skeletons; and as they are."""
    if which not in _kept:
        port = free_port()
        sink = Sink(("127.0.0.1", port), extensions=NO_DSN)
        more = ["relayhost = [127.0.0.1]:%d" % port]
        server = Stack(tmp("o"), extra_conf=SETTINGS + more) if which == "ours" else \
            RefStack(tmp("r"), parts=("postfix",), main_cf=SETTINGS + more)
        with server:
            _kept[which] = run_all(server.ports["smtp"], sink)
        sink.shutdown()
        sink.server_close()
    return _kept[which]


@case
def beside_postfix():
    fetch("postfix")
    if os.geteuid() != 0:
        skip("a Postfix of its own needs root")
    theirs, ours = (sorted(repr(skeleton(m)) for m in kept(w)) for w in ("theirs", "ours"))
    for t, o in zip(theirs, ours):
        equal(o, t, "a report")
    equal(len(ours), len(theirs), "reports")


@case
def flufl_bounce():
    fetch("python3-flufl.bounce")
    program = ("import sys, email; from flufl.bounce import all_failures\n"
               "t, p = all_failures(email.message_from_binary_file(sys.stdin.buffer))\n"
               "print([a.decode() for a in sorted(t)], [a.decode() for a in sorted(p)])\n")
    env = dict(os.environ, PYTHONPATH=ref("usr/lib/python3/dist-packages"))
    found = []
    for m in kept("ours"):
        if b"global-delivery-status" in m[2]:
            continue  # it knows nothing of RFC 6533
        r = subprocess.run(["/usr/bin/python3", "-W", "ignore", "-c", program], input=m[2], env=env, stdout=subprocess.PIPE,
                           stderr=subprocess.PIPE)
        equal(r.returncode, 0, "flufl.bounce: " + r.stderr.decode())
        subject = email.message_from_bytes(m[2])["Subject"]
        found.append((subject, r.stdout.decode().strip()))
    for want in (("Undelivered Mail Returned to Sender", "[] ['no1@far.test']"),
                 ("Undelivered Mail Returned to Sender", "[] ['o+x@far.test']"),
                 ("Delayed Mail (still being retried)", "['later@far.test'] []"),
                 ("Successful Mail Delivery Report", "[] []"),
                 ("Postmaster Copy: Undelivered Mail", "[] ['no-sender@far.test', 'no3@far.test']")):
        check(want in found, "not %r among %r" % (want, found))


main()
