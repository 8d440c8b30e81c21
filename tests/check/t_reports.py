#!/usr/bin/env python3
# Reports about mail (RFC 3461-3464, 6533): what came of each recipient, to whom, in which form, once, and through crashes.
# timeout: 240
import datetime
import email
import email.policy
import email.utils
import glob
import json
import os
import re
import signal
import smtplib
import socket
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from harness import *
from outbound import ME, Sink, World
from stack import Stack

OTHER = "email2@example.com"
QUICK = ["queue_run_delay = 1s", "minimal_backoff_time = 1s", "maximal_backoff_time = 1s"]
NO_DSN = ("PIPELINING", "SIZE 5000000", "8BITMIME", "SMTPUTF8")


def read(stack, who, n, timeout_s=30):
    """The messages of a mailbox, at least n, oldest first."""
    where = os.path.join(stack.maildir(who), "new", "*")
    wait_for(lambda: len(glob.glob(where)) >= n, timeout_s, "%d messages for %s" % (n, who))
    out = []
    for path in glob.glob(where):
        with open(path, "rb") as f:
            out.append(email.message_from_binary_file(f, policy=email.policy.default))
    return sorted(out, key=lambda m: (m["Subject"], m["Message-Id"] or ""))


def empty(stack, who):
    for path in glob.glob(os.path.join(stack.maildir(who), "new", "*")):
        os.unlink(path)


def parts(report):
    equal(report.get_content_type(), "multipart/report", "type of a report")
    equal(report.get_param("report-type"), "delivery-status", "report-type")
    equal([], [d for p in report.walk() for d in p.defects], "defects")
    text, status, original = report.get_payload()
    equal(text["Content-Description"], "Notification", "description of the text")
    equal(status["Content-Description"], "Delivery report", "description of the status")
    return text, status, original


def status_of(report):
    """The fields about the message, and those of each recipient."""
    status = parts(report)[1]
    if status.get_content_type() == "message/delivery-status":
        blocks = status.get_payload()
    else:
        equal(status.get_content_type(), "message/global-delivery-status", "type of the status")
        raw = status.get_payload(decode=True) if not status.is_multipart() else status.get_payload()[0].as_bytes()
        text = (raw or status.as_bytes().split(b"\r\n\r\n", 1)[1]).decode()
        blocks = [email.message_from_string(b, policy=email.policy.default.clone(utf8=True))
                  for b in re.split(r"\r?\n\r?\n", text.strip())]
    return blocks[0], blocks[1:]


def is_now(value, within_s=120):
    check(value, "a date is missing")
    when = email.utils.parsedate_to_datetime(str(value))
    check(abs((when - datetime.datetime.now(datetime.timezone.utc)).total_seconds()) < within_s, "odd date %s" % value)


def submit(stack, to, sender=ME, mail=(), rcpt=(), data=b"Subject: about this\r\n\r\nthe body\r\n"):
    with smtplib.SMTP("127.0.0.1", stack.ports["smtp"], local_hostname="client.example.com", timeout=30) as c:
        c.ehlo()
        code, text = c.mail(sender, list(mail))
        equal(code, 250, "MAIL: %r" % text)
        for one in [to] if isinstance(to, str) else to:
            code, text = c.rcpt(one, list(rcpt))
            equal(code, 250, "RCPT: %r" % text)
        code, text = c.data(data)
        equal(code, 250, "DATA: %r" % text)
        return re.search(rb"queued as (\w+)", text).group(1).decode()


def logged(stack, what, timeout_s=20):
    wait_for(lambda: re.search(what, stack.log()), timeout_s, "a log line like %r" % what)
    return re.search(what, stack.log())


