#!/usr/bin/env python3
# DNS lists (block lists, lists by name, lists that permit), client and HELO names: zones of tests/lib/dnsd.py.
# timeout: 180
import os
import socket
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from dnsd import SMTP_CASES_ZONE, Dnsd
from harness import *
from stack import Stack

ZONE = dict(SMTP_CASES_ZONE)
ZONE.update({
    "20.0.0.127.bl.test": {"A": ["127.0.0.2"], "TXT": ["see https://bl.test/20", "since \xe9 yesterday"]},
    "21.0.0.127.bl.test": {"A": ["127.0.0.11"]},
    "22.0.0.127.bl.test": {"A": ["127.255.255.254"]},
    "22.0.0.127.any.test": {"A": ["127.255.255.252"]},
    "23.0.0.127.any.test": {"A": ["192.0.2.1"]},
    "24.0.0.127.bl.test": {"A": ["127.255.255.255", "127.0.0.4"]},
    "25.0.0.127.any.test": {"A": ["127.0.0.77"], "TXT": ["reason"]},
    "26.0.0.127.own.test": {"A": ["127.0.0.3"]},
    "27.0.0.127.own.test": {"A": ["127.0.0.4"]},
    "28.0.0.127.dull.test": {"A": ["127.0.0.2"]},
    "30.0.0.127.bl.test": {"A": ["127.0.0.2"]}, "30.0.0.127.wl.test": {"A": ["127.0.9.2"]},
    "31.0.0.127.bl.test": {"A": ["127.0.0.2"]}, "31.0.0.127.wl.test": {"A": ["127.0.9.4"]},
    "dead.test": "SERVFAIL",
    "spam.test": {"A": ["127.99.0.9"], "MX": [[10, "spam.test"]]},
    "spam.test.rhs.test": {"A": ["127.0.1.2"], "TXT": ["a name of ill repute"]},
    "example.com.rcpt.test": {"A": ["127.0.1.9"]},
    "40.0.0.127.in-addr.arpa": {"PTR": ["good.test"]}, "good.test": {"A": ["127.0.0.40"]},
    "41.0.0.127.in-addr.arpa": {"PTR": ["forged.test"]}, "forged.test": {"A": ["127.0.0.99"]},
    "42.0.0.127.in-addr.arpa": "SERVFAIL",
    "43.0.0.127.in-addr.arpa": {"PTR": ["c.dead.test"]},
    "forged.test.rev.test": {"A": ["127.0.0.2"]}, "good.test.name.test": {"A": ["127.0.0.2"]},
    "null.test": {"MX": [[0, ""]]},
    "slow.test": "TIMEOUT",
})
dns = Dnsd(ZONE)
dns.start()


def start_stack(name, *conf):
    s = Stack(tmp(name), users=["u0@example.com", "u1@example.com"], resolver="127.0.0.1:%d" % dns.port,
              extra_conf=["mynetworks = 127.0.0.8/32"] + list(conf))
    s.start()
    at_end(s.stop)
    return s


class Smtp:
    def __init__(self, s, last_octet, port="smtp", helo="client.remote.test", sender="x@remote.test"):
        self.sock = socket.create_connection(("127.0.0.1", s.ports[port]), timeout=30,
                                             source_address=("127.0.0.%d" % last_octet, 0))
        self.file = self.sock.makefile("rb")
        self.greeting = self.reply()
        if helo:
            self.helo = self.say("EHLO " + helo)
            self.mail = self.say("MAIL FROM:<%s>" % sender)

    def reply(self):
        while True:
            line = self.file.readline().decode(errors="replace")
            if not line or line[3:4] != "-":
                return line.rstrip("\r\n")

    def say(self, line):
        self.sock.sendall(line.encode() + b"\r\n")
        return self.reply()


def rcpt(s, last_octet, to="u0@example.com", **more):
    c = Smtp(s, last_octet, **more)
    out = c.say("RCPT TO:<%s>" % to)
    c.say("QUIT")
    return out


def logged(s, *texts):
    for t in texts:
        wait_for(lambda: t in s.log(), 5, "the log line %r in\n%s" % (t, s.log()[-3000:]))


