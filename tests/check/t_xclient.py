#!/usr/bin/env python3
# XCLIENT and XFORWARD: who may say them, what they change, what is refused (as Postfix 3.7 was seen to), what is logged.
# timeout: 120
import os
import re
import smtplib
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from dnsd import SMTP_CASES_ZONE, Dnsd
from harness import *
from stack import Stack

XCLIENT = "XCLIENT NAME ADDR PROTO HELO REVERSE_NAME PORT LOGIN DESTADDR DESTPORT"
XFORWARD = "XFORWARD NAME ADDR PROTO HELO SOURCE PORT IDENT"
CONF = ["smtpd_authorized_xclient_hosts = 127.0.0.1", "smtpd_authorized_xforward_hosts = localhost",
        "mynetworks = 127.0.0.0/8, 198.51.100.7", "unknown_client_reject_code = 550", "smtpd_hard_error_limit = 100",
        "smtpd_soft_error_limit = 50", "smtpd_helo_restrictions =", "smtpd_sender_restrictions =",
        "smtpd_client_restrictions = permit_mynetworks, reject_unknown_reverse_client_hostname, reject_unknown_client_hostname"]
FROM, HERE, AWAY = "MAIL FROM:<x@remote.test>", "RCPT TO:<email1@example.com>", "RCPT TO:<x@aonly.test>"
_stack = []


def stack(name="a", *more):
    if more or not _stack:
        dns = Dnsd(SMTP_CASES_ZONE)
        dns.start()
        at_end(dns.stop)
        s = Stack(tmp(name), resolver="127.0.0.1:%d" % dns.port, extra_conf=CONF + list(more))
        s.start()
        at_end(s.stop)
        if more:
            return s
        _stack.append(s)
    return _stack[0]


class Client:
    def __init__(self, s, source="127.0.0.1", port="smtp"):
        self.smtp = smtplib.SMTP(timeout=30, source_address=(source, 0))
        self.greeting = self.smtp.connect("127.0.0.1", s.ports[port])

    def say(self, line, want):
        self.smtp.send(line + "\r\n")
        code, text = self.smtp.getreply()
        got = "%d %s" % (code, text.decode())
        check(got.startswith(want), "%s: expected %r, got %r" % (line[:80], want, got))
        return got

    def all(self, *pairs):
        for line, want in zip(pairs[::2], pairs[1::2]):
            self.say(line, want)


def log_line(s, pattern):
    def look():
        return re.search(pattern, s.log())
    wait_for(look, 10, "a log line like " + pattern)
    return look()


def swaks(s, *argv, port="smtp"):
    r = run([need("swaks"), "--server", "127.0.0.1", "--port", str(s.ports[port]), "--from", "x@remote.test", "--timeout", "20",
             "--helo", "probe.test", *argv])
    return r.stdout.decode(errors="replace")


@case
def swaks_speaks_for_another():
    s = stack()
    out = swaks(s, "--to", "email1@example.com", "--quit-after", "RCPT", "--xclient-name", "a.test", "--xclient-addr", "192.0.2.1",
                "--xclient-port", "4711", "--xclient-proto", "ESMTP", "--xclient-helo", "h e.test", "--xclient-login", "joe@example.com",
                "--xclient-destaddr", "192.0.2.25", "--xclient-destport", "25", "--xclient-reverse-name", "r.test")
    check("250-" + XCLIENT in out, out)
    check(re.search(r"(?m)^<-  220 example.com ESMTP.*\n(.*\n)*<-  220 example.com ESMTP", out), "no second greeting: " + out)
    check("<-  250 2.1.5 Ok" in out, out)
    log_line(s, r"client=a\.test\[192\.0\.2\.1\], sasl_method=XCLIENT, sasl_username=joe@example\.com")
    log_line(s, r"disconnect from a\.test\[192\.0\.2\.1\] ehlo=2 xclient=0/1 mail=1 rcpt=1 quit=1")
    out = swaks(s, "--to", "x@aonly.test", "--quit-after", "RCPT", "--xclient", "NAME=a.test ADDR=192.0.2.1")
    check("554 5.7.1 <x@aonly.test>: Relay access denied" in out, out)
    out = swaks(s, "--to", "x@aonly.test", "--quit-after", "RCPT", "--xclient", "NAME=a.test ADDR=198.51.100.7")
    check("<-  250 2.1.5 Ok" in out, "mynetworks does not see the new address: " + out)


