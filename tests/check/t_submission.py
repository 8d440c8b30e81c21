#!/usr/bin/env python3
# What becomes of a message between the client and the mailbox: headers completed for whom they should be, the client
# hidden, and what access tables wish for (access(5): PREPEND, BCC, REDIRECT, DISCARD, HOLD).
# timeout: 120
import os
import re
import smtplib
import ssl
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from dnsd import SMTP_CASES_ZONE, Dnsd
from harness import *
from stack import Stack

ACCESS = """pre@remote.test PREPEND X-Pre: one
bcc@remote.test BCC all@example.com
redir@remote.test REDIRECT u2@example.com
disc@remote.test DISCARD be gone
hold@remote.test HOLD wait a little
"""
BARE = "Subject: %s\r\nTo: u1, Second <u2>\r\nCc: x@host\r\n\r\nbody\r\n"
_stack = []


def stack():
    if not _stack:
        dns = Dnsd(SMTP_CASES_ZONE)
        dns.start()
        at_end(dns.stop)
        s = Stack(tmp("s"), users=["u0@example.com", "u1@example.com", "u2@example.com"], resolver="127.0.0.1:%d" % dns.port)
        s.extra_conf = ["mynetworks = 127.0.0.7/32", "smtpd_sender_restrictions = check_sender_access hash:%s" % s.path("access"),
                        "local_header_rewrite_clients = permit_mynetworks, check_address_map hash:%s" % s.path("clients"),
                        "append_dot_mydomain = yes", "message_drop_headers = bcc, x-secret",
                        "submission_sasl_authenticated_header = yes", "submissions_hide_client_session = yes",
                        "smtpd_tls_received_header = yes", "undisclosed_recipients_header = To: undisclosed-recipients:;"]
        s.configure()
        with open(s.path("access"), "w") as f:
            f.write(ACCESS)
        with open(s.path("clients"), "w") as f:
            f.write("127.0.0.9 any\n")
        s.start()
        at_end(s.stop)
        _stack.append(s)
    return _stack[0]


def copies(user, token):
    found = []
    for folder, _, names in os.walk(stack().maildir(user)):
        for n in names if os.path.basename(folder) in ("new", "cur") else ():
            with open(os.path.join(folder, n), "rb") as f:
                text = f.read().replace(b"\r\n", b"\n").decode()
            if "\nSubject: %s\n" % token in text:
                found.append(text)
    return found


def copy(user, token):
    wait_for(lambda: copies(user, token), 20, "%s for %s" % (token, user))
    return copies(user, token)[0]


def as_client(source, sender, to, text):
    c = smtplib.SMTP("127.0.0.1", stack().ports["smtp"], source_address=(source, 0), local_hostname="c.remote.test")
    c.sendmail(sender, to, text)
    c.quit()


def as_user(service, text, to=("u1@example.com",)):
    context = ssl._create_unverified_context()
    if service == "submissions":
        c = smtplib.SMTP_SSL("127.0.0.1", stack().ports[service], context=context, local_hostname="laptop.home")
    else:
        c = smtplib.SMTP("127.0.0.1", stack().ports[service], local_hostname="laptop.home")
        c.starttls(context=context)
    c.login("u0@example.com", "pass")
    c.sendmail("u0@example.com", list(to), text)
    c.quit()


def check_completed(text, sender):
    check("\nTo: u1@example.com, Second <u2@example.com>\nCc: x@host.example.com\n" in text, text)
    check(re.search(r"\nMessage-Id: <\d{14}\.\w+@example\.com>\n", text), text)
    check(re.search(r"\nDate: \w{3}, [ \d]\d \w{3} \d{4} [\d:]{8} [+-]\d{4} \(\w+\)\n", text), text)
    check("\nFrom: %s\n" % sender in text, text)


