#!/usr/bin/env python3
# Internationalized domains: U-labels and A-labels are one domain to users, lists, access tables and DNS (RFC 5890, 6531).
# timeout: 120
import os
import socket
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from dnsd import Dnsd
from harness import *
from stack import Stack

U, A = "b\u00fccher.test", "xn--bcher-kva.test"              # hosted; the users' database has the U-label
AU, AA = "stra\u00dfe.test", "xn--strae-oqa.test"            # mydestination has the A-label
SU, SA = "m\u00fcll.test", "xn--mll-hoa.test"                # refused senders; the table has the A-label
FU, FA = "\u4f8b\u3048.test", "xn--r8jz45g.test"             # exists in the DNS only as A-label
USER = "u0@" + U


class Client:
    def __init__(self, s):
        self.sock = socket.create_connection(("127.0.0.1", s.ports["smtp"]), timeout=20)
        self.file = self.sock.makefile("rb")
        self.reply()
        self.say("EHLO c.remote.test", "250")

    def reply(self):
        while True:
            line = self.file.readline().decode(errors="replace")
            if line[3:4] != "-":
                return line

    def say(self, line, start):
        self.sock.sendall(line.encode() + b"\r\n")
        got = self.reply()
        check(got.startswith(start), "%r: expected %r, got %r" % (line, start, got))
        return got

    def send(self, sender, to, token, utf8=True):
        self.say("MAIL FROM:<%s>%s" % (sender, " SMTPUTF8" if utf8 else ""), "250")
        self.say("RCPT TO:<%s>" % to, "250")
        self.say("DATA", "354")
        self.say("Subject: %s\r\n\r\n." % token, "250")


@case
def one_domain_in_two_spellings():
    dns = Dnsd({FA: {"MX": [[10, "mx.remote.test"]]}, "mx.remote.test": {"A": ["127.99.0.7"]}, "remote.test": {"A": ["127.99.0.7"]},
                SA: {"A": ["127.99.0.7"]}})
    dns.start()
    at_end(dns.stop)
    s = Stack(tmp("idn"), users=[USER], domains=[U], resolver="127.0.0.1:%d" % dns.port, extra_conf=[
        "mydestination = localhost, " + AA, "smtpd_delay_reject = no",
        "smtpd_sender_restrictions = check_sender_access hash:%s, reject_unknown_sender_domain" % os.path.join(tmp("map"), "senders")])
    os.makedirs(tmp("map"), exist_ok=True)
    s.configure()
    conf = open(s.main_cf).read()
    table = conf.rsplit("hash:", 1)[1].split(",")[0]
    os.makedirs(os.path.dirname(table), exist_ok=True)
    with open(table, "w") as f:
        f.write("%s REJECT not you\n" % SA)
    s.start()
    at_end(s.stop)
    c = Client(s)
    c.send("x@remote.test", "u0@" + U, "token-u")
    c.send("x@remote.test", "u0@" + A, "token-a", utf8=False)
    c.send("x@remote.test", "U0@XN--BCHER-kva.Test", "token-upper", utf8=False)
    c.send("x@remote.test", "u0+box@B\u00dcCHER.test", "token-umlaut")
    c.send("x@" + FU, "u0@" + A, "token-from")
    c.say("MAIL FROM:<x@%s>" % SA, "554 5.7.1 <x@%s>: Sender address rejected: not you" % SA)
    c.say("MAIL FROM:<x@%s> SMTPUTF8" % SU, "554 5.7.1 <x@%s>: Sender address rejected: not you" % SU)
    c.say("MAIL FROM:<x@nicht-d\u00e4.test> SMTPUTF8", "550 5.1.8")
    c.say("MAIL FROM:<x@remote.test> SMTPUTF8", "250")
    c.say("RCPT TO:<nobody@%s>" % A, "550 5.1.1")
    c.say("RCPT TO:<root@%s>" % AU, "250")
    c.say("RCPT TO:<root@%s>" % AA, "250")
    c.say("RSET", "250")
    c.say("MAIL FROM:<x@remote.test>", "250")
    c.say("RCPT TO:<u0@%s>" % U, "501 5.1.3")  # not without SMTPUTF8
    c.say("QUIT", "221")
    wait_for(lambda: s.count_messages() == 5, 20, "five messages")
    box = s.maildir(USER)
    found = sum(len(names) for folder, _, names in os.walk(box) if os.path.basename(folder) in ("new", "cur"))
    equal(found, 5, "messages in the one mailbox of both spellings, %s" % box)


main()
