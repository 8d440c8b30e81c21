#!/usr/bin/env python3
# Addresses on their way in and out: canonical maps, masquerading, copies without duplicates, generic maps towards other hosts. What
# smtpd makes of them is compared with a real Postfix in tests/smtp-beside; here it is the whole way, and a real Postfix's
# generic maps beside ours.
import email
import email.policy
import os
import smtplib
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import beside
from harness import *
from outbound import ME, Sink, World
from refstack import RefStack

ZONE = {"there.test": {"A": ["127.99.0.2"]}, "elsewhere.test": {"A": ["127.99.0.2"]}}

GENERIC = """
email1@example.com outside@public.test
u1@example.com @public.test
ext@example.com extended@public.test
@inside.test @public.test
"a b"@example.com "c d"@public.test
short@example.com tiny
two@example.com first@public.test, second@public.test
named@example.com Some Body <somebody@public.test>
first@chain.test second@chain.test
second@chain.test third@chain.test
name local@public.test
rcpt@there.test ok-mapped@elsewhere.test
quoted@there.test "ok quoted"@there.test
"""
HEADER = """From: "Me, myself" <email1@example.com> (a comment)
Sender: u1@example.com
Reply-To: Friends: ext+tail@example.com, u1+more@example.com;, other@remote.test
To: rcpt@there.test, "a b"@example.com, short@example.com,
\ttwo@example.com, named@example.com, first@chain.test, someone@inside.test, another@inside.test, u9@inside.test
Cc: name, name@example.com, name@localhost, <>, ext@example.com
Resent-From: email1@example.com
Resent-To: untouched@remote.test,
 but folded@remote.test
Errors-To: email1@example.com
X-Other: email1@example.com
Received: from nowhere (email1@example.com) by example.com; Sun, 22 Nov 2026 19:57:55 +0000
Message-Id: <email1@example.com>
Date: Sun, 22 Nov 2026 19:57:55 +0000
Subject: email1@example.com
MIME-Version: 1.0
Content-Type: message/rfc822

From: email1@example.com
To: email1@example.com

email1@example.com
""".replace("\n", "\r\n").encode()


def write(name, text):
    os.makedirs(tmp(name))
    path = os.path.join(tmp(name), "table")
    with open(path, "w", encoding="utf-8") as f:
        f.write(text)
    os.chmod(path, 0o644)
    return path


def header(octets):
    return octets.split(b"\r\n\r\n")[0]


def whose(commands, verb):
    return [c for c in commands if c.startswith(verb)]


def without_trace(octets):
    """From the sender's first line on."""
    return octets[octets.index(b"From: "):]


GENERIC_LINES = ["recipient_delimiter = +", "myorigin = example.com", "mydestination = localhost",
                 "remote_header_rewrite_domain ="]


@case
def generic_maps_as_a_real_postfix_has_them():
    beside.postfix_folder()
    if os.geteuid() != 0:
        skip("a Postfix of its own needs root")
    table = write("g", GENERIC)
    port = free_port()
    lines = GENERIC_LINES + ["local_header_rewrite_clients =", "smtp_generic_maps = texthash:%s" % table]
    rows = [(ME, ["ok@there.test"]), ("ext+tail@example.com", ["rcpt@there.test", "ok@there.test"]), ("", ["quoted@there.test"]),
            ("someone@inside.test", ["ok+x@there.test"]), ("\"a b\"@example.com", ["ok@there.test"]), ("name@example.com", ["ok@there.test"]),
            ("first@chain.test", ["ok@there.test"])]
    got = {}
    with World("p", lines + ["relayhost = [127.99.0.2]:%d" % port], port=port) as w:
        for sender, to in rows:
            w.send(to, HEADER, sender=sender)
            w.got(rows.index((sender, to)) + 1)
        got["ours"] = [(m[0], sorted(m[1]), without_trace(m[2])) for m in w.sink.messages]
        log_text = w.stack.log()
        check("to=<rcpt@there.test>" in log_text and "from=<%s>" % ME in log_text, "the log has the addresses as they are here")
        check("public.test" not in log_text.replace("public.test,", ""), "and none as the others see them")
    sink = Sink(("127.99.0.2", port))
    ref = RefStack(tmp("r"), parts=("postfix",), users=[ME], packed=beside.postfix_folder(), share=[os.path.dirname(table)],
                   main_cf=lines + ["relayhost = [127.99.0.2]:%d" % port, "mynetworks = 127.0.0.0/8", "smtp_tls_security_level = none",
                                    "virtual_mailbox_domains =", "virtual_alias_maps =", "smtpd_recipient_restrictions = permit_mynetworks, reject"])
    try:
        ref.start()
        for sender, to in rows:
            with smtplib.SMTP("127.0.0.1", ref.ports["smtp"], local_hostname="client.example.com", timeout=30) as c:
                c.sendmail(sender, to, HEADER)
            wait_for(lambda: len(sink.messages) > rows.index((sender, to)), 20, "mail by Postfix")
        got["ref"] = [(m[0], sorted(m[1]), without_trace(m[2])) for m in sink.messages]
    finally:
        ref.stop()
        sink.shutdown()
        sink.server_close()
    for ours, theirs in zip(got["ours"], got["ref"]):
        equal(ours[0].split(" ")[1], theirs[0].split(" ")[1], "MAIL")
        equal([t.split(" NOTIFY")[0].split(" ORCPT")[0] for t in ours[1]], [t.split(" ORCPT")[0] for t in theirs[1]], "RCPT")
        equal(ours[2].decode().split("\r\n"), theirs[2].decode().split("\r\n"), "the message")
    equal(len(got["ours"]), len(rows), "messages")


main()