@case
def failures():
    with World("f", QUICK + ["relayhost = [127.99.0.2]:%d" % (port := free_port()), "bounce_size_limit = 2000"], port=port,
               extensions=NO_DSN) as w:
        s = w.stack
        qid = submit(s, ["no1@far.test", "no2@far.test", "ok@far.test"], mail=["ENVID=id+2B7"],
                     rcpt=["ORCPT=rfc822;first+2Bname@far.test", "NOTIFY=FAILURE"])
        r, = read(s, ME, 1)
        text, status, original = parts(r)
        equal(r["Subject"], "Undelivered Mail Returned to Sender", "subject")
        check(r["From"].addresses[0].username == "MAILER-DAEMON", r["From"])
        equal((r["To"], r["Return-Path"], r["Auto-Submitted"]), (ME, "<>", "auto-replied"), "to whom, from whom")
        is_now(r["Date"])
        check("<no1@far.test> (expanded from" not in text.get_content() and "\n<no1@far.test>: host " in text.get_content(), text)
        head, rcpts = status_of(r)
        check(head["Reporting-MTA"].startswith("dns; "), "Reporting-MTA")
        equal((head["Original-Envelope-Id"], head["X-Postfix-Queue-ID"], head["X-Postfix-Sender"]),
              ("id+7", qid, "rfc822; " + ME), "fields of the message")
        is_now(head["Arrival-Date"])
        equal([b["Final-Recipient"] for b in rcpts], ["rfc822; no1@far.test", "rfc822; no2@far.test"], "final recipients")
        for b in rcpts:
            equal((b["Original-Recipient"], b["Action"], b["Status"], b["Diagnostic-Code"]),
                  ("rfc822;first+name@far.test", "failed", "5.1.1", "smtp; 550 5.1.1 no such user here"), "fields of a recipient")
            check(b["Remote-MTA"].startswith("dns; "), b["Remote-MTA"])
            is_now(b["Last-Attempt-Date"])
        equal((original["Content-Description"], original.get_content_type()), ("Undelivered Message", "message/rfc822"), "the original")
        check("the body" in original.get_content().get_content(), "the original is not whole")
        rid = logged(s, qid + r": sender non-delivery notification: (\w+)").group(1)
        logged(s, rid + r": from=<>, size=\d+, nrcpt=1 \(queue active\)")
        # RET=HDRS, and what is too long
        for mail, more in ((["RET=HDRS"], b""), (["RET=FULL"], b"x" * 70 + b"\r\n"), ([], b"y" * 70 + b"\r\n")):
            empty(s, ME)
            submit(s, "no@far.test", mail=mail, data=b"Subject: long\r\n\r\n" + more * 2000)
            original = parts(read(s, ME, 1)[0])[2]
            equal((original["Content-Description"], original.get_content_type()),
                  ("Undelivered Message Headers", "text/rfc822-headers"), "the original, headers")
            check("Subject: long" in original.get_content() and "xxx" not in original.get_content(), "headers")
        # who does not want to hear, and nobody
        empty(s, ME)
        for rcpt, sender in ((["NOTIFY=NEVER"], ME), (["NOTIFY=SUCCESS,DELAY"], ME)):
            submit(s, "no@far.test", rcpt=rcpt, sender=sender)
        w.wait_queue(0)
        equal(glob.glob(os.path.join(s.maildir(ME), "new", "*")), [], "unwanted reports")


@case
def deliveries():
    """Delivered, relayed, and what is another host's to report."""
    with World("d", QUICK + ["transport_maps = inline:{plain.test=smtp:[127.99.0.2]:%d, dsn.test=smtp:[127.99.0.3]:%d}"
                             % (port := free_port(), port)], port=port, extensions=NO_DSN) as w:
        s = w.stack
        dsn = Sink(("127.99.0.3", port))
        qid = submit(s, [OTHER, "ok@plain.test", "ok@dsn.test"], mail=["RET=FULL"], rcpt=["NOTIFY=SUCCESS,FAILURE"])
        r, = read(s, ME, 1)
        equal(r["Subject"], "Successful Mail Delivery Report", "subject")
        head, rcpts = status_of(r)
        equal(sorted((b["Final-Recipient"], b["Action"], b["Status"]) for b in rcpts),
              [("rfc822; " + OTHER, "delivered", "2.0.0"), ("rfc822; ok@plain.test", "relayed", "2.0.0")], "recipients")
        for b in rcpts:
            check(b["Diagnostic-Code"].startswith("smtp; 250 2.0.0 "), b["Diagnostic-Code"])
        equal(parts(r)[2].get_content_type(), "text/rfc822-headers", "of a success there are headers only, whatever RET says")
        logged(s, qid + r": sender delivery status notification: \w+")
        check("NOTIFY=SUCCESS,FAILURE" in dsn.messages[0][1][0], "NOTIFY is not sent on: %r" % (dsn.messages,))
        w.wait_queue(0)
        equal(len(glob.glob(os.path.join(s.maildir(ME), "new", "*"))), 1, "reports")
        # without NOTIFY=SUCCESS nobody hears anything
        submit(s, [OTHER, "ok@plain.test"])
        w.wait_queue(0)
        equal(len(glob.glob(os.path.join(s.maildir(ME), "new", "*"))), 1, "reports that nobody asked for")
        dsn.shutdown()
        dsn.server_close()