@case
def users_headers_are_completed():
    as_user("submission", BARE % "by-587")
    text = copy("u1@example.com", "by-587")
    check_completed(text, "u0@example.com")
    check(re.search(r"Received: from laptop\.home \(localhost \[127\.0\.0\.1\]\)\n\t\(using TLSv1\.3 with cipher \S+ \(256/256 bits\)\n"
                    r"\t key-exchange X25519 server-signature ECDSA \(prime256v1\) server-digest SHA256\)\n\t\(No client certificate requested\)\n\t\(Authenticated sender: u0@example\.com\)\n"
                    r"\tby example\.com \(Postfix\) with ESMTPSA id \w+\n\tfor <u1@example\.com>; ", text), text)
    as_user("submissions", BARE % "by-465", ("u1@example.com", "u2@example.com"))
    text = copy("u1@example.com", "by-465")
    check_completed(text, "u0@example.com")
    trace = re.search(r"(?m)^Received: (?:.*\n[ \t])*.*laptop", text)
    check(trace is None and "127.0.0.1" not in text.split("\nSubject")[0].split("Received:", 2)[-1], "the client shows: " + text)
    check(re.search(r"Received: by example\.com \(Postfix\) id \w+;\n\t\w{3}, ", text), text)
    as_user("submissions", "Subject: whole\r\nFrom: \"A, B\" <u0@example.com>\r\nDate: d\r\nMessage-ID: <m@x>\r\nTo:   odd@x.test ,  b@c.test\r\n"
            "X-Secret: y\r\nBcc: u2\r\n\r\nb")
    text = copy("u1@example.com", "whole")
    check("\nSubject: whole\nFrom: \"A, B\" <u0@example.com>\nDate: d\nMessage-ID: <m@x>\nTo:   odd@x.test ,  b@c.test\n\nb" in text, text)


@case
def others_headers_are_not():
    as_client("127.0.0.1", "x@remote.test", ["u1@example.com"], BARE % "stranger")
    text = copy("u1@example.com", "stranger")
    check("\nSubject: stranger\nTo: u1, Second <u2>\nCc: x@host\n\nbody\n" in text, text)
    as_client("127.0.0.9", "x@remote.test", ["u1@example.com"], BARE % "listed")
    check_completed(copy("u1@example.com", "listed"), "x@remote.test")
    as_client("127.0.0.7", "", ["u1@example.com"], BARE % "network")
    check_completed(copy("u1@example.com", "network"), "MAILER-DAEMON")
    as_client("127.0.0.7", "x@remote.test", ["u1@example.com"], "Subject: to-nobody\r\n\r\n")
    check("\nTo: undisclosed-recipients:;\n\n" in copy("u1@example.com", "to-nobody"), copy("u1@example.com", "to-nobody"))


@case
def wishes_of_an_access_table():
    text = "Subject: %s\r\n\r\nbody\r\n"
    as_client("127.0.0.1", "pre@remote.test", ["u1@example.com"], text % "prepended")
    got = copy("u1@example.com", "prepended")
    check(re.search(r"(?m)^X-Pre: one\nReceived: from c\.remote\.test", got), got)
    as_client("127.0.0.1", "bcc@remote.test", ["u0@example.com", "u2@example.com"], text % "copied")
    for user in ("u0@example.com", "u1@example.com", "u2@example.com"):  # all@ is u0, u1, u2
        copy(user, "copied")
    as_client("127.0.0.1", "redir@remote.test", ["u0@example.com", "u1@example.com"], text % "redirected")
    copy("u2@example.com", "redirected")
    as_client("127.0.0.1", "disc@remote.test", ["u0@example.com"], text % "discarded")
    as_client("127.0.0.1", "hold@remote.test", ["u0@example.com"], text % "held")
    as_client("127.0.0.1", "x@remote.test", ["u0@example.com"], text % "last")
    copy("u0@example.com", "last")
    log = stack().log()
    for user in ("u0@example.com", "u1@example.com", "u2@example.com"):
        equal(len(copies(user, "copied")), 1, "copies for " + user)
        equal(len(copies(user, "redirected")), int(user == "u2@example.com"), "redirected for " + user)
        equal(len(copies(user, "discarded")) + len(copies(user, "held")), 0, "discarded or held for " + user)
    for line in ("discard: RCPT from localhost[127.0.0.1]: <disc@remote.test>: Sender address be gone; ",
                 "hold: RCPT from localhost[127.0.0.1]: <hold@remote.test>: Sender address wait a little; ",
                 "redirect: RCPT from localhost[127.0.0.1]: <redir@remote.test>: Sender address triggers REDIRECT u2@example.com; ",
                 "bcc: RCPT from localhost[127.0.0.1]: <bcc@remote.test>: Sender address triggers BCC all@example.com; "):
        check(line in log, "not in the log: " + line)
    queue = stack().postern("queue", "list")
    equal(queue.count("hold@remote.test"), 1, "held in the queue: " + queue)
    stack().postern("queue", "release", re.search(r"(?m)^(\w+) +hold ", queue).group(1))
    copy("u0@example.com", "held")


main()