@case
def block_lists():
    maps = tmp("replies")
    with open(maps, "w") as f:
        f.write("own.test\t$rbl_code 5.1.2 $client_address $rbl_what $helo_name${rbl_reason?{yes}:{no}} $sender_domain $recipient_name\n"
                "own.test=127.0.0.4\t450 try later ${nothing}\n"
                "dull.test\tnothing to say\n")
    s = start_stack("a", "smtpd_recipient_restrictions = reject_unauth_destination, permit_dnswl_client wl.test=127.0.[9;10].[1..3],"
                    " reject_rbl_client bl.test=127.0.0.[2..10], reject_rbl_client dead.test, reject_rbl any.test,"
                    " reject_rbl_client own.test=127.0.0.3, reject_rbl_client own.test=127.0.0.4, reject_rbl_client dull.test",
                    "rbl_reply_maps = texthash:" + maps, "maps_rbl_reject_code = 551")
    equal(rcpt(s, 20), "551 5.7.1 Service unavailable; Client host [127.0.0.20] blocked using bl.test; "
                       "see https://bl.test/20 / since __ yesterday")
    equal(rcpt(s, 21), "250 2.1.5 Ok", "an answer past the filter")
    equal(rcpt(s, 22), "250 2.1.5 Ok", "a list that refuses the question")
    logged(s, "warning: 22.0.0.127.bl.test: RBL answer 127.255.255.254 is no listing: the list refuses questions from public",
           "22.0.0.127.any.test: RBL answer 127.255.255.252 is no listing")
    equal(rcpt(s, 23), "250 2.1.5 Ok", "an answer that no list gives")
    logged(s, "23.0.0.127.any.test: RBL answer 192.0.2.1 is no listing")
    check(rcpt(s, 24).startswith("551 5.7.1 Service"), "a listing beside an error")
    equal(rcpt(s, 25), "551 5.7.1 Service unavailable; Client host [127.0.0.25] blocked using any.test; reason")
    equal(rcpt(s, 26), "551 5.0.0 127.0.0.26 127.0.0.26 client.remote.testno remote.test u0", "a list's own reply")
    equal(rcpt(s, 27), "551 5.7.1 Service unavailable; Client host [127.0.0.27] blocked using own.test", "a bad template")
    logged(s, 'bad rbl reply template for domain own.test: 450 try later ${nothing} (unknown macro name "nothing")')
    equal(rcpt(s, 28), "450 4.7.1 Service unavailable", "a template without a code")
    logged(s, "rbl response code configuration error: nothing to say",
           "reject: RCPT from unknown[127.0.0.20]: 551 5.7.1 Service unavailable; Client host [127.0.0.20] blocked using bl.test;",
           "warning: 29.0.0.127.dead.test: RBL lookup error: " if rcpt(s, 29) == "250 2.1.5 Ok" else "refused because a list is down")
    equal(rcpt(s, 30), "250 2.1.5 Ok", "permitted by a list")
    check(rcpt(s, 31).startswith("551 "), "another answer of that list")
    # one session, many recipients: one question
    dns.queries.clear()
    c = Smtp(s, 51)
    for i in range(5):
        equal(c.say("RCPT TO:<u%d@example.com>" % (i % 2)), "250 2.1.5 Ok")
    for zone in ("bl.test", "dead.test", "any.test"):
        asked = [q for q in dns.queries if q == ("51.0.0.127." + zone, "A")]
        check(0 < len(asked) <= 2, "%s was asked %d times" % (zone, len(asked)))  # two: c-ares tries a failing one again


@case
def lists_by_name():
    s = start_stack("b", "smtpd_helo_restrictions =", "smtpd_client_restrictions = reject_rhsbl_client name.test,"
                    " reject_rhsbl_reverse_client rev.test",
                    "smtpd_sender_restrictions = reject_rhsbl_helo rhs.test, reject_rhsbl_sender rhs.test",
                    "smtpd_recipient_restrictions = reject_unauth_destination, reject_rhsbl_recipient rcpt.test=127.0.1.8")
    equal(rcpt(s, 40), "554 5.7.1 Service unavailable; Client host [good.test] blocked using name.test")
    equal(rcpt(s, 41), "554 5.7.1 Service unavailable; Unverified Client host [forged.test] blocked using rev.test")
    equal(rcpt(s, 50, helo="spam.test"),
          "554 5.7.1 Service unavailable; Helo command [spam.test] blocked using rhs.test; a name of ill repute")
    equal(rcpt(s, 50, sender="who@spam.test"),
          "554 5.7.1 Service unavailable; Sender address [who@spam.test] blocked using rhs.test; a name of ill repute")
    equal(rcpt(s, 50, helo="[127.0.0.1]"), "250 2.1.5 Ok")
    check(("example.com.rcpt.test", "A") in dns.queries, "the recipient's domain was asked for")
    dns.queries.clear()
    equal(rcpt(s, 50, helo="127.0.0.50", sender=""), "250 2.1.5 Ok", "the null sender, a number for a name")
    equal([q for q in dns.queries if q[0].endswith("rhs.test")], [], "questions about addresses to a list of names")
    # more names than are kept for a session
    c = Smtp(s, 50)
    for i in list(range(70)) + [0, 69, None]:
        for line in ("EHLO %s" % ("spam.test" if i is None else "h%d.remote.test" % i), "MAIL FROM:<x@remote.test>"):
            c.say(line)
        check(c.say("RCPT TO:<u0@example.com>").startswith("554 5.7.1" if i is None else "250"), "name %s" % i)