@case
def delays():
    with World("l", QUICK + ["relayhost = [127.99.0.2]:%d" % (port := free_port()), "delay_warning_time = 2s",
                             "confirm_delay_cleared = yes", "notify_classes = delay", "delay_notice_recipient = " + OTHER],
               port=port, extensions=NO_DSN) as w:
        s = w.stack
        qid = submit(s, ["later1@far.test", "later2@far.test"])
        submit(s, "later3@far.test", rcpt=["NOTIFY=FAILURE"])
        submit(s, "later4@far.test", rcpt=["NOTIFY=NEVER"])
        r, = read(s, ME, 1)
        copy = [m for m in read(s, OTHER, 1) if "later1" in m.as_string()][0]
        equal(r["Subject"], "Delayed Mail (still being retried)", "subject")
        head, rcpts = status_of(r)
        equal(sorted(b["Final-Recipient"] for b in rcpts), ["rfc822; later1@far.test", "rfc822; later2@far.test"], "recipients")
        for b in rcpts:
            equal((b["Action"], b["Status"], b["Diagnostic-Code"]), ("delayed", "4.2.1", "smtp; 450 4.2.1 come back"), "fields")
            until = email.utils.parsedate_to_datetime(b["Will-Retry-Until"])
            arrived = email.utils.parsedate_to_datetime(head["Arrival-Date"])
            equal(until - arrived, datetime.timedelta(days=5), "Will-Retry-Until")
        equal(parts(r)[2].get_content_type(), "text/rfc822-headers", "original")
        equal(copy["Subject"], "Postmaster Warning: Delayed Mail", "subject of the copy")
        equal(copy["Return-Path"].split("@")[0], "<double-bounce", "sender of the copy")
        check("mail system at host" not in parts(copy)[0].get_content() and "<later1@far.test>: " in parts(copy)[0].get_content(),
              "words of the copy")
        logged(s, qid + r": sender delay notification: \w+")
        logged(s, qid + r": postmaster delay notification: \w+")
        # once, also after a crash
        for pid in s.pids_of("qmgr"):
            os.kill(pid, signal.SIGKILL)
        time.sleep(3)
        equal(len(read(s, ME, 1)), 1, "warnings")
        # and the end of it, for whom was warned
        empty(s, ME)
        w.sink.later = False
        w.wait_queue(0)
        r, = read(s, ME, 1)
        equal(r["Subject"], "Successful Mail Delivery Report", "subject")
        equal(sorted((b["Final-Recipient"], b["Action"]) for b in status_of(r)[1]),
              [("rfc822; later1@far.test", "relayed"), ("rfc822; later2@far.test", "relayed")], "recipients")


@case
def delays_know_the_next_hop():
    """A warning does not forget where the try went to: a flush of that host finds the recipient."""
    with World("n", ["queue_run_delay = 1s", "minimal_backoff_time = 4s", "maximal_backoff_time = 300s",
                     "relayhost = [127.99.0.2]:%d" % (port := free_port()), "delay_warning_time = 1s"],
               port=port, extensions=NO_DSN) as w:
        s = w.stack
        qid = submit(s, "later1@far.test")
        logged(s, qid + r": sender delay notification: \w+")
        (m,) = map(json.loads, s.postern("queue", "why", "--json", qid).splitlines())
        equal([(b["attempts"], b["next_hop"]) for b in m["recipients"]], [(2, "[127.99.0.2]:%d" % port)], "the last try")


