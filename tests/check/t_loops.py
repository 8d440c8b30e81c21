#!/usr/bin/env python3
# Mail that goes round between two hosts comes to an end, and its sender hears of it once.
import os
import smtplib
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from dnsd import Dnsd
from harness import *
from outbound import ME, Sink, World
from stack import Stack

ALICE = "alice@sender.test"
HOPS = 12
ZONE = {"sender.test": {"A": ["127.99.0.2"]}, "far.test": {"A": ["127.99.0.2"]}}


def path_of(line):
    return line.split("<")[1].split(">")[0]


def send(host, port, to, body="Subject: round\r\n\r\nhello\r\n", sender=ALICE):
    with smtplib.SMTP(host, port, timeout=30) as c:
        c.sendmail(sender, [to] if isinstance(to, str) else to, body)


def is_at_rest(stack):
    return not stack.postern("queue", "list", "--json").strip()


def round_and_round(name, conf):
    """list@one.test and list@two.test lead to each other. conf: of both; %(me)s and %(other)s. Gives how often each was sent the
    message, and what came to the sink."""
    port = free_port()
    sink = Sink(("127.99.0.2", port))
    at_end(sink.server_close)
    at_end(sink.shutdown)
    zone = dict(ZONE, **{"one.test": {"A": ["127.99.0.11"]}, "two.test": {"A": ["127.99.0.12"]}})
    with Dnsd(zone, "127.0.0.1", free_port()) as dns:
        stacks = []
        for me, other, ip in (("one", "two", "127.99.0.11"), ("two", "one", "127.99.0.12")):
            lines = ["smtp_tcp_port = %d" % port, "smtpd_sender_restrictions =", "smtpd_recipient_restrictions =",
                     "mynetworks = 192.0.2.1/32", "smtpd_relay_restrictions = reject_unauth_destination",
                     "hopcount_limit = %d" % HOPS, "myhostname = %s.test" % me]
            lines += [l % {"me": me, "other": other} for l in conf]
            stacks.append(Stack(tmp(name + me), extra_conf=lines, resolver="127.0.0.1:%d" % dns.port, listen_host=ip, ports={"smtp": port}))
        with stacks[0], stacks[1]:
            send("127.99.0.11", port, "list@one.test")
            wait_for(lambda: sink.messages, 30, "the report")
            wait_for(lambda: all(is_at_rest(s) for s in stacks), 20, "both queues empty")
            logs = [s.log() for s in stacks]
    taken = [log_text.count("to=<list@%s.test>" % other) for log_text, other in zip(logs, ("two", "one"))]
    return taken, sink.messages, logs


def check_report(messages, status):
    equal(len(messages), 1, "one report, no more: %s" % [m[:2] for m in messages])
    sender, to, body = messages[0]
    equal((path_of(sender), [path_of(t) for t in to]), ("", [ALICE]), "to the sender")
    check("Status: " + status in body.decode(), "it says why: %s" % body.decode())


@case
def virtual_aliases():
    """As in Postfix: the number of Received lines ends it."""
    taken, messages, logs = round_and_round("virtual", ["virtual_alias_domains = %(me)s.test",
                                                        "virtual_alias_maps = inline:{ { list@%(me)s.test = list@%(other)s.test } }"])
    equal(sum(taken), HOPS - 1, "deliveries between the two: %s" % taken)
    check_report(messages, "5.4.0")
    check("554 5.4.0 Error: too many hops" in "".join(logs), "refused while its last sender was there to be told")


@case
def aliases_of_this_host():
    """As with local(8): Delivered-To ends it, after one round."""
    taken, messages, logs = round_and_round("local", ["mydestination = %(me)s.test, localhost", "myorigin = %(me)s.test", "alias_maps = inline:{ { list = list@%(other)s.test } }",
                                                      "local_recipient_maps = $alias_maps"])
    equal(taken, [1, 1], "deliveries between the two")
    check_report(messages, "5.4.6")
    check("mail forwarding loop for list@one.test" in logs[0], "in the log")
    check("554 5.4.6 mail forwarding loop for list@one.test" in logs[1], "as the other one heard it")


