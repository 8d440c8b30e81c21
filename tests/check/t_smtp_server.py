#!/usr/bin/env python3
# smtpd where the recorded dialogues do not go: other settings, time, length, trace and missing header lines, local names.
# timeout: 240
import os
import smtplib
import socket
import ssl
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from dnsd import SMTP_CASES_ZONE, Dnsd
from harness import *
from stack import Stack

_dns = []


def start_stack(name, *conf):
    if not _dns:
        _dns.append(Dnsd(SMTP_CASES_ZONE))
        _dns[0].start()
        at_end(_dns[0].stop)
    s = Stack(tmp(name), users=["u0@example.com", "u1@example.com"], resolver="127.0.0.1:%d" % _dns[0].port,
              extra_conf=["mynetworks = 127.0.0.8/32"] + list(conf))
    s.start()
    at_end(s.stop)
    return s


class Smtp:
    def __init__(self, s, source="127.0.0.1", port="smtp", greeting="220 "):
        self.sock = socket.create_connection(("127.0.0.1", s.ports[port]), timeout=30, source_address=(source, 0))
        self.file = self.sock.makefile("rb")
        self.expect(greeting)

    def reply(self):
        while True:
            line = self.file.readline().decode(errors="replace")
            if not line or line[3:4] != "-":
                return line.rstrip("\r\n")

    def expect(self, *starts):
        for start in starts:
            got = self.reply()
            check(got.startswith(start) and (start or not got), "expected %r, got %r" % (start, got))
        return got

    def send(self, *lines):
        self.sock.sendall("".join(l + "\r\n" for l in lines).encode())

    def say(self, line, *starts):
        self.send(line)
        return self.expect(*starts)


def message(s, address, text, timeout_s=20):
    """The one message of this mailbox that holds text, with LF line ends."""
    found = []

    def look():
        for folder, _, names in os.walk(s.maildir(address)):
            for n in names if os.path.basename(folder) in ("new", "cur") else ():
                with open(os.path.join(folder, n), "rb") as f:
                    data = f.read().replace(b"\r\n", b"\n").decode(errors="replace")
                if text in data:
                    found.append(data)
        return found

    wait_for(look, timeout_s, "a message with %s for %s" % (text, address))
    return found[0]


@case
def restrictions_at_once():
    s = start_stack("a", "smtpd_delay_reject = no", "disable_vrfy_command = no", "smtpd_forbid_bare_newline = reject",
                    "smtpd_client_restrictions = permit_mynetworks, reject_unknown_reverse_client_hostname")
    c = Smtp(s)
    c.say("EHLO mailhost", "550 5.5.2 <mailhost>: Helo command rejected: need fully-qualified hostname")
    c.say("MAIL FROM:<x@remote.test>", "503 5.5.1")
    c.say("EHLO c.remote.test", "250 ")
    c.say("VRFY nobody@example.com", "550 5.1.1")
    c.say("VRFY u0@example.com", "252 2.0.0")
    c.say("MAIL FROM:<x@nx.test>", "550 5.1.8 <x@nx.test>: Sender address rejected: Domain not found")
    c.say("MAIL FROM:<x@tempfail.test>", "250")
    c.say("RCPT TO:<u0@example.com>", "450 4.1.8 <x@tempfail.test>: Sender address rejected: Domain not found")
    c.say("RSET", "250")
    c.send("MAIL FROM:<x@remote.test>", "RCPT TO:<u0@example.com>", "DATA")
    c.expect("250", "250", "354")
    c.sock.sendall(b"Subject: x\n\nbody\r\n.\r\n")
    c.expect("550 5.5.2")
    c.say("QUIT", "221")
    c = Smtp(s, "127.0.0.77", greeting="550 5.7.1 Client host rejected: cannot find your reverse hostname, [127.0.0.77]")
    c.say("EHLO c.remote.test", "503 5.7.0")
    c.say("QUIT", "221")


@case
def local_names_and_trace():
    s = start_stack("b", "smtpd_timeout = 2s", "smtpd_soft_error_limit = 3", "smtpd_error_sleep_time = 2s")
    c = Smtp(s, "127.0.0.8")
    c.say("EHLO c.remote.test", "250 ")
    c.send("MAIL FROM:<x@remote.test>", "RCPT TO:<root@localhost>", "RCPT TO:<daemon+ext@localhost>", "RCPT TO:<nobody-here@localhost>",
           "DATA")
    c.expect("250", "250", "250", "550 5.1.1 <nobody-here@localhost>: Recipient address rejected: User unknown in local recipient table",
             "354")
    c.send("Subject: local-token", "", ".")
    c.expect("250 2.0.0 Ok: queued as ")
    text = message(s, "email1@example.com", "local-token")  # root's alias
    check("\nReceived: from c.remote.test (unknown [127.0.0.8])\n\tby example.com (Postfix) with ESMTP id " in text, text)
    check("\nDate:" not in text and "\nMessage-Id:" not in text, "added to a stranger's message: " + text)
    message(s, "daemon@localhost", "local-token")

    # a silent client, and one that makes errors
    c = Smtp(s)
    began = time.monotonic()
    c.expect("421 4.4.2 example.com Error: timeout exceeded", "")
    check(1.5 < time.monotonic() - began < 8, "time-out after %.1f s" % (time.monotonic() - began))
    c = Smtp(s)
    for _ in range(3):
        c.say("WHAT", "500 5.5.2")
    began = time.monotonic()
    c.say("NOOP", "250")
    check(1.5 < time.monotonic() - began < 8, "the reply after three errors took %.1f s" % (time.monotonic() - began))