@case
def crashes():
    """qmgr dies between a delivery and its report: one report, and one delivery."""
    with World("c", ["relayhost = [127.99.0.2]:%d" % (port := free_port())] + QUICK, port=port, extensions=NO_DSN) as w:
        s = w.stack
        hang = socket.create_server(("127.99.0.4", port))  # takes connections and says nothing: the round goes on
        with open(s.path("hang"), "w") as f:
            f.write("hang.test smtp:[127.99.0.4]:%d\n" % port)
        s.extra_conf += ["transport_maps = hash:" + s.path("hang")]
        s.write_main_cf()
        s.postern("reload")
        time.sleep(0.5)
        qid = submit(s, ["ok1@far.test", "ok2@far.test", "x@hang.test", OTHER], rcpt=["NOTIFY=SUCCESS"])
        w.got(1)
        read(s, OTHER, 1)
        logged(s, qid + r": to=<ok2@far.test>.*status=sent")
        time.sleep(0.5)
        equal(glob.glob(os.path.join(s.maildir(ME), "new", "*")), [], "the report waits for the round")
        for pid in s.pids_of("qmgr"):
            os.kill(pid, signal.SIGKILL)
        # in the database they are delivered; what hangs is tried again
        hang.close()
        reports = read(s, ME, 1)
        told = sorted(b["Final-Recipient"] for r in reports for b in status_of(r)[1])
        equal(told, ["rfc822; " + OTHER, "rfc822; ok1@far.test", "rfc822; ok2@far.test"], "recipients reported")
        time.sleep(2)
        equal((len(w.sink.messages), len(read(s, OTHER, 1)), len(read(s, ME, 1))), (1, 1, len(reports)), "deliveries, reports")


@case
def postmaster():
    """Classes, copies, bounces of bounces; who cannot be told stays on hold, and status says so."""
    with World("p", QUICK + ["relayhost = [127.99.0.2]:%d" % (port := free_port()), "notify_classes = bounce",
                             "bounce_notice_recipient = " + OTHER, "2bounce_notice_recipient = email1@example.com"],
               port=port, extensions=NO_DSN) as w:
        s = w.stack
        qid = submit(s, "no@far.test")
        r, = read(s, ME, 1)
        copy, = read(s, OTHER, 1)
        equal(copy["Subject"], "Postmaster Copy: Undelivered Mail", "subject of the copy")
        equal(parts(copy)[2].get_content_type(), "text/rfc822-headers", "what is attached to a copy")
        equal(status_of(copy)[0]["X-Postfix-Sender"], "rfc822; " + ME, "sender")
        logged(s, qid + r": postmaster non-delivery notification: \w+")
        # a bounce that bounces is postmaster's
        empty(s, ME)
        empty(s, OTHER)
        submit(s, "no@far.test", sender="no-sender@far.test")
        r = [m for m in read(s, ME, 1) if m["Subject"] == "Postmaster Copy: Undelivered Mail"]
        equal(len(r), 1, "double bounces")
        equal(status_of(r[0])[0]["X-Postfix-Sender"], "rfc822; MAILER-DAEMON@example.com", "sender of what bounced")
        equal(parts(r[0])[2].get_content_type(), "message/rfc822", "a double bounce has all of it")
        equal([b["Final-Recipient"] for b in status_of(r[0])[1]], ["rfc822; no-sender@far.test"], "who was not there")
        w.wait_queue(0)
        check("on hold" not in s.postern("status"), s.postern("status"))
        # nobody takes that, either
        s.extra_conf += ["2bounce_notice_recipient = no-postmaster@far.test", "bounce_notice_recipient = no-such@far.test"]
        s.write_main_cf()
        s.postern("reload")
        time.sleep(0.5)
        empty(s, ME)
        submit(s, "no@far.test", sender="no-sender@far.test")
        wait_for(lambda: len(w.queue()) == 2 and all(m["queue_name"] == "hold" for m in w.queue()), 30, "two on hold")
        for m in w.queue():
            check(m["sender"].startswith("double-bounce@"), m)
        logged(s, r"undeliverable postmaster notification for <no-postmaster@far.test> is kept on hold: host ")
        said = s.postern("status")
        check("2 notices that nobody takes are on hold" in said and "postern queue" in said, said)
        check('"undeliverable_notices": 2' in s.postern("status", "--json"), s.postern("status", "--json"))
        s.postern("queue", "delete", w.queue()[0]["queue_id"])
        check("1 notice that nobody takes is on hold" in s.postern("status"), "status")