@case
def lists_that_permit():
    s = start_stack("c", "smtpd_relay_restrictions = reject_unauth_destination",
                    "smtpd_recipient_restrictions = permit_dnswl_client wl.test, permit_rhswl_client name.test,"
                    " permit_dnswl_client dead.test, reject",
                    "smtpd_client_restrictions = permit_dnswl_client wl.test")
    equal(rcpt(s, 30), "250 2.1.5 Ok")
    equal(rcpt(s, 40), "250 2.1.5 Ok")
    equal(rcpt(s, 50), "450 4.7.1 <127.0.0.50>: Client host rejected: Service unavailable", "nobody knows: no refusal for good")
    s = start_stack("c2", "smtpd_relay_restrictions = permit", "smtpd_recipient_restrictions = permit_dnswl_client wl.test,"
                    " reject_unauth_destination")
    equal(rcpt(s, 30, "x@remote.test"), "554 5.7.1 <x@remote.test>: Relay access denied", "a list opens no relay")


@case
def silent_lists():
    for zone in ("slow2.test", "slow3.test"):
        dns.update(zone, "TIMEOUT")
    s = start_stack("d", "maps_rbl_domains = any.test=127.0.0.77, any.test=127.0.0.78",
                    "smtpd_recipient_restrictions = reject_unauth_destination, reject_maps_rbl, reject_rbl_client slow.test,"
                    " reject_rbl_client slow2.test, reject_rbl_client slow3.test, reject_rbl_client bl.test=127.0.0.2")
    check(rcpt(s, 25).startswith("554 5.7.1 Service unavailable; Client host [127.0.0.25] blocked using any.test; reason"), "old form")
    c = Smtp(s, 20)
    began = time.monotonic()
    check(c.say("RCPT TO:<u0@example.com>").startswith("554 5.7.1"), "the last list's verdict")
    # about ten seconds each, were they asked one after the other
    check(time.monotonic() - began < 18, "three silent lists took %.1f s" % (time.monotonic() - began))
    began = time.monotonic()
    check(c.say("RCPT TO:<u1@example.com>").startswith("554 5.7.1"), "again")
    check(time.monotonic() - began < 2, "the second recipient waits no more")
    for zone in ("slow", "slow2", "slow3"):
        equal(s.log().count("20.0.0.127.%s.test: RBL lookup error" % zone), 1, "warnings about " + zone)


