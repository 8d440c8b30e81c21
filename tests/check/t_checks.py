#!/usr/bin/env python3
# header_checks(5) in whole programs: long messages stream through body_checks, tables that cannot be asked, the way out
# (smtp_*_checks, lmtp_*_checks), and what relayd may ask authd. What each action does beside a real Postfix is in
# tests/smtp-beside/*checks*.cases.
import os
import random
import re
import smtplib
import socket
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from harness import *
from outbound import ME, Sink, SinkSession, World
from stack import Stack

ZONE = {"there.test": {"A": ["127.99.0.2"]}}
OPEN = ["smtpd_sender_restrictions =", "smtpd_recipient_restrictions =",
        "smtpd_relay_restrictions = permit_mynetworks, reject_unauth_destination", "message_size_limit = 30000000"]
BODY = "body_checks = regexp:{{/^take (.*)/ REPLACE took $$1}, {/^drop/ IGNORE}, {/^before/ PREPEND this comes}, " \
       "{/THE END/ WARN seen}, {/^stop here/ REJECT stopped}}"


def is_sanitized():
    """Then nothing that was freed is given back for a while."""
    with open(program("authd"), "rb") as f:
        return b"__asan_init" in f.read()


def peak_kib(s, name):
    with open("/proc/%d/status" % s.pids_of(name)[0]) as f:
        return int(re.search(r"VmHWM:\s+(\d+)", f.read()).group(1))


def long_text(octets, r):
    """What is sent, and what must come of it."""
    sent, want, n = [], [], 0
    while n < octets:
        kind = r.randrange(400)
        line = " ".join("%x" % r.getrandbits(32) for _ in range(r.randrange(1, 12)))
        if kind == 0:
            sent.append("take " + line)
            want.append("took " + line)
        elif kind == 1:
            sent.append("drop " + line)
        elif kind == 2:
            sent.append("before " + line)
            want += ["this comes", "before " + line]
        elif kind == 3:
            line = "long " + "y" * r.randrange(1900, 2500)
            sent.append(line)
            want.append(line)
        else:
            sent.append(line)
            want.append(line)
        n += len(sent[-1]) + 2
    return "\r\n".join(sent) + "\r\nTHE END\r\n", "\n".join(want) + "\nTHE END\n"


def only_message(s, address=ME):
    folder = os.path.join(s.maildir(address), "new")
    wait_for(lambda: os.path.isdir(folder) and len(os.listdir(folder)) == 1, 30, "a message for " + address)
    path = os.path.join(folder, os.listdir(folder)[0])
    with open(path, "rb") as f:
        text = f.read().replace(b"\r\n", b"\n").decode("latin-1")
    os.unlink(path)
    return text


def send(s, text, to=ME, sender="a@remote.test"):
    with smtplib.SMTP("127.0.0.1", s.ports["smtp"], local_hostname="client.example.com", timeout=60) as c:
        c.sendmail(sender, [to], text)


@case
def a_long_message_streams_through():
    sent, want = long_text(10 * 1000 * 1000, random.Random(5))
    with Stack(tmp("long"), extra_conf=OPEN + [BODY, "body_checks_size_limit = 0", "smtpd_processes = 1"]) as s:
        send(s, "Subject: x\r\n\r\nsmall\r\n")
        only_message(s)
        before = {n: peak_kib(s, n) for n in ("smtpd", "authd")}
        send(s, "Subject: long\r\n\r\n" + sent)
        got = only_message(s)
        check(got.split("\n\n", 1)[1] == want, "the message is another one")
        check("warning: body THE END from" in s.log(), "the last line was not seen")
        for name in before:
            grown = peak_kib(s, name) - before[name]
            check(grown < 8 * 1024 or is_sanitized(), "%s grew by %d KiB" % (name, grown))
        try:
            send(s, "Subject: stop\r\n\r\n" + sent + "stop here\r\n" + "x\r\n" * 100000)
            fail("it was not refused")
        except smtplib.SMTPDataError as e:
            equal((e.smtp_code, e.smtp_error), (550, b"5.7.1 stopped"), "the reply")
        send(s, "Subject: after\r\n\r\nx\r\n")  # the next one is none the worse
        check("Subject: after" in only_message(s), "the next message")


@case
def a_huge_header_goes_in_batches():
    fields = "".join("X-%d: %s\r\n" % (i, "v" * 60) for i in range(60000))  # 4 MB: more than one batch
    with Stack(tmp("huge"), extra_conf=OPEN + ["header_checks = regexp:{{/^X-7:/ IGNORE}, {/^X-59999:/ REPLACE X-Last: yes}, {/^Received:/ STRIP}}"]) as s:
        send(s, "Subject: huge\r\n" + fields + "\r\nbody\r\n")
        got = only_message(s).split("\n")
        wanted = [l for l in fields.split("\r\n") if not l.startswith("X-7:")][:-2] + ["X-Last: yes"]
        equal([l for l in got if l.startswith("X-")][-3:], wanted[-3:], "the last fields")
        check([l for l in got if re.match(r"X-(\d|L)", l)] == wanted, "fields in their order")
        check(not any(l.startswith("Received:") and "with ESMTP" in "".join(got) for l in got), "our own Received line was to go")