@case
def bounces_of_bounces_by_default():
    """While notify_classes is not set, a bounce that nobody takes is kept; told not to tell, it is dropped."""
    with World("b", QUICK + ["relayhost = [127.99.0.2]:%d" % (port := free_port())], port=port, extensions=NO_DSN) as w:
        s = w.stack
        submit(s, "no@far.test", sender="no-sender@far.test")
        wait_for(lambda: [m["queue_name"] for m in w.queue()] == ["hold"], 30, "one on hold")
        m, = w.queue()
        equal((m["sender"] in ("", "MAILER-DAEMON", "<>"), [r["address"] for r in m["recipients"]]), (True, ["no-sender@far.test"]), "what is kept")
        logged(s, r"undeliverable bounce for <no-sender@far.test> is kept on hold: host ")
        # released, it fails and is held again; removed, all is well
        s.postern("queue", "release", m["queue_id"])
        wait_for(lambda: s.log().count("is kept on hold: host") == 2, 30, "a second try")
        s.postern("queue", "delete", m["queue_id"])
        s.extra_conf += ["notify_classes = resource, software"]
        s.write_main_cf()
        s.postern("reload")
        time.sleep(0.5)
        submit(s, "no@far.test", sender="no-sender@far.test")
        logged(s, r"undeliverable bounce discarded")
        w.wait_queue(0)


@case
def local_aliases_of_senders():
    """root@localhost is whom aliases(5) says; postmaster is root where it is nobody else."""
    with World("a", QUICK + ["relayhost = [127.99.0.2]:%d" % (port := free_port()), "notify_classes = bounce",
                             "mydestination = localhost, local.test", "myorigin = local.test"], port=port, extensions=NO_DSN) as w:
        s = w.stack
        with open(s.path("aliases"), "w") as f:
            f.write("root: admin, email1\nadmin: email2@example.com\nemail1: email1@example.com\n")
        submit(s, "no@far.test", sender="root@local.test")
        for who in (ME, OTHER):
            got = read(s, who, 2)  # the report, and postmaster's copy
            equal(sorted(m["Subject"] for m in got), ["Postmaster Copy: Undelivered Mail", "Undelivered Mail Returned to Sender"],
                  "reports for " + who)
            equal(got[1]["To"], "root@local.test", "To")
        w.wait_queue(0)


@case
def aliases_and_their_owners():
    """Of a list the sender hears that it was expanded; of its members' failures the owner."""
    with World("e", QUICK + ["relayhost = [127.99.0.2]:%d" % (port := free_port()), "mydestination = localhost, local.test", "myorigin = local.test",
                             "virtual_alias_maps = inline:{{both@example.com=ok1@far.test email2@example.com}}"], port=port, extensions=NO_DSN) as w:
        s = w.stack
        with open(s.path("aliases"), "w") as f:
            f.write("list: ok2@far.test, no2@far.test, no3@far.test\nowner-list: email2@example.com\n")
        submit(s, "both@example.com", rcpt=["NOTIFY=SUCCESS"])
        r, = read(s, ME, 1)
        b, = status_of(r)[1]
        equal((b["Final-Recipient"], b["Action"], b["Status"], b["Diagnostic-Code"]),
              ("rfc822; both@example.com", "expanded", "2.0.0", "X-Postfix; alias expanded"), "the fields")
        read(s, OTHER, 1)
        empty(s, ME)
        empty(s, OTHER)
        submit(s, "list@local.test", mail=["ENVID=mine", "RET=HDRS"])
        r, = read(s, OTHER, 1)
        head, rcpts = status_of(r)
        equal((r["Subject"], r["To"], head["X-Postfix-Sender"]),
              ("Undelivered Mail Returned to Sender", "owner-list@local.test", "rfc822; owner-list@local.test"), "the owner's report")
        equal(sorted(b["Final-Recipient"] for b in rcpts), ["rfc822; no2@far.test", "rfc822; no3@far.test"], "recipients")
        equal((head["Original-Envelope-Id"], parts(r)[2].get_content_type()), (None, "message/rfc822"), "ENVID and RET are the sender's")
        w.wait_queue(0)
        equal(glob.glob(os.path.join(s.maildir(ME), "new", "*")), [], "reports to the sender")