@case
def an_alias_that_names_nobody_takes_no_mail():
    s = start_stack("n", "virtual_alias_maps = inline:{ { none@example.com = , }, { null@example.com = <> }, { u0@example.com = <>, u0@example.com } }",
                    "alias_maps = inline:{ { void = , } }", "smtpd_reject_unlisted_recipient = no")
    c = Smtp(s, "127.0.0.8")
    c.say("EHLO c.remote.test", "250 ")
    for to, reply in (("none@example.com", "451 4.3.0 Error: queue file write error"), ("null@example.com", "451 4.3.0"),
                      ("void@localhost", "451 4.3.0"), ("u0@example.com", "250 2.0.0")):
        c.send("MAIL FROM:<x@remote.test>", "RCPT TO:<email1@example.com>", "RCPT TO:<%s>" % to, "DATA")
        c.expect("250", "250", "250", "354")
        c.send("Subject: x", "", ".")
        c.expect(reply)
    check("alias none@example.com leads to no address -- message not accepted" in s.log(), s.log())


@case
def one_copy_for_two_recipients_is_reported_once():
    """An alias with NOTIFY=NEVER and its target: the target's failure is told all the same (RFC 3461)."""
    s = start_stack("o", "virtual_alias_maps = inline:{ { team@example.com = gone@example.com } }", "smtpd_reject_unlisted_recipient = no")
    for n, (team, gone) in enumerate((("NEVER", "FAILURE"), ("NEVER", ""), ("", "NEVER"), ("SUCCESS", ""))):
        c = Smtp(s, "127.0.0.8")
        c.say("EHLO c.remote.test", "250 ")
        c.send("MAIL FROM:<u0@example.com> ENVID=copy-%d." % n, "RCPT TO:<team@example.com>" + (" NOTIFY=" + team if team else ""),
               "RCPT TO:<gone@example.com>" + (" NOTIFY=" + gone if gone else ""), "DATA")
        c.expect("250", "250", "250", "354")
        c.say("Subject: x\r\n\r\n.", "250 2.0.0")
        text = message(s, "u0@example.com", "Original-Envelope-Id: copy-%d." % n)
        check("Final-Recipient: rfc822; gone@example.com" in text and text.count("\nFinal-Recipient:") == 1, text)


@case
def long_lines_are_cut():
    s = start_stack("c")
    c = Smtp(s)
    c.say("EHLO c.remote.test", "250 ")
    c.say("NOOP " + "x" * 100000, "250")
    c.say("MAIL FROM:<%s@remote.test>" % ("x" * 4000), "501 5.1.7")
    c.say("NOOP", "250")


@case
def a_submission_is_made_whole():
    s = start_stack("d", "smtpd_tls_received_header = yes")
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with smtplib.SMTP("127.0.0.1", s.ports["submission"], local_hostname="[127.0.0.1]", timeout=30) as c:
        c.starttls(context=context)
        c.login("u0@example.com", "pass")
        c.sendmail("u0@example.com", ["u1"], "Subject: whole-token\r\nBcc: secret@example.com\r\n\r\nx\r\n")
    text = message(s, "u1@example.com", "whole-token")
    for want in ("Return-Path: <u0@example.com>\n", "Delivered-To: u1@example.com\n", "\nReceived: from [127.0.0.1] (localhost [127.0.0.1])\n"
                 "\t(using TLSv1.3 with cipher ", "\t(No client certificate requested)\n\tby example.com (Postfix) with ESMTPSA id ",
                 "\n\tfor <u1>; ", "\nMessage-Id: <", "\nDate: ", "\nFrom: u0@example.com\n"):
        check(want in text, "%r is not in %s" % (want, text))
    check("Bcc" not in text, text)


@case
def sessions_end_politely():
    s = start_stack("e")
    c = Smtp(s)
    c.say("EHLO c.remote.test", "250 ")
    s.process.popen.terminate()
    c.expect("421 4.3.2", "")


main()