@case
def xclient_restrictions_run_again():
    s = stack()
    for words, reply in (
            ("NAME=[UNAVAILABLE] REVERSE_NAME=r.test", "550 5.7.25 Client host rejected: cannot find your hostname, [192.0.2.1]"),
            ("NAME=[TEMPUNAVAIL] REVERSE_NAME=r.test", "450 4.7.25 Client host rejected: cannot find your hostname, [192.0.2.1]"),
            ("NAME=a.test REVERSE_NAME=[unavailable]", "550 5.7.1 Client host rejected: cannot find your reverse hostname, [192.0.2.1]"),
            ("NAME=a.test REVERSE_NAME=[TEMPUNAVAIL]", "450 4.7.1 Client host rejected: cannot find your reverse hostname, [192.0.2.1]"),
            ("REVERSE_NAME=[UNAVAILABLE] NAME=a.test", "250 2.1.5 Ok")):
        c = Client(s)
        c.all("XCLIENT %s ADDR=192.0.2.1" % words, "220 example.com", "EHLO h.test", "250", FROM, "250", HERE, reply)
        c.smtp.close()
    s = stack("b", "smtpd_delay_reject = no")
    c = Client(s)
    c.all("XCLIENT NAME=[UNAVAILABLE] REVERSE_NAME=[UNAVAILABLE] ADDR=IPV6:2001:db8::1",
          "550 5.7.1 Client host rejected: cannot find your reverse hostname, [2001:db8::1]",
          "EHLO x.test", "503 5.7.0 Error: access denied for unknown[2001:db8::1]", "QUIT", "221")


@case
def xclient_resets_the_session():
    s = stack()
    c = Client(s)
    c.all("EHLO first.test", "250", FROM, "250", "XCLIENT NAME=a.test", "503 5.5.1 Error: MAIL transaction in progress", "RSET", "250",
          "XCLIENT HELO=kept+2Etest PROTO=ESMTP", "220", FROM, "250", HERE, "250", "DATA", "354")
    c.say("Subject: reset-token\r\n\r\nx\r\n.", "250 2.0.0 Ok: queued")
    s.wait_delivered(1)
    folder = os.path.join(s.maildir("email1@example.com"), "new")
    with open(os.path.join(folder, os.listdir(folder)[0])) as f:
        text = f.read()
    check("Received: from kept.test (localhost [127.0.0.1])\n\tby example.com (Postfix) with ESMTP id " in text, text)
    # may no more once it is somebody else
    c.all("XCLIENT ADDR=[UNAVAILABLE]", "220", "XCLIENT ADDR=127.0.0.1", "550 5.7.0 Error: insufficient authorization",
          "HELO h.test", "250", FROM, "250", AWAY, "554 5.7.1", "RSET", "250")
    check("XCLIENT" not in c.say("EHLO x.test", "250"), "XCLIENT is still offered")
    log_line(s, r"reject: RCPT from localhost\[unknown\]: 554 5\.7\.1 .* proto=SMTP helo=<h\.test>\n")


@case
def the_new_client_is_counted():
    s = stack("d", "smtpd_client_connection_rate_limit = 2", "smtpd_forbid_unauth_pipelining = yes")
    for i in range(4):  # who may speak for others is not counted
        c = Client(s)
        c.say("XCLIENT ADDR=192.0.2.%d NAME=a.test" % i, "220")
    for want in ("220", "220", "421 4.7.0 example.com Error: too many connections from 192.0.2.9"):
        Client(s).say("XCLIENT ADDR=192.0.2.9 NAME=a.test", want)
    log_line(s, r"warning: Connection rate limit exceeded: 3 from a\.test\[192\.0\.2\.9\] for service smtp")
    c = Client(s)
    c.say("XCLIENT ADDR=192.0.2.10 NAME=a.test\r\nEHLO early.test", "554 5.5.0 Error: SMTP protocol synchronization")


@case
def logins_permit_where_auth_is_on():
    s = stack()
    c = Client(s)  # the guide has AUTH on the submission ports only
    c.all("XCLIENT LOGIN=joe@example.com NAME=a.test ADDR=192.0.2.1", "220", "EHLO h.test", "250", FROM, "250", AWAY, "554 5.7.1")
    s = stack("c", "smtpd_sasl_auth_enable = yes", "smtpd_tls_auth_only = no")
    c = Client(s)
    c.all("XCLIENT LOGIN=email1@example.com NAME=a.test ADDR=192.0.2.1", "220", "EHLO h.test", "250", "AUTH PLAIN AGEAYg==",
          "503 5.5.1 Error: already authenticated", FROM, "250", AWAY, "250")
    c = Client(s)
    c.all("XCLIENT LOGIN=email1@example.com", "220", "XCLIENT LOGIN=[UNAVAILABLE] ADDR=192.0.2.1 NAME=a.test", "220", "EHLO h.test",
          "250", FROM, "250", AWAY, "554 5.7.1")


