#!/usr/bin/env python3
# Addresses on their way in and out: canonical maps, masquerading, copies without duplicates, generic maps towards other hosts. What
# smtpd makes of them is compared with a real Postfix in tests/smtp-beside; here it is the whole way, and a real Postfix's
# generic maps beside ours.
import email
import email.policy
import os
import signal
import smtplib
import socket
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


# --------------------------------------------------------------------------------------------------- the whole way


def delivered(w, user, n, timeout_s=20):
    """The n messages that a user's INBOX has."""
    where = os.path.join(w.stack.maildir(user), "new")
    wait_for(lambda: os.path.isdir(where) and len(os.listdir(where)) >= n, timeout_s, "%d messages for %s" % (n, user))
    time.sleep(0.3)  # one too many would come as quickly
    names = sorted(os.listdir(where))
    equal(len(names), n, "messages for " + user)
    out = []
    for name in names:
        with open(os.path.join(where, name), "rb") as f:
            out.append(email.message_from_bytes(f.read(), policy=email.policy.default))
    return out


MAPS = {
    "canonical": "first.last@example.com email1@example.com\nold@there.test ok-new@there.test\n",
    "hide": "email1@example.com First.Last@example.com\n",
    "sbcc": "email1@example.com email2@example.com\nFirst.Last@example.com email2@example.com\n",
    "rbcc": "email2@example.com email1@example.com\nok-new@there.test email2@example.com\n@copies.test ok-copy@there.test\n",
    "generic": "email1@example.com outside@public.test\n@example.com @public.test\n",
}


def tables(name):
    d = tmp(name)
    os.makedirs(d)
    for k, v in MAPS.items():
        with open(os.path.join(d, k), "w", encoding="utf-8") as f:
            f.write(v)
        os.chmod(os.path.join(d, k), 0o644)
    return d


@case
def copies_go_to_nobody_twice():
    t = tables("t1")
    lines = ["always_bcc = email2@example.com", "sender_bcc_maps = texthash:%s/sbcc" % t, "recipient_bcc_maps = texthash:%s/rbcc" % t,
             "recipient_canonical_maps = texthash:%s/canonical" % t, "recipient_delimiter = +"]
    with World("c", lines, zone=ZONE) as w:
        # email2 is a recipient, wanted by always_bcc and by sender_bcc_maps; its own recipient_bcc_maps entry is email1
        w.send(["email2@example.com"], "Subject: one\r\n\r\n1\r\n")
        equal([m["Subject"] for m in delivered(w, "email2@example.com", 1)], ["one"])
        equal(delivered(w, ME, 1)[0]["Subject"], "one")
        # a recipient that is mapped to one that gets a copy anyway
        w.send(["old@there.test", "email2@example.com"], "Subject: two\r\n\r\n2\r\n", sender="other@example.com")
        delivered(w, "email2@example.com", 2)
        w.got(1)
        equal([r.split(" ")[1] for r in w.sink.messages[0][1]], ["TO:<ok-new@there.test>"])
        # nobody hears of what becomes of a copy
        check("NOTIFY=NEVER" not in w.sink.messages[0][1][0], "the recipient's own notice")


@case
def a_copy_that_leaves_keeps_spf():
    t = tables("t2")
    lines = ["always_bcc = ok-archive@there.test"]
    with World("s", lines, zone=ZONE) as w:
        w.send(ME, "Subject: in\r\n\r\n1\r\n", sender="someone@elsewhere.test")
        delivered(w, ME, 1)
        w.got(1)
        mail, rcpts, body = w.sink.messages[0]
        check("SRS0=" in mail and "elsewhere.test=someone@example.com" in mail, "the sender of a copy: " + mail)
        equal(rcpts[0].split(" ")[1], "TO:<ok-archive@there.test>")
        check("NOTIFY=NEVER" in rcpts[0], "a copy's fate is nobody's business: " + rcpts[0])
        w.send("ok@there.test", "Subject: out\r\n\r\n1\r\n")
        w.got(3)
        equal([m[0].split(" ")[1] for m in w.sink.messages[1:]], ["FROM:<%s>" % ME] * 2)