@case
def utf8():
    with World("u", QUICK + ["relayhost = [127.99.0.2]:%d" % (port := free_port())], port=port, extensions=NO_DSN) as w:
        s = w.stack
        with smtplib.SMTP("127.0.0.1", s.ports["smtp"], local_hostname="client.example.com", timeout=30) as c:
            c.ehlo()
            c.command_encoding = "utf-8"
            equal(c.mail(ME, ["SMTPUTF8", "BODY=8BITMIME"])[0], 250, "MAIL")
            equal(c.rcpt("no\u00e4@far.test")[0], 250, "RCPT")
            equal(c.data("Subject: \u00fc\r\n\r\n\u00df\r\n".encode())[0], 250, "DATA")
        read(s, ME, 1)
        path, = glob.glob(os.path.join(s.maildir(ME), "new", "*"))
        with open(path, "rb") as f:
            raw = f.read()
        check("\nFinal-Recipient: utf-8; no\u00e4@far.test\nOriginal-Recipient: utf-8;no\u00e4@far.test\n".encode() in raw.replace(b"\r\n", b"\n"),
              raw.decode())
        r = email.message_from_bytes(raw, policy=email.policy.default)
        equal([p.get_content_type() for p in r.get_payload()], ["text/plain", "message/global-delivery-status", "message/global"], "types")
        equal([p.get_content_charset() for p in r.get_payload()][0], "utf-8", "charset")
        equal([p["Content-Transfer-Encoding"] for p in r.get_payload()], ["8bit"] * 3, "encodings")
        check("no\u00e4@far.test" in r.get_payload()[0].get_content(), "the text")


@case
def templates():
    with World("t", QUICK + ["relayhost = [127.99.0.2]:%d" % (port := free_port()), "bounce_template_file = %s" % tmp("tpl")],
               port=port, extensions=NO_DSN) as w:
        s = w.stack  # no such file yet
        check("reports have the built-in text" in s.log(), "no warning")
        with open(tmp("tpl"), "w") as f:
            f.write("# mine\n\nfailure_template = <<END\nFrom: Robot <robot@here.test>\nSubject: Zur\u00fcck\nCharset: utf-8\n\nx\nEND\n")
        r = s.postern("check", ok=False)
        said = (r.stdout + r.stderr).decode()
        check("%s:5: warning: " % tmp("tpl") in said, said)
        equal(r.returncode, 0, "exit status for a warning: " + said)
        with open(tmp("tpl"), "w", encoding="utf-8") as f:
            f.write("# mine\n\nfailure_template = <<END\nFrom: Robot <robot>\nSubject: Too bad\nCharset: utf-8\n\n"
                    "Schade, sagt $myhostname nach ${maximal_queue_lifetime_hours} Stunden f\u00fcr $$5.\nEND\n")
        s.postern("reload")
        time.sleep(0.5)
        submit(s, "no@far.test")
        r, = read(s, ME, 1)
        equal(r["Subject"], "Too bad", "subject")
        check(re.match(r"Robot <robot@[^ ]+>$", str(r["From"])), r["From"])
        check("Schade, sagt " in parts(r)[0].get_content() and " nach 120 Stunden f\u00fcr $5." in parts(r)[0].get_content(),
              parts(r)[0].get_content())
        check("<no@far.test>: host" in parts(r)[0].get_content(), "the recipient")


