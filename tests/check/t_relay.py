#!/usr/bin/env python3
# Mail for other hosts: MX order, what the other side may answer, reports to senders, the operator's `postern queue`.
# The other side is a server of the test's own on 127.99.0.x, named by tests/lib/dnsd.py.
# timeout: 300
import email
import email.policy
import os
import signal
import socket
import ssl
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from harness import *
from outbound import ME, Sink, World as AnyWorld
from stack import make_certificate

ZONE = {
    "two.test": {"MX": [[20, "b.two.test"], [10, "a.two.test"]]},
    "a.two.test": {"A": ["127.99.0.9"]},  # nobody listens
    "b.two.test": {"A": ["127.99.0.2"]},
    "aonly.test": {"A": ["127.99.0.2"]},
    "null.test": {"MX": [[0, "."]]},
    "tempfail.test": "SERVFAIL",
    "gone.test": "NXDOMAIN",
    "dead.test": {"A": ["127.99.0.9"]},
    "backup.test": {"MX": [[10, "c.backup.test"], [20, "b.two.test"]]},
    "c.backup.test": {"A": ["127.99.0.3"]},
}


class World(AnyWorld):
    def __init__(self, name, extra_conf=(), zone=ZONE, **sink):
        super().__init__(name, extra_conf, zone, **sink)


def statuses(report):
    """{recipient: status} of a report, and its notification's text."""
    parts = list(report.iter_parts())
    equal(report.get_content_type(), "multipart/report", "report's type")
    equal(report.get_param("report-type"), "delivery-status", "report-type")
    equal(parts[1].get_content_type(), "message/delivery-status", "second part")
    blocks = parts[1].get_payload()
    check(blocks[0]["Reporting-MTA"], "no Reporting-MTA")
    return {b["Final-Recipient"].split(";")[1].strip(): b["Status"] for b in blocks[1:]}, parts[0].get_content(), parts


@case
def ways_out():
    with World("w") as w:
        # dead first MX, living second
        w.send("ok@two.test")
        frm, to, body = w.got(1)[0]
        check(frm.startswith("MAIL FROM:<%s>" % ME), frm)
        check(to[0].startswith("RCPT TO:<ok@two.test>"), to[0])
        # no MX: the address
        w.send("ok@aonly.test")
        w.got(2)
        # several recipients of one destination: one transaction
        w.send(["ok1@two.test", "ok2@two.test", "ok3@two.test"])
        equal(len(w.got(3)[2][1]), 3, "recipients of one delivery")
        # content arrives as it was sent, dots and 8-bit and all; longer than what is kept in memory
        lines = ["..", ".", "x" * 70, "", ".end"] + ["%06d %s" % (i, "y" * 60) for i in range(20000)]
        text = "Subject: big\r\n\r\n" + "\r\n".join(lines) + "\r\n"
        w.send("ok@aonly.test", text)
        body = w.got(4)[3][2]
        check(b"\r\n\r\n" in body, "no header: %d octets, %r" % (len(body), body[:500]))
        equal(body[body.index(b"\r\n\r\n"):], text[text.index("\r\n\r\n"):].encode(), "content of a long message")
        # lost after the end of data: sent again
        w.send("drop@aonly.test")
        w.stack.postern("queue", "flush")
        wait_for(lambda: w.sink.dropped, 20, "the drop")
        wait_for(lambda: w.stack.postern("queue", "flush") and len(w.sink.messages) >= 5, 30, "second try")
        w.wait_queue(0)
        check(not [c for c in w.sink.commands if c.startswith("BARE")], "bare LF on the wire")
        log_text = w.stack.log()
        check("relay=b.two.test[127.99.0.2]:%d" % w.port in log_text, "no relay= in the log")
        check("status=sent (250 2.0.0 Ok: queued as 1)" in log_text, "no status=sent in the log")