@case
def a_redirected_message_has_no_copies():
    t = tables("t3")
    lines = ["always_bcc = email2@example.com", "recipient_bcc_maps = texthash:%s/rbcc" % t,
             "smtpd_data_restrictions = check_sender_access inline:{{caught@elsewhere.test = REDIRECT ok-caught@there.test}}"]
    with World("r", lines, zone=ZONE) as w:
        w.send(["email2@example.com", ME], "Subject: in\r\n\r\n1\r\n", sender="caught@elsewhere.test")
        w.got(1)
        time.sleep(0.5)
        equal(len(w.sink.messages), 1, "messages")
        check("SRS0=" in w.sink.messages[0][0], "forwarded: " + w.sink.messages[0][0])
        for user in (ME, "email2@example.com"):
            where = os.path.join(w.stack.maildir(user), "new")
            equal(os.listdir(where) if os.path.isdir(where) else [], [], "copies for " + user)


@case
def there_and_back():
    """canonical_maps hide a user's real address, generic_maps the host's domain; a long message streams through both."""
    t = tables("t4")
    lines = ["sender_canonical_maps = texthash:%s/hide" % t, "recipient_canonical_maps = texthash:%s/canonical" % t,
             "sender_canonical_classes = header_sender", "recipient_canonical_classes = envelope_recipient",
             "smtp_generic_maps = texthash:%s/generic" % t, "local_header_rewrite_clients = permit_mynetworks"]
    body = "".join("line %d %s\r\n" % (i, "x" * 60) for i in range(30000))
    with World("b", lines, zone=ZONE, extensions=("PIPELINING", "SIZE 50000000", "8BITMIME", "DSN")) as w:
        w.send("first.last@example.com", "From: email1@example.com\r\nSubject: in\r\n\r\n1\r\n", sender="x@elsewhere.test")
        m = delivered(w, ME, 1)[0]
        equal(m["From"], "First.Last@example.com")
        check("to=<%s>, orig_to=<first.last@example.com>" % ME in w.stack.log(), "the log has both addresses")
        for n, text in enumerate(("short\r\n", body), 1):
            w.send("ok%d@there.test" % n, "From: Me <%s>\r\nTo: ok@there.test, u1@example.com\r\nSubject: m%d\r\n\r\n%s" % (ME, n, text))
        w.got(2)
        for mail, rcpts, octets in w.sink.messages:
            words = mail.split(" ")
            equal(words[1], "FROM:<outside@public.test>")
            m = email.message_from_bytes(octets, policy=email.policy.default)
            equal((m["From"], m["To"]), ("Me <First.Last@public.test>", "ok@there.test, u1@public.test"))
            want = body if m["Subject"] == "m2" else "short\r\n"
            check(octets.endswith(b"\r\n\r\n" + want.encode()), "the body is as it was")
            for word in words:
                if word.startswith("SIZE="):
                    equal(int(word[5:]), len(octets), "SIZE")
        equal([m["from"] if "from" in m else None for m in w.queue()], [], "nothing is left")


@case
def generic_maps_that_cannot_be_asked():
    t = tables("t5")
    lines = ["smtp_generic_maps = texthash:%s/later" % t, "minimal_backoff_time = 1s", "queue_run_delay = 1s"]
    with World("l", lines, zone=ZONE) as w:
        w.send("ok@there.test", "From: %s\r\nSubject: m\r\n\r\n1\r\n" % ME)
        w.wait_deferred()
        equal(w.sink.messages, [], "nothing has left")
        os.rename(os.path.join(t, "generic"), os.path.join(t, "later"))
        w.stack.postern("reload")
        w.stack.postern("queue", "flush")
        equal(w.got(1)[0][0].split(" ")[1], "FROM:<outside@public.test>")


@case
def lmtp_has_its_own():
    t = tables("t6")
    port = free_port()
    lines = ["lmtp_generic_maps = texthash:%s/generic" % t, "smtp_generic_maps = inline:{%s=wrong@public.test}" % ME,
             "transport_maps = inline:{lmtp.test=lmtp:inet:127.99.0.2:%d}" % port]
    with World("m", lines, zone=ZONE, port=port, extensions=("PIPELINING", "8BITMIME")) as w:
        w.send("ok@lmtp.test", "From: %s\r\nSubject: m\r\n\r\n1\r\n" % ME)
        mail, rcpts, octets = w.got(1)[0]
        equal(mail.split(" ")[1], "FROM:<outside@public.test>")
        equal(email.message_from_bytes(octets)["From"], "outside@public.test")