@case
def transcripts():
    """Sessions with errors, for whom notify_classes names; without secrets, and once a session."""
    with Stack(tmp("s"), extra_conf=["notify_classes = protocol, bounce", "error_notice_recipient = " + ME, "bounce_notice_recipient = " + OTHER,
                                     "submission_tls_security_level = may", "smtpd_tls_auth_only = no",
                                     "smtpd_recipient_restrictions = permit_mynetworks, reject", "smtpd_sender_restrictions ="]) as s:
        def talk(port, *lines):
            with socket.create_connection(("127.0.0.1", s.ports[port]), timeout=20) as sock:
                f = sock.makefile("rwb")
                f.readline()
                for line in lines:
                    f.write(line + b"\r\n")
                    f.flush()
                    while f.readline()[3:4] == b"-":
                        pass

        talk("submission", b"EHLO client.example.com", b"BANANA \x1b[2J", b"AUTH PLAIN c2VjcmV0", b"AUTH WRONG", b"d29yZA==", b"QUIT")
        m, = read(s, ME, 1)
        text = m.get_content()
        check(re.match(r"Postfix SMTP server: errors from .*\[127.0.0.1\]$", m["Subject"]), m["Subject"])
        check(m["Return-Path"].startswith("<double-bounce@") and m["To"] == ME, "%s %s" % (m["Return-Path"], m["To"]))
        check("Transcript of session follows." in text and "\n In:  EHLO client.example.com\n Out: 250-" in text and
              "\n In:  BANANA ?[2J\n Out: 500 5.5.2 Error: " in text, text)
        check("c2VjcmV0" not in text and "d29yZA==" not in text, "a secret: " + text)
        talk("smtp", b"EHLO c.example.com", b"MAIL FROM:<a@b.test>", b"RCPT TO:<nobody@example.com>", b"RCPT TO:<nobody2@example.com>", b"QUIT")
        m, = read(s, OTHER, 1)
        equal(m.get_content().count("Out: 550 5.1.1 <nobody"), 2, m.get_content())
        talk("smtp", b"EHLO c.example.com", b"QUIT")
        submit(s, OTHER)
        read(s, OTHER, 2)
        equal(len(read(s, ME, 1)), 1, "notices")


@case
def mutt_shows_them():
    """mutt counts the parts and shows the text and the status of a report."""
    need("mutt")
    with World("x", QUICK + ["relayhost = [127.99.0.2]:%d" % (port := free_port())], port=port, extensions=NO_DSN) as w:
        s = w.stack
        submit(s, "no@far.test")
        read(s, ME, 1)
        rc, out = s.path("muttrc"), s.path("shown")
        with open(rc, "w") as f:
            f.write('set folder="%s"\nset spoolfile="%s"\nset mbox_type=Maildir\nset pager="cp %%s %s; true"\nset wait_key=no\n'
                    'set quit=yes\nset move=no\nset sort=date\nset read_inc=0\nset header_cache=""\n'
                    'set index_format="%%s"\n' % (s.maildir(ME), s.maildir(ME), out))
        import pty
        pid, fd = pty.fork()
        if pid == 0:
            os.environ.update(TERM="vt100", HOME=s.path(), LINES="24", COLUMNS="80")
            os.execvp("mutt", ["mutt", "-n", "-F", rc, "-e", "push '<display-message>q'"])
        end = time.monotonic() + 20
        while time.monotonic() < end and not (os.path.exists(out) and os.path.getsize(out)):
            try:
                os.read(fd, 4096)
            except OSError:
                break
        try:
            os.kill(pid, signal.SIGTERM)
        except ProcessLookupError:
            pass
        os.close(fd)
        os.waitpid(pid, 0)
        with open(out, encoding="utf-8", errors="replace") as f:
            shown = f.read()
        for words in ("Undelivered Mail Returned to Sender", "could not be delivered", "<no@far.test>: host",
                      "Final-Recipient: rfc822; no@far.test", "Action: failed", "Subject: about this", "the body"):
            check(words in shown, "mutt does not show %r:\n%s" % (words, shown))


main()