@case
def failures_are_reported():
    with World("f") as w:
        w.send(["ok@two.test", "nobody@two.test"], "Subject: half\r\nX-Mark: 1\r\n\r\n8-bit \u00e4\r\n".encode(), mail_options=["BODY=8BITMIME"])
        w.got(1)
        r = w.reports(1)[0]
        status, text, parts = statuses(r)
        equal(status, {"nobody@two.test": "5.1.1"}, "who failed")
        check("no such user here" in " ".join(text.split()), "the host's words are not in the report: %r" % text)
        equal(parts[2].get_content_type(), "message/rfc822", "third part")
        equal(parts[2].get_payload()[0]["X-Mark"], "1", "the original")
        check("Remote-MTA" in str(parts[1]), "no Remote-MTA")
        equal(r["Auto-Submitted"], "auto-replied", "Auto-Submitted")
        # what DNS says for good
        for n, (to, code) in enumerate([("x@null.test", "5.1.10"), ("x@gone.test", "5.4.4")], 2):
            w.send(to)
            equal(statuses(w.reports(n)[-1])[0], {to: code}, "report for " + to)
        # no report: null sender, NOTIFY=NEVER
        w.send("nobody@two.test", sender="")
        w.send("nobody@two.test", rcpt_options=["NOTIFY=NEVER"])
        # header only
        w.send("nobody@two.test", "Subject: hdrs\r\n\r\nsecret body\r\n", mail_options=["RET=HDRS"])
        parts = statuses(w.reports(4)[-1])[2]
        equal(parts[2].get_content_type(), "text/rfc822-headers", "third part for RET=HDRS")
        check("secret body" not in str(parts[2]), "the body in a report of headers")
        m, = w.wait_queue(1)  # a bounce that nobody takes: t_reports.py
        equal((m["queue_name"], m["sender"]), ("hold", ""), "what is left")
        time.sleep(0.5)
        equal(len(w.reports(4)), 4, "reports")


@case
def addresses_forge_no_fields():
    """fail2ban and pflogsumm read the log: an address with blanks and brackets in it is quoted there, as in Postfix."""
    with World("forge") as w:
        w.send('"x> status=sent to=<y"@two.test', sender='"a> to=<b"@example.com')
        w.got(1)
        wait_for(lambda: "removed" in w.stack.log(), 10, "gone")
        for field in ('to=<"x> status=sent to=<y"@two.test>, relay=', 'from=<"a> to=<b"@example.com>, size='):
            check(field in w.stack.log(), "%s in the log" % field)


@case
def reports_follow_the_senders_aliases():
    conf = ["virtual_alias_maps = inline:{ { team@example.com = email1@example.com, friend@two.test }, { loop@example.com = loop@example.com },"
            " { @example.com = ghost@example.com }, { email1@example.com = email1@example.com } }", "recipient_delimiter = +"]
    with World("ra", conf) as w:
        w.send("nobody@two.test", sender="team+x@example.com")
        w.got(1)
        check("<friend+x@two.test>" in w.sink.messages[0][1][0], "to the alias's other member: %s" % w.sink.messages[0][1])
        equal(statuses(w.reports(1)[0])[0], {"nobody@two.test": "5.1.1"}, "and to the mailbox")
        w.wait_queue(0)


@case
def put_off_and_tried_again():
    with World("d", ["minimal_backoff_time = 2s", "maximal_backoff_time = 2s", "queue_run_delay = 1s"]) as w:
        w.send("later@two.test")
        m = w.wait_deferred()
        check("450 4.2.1 come back" in m["recipients"][0]["delay_reason"], m)
        equal(m["recipients"][0]["status"], "4.2.1", "status")
        w.sink.later = False
        w.got(1)
        w.wait_queue(0)
        # name server trouble never bounces
        w.send("x@tempfail.test")
        equal(w.wait_deferred()["recipients"][0]["status"], "4.4.3", "status of a DNS failure")
        w.dns.update("tempfail.test", {"A": ["127.99.0.2"]})
        w.got(2)
        w.wait_queue(0)


@case
def expired_mail_is_returned():
    with World("e", ["minimal_backoff_time = 1s", "maximal_backoff_time = 1s", "queue_run_delay = 1s",
                     "maximal_queue_lifetime = 3s"]) as w:
        w.send("later@two.test")
        status = statuses(w.reports(1)[0])[0]
        equal(list(status), ["later@two.test"], "who expired")
        check("status=expired, returned to sender" in w.stack.log(), "no status=expired in the log")
        w.wait_queue(0)