@case
def what_is_refused():
    s = stack()
    c = Client(s, "127.0.0.9")
    got = c.say("EHLO h.test", "250")
    check("XCLIENT" not in got and "XFORWARD" not in got, "offered to anybody: " + got)
    c.all("XCLIENT", "501 5.5.4 Syntax: XCLIENT attribute=value...", "XFORWARD", "501 5.5.4 Syntax: XFORWARD attribute=value...",
          "XCLIENT FOO", "550 5.7.0 Error: insufficient authorization", "XFORWARD NAME=x", "550 5.7.0 Error: insufficient authorization",
          FROM, "250", "XCLIENT", "503 5.5.1 Error: MAIL transaction in progress",
          "XFORWARD NAME=x", "503 5.5.1 Error: MAIL transaction in progress")
    c = Client(s)
    got = c.say("EHLO h.test", "250")
    check("\n%s\n%s\n" % (XCLIENT, XFORWARD) in got, "not offered: " + got)
    c.all("XCLIENT NAME", "501 5.5.4 Error: attribute=value expected", "XCLIENT NAME=", "501 5.5.4 Error: attribute=value expected",
          "XCLIENT FOO=x", "501 5.5.4 Bad XCLIENT attribute name: FOO", "XCLIENT IDENT=x", "501 5.5.4 Bad XCLIENT attribute name: IDENT",
          "XCLIENT NAME=-bad", "501 5.5.4 Bad NAME syntax: -bad", "XCLIENT ADDR=2001:db8::1", "501 5.5.4 Bad ADDR syntax: 2001:db8::1",
          "XCLIENT ADDR=1<2>3", "501 5.5.4 Bad ADDR syntax: 1?2?3", "XCLIENT PORT=123456", "501 5.5.4 Bad PORT syntax: 123456",
          "XCLIENT PROTO=HTTP", "501 5.5.4 Bad PROTO syntax: HTTP", "XCLIENT REVERSE_NAME=a..b", "501 5.5.4 Bad REVERSE_NAME syntax: a..b",
          "XCLIENT DESTADDR=x", "501 5.5.4 Bad DESTADDR syntax: x", "XCLIENT DESTPORT=x", "501 5.5.4 Bad DESTPORT syntax: x",
          "XCLIENT HELO=" + 256 * "x", "501 5.5.4 Error: attribute value too long",
          "XCLIENT NAME=other.test ADDR=x", "501 5.5.4 Bad ADDR syntax: x",
          "XFORWARD SOURCE=x", "501 5.5.4 Bad SOURCE syntax: x", "XFORWARD LOGIN=x", "501 5.5.4 Bad XFORWARD attribute name: LOGIN",
          "XFORWARD PROTO=" + 65 * "x", "501 5.5.4 Bad PROTO syntax: " + 65 * "x", FROM, "250", HERE, "250")
    log_line(s, r"client=localhost\[127\.0\.0\.1\]\n")  # a refused XCLIENT has changed nothing


@case
def xforward_is_logged_and_forgotten():
    s = stack()
    c = Client(s)
    c.all("EHLO filter.test", "250", "XFORWARD NAME=spike.test ADDR=192.0.2.77 PORT=4711", "250 2.0.0 Ok",
          "XFORWARD PROTO=ESMTP HELO=sp.test IDENT=4F0 SOURCE=REMOTE", "250 2.0.0 Ok", FROM, "250", HERE, "250", "DATA", "354")
    said = c.say("Subject: forward-token\r\n\r\nx\r\n.", "250 2.0.0 Ok: queued as ")
    qid = said.split()[-1]
    log_line(s, qid + r": client=localhost\[127\.0\.0\.1\], orig_queue_id=4F0, orig_client=spike\.test\[192\.0\.2\.77\]\n")

    def whole():
        for folder, _, names in os.walk(s.maildir("email1@example.com")):
            for n in names if os.path.basename(folder) in ("new", "cur") else ():
                with open(os.path.join(folder, n)) as f:
                    text = f.read()
                if "forward-token" in text:
                    return text
        return None
    wait_for(whole, 20, "the message")
    check("Received: from filter.test (localhost [127.0.0.1])\n" in whole(), whole())
    check("\nDate:" not in whole(), "SOURCE=REMOTE, and yet made whole as a local client's: " + whole())
    for words, more in (("IDENT=5G0", ", orig_queue_id=5G0"), ("NAME=only.test", ", orig_client=only.test"), (None, ""),
                        ("ADDR=IPV6:2001:db8::0:7", r", orig_client=unknown\[2001:db8::7\]"), ("ADDR=[UNAVAILABLE]", ", orig_client=unknown")):
        if words:
            c.say("XFORWARD " + words, "250")
        c.all(FROM, "250", HERE, "250", "RSET", "250")
        lines = re.findall(r": client=.*", s.log())
        wait_for(lambda: re.match(": client=localhost\\[127\\.0\\.0\\.1\\]%s$" % more, re.findall(r": client=.*", s.log())[-1]), 10,
                 "%s after %s, not %s" % (more, words, lines[-1]))
    c.all("XFORWARD NAME=gone.test", "250", "EHLO h.test", "250", FROM, "250", HERE, "250")
    wait_for(lambda: re.findall(r": client=.*", s.log())[-1] == ": client=localhost[127.0.0.1]", 10, "no trace of gone.test")


main()