@case
def tiny_fields_cost_no_memory():
    with Stack(tmp("tiny"), extra_conf=OPEN + ["header_checks = regexp:{{/^X-last:/ REPLACE X-Last: yes}}", "smtpd_processes = 1"]) as s:
        send(s, "Subject: x\r\n\r\nsmall\r\n")
        only_message(s)
        before = peak_kib(s, "smtpd")
        send(s, "a:\r\n" * 500000 + "X-last: no\r\n\r\nx\r\n")
        grown = peak_kib(s, "smtpd") - before
        got = only_message(s).split("\n")
        check(got.count("a:") == 500000 and "X-Last: yes" in got, "%d fields came" % got.count("a:"))
        check(grown < 24 * 1024 or is_sanitized(), "smtpd grew by %d KiB" % grown)


@case
def slow_patterns_hold_up_nobody_else():
    slow = r"body_checks = regexp:{{/^(x*)(x*)(x*)(x*)\1\2\3\4z/ REJECT}}"  # some seconds for a line of 64
    with Stack(tmp("slow"), extra_conf=OPEN + [slow, "smtpd_processes = 1"]) as s:
        sending = threading.Thread(target=send, args=(s, "Subject: slow\r\n\r\n" + "x" * 64 + "\r\n"))
        sending.start()
        time.sleep(0.2)
        began = time.monotonic()
        with smtplib.SMTP("127.0.0.1", s.ports["submission"], timeout=30) as c:
            c.starttls()
            c.login(ME, "password")
            c.mail(ME)
            equal(c.rcpt(ME)[0], 250, "a recipient, looked up")
        took = time.monotonic() - began
        check(sending.is_alive(), "the pattern was not slow enough to show anything: %.1f s" % took)
        check(took < 0.8, "a login and a look-up took %.1f s" % took)
        sending.join()
        check("Subject: slow" in only_message(s), "the message")


@case
def tables_that_cannot_be_asked():
    with Stack(tmp("trouble"), extra_conf=OPEN + ["header_checks = regexp:{{/^X-Ok:/ PASS}}", "body_checks = fail:never"]) as s:
        try:
            send(s, "Subject: x\r\n\r\nx\r\n")
            fail("it was accepted")
        except smtplib.SMTPDataError as e:
            equal((e.smtp_code, e.smtp_error), (451, b"4.3.0 Error: queue file write error"), "the reply")
        check("body_checks map lookup problem -- message not accepted, try again later" in s.log(), "the log says so")
        send(s, "Subject: x\r\nX-Ok: yes\r\n\r\nx\r\n")  # not looked at
        only_message(s)


@case
def bad_tables_are_told():
    with Stack(tmp("bad"), extra_conf=OPEN) as s:
        for text, want in (("header_checks = regexp:/nonexistent/file", "nonexistent"), ("body_checks = regexp:{{/(/ REJECT}}", "body_checks"),
                           ("smtp_header_checks = nosuch:x", "unsupported table type: nosuch:x"), ("body_checks = /etc/x", "/etc/x: not of the form"),
                           ("header_checks = pcre:/x", "use regexp:"), ("mime_nesting_limit = 0", "mime_nesting_limit")):
            s.extra_conf = OPEN + [text]
            s.write_main_cf()
            said = s.postern("check", ok=False)
            said = said.stdout.decode() + said.stderr.decode()
            check(want in said, "%s: %s" % (text, said))


def ask(s, octets, *questions):
    """Netstrings to private/content, and what comes."""
    c = socket.socket(socket.AF_UNIX)
    c.settimeout(10)
    c.connect(os.path.join(s.queue_dir, "private", "content"))
    c.sendall(b"".join(b"%d:%s," % (len(q), q) for q in questions))
    out = b""
    while len(out) < octets:
        out += c.recv(1000)
    return out.decode()


OUT = ["smtp_header_checks = regexp:{{/^X-Mailer:/ IGNORE}, {/^Received:.*/ STRIP inside}, {/^X-Old: (.*)/ REPLACE X-New: $$1}, {/^X-Bad:/ REJECT}, "
       "{/^X-Two/ PREPEND X-One: 1}}",
       "smtp_mime_header_checks = regexp:{{/^Content-Disposition:.*exe/ WARN a program}, {/^X-Part/ IGNORE}}",
       "smtp_nested_header_checks = regexp:{{/^Subject: (.*)/ REPLACE Subject: inner $$1}}",
       "smtp_body_checks = regexp:{{/secret/ IGNORE}, {/^add/ PREPEND added}, {/^(grow+)/ REPLACE $$1$$1$$1}}",
       "body_checks_size_limit = 0", "message_size_limit = 30000000",
       "transport_maps = inline:{ { lmtp.test = lmtp:inet:127.99.0.2:1 } }"]