@case
def survives_kill_of_qmgr():
    with World("k", ["minimal_backoff_time = 600s", "maximal_backoff_time = 600s"]) as w:
        w.send(["later@two.test", "ok@two.test"])
        w.got(1)
        m = w.wait_deferred()
        for pid in w.stack.pids_of("qmgr"):
            os.kill(pid, signal.SIGKILL)
        wait_for(lambda: w.stack.postern("queue", "list", "--json", ok=False).returncode == 0, 20, "qmgr again")
        equal([q["queue_id"] for q in w.wait_queue(1)], [m["queue_id"]], "the queue after a kill")
        equal([r["address"] for r in w.queue()[0]["recipients"]], ["later@two.test"], "who is left")
        w.sink.later = False
        w.stack.postern("queue", "flush")
        w.got(2)
        w.wait_queue(0)


@case
def the_operators_tools():
    with World("o", ["minimal_backoff_time = 600s", "maximal_backoff_time = 600s"]) as w:
        w.send("later1@two.test", "Subject: one\r\n\r\nbody of one\r\n")
        w.send("later2@two.test", "Subject: two\r\n\r\nbody of two\r\n")
        wait_for(lambda: len([m for m in w.queue() if m["queue_name"] == "deferred"]) == 2, 20, "two deferred messages")
        # by queue id's counter: of several smtpd's the order is not that of arrival
        one, two = sorted(w.queue(), key=lambda m: m["recipients"][0]["address"])
        equal(one["recipients"][0]["address"], "later1@two.test", "who waits")
        check("body of one" in w.stack.postern("queue", "show", one["queue_id"]), "content is not shown")
        w.stack.postern("queue", "hold", one["queue_id"])
        w.sink.later = False
        w.stack.postern("queue", "flush")
        w.got(1)
        equal([m["queue_name"] for m in w.wait_queue(1)], ["hold"], "what is left")
        w.stack.postern("queue", "release", one["queue_id"])
        w.got(2)
        w.wait_queue(0)
        w.sink.later = True
        w.send("later3@two.test")
        three = w.wait_deferred()["queue_id"]
        equal(w.stack.postern("queue", "delete", "nonsense", ok=False).returncode, 64, "exit status for what is neither id nor condition")
        w.stack.postern("queue", "delete", three)
        equal(w.queue(), [], "after delete")
        check("The queue is empty." in w.stack.postern("queue", "list"), "words for an empty queue")
        # and while nothing runs
        w.send("later4@two.test")
        four = w.wait_deferred()["queue_id"]
        w.stack.process.stop(timeout_s=30)
        equal([m["queue_id"] for m in w.queue()], [four], "the queue without qmgr")
        check(four in w.stack.postern("queue", "show", four), "show without qmgr")
        w.stack.postern("queue", "delete", four)
        equal(w.queue(), [], "after delete without qmgr")


@case
def tls_where_it_is_offered():
    chain, key = make_certificate(tmp("cert"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, key)
    extensions = ("PIPELINING", "STARTTLS")
    with World("t", extensions=extensions, tls=context) as w:  # the guide has smtp_tls_security_level = may
        w.send("ok@two.test")
        w.got(1)
        equal(w.sink.under_tls, [True], "sent under TLS")
    with World("g", extensions=extensions, tls="garbage") as w:
        w.send("ok@two.test")
        w.got(1)
        check("STARTTLS" in w.sink.commands, "TLS was not tried")
        equal(w.sink.under_tls, [False], "sent in the clear after a failed handshake")
    with World("e2", ["smtp_tls_security_level = encrypt"], extensions=("PIPELINING",)) as w:
        w.send("ok@two.test")
        equal(w.wait_deferred()["recipients"][0]["status"], "4.7.4", "status where TLS is required")
        equal(w.sink.messages, [], "sent without TLS")


@case
def relayhost_and_plain_helo():
    zone = dict(ZONE)
    with World("h", extensions=None, zone=zone) as w:
        w.stack.stop()
        w.stack.extra_conf.append("relayhost = [127.99.0.2]:%d" % w.port)
        w.stack.configured = False
        w.stack.start()
        w.send(["ok@anywhere.invalid"])
        w.got(1)
        check([c for c in w.sink.commands if c.startswith("EHLO")] and [c for c in w.sink.commands if c.startswith("HELO")],
              "EHLO, then HELO: %r" % w.sink.commands)
        equal(w.sink.messages[0][0], "MAIL FROM:<%s>" % ME, "no parameters without extensions")


main()
