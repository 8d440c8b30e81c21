#!/usr/bin/env python3
# Mail that aliases lead to other hosts: it leaves with a sender of ours (SRS), what comes back to that one finds the way,
# and reports of ours go to the real sender.
import base64
import hashlib
import hmac
import os
import re
import smtplib
import socket
import stat
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from dnsd import Dnsd
from harness import *
from outbound import ME, Sink, World
from stack import Stack

ALICE = "alice@sender.test"
ZONE = {n: {"A": ["127.99.0.2"]} for n in ("far.test", "sender.test", "first.test", "near.test")}
ALIASES = ["virtual_alias_maps = inline:{ { fwd@example.com = ok@far.test }, { bad@example.com = no@far.test },"
           " { list@example.com = ok1@far.test ok2@far.test email1@example.com }, { @alias.test = ok3@far.test },"
           " { moved@example.com = ok@[127.99.0.2] } }",
           "virtual_alias_domains = alias.test", "smtpd_reject_unlisted_recipient = yes"]
BASE32 = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"


def sign(secret, *parts, length=4):
    text = "".join(parts).lower().encode()
    return base64.b64encode(hmac.new(secret.encode(), text, hashlib.sha1).digest()).decode()[:length]


def srs0(secret, address, at, days_ago=0, length=4):
    day = int(time.time()) // 86400 - days_ago
    stamp = BASE32[day % 1024 // 32] + BASE32[day % 32]
    local, domain = address.rsplit("@", 1)
    return "SRS0=%s=%s=%s=%s@%s" % (sign(secret, stamp, domain, local, length=length), stamp, domain, local, at)


def secret_of(stack):
    with open(stack.path("data", "srs.secret")) as f:
        return f.read().split("\n")[0]


def path_of(line):
    return line.split("<")[1].split(">")[0]


def senders(sink):
    return [path_of(m[0]) for m in sink.messages]


def went_to(sink, n=-1):
    return sorted(path_of(t) for t in sink.messages[n][1])


def reply_to_rcpt(stack, to, sender="", host="127.0.0.1"):
    with smtplib.SMTP(host, stack.ports["smtp"], local_hostname="client.example.com", timeout=30) as c:
        c.ehlo()
        c.mail(sender)
        code, text = c.rcpt(to)
        return "%d %s" % (code, text.decode())


def back(w, to, sender=""):
    """A message to such an address, as another host would send a report."""
    n = len(w.sink.messages)
    w.send(to, sender=sender, body="Subject: report\r\n\r\nno\r\n")
    w.got(n + 1)
    return path_of(w.sink.messages[-1][0]), went_to(w.sink)


@case
def there_and_back():
    with World("there", ALIASES + ["disable_vrfy_command = no"], zone=ZONE) as w:
        w.send("fwd@example.com", sender=ALICE)
        w.got(1)
        mine = senders(w.sink)[0]
        check(re.fullmatch(r"SRS0=[A-Za-z0-9+/]{4}=[A-Z2-7]{2}=sender\.test=alice@example\.com", mine), "the sender: %s" % mine)
        equal(went_to(w.sink), ["ok@far.test"], "the recipient")
        path = w.stack.path("data", "srs.secret")
        equal(stat.S_IMODE(os.stat(path).st_mode), 0o600, "the secret is authd's alone")
        equal(mine, srs0(secret_of(w.stack), ALICE, "example.com"), "as anybody with the secret would make it")
        check("from=<alice@sender.test> is forwarded as <%s>" % mine in w.stack.log(), "it is in the log")
        check(re.search(r"qmgr\[\d+\]: \w+: from=<alice@sender.test>, size=", w.stack.log()), "the message's sender is not changed")
        # the way back, whatever case it came in
        for text in (mine, mine.lower(), mine.upper(), mine.replace("SRS0=", "SRS0+"), mine.replace("SRS0=", "srs0-")):
            sender, to = back(w, text)
            equal((sender, [a.lower() for a in to]), ("", [ALICE]), "a report to %s" % text)
        w.send("fwd@example.com", sender="Alice.B@Sender.test")
        wait_for(lambda: "=Sender.test=Alice.B@example.com" in senders(w.sink)[-1], 10, "spelled as it came")
        equal(back(w, senders(w.sink)[-1])[1], ["Alice.B@Sender.test"], "... also on the way back")
        # somebody who writes there, rather than to the address in the message: it is forwarded mail as any
        sender, to = back(w, mine, sender="bob@near.test")
        equal(to, [ALICE], "mail to it")
        equal(sender, srs0(secret_of(w.stack), "bob@near.test", "example.com"), "... from")
        equal(reply_to_rcpt(w.stack, mine), "250 2.1.5 Ok", "accepted")
        with smtplib.SMTP("127.0.0.1", w.stack.ports["smtp"], timeout=30) as c:
            c.ehlo()
            equal(c.verify(mine)[0], 252, "VRFY")
            equal(c.verify(mine.replace("=alice", "=alise"))[0], 550, "VRFY of a forged one")
        # another start knows the same secret
        w.stack.process.stop()
        w.stack.start()
        sender, to = back(w, mine)
        equal((sender, to), ("", [ALICE]), "after another start")


@case
def what_does_not_hold():
    with World("forged", ALIASES, zone=ZONE) as w:
        equal(reply_to_rcpt(w.stack, srs0("x", ALICE, "example.com"))[:9], "550 5.1.1", "where nothing was ever signed")
        check(not os.path.exists(w.stack.path("data", "srs.secret")), "a look-alike makes no secret")
        w.send("fwd@example.com", sender=ALICE)
        w.got(1)
        secret = secret_of(w.stack)
        good = srs0(secret, ALICE, "example.com")
        forged = [srs0("guessed", ALICE, "example.com"), good.replace("alice", "mallory"), good.replace("sender.test", "far.test"),
                  "SRS0=@example.com", "SRS0=AAAA=AA=a.test=b@example.com", "SRS1=AAAA=far.test==AAAA=AA=a.test=b@example.com",
                  good[:5] + good[5:8] + good[9:]]
        for a in forged:
            equal(reply_to_rcpt(w.stack, a), "550 5.1.1 <%s>: Recipient address rejected: User unknown in virtual mailbox table" % a,
                  "forged")
        equal(reply_to_rcpt(w.stack, srs0(secret, ALICE, "example.com", 21)), "250 2.1.5 Ok", "21 days old")
        old = srs0(secret, ALICE, "example.com", 22)
        equal(reply_to_rcpt(w.stack, old), "550 5.1.1 <%s>: Recipient address rejected: SRS address has expired" % old, "22 days old")
        # at any domain of ours, a catch-all alias or not; at no other
        equal(reply_to_rcpt(w.stack, srs0(secret, ALICE, "alias.test")), "250 2.1.5 Ok", "an alias domain")
        sender, to = back(w, srs0(secret, ALICE, "alias.test"))
        equal(to, [ALICE], "an alias domain: not to its catch-all")
        sender, to = back(w, srs0(secret, ALICE, "near.test"))
        equal(to, [srs0(secret, ALICE, "near.test")], "that of another host is its own affair")
        # more lines: old secrets that still hold
        with open(w.stack.path("data", "srs.secret"), "w") as f:
            f.write("the new one\n%s\n" % secret)
        equal(reply_to_rcpt(w.stack, good), "250 2.1.5 Ok", "with the second secret")
        w.send("fwd@example.com", sender=ALICE)
        wait_for(lambda: senders(w.sink)[-1] == srs0("the new one", ALICE, "example.com"), 10, "the first one signs")


@case
def no_open_relay():
    conf = ALIASES + ["mynetworks = 127.0.0.7/32", "smtpd_relay_restrictions =",
                      "smtpd_recipient_restrictions = permit_mynetworks, permit_sasl_authenticated, reject_non_fqdn_recipient,"
                      " reject_unknown_recipient_domain, reject_unlisted_recipient, reject_unauth_destination"]  # the guide's
    with World("stranger", conf, zone=ZONE) as w:
        w.send("fwd@example.com", sender=ALICE)
        w.got(1)
        good = senders(w.sink)[0]
        equal(reply_to_rcpt(w.stack, good), "250 2.1.5 Ok", "a stranger's report")
        there = good.replace("@example.com", "@far.test")
        equal(reply_to_rcpt(w.stack, there), "554 5.7.1 <%s>: Relay access denied" % there, "another host's")
        equal(reply_to_rcpt(w.stack, good.replace("=alice", "=bob"))[:9], "550 5.1.1", "what we have not signed")
        sender, to = back(w, good)
        equal((sender, to), ("", [ALICE]), "on to the sender")
    with World("verified", conf + ["smtpd_recipient_restrictions = reject_unauth_destination, reject_unverified_recipient",
                                   "unverified_recipient_reject_code = 550", "address_verify_poll_delay = 1s"], zone=ZONE) as w:
        w.send("fwd@example.com", sender=ALICE)
        w.got(1)
        good = senders(w.sink)[0]
        equal(reply_to_rcpt(w.stack, good), "250 2.1.5 Ok", "with reject_unverified_recipient")
        check(not [c for c in w.sink.commands if ALICE in c and c.startswith("RCPT")], "nobody was asked about it: %s" % w.sink.commands)
        equal(reply_to_rcpt(w.stack, srs0(secret_of(w.stack), ALICE, "example.com", 30))[:4], "550 ", "one that is too old")


@case
def who_is_left_alone():
    with World("alone", ALIASES + ["srs_exclude_domains = friend.test, .friend.test"], zone=ZONE) as w:
        def left_as(sender, to="fwd@example.com"):
            n = len(w.sink.messages)
            w.send(to, sender=sender)
            w.got(n + 1)
            return senders(w.sink)[-1]

        for sender in (ME, "", "x@alias.test", "x@localhost", "y@friend.test", "y@sub.friend.test"):
            equal(left_as(sender), sender, "forwarded, from <%s>" % sender)
        equal(left_as(ALICE, "ok@far.test"), ALICE, "not forwarded")
        check(not os.path.exists(w.stack.path("data", "srs.secret")), "so there was no need of a secret")
        mine = left_as(ALICE, "who@alias.test")
        equal(mine, srs0(secret_of(w.stack), ALICE, "alias.test"), "the domain of the address that was forwarded")
        equal(left_as('"a b"@sender.test'), '"%s"@example.com' % srs0(secret_of(w.stack), "a b@sender.test", "example.com")
              .rsplit("@", 1)[0], "a local part that needs quotes")
        # the longest path that is sure to be taken, RFC 5321 4.5.3.1.3
        long = "v" * 64 + "@" + ".".join(["d" * 60] * 3) + ".test"
        equal(left_as(long), long, "too long to be rewritten")
        check("is too long to be rewritten for forwarding" in w.stack.log(), "... which is in the log")
        # what another forwarder has made
        first = "SRS0=aBcD=T2=%s=alice@first.test" % "elsewhere.test"
        later = left_as(first)
        equal(later, "SRS1=%s=first.test==aBcD=T2=elsewhere.test=alice@example.com" %
              sign(secret_of(w.stack), "first.test", "=aBcD=T2=elsewhere.test=alice"), "of another forwarder")
        equal(left_as(later.replace("@example.com", "@near.test")), later, "of a second one: the first is what counts")
        equal(back(w, later), ("", [first]), "and back to the first")
    with World("off", ALIASES + ["srs_enable = no"], zone=ZONE) as w:
        w.send("fwd@example.com", sender=ALICE)
        w.got(1)
        equal(senders(w.sink), [ALICE], "srs_enable = no")
    conf = ALIASES + ["srs_domain = alias.test", "srs_hash_length = 6", "srs_lifetime = 3d", "srs_secret_file = " + tmp("key")]
    with open(tmp("key"), "w") as f:
        f.write("k")
    with World("other", conf, zone=ZONE) as w:
        os.rename(tmp("key"), tmp("no-key"))
        w.send("fwd@example.com", sender=ALICE)
        wait_for(lambda: "srs_secret_file %s is not there" % tmp("key") in w.stack.log(), 10, "no such file")
        wait_for(lambda: "status=deferred (address lookup failure)" in w.stack.log(), 10, "the mail waits")
        equal(reply_to_rcpt(w.stack, srs0("k", ALICE, "example.com", 0, 6))[:9], "451 4.3.0", "nobody can say whether it holds")
        os.rename(tmp("no-key"), tmp("key"))
        w.stack.postern("queue", "flush")
        w.got(1)
        mine = senders(w.sink)[0]
        check(re.fullmatch(r"SRS0=.{6}=..=sender.test=alice@alias.test", mine), "srs_domain, srs_hash_length: %s" % mine)
        equal(reply_to_rcpt(w.stack, srs0("k", ALICE, "example.com", 3, 6)), "250 2.1.5 Ok", "srs_lifetime")
        check("has expired" in reply_to_rcpt(w.stack, srs0("k", ALICE, "example.com", 4, 6)), "srs_lifetime")
        check("User unknown" in reply_to_rcpt(w.stack, srs0("k", ALICE, "example.com", 3, 4)), "srs_hash_length")


@case
def one_message_for_many():
    with World("many", ALIASES, zone=ZONE) as w:
        w.send(["list@example.com", "who@alias.test", "ok4@far.test", "ok5@far.test"], sender=ALICE)
        w.got(3)
        secret = secret_of(w.stack)
        got = {path_of(m[0]): sorted(path_of(t) for t in m[1]) for m in w.sink.messages}
        equal(got, {srs0(secret, ALICE, "example.com"): ["ok1@far.test", "ok2@far.test"],
                    srs0(secret, ALICE, "alias.test"): ["ok3@far.test"],
                    ALICE: ["ok4@far.test", "ok5@far.test"]}, "one delivery for each sender")
        w.stack.wait_delivered(1)
        with open(next(os.path.join(w.stack.maildir(ME), "new", f) for f in os.listdir(w.stack.maildir(ME) + "/new"))) as f:
            check("Return-Path: <alice@sender.test>" in f.read(), "a mailbox of ours gets the sender as it came")


@case
def reports_go_to_the_sender():
    with World("reports", ALIASES, zone=ZONE) as w:
        w.send("bad@example.com", sender=ALICE)
        w.got(1)
        equal(went_to(w.sink), [ALICE], "to the sender itself, not by way of ourselves")
        equal(senders(w.sink), [""], "from <>")
        body = w.sink.messages[0][2].decode()
        check("Original-Recipient: rfc822;bad@example.com" in body and "Final-Recipient: rfc822; no@far.test" in body, body)
        check("SRS0" not in body.split("Content-Type: message/rfc822")[0], "the address that it was forwarded with is nobody's affair: %s" % body)


def ask(stack, *questions):
    """Socketmap, as Postfix asks it."""
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(10)
        s.connect(os.path.join(stack.queue_dir, "private", "lookup"))
        out = []
        for q in questions:
            s.sendall(b"%d:%s," % (len(q.encode()), q.encode()))
            got = b""
            while not got.endswith(b","):
                got += s.recv(1000)
            out.append(got.split(b":", 1)[1][:-1].decode())
        return out


@case
def by_socketmap():
    with World("socketmap", ALIASES + ["myorigin = example.com"], zone=ZONE) as w:
        got = ask(w.stack, "srs_forward " + ALICE, "srs_forward @alias.test " + ALICE, "srs_forward alice", "srs_forward @sender.test",
                  "srs_forward " + ME)
        secret = secret_of(w.stack)
        equal(got, ["OK " + srs0(secret, ALICE, "example.com"), "OK " + srs0(secret, ALICE, "alias.test")] + ["NOTFOUND "] * 3, "forward")
        equal(ask(w.stack, "srs_reverse " + srs0(secret, ALICE, "example.com"), "srs_reverse " + ME,
                  "srs_reverse " + srs0(secret, ALICE, "example.com", 22)), ["OK " + ALICE, "NOTFOUND ", "NOTFOUND "], "reverse")


@case
def two_forwarders():
    """alice -> one.test -> two.test -> far.test; the report of far.test goes all the way back."""
    port = free_port()
    zone = dict(ZONE, **{"one.test": {"A": ["127.99.0.11"]}, "two.test": {"A": ["127.99.0.12"]}})
    sink = Sink(("127.99.0.2", port))
    at_end(sink.server_close)
    at_end(sink.shutdown)
    conf = ["smtp_tcp_port = %d" % port, "smtpd_sender_restrictions =", "smtpd_recipient_restrictions =", "mynetworks = 192.0.2.1/32",
            "smtpd_relay_restrictions = reject_unauth_destination"]
    with Dnsd(zone, "127.0.0.1", free_port()) as dns:
        where = "127.0.0.1:%d" % dns.port
        one = Stack(tmp("one"), extra_conf=conf + ["virtual_alias_domains = one.test", "virtual_alias_maps = inline:{ { list@one.test = list@two.test } }",
                    "myhostname = one.test"],
                    resolver=where, listen_host="127.99.0.11", ports={"smtp": port})
        two = Stack(tmp("two"), extra_conf=conf + ["virtual_alias_domains = two.test", "virtual_alias_maps = inline:{ { list@two.test = ok@far.test } }",
                    "myhostname = two.test"],
                    resolver=where, listen_host="127.99.0.12", ports={"smtp": port})
        with one, two:
            with smtplib.SMTP("127.99.0.11", port, timeout=30) as c:
                c.sendmail(ALICE, ["list@one.test"], "Subject: round\r\n\r\nhello\r\n")
            wait_for(lambda: len(sink.messages) == 1, 20, "the message at its end")
            last = senders(sink)[0]
            check(re.fullmatch(r"SRS1=.{4}=one\.test==.{4}=..=sender\.test=alice@two\.test", last), "the last sender: %s" % last)
            with smtplib.SMTP("127.99.0.12", port, timeout=30) as c:
                c.sendmail("", [last], "Subject: report\r\n\r\nno\r\n")
            wait_for(lambda: len(sink.messages) == 2, 20, "the report at its end")
            equal((senders(sink)[1], went_to(sink)), ("", [ALICE]), "back at the sender")


main()
