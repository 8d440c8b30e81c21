#!/usr/bin/env python3
# Who may send as whom: the submission listeners' own rule, submission_sender_login_maps, and Postfix's restrictions.
# timeout: 120
import base64
import os
import socket
import ssl
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from dnsd import SMTP_CASES_ZONE, Dnsd
from harness import *
from stack import Stack

dns = Dnsd(SMTP_CASES_ZONE)
dns.start()
context = ssl.create_default_context()
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
USERS = ["u%d@example.com" % i for i in range(3)] + ["u0-box@example.com"]
ALIASES = {"sales@example.com": ["team@example.com"], "team@example.com": ["u0@example.com", "u1+team@example.com"],
           "round1@example.com": ["round2@example.com"], "round2@example.com": ["round1@example.com"],
           "@catch.test": ["u0@example.com"], "named@catch.test": ["u1@example.com"], "@moved.test": ["@example.com"],
           "away@example.com": ["u0@remote.test"], "u0+shop@example.com": ["u1@example.com"]}


def start_stack(name, *conf):
    s = Stack(tmp(name), users=USERS, aliases=ALIASES, domains=["catch.test", "moved.test"],
              resolver="127.0.0.1:%d" % dns.port, extra_conf=["mynetworks = 127.0.0.8/32"] + list(conf))
    s.start()
    at_end(s.stop)
    return s


class Smtp:
    """Logged in as user, or not; RCPT's reply is the answer."""

    def __init__(self, s, user=None, port="submissions", source="127.0.0.1"):
        self.sock = socket.create_connection(("127.0.0.1", s.ports[port]), timeout=30, source_address=(source, 0))
        if port == "submissions":
            self.sock = context.wrap_socket(self.sock)
        self.file = self.sock.makefile("rb")
        self.reply()
        self.say("EHLO client.remote.test")
        if port != "submissions" and user:
            self.say("STARTTLS")
            self.sock = context.wrap_socket(self.sock)
            self.file = self.sock.makefile("rb")
            self.say("EHLO client.remote.test")
        if user:
            equal(self.say("AUTH PLAIN " + base64.b64encode(b"\0" + user.encode() + b"\0pass").decode())[:3], "235", "login")

    def reply(self):
        while True:
            line = self.file.readline().decode(errors="replace")
            if not line or line[3:4] != "-":
                return line.rstrip("\r\n")

    def say(self, line):
        self.sock.sendall(line.encode() + b"\r\n")
        return self.reply()

    def sends_as(self, sender, to="u2@example.com"):
        """The first refusal, or "ok"."""
        for line in ("MAIL FROM:<%s>" % sender, "RCPT TO:<%s>" % to):
            got = self.say(line)
            if not got.startswith("250"):
                self.say("RSET")
                return got
        self.say("RSET")
        return "ok"


def not_owned(sender, user):
    return "553 5.7.1 <%s>: Sender address rejected: not owned by user %s" % (sender, user)


@case
def own_addresses_and_aliases():
    s = start_stack("a")
    u0, u1 = Smtp(s, "u0@example.com"), Smtp(s, "u1@example.com", port="submission")
    for sender in ("u0@example.com", "U0@Example.COM", "u0+news@example.com", "u0", "team@example.com", "sales@example.com",
                   "sales+x@example.com", "anything@catch.test", "u0@moved.test", "", "who@remote.test"):
        equal(u0.sends_as(sender), "ok", "u0 as <%s>" % sender)
    for sender in ("u1@example.com", "u1+x@example.com", "named@catch.test", "nobody@example.com", "round1@example.com",
                   "away@example.com", "u1@moved.test", "u1", "email1@example.com", "u0+shop@example.com"):
        equal(u0.sends_as(sender), not_owned(sender, "u0@example.com"), "u0 as <%s>" % sender)
    for sender in ("u1@example.com", "team@example.com", "sales@example.com", "named@catch.test", "u0+shop@example.com"):
        equal(u1.sends_as(sender), "ok", "u1 as <%s>" % sender)
    equal(u1.sends_as("other@catch.test"), not_owned("other@catch.test", "u1@example.com"))
    text = "sender <other@catch.test> is neither the login name u1@example.com nor an alias that leads to it: add such an alias, " \
           "or set submission_sender_login_maps"
    wait_for(lambda: text in s.log(), 5, text + " in the log")
    check("reject: RCPT from localhost[127.0.0.1]: 553 5.7.1 <other@catch.test>: Sender address rejected: not owned by user"
          " u1@example.com; from=<other@catch.test> to=<u2@example.com> proto=ESMTP" in s.log(), s.log()[-2000:])
    s.postern("alias", "add", "other@catch.test", "u1@example.com")
    wait_for(lambda: u1.sends_as("other@catch.test") == "ok", 5, "what the log line says to do to have helped")
    equal(Smtp(s, port="smtp").sends_as("u1@example.com"), "ok", "port 25 has no such rule")
    equal(Smtp(s, "u0@example.com", port="smtp").sends_as("u1@example.com"), "ok", "port 25 has no such rule for logins either")