CONF = ["mydestination = here.test, localhost", "myorigin = here.test",
        "alias_maps = inline:{ { list = ok@far.test }, { deep = list }, { mixed = ok@far.test email1@example.com } }",
        "local_recipient_maps = $alias_maps",
        "virtual_alias_maps = inline:{ { fwd@example.com = ok@far.test } }"]


def header_of(body):
    return body.decode().split("\r\n\r\n")[0].split("\r\n")


def delivered(body):
    return [l for l in header_of(body) if l.lower().startswith("delivered-to:")]


@case
def who_gets_the_field():
    with World("field", CONF, zone=ZONE) as w:
        port = w.stack.ports["smtp"]

        def at_sink(to):
            n = len(w.sink.messages)
            send("127.0.0.1", port, to)
            return w.got(n + 1)[-1][2]

        body = at_sink("list@here.test")
        equal(header_of(body)[0], "Delivered-To: list@here.test", "in front")
        equal(len(delivered(body)), 1, "once")
        equal(delivered(at_sink("LIST@Here.Test")), ["Delivered-To: list@here.test"], "in lower case, too")
        equal(delivered(at_sink("deep@here.test")), ["Delivered-To: deep@here.test"], "the first alias, as local(8) has it")
        equal(delivered(at_sink("fwd@example.com")), [], "not by virtual aliases")
        equal(delivered(at_sink("ok@far.test")), [], "not what is not forwarded")
        send("127.0.0.1", port, "mixed@here.test")
        w.stack.wait_delivered(1)
        folder = os.path.join(w.stack.maildir(ME), "new")
        with open(os.path.join(folder, os.listdir(folder)[0])) as f:
            check("mixed@here.test" not in f.read().split("Received:")[0], "not what stays here")
        long = "Subject: long\r\n\r\n" + "0123456789\r\n" * 20000
        n = len(w.sink.messages)
        send("127.0.0.1", port, "list@here.test", body=long)
        body = w.got(n + 1)[-1][2].decode()
        check(body.startswith("Delivered-To: list@here.test\r\n") and body.endswith("0123456789\r\n"), "a message that is a file")
    with World("nofield", CONF + ["prepend_delivered_header = command, file"], zone=ZONE) as w:
        send("127.0.0.1", w.stack.ports["smtp"], "list@here.test")
        equal(delivered(w.got(1)[0][2]), [], "prepend_delivered_header")


@case
def one_of_several():
    with World("several", CONF, zone=ZONE) as w:
        port = w.stack.ports["smtp"]
        gone_round = "Delivered-To: <List@here.test>\r\nSubject: again\r\n\r\nhello\r\n"
        try:
            send("127.0.0.1", port, "list@here.test", body=gone_round)
            check(False, "it was taken")
        except smtplib.SMTPDataError as e:
            equal((e.smtp_code, e.smtp_error), (554, b"5.4.6 mail forwarding loop for list@here.test"), "all that it is for has gone round")
        send("127.0.0.1", port, ["list@here.test", "fwd@example.com", ME], body=gone_round)
        w.stack.wait_delivered(1)
        w.got(2)
        to = {path_of(m[1][0]): m[2].decode() for m in w.sink.messages}
        equal(sorted(to), [ALICE, "ok@far.test"], "the others get it, the sender is told")
        check("Status: 5.4.6" in to[ALICE] and "mail forwarding loop for list@here.test" in to[ALICE], to[ALICE])
        # a mailbox of somebody has the field, and its owner sends the message on
        n = len(w.sink.messages)
        send("127.0.0.1", port, "list@here.test", body="Delivered-To: email1@example.com\r\nSubject: look\r\n\r\nhello\r\n")
        w.got(n + 1)


main()