@case
def what_sendmail_leaves_is_mapped_too():
    t = tables("t7")
    lines = ["canonical_maps = texthash:%s/canonical" % t, "sender_canonical_maps = texthash:%s/hide" % t,
             "sender_canonical_classes = header_sender", "canonical_classes = envelope_recipient", "always_bcc = email2@example.com"]
    with World("k", lines, zone=ZONE) as w:
        p = run([program("sendmail"), "-C", w.stack.main_cf, "-f", ME, "old@there.test"], input=b"From: email1@example.com\nSubject: left\n\nx\n")
        equal(p.returncode, 0, "sendmail: %s" % p.stderr.decode())
        mail, rcpts, octets = w.got(1)[0]
        equal(rcpts[0].split(" ")[1], "TO:<ok-new@there.test>")
        equal(email.message_from_bytes(octets)["From"], "First.Last@example.com")
        delivered(w, "email2@example.com", 1)


@case
def a_client_that_does_not_wait_for_tables():
    """It hangs up while authd is being asked: about the header, or about recipients. The server goes on."""
    t = tables("t8")
    lines = ["canonical_maps = texthash:%s/canonical" % t, "recipient_bcc_maps = texthash:%s/rbcc" % t,
             "local_header_rewrite_clients = permit_mynetworks"]
    with World("h", lines, zone=ZONE) as w:
        authd = next(p for p, name in w.stack.pids().items() if name == "authd")
        for n in range(6):
            s = socket.create_connection(("127.0.0.1", w.stack.ports["smtp"]), 10)
            f = s.makefile("rb")
            for line in (None, "EHLO x.example.com", "MAIL FROM:<%s>" % ME, "RCPT TO:<old@there.test>", "DATA"):
                if line:
                    s.sendall(line.encode() + b"\r\n")
                while f.readline()[3:4] == b"-":
                    pass
            os.kill(authd, signal.SIGSTOP)
            try:
                head = "To: " + ",\r\n ".join("u%d@d%d.test" % (i, i) for i in range(300)) + "\r\n" if n % 2 else ""
                s.sendall(("From: %s\r\n%sSubject: gone\r\n\r\nx\r\n.\r\n" % (ME, head)).encode())
                time.sleep(0.2)
                s.close()
                f.close()
                time.sleep(0.2)
            finally:
                os.kill(authd, signal.SIGCONT)
        w.send("old@there.test", "Subject: after\r\n\r\nx\r\n")
        wait_for(lambda: any(b"Subject: after" in m[2] for m in w.sink.messages), 20, "the message after")
        check("exit status" not in w.stack.log() and "signal" not in w.stack.log(), "a daemon has died")


@case
def check_knows():
    rows = [("canonical_classes = envelope", "canonical_classes: \"envelope\" is none of"),
            ("masquerade_classes = header_sender, body", "masquerade_classes: \"body\" is none of"),
            ("masquerade_domains = hash:/etc/x", "masquerade_domains: hash:/etc/x: names of domains"),
            ("always_bcc = a@example.com, b@example.com", "always_bcc: \"a@example.com, b@example.com\" is not one"),
            ("masquerade_exceptions = pcre:{{/x/ y}}", "masquerade_exceptions: pcre:"),
            ("canonical_maps = hash:/there-is/none", "canonical_maps")]
    for line, want in rows:
        path = os.path.join(tmp("k"), "main.cf")
        os.makedirs(tmp("k"), exist_ok=True)
        with open(path, "w", encoding="utf-8") as f:
            f.write("myhostname = a.example.com\nvirtual_mailbox_domains = example.com\n%s\n" % line)
        p = run([program("postern"), "-c", path, "check"])
        said = (p.stdout + p.stderr).decode()
        check(want in said and path + ":3" in said, "%s: %s" % (line, said))


main()