@case
def turned_off_and_replaced():
    maps = tmp("owners")
    with open(maps, "w") as f:
        f.write("boss@example.com\tu0@example.com, U2@example.com\n@catch.test\tu1@example.com\nu0@example.com u0@example.com\n"
                "partner@remote.test\tu1@example.com\n")
    s = start_stack("b", "submission_sender_login_maps =", "submissions_sender_login_maps = texthash:" + maps)
    equal(Smtp(s, "u0@example.com", port="submission").sends_as("u1@example.com"), "ok", "turned off")
    for user, sender, want in (("u0", "boss@example.com", True), ("u2", "boss@example.com", True), ("u1", "boss@example.com", False),
                               ("u1", "x@catch.test", True), ("u0", "x@catch.test", False), ("u0", "u0+x@example.com", True),
                               ("u1", "u1@example.com", False), ("u1", "partner@remote.test", True), ("u0", "who@remote.test", False),
                               ("u0", "", True)):
        user += "@example.com"
        equal(Smtp(s, user).sends_as(sender), "ok" if want else not_owned(sender, user), "%s as <%s>" % (user, sender))
    s = start_stack("b3", "recipient_delimiter = +-", "virtual_alias_maps =")
    for sender, want in (("u0-x@example.com", "ok"), ("u0-box@example.com", not_owned("u0-box@example.com", "u0@example.com"))):
        equal(Smtp(s, "u0@example.com").sends_as(sender), want, "a user of an extended name, and none")
    s = start_stack("b2", "smtpd_delay_reject = no", "submission_client_restrictions =", "submissions_client_restrictions =",
                    "submission_sender_login_maps = texthash:" + tmp("absent"))
    equal(Smtp(s, "u0@example.com", port="submission").say("MAIL FROM:<u0@example.com>"),
          "451 4.3.0 <u0@example.com>: Temporary lookup failure")
    equal(Smtp(s, "u0@example.com").say("MAIL FROM:<u1@example.com>"), not_owned("u1@example.com", "u0@example.com"), "at MAIL")


@case
def postfix_restrictions():
    maps = tmp("owners2")
    with open(maps, "w") as f:
        f.write("u0@example.com\tu0@example.com\nu1@example.com\tu1@example.com\n")
    both = ["smtpd_sender_login_maps = texthash:" + maps, "smtpd_client_restrictions =", "submissions_client_restrictions ="]
    not_logged_in = "553 5.7.1 <u1@example.com>: Sender address rejected: not logged in"
    theirs = not_owned("u1@example.com", "u0@example.com")
    for k, (verb, stranger, other, unknown) in enumerate((
            ("reject_sender_login_mismatch", not_logged_in, theirs, not_owned("u2@example.com", "u0@example.com")),
            ("reject_authenticated_sender_login_mismatch", "ok", theirs, not_owned("u2@example.com", "u0@example.com")),
            ("reject_unauthenticated_sender_login_mismatch", not_logged_in, "ok", "ok"),
            ("reject_known_sender_login_mismatch", not_logged_in, theirs, "ok"))):
        s = start_stack("c%d" % k, "smtpd_sender_restrictions = " + verb, *both)
        equal(Smtp(s, port="smtp").sends_as("u1@example.com"), stranger, verb + ", a stranger")
        equal(Smtp(s, port="smtp").sends_as("u2@example.com"), "ok", verb + ", a stranger as nobody's address")
        for port in ("smtp", "submissions"):
            equal(Smtp(s, "u0@example.com", port=port).sends_as("u1@example.com"), other, "%s, another's, %s" % (verb, port))
            equal(Smtp(s, "u0@example.com", port=port).sends_as("u0@example.com"), "ok", verb + ", own, " + port)
            equal(Smtp(s, "u0@example.com", port=port).sends_as("u2@example.com"), unknown, "%s, nobody's, %s" % (verb, port))


main()