HEAD = "From: email1@example.com\r\nDate: Sun, 22 Nov 2026 19:57:55 +0000\r\nMessage-Id: <1@example.com>\r\n"
MIME = "Subject: m\r\nX-Mailer: x\r\nX-Old: a\r\n b\r\nX-Two: 2\r\nX-Bad: stays\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\nsecret\r\n--b\r\nX-Part: 1\r\n" \
       "Content-Disposition: x.exe\r\n\r\nadd\r\n.dot\r\ngrow\r\n--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: i\r\n\r\nsecret\r\n--b--\r\n"
MIME_OUT = "Subject: m\r\nX-New: a\r\n b\r\nX-One: 1\r\nX-Two: 2\r\nX-Bad: stays\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n" \
           "Content-Disposition: x.exe\r\n\r\nadded\r\nadd\r\n.dot\r\ngrowgrowgrow\r\n--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: inner i\r\n\r\n--b--\r\n"


@case
def checks_on_the_way_out():
    big = "Subject: big\r\nX-Mailer: x\r\n\r\n" + ("grow\r\n" + "line of text\r\n" * 50 + "secret\r\n") * 800
    big_out = "Subject: big\r\n\r\n" + ("growgrowgrow\r\n" + "line of text\r\n" * 50) * 800
    for extensions in (("PIPELINING", "SIZE 50000000"), ("PIPELINING", "SIZE 50000000", "CHUNKING", "8BITMIME")):
        with World("out" + str(len(extensions)), OUT, zone=ZONE, extensions=extensions) as w:
            w.send("ok@there.test", HEAD + MIME)
            frm, _, got = w.got(1)[0]
            equal(got.decode(), HEAD + MIME_OUT, "a message with parts")
            equal(frm, "MAIL FROM:<%s> SIZE=%d" % (ME, len(got)) + (" BODY=8BITMIME" if "BODY" in frm else ""), "its size")
            w.send("ok@there.test", HEAD + big)
            frm, _, got = w.got(2)[1]
            check(got.decode() == HEAD + big_out, "a long message")
            check("SIZE=" not in frm, "nobody knows its size before: " + frm)
            text = w.stack.log()
            for want in (r"postfix/smtp\[\d+\]: \w+: strip: header Received: from .*: inside", r"postfix/smtp\[\d+\]: \w+: replace: header X-Old: a.*: X-New: a",
                         r"postfix/smtp\[\d+\]: \w+: prepend: body add: added", r"postfix/smtp\[\d+\]: \w+: warning: header Content-Disposition: x.exe: a program",
                         r"postfix/smtp\[\d+\]: warning: unsupported command in smtp_header_checks map: REJECT"):
                check(re.search(want, text), want)
            check(not re.search(r"ignore: ", text), "IGNORE is not logged")
            wanted = "9:OK IGNORE,16:PERM not for you,16:OK 2 1 6:IGNORE,,16:PERM not for you,25:PERM lines are netstrings,"
            answer = ask(w.stack, len(wanted), b"smtp_header_checks X-Mailer: x", b"virtual_mailbox_maps " + ME.encode(), b"lines:smtp_body_checks 1:a,6:secret,",
                         b"lines:header_checks 1:a,", b"lines:smtp_body_checks 7:a,")
            equal(answer, wanted, "what relayd may ask for")
            w.send(ME)  # and that refusal is for relayd alone
            w.stack.wait_delivered(1)


@case
def the_way_out_when_tables_fail():
    body = "Subject: x\r\n\r\nx\r\n"
    with World("fails", ["smtp_body_checks = fail:x", "message_size_limit = 30000000"], zone=ZONE) as w:
        w.send("ok@there.test", body)
        w.wait_deferred()
        w.send("ok@there.test", body + "line of text\r\n" * 20000)
        wait_for(lambda: w.stack.log().count("status=deferred (header or body checks lookup error)") == 2, 20, "both are deferred")
        equal(w.sink.messages, [], "nothing went out")


class LmtpSession(SinkSession):
    def keep(self, state, body):
        super().keep(state, body)
        return "\r\n".join("250 2.1.5 saved" for _ in state["to"])


class LmtpSink(Sink):
    Session = LmtpSession


@case
def towards_lmtp():
    with World("lmtp", ["lmtp_header_checks = regexp:{{/^Subject: (.*)/ REPLACE Subject: by lmtp $$1}}", "smtp_header_checks = regexp:{{/^Subject:/ IGNORE}}"],
               zone=ZONE, kind=LmtpSink, greeting="220 sink LMTP") as w:
        w.stack.stop()
        w.stack.extra_conf.append("transport_maps = inline:{ { there.test = lmtp:inet:127.99.0.2:%d } }" % w.port)
        w.stack.configured = False
        w.stack.start()
        w.send("ok@there.test", HEAD + "Subject: x\r\n\r\nx\r\n")
        check(b"\r\nSubject: by lmtp x\r\n\r\nx\r\n" in w.got(1)[0][2], "lmtp_header_checks")
        check("postfix/lmtp[" in w.stack.log(), "the log names lmtp")


main()