@case
def client_and_helo_names():
    s = start_stack("e", "smtpd_delay_reject = no", "unknown_client_reject_code = 553",
                    "smtpd_client_restrictions = warn_if_reject reject_unknown_reverse_client_hostname, reject_unknown_client_hostname",
                    "smtpd_helo_restrictions = reject_unknown_helo_hostname", "unknown_hostname_reject_code = 551")
    for last, want, reverse in (
            (40, "220 ", None),
            (41, "553 5.7.25 Client host rejected: cannot find your hostname, [127.0.0.41]", None),
            (42, "450 4.7.25 Client host rejected: cannot find your hostname, [127.0.0.42]", "450 4.7.1"),
            (43, "450 4.7.25 Client host rejected: cannot find your hostname, [127.0.0.43]", None),
            (44, "553 5.7.25 Client host rejected: cannot find your hostname, [127.0.0.44]", "553 5.7.1")):
        greeting = Smtp(s, last, helo=None).greeting
        check(greeting.startswith(want), "127.0.0.%d: %s" % (last, greeting))
        warning = "reject_warning: CONNECT from unknown[127.0.0.%d]: %s Client host rejected: cannot find your reverse hostname, [127.0.0.%d]"
        if reverse:
            logged(s, warning % (last, reverse, last))
        else:
            check("cannot find your reverse hostname, [127.0.0.%d]" % last not in s.log(), "127.0.0.%d has a reverse name" % last)
    logged(s, "warning: hostname forged.test does not resolve to address 127.0.0.41",
           "hostname c.dead.test does not resolve to address 127.0.0.43: Temporary failure in name resolution")
    c = Smtp(s, 40, helo=None)
    equal(c.say("EHLO nothing.nx.test"), "551 5.7.1 <nothing.nx.test>: Helo command rejected: Host not found")
    equal(c.say("EHLO [127.0.0.300]"), "550 5.5.2 <[127.0.0.300]>: Helo command rejected: invalid ip address")
    check(c.say("EHLO null.test").startswith("250"), "a name with a null MX is a name")
    check(c.say("EHLO x.dead.test").startswith("250"), "trouble is put off")
    c.say("MAIL FROM:<x@remote.test>")
    equal(c.say("RCPT TO:<u0@example.com>"), "450 4.7.1 <x.dead.test>: Helo command rejected: Host not found")


@case
def tempfail_actions():
    s = start_stack("f", "smtpd_sender_restrictions = reject_unknown_sender_domain", "reject_tempfail_action = defer",
                    "smtpd_helo_restrictions = reject_unknown_helo_hostname", "smtpd_delay_reject = no",
                    "unknown_helo_hostname_tempfail_action = defer_if_permit", "plaintext_reject_code = 530",
                    "smtpd_data_restrictions = reject_plaintext_session")
    c = Smtp(s, 40, helo=None)
    check(c.say("EHLO good.test").startswith("250"), "EHLO")
    equal(c.say("MAIL FROM:<x@dead.test>"), "450 4.1.8 <x@dead.test>: Sender address rejected: Domain not found")
    check(c.say("EHLO y.dead.test").startswith("250"), "its own action")
    check(c.say("EHLO good.test").startswith("250"), "EHLO")
    c.say("MAIL FROM:<x@remote.test>")
    equal(c.say("RCPT TO:<u0@example.com>"), "250 2.1.5 Ok")
    equal(c.say("DATA"), "530 5.7.1 Session encryption is required")


@case
def what_check_says():
    s = Stack(tmp("g"), users=[], extra_conf=[
        "smtpd_restriction_classes = lists", "lists = reject_rhsbl_sender dbl.test",
        "smtpd_recipient_restrictions = permit_sasl_authenticated, reject_unauth_destination, lists,",
        "  reject_rbl_client zen.test=127.0.0.[2..11]",
        "dns_resolvers = 127.0.0.1, 9.9.9.9:53"])
    s.configure()
    text = s.postern("check", ok=False).stderr.decode() + s.postern("check", ok=False).stdout.decode()
    lines = open(s.main_cf).read().split("\n")
    at = [i + 1 for i, line in enumerate(lines) if line.startswith("smtpd_recipient_restrictions = permit_sasl")][0]
    for want in (":%d: warning: smtpd_recipient_restrictions: reject_rbl_client zen.test=127.0.0.[2..11] is asked through the public resolver"
                 " 9.9.9.9:53 (dns_resolvers)" % at, "lists: reject_rhsbl_sender dbl.test is asked through"):
        equal(text.count(want), 1, "%r in\n%s\n" % (want, text))
    for bad, why in (("reject_rbl_client zen.test=127.0.0", "pattern of answers"), ("reject_rbl_client", "argument"),
                     ("permit_dnswl_client a..b", "no domain name")):
        with open(s.main_cf, "a") as f:
            f.write("smtpd_recipient_restrictions = reject_unauth_destination, %s\n" % bad)
        r = s.postern("check", ok=False)
        check(r.returncode == 78 and why in (r.stdout + r.stderr).decode(), "%s: %s" % (bad, r.stdout + r.stderr))
    with open(s.main_cf, "a") as f:
        f.write("smtpd_recipient_restrictions = reject_unauth_destination\nmaps_rbl_domains = old.test=127.0.0.[2\n")
    r = s.postern("check", ok=False)
    check(r.returncode == 78 and "error: maps_rbl_domains: " in (r.stdout + r.stderr).decode(), "%s" % (r.stdout + r.stderr))


main()
